"""How a whole picture is brought to the size a network sees."""

import io
from pathlib import Path

import albumentations
import cv2
import numpy as np
import scipy.io
from PIL import Image, ImageOps, UnidentifiedImageError

from crackutils.data.layouts import Layout
from crackutils.data.samples import WIDTH_UNIT, DataError, Files, Sample
from crackutils.protocol import Protocol

ORIENTATION = 0x0112  # EXIF's tag
SIDEWAYS = (5, 6, 7, 8)  # its values that exchange height and width
JPEG_NOISE = 32  # levels that compression may leave in an empty mask
MOST_PIXELS = 2**28  # of a picture: more is taken for a decompression bomb
Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # Pillow refuses twice as many


def decode(files: Files, contents: list[bytes | None], layout: Layout, protocol: Protocol,
           least: tuple[int, int] | None = None) -> Sample:
    """A sample from the bytes of its files, its mask as the protocol's `mask_threshold` and
    `classes` say.

    A JPEG of at least twice the size `least` (height, width) is decoded at half its size, or a
    quarter, or an eighth: that is all that a reduction to `least` needs.

    Image and mask are turned as their EXIF orientation says. A mask without an orientation of its
    own that has the image's stored size and not its shown one was drawn on the stored pixels: it
    is turned as its image. `DataError` for what can't be read, with the file, what was expected
    and what is there.
    """
    try:
        return decoded(files, contents, layout, protocol, least)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # harmed files fail in many ways, deep in the decoders
        raise DataError(f"{files.image} or {files.mask} can't be read ({type(error).__name__}: "
                        f"{error}): replace or remove the pair.") from error


def decoded(files: Files, contents: list[bytes | None], layout: Layout, protocol: Protocol,
            least: tuple[int, int] | None) -> Sample:
    """`decode` for files that are sound."""
    picture = opened(files.image, contents[0])
    turned = picture.getexif().get(ORIENTATION, 1)
    size = picture.size if turned in SIDEWAYS else picture.size[::-1]  # (height, width), shown
    if least is not None:
        picture.draft("RGB", least if turned in SIDEWAYS else least[::-1])
    image = np.array(eight_bits(files.image, shown(files.image, picture)).convert("RGB"))
    mask = mask_of(files.mask, contents[1], layout, protocol, size, turned)
    if mask.shape != size:
        raise DataError(f"{files.mask} is {mask.shape}, its image {size} (height, width): a mask "
                        "must have its image's size.")
    width = None
    if files.width is not None:
        width = np.asarray(shown(files.width, opened(files.width, contents[2])))
        if width.shape != mask.shape:
            raise DataError(f"{files.width} is {width.shape}, its image {mask.shape}: widths are "
                            "one 16-bit number a pixel.")
        width = width.astype(np.float32) / WIDTH_UNIT
    return Sample(files.name, image, mask.astype(np.uint8), width)


def mask_of(path: Path, content: bytes, layout: Layout, protocol: Protocol,
            size: tuple[int, int], turned: int) -> np.ndarray:
    """A mask's classes: 0 is background."""
    if path.suffix.lower() == ".mat":
        return class_labels(path, segmentation(path, content), layout, protocol.classes)
    picture = opened(path, content)
    own = shown(path, picture)
    if own.size[::-1] != size and ORIENTATION not in picture.getexif() and turned != 1:
        picture.getexif()[ORIENTATION] = turned
        own = shown(path, picture)
    if layout.labels:
        return class_labels(path, np.asarray(own), layout, protocol.classes)
    levels, threshold = grey(path, own), protocol.mask_threshold
    noise = JPEG_NOISE if picture.format == "JPEG" else 0
    if noise < levels.max() < threshold:
        raise DataError(f"{path} has no level from {threshold} on (highest: {levels.max()}): "
                        "masks must be 0 and 255.")
    return levels >= threshold


