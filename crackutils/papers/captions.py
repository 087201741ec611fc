"""The caption of each figure: what it shows, and its finding in numbers computed from the records.

`caption(name, source)` is what notebook 08 prints below a figure and `figures/README.md` has beside
its file. A number stands for the whole test part, also where a figure shows a part of one image.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from crackutils import metrics, models
from crackutils.losses import NAMES, WEIGHTED, label
from crackutils.papers import crack_figures, crack_tables, pictures, published, road_tables
from crackutils.papers.crack_tables import found
from crackutils.papers.road_figures import gradient_factor, validation_curves_of
from crackutils.papers.source import Source

COLOURS = "Blue: true positives; orange: misses; dark purple: false alarms."
NO_RECORDS = "There is no record of these runs."
UNKNOWN_WIDTHS = "The widths of these cracks are not known."


def caption(name: str, source: Source) -> str:
    """The caption of a figure drawn from a source; another sentence where that has no record."""
    return CAPTIONS[name](source)


def table_of(runs: list[tuple[str, dict | None]]) -> pd.DataFrame:
    """What runs find (rows: their names), without those that have no record."""
    return pd.DataFrame({name: values for name, values in runs if values is not None}).T


def extremes(values: pd.Series, form: str = ".3f") -> str:
    """The lowest and the highest of some figures, each with its name."""
    low, high = values.idxmin(), values.idxmax()
    return f"{values[low]:{form}} ({low}) to {values[high]:{form}} ({high})"


def with_fine_cracks(rows: pd.DataFrame) -> str:
    """How much of the crack pixels narrower than 2 px each run finds, if the widths are known."""
    fine = rows["fine_recall"].astype(float).dropna()
    if len(fine) < 2:
        return UNKNOWN_WIDTHS
    return f"Of the crack pixels narrower than 2 px they find {extremes(fine, '.0%')}."


def network(source: Source) -> str:
    """Fig. 1."""
    protocol = source.protocol
    filters = [shape[0] for shape in crack_figures.feature_shapes(protocol)]
    parameters = models.parameter_count(models.build(protocol))
    return (f"The U-Net of the protocol {protocol.name}: {protocol.levels} levels, "
            f"{protocol.kernel}×{protocol.kernel} kernels, filters {'-'.join(map(str, filters))}, "
            f"{parameters:,} parameters. The paper prints 16-32-64-128-64-32-16.")


def training(source: Source) -> str:
    """Fig. 7."""
    return ("One step of the training: the error of the prediction is weighted before it becomes "
            "the loss; its gradients give the network new weights. This is repeated for "
            f"{source.protocol.steps:,} steps of {source.protocol.batch} images (in the paper "
            "10,000 of 40).")


def misses_of_mse(source: Source) -> str:
    """Fig. 2."""
    loss, weight, threshold = crack_tables.chosen_rows()[0]
    mse = found(source, loss, weight, threshold)
    if mse is None:
        return NO_RECORDS
    text = (f"MSE at threshold {threshold:g}, in the two images in which it misses most. {COLOURS} "
            f"It misses {1 - mse['recall']:.0%} of all crack pixels of the test part")
    if np.isnan(mse["fine_recall"]):
        return text + "."
    return text + f", and {1 - mse['fine_recall']:.0%} of those narrower than 2 px."


def weighting_functions(source: Source) -> str:
    """Figs. 3 to 6."""
    parts = []
    for loss in WEIGHTED:
        curve = crack_figures.weighting_curves(loss, 0.5).set_index("error")["weight"]
        smallest = curve[-1.0] if loss == "relu" else curve[0.01]  # ReLU begins with MSE's weight
        on_cracks = dict.fromkeys([f"{smallest:.3g}", f"{curve[1.0]:.3g}"])  # each once
        parts.append(f"{NAMES[loss]} has weight {curve[-1.0]:g} on background and "
                     f"{' to '.join(on_cracks)} on crack pixels")
    return ("The weight (left) and the weighted squared error (right) of one pixel, for w = 0.5; "
            f"the weight of MSE (grey) is 1. {'; '.join(parts)}.")


def kernels_and_layers(source: Source) -> str:
    """Fig. 8."""
    rows = []
    for levels, kernel in pictures.SETTINGS:
        network = replace(source, protocol=replace(source.protocol, levels=levels, kernel=kernel))
        rows.append((f"{levels} levels, {kernel}×{kernel}", found(network, "relu", 0.97, 0.5)))
    rows = table_of(rows)
    if len(rows) < 2:
        return NO_RECORDS
    return (f"ReLU 0.97 in {len(rows)} networks, where their predictions differ most. {COLOURS} "
            f"F1 is {extremes(rows['f1_score'].astype(float))}. {with_fine_cracks(rows)} The "
            "paper prefers 5 levels and 7×7. All were trained for the same number of steps.")


def by_weight(loss: str, source: Source) -> str:
    """Figs. 9 to 12."""
    table = published.table(pictures.TABLE_OF[loss])
    rows = table_of([(f"w = {weight:g}", found(source, loss, weight, threshold))
                     for weight, threshold in zip(table["weight"], table["threshold"])])
    if len(rows) < 2:
        return NO_RECORDS
    first, last = rows.iloc[0], rows.iloc[-1]
    called = [row["called"] / row["pixels"] for row in (first, last)]
    text = (f"{NAMES[loss]} by weight, where the predictions differ most. {COLOURS} From "
            f"{rows.index[0]} to {rows.index[-1]} the share of pixels called crack goes from "
            f"{called[0]:.1%} to {called[1]:.1%} (in the labels it is "
            f"{last['cracks'] / last['pixels']:.1%}), recall from {first['recall']:.2f} to "
            f"{last['recall']:.2f} and precision from {first['precision']:.2f} to "
            f"{last['precision']:.2f}.")
    added, hits = last["called"] - first["called"], last["hits"] - first["hits"]
    if added > 0:
        text += f" Of the added pixels {max(hits, 0) / added:.0%} are cracks."
    return text


def side_by_side(source: Source) -> str:
    """Fig. 13."""
    rows = table_of([(label(loss, weight), found(source, loss, weight, threshold))
                     for loss, weight, threshold in crack_tables.chosen_rows()])
    if len(rows) < 2:
        return NO_RECORDS
    precision = rows["precision"].astype(float)
    return ("Each loss at its weight and threshold of Table 8, where the predictions differ most. "
            f"{COLOURS} {with_fine_cracks(rows)} Their precisions are {extremes(precision)}: a "
            "loss that finds more at a lower precision need not be better.")


def loss_curves(source: Source) -> str:
    """The training losses of one paper."""
    changes = {}
    for loss, weight in crack_figures.runs_of(source):
        history = crack_figures.training_loss(source, loss, weight)
        if history is not None:
            changes[label(loss, weight)] = crack_figures.late_change(history)
    changes = pd.Series(changes, dtype=float)
    if changes.empty:
        return NO_RECORDS
    return ("The loss of each step is faint, its running mean strong; each loss has its own scale. "
            f"In the last fifth of the steps the mean is lower than in the fifth before for "
            f"{(changes < 0).sum()} of {len(changes)} runs; the changes go from "
            f"{extremes(changes, '+.0%')}.")


def precision_recall(source: Source) -> str:
    """The precision-recall curves."""
    precisions, recalls = {}, []
    for name, _, index, counts in crack_tables.chosen_counts(source):
        scores = metrics.scores(counts, "test")
        precisions[name] = np.interp(0.8, scores["recall"][::-1], scores["precision"][::-1],
                                     np.nan, np.nan)
        recalls.append(scores["recall"][index])
    precisions = pd.Series(precisions, dtype=float).dropna()
    if precisions.empty:
        return NO_RECORDS
    return ("Precision and recall at all thresholds, for the weights of Table 8: the part of the "
            "curves with the marked points; grey lines: equal F1. At a recall of 0.8 the "
            f"precisions are {extremes(precisions)}. The recalls at the paper's thresholds (filled "
            f"dots) span {np.ptp(recalls):.3f}, the precisions at recall 0.8 span "
            f"{np.ptp(precisions):.3f}.")


def f1_by_threshold(source: Source) -> str:
    """F1 by threshold."""
    best = []
    for loss in WEIGHTED:
        thresholds = [metrics.best_threshold(counts, "test") for counts in (
            crack_tables.pooled_counts(source, loss, weight)
            for weight in crack_tables.published_weights(loss)) if counts is not None]
        if len(thresholds) > 1:
            best.append(f"{NAMES[loss]} {thresholds[0]:g} to {thresholds[-1]:g}")
    if not best:
        return NO_RECORDS
    return ("The grey line is the paper's threshold for all weights of a function. The best "
            f"threshold, from the smallest to the largest weight: {', '.join(best)}. One threshold "
            "for all weights therefore favours those whose maximum lies near it.")


def recall_by_width(source: Source) -> str:
    """Recall by crack width."""
    recalls = {}
    for name, _, index, counts in crack_tables.chosen_counts(source):
        if "test_positives_by_width" in counts:
            recalls[name] = metrics.recall_by_width(counts, "test")[:, index]
            names = crack_tables.width_labels(counts["width_edges"])
    if not recalls:
        return UNKNOWN_WIDTHS
    recalls = pd.DataFrame(recalls, index=names).dropna()  # photographs have none below 1 px
    finest, *_, widest = recalls.index
    parts = [f"{name}: {extremes(recalls.loc[name], '.0%')}" for name in (finest, widest)]
    fewest = (recalls.idxmin() == finest).sum()
    return ("Recall by the local width of the crack, at the thresholds of Table 8. "
            f"{'; '.join(parts)}. {fewest} of {recalls.shape[1]} losses have their lowest recall "
            "on the finest cracks.")


def iou_bars(source: Source) -> str:
    """Paper B's table."""
    table = road_tables.iou_table(source)
    rows = table.dropna(subset=["iou", "iou_published"]).set_index("label")
    if rows.empty:
        return NO_RECORDS
    seeds = f"{rows['seeds'].max():.0f} seed{'s' if rows['seeds'].max() > 1 else ''}"
    return (f"Bars: mean over the trainings that converged ({seeds} for each of the "
            "paper's losses); lines: 95 % intervals; ticks: the paper. The paper's losses have "
            f"{extremes(rows['iou'])} here, {extremes(rows['iou_published'])} in the paper. "
            f"Calling every pixel road gives {road_tables.everything_is_road(source):.3f}. "
            f"{rows['collapsed'].sum():.0f} of {rows['seeds'].sum():.0f} trainings with the "
            "paper's losses collapsed.")


