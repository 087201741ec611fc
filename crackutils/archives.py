"""Unpacking archives that nobody vouches for: zip, tar and RAR, read by libarchive."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import create_string_buffer
from pathlib import Path, PurePosixPath, PureWindowsPath

from filelock import FileLock

from crackutils.pairing import DataError

MOST_BYTES = 64 * 2**30  # unpacked: BDD100K's images are some 7 GiB
MOST_FILES = 500_000
BLOCK = 2**18
LIBARCHIVE = ("Reading archives needs the library libarchive: install the package libarchive13 "
              "(Debian, Ubuntu: libarchive13t64 since 24.04), libarchive (Fedora, Homebrew, conda),"
              " or unpack {} by other means.")


def unpack(archive: Path, folder: Path, most_bytes: int = MOST_BYTES,
           most_files: int = MOST_FILES) -> Path:
    """Unpack an archive into a folder that is not there yet; returns the folder.

    `DataError` for an archive that can't be read, that names anything but files and folders below
    its own root (absolute paths, "..", links, devices), one name twice, or more than `most_bytes`
    or `most_files`. Then nothing is left behind: the folder appears when all of it is whole. A
    changed byte in a stored (uncompressed) RAR entry goes unnoticed, and so does a tar cut between
    two files: whoever fetched the archive has to know its checksum.
    """
    side = folder.with_name(f".{folder.name}.unpacking")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f".{folder.name}.unpacking.lock")):
            if folder.exists():
                raise DataError(f"{folder} is there already: remove it to unpack {archive} again.")
            shutil.rmtree(side, ignore_errors=True)  # of a process that was killed
            side.mkdir()
            try:
                write_entries(archive, side, most_bytes, most_files)
                side.rename(folder)
            finally:
                shutil.rmtree(side, ignore_errors=True)
    except OSError as error:
        raise DataError(f"{archive} can't be unpacked ({error}).") from error
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock's file is gone afterwards (who waits for it notices)."""
    with FileLock(path):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def write_entries(archive: Path, side: Path, most_bytes: int, most_files: int) -> None:
    """Write an archive's files below `side`, each checked before anything of it is written."""
    libarchive = imported(archive)
    files = size = 0
    try:
        with libarchive.file_reader(str(archive)) as entries:
            for entry in entries:
                place = side / checked_name(archive, entry)
                files += 1
                if files > most_files:
                    raise DataError(f"{archive} holds more than {most_files:,} files: refused.")
                if entry.isdir:
                    place.mkdir(parents=True, exist_ok=True)
                    continue
                place.parent.mkdir(parents=True, exist_ok=True)
                size += write_entry(archive, entry, place, most_bytes - size)
    except libarchive.exception.ArchiveError as error:
        raise DataError(f"{archive} can't be read as an archive ({error.msg}): fetch it again."
                        ) from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise DataError(f"{archive} holds two things of one name, "
                        f"{Path(error.filename).relative_to(side)}: refused.") from error
    if not files:
        raise DataError(f"{archive} is an empty archive: fetch it again.")


def write_entry(archive: Path, entry, place: Path, room: int) -> int:
    """Write one file, and return its bytes."""
    size, buffer = 0, create_string_buffer(BLOCK)
    with open(place, "xb") as file:
        # not `entry.get_blocks`, which takes the warning of a wrong checksum for a length
        while (length := imported(archive).ffi.read_data(entry._archive_p, buffer, BLOCK)) > 0:
            size += length
            if size > room:
                raise DataError(f"{archive} unpacks to more than may be written: refused as a "
                                "bomb.")
            file.write(buffer.raw[:length])
    if length < 0 or entry.size not in (None, size):
        raise DataError(f"{archive} can't be read: {entry.pathname!r} is damaged. Fetch it again.")
    return size


def checked_name(archive: Path, entry) -> PurePosixPath:
    """An entry's path below the archive's root; `DataError` where it is something else."""
    name = entry.pathname
    if not isinstance(name, str) or "\0" in name:
        raise DataError(f"{archive} holds a name that is no text ({name!r}): refused.")
    path = PurePosixPath(name)
    if not (entry.isfile or entry.isdir) or entry.islnk or entry.issym:
        raise DataError(f"{archive} holds {name!r}, which is no file or folder but a link or a "
                        "device: refused.")
    if (path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts
            and not entry.isdir or PureWindowsPath(name).drive):
        raise DataError(f"{archive} holds {name!r}, a path out of its folder: refused.")
    return path


def imported(archive: Path):
    """The binding of libarchive; says which package is missing."""
    try:
        import libarchive
        import libarchive.exception
        import libarchive.ffi
    except (ImportError, OSError, AttributeError, TypeError) as error:  # no library, or no symbols
        raise DataError(LIBARCHIVE.format(archive)) from error
    return libarchive
