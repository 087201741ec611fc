"""Figures of notebook 06: which loss finds the fine cracks."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from crackutils.losses import WEIGHTED
from crackutils.papers.crack_figures import BLUE, WIDTH, house_style, write_not_run
from crackutils.papers.fine_cracks import ENOUGH_SEEDS, SETTINGS, name_of

OTHER_WIDTHS = {"< 1 px": "o", "3-5 px": "|"}  # how their recall is drawn beside the dot


def colour(loss: str) -> str:
    """MSE black, paper A's four functions blue, all others grey."""
    if loss == "mse":
        return "black"
    return BLUE if loss in WEIGHTED else "0.55"


@house_style
def recall_figure(tables: dict[str, pd.DataFrame], stratum: str = "1-2 px") -> Figure:
    """One panel for each `recall_table`, with its title: the recall of a stratum for each loss.

    The losses are ordered by the recall in the first table. The legend says what is drawn. Each
    panel has an axis of its own, which ends at 100 %.
    """
    figure, axes = pyplot.subplots(1, len(tables), figsize=(WIDTH, 0.9 + 0.28 * len(SETTINGS)),
                                   sharey=True, squeeze=False, layout="constrained")
    first = next(iter(tables.values()))
    order = {}
    if len(first):
        ranked = first[first["stratum"] == stratum].sort_values("recall")
        order = {name_of(row): place for place, row in enumerate(ranked.to_dict("records"))}
    for axis, (title, table) in zip(axes.flat, tables.items()):
        axis.set(title=title.replace(", ", ",\n"), xlabel=f"recall, {stratum.replace('-', ' to ')}")
        axis.xaxis.set_major_formatter("{x:.0%}")
        if table.empty or not order:
            write_not_run(axis)
            continue
        draw_recalls(axis, table, stratum, order)
        lowest = max(0, np.floor(5 * axis.dataLim.x0 - 0.1) / 5)  # in steps of 20 %
        axis.set(xlim=(lowest, 1 + 0.04 * (1 - lowest)), xticks=[lowest, (1 + lowest) / 2, 1])
    axes[0, 0].set_yticks(list(order.values()), list(order))
    marks = [("o", "black", "MSE"), ("o", BLUE, "paper A's functions"), ("o", "0.55", "others"),
             ("x", "0.4", "one seed")]
    handles = [Line2D([], [], marker=marker, color=tint, linestyle="", label=text, markersize=4.5)
               for marker, tint, text in marks]
    handles += [Line2D([], [], marker=marker, color="0.4", linestyle="", markersize=4.5,
                       fillstyle="none", label=f"cracks {width.replace('-', ' to ')}")
                for width, marker in OTHER_WIDTHS.items()]
    handles.insert(3, Line2D([], [], color="0.4", linewidth=1.5, label="95 % interval"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=7,
                  handlelength=1.2, columnspacing=1.2)
    sns.despine(figure)
    return figure


def draw_recalls(axis, table: pd.DataFrame, stratum: str, order: dict[str, int]) -> None:
    """A dot and its interval for each loss that is in `order`, the single seeds below them; a dash
    for those that the table lacks."""
    for name in order.keys() - {name_of(row) for row in table.to_dict("records")}:
        axis.text(0.02, order[name], "–", color="0.5", va="center",
                  transform=axis.get_yaxis_transform())
    for row in table.to_dict("records"):
        place = order.get(name_of(row))
        if place is None:
            continue
        tint = colour(row["loss"])
        if row["stratum"] == stratum:
            seeds = np.array(row["of_each_seed"].split(), float)
            axis.plot(seeds, np.full(len(seeds), place - 0.3), "x", color=tint, markersize=3)
            axis.plot(row["recall"], place, "o", color=tint, markersize=4.5)
            if row["seeds"] >= ENOUGH_SEEDS:
                axis.plot(np.clip([row["low"], row["high"]], 0, 1), [place, place], color=tint,
                          linewidth=1.5)
        elif row["stratum"] in OTHER_WIDTHS:
            axis.plot(row["recall"], place, marker=OTHER_WIDTHS[row["stratum"]], color=tint,
                      markersize=4.5, fillstyle="none")
