"""From a network and pictures to counts: true and false positives at every threshold in one pass.

`predict` gives the probabilities of a picture of any size, tile by tile; `image_counts` turns them
into counts; `evaluate` does both for the parts of a data set and returns what `counts.npz` holds.
"""

import itertools
import math
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import scipy.ndimage
import torch
from lightning.fabric import Fabric
from skimage.morphology import disk, skeletonize
from torch import Tensor, nn

from crackutils.data.masks import IGNORED
from crackutils.data.picture_cache import Part
from crackutils.data.samples import Sample
from crackutils.device import Hardware
from crackutils.models import OUTPUTS, probability
from crackutils.protocol import Protocol

# 0.01 ... 0.99, and finer near 1, where strongly weighted losses have their best threshold
THRESHOLDS = np.concatenate([np.arange(1, 100) / 100, np.arange(991, 1000) / 1000,
                             [0.9995, 0.9999]])
WIDTH_EDGES = np.array([1.0, 2.0, 3.0, 5.0])  # px: below 1, 1 to 2, 2 to 3, 3 to 5, 5 and more
# the thresholds at which predictions are compared with a tolerance and by their skeletons
DETAIL_THRESHOLDS = THRESHOLDS[np.isin(np.round(THRESHOLDS, 4), np.round(
    [0.02, *np.arange(1, 20) / 20, 0.98, 0.99, 0.995], 4))]
TOLERANCES = (1, 2, 3)  # px
MOST_CLAIMED = 0.5  # of a picture's pixels: more are no lines
BLOCK_SIDE = 1024  # px
CONTINUED = 8  # px: so far a mask is continued beyond its edge before its skeleton is taken
OVERLAP = 0.5  # of a tile's side that neighbouring tiles share
BLENDING_DEVIATION = 0.125  # of a tile's side: the standard deviation of the blending weights
LEAST_BLENDING_WEIGHT = 1e-3
# of tiles that the network sees at once: bounds the memory, and on a CPU fits into its caches
PIXELS_PER_PASS = {"cpu": 2**18, "cuda": 2**20}
HISTOGRAM_BINS = 2**14  # a power of two, so that a prediction times it is exact
PIXELS_IN_CACHE = 2**18  # counted at once, so that intermediate results stay in the processor


class NoProbabilitiesError(ValueError):
    """Predictions outside [0, 1], or NaN."""


# Counting

def counts_by_group(prediction: Tensor, group: Tensor, groups: int,
                    thresholds: np.ndarray = THRESHOLDS) -> Tensor:
    """Count each group's positive pixels at every threshold: int64, groups x thresholds.

    A pixel is positive at threshold t if its prediction is at least t, both as float32; `group` has
    each pixel's group, 0 to `groups - 1`. One histogram serves all thresholds, so the time does not
    depend on their number. `NoProbabilitiesError` for predictions outside [0, 1] or NaN.
    """
    device = prediction.device
    cuts = torch.as_tensor(thresholds, dtype=torch.float32, device=device)
    bin_of_cut = (cuts * HISTOGRAM_BINS).long()
    holds_a_cut = torch.zeros(HISTOGRAM_BINS + 1, dtype=torch.bool, device=device)
    holds_a_cut[bin_of_cut] = True
    columns = len(thresholds) + 1
    by_bin = torch.zeros(groups * (HISTOGRAM_BINS + 1), dtype=torch.long, device=device)
    by_cut = torch.zeros(groups * columns, dtype=torch.long, device=device)
    for values, groups_of_values in zip(prediction.flatten().split(PIXELS_IN_CACHE),
                                        group.flatten().split(PIXELS_IN_CACHE)):
        if not len(values):  # nothing to count: all pixels are ignored
            continue
        values, groups_of_values = values.float(), groups_of_values.int()
        low, high = values.aminmax()
        if not bool((low >= 0) & (high <= 1)):
            raise NoProbabilitiesError("predictions must be probabilities in [0, 1], without NaN")
        bins = (values * HISTOGRAM_BINS).int()
        by_bin += torch.bincount(groups_of_values * (HISTOGRAM_BINS + 1) + bins,
                                 minlength=len(by_bin))
        # a bin with a threshold in it holds values on both sides of it: those few are compared
        # with the thresholds themselves (right=True counts a value equal to a threshold as above)
        near = holds_a_cut.index_select(0, bins).nonzero()[:, 0]
        reached = torch.bucketize(values[near], cuts, right=True)
        by_cut += torch.bincount(groups_of_values[near] * columns + reached, minlength=len(by_cut))
    by_bin = by_bin.view(groups, -1)
    by_bin[:, holds_a_cut] = 0
    # each column becomes the sum of itself and all columns to its right
    above_bin = by_bin.flip(1).cumsum(1).flip(1)[:, bin_of_cut]
    return above_bin + by_cut.view(groups, columns).flip(1).cumsum(1).flip(1)[:, 1:]


