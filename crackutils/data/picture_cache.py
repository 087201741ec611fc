"""The cache of decoded pictures: each is decoded once, and all processes map the same files.

A cache is a folder `<data set>/<format>-<version>/`. The pictures lie one behind the other in
`images.bin` (3 bytes a pixel), `masks.bin` (1) and, if the data set has crack widths, `widths.bin`
(2); `index.jsonl` has a line for each, and `complete.json` is written last. A cache that was cut
short is completed from its last whole picture. When a cache is made, those of its data set that are
of another format, or were not opened for 30 days, are removed unless a process uses them.

A file for each picture would be simpler, but a mapped file stays open, and processes may often open
only 1,024 files. If one were opened for each crop, a batch of 16 crops would take 4 to 8 ms instead
of 0.3 to 0.6 ms.
"""

import json
import os
import shutil
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from crackutils.data.samples import WIDTH_UNIT, Files, Sample
from crackutils.device import usable_cores
from crackutils.files import locked

try:
    import fcntl
except ImportError:  # no lock is needed on Windows: it does not delete files that are in use
    fcntl = None

FORMAT = 3  # to be raised whenever decoding changes, or the form in which pictures are stored
TYPES = {"images": (np.uint8, (-1, 3)), "masks": (np.uint8, -1), "widths": (np.uint16, -1)}
BYTES_A_PIXEL = {"images": 3, "masks": 1, "widths": 2}
INDEX, COMPLETE = "index.jsonl", "complete.json"
KEPT_SECONDS = 30 * 24 * 3600  # after it was opened last; other choices may need it again
SYNC_BYTES = 2**28  # written between two waits for the disk
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

    `arrays` hold the pixels of all samples one behind the other: `images` uint8 P x 3, `masks`
    uint8 P and, if the data set has crack widths, `widths` uint16 P in hundredths of a pixel. A
    sample's arrays are views of them. `sizes` are the samples' (height, width). `source` is a
    cache's folder and the part's name, from which another process opens the same part.
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
    """The entries of a cache, complete or not; a last line that was cut short does not count."""
    path = cache / INDEX
    lines = path.read_text().split("\n")[:-1] if path.is_file() else []
    return [Entry(*json.loads(line)) for line in lines]


def pixels_of(entries: Iterable[Entry]) -> int:
    return sum(entry.height * entry.width for entry in entries)


def open_part(cache: Path, part: str) -> Part:
    """A part of a complete cache. The cache is not removed while the part exists."""
    entries = read_index(cache)
    selected = [entry for entry in entries if entry.part == part]
    start = pixels_of(entries[:entries.index(selected[0])])
    arrays = {}
    for kind, (dtype, shape) in TYPES.items():
        if length_of(cache, kind):
            with open(cache / f"{kind}.bin", "rb") as file:
                if fcntl:  # the map keeps the file open, and with it this lock
                    fcntl.flock(file, fcntl.LOCK_SH)
                pixels = np.memmap(file, dtype, mode="r").reshape(shape)
                arrays[kind] = pixels[start:start + pixels_of(selected)]
    return Part(selected, arrays, (cache, part))


def open_cache(data_set: Path, version: str, parts: dict[str, list[Files]],
               decode: Callable[[Files], tuple[Sample, str]], memory_of: Callable[[Files], int],
               with_widths: bool) -> dict[str, Part]:
    """Open a data set's cache of this version, and make it or complete it first if need be.

    `decode` gives a sample and a digest of its files, `memory_of` estimates the memory it takes.
    Of two processes that open caches of one data set, the second waits for the first.
    """
    cache = data_set / f"{FORMAT}-{version}"
    kinds = ["images", "masks"] + (["widths"] if with_widths else [])
    count = sum(map(len, parts.values()))
    try:
        with locked(data_set / ".lock"):
            cache.mkdir(exist_ok=True)  # under the lock: who holds it removes unused folders
            if not is_whole(cache, count, kinds):
                fill(cache, parts, decode, memory_of, kinds)
                for other in data_set.iterdir():
                    old = time.time() - other.stat().st_mtime > KEPT_SECONDS
                    if other.is_dir() and other != cache and (
                            old or not other.name.startswith(f"{FORMAT}-")):
                        remove_unused(other)
            os.utime(cache)
            return {part: open_part(cache, part) for part in parts}
    except OSError as error:
        if not is_whole(cache, count, kinds):
            error.filename = error.filename or str(cache)  # a full disk names no file
            raise
        return {part: open_part(cache, part) for part in parts}  # another user's: it is only read


