"""The layouts in which data sets are published: which folders, which pairs, which parts.

A layout is recognised by its folders, never by what is in the pictures. Each function below that
reads one states its format, classes, licence and citation.
"""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from crackutils.data.samples import DataError, Files, file_errors

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"}
LISTS = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}








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


UNDIVIDED = "all"  # a data set without parts of its own


@dataclass(frozen=True)
class Layout:
    """`folders` mark it; `parts` finds its pairs; `positive` are the labels of the positive class,
    `labels` all that may occur. Without them a mask is grey: positive from `mask_threshold` on."""

    name: str
    folders: tuple[str, ...]
    parts: Callable[[Path], dict[str, list[Files]]]
    positive: tuple[int, ...] = ()
    labels: tuple[int, ...] = ()


def plain(folder: Path) -> dict[str, list[Files]]:
    """`images/` and `masks/` with the same stems; widths in `widths/` (16-bit PNG, hundredths of a
    pixel); lists `train.txt val.txt test.txt`, a stem a line, if it has parts. White is crack."""
    pairs = pair(folder / "images", folder / "masks", widths=folder / "widths")
    if not any(os.path.lexists(folder / name) for name in LISTS.values()):
        return {UNDIVIDED: list(pairs.values())}
    return disjoint(folder, {part: listed(folder / name, pairs) for part, name in LISTS.items()})


def metu(folder: Path) -> dict[str, list[Files]]:
    """METU, the photographs of paper A: `rgb/` 458 of concrete walls (`.jpg` beside `.JPG`, up to
    4032 x 3024, some turned by EXIF), `BW/` their masks as JPEG, hence with grey levels; white is
    crack. No parts, and many photographs twice, turned or mirrored. CC BY 4.0. Ozgenel, "Concrete
    Crack Segmentation Dataset", Mendeley Data, 2019, doi 10.17632/jwsn7tfbrp.1."""
    return {UNDIVIDED: list(pair(folder / "rgb", folder / "BW").values())}


def crackforest(folder: Path) -> dict[str, list[Files]]:
    """CrackForest (CFD): `image/NNN.jpg`, 480 x 320, pavement; `groundTruth/NNN.mat`, a struct
    `groundTruth` whose `Segmentation` is 2 on cracks. 3 marks slabs that cracks enclose, 4 is
    rare and ambiguous: both count as background. 37 photographs have no ground truth and are left
    out. No parts. Non-commercial research only. Shi et al., "Automatic road crack detection using
    random structured forests", IEEE T-ITS 17(12), 2016."""
    return {UNDIVIDED: list(pair(folder / "image", folder / "groundTruth", {".mat"},
                                 spare=True).values())}


def deepcrack(folder: Path) -> dict[str, list[Files]]:
    """DeepCrack: `train_img/` (300) and `test_img/` (237) JPEG of 544 x 384, masks of the same
    stem in `train_lab/` and `test_lab/`, white is crack; validation is cut from train. Non-
    commercial use. Liu et al., "DeepCrack", Neurocomputing 338, 2019."""
    return disjoint(folder, {
        part: list(pair(folder / f"{part}_img", folder / f"{part}_lab").values())
        for part in ("train", "test")})


def crack500(folder: Path) -> dict[str, list[Files]]:
    """Crack500: `traincrop/` (1,896), `valcrop/` (348), `testcrop/` (1,124), in each `NAME.jpg`
    beside its mask `NAME.png`, white is crack. Research use; Yang et al., "Feature pyramid and
    hierarchical boosting network for pavement crack detection", IEEE T-ITS 21(4), 2020."""
    return disjoint(folder, {
        part: list(pair(folder / name, folder / name, {".png"}, {".jpg"}).values())
        for part, name in (("train", "traincrop"), ("validation", "valcrop"),
                           ("test", "testcrop"))})


def bdd100k(folder: Path) -> dict[str, list[Files]]:
    """BDD100K's drivable area: `images/100k/{train,val}/NAME.jpg`, 1280 x 720, and
    `labels/drivable/masks/{train,val}/NAME.png` with 0 direct, 1 alternative, 2 background. `val`
    is the test part; validation is cut from train. Licence of UC Regents: education, research and
    not-for-profit. Yu et al., "BDD100K", CVPR 2020."""
    return frames(folder, folder / "labels" / "drivable" / "masks", "")


