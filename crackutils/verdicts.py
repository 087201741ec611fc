"""Each sentence of paper B's conclusion, held against the records."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from crackutils import intervals
from crackutils.drivable import at_half, collapsed, paper_rows, variant_draws
from crackutils.metrics import iou_variants
from crackutils.tables import Source

T3, DICE, T2, QUARTER, BCE, MIDDLE, EVEN = (  # the labels of its table, in its order
    "Tversky(α, β = 0.3)", "Dice", "Tversky(α, β = 0.2)", "BCE-Dice (0.25:1)", "BCE",
    "BCE-Dice (0.43:1)", "BCE-Dice (1:1)")
MIXES = {EVEN: 1 / 2, MIDDLE: 1 / 1.43, QUARTER: 1 / 1.25}  # and their share of Dice
REPRODUCED, NOT_REPRODUCED, NOISE = "reproduced", "not reproduced", "within the noise"
ERROR = 0.05  # of 100 verdicts on losses without a difference, so many are wrong
Figures = dict[str, np.ndarray]  # by label: the IoU, or draws of it


class Claim(NamedTuple):
    """A sentence, what its figure is, the figure printed (IoU points), how to compute it from the
    IoU of each label, and, where an interval of it won't do, a verdict from draws and IoU."""

    sentence: str
    figure: str
    printed: float
    compute: Callable[[Figures], np.ndarray]
    judge: Callable[[Figures, Figures], str] | None = None


def difference(first: str, second: str) -> Callable[[Figures], np.ndarray]:
    """The IoU of one label less that of another."""
    return lambda iou: iou[first] - iou[second]


def lead(iou: Figures) -> np.ndarray:
    """Of Tversky 0.3 over the best of the others."""
    return iou[T3] - np.maximum.reduce([iou[label] for label in iou if label != T3])


def slope(iou: Figures) -> np.ndarray:
    """From 1:1 to .25:1, of a straight line through the IoU of the three BCE-Dice rows by share."""
    shares = np.array(list(MIXES.values()))
    centred = shares - shares.mean()
    rise = sum(weight * iou[label] for label, weight in zip(MIXES, centred / (centred**2).sum()))
    return rise * (shares[-1] - shares[0])


def gain_of_mixing(iou: Figures) -> np.ndarray:
    """Of the best BCE-Dice over the better of BCE and Dice."""
    return np.maximum.reduce([iou[label] for label in MIXES]) - np.maximum(iou[BCE], iou[DICE])


def spread(iou: Figures) -> np.ndarray:
    """Of the best row over the worst."""
    return np.ptp(np.stack(list(iou.values())), axis=0)


def surely_above(iou: Figures, first: str, second: str, comparisons: int = 1) -> bool:
    """Whether a label's draws lie above another's, at an error shared by so many comparisons."""
    return np.quantile(iou[first] - iou[second], ERROR / 2 / comparisons) > 0


def judge_lead(draws: Figures, _: Figures) -> str:
    """Reproduced if Tversky 0.3 is surely above every other row, not if one is surely above it."""
    others = [label for label in draws if label != T3]
    if all(surely_above(draws, T3, other) for other in others):
        return REPRODUCED
    beaten = any(surely_above(draws, other, T3, len(others)) for other in others)
    return NOT_REPRODUCED if beaten else NOISE


def judge_mixing(draws: Figures, _: Figures) -> str:
    """Reproduced if a mix is surely above BCE and Dice, not if each is surely below one of them."""
    if any(all(surely_above(draws, mix, pure, len(MIXES)) for pure in (BCE, DICE))
           for mix in MIXES):
        return REPRODUCED
    all_below = all(any(surely_above(draws, pure, mix, 2) for pure in (BCE, DICE))
                    for mix in MIXES)
    return NOT_REPRODUCED if all_below else NOISE


def judge_spread(draws: Figures, iou: Figures) -> str:
    """Reproduced if the rows lie further apart than equal losses do in 95 of 100 draws."""
    equal = {label: values - values.mean() for label, values in draws.items()}
    return REPRODUCED if spread(iou) > np.quantile(spread(equal), 1 - ERROR) else NOISE


