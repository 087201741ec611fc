"""Which loss finds the fine cracks: recall by crack width, compared at equal precision.

A network that marks more pixels finds more cracks, and makes more false alarms. So the losses are
compared at equal precision: each network gets the lowest threshold at which its precision on the
validation part reaches a given value. Differences are paired: all losses share their pictures and
seeds.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from crackutils import metrics
from crackutils.evaluation import WIDTH_EDGES
from crackutils.losses import label, posterior
from crackutils.papers import bootstrap
from crackutils.papers.crack_tables import none_if_missing, seeds_used, width_labels
from crackutils.papers.source import Counts, Source, warn_of_mixed_environments

# the losses whose recall of fine cracks is compared first, and those that follow; weighted BCE has
# the class weight of Balanced Step 0.83, (1 + 0.83) / (1 - 0.83)
FIRST_SETTINGS = (("mse", None), ("bce", None), ("relu", 0.97), ("balanced_step", 0.83),
                  ("dice", None))
OTHER_SETTINGS = (("squared_balanced_step", 0.5), ("step", 0.69), ("step", 0.73),
                  ("weighted_bce", 10.8), ("bce_dice", (1.0, 1.0)), ("tversky", (0.3, 0.7)),
                  ("focal", 2.0), ("dice_cldice", 0.5))
SETTINGS = FIRST_SETTINGS + OTHER_SETTINGS
# paper A's network and tiles, trained for a time that a few photographs need: the fields of the
# protocol `paper` that change
PAPER_NETWORK = {"steps": 1_600, "batch": 4, "schedule": "cosine", "augmentation": "flips"}
# what paper A leaves open, each as the fields of the protocol `quick` that change
OPEN_CHOICES = {
    "5 levels": {"levels": 5},
    "7x7 kernels": {"kernel": 7},
    "5 levels and 7x7 kernels": {"levels": 5, "kernel": 7},
    "twice the filters": {"first_filters": 16},
    "bottleneck of 32 filters": {"widest": 32},
    "no batch norm": {"batch_norm": False},
    "bilinear up-sampling": {"upsampling": "bilinear"},
    "linear output, clipped": {"output": "clipped"},
    "constant learning rate": {"schedule": "constant"},
    "learning rate 0.001": {"learning_rate": 1e-3},
    "flipped tiles": {"augmentation": "flips"},
    "flips, rotation, brightness": {"augmentation": "full"},
}
PRECISIONS = (0.7, 0.8, 0.9)
ABOVE = 0.02  # by how much a precision may exceed the wanted one at the lowest threshold
DRAWS = 10_000
DIFFERENCE = ("difference", "difference_low", "difference_high", "smallest_detectable")
ENOUGH_SEEDS = 3  # the interval of a difference over two seeds is too wide to be of use


class Found(NamedTuple):
    """What a network finds of the cracks in each picture at one threshold.

    `found` and `present` are numbers of crack pixels, pictures x `strata_names()`. The first column
    is the total over all widths. The last one is for F1: twice the true positives, and that plus
    the false positives and false negatives, so that its ratio is F1. With a tolerance it is 0.
    `draws`: the recalls in bootstrap draws of the pictures, draws x `strata_names()`, with the
    threshold chosen anew in each; None if the threshold was given.
    """

    threshold: float
    precision: float
    found: np.ndarray
    present: np.ndarray
    draws: np.ndarray | None = None


def pooled(of_pictures: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Counts (pictures x thresholds) summed over the pictures; with `weights` (draws x pictures),
    in each draw of the pictures: draws x thresholds."""
    of_pictures = of_pictures.astype(float)
    return of_pictures.sum(axis=0) if weights is None else weights @ of_pictures


