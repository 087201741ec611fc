"""Data sets. `load("synthetic" or a folder, protocol, runs)` gives the parts as networks see them.

`layouts` finds the files of a folder in a published layout and `folders` those of one's own,
`split` divides them into parts, `decoding` turns them into samples (`masks` decides what is
positive), and `picture_cache` keeps those on disk, from where `Part` maps them. `synthetic` draws
cracks and road scenes, `download` fetches published data sets, and `doctor` looks for what is wrong
with a folder.
"""

import functools
import hashlib
import io
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from crackutils.data.decoding import decode, describe_masks, framed, memory_of
from crackutils.data.folders import UNDIVIDED
from crackutils.data.layouts import Layout, recognise
from crackutils.data.masks import MaskValuesError, is_positive
from crackutils.data.picture_cache import Part, open_cache
from crackutils.data.samples import DataError, Files, Sample, file_errors, note
from crackutils.data.split import parts_of, version_of
from crackutils.data.synthetic import PARTS, synthetic_folder
from crackutils.files import absolute, locked, resolve, write_atomically
from crackutils.protocol import Protocol


@dataclass(frozen=True)
class Dataset:
    """The three parts of a data set, as a network sees them. Its records, tables and figures lie in
    `<runs>/<protocol>/<name>`.

    With `framing="resize"` the samples have the size of the protocol's `tile`. The fingerprint
    changes if any name, the split, or any byte of the files changes. For a synthetic set pixels
    count instead of bytes, because another version of an encoder writes other bytes.
    """

    name: str
    layout: str
    fingerprint: str
    train: Part
    validation: Part
    test: Part


@file_errors()
def load(data: str | Path, protocol: Protocol, runs: Path) -> Dataset:
    """Read a data set: `"synthetic"`, which is drawn under `runs/data` at the first call, or a
    folder in one of the layouts. Decoded pictures are kept under `runs/cache`. Raises `DataError`
    with what was expected, what was found, and what to do."""
    synthetic = str(data) == "synthetic"
    if synthetic:
        protocol = replace(protocol, positive=None, ignore=None)  # they are for a user's masks
    folder = synthetic_folder(protocol, runs) if synthetic else resolve(data)
    layout = recognise(folder, protocol.layout)
    if protocol.classes != "binary" and len(layout.positive) != 2:
        raise DataError(f"{folder} is in the layout {layout.name}, which does not tell direct from "
                        f"alternative drivable area: classes={protocol.classes} needs BDD100K's.")
    parts = parts_of(folder, protocol, runs, protocol.counts[1] if synthetic else None)
    given_name(data)  # refuses one that can't be used, before anything is decoded
    opened = open_parts(folder.parent if synthetic else folder, parts, layout, protocol, runs,
                        synthetic)
    fingerprint = fingerprint_of((part, *picture) for part in PARTS
                                 for picture in zip(opened[part].names, opened[part].digests))
    return Dataset(name_of_results(data, fingerprint, protocol, runs), layout.name, fingerprint,
                   **opened)


def given_name(data: str | Path) -> str:
    """"synthetic", or the last part of a folder's path as it was given: of a link, its own name.

    Parentheses take the place of braces, which mean something else in paths of the workflow.
    """
    if str(data) == "synthetic":
        return "synthetic"
    path = absolute(data)
    name = path.name if path.name not in ("", "..") else path.resolve().name
    if name == "synthetic":
        raise DataError(f"{path} would be taken for the synthetic data: rename the folder.")
    return name.translate(str.maketrans("{}", "()"))


@file_errors()
def name_of_results(data: str | Path, fingerprint: str, protocol: Protocol, runs: Path) -> str:
    """The name of the folder below `<runs>/<protocol>/` for what is computed from a data set: the
    data set's own. If other data of that name were used there first, 8 digits of the fingerprint
    are put behind it, and a note says so."""
    name = given_name(data)
    if name == "synthetic":
        return name
    folder = runs / protocol.name / name
    owner = folder / "fingerprint.txt"
    if not owner.is_file():
        if not os.access(runs, os.W_OK):
            return name  # another user's results are only read
        with locked(folder / ".lock"):
            if not owner.is_file():  # another process may have been faster
                earlier = {json.loads(path.read_text())["fingerprint"]
                           for path in folder.glob("records/*/config.json")}
                first = fingerprint if not earlier or fingerprint in earlier else min(earlier)
                write_atomically(owner, first.encode())
    if owner.read_text() == fingerprint:
        return name
    other = f"{name}-{fingerprint[:8]}"
    note(f"{folder} holds results of other pictures of that name: those of {data} are kept in "
         f"{folder.with_name(other)}.")
    return other


