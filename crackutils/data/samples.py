"""One picture with its mask, the files it comes from, and the error that says what is wrong."""

import errno
import functools
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

WIDTH_UNIT = 100  # widths are stored as 16-bit hundredths of a pixel
LARGEST_FILE = 2**31  # bytes: the largest picture that is decoded, with 8 bytes a pixel


class Sample(NamedTuple):
    """An image with its mask and, where it is known, the local width of the cracks.

    `image` is uint8 H x W x 3 (RGB), `mask` uint8 H x W (class numbers, 0 is background), `width`
    float32 H x W in pixels (0 off the cracks) or None.
    """

    name: str
    image: np.ndarray
    mask: np.ndarray
    width: np.ndarray | None


def printable(text: str) -> str:
    r"""The text with its control characters escaped: a file's name may hold \n or \x1b. So are the
    bytes of a name that is no UTF-8 text, which Python has as \udc80 to \udcff."""
    text = "".join(character if character.isprintable() else
                   character.encode("unicode_escape").decode() for character in text)
    return re.sub(r"\\udc([89a-f][\da-f])", r"\\x\1", text)


class DataError(ValueError):
    """What is wrong with a data set, in one sentence. A notebook shows it without a traceback."""

    def __init__(self, sentence: str):
        super().__init__(printable(sentence))

    def _render_traceback_(self) -> list[str]:
        return [f"DataError: {self}"]


@contextmanager
def file_errors() -> Iterator[None]:
    """Turn an OSError or a UnicodeError into a DataError that names the file; also a decorator."""
    try:
        yield
    except OSError as error:
        advice = "check that it exists and that you may read and write it"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "make room and start the same command again"
        raise DataError(f"{error.filename or 'A file'} can't be read or written "
                        f"({error.strerror or error}): {advice}.") from error
    except UnicodeError as error:
        raise DataError(f"A file's name or a list is not UTF-8 text ({error}): rename or rewrite "
                        "it.") from error


@functools.cache  # a sentence that was said before is not said again
def note(sentence: str) -> None:
    """Print a sentence that a reader should know; each is printed once in a process."""
    print(printable(sentence))


def progress(items: Iterable, title: str, total: int, unit: str) -> tqdm:
    """The items with a progress bar, which appears if they take more than 2 s."""
    return tqdm(items, title, total, unit=unit, file=sys.stdout, mininterval=2, delay=2)


class Files(NamedTuple):
    """The files of one sample; a mask may have a width map beside it. A photograph that is known
    to show nothing has no mask."""

    name: str
    image: Path
    mask: Path | None
    width: Path | None = None

    def contents(self) -> list[bytes | None]:
        """The bytes of image, mask and width map (None where there is none).

        Raises `DataError` for a file of more than `LARGEST_FILE` bytes, before it is read.
        """
        for path in filter(None, self[1:]):
            if path.stat().st_size > LARGEST_FILE:
                raise DataError(f"{path} has {path.stat().st_size:,} bytes: at most "
                                f"{LARGEST_FILE:,} are read. Replace or remove it.")
        return [path and path.read_bytes() for path in self[1:]]
