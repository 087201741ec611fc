"""Paper B's figures: its table as bars, validation IoU by step, and Tversky with equal weights."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from crackutils.papers import road_tables
from crackutils.papers.crack_figures import (
    BLUE,
    RED,
    SKY,
    WEIGHT_LINES,
    column_figure,
    column_style,
    write_not_run,
)
from crackutils.papers.published import tversky_index
from crackutils.papers.road_tables import NO_RUN, THRESHOLD, collapsed
from crackutils.papers.source import Source


@column_style
def iou_bars(source: Source) -> Figure:
    """Paper B's IoU table. Bars: our mean over converged runs, with 95 % intervals; points: every
    seed; ticks: the paper; dashed line: the IoU of calling everything road."""
    table = road_tables.iou_table(source)
    table = table[table["iou"].notna()].reset_index(drop=True)
    figure, [[axis]] = column_figure(1, 1, 0.9 + 0.23 * len(table))
    if table.empty:
        write_not_run(axis)
        return figure
    places = np.arange(len(table))
    axis.barh(places, table["iou"], 0.6, color=SKY, label="ours")
    if "iou_low" in table:
        reach = [table["iou"] - table["iou_low"], table["iou_high"] - table["iou"]]
        axis.errorbar(table["iou"], places, xerr=reach, fmt="none", ecolor="0.2", elinewidth=1,
                      capsize=2)
    if "seeds" in table and table["seeds"].max() > 1:
        scores = table["iou_of_each_seed"].str.split().explode()
        scores = scores[scores != NO_RUN].dropna().astype(float)
        axis.plot(scores, scores.index, "o", color="white", markeredgecolor="black", markersize=3,
                  markeredgewidth=0.7, label="each seed")
    axis.plot(table["iou_published"], places, "|", color="black", markersize=9,
              markeredgewidth=2, label="paper B")
    everything = road_tables.everything_is_road(source)
    if not np.isnan(everything):
        axis.axvline(everything, color="0.3", linestyle="--", linewidth=1, label="all called road")
    axis.set(yticks=places, yticklabels=table["label"], xlim=(0, 1), ylim=(len(table) - 0.4, -0.6),
             xlabel=f"IoU, test part, threshold {THRESHOLD:g}")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=4,
                  handlelength=1.2)
    return figure


def validation_curves_of(source: Source, loss: str, weight) -> pd.DataFrame:
    """Validation IoU by step (rows) and seed (columns), of the records that have it."""
    histories = {seed: pd.read_csv(folder / "history.csv", index_col="step")
                 for seed, (_, folder) in source.records(loss, weight).items()}
    return pd.DataFrame({seed: history["validation_iou"].dropna()
                         for seed, history in histories.items() if "validation_iou" in history})


@column_style
def validation_curves(source: Source) -> Figure:
    """IoU on the validation part by step, one panel for each row of the table that was run and one
    line for each seed. Runs that collapsed are red and dashed, and the panel counts them."""
    rows = [(row, validation_curves_of(source, row.loss, row.weight))
            for row in road_tables.table_rows(source)]
    rows = [(row, curves) for row, curves in rows if len(curves.columns)]
    lines = -(-len(rows) // 3) or 1
    figure, axes = column_figure(lines, 3, 0.6 + 1.15 * lines, sharex=True, sharey=True)
    for panel in axes.flat[len(rows):]:
        panel.set_axis_off()
    if not rows:
        write_not_run(axes[0, 0])
    for panel, (row, curves) in zip(axes.flat, rows):
        counts_of_seeds = source.counts(row.loss, row.weight)
        fallen = [seed for seed in counts_of_seeds if collapsed(counts_of_seeds[seed])]
        for seed in curves:
            look = {"color": RED, "linestyle": "--"} if seed in fallen else {"color": BLUE}
            panel.plot(curves.index, curves[seed], linewidth=0.8, **look)
        panel.set(title=row.label.replace("(", " ").replace(")", "").replace(" ", "\n", 1),
                  ylim=(0, 1))
        if fallen:
            panel.text(0.98, 0.1, f"{len(fallen)} of {len(counts_of_seeds)} collapsed", color=RED,
                       ha="right", transform=panel.transAxes)
    figure.supxlabel("step", fontsize=7)
    figure.supylabel(f"validation IoU at {THRESHOLD:g}", fontsize=7)
    figure.legend(handles=[Line2D([], [], color=BLUE, label="a training"),
                           Line2D([], [], color=RED, linestyle="--", label="that collapsed")],
                  loc="outside upper center", ncols=2)
    return figure


def gradient_factor(soft_iou, both: float):
    """-dL/dJ of the Tversky loss with alpha = beta = c: c / (J + c (1 - J))^2, J the soft IoU.
    Since L = 1 - J / (J + c (1 - J)), the gradient at every pixel is this factor times the gradient
    of -J. So c changes the length of the gradient and not its direction."""
    return both / (soft_iou + both * (1 - soft_iou)) ** 2


@column_style
def tversky_gradients() -> Figure:
    """Tversky with alpha = beta = c by the soft IoU J: the loss (left), and the length of its
    gradient divided by that of J's gradient (right)."""
    figure, [[left, right]] = column_figure(1, 2, 2.1)
    soft_iou = np.linspace(0, 1, 200)
    names = {0.2: "c = 0.2", 0.3: "c = 0.3", 0.5: "c = 0.5 (Dice)", 1.0: "c = 1 (Jaccard)"}
    for (weight, name), colour, line in zip(names.items(), sns.color_palette("viridis", 5),
                                            WEIGHT_LINES):
        look = {"color": colour, "linestyle": line, "label": name}
        left.plot(soft_iou, 1 - tversky_index(soft_iou, weight), **look)
        right.plot(soft_iou, gradient_factor(soft_iou, weight), **look)
    left.set(xlabel="soft IoU, J", ylabel="loss", xlim=(0, 1), ylim=(0, 1))
    right.set(xlabel="soft IoU, J", ylabel="gradient / that of J", xlim=(0, 1))
    right.set_yscale("log", subs=(2, 5))
    right.yaxis.set_major_formatter("{x:g}")
    right.yaxis.set_minor_formatter("{x:g}")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.suptitle("Tversky with α = β = c")
    return figure