def precisions(counts: Counts, part: str, tolerance: int = 0,
               weights: np.ndarray | None = None) -> np.ndarray:
    """The precision of a part at every threshold, pooled over its pictures or in draws of them.

    With a tolerance, a predicted pixel is right if it lies at most that many pixels from a crack.
    The precision is then given at the fewer `detail_thresholds` only. NaN where no pixel is
    predicted.
    """
    right = pooled(counts[f"{part}_true_positives"], weights)
    claimed = right + pooled(counts[f"{part}_false_positives"], weights)
    if tolerance:
        place = counts["tolerances"].tolist().index(tolerance)
        right = pooled(counts[f"{part}_claimed_near"][:, place], weights)
        claimed = claimed[..., np.isin(counts["thresholds"], counts["detail_thresholds"])]
    return np.where(claimed > 0, metrics.ratio(right, claimed), np.nan)


def f1_scores(counts: Counts, part: str, tolerance: int = 0,
              weights: np.ndarray | None = None) -> np.ndarray:
    """The F1 of a part, without a tolerance, at the same thresholds as `precisions`."""
    right, false, missed = (pooled(counts[f"{part}_{quantity}"], weights) for quantity in
                            ("true_positives", "false_positives", "false_negatives"))
    scores = metrics.ratio(2 * right, 2 * right + false + missed)
    if tolerance:
        scores = scores[..., np.isin(counts["thresholds"], counts["detail_thresholds"])]
    return scores


def chosen_index(counts: Counts, part: str, precision: float | None, tolerance: int,
                 weights: np.ndarray | None = None) -> np.ndarray:
    """The place of the threshold that a part chooses: the lowest at which its precision is at least
    `precision`, else the one of the highest precision; that of the best F1 if `precision` is
    None. With `weights` (draws x pictures), one for each draw of the pictures."""
    if precision is None:
        return f1_scores(counts, part, tolerance, weights).argmax(axis=-1)
    values = np.nan_to_num(precisions(counts, part, tolerance, weights), nan=-1)
    reached = values >= precision
    return np.where(reached.any(axis=-1), reached.argmax(axis=-1), values.argmax(axis=-1))


def found_at_precision(counts: Counts, part: str, precision: float | None, tolerance: int = 0,
                       chosen_on: str = "validation") -> Found | None:
    """What a network finds at the lowest threshold at which its precision on the part `chosen_on`
    is at least `precision`. None if no threshold has this precision: it is lower at all of them, or
    higher by more than `ABOVE` even at the lowest. If `precision` is None, the threshold of the
    best F1 on `chosen_on` is used.

    For the `draws` of the result the pictures of both parts are resampled: the same ones for every
    network, so that differences are paired.
    """
    if precision is not None:
        of_thresholds = precisions(counts, chosen_on, tolerance)
        if not (of_thresholds >= precision).any() or of_thresholds[0] > precision + ABOVE:
            return None
    thresholds = counts["detail_thresholds"] if tolerance else counts["thresholds"]
    number = DRAWS // bootstrap.SEED_DRAWS
    weights = bootstrap.picture_weights(len(counts[f"{part}_names"]), number)
    choosing = weights if chosen_on == part else bootstrap.picture_weights(
        len(counts[f"{chosen_on}_names"]), number, stream=2)
    chosen = chosen_index(counts, chosen_on, precision, tolerance, choosing)
    draws = np.empty((number, len(strata_names())))
    for index in np.unique(chosen):
        found, present = pixels_at(counts, part, float(thresholds[index]), tolerance)
        drawn = weights[chosen == index]
        draws[chosen == index] = metrics.ratio(drawn @ found, drawn @ present)
    best = float(thresholds[chosen_index(counts, chosen_on, precision, tolerance)])
    return found_at_threshold(counts, part, best, tolerance)._replace(draws=draws)


def found_at_threshold(counts: Counts, part: str, threshold: float, tolerance: int = 0) -> Found:
    """What a network finds at a threshold, with a tolerance one of the `detail_thresholds`."""
    if tolerance:
        index = counts["detail_thresholds"].tolist().index(threshold)
    else:
        index = metrics.at_threshold(counts, threshold)
    return Found(threshold, float(precisions(counts, part, tolerance)[index]),
                 *pixels_at(counts, part, threshold, tolerance))


