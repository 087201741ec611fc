"""Photographs that show the same thing, turned and mirrored ones included.

A split that puts one of them into the training part and another into the test part leaks: the test
part is then known by heart. Candidates are found by a perceptual hash of each picture in all eight
positions, and confirmed by their pixels.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import scipy.fft
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from crackutils.data.decoding import eight_bits, open_picture, unreadable, upright
from crackutils.data.layouts import UNDIVIDED, recognise
from crackutils.data.samples import DataError, Files
from crackutils.files import write_atomically
from crackutils.protocol import Protocol

SIDE = 64  # pictures are compared at this size
MOST_DIFFERENT_BITS = 14  # of 63: hashes further apart are not compared by pixels
LEAST_CORRELATION = 0.6  # of fine structure, at the best shift
POSITIONS = [(turns, mirrored) for mirrored in (False, True) for turns in range(4)]


def reduced(grey: np.ndarray) -> np.ndarray:
    """A grey picture as float32 64 x 64, averaged over areas, whatever its sides were."""
    return cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)


def preview(path: Path) -> np.ndarray:
    """A picture reduced for comparisons, decoded no larger than needed."""
    picture = open_picture(path, path.read_bytes())
    try:
        picture.draft("L", (2 * SIDE, 2 * SIDE))
        return reduced(np.asarray(eight_bits(path, upright(path, picture)).convert("L")))
    except DataError:
        raise
    except Exception as error:
        raise unreadable(path, error) from error


def perceptual_hash(picture: np.ndarray) -> np.uint64:
    """63 bits: which of the 8 x 8 lowest frequencies but the constant lie above their median.

    The "pHash" of Zauner, "Implementation and benchmarking of perceptual image hash functions",
    2010, on a reduced picture.
    """
    lowest = scipy.fft.dctn(picture)[:8, :8].reshape(-1)[1:]
    return np.packbits(np.append(lowest > np.median(lowest), False)).view(np.uint64)[0]


def positions(picture: np.ndarray) -> list[np.ndarray]:
    """The picture turned by right angles and mirrored: all eight."""
    return [np.rot90(np.fliplr(picture) if mirrored else picture, turns)
            for turns, mirrored in POSITIONS]


def spectrum(picture: np.ndarray) -> np.ndarray:
    """The Fourier transform of a reduced picture's fine structure, which has norm 1.

    Light and shade are much alike from place to place; the grain is not.
    """
    fine = picture - cv2.GaussianBlur(picture, (0, 0), 4)
    fine -= fine.mean()
    return scipy.fft.rfft2(fine / max(float(np.linalg.norm(fine)), 1e-6))


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """The highest circular cross-correlation of two spectra over all shifts: -1 to 1."""
    return float(scipy.fft.irfft2(spectrum(one) * spectrum(other).conj(), s=(SIDE, SIDE)).max())


def alike(pictures: Sequence[np.ndarray]) -> list[tuple[int, int, float]]:
    """Pairs (i, j, correlation), i < j, of reduced pictures that show the same thing."""
    hashes = np.array([[perceptual_hash(one) for one in positions(picture)]
                       for picture in pictures], np.uint64).reshape(-1, len(POSITIONS))
    found = []
    for first, own in enumerate(hashes[:, 0]):
        different = np.bitwise_count(hashes[first + 1:] ^ own)
        for offset in np.flatnonzero(different.min(axis=1, initial=64) <= MOST_DIFFERENT_BITS):
            second = first + 1 + int(offset)
            near = np.flatnonzero(different[offset] <= MOST_DIFFERENT_BITS)
            # a picture of one colour has no structure, and is like its copy alone
            best = 1.0 if np.array_equal(pictures[first], pictures[second]) else max(
                correlation(pictures[first], positions(pictures[second])[one]) for one in near)
            if best >= LEAST_CORRELATION:
                found.append((first, second, best))
    return found


def groups_of(count: int, pairs: Sequence[tuple[int, int, float]]) -> np.ndarray:
    """The group each of `count` pictures belongs to: those that a chain of pairs connects."""
    rows, columns = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    graph = coo_matrix((np.ones(len(pairs)), (rows, columns)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


FRAME_NAME = re.compile(r"^(.*\D)(\d{3,})$")  # a number of three digits or more at the end


def video_and_frame(name: str) -> tuple[str, int] | None:
    """The video's name and the frame's number in a picture's name, None where there is no number.

    `Seq05VD_f00120` is frame 120 of Seq05VD, `0001TP_008550` frame 8550 of 0001TP. A frame's number
    has at least three digits and stands at the end, behind other characters.
    """
    match = FRAME_NAME.match(name)
    if match is None:
        return None
    return re.sub("[_-]+f?$", "", match[1]), int(match[2])


VALIDATION_SHARE, TEST_SHARE = 0.12, 0.2  # of a data set without parts of its own


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
