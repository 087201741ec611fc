"""Does paper B's conclusion hold in our runs? A verdict on each claim, and every pair of losses."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from crackutils.papers import bootstrap, published, road_tables
from crackutils.papers.crack_tables import seeds_used
from crackutils.papers.road_tables import IOUS, check_same_frames, iou_draws, mean_ious, table_rows
from crackutils.papers.source import Counts, Source, warn_of_mixed_environments

PUBLISHED = published.iou_table()
(TVERSKY_03, DICE, TVERSKY_02, BCE_DICE_025, BCE, BCE_DICE_043, BCE_DICE_1) = PUBLISHED["label"]
DICE_SHARES = {row.label: published.dice_share(row.loss, row.weight)
               for row in PUBLISHED.itertuples() if row.loss == "bce_dice"}
REPRODUCED, NOT_REPRODUCED, NOISE = "reproduced", "not reproduced", "not distinguishable"
SIZE_EXCLUDED = "; the paper's size is excluded"
ERROR = 0.05  # share of the verdicts on equal losses that are wrong
MARGIN = 0.05  # of an interval's width: its limits vary by 0.01 with the random numbers
IoUs = dict[str, np.ndarray]  # by label: the mean IoU, or bootstrap draws of it


# The figures that the claims are about, from the IoU of each label

def difference(first: str, second: str) -> Callable[[IoUs], np.ndarray]:
    """A function that subtracts the IoU of the second label from that of the first."""
    return lambda iou: iou[first] - iou[second]


def lead(iou: IoUs) -> np.ndarray:
    """The IoU of Tversky 0.3 less that of the best other row."""
    return iou[TVERSKY_03] - np.maximum.reduce([iou[label] for label in iou if label != TVERSKY_03])


def rise_with_dice(iou: IoUs) -> np.ndarray:
    """The rise of IoU from BCE-Dice(1:1) to (0.25:1), on the least-squares line through the three
    BCE-Dice rows by their share of Dice."""
    shares = np.array(list(DICE_SHARES.values()))
    centred = shares - shares.mean()
    slope = sum(centre * iou[label] for label, centre in zip(DICE_SHARES, centred))
    return slope / (centred**2).sum() * np.ptp(shares)


def gain_of_mixing(iou: IoUs) -> np.ndarray:
    """The IoU of the best BCE-Dice less that of the better of BCE and Dice."""
    best_mix = np.maximum.reduce([iou[label] for label in DICE_SHARES])
    return best_mix - np.maximum(iou[BCE], iou[DICE])


def spread(iou: IoUs) -> np.ndarray:
    """The IoU of the best row less that of the worst."""
    return np.ptp(np.stack(list(iou.values())), axis=0)


# Verdicts on figures that choose the best or worst of several rows. An interval would be biased by
# the choice, so rows are compared one by one. Each `judge` function returns the verdict and the
# smallest figure that would have counted as reproduced.

def smallest_detectable_difference(draws: IoUs, first: str, second: str,
                                   comparisons: int = 1) -> float:
    """How far the first label's IoU must lie above the second's to be significantly above it."""
    differences = draws[first] - draws[second]
    return differences.mean() - np.quantile(differences, ERROR / 2 / comparisons)


def significantly_above(draws: IoUs, first: str, second: str, comparisons: int = 1) -> bool:
    """Whether the first label's IoU lies above the second's, at an error of 5 % (two-sided) that
    is shared by this number of comparisons (Bonferroni)."""
    return np.quantile(draws[first] - draws[second], ERROR / 2 / comparisons) > 0


def judge_lead(draws: IoUs, means: IoUs) -> tuple[str, float]:
    """Reproduced if Tversky 0.3 is significantly above every other row; not reproduced if one of
    them is significantly above it."""
    others = [label for label in draws if label != TVERSKY_03]
    best = max(means[other] for other in others)
    smallest = max(smallest_detectable_difference(draws, TVERSKY_03, other) - (best - means[other])
                   for other in others)
    if all(significantly_above(draws, TVERSKY_03, other) for other in others):
        return REPRODUCED, smallest
    if any(significantly_above(draws, other, TVERSKY_03, len(others)) for other in others):
        return NOT_REPRODUCED, smallest
    return NOISE, smallest


def judge_mixing(draws: IoUs, means: IoUs) -> tuple[str, float]:
    """Reproduced if a BCE-Dice is significantly above BCE and above Dice; not reproduced if each
    BCE-Dice is significantly below one of them."""
    mixes, pure_losses = list(DICE_SHARES), (BCE, DICE)
    best_mix = max(mixes, key=means.get)
    better = max(means[pure] for pure in pure_losses)
    smallest = max(
        smallest_detectable_difference(draws, best_mix, pure, len(mixes)) - (better - means[pure])
        for pure in pure_losses)
    above, below = [], []
    for mix in mixes:
        above.append(all(significantly_above(draws, mix, pure, len(mixes)) for pure in pure_losses))
        below.append(any(significantly_above(draws, pure, mix, 2) for pure in pure_losses))
    if any(above):
        return REPRODUCED, smallest
    return NOT_REPRODUCED if all(below) else NOISE, smallest


def judge_spread(draws: IoUs, means: IoUs) -> tuple[str, float]:
    """Reproduced if the rows lie further apart than equal losses would in 95 of 100 draws."""
    equal_losses = {label: values - values.mean() for label, values in draws.items()}
    smallest = np.quantile(spread(equal_losses), 1 - ERROR)
    return REPRODUCED if spread(means) > smallest else NOISE, smallest


@dataclass(frozen=True)
class Claim:
    """A sentence of paper B's conclusion and the figure that decides on it. `compute` computes the
    figure from the IoU of each label. `printed` is the figure in the paper's text (IoU points), if
    its table implies another one; `judge` gives the verdict where an interval would be biased."""

    sentence: str
    figure: str
    compute: Callable[[IoUs], np.ndarray]
    printed: float | None = None
    judge: Callable[[IoUs, IoUs], tuple[str, float]] | None = None

    @property
    def paper(self) -> float:
        """The paper's figure, in IoU points."""
        if self.printed is not None:
            return self.printed
        iou = {row.label: np.float64(100 * row.iou) for row in PUBLISHED.itertuples()}
        return round(float(self.compute(iou)), 2)


