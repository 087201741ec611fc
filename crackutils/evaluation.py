"""Model x images -> counts: one pass over the images yields the counts of all thresholds."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from crackutils.datasets import Sample
from crackutils.models import probability
from crackutils.protocol import Protocol
from crackutils.sampling import as_tensors, framed
from crackutils.training import Hardware, fabric_for, tensor_format

# 0.01 ... 0.99, and finer near 1, where strongly weighted losses have their best threshold
THRESHOLDS = np.concatenate([np.arange(1, 100) / 100, np.arange(991, 1000) / 1000,
                             [0.9995, 0.9999]])
PIXELS_AT_ONCE = 2**20  # of windows in one pass: bounds the memory, whatever the photograph
WIDTH_EDGES = np.array([1.0, 2.0, 3.0, 5.0])  # px: below 1, 1-2, 2-3, 3-5, 5 and more


def counts_by_group(prediction: Tensor, group: Tensor, groups: int,
                    thresholds: np.ndarray = THRESHOLDS) -> Tensor:
    """How many pixels of each group are positive at each threshold: int64 groups x thresholds.

    A pixel is positive at threshold t if prediction >= t, both as float32; `group` holds each
    pixel's group, 0 ... groups - 1. One histogram over all pixels, whatever the number of
    thresholds. `ValueError` for predictions outside [0, 1] (NaN included).
    """
    if not bool(((prediction >= 0) & (prediction <= 1)).all()):
        raise ValueError("predictions must be probabilities in [0, 1], without NaN")
    cuts = torch.as_tensor(thresholds, dtype=torch.float32, device=prediction.device)
    size = len(thresholds) + 1
    # right=True: the number of thresholds <= prediction, ties included
    reached = torch.bucketize(prediction.float().flatten(), cuts, right=True)
    histogram = torch.bincount(group.flatten().long() * size + reached, minlength=groups * size)
    at_least = histogram.view(groups, size).flip(1).cumsum(1).flip(1)
    return at_least[:, 1:]


def image_counts(prediction: Tensor, sample: Sample) -> dict[str, np.ndarray]:
    """The counts of one image (H x W probabilities): by threshold and, if known, by crack width."""
    mask = sample.mask.astype(np.int64)
    if sample.width is None:
        group, groups = mask, 2
    else:
        group, groups = mask * (1 + np.digitize(sample.width, WIDTH_EDGES)), len(WIDTH_EDGES) + 2
    group = torch.from_numpy(group).to(prediction.device)
    positive = counts_by_group(prediction, group, groups).cpu().numpy()
    true = positive[1:].sum(0)
    result = {"pixels": np.array(mask.size), "true_positives": true, "false_positives": positive[0],
              "false_negatives": mask.sum() - true}
    if sample.width is not None:
        totals = torch.bincount(group.flatten(), minlength=groups).cpu().numpy()
        result |= {"true_positives_by_width": positive[1:], "positives_by_width": totals[1:]}
    return result


def window_starts(length: int, side: int) -> list[int]:
    """First pixels of windows of `side` pixels that cover `length`, a quarter overlapping."""
    if length <= side:
        return [0]
    count = math.ceil((length - side) / (0.75 * side)) + 1
    return np.linspace(0, length - side, count).round().astype(int).tolist()


def predictor(model: nn.Module, protocol: Protocol,
              hardware: Hardware) -> Callable[[Sample], Tensor]:
    """A function from a sample to its probabilities, float32 H x W, in evaluation mode.

    A network trained on tiles sees tiles here too: overlapping windows of `protocol.tile`, averaged
    where they overlap. On a whole photograph its deep layers, which only ever saw the zeros around
    a tile, would meet surroundings they never learned, and some runs then fail on some of them.
    """
    fabric = fabric_for(hardware)
    layout = tensor_format(hardware)
    network = fabric.setup_module(model.to(memory_format=layout))
    network.eval()

    @torch.inference_mode()
    def predict(sample: Sample) -> Tensor:
        image = fabric.to_device(as_tensors(sample.image[None], sample.mask[None])[0])
        height, width = protocol.tile
        windows = [np.s_[..., top:top + height, left:left + width]
                   for top in window_starts(image.shape[-2], height)
                   for left in window_starts(image.shape[-1], width)]
        total, hits = torch.zeros_like(image[0, 0]), torch.zeros_like(image[0, 0])
        at_once = max(1, PIXELS_AT_ONCE // (height * width))
        for first in range(0, len(windows), at_once):
            chunk = windows[first:first + at_once]
            tiles = torch.cat([image[window] for window in chunk]).contiguous(memory_format=layout)
            found = probability(network(tiles), protocol.output)[:, 0]
            for window, tile in zip(chunk, found):
                total[window] += tile
                hits[window] += 1
        return total / hits

    return predict


def evaluate(model: nn.Module, parts: dict[str, list[Sample]], protocol: Protocol,
             hardware: Hardware) -> dict[str, np.ndarray]:
    """The arrays of `counts.npz`: `thresholds`, and for each part `<part>_names`, `_pixels`,
    `_true_positives`, `_false_positives`, `_false_negatives` (images x thresholds) and, where the
    crack width is known, `_true_positives_by_width` (images x widths x thresholds) and
    `_positives_by_width` (images x widths; the widths' limits are `width_edges`).
    """
    arrays = {"thresholds": THRESHOLDS, "width_edges": WIDTH_EDGES}
    predict = predictor(model, protocol, hardware)
    for part, samples in parts.items():
        samples = framed(samples, protocol)
        counted = [image_counts(predict(sample), sample) for sample in samples]
        arrays[f"{part}_names"] = np.array([sample.name for sample in samples])
        for name in counted[0]:
            arrays[f"{part}_{name}"] = np.stack([counts[name] for counts in counted]).astype(
                np.uint32)
    return arrays
