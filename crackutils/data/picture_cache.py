"""Decoded pictures: each is decoded once and then lies in memory maps that all processes share.

A store is a folder with `images.bin` (3 bytes a pixel), `masks.bin` (1) and, where crack widths are
known, `widths.bin` (2), the pictures one behind the other, and `index.jsonl`, a line for each.
`complete.json` comes last. A store that was cut short is gone on with. It may be deleted at any
time: it is made anew from the data set.
"""

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from tqdm import tqdm

from crackutils.data.samples import WIDTH_UNIT, Sample

TYPES = {"images": (np.uint8, (-1, 3)), "masks": (np.uint8, (-1,)), "widths": (np.uint16, (-1,))}
SYNC_BYTES = 2**28  # between two waits for the disk
INDEX, COMPLETE = "index.jsonl", "complete.json"




class Entry(NamedTuple):
    """A line of the index."""

    part: str
    name: str
    height: int
    width: int
    has_width: bool
    digest: str  # of the files it was decoded from

    @property
    def pixels(self) -> int:
        return self.height * self.width


class Part(Sequence):
    """The samples of one part. Their arrays are views of memory maps: nothing is held twice.

    `sizes` are the samples' (height, width); `source`, the store's folder and the part's name, is
    what another process gets to open it anew.
    """

    def __init__(self, entries: list[Entry], starts: list[int], arrays: dict[str, np.ndarray],
                 source: tuple[Path, str] | None = None):
        self.names = [entry.name for entry in entries]
        self.sizes = [(entry.height, entry.width) for entry in entries]
        self.arrays, self.source = arrays, source
        self._entries, self._starts = entries, starts

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        entry, place = self._entries[index], self.place(index)
        width = self.arrays["widths"][place] if entry.has_width else None
        if width is not None:
            width = width.reshape(self.sizes[index]).astype(np.float32) / WIDTH_UNIT
        return Sample(entry.name, self.arrays["images"][place].reshape(*self.sizes[index], 3),
                      self.arrays["masks"][place].reshape(self.sizes[index]), width)

    def __reduce__(self):
        return (open_part, self.source) if self.source else super().__reduce__()

    def place(self, index: int) -> slice:
        """Where a sample's pixels lie in the flat arrays."""
        start = self._starts[index]
        return slice(start, start + self._entries[index].pixels)

    def tensors(self) -> tuple[Tensor, Tensor]:
        """All pixels as flat tensors on the same memory: images P x 3, masks P."""
        with warnings.catch_warnings():  # they can't be written to, and nobody does
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(self.arrays["images"]), torch.from_numpy(self.arrays["masks"])

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "Part":
        """A part in memory, from samples at hand."""
        entries = [entry_of("", sample, "") for sample in samples]
        arrays = {"images": np.concatenate([one.image.reshape(-1, 3) for one in samples]),
                  "masks": np.concatenate([one.mask.reshape(-1) for one in samples]),
                  "widths": np.concatenate([width_units(one).reshape(-1) for one in samples])}
        return cls(entries, starts_of(entries), arrays)


def entry_of(part: str, sample: Sample, digest: str) -> Entry:
    return Entry(part, sample.name, *sample.mask.shape, sample.width is not None, digest)


def starts_of(entries: list[Entry]) -> list[int]:
    """Where each entry's pixels begin."""
    return (np.cumsum([0] + [entry.pixels for entry in entries])[:-1]).tolist()


def width_units(sample: Sample) -> np.ndarray:
    """Widths as they are kept; zeros where none are known."""
    if sample.width is None:
        return np.zeros(sample.mask.shape, np.uint16)
    return (sample.width * WIDTH_UNIT).round().astype(np.uint16)


def read_index(folder: Path) -> list[Entry]:
    """The entries of a store, complete or not; a last line that was cut short does not count."""
    path = folder / INDEX
    lines = path.read_text().split("\n")[:-1] if path.is_file() else []
    return [Entry(*json.loads(line)) for line in lines]


def open_part(folder: Path, part: str) -> Part:
    """A part of a complete store."""
    entries = read_index(folder)
    own = [(entry, start) for entry, start in zip(entries, starts_of(entries))
           if entry.part == part]
    # from its first pixel to its last: the other parts need no room where these are copied to
    begin, end = own[0][1], own[-1][1] + own[-1][0].pixels
    arrays = {kind: np.memmap(folder / f"{kind}.bin", dtype=dtype, mode="r")
              .reshape(shape)[begin:end]
              for kind, (dtype, shape) in TYPES.items() if (folder / f"{kind}.bin").is_file()}
    return Part([entry for entry, _ in own], [start - begin for _, start in own], arrays,
                (folder, part))


