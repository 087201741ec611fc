"""Figures of pictures: what networks find, miss and wrongly mark in test images, in three colours.

A figure shows the part of an image in which the predictions that it compares differ most. Records
keep predictions of synthetic images; pictures of a folder are predicted by the records' networks.
"""

import textwrap
import warnings
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from crackutils import data as datasets
from crackutils import evaluation, files, records
from crackutils.cracks.report import OUTCOMES, in_three_colours
from crackutils.data.masks import is_positive
from crackutils.device import decide, fabric_for
from crackutils.experiment import KEPT_SAMPLES, open_record
from crackutils.losses import NAMES, WEIGHTED, label
from crackutils.papers import published
from crackutils.papers.crack_figures import column_figure, column_style, write_not_run
from crackutils.papers.crack_tables import chosen_rows
from crackutils.papers.road_tables import THRESHOLD as ROAD_THRESHOLD
from crackutils.papers.road_tables import paper_rows
from crackutils.papers.source import Source

WINDOW = 128  # px: the side of the part of an image that a figure shows
SETTINGS = ((4, 5), (4, 7), (5, 5), (5, 7))  # levels and kernel of Fig. 8
FIRST_PICTURES = 9  # Figs. 9-12 show the functions in the order of WEIGHTED ...
TABLE_OF = dict(zip(WEIGHTED, (4, 5, 6, 7)))  # ... and so do Tables 4-7


class Picture(NamedTuple):
    """A test image as the network saw it, its mask, and the fingerprint of its data set."""

    name: str
    image: np.ndarray
    mask: np.ndarray
    fingerprint: str


def kept_pictures(source: Source, runs: str | Path | None,
                  data: str | Path = "synthetic") -> list[Picture]:
    """The first test images with a crack or road, as the network saw them. Where the folder of a
    source's data is not at hand, the list is empty, and a sentence says so."""
    if str(data) != "synthetic" and not files.resolve(data).is_dir():
        print(f"The folder {data} is not here: the figures of its pictures are left out.")
        return []
    dataset = datasets.load(data, source.protocol, files.resolve(runs, "runs"))
    shown = [sample for sample in dataset.test if is_positive(sample.mask).any()][:KEPT_SAMPLES]
    return [Picture(*sample[:3], dataset.fingerprint) for sample in shown]


def prediction(source: Source, loss: str, weight, picture: Picture) -> np.ndarray | None:
    """The probabilities (H x W, 0 to 1) of a picture by the first record that keeps them or has its
    network, or None. A record of another data set of that name is left out with a warning."""
    for _, folder in source.records(loss, weight).values():
        if records.read_json(folder / "config.json")["fingerprint"] != picture.fingerprint:
            warnings.warn(f"{folder.name} was made from other versions of these images: its "
                          "predictions are left out. Train it again to see them.", stacklevel=2)
            continue
        if (folder / "samples.npz").is_file():
            kept = records.read_arrays(folder / "samples.npz")
            if picture.name in kept["names"]:
                return kept["predictions"][kept["names"].tolist().index(picture.name)] / 255
        elif (folder / records.MODEL).is_file():
            return predicted_by(folder, picture.image)
    return None


def predicted_by(record: Path, image: np.ndarray) -> np.ndarray:
    """The probabilities (float32 H x W) of an image, uint8 H x W x 3, by a record's network."""
    model, protocol = open_record(record)
    hardware = decide(replace(protocol, precision="float32", memory_format="auto"))
    fabric = fabric_for(hardware)
    model.to(fabric.device, memory_format=hardware.tensor_format)
    images = torch.tensor(image, device=fabric.device)[None]
    probabilities = evaluation.predict(model, images, protocol, hardware, fabric)[0]
    return evaluation.positive(probabilities).cpu().numpy()


class Column(NamedTuple):
    """A prediction to show: its title, and the record, weight and threshold that it comes from."""

    title: str
    source: Source
    loss: str
    weight: tuple[float, float] | float | None
    threshold: float

    def of(self, picture: Picture) -> np.ndarray | None:
        """Whether each pixel of a picture reaches the threshold, H x W; None without a record."""
        probability = prediction(self.source, self.loss, self.weight, picture)
        return None if probability is None else probability >= self.threshold


def busiest_window(difference: np.ndarray, side: int) -> tuple[float, tuple[slice, slice]]:
    """The sum of a difference (H x W) in the square of `side` pixels (or the whole height or width)
    where it is largest, and that square."""
    height, width = (min(side, length) for length in difference.shape)
    sums = cv2.boxFilter(difference.astype(np.float32), -1, (width, height), anchor=(0, 0),
                         normalize=False)[:difference.shape[0] - height + 1,
                                          :difference.shape[1] - width + 1]
    top, left = np.unravel_index(sums.argmax(), sums.shape)
    return float(sums[top, left]), np.s_[top:top + height, left:left + width]