def remove_unused(cache: Path) -> None:
    """Remove a cache unless a process has opened it; what can't be removed stays."""
    with suppress(OSError):
        if fcntl:
            with open(cache / "images.bin", "ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused if it is in use
        aside = cache.with_name(f"{cache.name}.removed")
        cache.rename(aside)  # Windows refuses if a file in it is open
        shutil.rmtree(aside, ignore_errors=True)


def is_whole(cache: Path, count: int, kinds: list[str]) -> bool:
    """Whether a cache is complete and its files have the lengths that its index implies."""
    entries = read_index(cache)
    pixels = pixels_of(entries)
    lengths_fit = all(length_of(cache, kind) == pixels * BYTES_A_PIXEL[kind] for kind in kinds)
    return (cache / COMPLETE).is_file() and len(entries) == count and lengths_fit


def length_of(cache: Path, kind: str) -> int:
    path = cache / f"{kind}.bin"
    return path.stat().st_size if path.is_file() else 0


def fill(cache: Path, parts: dict[str, list[Files]], decode: Callable, memory_of: Callable,
         kinds: list[str]) -> None:
    """Complete a cache from its last whole picture; one that was damaged is made anew."""
    if (cache / COMPLETE).is_file():
        shutil.rmtree(cache)
        cache.mkdir()
    done = read_index(cache)
    room = min(length_of(cache, kind) // BYTES_A_PIXEL[kind] for kind in kinds)
    while pixels_of(done) > room:
        done.pop()
    jobs = [(part, files) for part in parts for files in parts[part]]
    with ExitStack() as stack:
        files_of = {kind: stack.enter_context(open(cache / f"{kind}.bin", "ab")) for kind in kinds}
        index = stack.enter_context(open(cache / INDEX, "w"))
        for kind, file in files_of.items():
            file.truncate(pixels_of(done) * BYTES_A_PIXEL[kind])
        bar = stack.enter_context(tqdm(total=len(jobs), initial=len(done), desc="reading pictures",
                                       unit="picture", file=sys.stdout, mininterval=2, delay=2))
        write_index(files_of.values(), index, done)
        rest, pending = jobs[len(done):], []
        results = decode_in_order([files for _, files in rest], decode, memory_of)
        for (part, _), (sample, digest) in zip(rest, results):
            arrays = stored_arrays(sample)
            for kind, file in files_of.items():
                file.write(arrays[kind].tobytes())
            pending.append(Entry(part, sample.name, *sample.mask.shape, digest))
            if pixels_of(pending) * 6 > SYNC_BYTES:
                write_index(files_of.values(), index, pending)
                pending = []
            bar.update()
        write_index(files_of.values(), index, pending)
    (cache / COMPLETE).write_text(json.dumps({"pictures": len(jobs)}) + "\n")


def write_index(data_files: Iterable[IO[bytes]], index: IO[str], entries: list[Entry]) -> None:
    """Enter pictures into the index after their pixels have reached the disk."""
    for file in data_files:
        file.flush()
        os.fsync(file.fileno())
    index.writelines(json.dumps(entry) + "\n" for entry in entries)
    index.flush()
    os.fsync(index.fileno())


def decode_in_order(samples: Sequence[Files], decode: Callable,
                    memory_of: Callable) -> Iterator[tuple[Sample, str]]:
    """What `decode` gives for each sample, in their order; threads, one per core, decode ahead.

    The pictures that are being decoded, or wait to be taken, need at most `DECODING_BYTES` together
    (by `memory_of`); one that alone needs more is decoded alone.
    """
    cores = usable_cores()
    ahead, needed = deque(), 0  # (result to come, its bytes)
    with ThreadPoolExecutor(cores) as pool:
        for files in samples:
            memory = memory_of(files)
            while ahead and (len(ahead) == 2 * cores or needed + memory > DECODING_BYTES):
                result, freed = ahead.popleft()
                yield result.result()
                del result  # else its pixels stay in memory
                needed -= freed
            ahead.append((pool.submit(decode, files), memory))
            needed += memory
        while ahead:
            yield ahead.popleft()[0].result()
