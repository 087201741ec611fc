"""Each loss of the study of roads against each: which one to choose."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from crackutils.metrics import iou_variants
from crackutils.papers import bootstrap, published
from crackutils.papers.crack_tables import Source
from crackutils.papers.road_tables import (
    IOUS,
    at_half,
    check_frames,
    collapsed,
    paper_rows,
    pooled_iou,
    rows_of,
    variant_draws,
)

TABLE = published.iou_table()
T3, DICE, T2, QUARTER, BCE, MIDDLE, EVEN = TABLE["label"]
MIXES = {row.label: published.dice_share(row.loss, row.weight)  # the higher, the more Dice
         for row in TABLE.itertuples() if row.loss == "bce_dice"}
REPRODUCED, NOT_REPRODUCED, NOISE = "reproduced", "not reproduced", "within the noise"
NOT_IN_SIZE = ", not in size"
ERROR = 0.05  # of 100 verdicts on losses without a difference, so many are wrong
MARGIN = 0.05  # of an interval: its limits deviate by 0.01 from one set of draws to another
Figures = dict[str, np.ndarray]  # by label: the IoU, or draws of it


class Claim(NamedTuple):
    """A sentence, what its figure is, how to compute it from the IoU of each label, what the text
    prints if not that of its own table (IoU points), and, where an interval of the figure won't do
    (a best or worst of several rows is biased by its choice), a verdict from draws and IoU and the
    smallest figure that would have been told."""

    sentence: str
    figure: str
    compute: Callable[[Figures], np.ndarray]
    in_text: float | None = None
    judge: Callable[[Figures, Figures], tuple[str, float]] | None = None

    @property
    def printed(self) -> float:
        """The paper's figure, in IoU points."""
        iou = {label: np.float64(100 * value) for label, value in zip(TABLE["label"], TABLE["iou"])}
        return round(float(self.compute(iou)), 2) if self.in_text is None else self.in_text


def difference(first: str, second: str) -> Callable[[Figures], np.ndarray]:
    """The IoU of one label less that of another."""
    return lambda iou: iou[first] - iou[second]


def lead(iou: Figures) -> np.ndarray:
    """Of Tversky 0.3 over the best of the others."""
    return iou[T3] - np.maximum.reduce([iou[label] for label in iou if label != T3])


def slope(iou: Figures) -> np.ndarray:
    """From 1:1 to .25:1, of a straight line through the IoU of the BCE-Dice rows by their share of
    Dice."""
    shares = np.array(list(MIXES.values()))
    centred = shares - shares.mean()
    rise = sum(weight * iou[label] for label, weight in zip(MIXES, centred / (centred**2).sum()))
    return rise * np.ptp(shares)


def gain_of_mixing(iou: Figures) -> np.ndarray:
    """Of the best BCE-Dice over the better of BCE and Dice."""
    return np.maximum.reduce([iou[label] for label in MIXES]) - np.maximum(iou[BCE], iou[DICE])


def spread(iou: Figures) -> np.ndarray:
    """Of the best row over the worst."""
    return np.ptp(np.stack(list(iou.values())), axis=0)


def told_from(iou: Figures, first: str, second: str, comparisons: int = 1) -> float:
    """How far a label's IoU has to lie above another's, so that its draws surely do, at an error
    shared by so many comparisons."""
    apart = iou[first] - iou[second]
    return apart.mean() - np.quantile(apart, ERROR / 2 / comparisons)


def surely_above(iou: Figures, first: str, second: str, comparisons: int = 1) -> bool:
    """Whether a label's draws lie above another's, at an error shared by so many comparisons."""
    return np.quantile(iou[first] - iou[second], ERROR / 2 / comparisons) > 0


def judge_lead(draws: Figures, iou: Figures) -> tuple[str, float]:
    """Reproduced if Tversky 0.3 is surely above every other row, not if one is surely above it."""
    others = [label for label in draws if label != T3]
    best = max(iou[other] for other in others)
    smallest = max(told_from(draws, T3, other) - (best - iou[other]) for other in others)
    if all(surely_above(draws, T3, other) for other in others):
        return REPRODUCED, smallest
    beaten = any(surely_above(draws, other, T3, len(others)) for other in others)
    return NOT_REPRODUCED if beaten else NOISE, smallest


