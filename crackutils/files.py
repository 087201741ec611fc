"""Where files lie, and how they are written."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from filelock import FileLock

PART = ".part"
ROOT = Path(__file__).resolve().parent.parent


def resolve(folder: str | Path | None, default: str) -> Path:
    """A folder that a user gave, against the working directory; None is the repository's own."""
    if folder is None:
        return ROOT / default
    return (ROOT / default if str(folder) == default else Path(folder).expanduser()).resolve()


def optional(folder: str, default: str) -> Path | None:
    """`resolve`, or None for an empty name."""
    return resolve(folder, default) if folder else None


def write_atomically(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """Write to the side, force to disk, rename: the file is whole or the old one."""
    side = path.with_name(f".{path.name}.{os.getpid()}{PART}")  # another may write it too
    try:
        with open(side, "wb") as file:
            content(file) if callable(content) else file.write(content)
            file.flush()
            os.fsync(file.fileno())
        side.replace(path)
    except BaseException:
        side.unlink(missing_ok=True)  # a full disk wants its room back
        raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock's file is gone afterwards (who waits for it notices)."""
    with FileLock(path):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