def bdd100k_legacy(folder: Path) -> dict[str, list[Files]]:
    """BDD100K as it was first published: the same images, and
    `drivable_maps/labels/{train,val}/NAME_drivable_id.png` with 0 background, 1 direct,
    2 alternative."""
    return frames(folder, folder / "drivable_maps" / "labels", "_drivable_id")


def frames(folder: Path, masks: Path, ending: str) -> dict[str, list[Files]]:
    """BDD100K's train and val; frames that have no mask are left out."""
    return disjoint(folder, {
        part: list(pair(folder / "images" / "100k" / name, masks / name, ending=ending,
                        spare=True).values())
        for part, name in (("train", "train"), ("test", "val"))})


def camvid(folder: Path) -> dict[str, list[Files]]:
    """CamVid in SegNet's form: `{train,val,test}/NAME.png`, 480 x 360, and 8-bit labels in
    `{train,val,test}annot/`, 0 to 11, 3 is road. Lists `train.txt val.txt test.txt`, "/SegNet/...
    image /SegNet/... mask" a line, may order and choose them: their names count, not their
    folders. Non-commercial. Brostow et al., Pattern Recognition Letters 30(2), 2009."""
    found = {}
    for part, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        pairs = pair(folder / name, folder / f"{name}annot")
        path = folder / LISTS[part]
        found[part] = listed(path, pairs) if path.is_file() else list(pairs.values())
    return disjoint(folder, found)


LAYOUTS = {layout.name: layout for layout in (
    Layout("plain", ("images", "masks"), plain),
    Layout("metu", ("rgb", "BW"), metu),
    Layout("crackforest", ("image", "groundTruth"), crackforest, (2,), (1, 2, 3, 4)),
    Layout("deepcrack", ("train_img", "train_lab", "test_img", "test_lab"), deepcrack),
    Layout("crack500", ("traincrop", "valcrop", "testcrop"), crack500),
    Layout("bdd100k", ("images/100k", "labels/drivable/masks"), bdd100k, (0, 1), (0, 1, 2)),
    Layout("bdd100k_legacy", ("images/100k", "drivable_maps/labels"), bdd100k_legacy, (1, 2),
           (0, 1, 2)),
    Layout("camvid", ("train", "val", "test", "trainannot", "valannot", "testannot"), camvid,
           (3,), tuple(range(12))))}


@file_errors()
def recognise(folder: Path, asked: str = "auto") -> Layout:
    """The layout of a folder, by the folders in it; `asked` decides where several fit, and only
    there: the same overrides may go to another data set too.

    `DataError` without such a folder, if no layout fits, or several and none of them was asked for.
    """
    if not folder.is_dir():
        raise DataError(f"No data folder at {folder}: give \"synthetic\" or a folder.")
    fits = fitting(folder)
    if len(fits) == 1:
        return fits[0]
    if asked in [layout.name for layout in fits]:
        return LAYOUTS[asked]
    if fits:
        names = [layout.name for layout in fits]
        raise DataError(f"{folder} fits the layouts {' and '.join(names)}: say which is meant, "
                        f"-y 'overrides: {{layout: {names[0]}}}'.")
    inside = [one for one in sorted(folder.iterdir()) if os.access(one, os.X_OK) and fitting(one)]
    hint = f" {inside[0]} fits: is that meant?" if inside else ""
    known = "; ".join(f"{layout.name}: {described(layout)}" for layout in LAYOUTS.values())
    raise DataError(f"{folder} is in no known layout.{hint} Expected one of {known}.")


def fitting(folder: Path) -> list[Layout]:
    """The layouts whose folders are all there."""
    return [layout for layout in LAYOUTS.values()
            if all((folder / name).is_dir() for name in layout.folders)]


def described(layout: Layout) -> str:
    return ", ".join(f"{name}/" for name in layout.folders)
