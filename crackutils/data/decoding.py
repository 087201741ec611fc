"""Decode the bytes of an image and its mask into a `Sample`, reduced if the protocol says so."""

import io
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import scipy.io
from PIL import Image, ImageOps, UnidentifiedImageError

from crackutils.data import masks
from crackutils.data.layouts import Layout
from crackutils.data.samples import WIDTH_UNIT, DataError, Files, Sample
from crackutils.protocol import Protocol

ORIENTATION = 0x0112  # the EXIF tag
MOST_PIXELS = 2**29  # a larger picture takes more than 5 GB while it is decoded
pillow_heif.register_heif_opener()  # phones write HEIC
Image.MAX_IMAGE_PIXELS = None  # `open_picture` looks at the size itself
LARGEST_MAT = 2**20  # bytes of a MATLAB file, which may be compressed a thousandfold
MASKS_DESCRIBED = 300  # of a data set whose masks hold other values than expected
VALUES_SHOWN = 6  # of those, in a message
BYTES_A_PIXEL = 16  # while a pair is decoded: measured 6 to 16, 27 if a mask is transparent


def memory_of(files: Files) -> int:
    """An estimate of the bytes that decoding takes, from the image's header; 0 if it can't be read,
    since `decode` raises the error. The mask has its image's size, else `decode` refuses it."""
    try:
        with Image.open(files.image) as picture:
            return math.prod(picture.size) * BYTES_A_PIXEL
    except Exception:
        return 0


def decode_image(path: Path, content: bytes) -> Image.Image:
    """A photograph in RGB with 8 bits a channel, turned as its EXIF orientation says."""
    picture = open_picture(path, content)
    with reading(path):
        if (picture.mode in ("RGB", "RGBA") and picture.format in ("PNG", "TIFF")
                and ";16" in str(picture.tile[0].args)):  # how the file packs its pixels: "RGB;16B"
            # 16 bits a channel, of which Pillow would keep the upper 8
            levels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
            white = masks.white_of(levels)
            scaled = Image.fromarray(masks.scaled_levels(levels[..., 2::-1], white))
            scaled.getexif()[ORIENTATION] = picture.getexif().get(ORIENTATION, 1)
            picture = scaled
        return eight_bits(path, upright(path, picture)).convert("RGB")


def eight_bits(path: Path, picture: Image.Image) -> Image.Image:
    """The picture in 8 bits: `white_of` its levels becomes 255. Raises `DataError` for levels below
    0, above 65535 or not finite."""
    if not masks.is_deep(picture):
        return picture
    levels = np.asarray(picture)
    if not np.isfinite(levels).all() or levels.min() < 0 or levels.max() > 65535:
        raise DataError(f"{path} has levels from {levels.min()} to {levels.max()}: expected grey "
                        "levels of 0 to 255 or 65535.")
    return Image.fromarray(masks.scaled_levels(levels, masks.white_of(levels)))


def decode(files: Files, contents: list[bytes | None], layout: Layout,
           protocol: Protocol) -> Sample:
    """Decode a sample from the bytes of its files (image, mask, widths or None).

    The module `masks` decides which class a mask's pixel has; where a layout documents its labels,
    the protocol's `classes` does. Image and mask are turned as their EXIF orientation says. A mask
    that has no orientation and fits only the unturned image is turned like that image. Raises
    `DataError` for what can't be read, with the file, what was expected and what was found.
    """
    with reading(files.image):
        image = np.array(decode_image(files.image, contents[0]))
        orientation = open_picture(files.image, contents[0]).getexif().get(ORIENTATION, 1)
    size = image.shape[:2]
    mask = np.zeros(size, np.uint8)
    if files.mask is not None:
        with reading(files.mask):
            mask = decode_mask(files.mask, contents[1], layout, protocol, size, orientation)
    if files.width is None:
        return Sample(files.name, image, mask, None)
    width = np.asarray(upright(files.width, open_picture(files.width, contents[2])))
    if width.shape != size or width.dtype.itemsize < 2:
        raise DataError(f"{files.width} is {width.shape}, its image {size}: a width map has one "
                        "16-bit number a pixel.")
    return Sample(files.name, image, mask, width.astype(np.float32) / WIDTH_UNIT)


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
    return masks.classes_of(path, masks.values_of(turned, picture.format, protocol), protocol)


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
    unknown = [label for label in (labels.min(), labels.max()) if label not in layout.labels]
    if unknown:
        raise DataError(f"{path} has the label {unknown[0]}: {layout.name} has only "
                        f"{', '.join(map(str, layout.labels))}.")
    table = np.zeros(256, np.uint8)
    numbers = {"binary": (1, 1), "direct": (1, 0), "three": (1, 2)}[classes]
    for label, number in zip(layout.positive, numbers):
        table[label] = number
    return cv2.LUT(labels.astype(np.uint8, copy=False), table)