def pixels_at(counts: Counts, part: str, threshold: float,
              tolerance: int) -> tuple[np.ndarray, np.ndarray]:
    """`found` and `present` of `Found` at a threshold."""
    present = counts[f"{part}_positives_by_width"].astype(np.int64)
    if tolerance:
        place = counts["tolerances"].tolist().index(tolerance)
        index = counts["detail_thresholds"].tolist().index(threshold)
        found = counts[f"{part}_found_near_by_width"][:, place, :, index].astype(np.int64)
        twice_right = wrong = np.zeros(len(present), np.int64)
    else:
        index = metrics.at_threshold(counts, threshold)
        found = counts[f"{part}_true_positives_by_width"][:, :, index].astype(np.int64)
        images = metrics.images_at(counts, part, threshold)
        twice_right = 2 * images["true_positives"]
        wrong = images["false_positives"] + images["false_negatives"]
    return (np.column_stack([found.sum(axis=1), found, twice_right]),
            np.column_stack([present.sum(axis=1), present, twice_right + wrong]))


def recall_table(source: Source, precision: float | None, part: str = "test", tolerance: int = 0,
                 baseline: tuple = ("mse", None), chosen_on: str = "validation",
                 settings: Sequence[tuple] = SETTINGS) -> pd.DataFrame:
    """The recall of each loss by crack width at one precision: a row for each loss and stratum.

    - `loss, weight, stratum`: the stratum is a width class, "all", or "F1", for which `recall` and
      all that follows from it are the F1;
    - `recall, low, high`: mean over the seeds and 95 % interval; `of_each_seed`: each one's;
    - `difference`: the recall less that of the `baseline`, over the seeds that both have (NaN in
      the baseline's own rows and where no seed is shared);
    - `difference_low, difference_high`: its 95 % interval, Bonferroni-corrected for the number of
      losses, from `ENOUGH_SEEDS` on; `smallest_detectable`: half the length of that interval;
    - `precision, threshold`: their means; `seeds, missing_seeds`: see `seeds_used`.
    """
    runs = {}
    for loss, weight in settings:
        found = {seed: found_at_precision(counts, part, precision, tolerance, chosen_on)
                 for seed, counts in source.counts(loss, weight).items()
                 if f"{part}_positives_by_width" in counts}
        runs[loss, weight] = {seed: one for seed, one in found.items() if one is not None}
    runs = {setting: of_seeds for setting, of_seeds in runs.items() if of_seeds}
    warn_of_mixed_environments(source.folders(runs))
    lines = []
    for setting, of_seeds in runs.items():
        shared = sorted(of_seeds.keys() & runs.get(baseline, {}).keys())
        for stratum, name in enumerate(strata_names()):
            if not next(iter(of_seeds.values())).present[:, stratum].any():
                continue
            line = {"loss": setting[0], "weight": setting[1], "stratum": name,
                    **estimate(list(of_seeds.values()), stratum),
                    **dict.fromkeys(DIFFERENCE, np.nan)}
            if setting != baseline and shared:
                line |= difference([of_seeds[seed] for seed in shared],
                                   [runs[baseline][seed] for seed in shared], stratum,
                                   comparisons=len(runs) - 1)
            line |= {name: np.mean([getattr(one, name) for one in of_seeds.values()])
                     for name in ("precision", "threshold")}
            lines.append(line | seeds_used(source, of_seeds))
    return pd.DataFrame(lines)


def strata_names() -> list[str]:
    """The names of the strata of `Found`."""
    return ["all", *width_labels(WIDTH_EDGES), "F1"]


def estimate(runs: list[Found], stratum: int) -> dict:
    """Mean recall over the seeds, its 95 % interval over pictures and seeds, and each seed's."""
    values = [recall_of(run, stratum) for run in runs]
    low, high = bootstrap.interval(draws_of(runs, stratum))
    return {"recall": float(np.mean(values)), "low": low, "high": high,
            "of_each_seed": " ".join(f"{value:.3f}" for value in values)}