def store(folder: Path, jobs: Sequence[tuple], decode: Callable[..., tuple[Sample, str]],
          with_widths: bool) -> list[Entry]:
    """Fill a store from what `decode(*job[1:])` gives, `job[0]` being the part; returns its index.

    Pictures are decoded in as many threads as there are cores. Of two processes that want one
    store, the second waits for the first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kinds = [kind for kind in TYPES if kind != "widths" or with_widths]
    with FileLock(folder / ".lock"):
        if not is_whole(folder, len(jobs), kinds):
            fill(folder, jobs, decode, kinds)
    return read_index(folder)


def is_whole(folder: Path, count: int, kinds: list[str]) -> bool:
    """Whether a store is complete, its files as long as its index says."""
    if not (folder / COMPLETE).is_file():
        return False
    entries = read_index(folder)
    pixels = sum(entry.pixels for entry in entries)
    paths = {kind: folder / f"{kind}.bin" for kind in kinds}
    return len(entries) == count and all(
        path.is_file() and path.stat().st_size == pixels * bytes_each(kind)
        for kind, path in paths.items())


def bytes_each(kind: str) -> int:
    """Bytes a pixel of one of a store's files."""
    dtype, shape = TYPES[kind]
    return np.dtype(dtype).itemsize * (shape[1] if len(shape) > 1 else 1)


def fill(folder: Path, jobs: Sequence[tuple], decode: Callable, kinds: list[str]) -> None:
    """Go on with a store from its last whole picture; one harmed since it was complete: anew."""
    if (folder / COMPLETE).is_file():
        (folder / INDEX).unlink(missing_ok=True)
        (folder / COMPLETE).unlink()
    done = whole_entries(folder, kinds)
    pixels = sum(entry.pixels for entry in done)
    with ExitStack() as stack:
        files = {kind: stack.enter_context(open(folder / f"{kind}.bin", "ab")) for kind in kinds}
        index = stack.enter_context(open(folder / INDEX, "a"))
        for kind, file in files.items():
            file.truncate(pixels * bytes_each(kind))
        pending = []
        for part, sample, digest in decoded(jobs, len(done), decode):
            append(files, sample)
            pending.append(entry_of(part, sample, digest))
            if sum(entry.pixels for entry in pending) * 6 > SYNC_BYTES:
                note(files, index, pending)
                pending = []
        note(files, index, pending)
    (folder / COMPLETE).write_text(json.dumps({"pictures": len(jobs)}) + "\n")


def decoded(jobs: Sequence[tuple], done: int, decode: Callable) -> Iterator[tuple]:
    """(part, sample, digest) of each job not yet done, in their order, with progress."""
    at_once = 2 * os.cpu_count()  # pictures in memory
    with ThreadPoolExecutor(os.cpu_count()) as pool, tqdm(
            total=len(jobs), initial=done, desc="reading pictures", unit="picture",
            file=sys.stdout, mininterval=2, delay=2) as bar:
        for first in range(done, len(jobs), at_once):
            some = jobs[first:first + at_once]
            for job, (sample, digest) in zip(some, pool.map(lambda job: decode(*job[1:]), some)):
                yield job[0], sample, digest
                bar.update()


def append(files: dict, sample: Sample) -> None:
    """Write a picture's bytes behind the last one's."""
    arrays = {"images": sample.image, "masks": sample.mask}
    if "widths" in files:
        arrays["widths"] = width_units(sample)
    for kind, array in arrays.items():
        files[kind].write(np.ascontiguousarray(array).tobytes())


def note(files: dict, index, entries: list[Entry]) -> None:
    """Enter pictures into the index once their bytes lie on the disk."""
    for file in files.values():
        file.flush()
        os.fsync(file.fileno())
    index.writelines(json.dumps(entry) + "\n" for entry in entries)
    index.flush()
    os.fsync(index.fileno())


def whole_entries(folder: Path, kinds: list[str]) -> list[Entry]:
    """The pictures an unfinished store has whole; the index is cut to them."""
    entries = read_index(folder)
    for kind in kinds:
        path = folder / f"{kind}.bin"
        size = path.stat().st_size if path.is_file() else 0
        while entries and sum(entry.pixels for entry in entries) * bytes_each(kind) > size:
            entries.pop()
    (folder / INDEX).write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return entries