CLAIMS = (
    Claim("Tversky(α, β = 0.3) has the highest IoU", "its lead over the best other row", lead,
          judge=judge_lead),
    Claim("… about 0.81 % higher than Dice", "Tversky 0.3 − Dice", difference(TVERSKY_03, DICE)),
    Claim("… about 2.47 % from BCE", "Tversky 0.3 − BCE", difference(TVERSKY_03, BCE)),
    Claim("… at most 4.77 % above the others (abstract)", "Tversky 0.3 − BCE-Dice(1:1)",
          difference(TVERSKY_03, BCE_DICE_1)),
    Claim("the higher the share of Dice in BCE-Dice, the better (on the whole)",
          "rise from 1:1 to 0.25:1 (line through three rows)", rise_with_dice),
    Claim("BCE-Dice(0.25:1) differs from Dice by 1.65 %", "Dice − BCE-Dice(0.25:1)",
          difference(DICE, BCE_DICE_025)),
    Claim("… and from BCE-Dice(1:1) by 3.96 % (its table: 2.31)",
          "BCE-Dice(0.25:1) − BCE-Dice(1:1)", difference(BCE_DICE_025, BCE_DICE_1), printed=3.96),
    Claim("Dice plays an important role in this task (taken to mean: Dice is better than BCE)",
          "Dice − BCE", difference(DICE, BCE)),
    Claim("tuning the share of Dice optimises the result (taken to mean: a mix is better than BCE "
          "and Dice; none is in the paper's table)", "best BCE-Dice − better of BCE and Dice",
          gain_of_mixing, judge=judge_mixing),
    Claim("a loss can be chosen for a data set (its last sentence; taken to mean: losses differ)",
          "best row − worst row", spread, judge=judge_spread))


def verdicts(source: Source, converged: bool = False) -> pd.DataFrame:
    """A verdict on each claim: `sentence, figure, paper, ours, low, high, smallest_detectable`,
    `verdict`, `seeds, missing_seeds`; figures in IoU points, `low` to `high` a 95 % interval.

    "reproduced": the interval lies above 0; "not reproduced": below 0; "not distinguishable": it
    contains 0. "the paper's size is excluded": the paper's figure lies clearly outside of it.
    With these runs a figure below `smallest_detectable` can't be distinguished from 0; where the
    paper's figure is smaller than that, "not distinguishable" says that there are too few runs, not
    that the paper errs. A figure that chooses the best or worst of several rows has no interval:
    the rows are compared one by one.

    Only seeds that every row has are used, with the same draws of frames and seeds for all losses;
    `converged` also leaves out the seeds with which a run of any row collapsed. There is no verdict
    from one seed, which can't tell a better loss from a luckier start. The table is empty if no
    seed is left.
    """
    return verdicts_by_variant(source, converged)["iou"]


def by_definition(source: Source, converged: bool = False) -> pd.DataFrame:
    """The verdict on each claim in every definition of IoU, a column each."""
    tables = verdicts_by_variant(source, converged)
    first = tables["iou"]
    if first.empty:
        return first
    verdict_columns = {name: table["verdict"] for name, table in tables.items()}
    return pd.DataFrame({"figure": first["figure"], **verdict_columns, "seeds": first["seeds"],
                         "missing_seeds": first["missing_seeds"]})