def difference(runs: list[Found], baseline: list[Found], stratum: int, comparisons: int) -> dict:
    """The mean paired difference in recall to the baseline, with its corrected interval."""
    means = [np.mean([recall_of(run, stratum) for run in group]) for group in (runs, baseline)]
    draws = draws_of(runs, stratum) - draws_of(baseline, stratum)
    if len(runs) < ENOUGH_SEEDS:
        low = high = np.nan
    else:
        low, high = bootstrap.interval(draws, comparisons)
    return dict(zip(DIFFERENCE, (means[0] - means[1], low, high, (high - low) / 2), strict=True))


def recall_of(run: Found, stratum: int) -> float:
    """The recall of a stratum, pooled over the pictures."""
    return float(metrics.ratio(run.found[:, stratum].sum(), run.present[:, stratum].sum()))


def draws_of(runs: list[Found], stratum: int) -> np.ndarray:
    """Bootstrap samples of the recall averaged over the seeds."""
    return bootstrap.draws_over_seeds(np.stack([run.draws[:, stratum] for run in runs]))


def tolerance_table(source: Source, part: str = "test") -> pd.DataFrame:
    """What a tolerance in the place of a crack changes: a row for each loss.

    Each network has the threshold of the best F1 on the validation part, among the
    `DETAIL_THRESHOLDS`. `F1, 0 px` to `F1, 3 px` are the harmonic means of the share of predicted
    pixels near a crack and the share of crack pixels near a predicted one; `clDice` compares the
    skeletons (Shit et al., CVPR 2021). All are pooled over the pictures, and means over the seeds.
    """
    rows = {}
    for loss, weight in SETTINGS:
        values = [tolerant_scores(counts, part) for counts in source.counts(loss, weight).values()
                  if f"{part}_claimed_near" in counts]
        if values:
            rows[label(loss, weight)] = {**pd.DataFrame(values).mean(), "seeds": len(values)}
    return pd.DataFrame.from_dict(rows, orient="index")


def tolerant_scores(counts: Counts, part: str) -> dict[str, float]:
    """F1 with each tolerance, and clDice, of one network: a row of `tolerance_table`."""
    index = chosen_index(counts, "validation", None, tolerance=1)
    threshold = float(counts["detail_thresholds"][index])
    index = metrics.at_threshold(counts, threshold)
    scores = {"F1, 0 px": metrics.scores(counts, part)["f1_score"][index]}
    for tolerance in counts["tolerances"].tolist():
        found = found_at_threshold(counts, part, threshold, tolerance)
        scores[f"F1, {tolerance} px"] = harmonic_mean(found.precision, recall_of(found, 0))
    detail = counts["detail_thresholds"].tolist().index(threshold)
    right, claimed, met, present = (counts[f"{part}_{name}"].astype(np.int64).sum(axis=0) for name
                                    in ("claimed_skeleton_right", "claimed_skeleton",
                                        "skeleton_found", "skeleton"))
    scores["clDice"] = harmonic_mean(metrics.ratio(right, claimed)[detail], met[detail] / present)
    return scores


def harmonic_mean(precision: float, recall: float) -> float:
    """2 P R / (P + R); 0 where nothing is predicted."""
    return float(metrics.ratio(2 * precision * recall, precision + recall)) if recall > 0 else 0.0


