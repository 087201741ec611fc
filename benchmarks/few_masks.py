"""How F1 grows with the number of labelled photographs: python benchmarks/few_masks.py CFD_FOLDER

The test part of the folder (a fifth; photographs that show the same crack lie in one part) is never
trained on and chooses nothing. Of the other photographs each seed draws 5, 10, 20 and 40; the 5 are
among the 10, and so on. A fifth of those drawn is left out of the training and chooses the
threshold, by its best F1. Two networks are trained on the others, for the same steps and with the
same choices: one starts from a model of models/, as `crackutils train --from` does, and one from
scratch. The model as it is, with its own threshold, stands for 0 photographs.

`few_masks.csv` has a row for each network. Recall is that of cracks 1 to 2 px wide; in `f1_2_px` a
pixel counts as right if it lies at most 2 px from the label. A run that has its record is not
trained again: start the command again until it prints "open: 0".
"""

import argparse
import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from crackutils import data as datasets
from crackutils import experiment, files, metrics, records
from crackutils.data.picture_cache import Part
from crackutils.device import decide, fabric_for
from crackutils.evaluation import evaluate
from crackutils.papers import fine_cracks

NUMBERS, SEEDS = (5, 10, 20, 40), (0, 1, 2)
STEPS = 150  # about 30 s a training on one core with bfloat16 units
CHOOSING = 5  # every so many photographs, the threshold is chosen on one
SCRATCH = "scratch"


def with_few_labels(dataset: datasets.Dataset, number: int, seed: int) -> datasets.Dataset:
    """The data set with so many labelled photographs, drawn with the seed, and its test part."""
    pool = sorted([*dataset.train, *dataset.validation], key=lambda sample: sample.name)
    if number > len(pool):
        raise SystemExit(f"{number} labelled photographs are wanted, and {dataset.name} has "
                         f"{len(pool)} beside its test part.")
    order = np.random.default_rng(seed).permutation(len(pool))[:number]
    drawn = [pool[index] for index in order]
    chooses = drawn[::CHOOSING]
    trained_on = [sample for place, sample in enumerate(drawn) if place % CHOOSING]
    names = [[sample.name for sample in part] for part in (trained_on, chooses)]
    text = json.dumps([dataset.fingerprint, names])
    return replace(dataset, name=f"{dataset.name}-{number}", train=Part.of(trained_on),
                   validation=Part.of(chooses),
                   fingerprint=hashlib.sha256(text.encode()).hexdigest())


def as_it_is(model: Path, dataset: datasets.Dataset) -> dict[str, np.ndarray]:
    """The counts of a model on its own validation part, and on the data set's test part."""
    network, protocol = experiment.open_record(model)
    hardware = decide(replace(protocol, precision="auto"))
    counts = evaluate(network, {"test": dataset.test}, protocol, hardware, fabric_for(hardware))
    return records.read_arrays(model / "counts.npz") | counts


def scores(counts: dict[str, np.ndarray]) -> dict[str, float]:
    """The threshold of the best F1 on the validation part, and the test part's scores there."""
    threshold = metrics.best_threshold(counts, "validation")
    index = metrics.at_threshold(counts, threshold)
    test = metrics.scores(counts, "test")
    return {"threshold": threshold, "precision": test["precision"][index],
            "recall": test["recall"][index], "f1": test["f1_score"][index],
            "recall_1_to_2_px": metrics.recall_by_width(counts, "test")[1, index],
            "f1_2_px": fine_cracks.tolerant_scores(counts, "test")["F1, 2 px"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="the folder of CrackForest, or another one with masks")
    parser.add_argument("--model", default="balanced_step",
                        help="the model that is trained further")
    parser.add_argument("--numbers", type=int, nargs="+", default=NUMBERS, metavar="N",
                        help="numbers of labelled photographs")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, metavar="SEED")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--minutes", type=float, default=float("inf"),
                        help="start no training after so many minutes")
    parser.add_argument("--runs", help="where records are written (default: runs)")
    parser.add_argument("--out", type=Path, default=files.ROOT / "results" / "benchmarks")
    given = parser.parse_args()
    begun, runs = time.monotonic(), files.resolve(given.runs, "runs")
    model = experiment.model_folder(given.model)
    tuned = experiment.fine_tuning(model, "quick", "cracks", {"steps": given.steps})
    dataset = datasets.load(given.data, tuned, runs)
    rows = [{"seed": 0, "photographs": 0, "start": model.name, **scores(as_it_is(model, dataset))}]
    remaining = 0
    for seed in given.seeds:
        for number in given.numbers:
            few = with_few_labels(dataset, number, seed)
            for start, initial in ((model.name, model), (SCRATCH, None)):
                protocol = replace(tuned, seed=seed)
                if initial is None:
                    protocol = replace(protocol, initial_weights=None)
                found = records.find({"runs": runs}, protocol, few.name, few.fingerprint)
                if found is None and time.monotonic() - begun > 60 * given.minutes:
                    remaining += 1
                    continue
                record = experiment.complete(protocol, few, runs, None, initial=initial)
                counts = records.read_arrays(record / "counts.npz")
                rows.append({"seed": seed, "photographs": number, "start": start,
                             **scores(counts)})
    given.out.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(given.out / "few_masks.csv", index=False, float_format="%.4g")
    print(f"open: {remaining}")


if __name__ == "__main__":
    main()