def stored_values(path: Path, content: bytes, protocol: Protocol) -> masks.Values:
    """What the pixels of a mask hold, from its bytes."""
    picture = open_picture(path, content)
    return masks.values_of(upright(path, picture), picture.format, protocol)


def describe_masks(folder: Path, files: list[Files], protocol: Protocol, first: str) -> str:
    """The values in the masks of a data set, how often each occurs, and what the user can add,
    after the sentence on the first mask that was refused."""
    pixels, in_masks = Counter(), Counter()
    with_mask = [pair for pair in files if pair.mask is not None]
    for pair in with_mask[:MASKS_DESCRIBED]:
        with suppress(DataError, OSError), reading(pair.mask):  # it has an error of its own
            values = stored_values(pair.mask, pair.mask.read_bytes(), protocol)
            numbers, counts = np.unique(values.array, return_counts=True)
            named = dict(zip(map(values.name, numbers.tolist()), counts.tolist()))
            pixels.update(named)
            in_masks.update(named.keys())
    if not pixels:
        return f"{first} None of the masks of {folder} can be read."
    common = [name for name, _ in pixels.most_common(VALUES_SHOWN)]
    shown = [f"{name} in {in_masks[name]} masks, {pixels[name] / pixels.total():.2%} of the pixels"
             for name in common]
    if len(pixels) > len(common):
        shown.append(f"{len(pixels) - len(common)} more values")
    what = "road" if protocol.task == "roads" else "crack"
    # which value is meant can't be known: one that is rare, as cracks are, is only an example
    example = common[-1] if what == "crack" else common[min(1, len(common) - 1)]
    example = example.split(maxsplit=1)[1].split(" (")[0]
    return (f"{first} It isn't known which pixels of the masks of {folder} are {what}: they hold "
            f"{'; '.join(shown)}. Expected: 0 for background and 255 for {what}. Say which value "
            f"is {what}, for example -y 'overrides: {{positive: {example}}}'; a second entry, "
            "ignore: VALUE, leaves out the pixels of an uncertain value. If the masks were saved "
            "as JPEG, use their originals: JPEG mixes neighbouring numbers.")


def segmentation(path: Path, content: bytes) -> np.ndarray:
    """The label map `groundTruth.Segmentation` of a MATLAB file. `DataError` for a file that might
    take too much memory."""
    if len(content) > LARGEST_MAT:
        raise DataError(f"{path} has {len(content):,} bytes: at most {LARGEST_MAT:,} of a label "
                        "map are read. Replace or remove it.")
    for name, shape, _ in scipy.io.whosmat(io.BytesIO(content)):
        if math.prod(shape) > MOST_PIXELS:
            raise DataError(f"{path} declares {name} as {shape}: at most {MOST_PIXELS:,} elements "
                            "are read. Replace or remove it.")
    return scipy.io.loadmat(io.BytesIO(content))["groundTruth"]["Segmentation"][0, 0]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into a `DataError`: damaged files fail in many ways."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:
        reason = "its format is unknown" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{path} can't be read as a picture ({reason}): save it as JPEG or PNG, "
                        "replace or remove it.") from error


def open_picture(path: Path, content: bytes) -> Image.Image:
    """A picture of which only the header has been read; `DataError` if it has too many pixels."""
    with reading(path):
        picture = Image.open(io.BytesIO(content))
    if math.prod(picture.size) > MOST_PIXELS:
        raise DataError(f"{path} has {math.prod(picture.size) / 1e6:,.0f} million pixels: at most "
                        f"{MOST_PIXELS / 1e6:,.0f} million are read. Cut picture and mask into "
                        "pieces.")
    return picture


def upright(path: Path, picture: Image.Image) -> Image.Image:
    """A picture, decoded, and turned as its EXIF orientation says."""
    with reading(path):
        return ImageOps.exif_transpose(picture)


def framed(sample: Sample, protocol: Protocol) -> Sample:
    """The sample as it is (`framing="tiles"`), or reduced to the protocol's `tile` ("resize").

    A pixel of the reduced image is the mean over its area, and its label is the class that covers
    most of that area (of two equal shares, the lower number): the nearest pixel's label may lie
    half a pixel beside it. Widths are dropped: they were measured in pixels of the photograph.
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