@column_style
def missed_cracks(source: Source, shown: list[Picture]) -> Figure | None:
    """Fig. 2 of paper A: what MSE misses at its threshold in Table 8, in the two images in which it
    misses most."""
    mse = Column("MSE", source, *chosen_rows()[0])
    rows = []
    for picture in shown:
        predicted = mse.of(picture)
        missed = np.zeros(picture.mask.shape) if predicted is None \
            else is_positive(picture.mask) & ~predicted
        amount, window = busiest_window(missed, WINDOW)
        rows.append((amount, _tiles(picture, window, [(f"MSE at {mse.threshold:g}", predicted)])))
    rows.sort(key=lambda row: -row[0])
    return _figure([tile for _, tiles in rows[:2] for tile in tiles], "Fig. 2: what MSE misses")


@column_style
def kernels_and_layers(source: Source, shown: list[Picture]) -> Figure | None:
    """Fig. 8 of paper A: ReLU 0.97 with 4 and 5 levels and 5x5 and 7x7 kernels."""
    columns = []
    for levels, kernel in SETTINGS:
        protocol = replace(source.protocol, levels=levels, kernel=kernel)
        columns.append(Column(f"{levels} levels, {kernel}×{kernel}",
                              replace(source, protocol=protocol), "relu", 0.97, 0.5))
    return _compared(columns, shown, "Fig. 8: ReLU 0.97 at 0.5, by layers and kernel")


@column_style
def by_weight(source: Source, shown: list[Picture], loss: str) -> Figure | None:
    """Fig. 9, 10, 11 or 12 of paper A: a loss with four weights, at its table's threshold."""
    rows = published.table(TABLE_OF[loss])
    columns = [Column(f"w = {weight:g}", source, loss, weight, threshold)
               for weight, threshold in zip(rows["weight"], rows["threshold"])]
    return _compared(columns, shown, f"Fig. {FIRST_PICTURES + WEIGHTED.index(loss)}: {NAMES[loss]} "
                     f"at {rows['threshold'][0]:g}, by weight")


@column_style
def side_by_side(source: Source, shown: list[Picture]) -> Figure | None:
    """Fig. 13 of paper A: the four functions as in Table 8; MSE and BCE are added."""
    mse, *functions, bce = chosen_rows()
    columns = [Column(textwrap.fill(f"{label(loss, weight)} at {threshold:g}", 19), source, loss,
                      weight, threshold) for loss, weight, threshold in functions]
    columns += [Column(f"{NAMES[row[0]]} at {row[2]:g}\n(added)", source, *row)
                for row in (mse, bce)]
    return _compared(columns, shown, "Fig. 13: weight and threshold of Table 8")


@column_style
def road_pictures(source: Source, shown: list[Picture]) -> Figure | None:
    """Paper B: the frame in which its losses differ most, and what each of them finds in it."""
    columns = [Column(label(row.loss, row.weight).replace(" ", "\n", 1), source, row.loss,
                      row.weight, ROAD_THRESHOLD) for row in paper_rows(source.protocol)]
    return _compared(columns, shown, f"Drivable area by loss, at {ROAD_THRESHOLD:g}", None)


def _compared(columns: list[Column], shown: list[Picture], heading: str,
              side: int | None = WINDOW) -> Figure | None:
    """Image, label and each column's outcome, in the square of `side` pixels (None: the image) in
    which the predictions differ most; in the first image if there are fewer than two."""
    chosen, most = None, -1.0
    for picture in shown:
        predicted = [column.of(picture) for column in columns]
        there = [mask for mask in predicted if mask is not None]
        difference = np.var(there, axis=0) if there else np.zeros(picture.mask.shape)
        amount, window = busiest_window(difference, side or max(picture.mask.shape))
        if amount > most:
            most, chosen = amount, (picture, window, predicted)
    if chosen is None:
        return None
    picture, window, predicted = chosen
    titles = [column.title for column in columns]
    return _figure(_tiles(picture, window, list(zip(titles, predicted))), heading)


def _tiles(picture: Picture, window: tuple[slice, slice],
           predicted: list[tuple[str, np.ndarray | None]]) -> list[tuple[str, np.ndarray | None]]:
    """The image, its label and each prediction in three colours, with titles, in a window."""
    tiles = [("image", picture.image), ("label", np.where(is_positive(picture.mask), 255, 0))]
    for title, mask in predicted:
        outcome = None if mask is None else in_three_colours(picture.image, picture.mask, mask)
        tiles.append((title, outcome))
    return [(title, None if tile is None else tile[window]) for title, tile in tiles]


def _figure(tiles: list[tuple[str, np.ndarray | None]], heading: str) -> Figure | None:
    """Pictures with titles, three in a row; None without a picture, and in place of a picture
    that is None the figure says that there is no record."""
    if not tiles:
        return None
    height, width = tiles[0][1].shape[:2]
    rows = -(-len(tiles) // 3)
    lines = max(title.count("\n") for title, _ in tiles) + 1
    figure, axes = column_figure(rows, 3, 0.4 + rows * (1.0 * height / width + 0.13 * lines))
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.015, wspace=0, hspace=0)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (title, tile) in zip(axes.flat, tiles):
        axis.set_title(title, pad=2)
        if tile is None:
            tile = np.full((height, width), 230)
            write_not_run(axis, "not run on\nthese images")
        axis.imshow(tile, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    figure.suptitle(heading)
    figure.legend(handles=[Patch(color=colour, label=name) for name, colour in OUTCOMES.items()],
                  loc="outside lower center", ncols=3, handlelength=1)
    return figure
