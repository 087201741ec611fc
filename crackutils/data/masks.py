"""Which pixels of a mask are positive: decided here, and never guessed.

The user says it by `positive` and `ignore` of the protocol (a grey level, an index of a palette, or
a colour), or the mask does: it has the levels 0 and 255, perhaps with JPEG's noise around them or
as opacity; a palette's indices 0, which is black, and 1; or the many levels of blurred edges, which
`mask_threshold` cuts. Everything else (numbers of classes or instances, values for uncertain
pixels, colours) is refused, because it means different things in different data sets.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from crackutils.data.samples import DataError
from crackutils.protocol import Protocol

IGNORED = 255  # the class number of pixels that count neither in the loss nor in a score
LOSSY_FORMATS = ("JPEG", "MPO", "JPEG2000", "WEBP")
JPEG_NOISE = 32  # grey levels by which JPEG compression may change a flat area
FEW_LEVELS = 4  # a soft mask has more
MANY_LEVELS = 64  # numbers of classes are fewer
SOFT_ENDS = 15  # levels
MOST_BETWEEN = 0.5  # of a soft mask's pixels lie between 0 and 255
DEPTHS = (8, 10, 12, 14, 16)  # bits of a channel in which cameras and scanners write


def is_positive(mask: np.ndarray) -> np.ndarray:
    """Where a mask of class numbers (uint8 H x W) is crack or road: bool H x W."""
    return (mask > 0) & (mask != IGNORED)


class MaskValuesError(DataError):
    """It isn't known which values of a mask are positive."""


class Values(NamedTuple):
    """What the pixels of a mask hold: `kind` is "level", "index" or "colour".

    `array` is H x W: levels, indices, or uint32 0xRRGGBB for colours. `palette` has the
    colours of the indices; `lossy` says that JPEG may have changed the values a little.
    """

    kind: str
    array: np.ndarray
    lossy: bool
    palette: np.ndarray | None = None

    def name(self, value: int) -> str:
        """A value in a message: kind, number or [red, green, blue], and an index's colour."""
        if self.kind == "colour":
            return f"colour {[value >> 16, value >> 8 & 255, value & 255]}"
        if self.kind == "index":
            return f"index {value} (colour {self.palette[value].tolist()})"
        return f"level {value}"


def packed_colours(picture: np.ndarray) -> np.ndarray:
    """RGB (... x 3, uint8) as 0xRRGGBB."""
    red, green, blue = np.moveaxis(picture.astype(np.uint32), -1, 0)
    return red << 16 | green << 8 | blue


def is_deep(picture: Image.Image) -> bool:
    """Whether a picture has one channel of more than 8 bits."""
    return picture.mode.startswith("I") or picture.mode == "F"


def values_of(picture: Image.Image, file_format: str | None, protocol: Protocol) -> Values:
    """The values of a decoded picture from a file of this format.

    Where the protocol names a value, a palette's colours and deep levels are left as they are.
    """
    lossy = file_format in LOSSY_FORMATS
    named = protocol.positive is not None or protocol.ignore is not None
    if is_deep(picture):
        return Values("level", deep_levels(np.asarray(picture), named), lossy)
    if picture.has_transparency_data:
        with_opacity = picture.convert("RGBA")
        pixels = np.asarray(with_opacity)
        if np.ptp(pixels[..., 3]) and (pixels[..., :3] == pixels[0, 0, :3]).all():
            return Values("level", pixels[..., 3], lossy)
        if np.ptp(pixels[..., 3]) and picture.mode != "P":
            black = Image.new("RGBA", picture.size, "black")
            picture = Image.alpha_composite(black, with_opacity)
    if picture.mode == "P":
        indices, palette = np.asarray(picture), np.zeros((256, 3), np.uint8)
        entries = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
        palette[:len(entries)] = entries
        colours = set(packed_colours(palette[np.unique(indices)]).tolist())
        if colours <= {0, 0xFFFFFF} and not named:
            return Values("level", palette[indices][..., 0], lossy)
        return Values("index", indices, lossy, palette)
    if picture.mode in ("1", "L"):
        return Values("level", np.asarray(picture.convert("L")), lossy)
    pixels = np.asarray(picture.convert("RGB"))
    if np.ptp(pixels, axis=2).max() <= (JPEG_NOISE if lossy else 0):
        return Values("level", np.asarray(picture.convert("L")), lossy)
    return Values("colour", packed_colours(pixels), lossy)


def deep_levels(array: np.ndarray, named: bool) -> np.ndarray:
    """The levels of a mask of more than 8 bits.

    Two levels, of which one is 0 and the other the highest of 10 to 16 bits, become 0 and 255. Many
    levels are those of a soft mask: the highest of its depth becomes 255, as does 1 if no number is
    larger. Other levels, and all if the protocol names one, stay as they are.
    """
    levels = np.unique(array)
    if not np.isfinite(levels).all() or levels[0] < 0 or levels[-1] > 65535 and not named:
        raise ValueError(f"levels from {levels[0]} to {levels[-1]}")
    white = white_of(levels)
    soft = white == 1 or len(levels) > MANY_LEVELS
    if not named and (soft or set(levels.tolist()) <= {0, white}):
        return scaled_levels(array, white)
    return array.astype(np.uint8 if levels[-1] < 256 else np.int64)


