"""Synthetic test images, their labels and the predictions that records keep.

Photographs are never put into a figure: without pictures a grid is None.
"""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import seaborn as sns
from matplotlib import pyplot
from matplotlib.figure import Figure

from crackutils import data as datasets
from crackutils import files, records
from crackutils.experiment import KEPT_SAMPLES
from crackutils.losses import NAMES, WEIGHTED, label
from crackutils.papers import published
from crackutils.papers.crack_figures import (
    BLUE,
    FIRST_PICTURES,
    RED,
    SETTINGS,
    TABLE_OF,
    WIDTH,
    chosen_rows,
    drawn,
    not_run,
)
from crackutils.papers.crack_tables import Source
from crackutils.papers.road_tables import THRESHOLD as ROAD_THRESHOLD
from crackutils.papers.road_tables import paper_rows


class Picture(NamedTuple):
    """A test image as the network saw it, its mask, and the fingerprint of its data set."""

    name: str
    image: np.ndarray
    mask: np.ndarray
    fingerprint: str


def pictures(source: Source, runs_folder: str | Path) -> list[Picture]:
    """The synthetic test images whose predictions records keep, as the network saw them.

    For photographs none, and a printed sentence: they are never put into a figure.
    """
    if source.dataset != "synthetic":
        print("Only synthetic images are put into figures: the picture grids are left out.")
        return []
    data = datasets.load("synthetic", source.protocol, files.resolve(runs_folder, "runs"))
    shown = [sample for sample in data.test if sample.mask.any()][:KEPT_SAMPLES]
    return [Picture(sample.name, sample.image, sample.mask, data.fingerprint)
            for sample in shown]


def prediction(source: Source, loss: str, weight, picture: Picture) -> np.ndarray | None:
    """Probabilities H x W that the first seed's record keeps of a picture; None without one.

    A record of other data, whose pictures only share their names with these, counts as none.
    """
    for _, folder in source.records(loss, weight):
        if records.read_json(folder / "config.json")["fingerprint"] != picture.fingerprint:
            warnings.warn(f"{folder.name} was made from other versions of these images: its "
                          "predictions are left out; run it again to see them.", stacklevel=2)
        elif (folder / "samples.npz").is_file():
            kept = records.read_arrays(folder / "samples.npz")
            if picture.name in kept["names"]:
                return kept["predictions"][kept["names"].tolist().index(picture.name)] / 255
    return None


def _claimed(source: Source, loss: str, weight, threshold: float,
             picture: Picture) -> np.ndarray | None:
    """Where the prediction reaches the threshold, or None."""
    found = prediction(source, loss, weight, picture)
    return None if found is None else (found >= threshold).astype(np.uint8)


@drawn
def misses(source: Source, shown: list[Picture]) -> Figure | None:
    """Fig. 2 of paper A: what MSE misses at its threshold in Table 8, thin cracks first of all."""
    loss, weight, threshold = chosen_rows()[0]
    claims = [_claimed(source, loss, weight, threshold, sample) for sample in shown]
    panels = [[sample.image, sample.mask, claim, _marked(sample, claim)]
              for sample, claim in zip(shown, claims)]
    titles = ["image", "label", "prediction", "found (blue), missed (orange)"]
    return _grid(panels, titles, _sample_names(shown),
                 f"Fig. 2: what MSE misses at threshold {threshold:g}")


def _marked(sample: Picture, claim: np.ndarray | None) -> np.ndarray | None:
    """The image in pale grey, its found and missed crack pixels in colour."""
    if claim is None:
        return None
    grey = sample.image.mean(axis=2, keepdims=True).repeat(3, axis=2) / 255
    marked = 0.6 + 0.4 * grey
    marked[(sample.mask == 1) & (claim == 1)] = BLUE
    marked[(sample.mask == 1) & (claim == 0)] = RED
    return marked


@drawn
def kernels_and_layers(source: Source, shown: list[Picture], loss: str = "relu",
                       weight: float | None = 0.97, threshold: float = 0.5) -> Figure | None:
    """Fig. 8 of paper A: one loss with 4 and 5 levels and 5x5 and 7x7 kernels."""
    columns = [(f"{levels} levels, {kernel}×{kernel}", source_of(source, levels, kernel), loss,
                weight, threshold) for levels, kernel in SETTINGS]
    return _results(columns, shown, f"Fig. 8: {label(loss, weight)} by layers and kernel, "
                    f"at threshold {threshold:g}")