def class_labels(path: Path, labels: np.ndarray, layout: Layout, classes: str) -> np.ndarray:
    """Labels as classes: the layout's positive ones are 1 ("binary"), the first of them is
    ("direct"), or they are 1 and 2 in their order ("three"); all others 0."""
    if labels.size == 0 or labels.dtype.kind not in "uib":
        raise DataError(f"{path} is no label map: {labels.dtype} of {labels.shape}.")
    if labels.ndim != 2:
        raise DataError(f"{path} has colours: {layout.name} has one label a pixel "
                        f"({min(layout.labels)} to {max(layout.labels)}).")
    least, most = int(labels.min()), int(labels.max())
    if least >= 0 and most < 256:
        labels = labels.astype(np.uint8, copy=False)
        present = np.flatnonzero(cv2.calcHist([labels], [0], None, [256], [0, 256])).tolist()
    else:
        present = [least, most]
    unknown = sorted(set(present) - set(layout.labels))
    if unknown:
        raise DataError(f"{path} has the label {unknown[0]}: {layout.name} knows "
                        f"{', '.join(map(str, layout.labels))}.")
    numbers = {"binary": (1, 1), "direct": (1, 0), "three": (1, 2)}[classes]
    table = np.zeros(256, np.uint8)
    for label, number in zip(layout.positive, numbers):
        table[label] = number
    return cv2.LUT(labels, table)


def grey(path: Path, picture: Image.Image) -> np.ndarray:
    """A mask's grey levels, 0 to 255: colours by their luminance, transparent as black, 16 bits
    reduced to 8."""
    picture = eight_bits(path, picture)
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture)
    return np.asarray(picture.convert("L"))


def eight_bits(path: Path, picture: Image.Image) -> Image.Image:
    """A picture of 8 bits a channel: one of 16 bits is reduced, one of floats must hold 0 to 1, or
    0 to 255."""
    if not (picture.mode.startswith("I") or picture.mode == "F"):
        return picture
    levels = np.asarray(picture).astype(np.float64)
    if not np.isfinite(levels).all() or levels.min() < 0 or levels.max() > 65535:
        raise DataError(f"{path} has levels that are no grey (from {levels.min()} to "
                        f"{levels.max()}): expected 0 to 255 or 65535.")
    if picture.mode == "F" and levels.max() <= 1:
        levels *= 255
    elif levels.max() > 255:
        levels /= 257
    return Image.fromarray(np.floor(levels).astype(np.uint8))


def segmentation(path: Path, content: bytes) -> np.ndarray:
    """`groundTruth.Segmentation` of a MATLAB file."""
    try:
        found = scipy.io.loadmat(io.BytesIO(content))["groundTruth"]["Segmentation"][0, 0]
    except Exception as error:  # a harmed file fails in many ways, deep in the reader
        raise DataError(f"{path} can't be read as MATLAB's groundTruth.Segmentation "
                        f"({type(error).__name__}): replace or remove it.") from error
    if found.ndim != 2 or found.dtype.kind not in "ui":
        raise DataError(f"{path} holds no label map: Segmentation is {found.dtype} of "
                        f"{found.shape}.")
    return found


def opened(path: Path, content: bytes) -> Image.Image:
    """A picture's header."""
    try:
        return Image.open(io.BytesIO(content))
    except Exception as error:
        raise unreadable(path, error) from error


def shown(path: Path, picture: Image.Image) -> Image.Image:
    """A picture, decoded, and turned as its EXIF orientation says."""
    try:
        return ImageOps.exif_transpose(picture)
    except Exception as error:  # a harmed file fails in many ways, deep in the decoders
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> DataError:
    reason = "of no known kind" if isinstance(error, UnidentifiedImageError) else error
    return DataError(f"{path} can't be read as a picture ({' '.join(str(reason).split())}): "
                      "replace or remove it.")


def levels_of(path: Path, content: bytes) -> np.ndarray:
    """The grey levels of a mask, as it is stored."""
    return grey(path, shown(path, opened(path, content)))


def framed(sample: Sample, protocol: Protocol) -> Sample:
    """The sample as a network sees it whole: reduced to `tile` if `framing` is "resize".

    Images are averaged over areas, labels take the nearest pixel's.
    """
    if protocol.framing == "tiles":
        return sample
    resize = albumentations.Resize(*protocol.tile, interpolation=cv2.INTER_AREA,
                                   mask_interpolation=cv2.INTER_NEAREST)
    result = resize(image=sample.image, mask=sample.mask)
    # a width in pixels of the photograph is wrong now
    return Sample(sample.name, result["image"], result["mask"], None)
