"""One picture with its mask, and the error that says what is wrong with a data set."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

WIDTH_UNIT = 100  # widths are kept as 16-bit hundredths of a pixel


class Sample(NamedTuple):
    """`image` uint8 H x W x 3, `mask` uint8 H x W of 0 and 1, `width` float32 H x W px or None."""

    name: str
    image: np.ndarray
    mask: np.ndarray
    width: np.ndarray | None


class DataError(ValueError):
    """What is wrong with a data set, in a sentence. A notebook shows the sentence alone."""

    def __init__(self, sentence: str):
        super().__init__(" ".join(sentence.split()))  # a file's name may hold a line's end

    def _render_traceback_(self) -> list[str]:
        return [f"DataError: {self}"]


@contextmanager
def file_errors() -> Iterator[None]:
    """Turn an OSError or a UnicodeError into a DataError that names the file; also a decorator."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename or 'A file'} can't be read or written "
                        f"({error.strerror or error}): see to its permissions, or that it is "
                        "there.") from error
    except UnicodeError as error:
        raise DataError(f"A file's name or a list is no text in UTF-8 ({error}): rename or "
                        "rewrite it.") from error


class Files(NamedTuple):
    """Where one sample lies."""

    name: str
    image: Path
    mask: Path
    width: Path | None = None
