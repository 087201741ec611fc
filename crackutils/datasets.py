"""Folders of photographs with masks, and the synthetic sets written in the same layouts.

Two layouts are read, told apart by their folders:

- plain: `images/` and `masks/` (and `widths/`, 16-bit PNG in hundredths of a pixel), the same stem
  in each, with or without lists `train.txt val.txt test.txt` of stems;
- BDD100K: `images/100k/{train,val}/NAME.jpg`, `labels/drivable/masks/{train,val}/NAME.png` with
  0 direct, 1 alternative, 2 background; `val` is the test part, validation is cut from `train`.
"""

import functools
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from crackutils.framing import framed
from crackutils.parts import WIDTH_UNIT, Part, Sample, open_part, store
from crackutils.protocol import Protocol
from crackutils.synthetic_sets import LISTS, PARTS, synthetic_folder

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png"}
VALIDATION_SHARE, TEST_SHARE = 0.12, 0.2  # of a folder that comes without lists
DRIVABLE = (0, 1)  # BDD100K's direct and alternative: the positive class of the binary task


@dataclass(frozen=True)
class Dataset:
    """The three parts as a network sees them; the fingerprint changes with any byte, name, split.

    With `framing="resize"` the samples have the size of the protocol's `tile`.
    """

    name: str
    layout: str
    fingerprint: str
    train: Part
    validation: Part
    test: Part


class Files(NamedTuple):
    """Where one sample lies."""

    name: str
    image: Path
    mask: Path
    width: Path | None


def load(data: str | Path, protocol: Protocol, runs: Path) -> Dataset:
    """Read a data set: `"synthetic"` (made under `runs/data` once) or a folder in a known layout.

    Raises `FileNotFoundError` or `ValueError` with what was expected, found, and to be done.
    """
    synthetic = str(data) == "synthetic"
    folder = synthetic_folder(protocol, runs) if synthetic else Path(data).expanduser().resolve()
    if not synthetic and folder.name == "synthetic":
        raise ValueError(f"{folder} would be taken for the synthetic data: rename the folder.")
    layout = recognise(folder)
    parts = parts_of(folder, protocol.counts[1] if synthetic else None)
    jobs = [(part, files) for part in PARTS for files in parts[part]]
    name = "synthetic" if synthetic else folder.name
    place = runs / "cache" / f"{name}-{version_of(jobs, layout, protocol)}"
    decode = functools.partial(read, layout=layout, protocol=protocol)
    entries = store(place, jobs, decode, any(files.width is not None for _, files in jobs))
    fingerprint = fingerprint_of((entry.part, entry.name, entry.digest) for entry in entries)
    return Dataset(name, layout, fingerprint,
                   **{part: open_part(place, part) for part in PARTS})


def version_of(jobs: list[tuple[str, Files]], layout: str, protocol: Protocol) -> str:
    """What the decoded pixels depend on, hashed: the files as they lie there, and the framing."""
    stats = [[part, files.name, *(path and [str(path), path.stat().st_size, path.stat().st_mtime_ns]
                                  for path in files[1:])] for part, files in jobs]
    tile = protocol.tile if protocol.framing == "resize" else None
    text = json.dumps([stats, layout, protocol.mask_threshold, tile])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def recognise(folder: Path) -> str:
    """`"plain"` or `"bdd100k"`, by the folders that are there."""
    if not folder.is_dir():
        raise FileNotFoundError(f"No data folder at {folder}: give \"synthetic\" or a folder.")
    if (folder / "images" / "100k").is_dir():
        return "bdd100k"
    if (folder / "images").is_dir() and (folder / "masks").is_dir():
        return "plain"
    raise ValueError(f"{folder} is in no known layout: expected images/ and masks/ (one mask an "
                     "image, the same stem), or BDD100K's images/100k/ and labels/drivable/masks/.")


def parts_of(folder: Path, validation: int | None = None) -> dict[str, list[Files]]:
    """The files of a folder by part; `validation` of BDD100K's train frames are held out."""
    if recognise(folder) == "bdd100k":
        return bdd100k_parts(folder, validation)
    return plain_parts(folder)


def plain_parts(folder: Path) -> dict[str, list[Files]]:
    """The pairs of a plain folder by part: its lists, or a split by a hash of the names."""
    pairs = pair(folder / "images", folder / "masks", folder / "widths")
    if any((folder / name).exists() for name in LISTS.values()):
        return disjoint({part: listed(folder / name, pairs) for part, name in LISTS.items()})
    ordered = by_hash(pairs.values())
    test = round(TEST_SHARE * len(ordered))
    validation = round(VALIDATION_SHARE * len(ordered))
    if min(test, validation) < 1:
        raise ValueError(f"{folder} holds {len(ordered)} pairs: too few to hold some out for "
                         "validation and test; give 5 or more, or train.txt, val.txt and test.txt.")
    return {"test": ordered[:test], "validation": ordered[test:test + validation],
            "train": ordered[test + validation:]}


def by_hash(files: Iterable[Files]) -> list[Files]:
    """In an order that the names decide, but not by their alphabet."""
    return sorted(files, key=lambda one: hashlib.sha256(one.name.encode()).digest())


