"""Where files lie, and how they are written when a program may be killed or run twice."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

PART = ".part"  # ends the name of a file that is being written
ROOT = Path(__file__).resolve().parent.parent
if not (ROOT / "data" / "published").is_dir():
    raise ImportError(f"crackutils needs its whole repository (data/published, results), and {ROOT}"
                      " is no checkout of it: clone the repository and install it from there with "
                      "pip install -e .")


def resolve(folder: str | Path | None, default: str = "") -> Path:
    """The full path of a folder that a user may name. None stands for the folder `default` of the
    repository; a given path counts from the working directory."""
    return ROOT / default if folder is None else absolute(folder).resolve()


def absolute(folder: str | Path) -> Path:
    """The full path of a folder as a user gives it, whose links are kept. `~name` stands for itself
    if nobody has that name (`Path.expanduser` would fail)."""
    return Path(os.path.expanduser(folder)).absolute()


def for_papermill(path: Path) -> str:
    """A path as papermill is given it: it puts parameters in place of names in braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def optional(folder: str | Path | None, default: str) -> Path | None:
    """`resolve` for a folder that is only read. The empty name stands for none, and gives None."""
    if folder == "":
        return None
    resolved = resolve(folder, default)
    if not resolved.is_dir():
        raise FileNotFoundError(f"{resolved} is no folder: expected one with finished records, or "
                                '"" for none.')
    return resolved


def write_atomically(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """Write a file so that it is always either whole or what it was before. `content` is the bytes,
    or a function that writes them into an open file. They go into a file beside `path`, are forced
    to the disk, and that file is renamed. An `OSError` names `path`."""
    side = path.with_name(f".{path.name}.{os.getpid()}{PART}")  # another process may write it too
    try:
        with open(side, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        side.replace(path)
    except BaseException as error:
        side.unlink(missing_ok=True)  # on a full disk this frees the space
        if isinstance(error, OSError):
            error.filename = str(path)
        raise


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Let one process at a time run the `with` block; `path` is the lock's file, made if missing.

    A second process says that it waits, or, with `wait=False`, gets a `TimeoutError`. If a process
    ends without releasing the lock, the operating system releases it. The file stays: another
    process may hold it at any moment, and Windows refuses to delete it then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        acquired = lock.acquire(timeout=0)
    except Timeout as error:
        if not wait:
            raise TimeoutError(f"Another program is at work in {path.parent} (it holds "
                               f"{path.name}): start again when it has ended.") from error
        print(f"waiting for another program that is at work in {path.parent}", flush=True)
        acquired = lock.acquire()
    with acquired:
        yield