def image_counts(prediction: Tensor, sample: Sample) -> dict[str, np.ndarray]:
    """Count one image's true positives, false positives and false negatives at every threshold.

    `prediction` holds the probabilities of the classes, classes x H x W; all classes but the
    background are positive together. Ignored pixels are left out. Where the crack widths are known,
    the result also has `true_positives_by_width` (width strata x thresholds) and
    `positives_by_width` (width strata, with the limits `WIDTH_EDGES`); for several classes also
    `confusion` (labels x predictions).
    """
    counted = sample.mask != IGNORED
    group, groups = ((sample.mask > 0) & counted).astype(np.uint8), 2
    if sample.width is not None:
        group = group * (1 + np.digitize(sample.width, WIDTH_EDGES)).astype(np.uint8)
        groups = len(WIDTH_EDGES) + 2
    probabilities, group = positive(prediction), torch.from_numpy(group).to(prediction.device)
    if not counted.all():
        counted_pixels = torch.from_numpy(counted).to(prediction.device)
        probabilities, group = probabilities[counted_pixels], group[counted_pixels]
    claimed = counts_by_group(probabilities, group, groups).cpu().numpy()
    true_positives = claimed[1:].sum(axis=0)
    positives = int((group > 0).sum())
    counts = {"pixels": np.array(counted.sum()), "true_positives": true_positives,
              "false_positives": claimed[0], "false_negatives": positives - true_positives}
    if sample.width is not None:
        totals = torch.bincount(group.flatten(), minlength=groups).cpu().numpy()
        counts["true_positives_by_width"] = claimed[1:]
        counts["positives_by_width"] = totals[1:]
    if len(prediction) > 1:
        counts["confusion"] = confusion(prediction, sample.mask)
    return counts


