"""The layouts in which data sets are published: their folders, their pairs of files, their parts.

A layout is recognised by its folders, never by what is in the pictures. The function that reads a
layout states its format, classes, licence and citation.
"""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from crackutils.data.samples import DataError, Files, file_errors, note

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"}
LISTS = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}
UNDIVIDED = "all"  # the one part of a data set that is published without parts
NAMES_SHOWN = 5  # in a message


@dataclass(frozen=True)
class Layout:
    """A way in which files are laid out and masks are encoded.

    A folder has this layout if all `folders` are in it; `read` finds the files of each part. A
    mask holds `labels`, of which the `positive` ones are the positive class; without labels it
    holds grey levels, which are positive from the protocol's `mask_threshold` on.
    """

    name: str
    folders: tuple[str, ...]
    read: Callable[[Path], dict[str, list[Files]]]
    positive: tuple[int, ...] = ()
    labels: tuple[int, ...] = ()

    def parts(self, folder: Path) -> dict[str, list[Files]]:
        """The files of each part; `DataError` if an image is in two parts, or twice in one."""
        parts = self.read(folder)
        times = Counter(files.name for part in parts.values() for files in part)
        repeated = sorted(name for name, number in times.items() if number > 1)
        if repeated:
            raise DataError(f"{len(repeated)} images of {folder} stand in several parts, or twice "
                            f"in one: {first_names(repeated)}. Each belongs to one part.")
        return parts


def pair_files(images: Path, masks: Path, mask_suffixes: set[str] = SUFFIXES,
               image_suffixes: set[str] = SUFFIXES, *, ending: str = "",
               widths: Path | None = None, unmasked: bool = False) -> list[Files]:
    """The images and masks of the same stem, in the order of the stems.

    A mask's stem is followed by `ending`. If the folder `widths` exists, each image needs a width
    map in it. With `unmasked=True` images without a mask are left out, and a note says how many;
    otherwise an image or a mask without a partner is a `DataError`.
    """
    image_of = files_by_stem(images, image_suffixes)
    mask_of = files_by_stem(masks, mask_suffixes, ending)
    alone = sorted(image_of.keys() ^ mask_of.keys())
    if unmasked:
        left_out = sorted(image_of.keys() - mask_of.keys())
        alone = sorted(mask_of.keys() - image_of.keys())
        if left_out:
            note(f"{len(left_out)} of {len(image_of)} images in {images} have no mask in {masks} "
                 f"and are left out: {first_names(left_out)}.")
    if alone:
        raise DataError(f"{len(alone)} files of {images} and {masks} have no partner of the same "
                        f"stem: {first_names(alone)}. Each image needs one mask.")
    width_of = {}
    if widths is not None and widths.is_dir():
        width_of = files_by_stem(widths, {".png"})
        missing = sorted(mask_of.keys() - width_of.keys())
        if missing:
            raise DataError(f"{widths} has no width map for {len(missing)} of {len(mask_of)} "
                            f"images: {first_names(missing)}. Add a PNG of the same stem for each, "
                            "or remove the folder.")
    return [Files(stem, image_of[stem], mask_of[stem], width_of.get(stem))
            for stem in sorted(mask_of)]