def white_of(levels: np.ndarray) -> int:
    """The highest level of the fewest bits of `DEPTHS` that hold all levels; 1 for floats of which
    none is larger."""
    highest = levels.max()
    if levels.dtype.kind == "f" and highest <= 1:
        return 1
    return next((2**bits - 1 for bits in DEPTHS if highest < 2**bits), 65535)


def scaled_levels(levels: np.ndarray, white: int) -> np.ndarray:
    """Levels from 0 to `white` as uint8 from 0 to 255, rounded down but for rounding errors."""
    return np.minimum(levels.astype(np.float64) * (255 / white) + 1e-6, 255).astype(np.uint8)


def classes_of(path: Path, values: Values, protocol: Protocol) -> np.ndarray:
    """A mask's class numbers, uint8 H x W: 1 where it is positive, `IGNORED` where the protocol
    ignores it, else 0. `MaskValuesError` if it isn't known what is positive."""
    ignored = np.zeros(values.array.shape, bool)
    if protocol.ignore is not None:
        ignored = is_value(path, values, protocol.ignore, "ignore")
    if protocol.positive is not None:
        positive = is_value(path, values, protocol.positive, "positive")
    else:
        positive = unambiguous_positives(path, values, ignored, protocol.mask_threshold)
    classes = positive.astype(np.uint8)
    classes[ignored] = IGNORED
    return classes


def is_value(path: Path, values: Values, wanted: int | tuple, field: str) -> np.ndarray:
    """Where a mask holds the value that the protocol's `field` names."""
    noise = JPEG_NOISE if values.lossy else 0
    if isinstance(wanted, tuple):
        colours = values.array
        if values.kind == "index":
            colours = packed_colours(values.palette)[values.array]
        elif values.kind == "level":
            colours = values.array.astype(np.uint32) * 0x010101
        difference = np.zeros(colours.shape, np.int32)
        for shift, channel in zip((16, 8, 0), wanted):
            level = (colours >> shift & 255).astype(np.int32)
            difference = np.maximum(difference, np.abs(level - channel))
        return difference <= 2 * noise  # JPEG keeps colours less well than brightness
    if values.kind == "colour":
        raise MaskValuesError(f"{path} holds colours, and {field}: {wanted} is a number.")
    if 0 < wanted <= noise:
        raise MaskValuesError(f"{path} is a JPEG, in which {field}: {wanted} can't be "
                              "distinguished from 0.")
    return np.abs(values.array.astype(np.int32) - wanted) <= noise


def unambiguous_positives(path: Path, values: Values, ignored: np.ndarray,
                        threshold: int) -> np.ndarray:
    """The positive pixels of a mask whose values are unambiguous; else `MaskValuesError`."""
    present = set(np.unique(values.array[~ignored]).tolist())
    if values.kind == "index" and present <= {0, 1} and not values.palette[0].any():
        return values.array == 1
    if values.kind != "level":
        raise MaskValuesError(f"{path} holds {values.kind} values.")
    if present <= {0, 255}:
        return values.array == 255
    highest = max(present, default=0)
    if values.lossy and highest <= JPEG_NOISE:
        return np.zeros(values.array.shape, bool)
    if not threshold <= highest <= 255 or not is_soft(values, ignored):
        raise MaskValuesError(f"{path} holds other levels than 0 and 255.")
    return values.array >= threshold


def is_soft(values: Values, ignored: np.ndarray) -> bool:
    """Whether the levels between 0 and 255 are those of blurred edges, and not numbers. Numbers
    fill areas and lines: most pixels equal a neighbour in their row and one in their column. A
    picture that has such levels nearly everywhere is no mask."""
    levels = len(np.unique(values.array[~ignored]))
    if not values.lossy and levels <= FEW_LEVELS:
        return False
    noise, tolerance = (JPEG_NOISE, 4) if values.lossy else (0, 0)
    if levels > MANY_LEVELS and not values.lossy:
        noise = SOFT_ENDS  # near 0 and 255 a soft mask is flat, too
    between = (values.array > noise) & (values.array < 255 - noise) & ~ignored
    if not between.any():
        return True
    signed = values.array.astype(np.int32)
    like_right = np.pad(abs(np.diff(signed, axis=1)) <= tolerance, ((0, 0), (1, 1)))
    like_below = np.pad(abs(np.diff(signed, axis=0)) <= tolerance, ((1, 1), (0, 0)))
    in_row = like_right[:, :-1] | like_right[:, 1:]
    in_column = like_below[:-1] | like_below[1:]
    flat = between & in_row & in_column
    return flat.sum() <= between.sum() / 2 and between.mean() < MOST_BETWEEN
