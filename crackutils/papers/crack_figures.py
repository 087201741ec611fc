"""Paper A's curves, drawn from the losses and from records, and the style of every figure.

A line without a record is left out; a panel without any says "not run".
"""

import functools
import io
import math
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import PIL.Image
import seaborn as sns
import torch
from IPython.display import Image
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from crackutils import files, metrics, models, records
from crackutils.losses import LOSSES, NAMES, WEIGHTED, weight_label
from crackutils.papers import crack_tables, published
from crackutils.papers.crack_tables import chosen_counts, chosen_rows, pooled_counts
from crackutils.papers.road_tables import paper_rows
from crackutils.papers.source import Source
from crackutils.protocol import Protocol

WIDTH = 7.2  # inches, as wide as the text of a printed page
COLUMN = 8 / 2.54  # inches, as wide as a column of a journal's page
STYLE = {**sns.axes_style("ticks"), "font.family": "DejaVu Sans", "font.size": 8,
         "axes.titlesize": 8, "figure.titlesize": 9, "figure.dpi": 100,
         "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
         "xtick.major.width": 0.8, "ytick.major.width": 0.8, "lines.linewidth": 1.4,
         "legend.handlelength": 2.6, "legend.frameon": False,
         "figure.constrained_layout.use": True, "pdf.fonttype": 42}
COLUMN_STYLE = {**STYLE, "font.size": 7, "axes.titlesize": 7, "figure.titlesize": 7.5,
                "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7,
                "axes.labelsize": 7, "figure.dpi": 150, "lines.linewidth": 1.2,
                "axes.labelpad": 2, "xtick.major.size": 2.5, "ytick.major.size": 2.5,
                "xtick.minor.size": 1.5, "ytick.minor.size": 1.5, "legend.labelspacing": 0.3,
                "legend.columnspacing": 1.2, "legend.handletextpad": 0.5}
BLUE, _, GREEN, RED, PURPLE, *_, SKY = sns.color_palette("colorblind")
LOOKS = {"mse": ("0.4", "--", "o"), "balanced_step": (BLUE, "-.", "s"),
         "squared_balanced_step": (PURPLE, (0, (6, 1, 1, 1, 1, 1)), "D"), "step": (GREEN, ":", "^"),
         "relu": (RED, "-", "v"), "bce": ("black", (0, (1, 1)), "X")}
WEIGHT_LINES = ("-", "--", "-.", ":")  # for the weights of one loss, with shades of viridis
FIRST_CURVE = 3  # Figs. 3-6 show the functions in the order of WEIGHTED
DIAGRAM_WIDTH, DIAGRAM_TEXT = 5.2, 11.6  # inches and points: 7 pt in a column of 8 cm


def styled(style: dict, function: Callable) -> Callable:
    """Draw the function's figure in a style, and close it: else a notebook would show it twice."""
    @functools.wraps(function)
    def in_style(*arguments, **options):
        with matplotlib.rc_context(style):
            figure = function(*arguments, **options)
            if figure is not None:
                figure.draw_without_rendering()  # ticks take their style at the first drawing
                pyplot.close(figure)
        return figure
    return in_style


house_style = functools.partial(styled, STYLE)  # as wide as a page
column_style = functools.partial(styled, COLUMN_STYLE)  # as wide as a column: text of 7 points


def column_figure(rows: int, columns: int, height: float, **options) -> tuple[Figure, np.ndarray]:
    """A figure as wide as a column, its height in inches, and its axes (rows x columns)."""
    return pyplot.subplots(rows, columns, figsize=(COLUMN, height), squeeze=False, **options)


def figures_folder(source: Source, runs: str | Path | None) -> Path:
    """`<runs>/<protocol>/<dataset>/figures`, also for records that come from `results`."""
    root = files.resolve(runs, "runs")
    return records.records_folder(root, source.protocol.name, source.dataset).parent / "figures"


def save(figure: Figure | None, folder: Path, name: str) -> tuple[Path, ...]:
    """Write NAME.pdf and NAME.png, the same bytes each time; nothing if the figure is None."""
    if figure is None:
        return ()
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / f"{name}.pdf", folder / f"{name}.png"
    with matplotlib.rc_context(STYLE):
        figure.savefig(paths[0], dpi=200, metadata={"CreationDate": None})
        figure.savefig(paths[1], dpi=300)
    return paths


