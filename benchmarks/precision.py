"""Does bfloat16 cost accuracy? The same runs in float32 and in bfloat16, with several seeds.

The U-Net of `quick` on synthetic cracks, with plain squared error and with ReLU weighting. Each run
is scored on the test part at the threshold that is best on the validation part. The table is
`precision.csv`.
"""

import argparse
import tempfile
from pathlib import Path

import pandas as pd

from crackutils import data as datasets
from crackutils import experiment, metrics, records
from crackutils.protocol import Protocol, preset

LOSSES = (("mse", None), ("relu", 0.97))
SHORT = {"counts": [8, 4, 4], "steps": 4, "tile": [64, 64]}


def row_of(protocol: Protocol, dataset: datasets.Dataset, runs: Path) -> dict:
    """Train one run and score it."""
    record = experiment.complete(protocol, dataset, runs, None, "cpu")
    counts = records.read_arrays(record / "counts.npz")
    threshold = metrics.best_threshold(counts, "validation")
    f1_scores = metrics.scores(counts, "test")["f1_score"]
    return {"loss": protocol.loss, "weight": protocol.weight, "precision": protocol.precision,
            "seed": protocol.seed, "threshold": threshold,
            "test_f1": f1_scores[metrics.at_threshold(counts, threshold)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"),
                        help="folder of the table")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    parser.add_argument("--short", action="store_true",
                        help="four steps: shows that it runs, measures nothing")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for precision in ("float32", "bfloat16"):
            fields = {"precision": precision, "memory_format": "channels_first"}
            if given.short:
                fields |= SHORT
            protocol = preset("quick", "cracks", fields)
            dataset = datasets.load("synthetic", protocol, Path(folder))
            for loss, weight in LOSSES:
                for seed in range(given.seeds):
                    run = protocol.with_run(loss, weight, seed)
                    rows.append(row_of(run, dataset, Path(folder)))
    table = pd.DataFrame(rows)
    given.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(given.out / "precision.csv", index=False, float_format="%.6g")
    print(table.to_string(index=False))
    groups = table.groupby(["loss", "precision"])[["test_f1", "threshold"]]
    print(groups.agg(["mean", "std", "min", "max"]).round(4).to_string())


if __name__ == "__main__":
    main()
