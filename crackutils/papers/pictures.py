"""Figures of pictures: synthetic test images, their labels, and the predictions in records.

Photographs are never put into a figure: for them `kept_pictures` is empty, and figures are None.
"""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import seaborn as sns
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from crackutils import data as datasets
from crackutils import files, records
from crackutils.data.masks import IGNORED
from crackutils.experiment import KEPT_SAMPLES
from crackutils.losses import NAMES, WEIGHTED, label
from crackutils.papers import published
from crackutils.papers.crack_figures import BLUE, RED, WIDTH, house_style, write_not_run
from crackutils.papers.crack_tables import chosen_rows
from crackutils.papers.road_tables import THRESHOLD as ROAD_THRESHOLD
from crackutils.papers.road_tables import paper_rows
from crackutils.papers.source import Source

# RGB; a test holds that the colour-blind can tell them from one another and from the pale image
OUTCOMES = {"found": (0, 130, 200), "missed": (240, 150, 0), "false alarm": (110, 0, 80)}
SETTINGS = ((4, 5), (4, 7), (5, 5), (5, 7))  # levels and kernel of Fig. 8
FIRST_PICTURES = 9  # Figs. 9-12 show the functions in the order of WEIGHTED ...
TABLE_OF = dict(zip(WEIGHTED, (4, 5, 6, 7)))  # ... and so do Tables 4-7


class Picture(NamedTuple):
    """A test image as the network saw it, its mask, and the fingerprint of its data set."""

    name: str
    image: np.ndarray
    mask: np.ndarray
    fingerprint: str