def on_screen(figure: Figure) -> Image:
    """A figure as a notebook shows it, in a third of the usual bytes: as JPEG if it has pictures,
    else as PNG with 256 colours."""
    content = io.BytesIO()
    if any(axis.images for axis in figure.axes):
        figure.savefig(content, format="jpeg", pil_kwargs={"quality": 75})
        return Image(content.getvalue(), format="jpeg")
    figure.savefig(content, format="png")
    palette = io.BytesIO()
    pixels = PIL.Image.open(content).convert("RGB")
    pixels.quantize(dither=PIL.Image.Dither.NONE).save(palette, "png", optimize=True)
    return Image(palette.getvalue(), format="png")


def write_not_run(axis: Axes, text: str = "not run") -> None:
    """Write in the middle of an axes why it is empty."""
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center")


def feature_shapes(protocol: Protocol) -> list[tuple[int, int, int]]:
    """The (filters, height, width) that leave each level of a protocol's U-Net, in the order in
    which they are computed for one tile: down to the bottleneck, the middle one, and up again."""
    network, shapes = models.build(protocol).eval(), []
    for block in (*network.network.encoder, *network.network.decoder):
        block.register_forward_hook(
            lambda _block, _inputs, features: shapes.append(tuple(features.shape[1:])))
    with torch.inference_mode():
        network(torch.zeros(1, 3, *protocol.tile))
    return shapes