def verdicts_by_variant(source: Source, converged: bool) -> dict[str, pd.DataFrame]:
    """The table of `verdicts` for every definition of IoU."""
    runs = common_runs(source, converged)
    seeds = runs[TVERSKY_03].keys()
    if not seeds:
        return dict.fromkeys(IOUS, pd.DataFrame())
    check_same_frames([counts for of_label in runs.values() for counts in of_label.values()])
    draws = {label: iou_draws(list(of_label.values())) for label, of_label in runs.items()}
    means = {label: mean_ious(list(of_label.values())) for label, of_label in runs.items()}
    tables = {}
    for name in IOUS:
        means_here = {label: of_label[name] for label, of_label in means.items()}
        draws_here = {label: of_label[name] for label, of_label in draws.items()}
        lines = [judge_claim(claim, means_here, draws_here, len(seeds)) for claim in CLAIMS]
        tables[name] = pd.DataFrame(lines).assign(**seeds_used(source, seeds))
    return tables


def common_runs(source: Source, converged: bool) -> dict[str, dict[int, Counts]]:
    """By the paper's label and by seed: the counts of the seeds that every row of the paper has.
    `converged` leaves out a seed with which the run of any row collapsed."""
    rows = road_tables.paper_rows(source.protocol)
    warn_of_mixed_environments(source.folders((row.loss, row.weight) for row in rows))
    runs = {label: source.counts(row.loss, row.weight)
            for label, row in zip(PUBLISHED["label"], rows)}
    common = [seed for seed in source.seeds if all(seed in of_label for of_label in runs.values())]
    if converged:
        common = [seed for seed in common
                  if not any(road_tables.collapsed(of_label[seed]) for of_label in runs.values())]
    return {label: {seed: of_label[seed] for seed in common} for label, of_label in runs.items()}


def judge_claim(claim: Claim, means: IoUs, draws: IoUs, seeds: int) -> dict:
    """A claim as a row of the table (without its seeds)."""
    figure_draws = claim.compute(draws)
    low, high = bootstrap.interval(figure_draws)
    smallest = figure_draws.mean() - low
    if seeds == 1:
        verdict, smallest = "no verdict: one seed", np.nan
    elif np.isnan(low):
        verdict = "no verdict: no interval"
    elif claim.judge is not None:
        verdict, smallest = claim.judge(draws, means)
    elif high < 0:
        verdict = NOT_REPRODUCED
    else:
        verdict = REPRODUCED if low > 0 else NOISE
        margin = MARGIN * (high - low)
        if not 100 * (low - margin) <= claim.paper <= 100 * (high + margin):
            verdict += SIZE_EXCLUDED
    if claim.judge is not None:
        low, high = np.nan, np.nan
    points = {"ours": claim.compute(means), "low": low, "high": high,
              "smallest_detectable": smallest}
    return {"sentence": claim.sentence, "figure": claim.figure, "paper": claim.paper,
            **{name: round(100 * float(value), 2) for name, value in points.items()},
            "verdict": verdict}


def pairs(source: Source) -> pd.DataFrame:
    """The difference between every two rows, those of the paper and those added.

    `first, second, difference, low, high, distinguishable, seeds, missing_seeds`: `difference` is
    the IoU of the first less that of the second, in points, with its 95 % interval `low` to `high`,
    over the seeds with which both converged (two or more). `distinguishable`: 0 is outside of the
    wider interval that holds for all pairs together (Bonferroni).
    """
    rows = table_rows(source)
    warn_of_mixed_environments(source.folders((row.loss, row.weight) for row in rows))
    runs = {}
    for row in rows:
        counts_of_seeds = source.counts(row.loss, row.weight)
        runs[row.label] = {seed: counts for seed, counts in counts_of_seeds.items()
                           if not road_tables.collapsed(counts)}
    shared = {}
    for first, second in combinations(runs, 2):
        seeds = tuple(sorted(runs[first].keys() & runs[second].keys()))
        if len(seeds) > 1:
            shared[first, second] = seeds
    used = {(label, seeds): [runs[label][seed] for seed in seeds]
            for pair, seeds in shared.items() for label in pair}
    check_same_frames([counts for of_label in used.values() for counts in of_label])
    draws = {key: iou_draws(of_label)["iou"] for key, of_label in used.items()}
    means = {key: mean_ious(of_label)["iou"] for key, of_label in used.items()}
    lines = []
    for pair, seeds in shared.items():
        first, second = ((label, seeds) for label in pair)
        low, high = bootstrap.interval(draws[first] - draws[second])
        distinguishable = significantly_above(draws, first, second, len(shared)) \
            or significantly_above(draws, second, first, len(shared))
        lines.append({"first": pair[0], "second": pair[1],
                      "difference": round(100 * (means[first] - means[second]), 2),
                      "low": round(100 * low, 2), "high": round(100 * high, 2),
                      "distinguishable": bool(distinguishable),
                      **seeds_used(source, seeds)})
    return pd.DataFrame(lines, columns=["first", "second", "difference", "low", "high",
                                        "distinguishable", "seeds", "missing_seeds"])
