"""The cache of decoded pictures: each is decoded once, and all processes map the same files.

A cache is a folder `<data set>/<format>-<version>/`. The pictures lie one behind the other in
`images.bin` (3 bytes a pixel), `masks.bin` (1) and, if the data set has crack widths, `widths.bin`
(2); `index.jsonl` has a line for each. When a cache is made, those of its data set that are of
another format, or were not opened for 30 days, are removed.

A file for each picture would be simpler, but a mapped file stays open, and processes may often open
only 1,024 files; to open one for each crop would take ten times as long.
"""

import json
import os
import shutil
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from crackutils.data.samples import WIDTH_UNIT, Files, Sample, progress
from crackutils.device import usable_cores
from crackutils.files import locked

FORMAT = 4  # to be raised whenever decoding changes, or the form in which pictures are stored
STORED = {"images": (np.uint8, (-1, 3)), "masks": (np.uint8, -1), "widths": (np.uint16, -1)}
BYTES_A_PIXEL = {"images": 3, "masks": 1, "widths": 2}
INDEX = "index.jsonl"
KEPT_SECONDS = 30 * 24 * 3600  # after it was opened last; other choices may need it again
DECODING_BYTES = 2**31  # memory that pictures may take while they are decoded


class Entry(NamedTuple):
    """A picture's line in the index; `digest` is that of the files it was decoded from."""

    part: str
    name: str
    height: int
    width: int
    digest: str


class Part(Sequence):
    """The samples of one part of a data set, in a cache or in memory.

    `arrays` hold the pixels of all samples one behind the other, of which a sample's are views:
    `images` uint8 P x 3, `masks` uint8 P and, if crack widths are known, `widths` uint16 P in
    hundredths of a pixel. `sizes` are the samples' (height, width). `source` is a cache's folder
    and the part's name, from which another process opens the same part.
    """

    def __init__(self, entries: list[Entry], arrays: dict[str, np.ndarray],
                 source: tuple[Path, str] | None = None):
        self.names = [entry.name for entry in entries]
        self.sizes = [(entry.height, entry.width) for entry in entries]
        self.digests = [entry.digest for entry in entries]
        self.arrays, self.source = arrays, source
        self._starts = np.cumsum([0] + [height * width for height, width in self.sizes]).tolist()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        index = range(len(self))[index]  # counts negative ones from the end
        size, place = self.sizes[index], self.place(index)
        width = None
        if "widths" in self.arrays:
            width = self.arrays["widths"][place].reshape(size).astype(np.float32) / WIDTH_UNIT
        return Sample(self.names[index], self.arrays["images"][place].reshape(*size, 3),
                      self.arrays["masks"][place].reshape(size), width)

    def __reduce__(self):
        return (open_part, self.source) if self.source else super().__reduce__()

    def place(self, index: int) -> slice:
        """The place of a sample's pixels in the arrays."""
        return slice(self._starts[index], self._starts[index + 1])

    def tensors(self) -> tuple[Tensor, Tensor]:
        """The images P x 3 and the masks P as tensors that share the arrays' memory."""
        with warnings.catch_warnings():  # mapped files are read-only; nothing writes to them
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(self.arrays["images"]), torch.from_numpy(self.arrays["masks"])

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "Part":
        """A part in memory; either all of its samples have widths, or none has."""
        entries = [Entry("", sample.name, *sample.mask.shape, "") for sample in samples]
        stored = [stored_arrays(sample) for sample in samples]
        return cls(entries, {kind: np.concatenate([arrays[kind] for arrays in stored])
                             for kind in stored[0]})


def stored_arrays(sample: Sample) -> dict[str, np.ndarray]:
    """A sample's pixels in the form in which a `Part` holds them."""
    arrays = {"images": sample.image.reshape(-1, 3), "masks": sample.mask.reshape(-1)}
    if sample.width is not None:
        arrays["widths"] = (sample.width * WIDTH_UNIT).round().astype(np.uint16).reshape(-1)
    return arrays


def read_index(cache: Path) -> list[Entry]:
    """The entries of a cache; none if there is no such cache, or its index is damaged."""
    path = cache / INDEX
    try:
        return [Entry(*json.loads(line)) for line in path.read_text().splitlines()]
    except (FileNotFoundError, ValueError, TypeError):
        return []


def pixels_of(entries: Iterable[Entry]) -> int:
    return sum(entry.height * entry.width for entry in entries)


