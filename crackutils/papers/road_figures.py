"""Paper B's figures: its table as bars, validation IoU by step, and what equal weights change."""

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib import pyplot
from matplotlib.figure import Figure

from crackutils.losses import tversky
from crackutils.papers import road_tables
from crackutils.papers.crack_figures import SKY, WIDTH, drawn, not_run
from crackutils.papers.crack_tables import Source
from crackutils.papers.road_tables import THRESHOLD, collapsed

LINES = ("-", "--", "-.", ":")


@drawn
def iou_bars(source: Source) -> Figure:
    """Paper B's IoU table: ours as bars with 95 % intervals (runs that learned), every seed as a
    point, the paper's values as ticks, "all is road" as a line."""
    table = road_tables.iou_table(source)
    figure, axis = pyplot.subplots(figsize=(WIDTH, 0.8 + 0.34 * len(table)))
    places = np.arange(len(table))
    axis.barh(places, table["iou"].fillna(0), 0.6, color=SKY, label="this repository")
    if "iou_low" in table:
        axis.errorbar(table["iou"], places, fmt="none", ecolor="0.2", capsize=2, xerr=[
            table["iou"] - table["iou_low"], table["iou_high"] - table["iou"]])
    if "seeds" in table and table["seeds"].max() > 1:
        points = [(float(value), place) for place, text in
                  zip(places, table["of_seeds"].fillna("")) for value in text.split()
                  if value != "–"]
        axis.plot(*zip(*points), "o", color="white", markeredgecolor="black", markersize=4,
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


def validation_curves_of(source: Source, loss: str, weight) -> tuple[pd.DataFrame, list] | None:
    """Validation IoU by step (rows) and run (columns), and for each run whether it learned; None
    without a record that has it."""
    looked = []
    for (_, folder), counts in zip(source.records(loss, weight), source.counts(loss, weight)):
        history = pd.read_csv(folder / "history.csv", index_col="step")
        if "validation_iou" in history:
            looked.append((history["validation_iou"].dropna(), not collapsed(counts)))
    if not looked:
        return None
    curves, learned = zip(*looked)
    return pd.concat(curves, axis=1), list(learned)


@drawn
def validation_curves(source: Source) -> Figure:
    """IoU on the validation part by step, a line a row of the table: the median of the runs that
    learned (of all, if none did), and each of several runs as a thin line."""
    figure, axis = pyplot.subplots(figsize=(WIDTH, 3.6))
    rows = road_tables.rows_of(source)
    for place, (row, colour) in enumerate(zip(rows, sns.color_palette("colorblind", len(rows)))):
        found = validation_curves_of(source, row.loss, row.weight)
        look = {"color": colour, "linestyle": LINES[place % len(LINES)]}
        if found is None:
            axis.plot([], [], **look, label=f"{row.label}: not run")
            continue
        curves, learned = found
        chosen = curves.loc[:, learned] if any(learned) else curves
        axis.plot(curves.index, chosen.median(axis=1), **look, label=row.label)
        if curves.shape[1] > 1:
            axis.plot(curves.index, curves, color=colour, linewidth=0.5, alpha=0.6)
    if not any(line.get_xdata().size for line in axis.lines):
        not_run(axis)
    axis.set(xlabel="step", ylabel=f"validation IoU at {THRESHOLD:g}")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right center")
    figure.suptitle("Validation IoU by step, median of runs that learned (thin: each of several)")
    return figure


def gradient_factor(soft_iou, both: float):
    """-dL/dJ of the Tversky loss with alpha = beta = c: c / (J + c (1 - J))^2, J the soft IoU.

    L = 1 - J / (J + c (1 - J)), so the gradient at every pixel is this number times the gradient
    of J, which is the same for every c: c decides when the steps are large, not where they lead.
    """
    return both / (soft_iou + both * (1 - soft_iou)) ** 2


def measured_factors(both: float, *, steps: int = 9) -> pd.DataFrame:
    """`soft_iou` and `factor` measured: the size of the gradient of `tversky` over that of J
    (c = 1), by automatic differentiation on predictions from wrong to right; `angle` between
    both gradients in degrees."""
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand(1, 1, 16, 16, generator=generator, dtype=torch.float64) < 0.3).double()
    noise = torch.rand(target.shape, generator=generator, dtype=torch.float64)
    lines = []
    for share in torch.linspace(0.05, 0.95, steps, dtype=torch.float64):
        gradients = []
        for weight in (both, 1.0):
            prediction = (share * target + (1 - share) * noise).requires_grad_()
            loss = tversky(prediction, target, weight=(weight, weight))
            loss.backward()
            gradients.append(prediction.grad.flatten())
        own, of_iou = gradients
        cosine = torch.dot(own, of_iou) / (own.norm() * of_iou.norm())
        lines.append({"soft_iou": 1 - loss.item(), "factor": (own.norm() / of_iou.norm()).item(),
                      "angle": torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))).item()})
    return pd.DataFrame(lines)


@drawn
def gradient_schedule(both: tuple[float, ...] = (0.2, 0.3, 0.5, 1.0)) -> Figure:
    """Tversky with alpha = beta = c by the soft IoU J: the loss, and how large its gradient is
    beside J's own; lines by formula, points by automatic differentiation."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(WIDTH, 3.0))
    soft_iou = np.linspace(0, 1, 200)
    for weight, colour, line in zip(both, sns.color_palette("viridis", len(both) + 1), LINES):
        name = {0.5: "c = 0.5 (Dice)", 1.0: "c = 1 (Jaccard)"}.get(weight, f"c = {weight:g}")
        look = {"color": colour, "linestyle": line, "label": name}
        left.plot(soft_iou, 1 - soft_iou / (soft_iou + weight * (1 - soft_iou)), **look)
        right.plot(soft_iou, gradient_factor(soft_iou, weight), **look)
        points = measured_factors(weight)
        right.plot(points["soft_iou"], points["factor"], "o", color=colour, markersize=3.5)
    left.set(xlabel="soft IoU of the batch, J", ylabel="loss", xlim=(0, 1), ylim=(0, 1))
    right.set(xlabel="soft IoU of the batch, J", ylabel="gradient, times that of J",
              xlim=(0, 1))
    right.set_yscale("log", subs=(2, 5))
    right.yaxis.set_major_formatter("{x:g}")
    right.yaxis.set_minor_formatter("{x:g}")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.suptitle("Tversky with α = β = c: one direction, another schedule")
    return figure