def listed(path: Path, pairs: dict[str, Files]) -> list[Files]:
    """The pairs a list file names, a stem a line."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: a folder with one list needs all of "
                                f"{', '.join(LISTS.values())}.")
    lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    stems = [Path(line).stem if Path(line).suffix.lower() in IMAGE_SUFFIXES else line
             for line in lines]
    unknown = [stem for stem in stems if stem not in pairs]
    if unknown or not stems:
        raise ValueError(f"{path} names {len(unknown)} of {len(stems)} stems that are not in "
                         f"images/: {', '.join(unknown[:5]) or 'the list is empty'}.")
    return [pairs[stem] for stem in stems]


def disjoint(parts: dict[str, list[Files]]) -> dict[str, list[Files]]:
    """The parts, refused where they share an image: the test part must not be trained on."""
    names = [files.name for part in parts.values() for files in part]
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        raise ValueError(f"{len(twice)} images stand twice in {', '.join(LISTS.values())}: "
                         f"{', '.join(twice[:5])}. Each belongs to one part.")
    return parts


def bdd100k_parts(folder: Path, validation: int | None = None) -> dict[str, list[Files]]:
    """BDD100K's train, cut into train and validation, and its val as test."""
    both = {part: list(pair(folder / "images" / "100k" / part,
                            folder / "labels" / "drivable" / "masks" / part).values())
            for part in ("train", "val")}
    ordered = by_hash(both["train"])
    validation = validation or max(1, round(VALIDATION_SHARE * len(ordered)))
    if validation >= len(ordered):
        raise ValueError(f"{folder} holds {len(ordered)} train images: too few to hold some out "
                         "for validation; give 2 or more.")
    return {"train": ordered[validation:], "validation": ordered[:validation], "test": both["val"]}


def pair(images: Path, masks: Path, widths: Path | None = None) -> dict[str, Files]:
    """Images and masks of the same stem; both must be complete."""
    by_stem = [stems(folder) for folder in (images, masks)]
    alone = sorted(by_stem[0].keys() ^ by_stem[1].keys())
    if alone:
        raise ValueError(f"{len(alone)} files of {images} and {masks} have no partner of the same "
                         f"stem: {', '.join(alone[:5])}. Each image needs one mask.")
    known = stems(widths) if widths is not None and widths.is_dir() else {}
    return {stem: Files(stem, path, by_stem[1][stem], known.get(stem))
            for stem, path in sorted(by_stem[0].items())}


def stems(folder: Path) -> dict[str, Path]:
    """The images of a folder by stem."""
    if not folder.is_dir():
        raise FileNotFoundError(f"No folder {folder}: images and masks are expected side by side.")
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES]
    found = {path.stem: path for path in paths}
    if not found or len(found) < len(paths):
        raise ValueError(f"{folder} must hold images of different stems, found {len(paths)} images "
                         f"with {len(found)} stems.")
    return found


def fingerprint_of(digests: Iterable[tuple[str, str, str]]) -> str:
    """sha256 over parts, names and file contents."""
    total = hashlib.sha256()
    for part, name, digest in digests:
        total.update(f"{part}/{name}\0".encode() + bytes.fromhex(digest))
    return total.hexdigest()


def folder_fingerprint(folder: Path) -> str:
    """The fingerprint of a folder's data set, without decoding it."""
    parts = parts_of(folder)
    return fingerprint_of((part, files.name, digest_of(contents_of(files)))
                          for part in PARTS for files in parts[part])


def contents_of(files: Files) -> list[bytes | None]:
    return [path.read_bytes() if path else None for path in files[1:]]


def digest_of(contents: list[bytes | None]) -> str:
    """The hex digests of a sample's files in a row."""
    return "".join((hashlib.sha256(content).digest() if content is not None else b"none").hex()
                   for content in contents)


def read(files: Files, layout: str, protocol: Protocol) -> tuple[Sample, str]:
    """Decode one sample, the mask to 0 and 1, framed; and the hex digests of its files in a row."""
    contents = contents_of(files)
    image = np.array(opened(files.image, contents[0]).convert("RGB"))
    mask = binary(files.mask, opened(files.mask, contents[1]), layout, protocol.mask_threshold)
    if mask.shape != image.shape[:2]:
        raise ValueError(f"{files.mask} is {mask.shape}, its image {image.shape[:2]} (height, "
                         "width): a mask must have its image's size.")
    width = None
    if files.width is not None:
        width = np.asarray(opened(files.width, contents[2])).astype(np.float32) / WIDTH_UNIT
    return framed(Sample(files.name, image, mask.astype(np.uint8), width), protocol), \
        digest_of(contents)


def binary(path: Path, labels: Image.Image, layout: str, threshold: int) -> np.ndarray:
    """A mask's positive class."""
    if layout == "bdd100k":
        return np.isin(np.asarray(labels), DRIVABLE)
    levels = np.asarray(labels.convert("L"))
    if 0 < levels.max() < threshold:
        raise ValueError(f"{path} has no level from {threshold} on (highest: {levels.max()}): "
                         "masks must be 0 and 255.")
    return levels >= threshold


def opened(path: Path, content: bytes) -> Image.Image:
    """A picture, turned as its EXIF orientation says."""
    try:
        return ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    except (UnidentifiedImageError, OSError) as error:
        reason = "of no known kind" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"{path} can't be read as a picture ({reason}): replace or remove it.") \
            from error
