"""Decoding: labels stay where their pictures are, and neither memory nor messages run over."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crackutils.data.decoding import decode, framed
from crackutils.data.layouts import LAYOUTS
from crackutils.data.samples import Files, Sample
from crackutils.protocol import preset


def edges(size: tuple[int, int], axis: int, count: int) -> list[tuple[np.ndarray, int]]:
    """Masks that are 1 on one side of a straight edge across `axis`, with the sign of that side.

    The edges lie as densely on the left as on the right: labels are whole pixels, and only in the
    mean over such edges does what is rounded up make up for what is rounded down.
    """
    masks = []
    half = np.linspace(1, size[axis] // 2, count // 2).astype(int)
    for place in (*half, *size[axis] - half):
        for before in (True, False):
            position = np.arange(size[axis])
            side = (position < place) == before
            mask = np.broadcast_to(side[:, None] if axis == 0 else side, size).astype(np.uint8)
            masks.append((mask, 1 if before else -1))
    return masks


def shift(result: Sample, label: int, axis: int) -> float:
    """How far a label's edge lies from its picture's, in pixels of the result."""
    lines = result.mask.shape[1 - axis]
    return ((result.mask == label).sum() - result.image[..., 1].sum() / 255) / lines


SIZES = [((360, 480), (128, 160)),  # CamVid's
         ((720, 1280), (352, 640)),  # BDD100K's: by two exactly, and by a little more
         ((96, 128), (48, 64)), ((64, 96), (16, 24)), ((64, 96), (56, 90)), ((50, 60), (64, 96))]


@pytest.mark.parametrize("labels", [(0, 1), (1, 2)], ids=str)
@pytest.mark.parametrize("size, tile", SIZES, ids=str)
def test_reducing_does_not_shift_labels_against_the_image(size, tile, labels):
    protocol = preset("smoke", "roads", {"tile": tile})
    for axis in (0, 1):
        shifts = []
        for mask, sign in edges(size, axis, 8):
            image = np.repeat(mask[..., None] * np.uint8(255), 3, 2)
            labelled = np.array(labels, np.uint8)[mask]
            result = framed(Sample("edge", image, labelled, None), protocol)
            shifts.append(sign * shift(result, labels[1], axis))
        assert abs(np.mean(shifts)) < 0.01
        assert np.abs(shifts).max() < 0.51  # no label is finer than its pixel


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("size", [(720, 1280), (363, 645), (241, 323)])
def test_a_jpeg_decoded_at_reduced_size_is_not_shifted(size, orientation):
    tile = (40, 72)
    protocol = preset("smoke", "roads", {"tile": tile})
    files = Files("edge", Path("edge.jpg"), Path("edge.png"))
    exif = Image.Exif()
    exif[0x0112] = orientation
    for axis in (0, 1):
        shifts = []
        for mask, sign in edges(size, axis, 6):
            contents = [io.BytesIO(), io.BytesIO()]
            stored = np.rot90(mask) if orientation == 6 else mask  # is shown turned clockwise
            Image.fromarray(stored * 255).convert("RGB").save(
                contents[0], "jpeg", quality=95, subsampling=0, exif=exif)
            Image.fromarray(mask * 255).save(contents[1], "png")
            sample = decode(files, [content.getvalue() for content in contents],
                            LAYOUTS["plain"], protocol, tile)
            assert framed(sample, protocol).mask.shape == tile
            shifts.append(sign * shift(framed(sample, protocol), 1, axis))
        assert abs(np.mean(shifts)) < 0.05
