"""The papers' figures and some they leave undrawn: pure functions of records and losses.

Each function returns a matplotlib Figure; `save` writes it as PDF and PNG. What has no record says
"not run". Photographs are never put into a figure: without pictures the picture grids are None.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from crackutils import published, runs, tables
from crackutils.loss_names import NAMES, WEIGHTED
from crackutils.losses import LOSSES
from crackutils.tables import BCE_THRESHOLD, Source

WIDTH = 7.2  # inches: the text of a printed page
STYLE = {**sns.axes_style("ticks"), "font.family": "DejaVu Sans", "font.size": 8,
         **dict.fromkeys(("axes.labelsize", "axes.titlesize", "xtick.labelsize", "ytick.labelsize",
                          "legend.fontsize"), 8), "figure.titlesize": 9, "figure.dpi": 100,
         "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
         "xtick.major.width": 0.8, "ytick.major.width": 0.8, "lines.linewidth": 1.4,
         "legend.handlelength": 2.6, "legend.frameon": False,
         "figure.constrained_layout.use": True, "pdf.fonttype": 42}
BLUE, _, GREEN, RED, PURPLE, *_, SKY = sns.color_palette("colorblind")
LOOKS = {"mse": ("0.4", "--", "o"), "balanced_step": (BLUE, "-.", "s"),
         "squared_balanced_step": (PURPLE, (0, (6, 1, 1, 1, 1, 1)), "D"), "step": (GREEN, ":", "^"),
         "relu": (RED, "-", "v"), "bce": ("black", (0, (1, 1)), "X")}
WEIGHT_LINES = ("-", "--", "-.", ":")  # for a family's weights, with shades of viridis
TABLE_OF = dict(zip(WEIGHTED, (4, 5, 6, 7)))
FIRST_CURVE = 3  # Figs. 3-6, in the order of the functions
FIRST_PICTURES = 9  # Figs. 9-12, likewise
SETTINGS = ((4, 5), (4, 7), (5, 5), (5, 7))  # levels and kernel of Fig. 8


def drawn(function: Callable) -> Callable:
    """Draw in the house style; closed for pyplot, so that a notebook shows the figure once."""
    @functools.wraps(function)
    def in_style(*arguments, **options):
        with matplotlib.rc_context(STYLE):
            figure = function(*arguments, **options)
            if figure is not None:
                figure.draw_without_rendering()  # ticks take their style when they are first drawn
                pyplot.close(figure)
        return figure
    return in_style


def figures_folder(source: Source, runs_folder: str | Path) -> Path:
    """`<runs>/<protocol>/<dataset>/figures`, whichever root the records come from."""
    root = runs.resolve(runs_folder, "runs")
    return runs.records_folder(root, source.protocol.name, source.dataset).parent / "figures"


def save(figure: Figure | None, folder: Path, name: str) -> tuple[Path, ...]:
    """Write NAME.pdf and NAME.png, the same bytes each time; returns their paths (none of None)."""
    if figure is None:
        return ()
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / f"{name}.pdf", folder / f"{name}.png"
    with matplotlib.rc_context(STYLE):
        figure.savefig(paths[0], dpi=200, metadata={"CreationDate": None})
        figure.savefig(paths[1], dpi=160)
    return paths


def crack_runs() -> list[tuple[str, float | None]]:
    """Loss and weight of every run of paper A, BCE added at the end."""
    return [(loss, weight) for loss in ("mse", *WEIGHTED, "bce")
            for weight in tables.published_weights(loss)]


def chosen_rows() -> list[tuple[str, float | None, float]]:
    """Loss, weight and threshold of Table 8, BCE added at the end."""
    rows = published.table(8).to_dict("records")
    return [(row["loss"], tables.none_if_missing(row["weight"]), row["threshold"])
            for row in rows] + [("bce", None, BCE_THRESHOLD)]


def not_run(axis: Axes, text: str = "not run") -> None:
    """Say in the middle of an axes why it is empty."""
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center")


# Curves of the losses

def weighting_curves(loss: str, weight: float | None) -> pd.DataFrame:
    """`error` from -1 to 1, the loss of one pixel with that error, and its `weight` on error^2.

    No weight at error 0 (0/0): there the steps jump.
    """
    error = torch.arange(-100, 101, dtype=torch.float64) / 100
    target = (error > 0).double()
    loss_of_pixel = np.array([LOSSES[loss](p, y, weight=weight).item()
                              for p, y in zip(target - error, target)])
    squared = error.numpy() ** 2
    with np.errstate(invalid="ignore"):
        return pd.DataFrame({"error": error.numpy(), "loss": loss_of_pixel,
                             "weight": loss_of_pixel / squared})


@drawn
def weighting(loss: str, weight: float = 0.5) -> Figure:
    """Fig. 3, 4, 5 or 6 of paper A: one function's weight and weighted squared error by error."""
    number = FIRST_CURVE + WEIGHTED.index(loss)
    return _weighting([(loss, weight)], f"Fig. {number}: {NAMES[loss]}, w = {weight:g}")


@drawn
def weighting_overview(weight: float = 0.5) -> Figure:
    """Figs. 3-6 of paper A in one: the four functions on the same axes."""
    return _weighting([(loss, weight) for loss in WEIGHTED],
                      f"Figs. 3–6: the four weighting functions, w = {weight:g}")


def _weighting(rows: list[tuple], heading: str) -> Figure:
    figure, panels = pyplot.subplots(1, 2, figsize=(WIDTH, 2.9))
    for place, (loss, weight) in enumerate([("mse", None), *rows]):
        curves = weighting_curves(loss, weight)
        colour, line, _ = LOOKS[loss]
        for panel, column in zip(panels, ("weight", "loss")):
            panel.plot(curves["error"], curves[column], color=colour, linestyle=line,
                       linewidth=2.6 - 0.4 * place, label=NAMES[loss])  # none hides another
    for panel, text in zip(panels, ("weight on the squared error", "weighted squared error")):
        panel.axvline(0, color="0.85", linewidth=0.8, zorder=0)
        panel.set(xlabel="error = label − prediction\n"
                         "(below 0 a false alarm, above 0 a missed crack)", ylabel=text,
                  ylim=(0, None), xticks=(-1, -0.5, 0, 0.5, 1))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.suptitle(heading)
    return figure
