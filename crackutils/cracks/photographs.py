"""Predict and measure the cracks of folders of photographs; what is finished is not done again."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from crackutils import records
from crackutils.cracks import report
from crackutils.cracks.measurement import Crack, Scale, measure
from crackutils.cracks.prediction import CrackModel
from crackutils.data.decoding import decode_image
from crackutils.data.folders import SUFFIXES, UNREAD, files_below
from crackutils.data.samples import LARGEST_FILE, DataError, printable
from crackutils.evaluation import MOST_CLAIMED
from crackutils.files import absolute, locked, write_atomically

FORMAT = 3  # raised whenever the same photograph begins to give other numbers or files
# Pillow's memory in pieces of 64 MiB, which go back to the system when they are freed: `device` has
# smaller pieces kept, and a decoded picture of 100 megapixels takes 1.2 GB for a moment
Image.core.set_block_size(2**26)
TABLE, LINES, PAGE, PHOTOGRAPHS = "cracks.csv", "cracks.geojson", "index.html", "photographs.csv"


class Settings(NamedTuple):
    """What decides the results of a photograph, beside its own bytes."""

    model: CrackModel
    threshold: float  # a pixel is crack if its prediction is at least this
    scale: Scale | None = None
    probabilities: bool = False  # whether to write them too

    def fingerprint(self, content: bytes) -> str:
        """A hash of all that decides a photograph's results; `content` is its bytes."""
        weights = self.model.folder / records.MODEL
        choices = [FORMAT, self.model.protocol.as_dict(), self.threshold, self.scale,
                   self.probabilities]
        text = json.dumps(choices).encode() + weights.read_bytes() + content
        return hashlib.sha256(text).hexdigest()


def find_photographs(given: Iterable[str | Path], out: Path) -> dict[str, Path]:
    """The photographs among files and folders (nested), by their path below the folder that all of
    them share. Results, those in `out` and those of earlier calls, and masks are left out.

    `DataError` if there is none, if a name is neither file nor folder, or if `out` holds them.
    """
    paths, roots = [], []
    for path in map(absolute, given):
        if path.is_dir():
            if path.resolve() == out.resolve():
                raise DataError(f"{path} can't be both the photographs' folder and that of the "
                                "results: name another folder for the results.")
            pictures = [file for file in files_below(path)
                        if file.suffix.lower() in SUFFIXES | UNREAD]
            paths += [file for file in pictures if not is_result(file, path, out)
                      and not is_mask(file, path)]
            roots.append(path)
        elif path.is_file():
            paths.append(path)
            roots.append(path.parent)
        else:
            raise DataError(f"{path} is neither a file nor a folder: name photographs, or folders "
                            "with photographs.")
    if not paths:
        raise DataError(f"{', '.join(map(str, given))} must hold photographs "
                        f"({', '.join(sorted(SUFFIXES))}), found 0.")
    shared = Path(os.path.commonpath(roots))
    return {path.relative_to(shared).as_posix(): path for path in sorted(paths)}


def is_result(file: Path, root: Path, out: Path) -> bool:
    """Whether a file below `root` lies in a folder of results: `out`, or one with a table and lines
    of cracks."""
    folders = [folder for folder in file.parents if folder.is_relative_to(root)]
    return any(folder.resolve() == out.resolve() or (folder / LINES).is_file()
               for folder in folders)


def is_mask(file: Path, root: Path) -> bool:
    """Whether a file below `root` lies in a folder masks/ that stands beside a folder images/."""
    return any(folder.name == "masks" and (folder.parent / "images").is_dir()
               for folder in file.parents if folder.is_relative_to(root) and folder != root)


def content_of(path: Path) -> bytes:
    """The bytes of a photograph; `DataError` if it can't be read or is of a kind that is not."""
    if path.suffix.lower() in UNREAD:
        raise DataError(f"{path} is a {path.suffix.lower()} file, which is not read: convert it to "
                        "JPEG or PNG.")
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes: at most {LARGEST_FILE:,} "
                            "are read. Replace or remove it.")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}): check that it exists and that "
                        "you may read it.") from error


def pixels_of(path: Path) -> int:
    """The number of pixels that a photograph's header states, for the time left; 0 if it can't be
    read, since that gets its sentence later."""
    with suppress(Exception), Image.open(path) as picture:
        return picture.width * picture.height
    return 0


def decoded(path: Path, content: bytes) -> np.ndarray:
    """A photograph as uint8 H x W x 3, turned as its EXIF orientation says; `DataError` if it can't
    be read."""
    try:
        return np.array(decode_image(path, content))
    except MemoryError as error:
        raise DataError(f"{path} needs more memory than there is: cut it into pieces.") from error


