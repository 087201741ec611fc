"""Model x images -> counts: one pass over the images yields the counts of all thresholds."""

import itertools
import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from crackutils.data.picture_cache import Part
from crackutils.data.samples import Sample
from crackutils.device import Hardware
from crackutils.models import OUTPUTS, probability
from crackutils.protocol import Protocol

# 0.01 ... 0.99, and finer near 1, where strongly weighted losses have their best threshold
THRESHOLDS = np.concatenate([np.arange(1, 100) / 100, np.arange(991, 1000) / 1000,
                             [0.9995, 0.9999]])
CELLS = 2**14  # of the histogram that thresholds are counted with: a power of two
IN_CACHE = 2**18  # pixels counted at once: their intermediate results stay in the cache
PIXELS_AT_ONCE = 2**20  # of windows in one pass: bounds the memory, whatever the photograph
WIDTH_EDGES = np.array([1.0, 2.0, 3.0, 5.0])  # px: below 1, 1-2, 2-3, 3-5, 5 and more


class NoProbabilitiesError(ValueError):
    """Predictions outside [0, 1], or no numbers at all."""


def counts_by_group(prediction: Tensor, group: Tensor, groups: int,
                    thresholds: np.ndarray = THRESHOLDS) -> Tensor:
    """How many pixels of each group are positive at each threshold: int64 groups x thresholds.

    A pixel is positive at threshold t if prediction >= t, both as float32; `group` holds each
    pixel's group, 0 ... groups - 1. One histogram over all pixels, whatever the number of
    thresholds. `ValueError` for predictions outside [0, 1] (NaN included).
    """
    cuts = torch.as_tensor(thresholds, dtype=torch.float32, device=prediction.device)
    cut_cells = (cuts * CELLS).long()
    has_cut = torch.zeros(CELLS + 1, dtype=torch.bool, device=prediction.device)
    has_cut[cut_cells] = True
    size = len(thresholds) + 1
    by_cell = torch.zeros(groups * (CELLS + 1), dtype=torch.long, device=prediction.device)
    by_threshold = torch.zeros(groups * size, dtype=torch.long, device=prediction.device)
    for values, own in zip(prediction.flatten().split(IN_CACHE), group.flatten().split(IN_CACHE)):
        values, own = values.float(), own.int()
        low, high = values.aminmax()
        if not bool((low >= 0) & (high <= 1)):
            raise NoProbabilitiesError("predictions must be probabilities in [0, 1], without NaN")
        # exact, CELLS being a power of two: of values in different cells the cells tell the larger
        cells = (values * CELLS).int()
        by_cell += torch.bincount(own * (CELLS + 1) + cells, minlength=len(by_cell))
        # the few pixels in a threshold's own cell are compared with the thresholds themselves
        near = has_cut.index_select(0, cells).nonzero()[:, 0]
        # right=True: the number of thresholds <= prediction, ties included
        reached = torch.bucketize(values[near], cuts, right=True)
        by_threshold += torch.bincount(own[near] * size + reached, minlength=len(by_threshold))
    by_cell = by_cell.view(groups, -1)
    by_cell[:, has_cut] = 0
    return at_least(by_cell)[:, cut_cells] + at_least(by_threshold.view(groups, size))[:, 1:]


def at_least(histogram: Tensor) -> Tensor:
    """How many lie in each column or in one to its right."""
    return histogram.flip(1).cumsum(1).flip(1)


def image_counts(prediction: Tensor, sample: Sample) -> dict[str, np.ndarray]:
    """The counts of one image (classes x H x W probabilities): by threshold and, if known, by crack
    width; of several classes also `confusion`, labels x predictions. There all classes but the
    background are positive together."""
    mask = (sample.mask > 0).astype(np.int64)
    several = len(prediction) > 1
    confused = {"confusion": confusion(prediction, sample.mask)} if several else {}
    prediction = positive(prediction)
    if sample.width is None:
        group, groups = mask, 2
    else:
        group, groups = mask * (1 + np.digitize(sample.width, WIDTH_EDGES)), len(WIDTH_EDGES) + 2
    group = torch.from_numpy(group).to(prediction.device)
    claimed = counts_by_group(prediction, group, groups).cpu().numpy()
    true = claimed[1:].sum(0)
    result = {"pixels": np.array(mask.size), "true_positives": true, "false_positives": claimed[0],
              "false_negatives": mask.sum() - true}
    if sample.width is not None:
        totals = torch.bincount(group.flatten(), minlength=groups).cpu().numpy()
        result |= {"true_positives_by_width": claimed[1:], "positives_by_width": totals[1:]}
    return result | confused


def positive(prediction: Tensor) -> Tensor:
    """The probability of not being background, H x W, from those of the classes."""
    if len(prediction) == 1:
        return prediction[0]
    return prediction[1:].sum(0).clamp(0, 1)  # rounding may lead beyond 1


def confusion(prediction: Tensor, mask: np.ndarray) -> np.ndarray:
    """Pixels by label (rows) and by the likeliest class (columns)."""
    classes = len(prediction)
    labels = torch.from_numpy(mask.astype(np.int64)).to(prediction.device)
    cells = labels * classes + prediction.argmax(0)
    return torch.bincount(cells.flatten(), minlength=classes**2).view(classes, classes) \
        .cpu().numpy()


