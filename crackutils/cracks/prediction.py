"""A photograph of any size to crack probabilities: by overlapping tiles, from band to band.

This is `evaluation.predict` for one picture that may be too large to be predicted at once, with two
changes that make the seams smaller. The tiles overlap more, and they begin at multiples of the
network's pooling grid: shifted by less than that, a U-Net gives other values.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
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
from crackutils.models import probability
from crackutils.protocol import Protocol
from crackutils.records import RecordError

# of a tile's side that neighbouring tiles share: four times as many tiles change a prediction by
# .001 in the mean (docs/your-photographs.md)
OVERLAP = 2 / 3
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

    def bands(self, image: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Predict a picture, uint8 H x W x 3, from top to bottom: yields the rows of each band and
        their probabilities, float32 rows x W in [0, 1]. Only one row of tiles is in memory."""
        yield from bands(self.model, image, self.protocol, self.hardware, self.fabric)

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


def tile_starts(length: int, side: int, grid: int) -> list[int]:
    """The first pixel of each tile of `side` pixels, multiples of `grid`: neighbours share at least
    `OVERLAP` of their side (rounded to the grid), and the last tile may reach less than `grid`
    pixels beyond `length`."""
    if length <= side:
        return [0]
    last = math.ceil((length - side) / grid)  # in steps of the grid
    step = max(1, int((1 - OVERLAP) * side / grid))
    return (np.linspace(0, last, math.ceil(last / step) + 1).round().astype(int) * grid).tolist()


@torch.inference_mode()
def bands(model: nn.Module, image: np.ndarray, protocol: Protocol, hardware: Hardware,
          fabric: Fabric) -> Iterator[tuple[slice, np.ndarray]]:
    """`CrackModel.bands`, with a network in evaluation mode and what it computes with."""
    height, width = image.shape[:2]
    side = min(height, protocol.tile[0]), min(width, protocol.tile[1])
    tops, lefts = (tile_starts(length, tile, model.multiple)
                   for length, tile in zip((height, width), protocol.tile))
    weights = blending_weights(side).to(fabric.device)
    if len(tops) == len(lefts) == 1:
        weights = torch.ones_like(weights)  # nothing to blend
    total = torch.zeros(2, side[0], lefts[-1] + side[1], device=fabric.device)
    across = torch.zeros_like(total[0])
    for left in lefts:
        across[:, left:left + side[1]] += weights
    for top, following in zip(tops, [*tops[1:], height]):
        rows = torch.from_numpy(extended(image[top:top + side[0]], side[0], total.shape[2]))
        for left, probabilities in predicted(model, rows.to(fabric.device), lefts, side[1],
                                             protocol, hardware):
            total[0, :, left:left + side[1]] += weights * probabilities
        total[1] += across
        done = following - top
        band = (total[0, :done] / total[1, :done]).clamp_(0, 1)  # rounding may lead beyond 1
        yield slice(top, following), band[:, :width].cpu().numpy()
        total[:, :side[0] - done] = total[:, done:].clone()
        total[:, side[0] - done:] = 0


def extended(rows: np.ndarray, height: int, width: int) -> np.ndarray:
    """A copy of rows of a picture, which may be read-only, continued to the right and below with
    the pixels of their edge."""
    missing = height - rows.shape[0], width - rows.shape[1]
    return np.pad(rows, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")


def predicted(model: nn.Module, rows: Tensor, lefts: list[int], width: int, protocol: Protocol,
              hardware: Hardware) -> Iterator[tuple[int, Tensor]]:
    """Predict the tiles of one row: yields the left edge of each tile, and its probabilities."""
    per_pass = max(1, PIXELS_PER_PASS[hardware.device] // math.prod(protocol.tile))
    for first in range(0, len(lefts), per_pass):
        chunk = lefts[first:first + per_pass]
        batch = torch.stack([rows[:, left:left + width] for left in chunk])
        batch = batch.permute(0, 3, 1, 2).float() / 255
        logits = model(batch.contiguous(memory_format=hardware.tensor_format))
        yield from zip(chunk, probability(logits, protocol.output)[:, 0])