def source_of(source: Source, levels: int, kernel: int) -> Source:
    """The same source with another depth and kernel of the U-Net."""
    return replace(source, protocol=replace(source.protocol, levels=levels, kernel=kernel))


@drawn
def by_weight(source: Source, shown: list[Picture], loss: str) -> Figure | None:
    """Fig. 9, 10, 11 or 12 of paper A: one function's four weights at its table's threshold."""
    rows = published.table(TABLE_OF[loss])
    columns = [(f"w = {weight:g}", source, loss, weight, threshold)
               for weight, threshold in zip(rows["weight"], rows["threshold"])]
    return _results(columns, shown, f"Fig. {FIRST_PICTURES + WEIGHTED.index(loss)}: {NAMES[loss]} "
                    f"by weight, at threshold {rows['threshold'][0]:g} (Table {TABLE_OF[loss]})")


@drawn
def side_by_side(source: Source, shown: list[Picture], added: bool = True) -> Figure | None:
    """Fig. 13 of paper A: the four functions as in Table 8; `added` appends MSE and BCE."""
    mse, *functions, bce = chosen_rows()
    columns = [(f"{NAMES[loss]}\n{weight:g} at {threshold:g}".replace("& ", "&\n"), source, loss,
                weight, threshold) for loss, weight, threshold in functions]
    columns += [(f"{NAMES[row[0]]} (added)\nat {row[2]:g}", source, *row)
                for row in (mse, bce) if added]
    return _results(columns, shown, "Fig. 13: the four functions, weight and threshold of Table 8")


@drawn
def road_pictures(source: Source, shown: list[Picture]) -> Figure | None:
    """Paper B: frame, label and every loss's drivable area; a frame a column."""
    lines = [("frame", [sample.image for sample in shown]),
             ("label", [sample.mask > 0 for sample in shown])]
    lines += [(label(row.loss, row.weight), [
        _claimed(source, row.loss, row.weight, ROAD_THRESHOLD, sample) for sample in shown])
        for row in paper_rows(source.protocol)]
    names, panels = zip(*((name.replace(" ", "\n", 1), panel) for name, panel in lines))
    return _grid(panels, _sample_names(shown), names,
                 f"Drivable area by loss, at threshold {ROAD_THRESHOLD:g}", across=5)


def _results(columns: list[tuple], shown: list[Picture], heading: str) -> Figure | None:
    """Image and label, then a column (title, source, loss, weight, threshold) each."""
    panels = [[sample.image, sample.mask, *[_claimed(*column[1:], sample) for column in columns]]
              for sample in shown]
    return _grid(panels, ["image", "label", *[column[0] for column in columns]],
                 _sample_names(shown), heading)


def _sample_names(shown: list[Picture]) -> list[str]:
    return [sample.name for sample in shown]


def _grid(panels, titles: list[str], names: list[str], heading: str,
          across: int = 4) -> Figure | None:
    """Pictures in rows and columns; None in place of a picture says "not run"."""
    if not panels or not panels[0]:
        return None
    height, width = panels[0][0].shape[:2]
    side = (WIDTH - 0.3) / max(len(titles), across)
    above = 0.3 + 0.14 * (1 + max(title.count("\n") for title in titles))
    figure, axes = pyplot.subplots(
        len(names), len(titles), squeeze=False,
        figsize=(0.3 + side * len(titles), above + len(names) * (side * height / width + 0.02)))
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    for axes_row, row, name in zip(axes, panels, names):
        axes_row[0].set_ylabel(name)
        for axis, picture in zip(axes_row, row):
            axis.set(xticks=[], yticks=[])
            sns.despine(ax=axis, left=True, bottom=True)
            if picture is None:
                picture = np.full((height, width), 0.9)
                not_run(axis, "not run on\nthese images")
            axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
    for axis, title in zip(axes[0], titles):
        axis.set_title(title)
    figure.suptitle(heading)
    return figure
