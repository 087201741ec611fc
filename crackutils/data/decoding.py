"""Decode the bytes of an image and its mask into a `Sample`, reduced if the protocol says so."""

import io
import math
import struct
import threading
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import scipy.io
from PIL import Image, ImageOps, UnidentifiedImageError

from crackutils.data.layouts import Layout
from crackutils.data.masks import Values, classes_of, describe, values_of, white_of
from crackutils.data.samples import WIDTH_UNIT, DataError, Files, Sample
from crackutils.protocol import Protocol

ORIENTATION = 0x0112  # the EXIF tag
SIDEWAYS = (5, 6, 7, 8)  # the tag's values that exchange height and width
MOST_PIXELS = 2**29  # a larger picture takes more than 5 GB while it is decoded
pillow_heif.register_heif_opener()  # phones write HEIC
Image.MAX_IMAGE_PIXELS = None  # `open_picture` looks at the size itself
LARGEST_MAT = 2**27  # bytes of a MATLAB file, unpacked
MAT_HEADER, MAT_COMPRESSED = 128, 15  # bytes before the first element; type of a compressed one
MASKS_DESCRIBED = 300  # of a data set whose masks hold other values than expected
BYTES_A_PIXEL = 16  # while a pair is decoded: measured 6 to 16, 27 if a mask is transparent

def memory_of(files: Files) -> int:
    """An estimate of the bytes that decoding takes, from the image's header.

    It is 0 if the header can't be read: `decode` then raises the error. The mask is assumed to have
    its image's size, since `decode` refuses any other.
    """
    try:
        with Image.open(files.image) as picture:
            return math.prod(picture.size) * BYTES_A_PIXEL
    except Exception:
        return 0


class WhiteLevel:
    """The level of white in those pictures of a data set that have more than 8 bits.

    It is the highest level that the fewest of the `DEPTHS` can hold which hold all pictures: each
    picture on its own would turn a dark photograph into a bright one. Found when it is first asked
    for, since most data sets have no such picture; threads may ask at the same time.
    """

    def __init__(self, paths: Sequence[Path]):
        self.paths, self.lock, self.level = paths, threading.Lock(), None

    def __call__(self) -> int:
        with self.lock:
            if self.level is None:
                self.level = white_of(max(map(highest_level, self.paths)))
            return self.level


def highest_level(path: Path) -> float:
    """The highest level of a picture of more than 8 bits; 0 for any other, and if unreadable."""
    with suppress(Exception):  # `decode` will raise the error
        content = path.read_bytes()
        picture = open_picture(path, content)
        if has_16_bit_colours(picture):
            levels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
            return float(levels[..., :3].max())  # the fourth channel is opacity
        if picture.mode.startswith("I") or picture.mode == "F":
            return float(np.asarray(picture).max())
    return 0.0


def has_16_bit_colours(picture: Image.Image) -> bool:
    """Whether a picture has 16 bits a channel of which Pillow would keep the upper 8."""
    if picture.mode not in ("RGB", "RGBA") or picture.format not in ("PNG", "TIFF"):
        return False
    return ";16" in str(picture.tile[0].args)  # how the file packs its pixels: "RGB;16B"


def decode_image(path: Path, content: bytes, white: Callable[[], int] | None = None) -> Image.Image:
    """A photograph in RGB with 8 bits a channel, turned as its EXIF orientation says.

    `white` gives the level of white if it has more bits; without it, the picture's own depth.
    """
    picture = open_picture(path, content)
    if has_16_bit_colours(picture):
        levels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)[..., 2::-1]
        brightest = white() if white else white_of(levels.max())
        colours = np.minimum(levels * (255 / brightest), 255).astype(np.uint8)
        orientation = picture.getexif().get(ORIENTATION, 1)
        picture = Image.fromarray(colours)
        picture.getexif()[ORIENTATION] = orientation
    return eight_bits(path, upright(path, picture), white).convert("RGB")