def detailed_counts(prediction: np.ndarray, sample: Sample, tolerances: Iterable[int]) -> dict:
    """Compare one image's cracks by their skeletons, and with a tolerance in the place of a crack.

    `prediction` holds the probabilities, H x W. At each of the `DETAIL_THRESHOLDS`:

    - clDice (Shit et al., CVPR 2021) needs `skeleton` and `skeleton_found` (pixels of the mask's
      skeleton, and those predicted), `claimed_skeleton` and `claimed_skeleton_right` (pixels of the
      prediction's skeleton, and those in the mask);
    - for tolerances of r px: `claimed_near` (tolerances x thresholds: pixels predicted at most r px
      from a crack) and `found_near_by_width` (tolerances x width strata x thresholds: crack pixels
      at most r px from a predicted one).
    """
    blocks = blocks_of(prediction.shape)
    if len(blocks) > 1:
        parts = [detailed_counts(prediction[block], sample._replace(
            mask=sample.mask[block], width=sample.width[block]), tolerances) for block in blocks]
        return {name: sum(part[name] for part in parts) for name in parts[0]}
    # how many of the thresholds each pixel reaches
    level = np.searchsorted(DETAIL_THRESHOLDS.astype(np.float32), prediction, side="right")
    level = level.astype(np.uint8)
    mask = sample.mask == 1
    level[sample.mask == IGNORED] = 0
    skeleton = skeleton_of(mask)
    claimed = [claimed_skeleton(level > index) for index in range(len(DETAIL_THRESHOLDS))]
    counts = {"skeleton": skeleton.sum(), "skeleton_found": reaching(level[skeleton]),
              "claimed_skeleton": np.array([pixels.sum() for pixels in claimed]),
              "claimed_skeleton_right": np.array([(pixels & mask).sum() for pixels in claimed])}
    near, found = [], []
    stratum = np.digitize(sample.width, WIDTH_EDGES)
    for tolerance in tolerances:
        shape = disk(tolerance)
        near.append(reaching(level[cv2.dilate(mask.astype(np.uint8), shape) > 0]))
        reached = cv2.dilate(level, shape)
        found.append([reaching(reached[mask & (stratum == number)])
                      for number in range(len(WIDTH_EDGES) + 1)])
    if near:
        counts |= {"claimed_near": np.array(near), "found_near_by_width": np.array(found)}
    return counts