def first_names(names: list[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def files_by_stem(folder: Path, suffixes: set[str], ending: str = "") -> dict[str, Path]:
    """The files of a folder that have one of the suffixes, by stem without `ending`.

    Other files and hidden ones are ignored. Raises `DataError` if the folder is missing or holds no
    such file, if two have the same stem, or if one is a folder or a broken link.
    """
    if not folder.is_dir():
        raise DataError(f"No folder {folder}: images and masks are expected side by side.")
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in suffixes
             and path.stem.endswith(ending) and not path.name.startswith(".")]
    no_files = [path.name for path in paths if not path.is_file()]
    if no_files:
        raise DataError(f"{folder} holds folders or broken links where pictures are expected: "
                        f"{first_names(no_files)}. Remove them.")
    by_stem = {path.stem.removesuffix(ending): path for path in paths}
    if not by_stem or len(by_stem) < len(paths):
        raise DataError(f"{folder} must hold files ({', '.join(sorted(suffixes))}) of different "
                        f"stems, found {len(paths)} with {len(by_stem)} stems.")
    return by_stem


def pairs_of_list(path: Path, pairs: list[Files]) -> list[Files]:
    """The pairs that a list names, in its order: a line holds a stem or the path of an image."""
    pair_of = {files.name: files for files in pairs}
    if not path.is_file():
        raise DataError(f"{path} is missing: a folder with one list needs all of "
                        f"{', '.join(LISTS.values())}.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: a list has a stem a line.") from error
    stems = [stem_of_line(line.strip(), pair_of) for line in lines if line.strip()]
    unknown = [stem for stem in stems if stem not in pair_of]
    if unknown or not stems:
        raise DataError(f"{path} names {len(unknown)} of {len(stems)} stems that no pair "
                        f"has: {first_names(unknown) or 'the list is empty'}.")
    return [pair_of[stem] for stem in stems]


def stem_of_line(line: str, pair_of: dict[str, Files]) -> str:
    """The stem that a line of a list names."""
    if line in pair_of:
        return line
    first = line.split()[0] if " /" in line else line  # SegNet's lines: "/image /mask"
    image = PureWindowsPath(first)  # takes / and \ alike
    return image.stem if image.suffix.lower() in SUFFIXES else image.name


def plain(folder: Path) -> dict[str, list[Files]]:
    """Your own data: `images/` and `masks/` with the same stems; white is crack (or road).

    Crack widths may lie in `widths/`: PNGs of the same stems, 16-bit hundredths of a pixel. If the
    data has parts, `train.txt`, `val.txt` and `test.txt` list them, a stem a line.
    """
    pairs = pair_files(folder / "images", folder / "masks", widths=folder / "widths")
    if not any(os.path.lexists(folder / name) for name in LISTS.values()):
        return {UNDIVIDED: pairs}
    return {part: pairs_of_list(folder / name, pairs) for part, name in LISTS.items()}


def metu(folder: Path) -> dict[str, list[Files]]:
    """METU, the photographs of paper A: `rgb/` has 458 of concrete walls, `BW/` the masks.

    The photographs are `.jpg` and `.JPG`, up to 4032 x 3024, some turned by EXIF. The masks are
    JPEG and hence have grey levels; white is crack. There are no parts, and many photographs are
    there twice, turned or mirrored. CC BY 4.0. Ozgenel, "Concrete Crack Segmentation Dataset",
    Mendeley Data, 2019, doi 10.17632/jwsn7tfbrp.1.
    """
    return {UNDIVIDED: pair_files(folder / "rgb", folder / "BW")}


def crackforest(folder: Path) -> dict[str, list[Files]]:
    """CrackForest (CFD): `image/NNN.jpg`, pavement, 480 x 320, and `groundTruth/NNN.mat`.

    A `.mat` file holds a struct `groundTruth` whose `Segmentation` is 2 on cracks. 3 marks slabs
    that cracks enclose, 4 is rare and ambiguous: both count as background. 37 photographs have no
    ground truth and are left out. There are no parts. Non-commercial research only. Shi et al.,
    "Automatic road crack detection using random structured forests", IEEE T-ITS 17(12), 2016.
    """
    return {UNDIVIDED: pair_files(folder / "image", folder / "groundTruth", {".mat"},
                                  unmasked=True)}


def deepcrack(folder: Path) -> dict[str, list[Files]]:
    """DeepCrack: `train_img/` (300) and `test_img/` (237), JPEG of 544 x 384.

    The masks have the same stems and lie in `train_lab/` and `test_lab/`; white is crack.
    Validation is taken from train. Non-commercial use. Liu et al., "DeepCrack", Neurocomputing
    338, 2019.
    """
    return {part: pair_files(folder / f"{part}_img", folder / f"{part}_lab")
            for part in ("train", "test")}


def crack500(folder: Path) -> dict[str, list[Files]]:
    """Crack500: `traincrop/` (1,896), `valcrop/` (348) and `testcrop/` (1,124).

    In each folder an image `NAME.jpg` lies beside its mask `NAME.png`; white is crack. Research
    use. Yang et al., "Feature pyramid and hierarchical boosting network for pavement crack
    detection", IEEE T-ITS 21(4), 2020.
    """
    names = {"train": "traincrop", "validation": "valcrop", "test": "testcrop"}
    return {part: pair_files(folder / name, folder / name, {".png"}, {".jpg"})
            for part, name in names.items()}


def bdd100k(folder: Path) -> dict[str, list[Files]]:
    """BDD100K's drivable area: `images/100k/{train,val}/NAME.jpg`, 1280 x 720.

    The masks `labels/drivable/masks/{train,val}/NAME.png` hold 0 direct, 1 alternative, 2
    background; frames without one are left out. `val` is the test part; validation is taken from
    train. Licence of UC Regents: education, research and not-for-profit. Yu et al., "BDD100K",
    CVPR 2020.
    """
    return bdd100k_frames(folder, folder / "labels" / "drivable" / "masks", "")


def bdd100k_legacy(folder: Path) -> dict[str, list[Files]]:
    """BDD100K as it was first published: the same images with other masks.

    `drivable_maps/labels/{train,val}/NAME_drivable_id.png` hold 0 background, 1 direct, 2
    alternative.
    """
    return bdd100k_frames(folder, folder / "drivable_maps" / "labels", "_drivable_id")


def bdd100k_frames(folder: Path, masks: Path, ending: str) -> dict[str, list[Files]]:
    """The frames of BDD100K that have a mask in `masks`, whose stem ends in `ending`."""
    images = folder / "images" / "100k"
    return {part: pair_files(images / name, masks / name, ending=ending, unmasked=True)
            for part, name in (("train", "train"), ("test", "val"))}


def camvid(folder: Path) -> dict[str, list[Files]]:
    """CamVid in SegNet's form: `{train,val,test}/NAME.png`, 480 x 360.

    `{train,val,test}annot/` hold 8-bit labels, 0 to 11, of which 3 is road. Lists `train.txt
    val.txt test.txt`, "/SegNet/...image /SegNet/...mask" a line, may choose and order the frames:
    their names count, not their folders. Non-commercial. Brostow et al., Pattern Recognition
    Letters 30(2), 2009.
    """
    parts = {}
    for part, list_name in LISTS.items():
        path = folder / list_name
        pairs = pair_files(folder / path.stem, folder / f"{path.stem}annot")
        parts[part] = pairs_of_list(path, pairs) if path.is_file() else pairs
    return parts


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
def recognise(folder: Path, chosen: str = "auto") -> Layout:
    """The layout of a folder, by the folders in it.

    `chosen` decides if the folder matches several layouts. Otherwise it has no effect, because the
    same overrides may be given for several data sets. Raises `DataError` if there is no such
    folder, if no layout matches, or if several match and none of them was chosen.
    """
    if not folder.is_dir():
        raise DataError(f"No data folder at {folder}: give \"synthetic\" or a folder.")
    names = [layout.name for layout in matching_layouts(folder)]
    if len(names) == 1:
        return LAYOUTS[names[0]]
    if chosen in names:
        return LAYOUTS[chosen]
    if names:
        raise DataError(f"{folder} fits the layouts {' and '.join(names)}: say which is meant, "
                        f"-y 'overrides: {{layout: {names[0]}}}'.")
    inner = [inside for inside in sorted(folder.iterdir())
             if os.access(inside, os.X_OK) and matching_layouts(inside)]
    hint = f" {inner[0]} fits: is that meant?" if inner else ""
    known = "; ".join(f"{layout.name}: {'/, '.join(layout.folders)}/"
                      for layout in LAYOUTS.values())
    raise DataError(f"{folder} is in no known layout.{hint} Expected one of {known}.")


def matching_layouts(folder: Path) -> list[Layout]:
    """The layouts that a folder has all folders of."""
    return [layout for layout in LAYOUTS.values()
            if all((folder / name).is_dir() for name in layout.folders)]