def decode(files: Files, contents: list[bytes | None], layout: Layout, protocol: Protocol,
           white: Callable[[], int] | None = None) -> Sample:
    """Decode a sample from the bytes of its files (image, mask, widths or None).

    The module `masks` decides which class a mask's pixel has; where a layout documents its labels,
    the protocol's `classes` does. Image and mask are turned as their EXIF orientation says. A mask
    that has no orientation and fits only the unturned image is turned like that image. Raises
    `DataError` for what can't be read, with the file, what was expected and what was found.
    """
    try:
        picture = open_picture(files.image, contents[0])
        orientation = picture.getexif().get(ORIENTATION, 1)
        size = picture.size if orientation in SIDEWAYS else picture.size[::-1]  # (height, width)
        image = np.array(decode_image(files.image, contents[0], white))
        mask = decode_mask(files.mask, contents[1], layout, protocol, size, orientation)
        width = None
        if files.width is not None:
            width = np.asarray(upright(files.width, open_picture(files.width, contents[2])))
            if width.shape != size or width.dtype.itemsize < 2:
                raise DataError(f"{files.width} is {width.shape}, its image {size}: a width map "
                                "has one 16-bit number a pixel.")
            width = width.astype(np.float32) / WIDTH_UNIT
        return Sample(files.name, image, mask, width)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # damaged files fail in many ways, deep in the decoders
        raise DataError(f"{files.image} or {files.mask} can't be read ({type(error).__name__}: "
                        f"{error}): replace or remove the pair.") from error


def decode_mask(path: Path, content: bytes, layout: Layout, protocol: Protocol,
                size: tuple[int, int], orientation: int) -> np.ndarray:
    """A mask as uint8 class numbers (0 is background, `masks.IGNORED` left out); `size` is that of
    its image, upright."""
    if path.suffix.lower() == ".mat":
        labels = segmentation(path, content)
        check_size(path, labels.shape, size)
        return class_labels(path, labels, layout, protocol.classes)
    picture = open_picture(path, content)
    if sorted(picture.size) != sorted(size):  # before a larger mask takes memory
        check_size(path, picture.size[::-1], size)
    turned = upright(path, picture)
    if turned.size[::-1] != size and ORIENTATION not in picture.getexif() and orientation != 1:
        picture.getexif()[ORIENTATION] = orientation
        turned = upright(path, picture)
    check_size(path, turned.size[::-1], size)
    if layout.labels:
        return class_labels(path, np.asarray(turned), layout, protocol.classes)
    return classes_of(path, values_of(turned, picture.format, protocol), protocol)


def check_size(path: Path, size: tuple, image_size: tuple[int, int]) -> None:
    if size != image_size:
        raise DataError(f"{path} is {size}, its image {image_size} (height, width): a mask must "
                        "have its image's size.")


def class_labels(path: Path, labels: np.ndarray, layout: Layout, classes: str) -> np.ndarray:
    """The layout's labels as class numbers, uint8 H x W.

    With `classes="binary"` each of the layout's positive labels becomes 1, with "direct" only the
    first of them; with "three" they become 1 and 2, in their order. All others become 0.
    """
    if labels.size == 0 or labels.dtype.kind not in "uib":
        raise DataError(f"{path} is no label map: {labels.dtype} of {labels.shape}.")
    if labels.ndim != 2:
        raise DataError(f"{path} has colours: {layout.name} has one label a pixel "
                        f"({min(layout.labels)} to {max(layout.labels)}).")
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest >= 0 and highest < 256:
        labels = labels.astype(np.uint8, copy=False)
        present = np.flatnonzero(cv2.calcHist([labels], [0], None, [256], [0, 256])).tolist()
    else:
        present = [lowest, highest]
    unknown = sorted(set(present) - set(layout.labels))
    if unknown:
        raise DataError(f"{path} has the label {unknown[0]}: {layout.name} has only "
                        f"{', '.join(map(str, layout.labels))}.")
    numbers = {"binary": (1, 1), "direct": (1, 0), "three": (1, 2)}[classes]
    table = np.zeros(256, np.uint8)
    for label, number in zip(layout.positive, numbers):
        table[label] = number
    return cv2.LUT(labels, table)


def stored_values(path: Path, content: bytes, protocol: Protocol) -> Values:
    """What the pixels of a mask hold, from its bytes."""
    picture = open_picture(path, content)
    return values_of(upright(path, picture), picture.format, protocol)


def describe_masks(folder: Path, files: list[Files], protocol: Protocol, first: str) -> str:
    """What the masks of a data set hold, after the sentence on the first one that was refused."""
    values = []
    for pair in files[:MASKS_DESCRIBED]:
        with suppress(Exception):  # a damaged mask has an error of its own
            values.append(stored_values(pair.mask, pair.mask.read_bytes(), protocol))
    return describe(folder, values, protocol, first)