def judge_mixing(draws: Figures, iou: Figures) -> tuple[str, float]:
    """Reproduced if a mix is surely above BCE and Dice, not if each is surely below one of them."""
    best, better = max(MIXES, key=iou.get), max(iou[BCE], iou[DICE])
    smallest = max(told_from(draws, best, pure, len(MIXES)) - (better - iou[pure])
                   for pure in (BCE, DICE))
    if any(all(surely_above(draws, mix, pure, len(MIXES)) for pure in (BCE, DICE))
           for mix in MIXES):
        return REPRODUCED, smallest
    all_below = all(any(surely_above(draws, pure, mix, 2) for pure in (BCE, DICE))
                    for mix in MIXES)
    return NOT_REPRODUCED if all_below else NOISE, smallest


def judge_spread(draws: Figures, iou: Figures) -> tuple[str, float]:
    """Reproduced if the rows lie further apart than equal losses do in 95 of 100 draws."""
    equal = {label: values - values.mean() for label, values in draws.items()}
    smallest = np.quantile(spread(equal), 1 - ERROR)
    return REPRODUCED if spread(iou) > smallest else NOISE, smallest


CLAIMS = (
    Claim("Tversky(α, β = 0.3) has the highest IoU", "its lead over the best other row", lead,
          judge=judge_lead),
    Claim("… about 0.81 % higher than Dice", "Tversky 0.3 − Dice", difference(T3, DICE)),
    Claim("… about 2.47 % from BCE", "Tversky 0.3 − BCE", difference(T3, BCE)),
    Claim("… at most 4.77 % above the others (abstract)", "Tversky 0.3 − BCE-Dice(1:1)",
          difference(T3, EVEN)),
    Claim("the higher the share of Dice in BCE-Dice, the better (on the whole)",
          "rise from 1:1 to 0.25:1 (line through three rows)", slope),
    Claim("BCE-Dice(0.25:1) differs from Dice by 1.65 %", "Dice − BCE-Dice(0.25:1)",
          difference(DICE, QUARTER)),
    Claim("… and from BCE-Dice(1:1) by 3.96 % (its table: 2.31)",
          "BCE-Dice(0.25:1) − BCE-Dice(1:1)", difference(QUARTER, EVEN), in_text=3.96),
    Claim("Dice plays an important role in this task (read as: Dice is better than BCE)",
          "Dice − BCE", difference(DICE, BCE)),
    Claim("tuning the share of Dice optimises the result (read as: a mix beats BCE and Dice; its "
          "own table has none)", "best BCE-Dice − better of BCE and Dice", gain_of_mixing,
          judge=judge_mixing),
    Claim("a loss can be chosen for a data set (its last sentence; read as: losses differ)",
          "best row − worst row", spread, judge=judge_spread))


def verdicts(source: Source, learned: bool = False) -> pd.DataFrame:
    """Each claim's figure in IoU points, the paper's and ours, with a 95 % interval, and a verdict.

    "reproduced": the interval lies above 0; "not reproduced": it lies below; else "within the
    noise"; ", not in size": the printed figure lies clearly outside of it (limits are drawn, and
    scatter). A measured figure from `told_from` on would have been told from 0: where that is above
    the paper's, "within the noise" says that there are too few runs, not that the paper errs. A
    best or worst of several rows has no interval: there rows are compared one by one, and the
    spread with that of equal losses. Frames and seeds are drawn together for all losses, and only
    seeds that all rows have are used; `learned` leaves out those with which a row's run collapsed.
    One seed can't tell a loss from luck: no verdict. Empty while a row has no record.
    """
    return by_variant(source, learned)["iou"]


