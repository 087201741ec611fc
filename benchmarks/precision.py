"""Does bfloat16 cost anything? The same runs in both precisions, over seeds.

The U-Net of `quick` on synthetic cracks, with plain squared error and with ReLU weighting. Each run
is scored on the test part at the threshold that its own validation part chose.
"""

import argparse
import tempfile
from pathlib import Path

import pandas as pd

from crackutils import data as datasets
from crackutils import experiment, metrics, records
from crackutils.protocol import preset

LOSSES = (("mse", None), ("relu", 0.97))
TINY = {"counts": [8, 4, 4], "steps": 4, "tile": [64, 64]}


def row(protocol, dataset, folder: Path) -> dict:
    """Train one run and score it."""
    record = experiment.complete(protocol, dataset, folder, None, "cpu")
    counts = records.read_arrays(record / "counts.npz")
    threshold = metrics.best_threshold(counts, "validation")
    scores = metrics.scores(counts, "test")
    return {"loss": protocol.loss, "weight": protocol.weight, "precision": protocol.precision,
            "seed": protocol.seed, "threshold": threshold,
            "test_f1": scores["f1_score"][metrics.at_threshold(counts, threshold)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--short", action="store_true", help="four steps: only to see it run")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for precision in ("float32", "bfloat16"):
            protocol = preset("quick", "cracks", {"precision": precision,
                                                  "memory_format": "channels_first"}
                              | (TINY if given.short else {}))
            dataset = datasets.load("synthetic", protocol, Path(folder))
            for loss, weight in LOSSES:
                rows += [row(protocol.with_run(loss, weight, seed), dataset, Path(folder))
                         for seed in range(given.seeds)]
    table = pd.DataFrame(rows)
    given.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(given.out / "precision.csv", index=False, float_format="%.6g")
    print(table.to_string(index=False))
    figures = table.groupby(["loss", "precision"])[["test_f1", "threshold"]]
    print(figures.agg(["mean", "std", "min", "max"]).round(4).to_string())


if __name__ == "__main__":
    main()