def blocks_of(size: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Blocks that divide a picture of `size` (height, width): skeletons of huge pictures would take
    much memory. Cracks are compared up to the edge of their block, as at a picture's edge."""
    return [np.s_[top:top + BLOCK_SIDE, left:left + BLOCK_SIDE]
            for top in range(0, size[0], BLOCK_SIDE) for left in range(0, size[1], BLOCK_SIDE)]


def reaching(levels: np.ndarray) -> np.ndarray:
    """How many pixels reach each of the `DETAIL_THRESHOLDS`, from the number that each reaches."""
    by_level = np.bincount(levels, minlength=len(DETAIL_THRESHOLDS) + 1)
    return by_level[::-1].cumsum()[::-1][1:]


def skeleton_of(mask: np.ndarray) -> np.ndarray:
    """The skeleton of a mask (bool, H x W), which goes on to the edge where a crack does."""
    continued = np.pad(mask, CONTINUED, mode="edge")
    return skeletonize(continued)[CONTINUED:-CONTINUED, CONTINUED:-CONTINUED]


def claimed_skeleton(claimed: np.ndarray) -> np.ndarray:
    """The skeleton of what is predicted; if that is more than half of the picture, it is no line, a
    skeleton would take minutes, and all its pixels are taken."""
    return claimed if claimed.mean() > MOST_CLAIMED else skeleton_of(claimed)


def estimated_width(mask: np.ndarray) -> np.ndarray:
    """Estimate the local width of each crack pixel of a mask in px: float32, 0 off the cracks.

    It is twice the distance from the nearest pixel of the skeleton to the background, less half a
    pixel: a band of w pixels has its middle w / 2 (if w is even) or (w + 1) / 2 pixels from the
    background. On synthetic cracks of known width the median error is within .5 px from 1 to 8 px.
    """
    width = np.zeros(mask.shape, np.float32)
    for block in blocks_of(mask.shape):
        cracks = mask[block] == 1
        if not cracks.any():
            continue
        continued = np.pad(cracks, CONTINUED, mode="edge")
        distance = scipy.ndimage.distance_transform_edt(continued)
        nearest = scipy.ndimage.distance_transform_edt(
            ~skeletonize(continued), return_distances=False, return_indices=True)
        estimated = np.where(continued, 2 * distance[tuple(nearest)] - 0.5, 0)
        width[block] = estimated[CONTINUED:-CONTINUED, CONTINUED:-CONTINUED]
    return width


def positive(prediction: Tensor) -> Tensor:
    """The probability that a pixel is not background, H x W, from those of the classes."""
    if len(prediction) == 1:
        return prediction[0]
    return prediction[1:].sum(0).clamp(0, 1)  # the sum may exceed 1 by rounding


def confusion(prediction: Tensor, mask: np.ndarray) -> np.ndarray:
    """Count the pixels by label (rows) and by the likeliest class (columns): int64."""
    classes = len(prediction)
    labels = torch.from_numpy(mask.astype(np.int64)).to(prediction.device)
    cells = labels * classes + prediction.argmax(0)
    counted = torch.bincount(cells.flatten(), minlength=classes**2)
    return counted.view(classes, classes).cpu().numpy()


# Predicting pictures of any size

def tile_starts(length: int, side: int) -> list[int]:
    """The first pixel of each tile of `side` pixels, so that the tiles cover `length` pixels, are
    evenly spaced, and share at least `OVERLAP` of their side with a neighbour."""
    if length <= side:
        return [0]
    count = math.ceil((length - side) / ((1 - OVERLAP) * side)) + 1
    return np.linspace(0, length - side, count).round().astype(int).tolist()


def tiles_of(size: tuple[int, int], tile: tuple[int, int]) -> list[tuple[slice, slice]]:
    """The tiles of `tile` pixels (height, width) that cover a picture of `size` pixels."""
    return [np.s_[top:top + tile[0], left:left + tile[1]]
            for top in tile_starts(size[0], tile[0]) for left in tile_starts(size[1], tile[1])]


def blending_weights(tile: tuple[int, int]) -> Tensor:
    """How much each pixel of a tile counts where tiles overlap: float32, height x width.

    A Gaussian around the tile's centre, as in MONAI's `sliding_window_inference`. Near a tile's
    edge the prediction rests on the zeros that convolutions see outside of it; another tile has
    the same pixel nearer to its centre and knows its surroundings.
    """
    curves = []
    for side in tile:
        distance = torch.arange(side) - (side - 1) / 2
        curves.append(torch.exp(-distance**2 / (2 * (BLENDING_DEVIATION * side) ** 2)))
    return torch.outer(*curves).clamp(min=LEAST_BLENDING_WEIGHT)


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor, protocol: Protocol, hardware: Hardware,
            fabric: Fabric) -> Tensor:
    """Predict the probabilities of the classes for images of one size.

    `images` uint8 N x H x W x 3, `model` in evaluation mode; returns float32 N x classes x H x W. A
    network that was trained on tiles sees tiles here too: overlapping ones of `protocol.tile`,
    blended by `blending_weights`. On a whole photograph its deep layers would not see the zeros
    that surround every tile in training, and some networks would fail.
    """
    height, width = images.shape[1:3]
    tiles = tiles_of((height, width), protocol.tile)
    places = [(image, tile) for image in range(len(images)) for tile in tiles]
    total = torch.zeros(len(images), OUTPUTS[protocol.classes], height, width,
                        device=images.device)
    weight_of_pixel = torch.zeros(height, width, device=images.device)
    weights = blending_weights((min(height, protocol.tile[0]), min(width, protocol.tile[1])))
    weights = weights.to(images.device)
    if len(tiles) == 1:
        weights = torch.ones_like(weights)  # nothing to blend: no bit of the prediction may change
    for tile in tiles:
        weight_of_pixel[tile] += weights
    per_pass = max(1, PIXELS_PER_PASS[hardware.device] // math.prod(protocol.tile))
    for first in range(0, len(places), per_pass):
        chunk = places[first:first + per_pass]
        batch = torch.stack([images[image, *tile] for image, tile in chunk])
        batch = batch.permute(0, 3, 1, 2).float() / 255  # only here, since it takes four times more
        with fabric.autocast():
            logits = model(batch.contiguous(memory_format=hardware.tensor_format))
        for (image, tile), probabilities in zip(chunk, probability(logits, protocol.output)):
            total[image, :, *tile] += weights * probabilities
    return total.div_(weight_of_pixel).clamp_(0, 1)  # rounding may lead beyond 1


def predictions(model: nn.Module, part: Part, indices: Iterable[int], protocol: Protocol,
                hardware: Hardware, fabric: Fabric) -> Iterator[tuple[int, Tensor]]:
    """Yield each index with the probabilities of its sample, float32 classes x H x W.

    Consecutive images of one size are predicted together, as many as fill one pass of the network.
    """
    model.to(fabric.device, memory_format=hardware.tensor_format).eval()
    images, _ = part.tensors()
    for size, of_one_size in itertools.groupby(indices, lambda index: part.sizes[index]):
        pixels_of_image = len(tiles_of(size, protocol.tile)) * math.prod(protocol.tile)
        per_pass = max(1, PIXELS_PER_PASS[hardware.device] // pixels_of_image)
        while group := list(itertools.islice(of_one_size, per_pass)):
            pixels = torch.stack([images[part.place(index)].view(*size, 3) for index in group])
            predicted = predict(model, pixels.to(fabric.device), protocol, hardware, fabric)
            yield from zip(group, predicted)


# Evaluating the parts of a data set

def evaluate(model: nn.Module, parts: dict[str, Part], protocol: Protocol, hardware: Hardware,
             fabric: Fabric, details: bool = True) -> dict[str, np.ndarray]:
    """Count every image of the given parts; returns the arrays that `counts.npz` holds.

    `thresholds` and `width_edges`; then for each part `<part>_names`, `_pixels`,
    `_true_positives`, `_false_positives` and `_false_negatives` (images x thresholds); for several
    classes `_confusion` (images x labels x predictions). For cracks, unless `details` is false,
    also `_true_positives_by_width` (images x width strata x thresholds), `_positives_by_width`
    (images x width strata), the quantities of `detailed_counts`, `detail_thresholds` and
    `tolerances`. Synthetic cracks have known widths and exact masks; the widths in photographs are
    estimated, and only there tolerances matter. Several processes share the images; each image is
    counted once.
    """
    arrays = {"thresholds": THRESHOLDS, "width_edges": WIDTH_EDGES}
    details = details and protocol.task == "cracks"
    if details:
        arrays |= {"detail_thresholds": DETAIL_THRESHOLDS, "tolerances": np.array(TOLERANCES)}
    for name, part in parts.items():
        counted = {}
        indices = range(fabric.global_rank, len(part), fabric.world_size)
        for index, prediction in predictions(model, part, indices, protocol, hardware, fabric):
            sample, tolerances = part[index], ()
            if details and sample.width is None:
                sample, tolerances = sample._replace(width=estimated_width(sample.mask)), TOLERANCES
            counted[index] = image_counts(prediction, sample)
            if details:
                counted[index] |= detailed_counts(prediction[0].cpu().numpy(), sample, tolerances)
        arrays[f"{name}_names"] = np.array(part.names)
        for quantity, counts in gathered(counted, len(part), fabric).items():
            small = counts.max(initial=0) < 2**16
            arrays[f"{name}_{quantity}"] = counts.astype(np.uint16 if small else np.uint32)
    return arrays


def gathered(counted: dict[int, dict[str, np.ndarray]], images: int,
             fabric: Fabric) -> dict[str, np.ndarray]:
    """Join the counts of all processes, stacked in the order of the images. Raises `RuntimeError`
    unless each of the `images` was counted exactly once."""
    shares = [counted]
    if fabric.world_size > 1:
        shares = [None] * fabric.world_size
        torch.distributed.all_gather_object(shares, counted)
    indices = sorted(itertools.chain.from_iterable(shares))
    if indices != list(range(images)):
        raise RuntimeError(f"{len(indices)} counts for {images} images: each must be counted once.")
    counts_of = dict(itertools.chain.from_iterable(share.items() for share in shares))
    return {quantity: np.stack([counts_of[index][quantity] for index in range(images)])
            for quantity in counts_of[0]}
