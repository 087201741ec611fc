"""Each loss of the study of roads against each: which one to choose."""

from dataclasses import replace
from itertools import combinations

import pandas as pd

from crackutils import intervals
from crackutils.drivable import rows_of
from crackutils.road_scores import check_frames, collapsed, pooled_iou, variant_draws
from crackutils.tables import Source
from crackutils.verdicts import surely_above


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
        low, high = intervals.interval(draws[first] - draws[second])
        told = any(surely_above(draws, *order, len(shared))
                   for order in ((first, second), (second, first)))
        points = [round(100 * one, 2) for one in (means[first] - means[second], low, high)]
        lines.append([*pair, len(seeds), *points, told])
    return pd.DataFrame(lines, columns=["first", "second", "seeds", "difference", "low", "high",
                                        "told"])