CLAIMS = (
    Claim("Tversky(α, β = 0.3) has the highest IoU",
          "its lead over the best other row", 0.81, lead, judge_lead),
    Claim("… about 0.81 % higher than Dice", "Tversky 0.3 − Dice", 0.81, difference(T3, DICE)),
    Claim("… about 2.47 % from BCE", "Tversky 0.3 − BCE", 2.47, difference(T3, BCE)),
    Claim("… at most 4.77 % above the others (abstract)", "Tversky 0.3 − BCE-Dice(1:1)", 4.77,
          difference(T3, EVEN)),
    Claim("the higher the share of Dice in BCE-Dice, the better (on the whole)",
          "rise from 1:1 to 0.25:1 (line through three rows)", 2.31, slope),
    Claim("BCE-Dice(0.25:1) differs from Dice by 1.65 %", "Dice − BCE-Dice(0.25:1)", 1.65,
          difference(DICE, QUARTER)),
    Claim("… and from BCE-Dice(1:1) by 3.96 % (its table: 2.31)",
          "BCE-Dice(0.25:1) − BCE-Dice(1:1)", 3.96, difference(QUARTER, EVEN)),
    Claim("Dice plays an important role in this task", "Dice − BCE", 1.66, difference(DICE, BCE)),
    Claim("tuning the share of Dice optimises the result (its table: no mix beats Dice)",
          "best BCE-Dice − better of BCE and Dice", -1.65, gain_of_mixing, judge_mixing),
    Claim("a loss can be chosen for a data set (its last sentence)", "best row − worst row", 4.77,
          spread, judge_spread))


def verdicts(source: Source, variant: str = "iou", learned: bool = False) -> pd.DataFrame:
    """Each claim's figure in IoU points, the paper's and ours with a 95 % interval, and a verdict.

    "reproduced": the interval lies above 0 (", not in size": the printed figure is outside it);
    "not reproduced": it lies below 0; else "within the noise". A best or worst of several rows
    would be biased by its choice: there rows are compared one by one, and the spread with that of
    equal losses. Frames and seeds are drawn together for all losses, and only seeds that all rows
    have are used; `learned` leaves out those with which a row's run collapsed. One seed can't tell
    a loss from luck: no verdict. Empty while a row has no record.
    """
    seeds = common_seeds(source, learned)
    if not any(seeds.values()):
        return pd.DataFrame()
    drawn = {label: variant_draws(counts)[variant] for label, counts in seeds.items()}
    means = {label: np.mean([iou_variants(images)[variant] for images in at_half(counts)])
             for label, counts in seeds.items()}
    return pd.DataFrame([judged(claim, means, drawn, len(seeds[T3])) for claim in CLAIMS])


def common_seeds(source: Source, learned: bool) -> dict[str, list[dict]]:
    """By the paper's labels, the counts of each seed that every row has."""
    binary = replace(source.protocol, classes="binary", loss="bce", weight=None)
    labels = [row.label for row in paper_rows(binary)]
    rows = dict(zip(labels, paper_rows(source.protocol)))
    found = {label: [] for label in labels}
    for seed in source.seeds:
        one = replace(source, seeds=(seed,))
        counts = {label: one.counts(row.loss, row.weight) for label, row in rows.items()}
        if all(counts.values()) and not (learned and any(
                collapsed(at_half(of_row)[0]) for of_row in counts.values())):
            found = {label: found[label] + of_row for label, of_row in counts.items()}
    return found


def judged(claim: Claim, means: Figures, draws: Figures, seeds: int) -> dict:
    """A claim as a row of the table."""
    ours = 100 * float(claim.compute(means))
    low, high = (100 * limit for limit in intervals.interval(claim.compute(draws)))
    if seeds == 1:
        verdict = "one seed: none"
    elif np.isnan(low):
        verdict = "no interval: none"
    elif claim.judge:
        verdict = claim.judge(draws, means)
    elif low > 0:
        verdict = REPRODUCED + ("" if low <= claim.printed <= high else ", not in size")
    else:
        verdict = NOT_REPRODUCED if high < 0 else NOISE
    return {"sentence": claim.sentence, "figure": claim.figure, "paper": claim.printed,
            "ours": round(ours, 2), "low": round(low, 2), "high": round(high, 2),
            "seeds": seeds, "verdict": verdict}