def window_starts(length: int, side: int) -> list[int]:
    """First pixels of windows of `side` pixels that cover `length`, a quarter overlapping."""
    if length <= side:
        return [0]
    count = math.ceil((length - side) / (0.75 * side)) + 1
    return np.linspace(0, length - side, count).round().astype(int).tolist()


def windows_of(size: tuple[int, int], tile: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Windows of `tile` that cover an image of `size`."""
    return [np.s_[top:top + tile[0], left:left + tile[1]]
            for top in window_starts(size[0], tile[0]) for left in window_starts(size[1], tile[1])]


def groups(part: Part, indices: Iterable[int], tile: tuple[int, int]) -> Iterator[list[int]]:
    """Neighbours of one size, as many as fill a pass (at least one)."""
    for size, run in itertools.groupby(indices, lambda index: part.sizes[index]):
        same = list(run)
        pixels = len(windows_of(size, tile)) * tile[0] * tile[1]
        at_once = max(1, PIXELS_AT_ONCE // pixels)
        yield from (same[first:first + at_once] for first in range(0, len(same), at_once))


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor, protocol: Protocol, hardware: Hardware,
            fabric: Fabric) -> Tensor:
    """Probabilities float32 N x classes x H x W of images N x 3 x H x W; `model` in evaluation
    mode.

    A network trained on tiles sees tiles here too: overlapping windows of `protocol.tile`, averaged
    where they overlap. On a whole photograph its deep layers, which only ever saw the zeros around
    a tile, would meet surroundings they never learned, and some runs then fail on some of them.
    """
    height, width = images.shape[-2:]
    places = [(image, window) for image in range(len(images))
              for window in windows_of((height, width), protocol.tile)]
    total = images.new_zeros(len(images), OUTPUTS[protocol.classes], height, width)
    hits = torch.zeros_like(images[:, :1])
    at_once = max(1, PIXELS_AT_ONCE // math.prod(protocol.tile))
    for first in range(0, len(places), at_once):
        chunk = places[first:first + at_once]
        tiles = torch.stack([images[image, :, *window] for image, window in chunk])
        with fabric.autocast():
            logits = model(tiles.contiguous(memory_format=hardware.tensor_format))
        for (image, window), tile in zip(chunk, probability(logits, protocol.output)):
            total[image, :, *window] += tile
            hits[image, :, *window] += 1
    return total / hits


def predictions(model: nn.Module, part: Part, indices: Iterable[int], protocol: Protocol,
                hardware: Hardware, fabric: Fabric) -> Iterator[tuple[int, Tensor]]:
    """Each index with its sample's probabilities, float32 classes x H x W."""
    model.to(fabric.device, memory_format=hardware.tensor_format).eval()
    images, _ = part.tensors()
    for group in groups(part, indices, protocol.tile):
        pixels = torch.stack([images[part.place(index)].view(*part.sizes[index], 3)
                              for index in group]).to(fabric.device)
        found = predict(model, pixels.permute(0, 3, 1, 2).float() / 255, protocol, hardware, fabric)
        yield from zip(group, found)


def evaluate(model: nn.Module, parts: dict[str, Part], protocol: Protocol, hardware: Hardware,
             fabric: Fabric) -> dict[str, np.ndarray]:
    """The arrays of `counts.npz`: `thresholds`, and for each part `<part>_names`, `_pixels`,
    `_true_positives`, `_false_positives`, `_false_negatives` (images x thresholds) and, where the
    crack widths are known, `_true_positives_by_width` (images x widths x thresholds) and
    `_positives_by_width` (images x widths; the widths' limits are `width_edges`); of several
    classes also `_confusion` (images x labels x predictions).

    Several processes share out the images; each counts as it would alone, and counts none twice.
    """
    arrays = {"thresholds": THRESHOLDS, "width_edges": WIDTH_EDGES}
    for part, samples in parts.items():
        own = range(fabric.global_rank, len(samples), fabric.world_size)
        counted = {index: image_counts(prediction, samples[index]) for index, prediction in
                   predictions(model, samples, own, protocol, hardware, fabric)}
        arrays[f"{part}_names"] = np.array(samples.names)
        for name, counts in shared(counted, len(samples), fabric).items():
            arrays[f"{part}_{name}"] = counts.astype(np.uint32)
    return arrays


def shared(counted: dict[int, dict[str, np.ndarray]], count: int,
           fabric: Fabric) -> dict[str, np.ndarray]:
    """All processes' counts, stacked in the images' order; refused unless each image has one."""
    gathered = [counted]
    if fabric.world_size > 1:
        gathered = [None] * fabric.world_size
        torch.distributed.all_gather_object(gathered, counted)
    indices = sorted(index for one in gathered for index in one)
    if indices != list(range(count)):
        raise RuntimeError(f"{len(indices)} counts for {count} images: each must be counted once.")
    together = {index: counts for one in gathered for index, counts in one.items()}
    return {name: np.stack([together[index][name] for index in range(count)])
            for name in together[0]}
