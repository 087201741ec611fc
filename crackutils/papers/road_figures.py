"""Paper B's figures: its table as bars, validation IoU by step, and Tversky with equal weights."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot
from matplotlib.figure import Figure

from crackutils.papers import road_tables
from crackutils.papers.crack_figures import SKY, WIDTH, house_style, write_not_run
from crackutils.papers.road_tables import NO_RUN, THRESHOLD, collapsed
from crackutils.papers.source import Source

LINES = ("-", "--", "-.", ":")


@house_style
def iou_bars(source: Source) -> Figure:
    """Paper B's IoU table. Bars: our mean over converged runs, with 95 % intervals; points: every
    seed; ticks: the paper; dashed line: the IoU of calling everything road."""
    table = road_tables.iou_table(source)
    figure, axis = pyplot.subplots(figsize=(WIDTH, 0.8 + 0.34 * len(table)))
    places = np.arange(len(table))
    axis.barh(places, table["iou"].fillna(0), 0.6, color=SKY, label="this repository")
    if "iou_low" in table:
        axis.errorbar(table["iou"], places, fmt="none", ecolor="0.2", capsize=2, xerr=[
            table["iou"] - table["iou_low"], table["iou_high"] - table["iou"]])
    if "seeds" in table and table["seeds"].max() > 1:
        scores = table["iou_of_each_seed"].str.split().explode()
        scores = scores[scores != NO_RUN].dropna().astype(float)
        axis.plot(scores, scores.index, "o", color="white", markeredgecolor="black", markersize=4,
                  label="each seed")
    axis.plot(table["iou_published"], places, "|", color="black", markersize=14,
              markeredgewidth=2.5, label="paper B")
    for place in places[table["iou"].isna()]:
        axis.text(0.01, place, "not run", va="center")
    everything = road_tables.everything_is_road(source)
    if not np.isnan(everything):
        axis.axvline(everything, color="0.3", linestyle="--", label="everything called road")
    axis.set(yticks=places, yticklabels=table["label"], xlim=(0, 1), ylim=(len(table) - 0.4, -0.6),
             xlabel=f"IoU of the drivable area, test part, threshold {THRESHOLD:g}")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper right", ncols=4)
    return figure


def validation_curves_of(source: Source, loss: str, weight) -> pd.DataFrame:
    """Validation IoU by step (rows) and seed (columns), of the records that have it."""
    histories = {seed: pd.read_csv(folder / "history.csv", index_col="step")
                 for seed, (_, folder) in source.records(loss, weight).items()}
    return pd.DataFrame({seed: history["validation_iou"].dropna()
                         for seed, history in histories.items() if "validation_iou" in history})


@house_style
def validation_curves(source: Source) -> Figure:
    """IoU on the validation part by step, one colour for each row of the table: the median of the
    converged runs (of all if none converged), and each of several runs as a thin line."""
    figure, axis = pyplot.subplots(figsize=(WIDTH, 3.6))
    rows = road_tables.table_rows(source)
    for place, (row, colour) in enumerate(zip(rows, sns.color_palette("colorblind", len(rows)))):
        curves = validation_curves_of(source, row.loss, row.weight)
        look = {"color": colour, "linestyle": LINES[place % len(LINES)]}
        if curves.columns.empty:
            axis.plot([], [], **look, label=f"{row.label}: not run")
            continue
        counts_of_seeds = source.counts(row.loss, row.weight)
        converged = [seed for seed in curves if not collapsed(counts_of_seeds[seed])]
        median = curves[converged or list(curves)].median(axis=1)
        axis.plot(curves.index, median, **look, label=row.label)
        if curves.shape[1] > 1:
            axis.plot(curves.index, curves, color=colour, linewidth=0.5, alpha=0.6)
    if not any(line.get_xdata().size for line in axis.lines):
        write_not_run(axis)
    axis.set(xlabel="step", ylabel=f"validation IoU at {THRESHOLD:g}")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right center")
    figure.suptitle("Validation IoU by step, median of the converged runs (thin: each run)")
    return figure


def gradient_factor(soft_iou, both: float):
    """-dL/dJ of the Tversky loss with alpha = beta = c: c / (J + c (1 - J))^2, J the soft IoU.
    Since L = 1 - J / (J + c (1 - J)), the gradient at every pixel is this factor times the gradient
    of -J. So c changes the length of the gradient and not its direction."""
    return both / (soft_iou + both * (1 - soft_iou)) ** 2


@house_style
def tversky_gradients(both: tuple[float, ...] = (0.2, 0.3, 0.5, 1.0)) -> Figure:
    """Tversky with alpha = beta = c by the soft IoU J: the loss (left), and the length of its
    gradient divided by that of J's gradient (right)."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(WIDTH, 3.0))
    soft_iou = np.linspace(0, 1, 200)
    for weight, colour, line in zip(both, sns.color_palette("viridis", len(both) + 1), LINES):
        name = {0.5: "c = 0.5 (Dice)", 1.0: "c = 1 (Jaccard)"}.get(weight, f"c = {weight:g}")
        look = {"color": colour, "linestyle": line, "label": name}
        left.plot(soft_iou, 1 - soft_iou / (soft_iou + weight * (1 - soft_iou)), **look)
        right.plot(soft_iou, gradient_factor(soft_iou, weight), **look)
    left.set(xlabel="soft IoU of the batch, J", ylabel="loss", xlim=(0, 1), ylim=(0, 1))
    right.set(xlabel="soft IoU of the batch, J", ylabel="gradient, times that of J", xlim=(0, 1))
    right.set_yscale("log", subs=(2, 5))
    right.yaxis.set_major_formatter("{x:g}")
    right.yaxis.set_minor_formatter("{x:g}")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.suptitle("Tversky with α = β = c: c changes the gradient's length, not its direction")
    return figure
