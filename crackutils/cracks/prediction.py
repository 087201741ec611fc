"""A photograph of any size to crack probabilities: by overlapping tiles, from band to band.

A pixel of a U-Net's prediction depends on the pixels around it, up to about half a receptive field
away. A network that was trained on tiles of at least a third of its receptive field, as the shipped
ones were, predicts larger tiles as well (docs/your-photographs.md). It sees tiles of which a margin
of half a receptive field is left out, so that the prediction is that of the whole photograph, up to
rounding, and has no seams. A network with a wider receptive field relies on the zeros that surround
each tile in training. It sees tiles of its training's size, which overlap by two thirds and are
blended.

All tiles begin at multiples of the network's pooling grid: shifted by less than that, a U-Net gives
other values.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from crackutils import metrics, records
from crackutils.device import Hardware, decide, fabric_for
from crackutils.evaluation import PIXELS_PER_PASS, blending_weights
from crackutils.experiment import open_record
from crackutils.losses import optimal_prediction
from crackutils.models import probability, receptive_field
from crackutils.protocol import Protocol
from crackutils.records import RecordError

INTERIOR = 512  # px, the side of a tile without its margins
WIDEST_FIELD = 3  # of a training tile's side: the receptive field of a network without seams
OVERLAP = 2 / 3  # of a tile's side that neighbouring tiles share where they are blended
DEFAULT_THRESHOLD = 0.5  # of a model that states none


class CrackModel:
    """A trained network, ready to predict the cracks of photographs.

    `RecordError` if the record can't be used, or was not trained on tiles with cracks; `ValueError`
    if the device is not there. The network computes in float32, so that a photograph has the same
    mask on every machine.
    """

    def __init__(self, folder: Path, device: str = "auto"):
        self.model, protocol = open_record(folder)
        if protocol.task != "cracks" or protocol.framing != "tiles":
            raise RecordError(f"{folder} was trained on {protocol.task} with framing="
                              f"{protocol.framing}: expected cracks and framing=tiles. Choose "
                              "another model.")
        self.folder = folder
        self.protocol = replace(protocol, precision="float32", memory_format="auto")
        self.tiling = tiling(protocol)
        self.hardware: Hardware = decide(self.protocol, device)
        self.fabric: Fabric = fabric_for(self.hardware)
        fuse_batch_norm(self.model)
        self.model.to(self.fabric.device, memory_format=self.hardware.tensor_format).eval()

    def default_threshold(self) -> float:
        """The threshold that `config.json` states; else that with the best F1 on the validation
        part, as counted in `counts.npz`; else .5."""
        stated = records.read_json(self.folder / records.CONFIG).get("threshold")
        if stated is not None:
            return checked_threshold(stated)
        if (self.folder / "counts.npz").is_file():
            counts = records.read_arrays(self.folder / "counts.npz")
            return metrics.best_threshold(counts, "validation")
        return DEFAULT_THRESHOLD

    def threshold_for(self, missed_costs: float) -> float:
        """The threshold at which the expected cost is lowest, if a missed crack pixel costs
        `missed_costs` times as much as a false alarm: 1 / (1 + costs) of the crack probability, as
        the prediction that the model's loss gives for it (`losses.optimal_prediction`).

        `ValueError` unless the costs are finite and above 0, or if the loss is no mean over pixels.
        """
        if not 0 < missed_costs < math.inf:
            raise ValueError(f"The cost of a missed crack must be finite and above 0, got "
                             f"{missed_costs:g}: 10 makes it ten times that of a false alarm.")
        probability = 1 / (1 + missed_costs)
        return float(optimal_prediction(self.protocol.loss, probability, self.protocol.weight))

    @torch.inference_mode()
    def bands(self, image: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Predict a picture, uint8 H x W x 3, from top to bottom: yields the rows of each band and
        their probabilities, float32 rows x W in [0, 1]. Only one row of tiles is in memory."""
        (height, width), grid = image.shape[:2], self.model.multiple
        tiling = self.tiling.fitted((height, width), grid)
        side = min(height, tiling.side[0]), min(width, tiling.side[1])
        tops, lefts = (tile_starts(*lengths, grid) for lengths in
                       zip((height, width), tiling.side, tiling.shared))
        device = self.fabric.device
        total = torch.zeros(2, side[0], lefts[-1] + side[1], device=device)
        for top, following in zip(tops, [*tops[1:], height]):
            rows = image[top:top + side[0]]
            missing = side[0] - len(rows), total.shape[2] - width
            rows = np.pad(rows, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")  # a copy
            rows = torch.from_numpy(rows).to(device)
            for left, probabilities in self.predicted(rows, lefts, side[1]):
                weights = tiling.weights(side, (top, left), (tops, lefts)).to(device)
                total[0, :, left:left + side[1]] += weights * probabilities
                total[1, :, left:left + side[1]] += weights
            done = following - top
            band = (total[0, :done] / total[1, :done]).clamp_(0, 1)  # rounding may lead beyond 1
            yield slice(top, following), band[:, :width].cpu().numpy()
            total[:, :side[0] - done] = total[:, done:].clone()
            total[:, side[0] - done:] = 0

    def predicted(self, rows: Tensor, lefts: list[int],
                  width: int) -> Iterator[tuple[int, Tensor]]:
        """Predict a row of tiles: yields the left edge of each tile, and its probabilities."""
        per_pass = max(1, PIXELS_PER_PASS[self.hardware.device] // (len(rows) * width))
        for first in range(0, len(lefts), per_pass):
            chunk = lefts[first:first + per_pass]
            batch = torch.stack([rows[:, left:left + width] for left in chunk])
            batch = batch.permute(0, 3, 1, 2).float() / 255
            logits = self.model(batch.contiguous(memory_format=self.hardware.tensor_format))
            yield from zip(chunk, probability(logits, self.protocol.output)[:, 0])

    def predict(self, image: np.ndarray) -> np.ndarray:
        """The crack probabilities of a whole picture: uint8 H x W x 3 to float32 H x W."""
        return np.concatenate([band for _, band in self.bands(image)])


def fuse_batch_norm(model: nn.Module) -> None:
    """Put each batch norm into the convolution before it, in a network in evaluation mode: the same
    function up to rounding, computed in a fifth less time."""
    for layers in model.modules():
        if isinstance(layers, nn.Sequential):
            for index, (before, layer) in enumerate(zip(layers, layers[1:])):
                if isinstance(before, nn.Conv2d) and isinstance(layer, nn.BatchNorm2d):
                    layers[index] = fuse_conv_bn_eval(before, layer)
                    layers[index + 1] = nn.Identity()


def checked_threshold(threshold) -> float:
    """The threshold; `ValueError` unless it is a number above 0 and below 1."""
    if not isinstance(threshold, int | float) or not 0 < threshold < 1:
        raise ValueError(f"A threshold must be above 0 and below 1, got {threshold!r}.")
    return float(threshold)


@dataclass(frozen=True)
class Tiling:
    """How a photograph is cut, in px: height and width of a tile, how much of each neighbouring
    tiles share at least, and the margin that is left out of a tile. 0: tiles are blended."""

    side: tuple[int, int]
    shared: tuple[int, int]
    margin: int

    def fitted(self, size: tuple[int, int], grid: int) -> "Tiling":
        """The same number of tiles for a picture of `size`, no larger than they need to be: with a
        margin a tile may have any size."""
        if not self.margin:
            return self
        counts = (max(1, math.ceil((length - shared) / (side - shared)))
                  for length, side, shared in zip(size, self.side, self.shared))
        sides = (math.ceil((length + (count - 1) * shared) / count / grid) * grid
                 for length, count, shared in zip(size, counts, self.shared))
        return replace(self, side=tuple(sides))

    def weights(self, side: tuple[int, int], start: tuple[int, int],
                starts: tuple[list[int], list[int]]) -> Tensor:
        """How much each pixel of a tile of `side` counts that begins at `start`, where the tiles
        begin at `starts`: float32, height x width. At the picture's edges there is no margin."""
        if max(map(len, starts)) == 1:
            return torch.ones(side)  # one tile alone
        if not self.margin:
            return blending_weights(side)
        curves = [torch.zeros(length) for length in side]
        for curve, first, firsts in zip(curves, start, starts):
            curve[self.margin * (first > 0):len(curve) - self.margin * (first < firsts[-1])] = 1
        return torch.outer(*curves)


def tiling(protocol: Protocol) -> Tiling:
    """The tiles for a network of this protocol (see the module's docstring)."""
    if protocol.architecture == "unet" and protocol.upsampling == "transposed":
        field = receptive_field(protocol.levels, protocol.kernel)
        if field <= WIDEST_FIELD * min(protocol.tile):
            return larger_tiles(protocol, INTERIOR)
    return blended_tiles(protocol)


def larger_tiles(protocol: Protocol, interior: int) -> Tiling:
    """Tiles of which a margin is left out, for a U-Net with transposed up-sampling."""
    grid = 2 ** (protocol.levels - 1)
    # Within the tile a pixel may depend on a little more than half a field to one side, but not
    # those next to the margin, since tiles and margins begin on the grid.
    margin = math.ceil(receptive_field(protocol.levels, protocol.kernel) / 2 / grid) * grid
    return Tiling((interior + 2 * margin,) * 2, (2 * margin,) * 2, margin)


def blended_tiles(protocol: Protocol) -> Tiling:
    """Tiles of the training's size."""
    return Tiling(protocol.tile, tuple(math.ceil(OVERLAP * side) for side in protocol.tile), 0)


def tile_starts(length: int, side: int, shared: int, grid: int) -> list[int]:
    """The first pixel of each tile of `side` pixels, multiples of `grid`: neighbours share at least
    `shared` pixels, and the last tile may reach less than `grid` pixels beyond `length`."""
    if length <= side:
        return [0]
    last = math.ceil((length - side) / grid)  # in steps of the grid
    step = max(1, (side - shared) // grid)
    return (np.linspace(0, last, math.ceil(last / step) + 1).round().astype(int) * grid).tolist()
