"""Counting at every threshold, in three ways: how long each takes on the same pixels.

This repository's one histogram, torchmetrics' binned curve, and a loop over the thresholds count
the true and false positives. Each turn checks that their counts are equal. The table is
`thresholds.csv`.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torchmetrics.classification import BinaryPrecisionRecallCurve

from crackutils.evaluation import THRESHOLDS, counts_by_group

# Each function takes predictions and a mask of 0 and 1, and returns an array of
# thresholds x (true positives, false positives).


def histogram(prediction: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    """This repository's way: one pass over the pixels, whatever the number of thresholds."""
    return counts_by_group(prediction, mask, 2).flip(0).T.numpy()


def binned_curve(prediction: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    """The way of torchmetrics."""
    curve = BinaryPrecisionRecallCurve(thresholds=torch.tensor(THRESHOLDS, dtype=torch.float32),
                                       validate_args=False)
    curve.update(prediction, mask)
    return torch.stack([curve.confmat[:, 1, 1], curve.confmat[:, 0, 1]], 1).numpy()


def plain_loop(prediction: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    """A pass over all pixels for each threshold."""
    counts, truth = [], mask.bool()
    for threshold in torch.tensor(THRESHOLDS, dtype=torch.float32):
        positive = prediction >= threshold
        true_positives = int((positive & truth).sum())
        counts.append((true_positives, int(positive.sum()) - true_positives))
    return np.array(counts)


IMPLEMENTATIONS = {"crackutils": histogram, "torchmetrics": binned_curve, "plain_loop": plain_loop}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"),
                        help="folder of the table")
    parser.add_argument("--repeats", type=int, default=7, help="timed turns, after one to warm up")
    parser.add_argument("--short", action="store_true",
                        help="few pixels: shows that it runs, measures nothing")
    given = parser.parse_args()
    pixels = 2**14 if given.short else 2**22
    generator = torch.Generator().manual_seed(0)
    prediction = torch.rand(pixels, generator=generator)
    mask = (torch.rand(pixels, generator=generator) < 0.04).long()
    seconds = {name: [] for name in IMPLEMENTATIONS}
    for turn in range(given.repeats + 1):
        counts = {}
        for name, implementation in IMPLEMENTATIONS.items():
            begun = time.perf_counter()
            counts[name] = implementation(prediction, mask)
            if turn > 0:  # the first is to warm up
                seconds[name].append(time.perf_counter() - begun)
        for name in IMPLEMENTATIONS:
            if not np.array_equal(counts[name], counts["crackutils"]):
                raise RuntimeError(f"The counts of {name} differ from those of crackutils: their "
                                   "times can't be compared.")
    rows = []
    for name, times in seconds.items():
        ratios = [theirs / ours for theirs, ours in zip(times, seconds["crackutils"])]
        rows.append({"implementation": name, "pixels": pixels, "thresholds": len(THRESHOLDS),
                     "seconds": statistics.median(times),
                     "times_as_fast_is_crackutils": round(statistics.median(ratios), 1),
                     "turns": len(times)})
    given.out.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(given.out / "thresholds.csv", index=False, float_format="%.5g")
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