def open_part(cache: Path, part: str) -> Part:
    """A part of a cache, whose files are mapped. They may be removed meanwhile: a mapped file stays
    until it is closed."""
    entries = read_index(cache)
    selected = [entry for entry in entries if entry.part == part]
    start = pixels_of(entries[:entries.index(selected[0])])
    place = slice(start, start + pixels_of(selected))
    arrays = {kind: np.memmap(cache / f"{kind}.bin", dtype, mode="r").reshape(shape)[place]
              for kind, (dtype, shape) in STORED.items() if (cache / f"{kind}.bin").is_file()}
    return Part(selected, arrays, (cache, part))


def open_cache(data_set: Path, version: str, parts: dict[str, list[Files]],
               decode: Callable[[Files], tuple[Sample, str]], memory_of: Callable[[Files], int],
               with_widths: bool) -> dict[str, Part]:
    """Open a data set's cache of this version, and make it first if need be.

    `decode` gives a sample and a digest of its files, `memory_of` estimates the memory it takes.
    Of two processes that open caches of one data set, the second waits for the first.
    """
    cache = data_set / f"{FORMAT}-{version}"
    kinds = ["images", "masks"] + (["widths"] if with_widths else [])
    count = sum(map(len, parts.values()))
    try:
        with locked(data_set / ".lock"):
            if not is_whole(cache, count, kinds):
                fill(cache, parts, decode, memory_of, kinds)
                remove_unused(data_set, cache)
            os.utime(cache)
            return {part: open_part(cache, part) for part in parts}
    except OSError as error:
        if not is_whole(cache, count, kinds):
            error.filename = error.filename or str(cache)  # a full disk names no file
            raise
        return {part: open_part(cache, part) for part in parts}  # another user's: it is only read


def remove_unused(data_set: Path, used: Path) -> None:
    """Remove a data set's other caches of another format, and those that were not opened lately."""
    for cache in data_set.iterdir():
        lately = time.time() - cache.stat().st_mtime <= KEPT_SECONDS
        if cache.is_dir() and cache != used and not (
                lately and cache.name.startswith(f"{FORMAT}-")):
            shutil.rmtree(cache, ignore_errors=True)


def is_whole(cache: Path, count: int, kinds: list[str]) -> bool:
    """Whether a cache has all pictures, and files of the lengths that its index implies."""
    entries, pixels = read_index(cache), {kind: cache / f"{kind}.bin" for kind in kinds}
    return len(entries) == count and all(
        path.is_file() and path.stat().st_size == pixels_of(entries) * BYTES_A_PIXEL[kind]
        for kind, path in pixels.items())


def fill(cache: Path, parts: dict[str, list[Files]], decode: Callable, memory_of: Callable,
         kinds: list[str]) -> None:
    """Make a cache in a folder beside its place, to which that is moved when it is whole."""
    beside = cache.with_name(f"{cache.name}.part")
    for leftover in (beside, cache):  # of a process that was killed, or damaged
        shutil.rmtree(leftover, ignore_errors=True)
    beside.mkdir()
    jobs = [(part, files) for part in parts for files in parts[part]]
    try:
        with ExitStack() as stack:
            pixels = {kind: stack.enter_context(open(beside / f"{kind}.bin", "wb"))
                      for kind in kinds}
            index = stack.enter_context(open(beside / INDEX, "w"))
            results = decode_in_order([files for _, files in jobs], decode, memory_of)
            bar = progress(results, "reading pictures", len(jobs), "picture")
            for (sample, digest), (part, _) in zip(bar, jobs):
                arrays = stored_arrays(sample)
                for kind, file in pixels.items():
                    file.write(arrays[kind].tobytes())
                entry = Entry(part, sample.name, *sample.mask.shape, digest)
                index.write(json.dumps(entry) + "\n")
            for file in (*pixels.values(), index):
                file.flush()
                os.fsync(file.fileno())
        beside.rename(cache)
    finally:
        shutil.rmtree(beside, ignore_errors=True)  # makes room on a full disk


def decode_in_order(samples: Sequence[Files], decode: Callable,
                    memory_of: Callable) -> Iterator[tuple[Sample, str]]:
    """What `decode` gives for each sample, in their order; threads, one per core, decode ahead. The
    pictures that are being decoded, or wait to be taken, need at most `DECODING_BYTES` together (by
    `memory_of`); one that alone needs more is decoded alone."""
    cores = usable_cores()
    ahead, needed = deque(), 0  # (result to come, its bytes)
    with ThreadPoolExecutor(cores) as pool:
        for files in samples:
            memory = memory_of(files)
            while ahead and (len(ahead) == 2 * cores or needed + memory > DECODING_BYTES):
                needed -= ahead[0][1]
                yield ahead.popleft()[0].result()
            ahead.append((pool.submit(decode, files), memory))
            needed += memory
        while ahead:
            yield ahead.popleft()[0].result()