def by_variant(source: Source, learned: bool) -> dict[str, pd.DataFrame]:
    """`verdicts` in every definition of IoU."""
    seeds = common_seeds(source, learned)
    if not any(seeds.values()):
        return dict.fromkeys(IOUS, pd.DataFrame())
    check_frames(sum(seeds.values(), []))
    drawn = {label: variant_draws(counts) for label, counts in seeds.items()}
    scored = {label: [iou_variants(images) for images in at_half(counts)]
              for label, counts in seeds.items()}
    return {variant: pd.DataFrame([judged(
        claim, {label: np.mean([one[variant] for one in some]) for label, some in scored.items()},
        {label: draws[variant] for label, draws in drawn.items()}, len(seeds[T3]))
        for claim in CLAIMS]) for variant in IOUS}


def by_definition(source: Source, learned: bool = False) -> pd.DataFrame:
    """The verdict on each claim in every definition of IoU."""
    found = by_variant(source, learned)
    if found["iou"].empty:
        return pd.DataFrame()
    return pd.DataFrame({"figure": found["iou"]["figure"],
                         **{variant: table["verdict"] for variant, table in found.items()}})


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
                collapsed(of_row[0]) for of_row in counts.values())):
            found = {label: found[label] + of_row for label, of_row in counts.items()}
    return found


def judged(claim: Claim, means: Figures, draws: Figures, seeds: int) -> dict:
    """A claim as a row of the table."""
    found = claim.compute(draws)
    low, high = (np.nan, np.nan) if claim.judge else bootstrap.interval(found)
    smallest = found.mean() - low
    if seeds == 1:
        verdict, smallest = "one seed: none", np.nan
    elif np.isnan(bootstrap.interval(found)).any():
        verdict, smallest = "no interval: none", np.nan
    elif claim.judge:
        verdict, smallest = claim.judge(draws, means)
    elif high < 0:
        verdict = NOT_REPRODUCED
    else:
        margin = MARGIN * (high - low)
        in_size = 100 * (low - margin) <= claim.printed <= 100 * (high + margin)
        verdict = (REPRODUCED if low > 0 else NOISE) + ("" if in_size else NOT_IN_SIZE)
    ours, low, high, smallest = (round(100 * float(one), 2)
                                 for one in (claim.compute(means), low, high, smallest))
    return {"sentence": claim.sentence, "figure": claim.figure, "paper": claim.printed,
            "ours": ours, "low": low, "high": high, "told_from": smallest, "seeds": seeds,
            "verdict": verdict}


def pairs(source: Source) -> pd.DataFrame:
    """Every two rows of the table, the paper's or added.

    `difference` is the first's IoU less the second's, in points, over the `seeds` runs of both with
    which neither collapsed (two or more), with its 95 % interval `low` to `high`. `told`: whether
    the interval that holds for all the pairs together (Bonferroni) leaves out 0.
    """
    runs_of = {}
    for row in rows_of(source):
        found = {seed: replace(source, seeds=(seed,)).counts(row.loss, row.weight)
                 for seed in source.seeds}
        runs_of[row.label] = {seed: counts[0] for seed, counts in found.items()
                              if counts and not collapsed(counts[0])}
    shared = {(first, second): sorted(runs_of[first].keys() & runs_of[second].keys())
              for first, second in combinations(runs_of, 2)}
    shared = {pair: tuple(seeds) for pair, seeds in shared.items() if len(seeds) > 1}
    wanted = {(label, seeds) for pair, seeds in shared.items() for label in pair}
    counts = {(label, seeds): [runs_of[label][seed] for seed in seeds] for label, seeds in wanted}
    check_frames(sum(counts.values(), []))
    draws = {one: variant_draws(some)["iou"] for one, some in counts.items()}
    means = {one: pooled_iou(some) for one, some in counts.items()}
    lines = []
    for pair, seeds in shared.items():
        first, second = ((label, seeds) for label in pair)
        low, high = bootstrap.interval(draws[first] - draws[second])
        told = any(surely_above(draws, *order, len(shared))
                   for order in ((first, second), (second, first)))
        points = [round(100 * one, 2) for one in (means[first] - means[second], low, high)]
        lines.append([*pair, len(seeds), *points, told])
    return pd.DataFrame(lines, columns=["first", "second", "seeds", "difference", "low", "high",
                                        "told"])
