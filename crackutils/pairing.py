"""Images and their masks: found by name, listed, refused in words."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"}
LISTS = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}


class DataError(ValueError):
    """What is wrong with a data set, in a sentence. A notebook shows the sentence alone."""

    def __init__(self, sentence: str):
        super().__init__(" ".join(sentence.split()))  # a file's name may hold a line's end

    def _render_traceback_(self) -> list[str]:
        return [f"DataError: {self}"]


@contextmanager
def told() -> Iterator[None]:
    """What the file system refuses, as a `DataError`; also a decorator, `@told()`."""
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


def pair(images: Path, masks: Path, mask_suffixes: set[str] = SUFFIXES,
         image_suffixes: set[str] = SUFFIXES, *, ending: str = "", widths: Path | None = None,
         spare: bool = False) -> dict[str, Files]:
    """Images and masks of the same stem (a mask's followed by `ending`), in the stems' order.

    Both must be complete; `spare` images without a mask are left out.
    """
    image_of, mask_of = stems(images, image_suffixes), stems(masks, mask_suffixes, ending)
    alone = sorted(mask_of.keys() - image_of.keys() if spare else mask_of.keys() ^ image_of.keys())
    if alone:
        raise DataError(f"{len(alone)} files of {images} and {masks} have no partner of the same "
                        f"stem: {', '.join(alone[:5])}. Each image needs one mask.")
    known = stems(widths, {".png"}) if widths is not None and widths.is_dir() else {}
    return {stem: Files(stem, image_of[stem], mask, known.get(stem))
            for stem, mask in sorted(mask_of.items())}


def stems(folder: Path, suffixes: set[str], ending: str = "") -> dict[str, Path]:
    """The files of a folder by stem, `ending` cut off; files with other endings are not meant."""
    if not folder.is_dir():
        raise DataError(f"No folder {folder}: images and masks are expected side by side.")
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in suffixes
             and path.stem.endswith(ending) and not path.name.startswith(".")]
    wrong = [path.name for path in paths if not path.is_file()]
    if wrong:
        raise DataError(f"{folder} holds what is no file, or a link to none: "
                        f"{', '.join(wrong[:5])}. Remove it.")
    found = {path.stem.removesuffix(ending): path for path in paths}
    if not found or len(found) < len(paths):
        raise DataError(f"{folder} must hold files ({', '.join(sorted(suffixes))}) of different "
                        f"stems, found {len(paths)} with {len(found)} stems.")
    return found


def listed(path: Path, pairs: dict[str, Files]) -> list[Files]:
    """The pairs a list names: a stem, or an image's path (and its mask's), a line."""
    if not path.is_file():
        raise DataError(f"{path} is missing: a folder with one list needs all of "
                        f"{', '.join(LISTS.values())}.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8: a list has a stem a line.") from error
    found = [name_in(line, pairs) for line in lines if line.strip()]
    unknown = [name for name in found if name not in pairs]
    if unknown or not found:
        raise DataError(f"{path} names {len(unknown)} of {len(found)} stems that no pair "
                        f"has: {', '.join(unknown[:5]) or 'the list is empty'}.")
    return [pairs[name] for name in found]


def name_in(line: str, pairs: dict[str, Files]) -> str:
    """The stem that a list's line names."""
    if line.strip() in pairs:
        return line.strip()
    # paths of either kind; of SegNet's two on a line the first
    image = PureWindowsPath(line.strip() if " /" not in line else line.split()[0])
    return image.stem if image.suffix.lower() in SUFFIXES else image.name


def disjoint(folder: Path, parts: dict[str, list[Files]]) -> dict[str, list[Files]]:
    """The parts, refused where they share an image: the test part must not be trained on."""
    times = Counter(files.name for part in parts.values() for files in part)
    twice = sorted(name for name, number in times.items() if number > 1)
    if twice:
        raise DataError(f"{len(twice)} images of {folder} stand in several parts, or twice in one: "
                        f"{', '.join(twice[:5])}. Each belongs to one part.")
    return parts