def eight_bits(path: Path, picture: Image.Image,
               white: Callable[[], int] | None = None) -> Image.Image:
    """The picture in 8 bits: `white` (by default that of the picture's own depth) becomes 255;
    floats are multiplied by 255 if none exceeds 1.

    Raises `DataError` for levels below 0, above 65535 or not finite.
    """
    if not (picture.mode.startswith("I") or picture.mode == "F"):
        return picture
    levels = np.asarray(picture).astype(np.float64)
    if not np.isfinite(levels).all() or levels.min() < 0 or levels.max() > 65535:
        raise DataError(f"{path} has levels from {levels.min()} to {levels.max()}: expected grey "
                        "levels of 0 to 255 or 65535.")
    if picture.mode == "F" and levels.max() <= 1:
        levels *= 255
    else:
        levels *= 255 / (white() if white else white_of(levels.max()))
    return Image.fromarray(np.minimum(levels + 1e-6, 255).astype(np.uint8))  # 1e-6: rounding errors


def segmentation(path: Path, content: bytes) -> np.ndarray:
    """The label map `groundTruth.Segmentation` of a MATLAB file."""
    check_mat(path, content)
    return scipy.io.loadmat(io.BytesIO(content))["groundTruth"]["Segmentation"][0, 0]


def check_mat(path: Path, content: bytes) -> None:
    """Refuse a MATLAB file that would take too much memory: it may be compressed a thousandfold."""
    for name, shape, _ in scipy.io.whosmat(io.BytesIO(content)):
        if math.prod(shape) > MOST_PIXELS:
            raise DataError(f"{path} declares {name} as {shape}: at most {MOST_PIXELS:,} elements "
                            "are read. Replace or remove it.")
    order = ">" if content[MAT_HEADER - 2:MAT_HEADER] == b"MI" else "<"
    place, unpacked = MAT_HEADER, len(content)
    while place + 8 <= len(content) and unpacked <= LARGEST_MAT:
        kind, length = struct.unpack_from(f"{order}II", content, place)
        place += 8 + length
        if kind == MAT_COMPRESSED:
            packed, room = content[place - length:place], LARGEST_MAT - unpacked + 1
            unpacked += len(zlib.decompressobj().decompress(packed, room))
    if unpacked > LARGEST_MAT:
        raise DataError(f"{path} has more than {LARGEST_MAT:,} bytes when it is unpacked: a label "
                        "map is smaller. Replace or remove it.")


def open_picture(path: Path, content: bytes) -> Image.Image:
    """A picture of which only the header has been read; `DataError` if it has too many pixels."""
    try:
        picture = Image.open(io.BytesIO(content))
    except Exception as error:
        if content[4:8] == b"ftyp":
            raise DataError(f"{path} is a HEIC or AVIF picture that can't be read: save it as JPEG "
                            "or PNG.") from error
        raise unreadable(path, error) from error
    if math.prod(picture.size) > MOST_PIXELS:
        raise DataError(f"{path} has {math.prod(picture.size) / 1e6:,.0f} million pixels: at most "
                        f"{MOST_PIXELS / 1e6:,.0f} million are read. Cut picture and mask into "
                        "pieces.")
    return picture


def upright(path: Path, picture: Image.Image) -> Image.Image:
    """A picture, decoded, and turned as its EXIF orientation says."""
    try:
        return ImageOps.exif_transpose(picture)
    except Exception as error:  # a damaged file fails in many ways, deep in the decoders
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> DataError:
    """The error for a picture that Pillow can't read."""
    reason = error
    if isinstance(error, UnidentifiedImageError):
        reason = "its format is unknown"
    return DataError(f"{path} can't be read as a picture ({reason}): replace or remove it.")


def framed(sample: Sample, protocol: Protocol) -> Sample:
    """The sample as it is (`framing="tiles"`), or reduced to the protocol's `tile` ("resize").

    A pixel of the reduced image is the mean over its area, and its label is the class that covers
    most of that area (of two that cover the same share, the lower number). Taking the nearest
    pixel's label instead would shift the labels against the image by up to half a pixel. Widths are
    dropped: they were measured in pixels of the photograph.
    """
    if protocol.framing == "tiles":
        return sample
    size = protocol.tile[::-1]
    image = cv2.resize(sample.image, size, interpolation=cv2.INTER_AREA)
    labels, largest_share = np.zeros(protocol.tile, np.uint8), np.zeros(protocol.tile, np.uint8)
    for number in np.unique(sample.mask).tolist():
        covered = cv2.compare(sample.mask, number, cv2.CMP_EQ)  # 255 where it is this class
        share = cv2.resize(covered, size, interpolation=cv2.INTER_AREA)
        labels[share > largest_share] = number
        largest_share = np.maximum(share, largest_share)
    return Sample(sample.name, image, labels, None)
