"""Data sets as the networks see them: read once, divided into parts, fingerprinted."""

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from crackutils.data.decoding import decode, framed
from crackutils.data.layouts import Layout, recognise
from crackutils.data.picture_cache import Part, open_part, store
from crackutils.data.samples import DataError, Files, Sample, file_errors
from crackutils.data.split import parts_of, version_of
from crackutils.data.synthetic import PARTS, synthetic_folder
from crackutils.protocol import Protocol


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


@file_errors()
def load(data: str | Path, protocol: Protocol, runs: Path) -> Dataset:
    """Read a data set: `"synthetic"` (made under `runs/data` once) or a folder in a known layout.

    Raises `DataError` with what was expected, found, and to be done.
    """
    synthetic = str(data) == "synthetic"
    folder = synthetic_folder(protocol, runs) if synthetic else Path(data).expanduser().resolve()
    if not synthetic and folder.name == "synthetic":
        raise DataError(f"{folder} would be taken for the synthetic data: rename the folder.")
    layout = recognise(folder, protocol.layout)
    if protocol.classes != "binary" and len(layout.positive) != 2:
        raise DataError(f"{folder} is in the layout {layout.name}, which does not tell direct from "
                        f"alternative drivable area: classes={protocol.classes} needs BDD100K's.")
    parts = parts_of(folder, protocol, runs, protocol.counts[1] if synthetic else None)
    jobs = [(part, files) for part in PARTS for files in parts[part]]
    name = "synthetic" if synthetic else folder.name
    tile = protocol.tile if protocol.framing == "resize" else None
    version = version_of(jobs, [layout.name, protocol.mask_threshold, protocol.classes, tile])
    place = runs / "cache" / f"{name}-{version}"
    entries = store(place, jobs, functools.partial(read, layout=layout, protocol=protocol),
                    any(files.width is not None for _, files in jobs))
    fingerprint = fingerprint_of((entry.part, entry.name, entry.digest) for entry in entries)
    return Dataset(name, layout.name, fingerprint,
                   **{part: open_part(place, part) for part in PARTS})














def fingerprint_of(digests: Iterable[tuple[str, str, str]]) -> str:
    """sha256 over parts, names and file contents."""
    total = hashlib.sha256()
    for part, name, digest in digests:
        total.update(f"{part}/{name}\0".encode() + bytes.fromhex(digest))
    return total.hexdigest()


@file_errors()
def folder_fingerprint(folder: Path, protocol: Protocol, runs: Path) -> str:
    """The fingerprint of a folder's data set, without decoding it."""
    parts = parts_of(folder, protocol, runs)
    return fingerprint_of((part, files.name, digest_of(files.contents()))
                          for part in PARTS for files in parts[part])


def digest_of(contents: list[bytes | None]) -> str:
    """The hex digests of a sample's files in a row."""
    return "".join((hashlib.sha256(content).digest() if content is not None else b"none").hex()
                   for content in contents)


def read(files: Files, layout: Layout, protocol: Protocol) -> tuple[Sample, str]:
    """Decode one sample, framed; and the hex digests of its files in a row."""
    contents = files.contents()
    least = protocol.tile if protocol.framing == "resize" else None
    sample = decode(files, contents, layout, protocol, least)
    return framed(sample, protocol), digest_of(contents)