def open_choices(source: Source) -> pd.DataFrame:
    """How far each of the `OPEN_CHOICES` moves the F1 of the squared error from the source's.

    `choice`; `f1`, at the threshold of the best F1 on the validation part, a mean over the `seeds`;
    its difference to the source's own protocol with the corrected 95 % interval (`f1_difference`,
    `f1_low`, `f1_high`). The largest difference comes first. Choices without a record are left out.
    """
    pooled = len(strata_names()) - 1  # the place of F1
    default, lines = source.counts("mse", None), []
    for name, fields in OPEN_CHOICES.items():
        protocol = replace(source.protocol, **fields)
        of_seeds = replace(source, protocol=protocol).counts("mse", None)
        seeds = sorted(of_seeds.keys() & default.keys())
        if not seeds or protocol == source.protocol:
            continue
        changed, usual = ([found_at_precision(counts[seed], "test", None) for seed in seeds]
                          for counts in (of_seeds, default))
        row = difference(changed, usual, pooled, comparisons=len(OPEN_CHOICES))
        lines.append({"choice": name, "seeds": len(seeds),
                      "f1": np.mean([recall_of(run, pooled) for run in changed]),
                      "f1_difference": row["difference"], "f1_low": row["difference_low"],
                      "f1_high": row["difference_high"]})
    table = pd.DataFrame(lines)
    if lines:
        table = table.sort_values("f1_difference", key=abs, ascending=False, ignore_index=True)
    return table


def name_of(row: dict) -> str:
    """The loss of a row with its weight, for readers."""
    return label(row["loss"], none_if_missing(row["weight"]))


def answer(table: pd.DataFrame, stratum: str = "1-2 px") -> list[str]:
    """A `recall_table` in sentences: which losses find significantly more of a stratum than MSE,
    and which fewer: those whose corrected interval of the difference does not contain 0."""
    rows = table[table["stratum"] == stratum] if len(table) else table
    if not len(rows) or rows["difference_low"].isna().all():
        return ["no answer: intervals need three seeds of MSE and of another loss."]
    compared = rows.dropna(subset="difference_low").sort_values("difference", ascending=False)
    more, fewer = compared["difference_low"] > 0, compared["difference_high"] < 0
    sentences = []
    for direction, group in (("more", compared[more]), ("fewer", compared[fewer])):
        names = ", ".join(f"{name_of(row)} ({row['difference']:+.3f})"
                          for row in group.to_dict("records"))
        if names or direction == "more":
            sentences.append(f"{len(group) or 'none'} of {len(compared)} losses find significantly "
                             f"{direction} of the cracks {stratum.replace('-', ' to ')} wide than "
                             f"MSE{': ' + names if names else ''}.")
    return sentences


def reliability(counts: Counts, loss: str, weight, part: str = "test") -> pd.DataFrame:
    """How often the pixels with a prediction are cracks: a row for each bin between thresholds, of
    which the first begins at 0 and the last ends at 1.

    `prediction_low, prediction_high` are the bin's limits, `posterior_low, posterior_high` the
    crack probabilities at which the loss is lowest for these predictions (`losses.posterior`), and
    `observed` is the share of cracks among the bin's `pixels`. A network that has learned the
    probabilities, and only them, has `observed` between the two of `posterior`.
    """
    total = metrics.pooled(counts, part)
    positives = np.append(total["true_positives"][0] + total["false_negatives"][0],
                          total["true_positives"])
    claimed = np.append(counts[f"{part}_pixels"].astype(np.int64).sum(),
                        total["true_positives"] + total["false_positives"])
    limits = np.array([0, *counts["thresholds"], 1])
    table = pd.DataFrame({"pixels": -np.diff(claimed, append=0),
                          "cracks": -np.diff(positives, append=0)})
    # the slope of a logarithm has no value at 0 and 1
    mapped = posterior(loss, limits.clip(1e-6, 1 - 1e-6), weight)
    for name, values in (("prediction", limits), ("posterior", mapped)):
        table[f"{name}_low"], table[f"{name}_high"] = values[:-1], values[1:]
    table["observed"] = metrics.ratio(table["cracks"], table["pixels"])
    return table


def calibration_error(table: pd.DataFrame, column: str) -> float:
    """By how much the observed shares of `reliability` lie outside their bins' limits in a column,
    "prediction" or "posterior": the mean over pixels, 0 if all lie inside."""
    inside = table["observed"].clip(table[f"{column}_low"], table[f"{column}_high"])
    distance = (table["observed"] - inside).abs()
    return float((distance * table["pixels"]).sum() / table["pixels"].sum())