@house_style
def network_drawing(protocol: Protocol) -> Figure:
    """Fig. 1 of paper A: the protocol's U-Net with the number of filters and the size in pixels at
    each level, as the network itself computes them for one tile (`feature_shapes`)."""
    shapes = feature_shapes(protocol)
    last, (height, width) = len(shapes) - 1, protocol.tile
    boxes = {"image": (0, 1, f"image\n3 · {height}×{width}"),
             "prediction": (last, 1, f"prediction\n1 · {height}×{width}")}
    for place, (filters, rows, columns) in enumerate(shapes):
        boxes[place] = place, -min(place, last - place), f"{filters}\n{rows}×{columns}"
    kinds = {"2×2 max pooling": (RED, "-"), f"2×2 up-sampling, {protocol.upsampling}": (GREEN, "-"),
             "skip connection": ("0.5", ":"), f"1×1 convolution, {protocol.output}": (BLUE, "-")}
    down, up, skip, head = kinds.values()
    arrows = [("image", 0, "black", "-"), (last, "prediction", *head)]
    for place in range(last // 2):
        arrows += [(place, place + 1, *down), (last - place - 1, last - place, *up),
                   (place, last - place, *skip)]
    figure = _diagram(0.75 * protocol.levels + 1.8, boxes, arrows)
    handles = [Line2D([], [], color=colour, linestyle=line) for colour, line in kinds.values()]
    figure.legend(handles, kinds, loc="outside lower center", fontsize=DIAGRAM_TEXT,
                  title=f"box: filters and size after two {protocol.kernel}×{protocol.kernel} "
                  "convolutions", title_fontsize=DIAGRAM_TEXT)
    return figure


@house_style
def training_flow() -> Figure:
    """Fig. 7 of paper A: one step of the training, from an image to the network's new weights."""
    functions = "Balanced Step,\nSquared &\nBalanced Step,\nStep or ReLU"
    boxes = {"image": (0, 2, "crack image"), "label": (2, 0, "label y"),
             "network": (1, 2, "U-Net: encoder,\nbottleneck,\ndecoder"),
             "prediction": (2, 2, "prediction p"), "error": (2, 1, "error\ne = y − p"),
             "weight": (1, 0, f"weight ω(e):\n{functions}"),
             "loss": (1, 1, "weighted loss\nmean of ω(e) e²"),
             "update": (0, 1, "gradients,\nnew weights\n(Adam)")}
    order = ("image", "network", "prediction", "error", "loss", "update", "network")
    arrows = [*pairwise(order), ("label", "error"), ("weight", "loss")]
    return _diagram(3.6, boxes, [(*ends, "black", "-") for ends in arrows])


def _diagram(height: float, boxes: dict, arrows: list[tuple]) -> Figure:
    """Draw boxes {name: (x, y, text)}, and arrows (from, to, colour, line style) between them."""
    figure, axis = pyplot.subplots(figsize=(DIAGRAM_WIDTH, height))
    patches = {}
    for name, (x, y, text) in boxes.items():
        box = axis.text(x, y, text, ha="center", va="center", fontsize=DIAGRAM_TEXT,
                        bbox={"boxstyle": "round,pad=0.3", "facecolor": "0.95", "edgecolor": "0.4"})
        patches[name] = box.get_bbox_patch()
    for start, end, colour, line in arrows:
        look = {"arrowstyle": "-|>", "color": colour, "linestyle": line, "linewidth": 1.6,
                "patchA": patches[start], "patchB": patches[end]}
        axis.annotate("", boxes[end][:2], boxes[start][:2], arrowprops=look)
    xs, ys, _ = zip(*boxes.values())
    margin = 0.5 + 0.06 * max(xs)
    axis.set(xlim=(-margin, max(xs) + margin), ylim=(min(ys) - 0.5, max(ys) + 0.5))
    axis.set_axis_off()
    return figure


def weighting_curves(loss: str, weight: float | None) -> pd.DataFrame:
    """`error` from -1 to 1, the `loss` of one pixel with that error, and its `weight` on error^2.
    The weight at error 0 is NaN (0/0); the step functions jump there."""
    error = torch.arange(-100, 101, dtype=torch.float64) / 100
    target = (error > 0).double()
    loss_of_pixel = np.array([LOSSES[loss](p, y, weight=weight).item()
                              for p, y in zip(target - error, target)])
    squared = error.numpy() ** 2
    with np.errstate(invalid="ignore"):
        return pd.DataFrame({"error": error.numpy(), "loss": loss_of_pixel,
                             "weight": loss_of_pixel / squared})


@column_style
def weighting_functions(weight: float = 0.5) -> Figure:
    """Figs. 3 to 6 of paper A: each weighting function beside MSE. The paper does not say whether
    its figures show the weight on the squared error or the weighted squared error, so the left
    panels show the weight, the right panels the weighted squared error."""
    figure, axes = column_figure(len(WEIGHTED), 2, 5, sharex=True, sharey=True)
    for number, (panels, loss) in enumerate(zip(axes, WEIGHTED), FIRST_CURVE):
        draw_weighting(panels, [(loss, weight)])
        panels[0].set_title(f"Fig. {number}: {NAMES[loss]}", loc="left")
        panels[0].set(ylim=(0, 2.5), xticks=(-1, 0, 1), yticks=(0, 1, 2))
        panels[0].set_ylabel("weight")
        panels[1].set_ylabel("weighted error²")
    for panel in axes[-1]:
        panel.set_xlabel("error, label − prediction")
    figure.legend(handles=[Line2D([], [], color=LOOKS["mse"][0], linestyle="--", label="MSE")],
                  loc="outside lower center")
    return figure


@house_style
def weighting_overview(weight: float = 0.5) -> Figure:
    """Figs. 3-6 of paper A in one: the four functions and MSE on the same axes."""
    figure, panels = pyplot.subplots(1, 2, figsize=(WIDTH, 2.9))
    draw_weighting(panels, [(loss, weight) for loss in WEIGHTED])
    for panel, text in zip(panels, ("weight on the squared error", "weighted squared error")):
        panel.set(xlabel="error = label − prediction\n"
                         "(below 0 a false alarm, above 0 a missed crack)", ylabel=text,
                  ylim=(0, None))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.suptitle(f"Figs. 3–6: the four weighting functions, w = {weight:g}")
    return figure


def draw_weighting(panels, rows: list[tuple]) -> None:
    """Draw MSE and the functions of (loss, weight): the weight left, the weighted loss right."""
    for place, (loss, weight) in enumerate([("mse", None), *rows]):
        curves = weighting_curves(loss, weight)
        colour, line, _ = LOOKS[loss]
        for panel, column in zip(panels, ("weight", "loss")):
            panel.plot(curves["error"], curves[column], color=colour, linestyle=line,
                       linewidth=2.6 - 0.4 * place, label=NAMES[loss])  # so that all stay visible
    for panel in panels:
        panel.axvline(0, color="0.85", linewidth=0.8, zorder=0)
        panel.set_xticks((-1, -0.5, 0, 0.5, 1))


def training_loss(source: Source, loss: str, weight) -> pd.DataFrame | None:
    """`step`, `loss` (mean over seeds) and `smooth` (running mean over a 20th of the steps)."""
    histories = [pd.read_csv(folder / "history.csv")
                 for _, folder in source.records(loss, weight).values()]
    if not histories:
        return None
    history = pd.concat(histories).groupby("step", as_index=False)["loss"].mean()
    window = max(1, len(history) // 20)
    return history.assign(smooth=history["loss"].rolling(window, 1, center=True).mean())


def late_change(history: pd.DataFrame) -> float:
    """The mean loss of the last fifth of the steps, less that of the fifth before, as a share of
    the latter; from the table of `training_loss`."""
    fifth = max(1, len(history) // 5)
    before = history["loss"].iloc[-2 * fifth:-fifth].mean()
    return history["loss"].iloc[-fifth:].mean() / before - 1


def runs_of(source: Source) -> list[tuple]:
    """(loss, weight) of every run of the paper that a source is about; paper A's, then BCE."""
    if source.protocol.task == "roads":
        return [(row.loss, row.weight) for row in paper_rows(source.protocol)]
    return [(loss, weight) for loss in ("mse", *WEIGHTED, "bce")
            for weight in crack_tables.published_weights(loss)]


@column_style
def loss_curves(source: Source) -> Figure:
    """Training loss by step for every run of a paper, one panel for each loss."""
    def curve(panel, loss, weight, look):
        history = training_loss(source, loss, weight)
        if history is None:
            return
        panel.plot(history["step"], history["loss"], color=look["color"], alpha=0.25, linewidth=0.6)
        panel.plot(history["step"], history["smooth"], **look)
        panel.set_yscale("log", subs=(2, 5))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter("{x:g}")
    figure = _panel_for_each_loss(runs_of(source), curve, "training loss (log scale)", "step",
                                  "upper right")
    for panel in figure.axes:
        if panel.get_legend():  # room for the legend above the curves
            low, high = panel.get_ylim()
            panel.set_ylim(low, high * (high / low) ** 0.6)
    return figure


@column_style
def f1_by_threshold(source: Source) -> Figure:
    """Test F1 by threshold for every run of paper A, one panel for each loss. The grey line is the
    paper's threshold of Table 8."""
    def curve(panel, loss, weight, look):
        counts = pooled_counts(source, loss, weight)
        if counts is not None:
            panel.plot(counts["thresholds"], metrics.scores(counts, "test")["f1_score"], **look)
        panel.set(ylim=(0, 1.4), yticks=(0, 0.5, 1), xlim=(0, 1))  # the legend is above 1
    figure = _panel_for_each_loss(runs_of(source), curve, "F1, test part", "threshold",
                                  "upper center")
    thresholds = {loss: threshold for loss, _, threshold in chosen_rows()[:-1]}
    for panel, loss in zip(figure.axes, ("mse", *WEIGHTED)):
        panel.axvline(thresholds[loss], ymax=1 / 1.4, color="0.6", linewidth=1, zorder=0)
    return figure


def _panel_for_each_loss(runs: list[tuple], curve: Callable, ylabel: str, xlabel: str,
                         place: str) -> Figure:
    """One panel for each loss, one line for each weight: `curve(panel, loss, weight, look)` draws
    it if there is a record. `place` is that of a panel's legend."""
    weights_of = defaultdict(list)
    for loss, weight in runs:
        weights_of[loss].append(weight)
    rows = math.ceil(len(weights_of) / 2)
    figure, axes = column_figure(rows, 2, 0.3 + 1.4 * rows, sharex=True)
    for panel, (loss, weights) in zip(axes.flat, weights_of.items()):
        panel.set_title(NAMES[loss] + (", by w" if loss in WEIGHTED else ""))
        shades = sns.color_palette("viridis", len(weights) + 1)
        for weight, shade, line in zip(weights, shades, WEIGHT_LINES):
            name = NAMES[loss] if weight is None else weight_label(loss, weight)
            curve(panel, loss, weight, {"color": shade, "linestyle": line, "label": name})
        if not any(line.get_xdata().size for line in panel.lines):
            write_not_run(panel)
        elif len(weights) > 1:
            panel.legend(labelspacing=0.1, handlelength=1.6, columnspacing=0.8, borderpad=0.1,
                         loc=place, ncols=2 if loss in WEIGHTED else 1)
    figure.supxlabel(xlabel, fontsize=7)
    figure.supylabel(ylabel, fontsize=7)
    return figure


@column_style
def precision_recall(source: Source) -> Figure:
    """Precision by recall of the test part over all thresholds, for Table 8's weights and BCE."""
    figure, [[axis]] = column_figure(1, 1, 3.9)
    printed = pd.concat([published.table(1), published.table(8)])
    lowest = printed[["recall", "precision"]].min(axis=None)
    for name, loss, index, counts in chosen_counts(source):
        colour, line, marker = LOOKS[loss]
        scores = metrics.scores(counts, "test")
        # where recall is 0, precision is 0/0 or 0: no point of the curve
        precision = np.where(scores["recall"] > 0, scores["precision"], np.nan)
        axis.plot(scores["recall"], precision, color=colour, linestyle=line, marker=marker,
                  markersize=5, label=name, markevery=[index])
        lowest = np.nanmin([lowest, scores["recall"][index], precision[index]])
    if axis.get_legend_handles_labels()[0]:
        figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    else:
        write_not_run(axis)
    for row in printed.to_dict("records"):
        colour, _, marker = LOOKS[row["loss"]]
        axis.plot(row["recall"], row["precision"], marker, color=colour, fillstyle="none",
                  markersize=5)
    lowest = max(0, np.floor(5 * lowest - 0.5) / 5)  # the part with the marks, in steps of 0.2
    for f1 in (0.2, 0.4, 0.6, 0.8, 0.9):  # lines of equal F1 = f: P = f R / (2 R - f)
        recall = np.linspace(f1 / (2 - f1), 1, 100)
        axis.plot(recall, f1 * recall / (2 * recall - f1), color="0.85", linewidth=0.8, zorder=0)
        if f1 / (2 - f1) > lowest:
            axis.text(1 + 0.01 * (1 - lowest), f1 / (2 - f1), f"F1 {f1:g}", color="0.4",
                      va="center")
    axis.set(xlim=(lowest, 1), ylim=(lowest, 1.005), xlabel="recall", ylabel="precision",
             aspect="equal")
    axis.set_title("filled: at Table 8's threshold; hollow: the paper's own points")
    return figure


@column_style
def recall_by_width(source: Source) -> Figure | None:
    """Test recall by crack width for Table 8's rows and BCE at their thresholds. Returns None and
    prints a sentence if the crack widths of the data are not known."""
    runs = chosen_counts(source)
    if any("test_positives_by_width" not in counts for *_, counts in runs):
        print("The crack widths of these data are not known: no figure of recall by width.")
        return None
    figure, [[axis]] = column_figure(1, 1, 3.2)
    for place, (name, loss, index, counts) in enumerate(runs):
        colour, line, marker = LOOKS[loss]
        present = counts["test_positives_by_width"].astype(np.int64).sum(axis=0)
        recalls = metrics.recall_by_width(counts, "test")[:, index]
        axis.plot(np.arange(len(recalls)) + 0.03 * (place - 2.5), recalls, color=colour,
                  linestyle=line, marker=marker, markersize=4, label=name)
        shares = present / max(present.sum(), 1)
        widths = crack_tables.width_labels(counts["width_edges"])
        axis.set_xticks(range(len(widths)), [f"{width}\n({share:.0%})"
                                             for width, share in zip(widths, shares)])
    if runs:
        figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    else:
        write_not_run(axis)
    axis.set(ylim=(0, 1.02), ylabel="recall", xlabel="local crack width\n"
             "(share of the crack pixels)")
    return figure