def validation_curves(source: Source) -> str:
    """The IoU on the validation part by step."""
    ends, middles, fallen = {}, {}, []
    for row in road_tables.table_rows(source):
        runs = source.counts(row.loss, row.weight)
        bad = [seed for seed in runs if road_tables.collapsed(runs[seed])]
        curves = validation_curves_of(source, row.loss, row.weight).drop(columns=bad,
                                                                         errors="ignore")
        if bad:
            fallen.append(f"{row.label} with {len(bad)} of {len(runs)}")
        if len(curves.columns):
            curve = curves.mean(axis=1)
            middles[row.label], ends[row.label] = curve.iloc[len(curve) // 2 - 1], curve.iloc[-1]
    if not ends:
        return NO_RECORDS
    middles, ends = pd.Series(middles), pd.Series(ends)
    moved = (middles.rank() != ends.rank()).sum()
    collapsed = f"Collapsed (dashed): {', '.join(fallen)}." if fallen else "None collapsed."
    return (f"One line for each training. {collapsed} At the last step the means of those that "
            f"converged are {extremes(ends)}; {moved} of {len(ends)} losses have another rank than "
            "in the middle of the training.")


def road_pictures(source: Source) -> str:
    """The drivable area in three colours."""
    table = road_tables.iou_table(source).dropna(subset=["iou", "iou_published"])
    if table.empty:
        return NO_RECORDS
    return ("Of four frames the one in which the losses differ most, at threshold "
            f"{road_tables.THRESHOLD:g}. {COLOURS} Over the whole test part the IoU is "
            f"{extremes(table.set_index('label')['iou'])}.")


def gradient_schedule(source: Source) -> str:
    """Tversky with equal weights."""
    parts = [f"c = {weight:g}: {gradient_factor(0, weight):g} to {gradient_factor(1, weight):g}"
             for weight in (0.2, 0.3, 0.5)]
    return ("Tversky with α = β = c changes the length of the gradient and not its direction. As a "
            f"multiple of the soft IoU's own gradient, from J = 0 to J = 1: {'; '.join(parts)}.")


CAPTIONS: dict[str, Callable[[Source], str]] = {
    "fig01_network": network,
    "fig02_misses_of_mse": misses_of_mse,
    "fig03-06_weighting_functions": weighting_functions,
    "fig07_training": training,
    "fig08_layers_and_kernel": kernels_and_layers,
    **{f"fig{number:02}_{loss}": partial(by_weight, loss)
       for number, loss in enumerate(WEIGHTED, pictures.FIRST_PICTURES)},
    "fig13_functions": side_by_side,
    "loss_curves_cracks": loss_curves,
    "loss_curves_roads": loss_curves,
    "precision_recall": precision_recall,
    "f1_by_threshold": f1_by_threshold,
    "recall_by_width": recall_by_width,
    "iou_bars": iou_bars,
    "validation_iou_roads": validation_curves,
    "road_pictures": road_pictures,
    "gradient_schedule": gradient_schedule,
}
ON_ROADS = ("loss_curves_roads", "iou_bars", "validation_iou_roads", "road_pictures",
            "gradient_schedule")  # drawn from the records of paper B
