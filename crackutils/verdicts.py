"""Each sentence of paper B's conclusion, held against the records."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from crackutils import intervals
from crackutils.drivable import at_half, paper_rows, variant_draws
from crackutils.metrics import iou_variants
from crackutils.tables import Source

T3, DICE, T2, QUARTER, BCE, MIDDLE, EVEN = (  # the labels of its table, in its order
    "Tversky(α, β = 0.3)", "Dice", "Tversky(α, β = 0.2)", "BCE-Dice (0.25:1)", "BCE",
    "BCE-Dice (0.43:1)", "BCE-Dice (1:1)")
MIXES = {EVEN: 1 / 2, MIDDLE: 1 / 1.43, QUARTER: 1 / 1.25}  # and their share of Dice


class Claim(NamedTuple):
    """A sentence, what its figure is, the figure printed (IoU points) and how to compute it from
    the IoU of each label. The claim is that the figure is above 0."""

    sentence: str
    figure: str
    printed: float
    compute: Callable[[dict], np.ndarray]


def difference(first: str, second: str) -> Callable[[dict], np.ndarray]:
    return lambda iou: iou[first] - iou[second]


def least_lead(iou: dict) -> np.ndarray:
    """Of Tversky 0.3 over the best of the others."""
    return iou[T3] - np.maximum.reduce([iou[label] for label in iou if label != T3])


def slope(iou: dict) -> np.ndarray:
    """From 1:1 to .25:1, of a straight line through the IoU of the three BCE-Dice rows by share."""
    shares = np.array(list(MIXES.values()))
    centred = shares - shares.mean()
    rise = sum(weight * iou[label] for label, weight in zip(MIXES, centred / (centred**2).sum()))
    return rise * (shares[-1] - shares[0])


def gain_of_mixing(iou: dict) -> np.ndarray:
    """Of the best BCE-Dice over the better of BCE and Dice."""
    return np.maximum.reduce([iou[label] for label in MIXES]) - np.maximum(iou[BCE], iou[DICE])


CLAIMS = (
    Claim("Tversky(α, β = 0.3) has the highest IoU",
          "its lead over the best other row", 0.81, least_lead),
    Claim("… about 0.81 % higher than Dice", "Tversky 0.3 − Dice", 0.81, difference(T3, DICE)),
    Claim("… about 2.47 % from BCE", "Tversky 0.3 − BCE", 2.47, difference(T3, BCE)),
    Claim("… at most 4.77 % above the others (abstract)", "Tversky 0.3 − BCE-Dice(1:1)", 4.77,
          difference(T3, EVEN)),
    Claim("the higher the share of Dice in BCE-Dice, the better",
          "rise from 1:1 to 0.25:1 (line through three rows)", 2.31, slope),
    Claim("BCE-Dice(0.25:1) differs from Dice by 1.65 %", "Dice − BCE-Dice(0.25:1)", 1.65,
          difference(DICE, QUARTER)),
    Claim("… and from BCE-Dice(1:1) by 3.96 % (its table: 2.31)",
          "BCE-Dice(0.25:1) − BCE-Dice(1:1)", 3.96, difference(QUARTER, EVEN)),
    Claim("Dice plays an important role in this task", "Dice − BCE", 1.66, difference(DICE, BCE)),
    Claim("tuning the share of Dice optimises the result (its table: no mix beats Dice)",
          "best BCE-Dice − better of BCE and Dice", -1.65, gain_of_mixing))
SPREAD = Claim("a loss can be chosen for a data set (its last sentence)", "best row − worst row",
               4.77, lambda iou: np.ptp(np.stack(list(iou.values())), axis=0))


def verdicts(source: Source, variant: str = "iou") -> pd.DataFrame:
    """Each claim's figure in IoU points, the paper's and ours with a 95 % interval, and a verdict.

    "reproduced": the interval lies above 0 (", not in size": the printed figure is outside it);
    "not reproduced": it lies below 0; else "within the noise". Frames and seeds are drawn together
    for all losses. The spread of the rows can't be below 0: it is reproduced if it is larger than
    95 of 100 spreads that seven losses without any difference would have. One seed can't tell a
    loss from luck: no verdict. Empty while a row has no record.
    """
    labels = [row.label for row in paper_rows(replace(source.protocol, classes="binary", loss="bce",
                                                      weight=None))]
    seeds = {label: source.counts(row.loss, row.weight)
             for label, row in zip(labels, paper_rows(source.protocol))}
    if not all(seeds.values()):
        return pd.DataFrame()
    means = {label: np.mean([iou_variants(images)[variant] for images in at_half(counts)])
             for label, counts in seeds.items()}
    draws = {label: variant_draws(counts)[variant] for label, counts in seeds.items()}
    enough = min(map(len, seeds.values())) > 1
    return pd.DataFrame([judged(claim, means, draws, enough) for claim in (*CLAIMS, SPREAD)])


def judged(claim: Claim, means: dict, draws: dict, enough: bool) -> dict:
    """A claim as a row of the table."""
    ours = 100 * float(claim.compute(means))
    low, high = (100 * limit for limit in intervals.interval(claim.compute(draws)))
    if not enough:
        verdict = "one seed: none"
    elif claim is SPREAD:
        without = claim.compute({label: values - values.mean() for label, values in draws.items()})
        verdict = "reproduced" if ours > 100 * np.percentile(without, 95) else "within the noise"
    elif low > 0:
        verdict = "reproduced" + ("" if low <= claim.printed <= high else ", not in size")
    else:
        verdict = "not reproduced" if high < 0 else "within the noise"
    return {"sentence": claim.sentence, "figure": claim.figure, "paper": claim.printed,
            "ours": round(ours, 2), "low": round(low, 2), "high": round(high, 2),
            "verdict": verdict}
