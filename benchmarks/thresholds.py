"""The threshold sweep, side by side: one histogram, torchmetrics' binned curve, a plain loop.

All three count the same true and false positives at the same thresholds; that they agree is
checked at every turn.
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


def histogram(prediction: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    """This repository's: thresholds x (true, false) positives."""
    return counts_by_group(prediction, mask, 2).flip(0).T.numpy()


def torchmetrics_binned(prediction: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    curve = BinaryPrecisionRecallCurve(thresholds=torch.tensor(THRESHOLDS, dtype=torch.float32),
                                       validate_args=False)
    curve.update(prediction, mask)
    return torch.stack([curve.confmat[:, 1, 1], curve.confmat[:, 0, 1]], 1).numpy()


def plain_loop(prediction: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    """A pass over all pixels for each threshold."""
    counts, truth = [], mask.bool()
    for threshold in torch.tensor(THRESHOLDS, dtype=torch.float32):
        positive = prediction >= threshold
        true = int((positive & truth).sum())
        counts.append((true, int(positive.sum()) - true))
    return np.array(counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--short", action="store_true", help="few pixels: only to see it run")
    given = parser.parse_args()
    pixels = 2**14 if given.short else 2**22
    generator = torch.Generator().manual_seed(0)
    prediction = torch.rand(pixels, generator=generator)
    mask = (torch.rand(pixels, generator=generator) < 0.04).long()
    contenders = {"crackutils": histogram, "torchmetrics": torchmetrics_binned,
                  "plain_loop": plain_loop}
    seconds = {name: [] for name in contenders}
    for turn in range(given.repeats + 1):
        counts = {}
        for name, contender in contenders.items():
            begun = time.perf_counter()
            counts[name] = contender(prediction, mask)
            if turn:  # the first is warm-up
                seconds[name].append(time.perf_counter() - begun)
        if not all((one == counts["crackutils"]).all() for one in counts.values()):
            raise RuntimeError("The counts differ: the comparison means nothing.")
    rows = [{"implementation": name, "pixels": pixels, "thresholds": len(THRESHOLDS),
             "seconds": statistics.median(found),
             "times_as_fast_is_crackutils": round(statistics.median(
                 other / own for other, own in zip(found, seconds["crackutils"])), 1),
             "turns": len(found)} for name, found in seconds.items()]
    given.out.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(given.out / "thresholds.csv", index=False, float_format="%.5g")
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