@file_errors()
def load_undivided(folder: str | Path, protocol: Protocol, runs: Path) -> Part:
    """All pairs of a data folder as one part, on which a network trained elsewhere is evaluated."""
    folder = resolve(folder)
    layout = recognise(folder, protocol.layout)
    files = [pair for part in layout.parts(folder).values() for pair in part]
    return open_parts(folder, {UNDIVIDED: files}, layout, protocol, runs)[UNDIVIDED]


def open_parts(place: Path, parts: dict[str, list[Files]], layout: Layout, protocol: Protocol,
               runs: Path, synthetic: bool = False) -> dict[str, Part]:
    """The parts from the cache of the data set at `place`, which is made if need be."""
    if layout.labels and (protocol.positive is not None or protocol.ignore is not None):
        raise DataError(f"{place} is in the layout {layout.name}, which documents its labels: "
                        "positive and ignore are for masks that don't.")
    jobs = [(part, files) for part in parts for files in parts[part]]
    all_files = [files for _, files in jobs]
    tile = protocol.tile if protocol.framing == "resize" else None
    version = version_of(jobs, [layout.name, protocol.mask_threshold, protocol.classes, tile,
                                protocol.positive, protocol.ignore])
    # another folder's data set may have the same name
    key = hashlib.sha256(str(place).encode()).hexdigest()[:8]
    decoder = functools.partial(read, layout=layout, protocol=protocol, synthetic=synthetic)
    with_widths = tile is None and any(files.width is not None for files in all_files)
    try:
        opened = open_cache(runs / "cache" / f"{place.name}-{key}", version, parts, decoder,
                            memory_of, with_widths)
        samples = chain.from_iterable(opened.values())
        if any(is_positive(sample.mask).any() for sample in samples):  # reads as few as possible
            return opened
        if layout.labels:
            raise DataError(f"No mask of {place} has a positive label: {layout.name} has "
                            f"{', '.join(map(str, layout.positive))} where it is positive.")
        raise MaskValuesError("No mask has a positive pixel.")
    except MaskValuesError as error:
        raise DataError(describe_masks(place, all_files, protocol, str(error))) from error


def fingerprint_of(digests: Iterable[tuple[str, str, str]]) -> str:
    """sha256 over each sample's part, name and digest."""
    total = hashlib.sha256()
    for part, name, digest in digests:
        total.update(f"{part}/{name}\0".encode() + bytes.fromhex(digest))
    return total.hexdigest()


@file_errors()
def folder_fingerprint(folder: Path, protocol: Protocol, runs: Path) -> str:
    """The fingerprint of a folder's data set, without decoding it; not for a synthetic set."""
    parts = parts_of(folder, protocol, runs)
    return fingerprint_of((part, files.name, digest_of(files.contents()))
                          for part, members in parts.items() for files in members)


def digest_of(contents: list[bytes | None]) -> str:
    """The sha256 of each of a sample's files, one after the other in hexadecimal."""
    return "".join((hashlib.sha256(content).digest() if content is not None else b"none").hex()
                   for content in contents)


def pixels_of(content: bytes | None) -> bytes | None:
    """A picture's shape and pixels as bytes, which do not depend on the encoder or decoder."""
    if content is None:
        return None
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    return f"{pixels.shape}\0".encode() + pixels.astype("<u2").tobytes()


def read(files: Files, layout: Layout, protocol: Protocol, synthetic: bool) -> tuple[Sample, str]:
    """A sample, decoded and framed, and the digest of its files (of their pixels if synthetic)."""
    contents = files.contents()
    sample = framed(decode(files, contents, layout, protocol), protocol)
    hashed = [pixels_of(content) for content in contents] if synthetic else contents
    return sample, digest_of(hashed)