def in_three_colours(image: np.ndarray, mask: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The image in pale grey with its found, missed and wrongly marked pixels in `OUTCOMES`.

    `image` uint8 H x W x 3, `mask` H x W (positive above 0, `IGNORED` pixels stay grey),
    `predicted` H x W of bool or 0 and 1; returns uint8 H x W x 3.
    """
    pale = (0.4 * image.mean(axis=2, keepdims=True) + 153).astype(np.uint8).repeat(3, axis=2)
    labelled, claimed = (mask > 0) & (mask != IGNORED), predicted.astype(bool)
    pale[labelled & claimed] = OUTCOMES["found"]
    pale[labelled & ~claimed] = OUTCOMES["missed"]
    pale[(mask == 0) & claimed] = OUTCOMES["false alarm"]
    return pale


def add_legend(figure: Figure) -> None:
    """Say below a figure what the three colours mean."""
    patches = [Patch(color=np.array(colour) / 255, label=name)
               for name, colour in OUTCOMES.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=3, handlelength=1)


def kept_pictures(source: Source, runs: str | Path | None) -> list[Picture]:
    """The synthetic test images whose predictions are kept in records, as the network saw them. For
    photographs the list is empty, and a sentence says so: they are never put into a figure."""
    if source.dataset != "synthetic":
        print("Only synthetic images are put into figures: the picture grids are left out.")
        return []
    data = datasets.load("synthetic", source.protocol, files.resolve(runs, "runs"))
    shown = [sample for sample in data.test if sample.mask.any()][:KEPT_SAMPLES]
    return [Picture(*sample[:3], data.fingerprint) for sample in shown]


def prediction(source: Source, loss: str, weight, picture: Picture) -> np.ndarray | None:
    """The probabilities (H x W, 0 to 1) of a picture in the first record that keeps them, or None.
    A record of another data set with the same names is left out with a warning."""
    for _, folder in source.records(loss, weight).values():
        if records.read_json(folder / "config.json")["fingerprint"] != picture.fingerprint:
            warnings.warn(f"{folder.name} was made from other versions of these images: its "
                          "predictions are left out. Train it again to see them.", stacklevel=2)
        elif (folder / "samples.npz").is_file():
            kept = records.read_arrays(folder / "samples.npz")
            if picture.name in kept["names"]:
                return kept["predictions"][kept["names"].tolist().index(picture.name)] / 255
    return None


def _predicted_mask(source: Source, loss: str, weight, threshold: float,
                    picture: Picture) -> np.ndarray | None:
    """1 where the probability is at least the threshold, else 0; None without a record."""
    probability = prediction(source, loss, weight, picture)
    return None if probability is None else (probability >= threshold).astype(np.uint8)


@house_style
def missed_cracks(source: Source, shown: list[Picture]) -> Figure | None:
    """Fig. 2 of paper A: what MSE misses at its threshold in Table 8, thin cracks above all."""
    loss, weight, threshold = chosen_rows()[0]
    panels = []
    for picture in shown:
        predicted = _predicted_mask(source, loss, weight, threshold, picture)
        marked = None
        if predicted is not None:  # the image in pale grey, the crack pixels in colour
            marked = 0.6 + 0.4 * picture.image.mean(axis=2, keepdims=True).repeat(3, axis=2) / 255
            marked[(picture.mask == 1) & (predicted == 1)] = BLUE
            marked[(picture.mask == 1) & (predicted == 0)] = RED
        panels.append([picture.image, picture.mask, predicted, marked])
    titles = ["image", "label", "prediction", "found (blue), missed (orange)"]
    return _grid(panels, titles, [picture.name for picture in shown],
                 f"Fig. 2: what MSE misses at threshold {threshold:g}")


@house_style
def kernels_and_layers(source: Source, shown: list[Picture], loss: str = "relu",
                       weight: float | None = 0.97, threshold: float = 0.5) -> Figure | None:
    """Fig. 8 of paper A: one loss with 4 and 5 levels and 5x5 and 7x7 kernels."""
    columns = []
    for levels, kernel in SETTINGS:
        protocol = replace(source.protocol, levels=levels, kernel=kernel)
        columns.append((f"{levels} levels, {kernel}×{kernel}", replace(source, protocol=protocol),
                        loss, weight, threshold))
    return _results(columns, shown, f"Fig. 8: {label(loss, weight)} by layers and kernel, "
                    f"at threshold {threshold:g}")


@house_style
def by_weight(source: Source, shown: list[Picture], loss: str) -> Figure | None:
    """Fig. 9, 10, 11 or 12 of paper A: a loss with four weights, at its table's threshold."""
    rows = published.table(TABLE_OF[loss])
    columns = [(f"w = {weight:g}", source, loss, weight, threshold)
               for weight, threshold in zip(rows["weight"], rows["threshold"])]
    return _results(columns, shown, f"Fig. {FIRST_PICTURES + WEIGHTED.index(loss)}: {NAMES[loss]} "
                    f"by weight, at threshold {rows['threshold'][0]:g} (Table {TABLE_OF[loss]})")


@house_style
def side_by_side(source: Source, shown: list[Picture], added: bool = True) -> Figure | None:
    """Fig. 13 of paper A: the four functions as in Table 8; `added` appends MSE and BCE."""
    mse, *functions, bce = chosen_rows()
    columns = [(f"{NAMES[loss]}\n{weight:g} at {threshold:g}".replace("& ", "&\n"), source, loss,
                weight, threshold) for loss, weight, threshold in functions]
    columns += [(f"{NAMES[row[0]]} (added)\nat {row[2]:g}", source, *row)
                for row in (mse, bce) if added]
    return _results(columns, shown, "Fig. 13: the four functions, weight and threshold of Table 8")


@house_style
def road_pictures(source: Source, shown: list[Picture]) -> Figure | None:
    """Paper B: frame, label and the drivable area of every loss, one column for each frame."""
    names = ["frame", "label"]
    panels = [[picture.image for picture in shown], [picture.mask > 0 for picture in shown]]
    for row in paper_rows(source.protocol):
        names.append(label(row.loss, row.weight).replace(" ", "\n", 1))
        panels.append([_predicted_mask(source, row.loss, row.weight, ROAD_THRESHOLD, picture)
                       for picture in shown])
    return _grid(panels, [picture.name for picture in shown], names,
                 f"Drivable area by loss, at threshold {ROAD_THRESHOLD:g}", across=5)


def _results(columns: list[tuple], shown: list[Picture], heading: str) -> Figure | None:
    """Image, label and a prediction for each column (title, source, loss, weight, threshold)."""
    panels = []
    for picture in shown:
        predicted = [_predicted_mask(*column[1:], picture) for column in columns]
        panels.append([picture.image, picture.mask, *predicted])
    return _grid(panels, ["image", "label", *[column[0] for column in columns]],
                 [picture.name for picture in shown], heading)


def _grid(panels, titles: list[str], names: list[str], heading: str,
          across: int = 4) -> Figure | None:
    """A figure of pictures in rows and columns, None if there are no pictures. `panels` is a list
    of rows; None in place of a picture is drawn as "not run"."""
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
                write_not_run(axis, "not run on\nthese images")
            axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
    for axis, title in zip(axes[0], titles):
        axis.set_title(title)
    figure.suptitle(heading)
    return figure