def predict_photograph(name: str, path: Path, content: bytes, out: Path, settings: Settings,
                       advance: Callable[[int], object]) -> dict:
    """Predict and measure one photograph from the bytes of its file, write its pictures, and return
    what its JSON file holds. `advance` is told how many pixels are done."""
    image = decoded(path, content)
    mask = np.zeros(image.shape[:2], bool)
    levels = np.zeros(image.shape[:2], np.uint16) if settings.probabilities else None
    for rows, band in settings.model.bands(image):
        mask[rows] = band >= np.float32(settings.threshold)
        if levels is not None:
            levels[rows] = np.round(band * 65535)
        advance(band.size)
    note, cracks = "", []
    if mask.mean() > MOST_CLAIMED:
        note = (f"{mask.mean():.0%} of the picture is marked, which is no crack: nothing was "
                "measured. Raise the threshold, or choose another model.")
    else:
        cracks = measure(mask)
    rows = [{"photograph": printable(name), **crack.row(settings.scale)} for crack in cracks]
    written = write_pictures(name, image, mask, levels, cracks, out)
    return {"photograph": name, "size": image.shape[1::-1], "files": written, "note": note,
            "cracks": rows, "features": [report.feature(*pair) for pair in zip(cracks, rows)]}


def write_pictures(name: str, image: np.ndarray, mask: np.ndarray, levels: np.ndarray | None,
                   cracks: list[Crack], out: Path) -> dict[str, str]:
    """Write `<name>.mask.png` (255 is crack), `.thumbnail.jpg`, `.overlay.jpg` with the numbers of
    the `cracks`, and from `levels` `.probability.png` (65535 means 1); returns their paths
    below `out`. `image` is changed."""
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    written = {}

    def write(kind: str, suffix: str, picture: np.ndarray) -> None:
        written[kind] = f"{name}.{kind}{suffix}"
        write_atomically(out / written[kind], report.encoded(suffix, picture))

    write("mask", ".png", mask.astype(np.uint8) * 255)
    write("thumbnail", ".jpg", report.thumbnail(image, mask))
    if levels is not None:
        write("probability", ".png", levels)
    report.mark_cracks(image, mask)
    report.number_cracks(image, cracks)
    write("overlay", ".jpg", report.reduced(image, report.LARGEST_JPEG))
    return written


def earlier_result(out: Path, name: str, fingerprint: str) -> dict | None:
    """What an earlier call wrote about a photograph, if all that decides it is the same and its
    files are there."""
    path = out / f"{name}.json"
    with suppress(FileNotFoundError, ValueError, KeyError):  # none, or not as it was written
        entry = json.loads(path.read_bytes())
        if entry["fingerprint"] == fingerprint \
                and all((out / file).is_file() for file in entry["files"].values()):
            return entry
    return None


def predict_photographs(given: Iterable[str | Path], out: Path, settings: Settings) -> int:
    """Predict and measure all photographs, and write their files, the tables and the page to `out`.

    A photograph that can't be read is named on standard error, and the others go on. Returns the
    number of those. Finished photographs are not done again, unless the photograph, the model, the
    threshold, the scale or what is written changed.
    """
    photographs = find_photographs(given, out)
    done, failed = [], {}  # entries, and sentences by name
    out.mkdir(parents=True, exist_ok=True)
    pixels = {name: pixels_of(path) for name, path in photographs.items()}
    with locked(out / records.LOCK), tqdm(
            desc="predicting", total=sum(pixels.values()), unit="px", unit_scale=True,
            file=sys.stdout, mininterval=1, disable=not sys.stdout.isatty()) as bar:
        for name, path in photographs.items():
            try:
                content = content_of(path)
                fingerprint = settings.fingerprint(content)
                entry = earlier_result(out, name, fingerprint)
                if entry is None:
                    entry = predict_photograph(name, path, content, out, settings, bar.update)
                    entry["fingerprint"] = fingerprint
                    write_atomically(out / f"{name}.json", json.dumps(entry).encode())
                else:
                    bar.total -= pixels[name]
                done.append(entry)
            except DataError as error:
                failed[name] = str(error)
                bar.total -= pixels[name]
                bar.write(f"crackutils predict: {error}", file=sys.stderr)
    write_summary(out, done, failed, settings)
    return len(failed)


def write_summary(out: Path, done: list[dict], failed: dict[str, str], settings: Settings) -> None:
    """Write the table, the centre lines and the page of all photographs."""
    facts = f"Model {settings.model.folder.name}, threshold {settings.threshold:.4g}"
    if settings.scale is not None:
        facts += (f", {settings.scale.mm_per_pixel:.4g} mm per pixel: no width below this can be "
                  "measured")
    rows = [row for entry in done for row in entry["cracks"]]
    lines = {"type": "FeatureCollection",
             "features": [feature for entry in done for feature in entry["features"]]}
    write_atomically(out / TABLE, report.table(rows))
    write_atomically(out / PHOTOGRAPHS, report.table_of_photographs(done, failed))
    write_atomically(out / LINES, json.dumps(lines).encode())
    write_atomically(out / PAGE, report.page(done, failed, f"{facts}."))
