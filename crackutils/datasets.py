"""Data sets as the networks see them: read once, divided into parts, fingerprinted."""

import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from crackutils.decoding import decode, preview
from crackutils.duplicates import (
    LEAST_CORRELATION,
    MOST_DIFFERENT_BITS,
    SIDE,
    alike,
    groups_of,
)
from crackutils.framing import framed
from crackutils.layouts import UNDIVIDED, Layout, recognise
from crackutils.pairing import DataError, Files, told
from crackutils.parts import Part, Sample, open_part, store
from crackutils.protocol import Protocol
from crackutils.runs import write_atomically
from crackutils.synthetic_sets import PARTS, synthetic_folder

VALIDATION_SHARE, TEST_SHARE = 0.12, 0.2  # of a data set without parts of its own


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


@told()
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


def version_of(jobs: Sequence[tuple[str, Files]], how: list) -> str:
    """What pixels depend on, hashed: the files as they lie there, and how they are read."""
    stats = [[part, files.name, *(path and [str(path), path.stat().st_size, path.stat().st_mtime_ns]
                                  for path in files[1:])] for part, files in jobs]
    return hashlib.sha256(json.dumps([stats, how]).encode()).hexdigest()[:16]


def parts_of(folder: Path, protocol: Protocol, runs: Path,
             validation: int | None = None) -> dict[str, list[Files]]:
    """The files of a folder by part.

    Parts that the data set lacks are cut by a hash of the names: all three from an undivided one,
    photographs of the same thing together; else validation (so many, or 12 %) from train.
    `protocol.subset` keeps so many of train and test, as `subset_seed` draws them.
    """
    found = recognise(folder, protocol.layout).parts(folder)
    if UNDIVIDED in found:
        files = found[UNDIVIDED]
        found = divided(folder, files, together(files, runs))
    train = by_hash(found["train"], protocol.subset_seed)
    most_train, most_test = protocol.subset or (len(train), len(found["test"]))
    test = set(by_hash(found["test"], protocol.subset_seed)[:most_test])
    found["test"] = [files for files in found["test"] if files in test]
    if "validation" in found:
        chosen = set(train[:most_train])
        return found | {"train": [files for files in found["train"] if files in chosen]}
    count = validation or max(1, round(VALIDATION_SHARE * min(len(train), most_train)))
    if count >= len(train):
        raise DataError(f"{folder} holds {len(train)} train images: too few to hold some out for "
                        "validation; give 2 or more.")
    return found | {"validation": train[:count], "train": train[count:][:most_train]}


def divided(folder: Path, files: list[Files], group_of: Sequence[int]) -> dict[str, list[Files]]:
    """All three parts of an undivided data set; what is of one group stays together.

    A group goes to the first of test and validation that has room for it, else to train.
    """
    members = {}
    for one, group in zip(files, group_of, strict=True):
        members.setdefault(group, []).append(one)
    groups = sorted((by_hash(group) for group in members.values()),
                    key=lambda group: digest_of_name(group[0].name))
    room = {"test": round(TEST_SHARE * len(files)),
            "validation": round(VALIDATION_SHARE * len(files))}
    parts = {"test": [], "validation": [], "train": []}
    for group in groups:
        part = next((name for name, most in room.items()
                     if len(parts[name]) + len(group) <= most), "train")
        parts[part] += group
    if not all(parts.values()):
        raise DataError(f"{folder} holds {len(files)} pairs that show {len(groups)} different "
                        "things: too few to hold some out for validation and test; give 5 or more, "
                        "or train.txt, val.txt and test.txt.")
    return parts


def together(files: list[Files], runs: Path) -> list[int]:
    """The group of each file, one for what shows the same thing; kept in `runs/cache`."""
    version = version_of([("", one._replace(mask=None, width=None)) for one in files],
                         ["twins", MOST_DIFFERENT_BITS, LEAST_CORRELATION, SIDE])
    kept = runs / "cache" / f"twins-{version}.json"
    with suppress(FileNotFoundError, ValueError):  # a harmed one is made anew
        if len(group_of := json.loads(kept.read_text())) == len(files):
            return group_of
    with ThreadPoolExecutor() as pool:
        pictures = list(pool.map(lambda one: preview(one.image), files))
    group_of = groups_of(len(files), alike(pictures)).tolist()
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(kept, json.dumps(group_of).encode())
    return group_of


def by_hash(files: Iterable[Files], seed: int = 0) -> list[Files]:
    """In an order that the names and a seed decide, but not the alphabet."""
    before = f"{seed}/" if seed else ""
    return sorted(files, key=lambda one: digest_of_name(before + one.name))


def digest_of_name(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def fingerprint_of(digests: Iterable[tuple[str, str, str]]) -> str:
    """sha256 over parts, names and file contents."""
    total = hashlib.sha256()
    for part, name, digest in digests:
        total.update(f"{part}/{name}\0".encode() + bytes.fromhex(digest))
    return total.hexdigest()


@told()
def folder_fingerprint(folder: Path, protocol: Protocol, runs: Path) -> str:
    """The fingerprint of a folder's data set, without decoding it."""
    parts = parts_of(folder, protocol, runs)
    return fingerprint_of((part, files.name, digest_of(contents_of(files)))
                          for part in PARTS for files in parts[part])


def contents_of(files: Files) -> list[bytes | None]:
    return [path.read_bytes() if path else None for path in files[1:]]


def digest_of(contents: list[bytes | None]) -> str:
    """The hex digests of a sample's files in a row."""
    return "".join((hashlib.sha256(content).digest() if content is not None else b"none").hex()
                   for content in contents)


def read(files: Files, layout: Layout, protocol: Protocol) -> tuple[Sample, str]:
    """Decode one sample, framed; and the hex digests of its files in a row."""
    contents = contents_of(files)
    least = protocol.tile if protocol.framing == "resize" else None
    sample = decode(files, contents, layout, protocol, least)
    return framed(sample, protocol), digest_of(contents)
