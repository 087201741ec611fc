"""Figures of notebook 06: which loss finds the fine cracks."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot
from matplotlib.figure import Figure

from crackutils.losses import WEIGHTED
from crackutils.papers.crack_figures import BLUE, WIDTH, house_style, write_not_run
from crackutils.papers.fine_cracks import SETTINGS, name_of


def colour(loss: str) -> str:
    """MSE black, paper A's four functions blue, all others grey."""
    if loss == "mse":
        return "black"
    return BLUE if loss in WEIGHTED else "0.55"


@house_style
def recall_figure(tables: dict[str, pd.DataFrame], stratum: str = "1-2 px") -> Figure:
    """One panel for each `recall_table`, with its title: the recall of a stratum for each loss.

    The losses are ordered by the recall in the first table. A dot is the mean over the seeds, the
    bar its 95 % interval, a small cross one seed, a tick the recall of cracks 3 to 5 px wide.
    """
    figure, axes = pyplot.subplots(1, len(tables), figsize=(WIDTH, 0.5 + 0.25 * len(SETTINGS)),
                                   sharey=True, sharex=True, squeeze=False, layout="constrained")
    first = next(iter(tables.values()))
    order = {}
    if len(first):
        ranked = first[first["stratum"] == stratum].sort_values("recall")
        order = {name_of(row): place for place, row in enumerate(ranked.to_dict("records"))}
    for axis, (title, table) in zip(axes.flat, tables.items()):
        axis.set(title=title, xlabel=f"recall, cracks of {stratum.replace('-', ' to ')}")
        if table.empty or not order:
            write_not_run(axis)
            continue
        draw_recalls(axis, table, stratum, order)
    axes[0, 0].set_yticks(list(order.values()), list(order))
    sns.despine(figure)
    return figure


def draw_recalls(axis, table: pd.DataFrame, stratum: str, order: dict[str, int]) -> None:
    """A dot, its interval and the single seeds for each loss that is in `order`."""
    for row in table.to_dict("records"):
        place = order.get(name_of(row))
        if place is None:
            continue
        tint = colour(row["loss"])
        if row["stratum"] == stratum:
            seeds = np.array(row["of_each_seed"].split(), float)
            axis.plot(seeds, np.full(len(seeds), place), "x", color=tint, markersize=3, alpha=0.6)
            axis.plot(row["recall"], place, "o", color=tint, markersize=4.5)
            if row["seeds"] > 1:
                axis.plot(np.clip([row["low"], row["high"]], 0, 1), [place, place], color=tint,
                          linewidth=1.5)
        elif row["stratum"] == "3-5 px":
            axis.plot(row["recall"], place, "|", color=tint, markersize=7)
