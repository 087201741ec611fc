"""The layouts in which data sets are published: their folders, their pairs of files, their parts.

A layout is recognised by its folders, never by what is in the pictures. `LAYOUTS` has them all,
with their formats, licences and citations.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from crackutils.data import folders
from crackutils.data.samples import DataError, Files, file_errors, note


@dataclass(frozen=True)
class Layout:
    """A way in which files are laid out and masks are encoded.

    A folder has this layout if all `folders` are in it and the last of them has files of the suffix
    `holds`; `read` finds the files of each part. A mask holds consecutive `labels`, of which the
    `positive` ones are the positive class; `masks` decides what a mask without labels means.
    """

    name: str
    folders: tuple[str, ...]
    read: Callable[[Path], dict[str, list[Files]]]
    positive: tuple[int, ...] = ()
    labels: tuple[int, ...] = ()
    holds: str = ""

    def parts(self, folder: Path) -> dict[str, list[Files]]:
        """The files of each part; `DataError` if an image is in two parts, or twice in one."""
        parts = self.read(folder)
        times = Counter(files.name for part in parts.values() for files in part)
        repeated = sorted(name for name, number in times.items() if number > 1)
        if repeated:
            raise DataError(f"{len(repeated)} images of {folder} stand in several parts, or twice "
                            f"in one: {folders.first_names(repeated)}. Each belongs to one part.")
        return parts


def pair_files(images: Path, masks: Path, mask_suffixes: set[str] = folders.SUFFIXES,
               image_suffixes: set[str] = folders.SUFFIXES, *, ending: str = "",
               unmasked: bool = False) -> list[Files]:
    """The images and masks of the same stem in two folders, in the order of the stems.

    A mask's stem is followed by `ending`. With `unmasked=True` images without a mask are left out,
    and a note says how many; otherwise an image or a mask without a partner is a `DataError`.
    """
    image_of = folders.named_files(images, image_suffixes)
    mask_of = folders.named_files(masks, mask_suffixes, ending)
    without_mask = sorted(image_of.keys() - mask_of.keys())
    without_image = sorted(mask_of.keys() - image_of.keys())
    if without_image or without_mask and not unmasked:
        raise folders.no_partner(images, masks, [] if unmasked else without_mask, without_image)
    if without_mask:
        note(f"{len(without_mask)} of {len(image_of)} images in {images} have no mask in {masks} "
             f"and are left out: {folders.first_names(without_mask)}.")
    return [Files(name, path, mask_of[name]) for name, path in image_of.items() if name in mask_of]


def parts_in(folder: Path, places: dict[str, tuple[str, str]], **how) -> dict[str, list[Files]]:
    """The files of each part from its folders of images and of masks, paired by `pair_files`."""
    return {part: pair_files(folder / images, folder / masks, **how)
            for part, (images, masks) in places.items()}


def camvid(folder: Path) -> dict[str, list[Files]]:
    """CamVid's frames; SegNet's lists `train.txt val.txt test.txt`, "/SegNet/...image
    /SegNet/...mask" a line, may choose and order them: their names count, not their folders."""
    parts = {}
    for part, list_name in folders.LISTS.items():
        path = folder / list_name
        pairs = pair_files(folder / path.stem, folder / f"{path.stem}annot")
        parts[part] = folders.pairs_of_list(path, pairs) if path.is_file() else pairs
    return parts


LAYOUTS = {layout.name: layout for layout in (
    Layout("plain", ("images", "masks"), folders.plain),

    # METU, the photographs of paper A: 458 of concrete walls, .jpg and .JPG, up to 4032 x 3024,
    # some turned by EXIF, many of them twice, turned or mirrored. The masks are JPEG and hence have
    # grey levels. CC BY 4.0. Ozgenel, "Concrete Crack Segmentation Dataset", Mendeley Data, 2019,
    # doi 10.17632/jwsn7tfbrp.1.
    Layout("metu", ("rgb", "BW"), partial(
        parts_in, places={folders.UNDIVIDED: ("rgb", "BW")})),

    # CrackForest (CFD): pavement, 480 x 320. A .mat file holds a struct `groundTruth` whose
    # `Segmentation` is 2 on cracks; 3 marks slabs that cracks enclose, 4 is rare and ambiguous. 37
    # photographs have no ground truth. Non-commercial research only. Shi et al., "Automatic road
    # crack detection using random structured forests", IEEE T-ITS 17(12), 2016.
    Layout("crackforest", ("image", "groundTruth"), partial(
        parts_in, places={folders.UNDIVIDED: ("image", "groundTruth")}, mask_suffixes={".mat"},
        unmasked=True), (2,), (1, 2, 3, 4), ".mat"),

    # DeepCrack: 300 and 237 JPEG of 544 x 384. Non-commercial use. Liu et al., "DeepCrack",
    # Neurocomputing 338, 2019.
    Layout("deepcrack", ("train_img", "train_lab", "test_img", "test_lab"), partial(
        parts_in, places={"train": ("train_img", "train_lab"), "test": ("test_img", "test_lab")})),

    # Crack500: 1,896, 348 and 1,124 images NAME.jpg beside their masks NAME.png. Research use. Yang
    # et al., "Feature pyramid and hierarchical boosting network for pavement crack detection", IEEE
    # T-ITS 21(4), 2020.
    Layout("crack500", ("traincrop", "valcrop", "testcrop"), partial(
        parts_in, places={"train": ("traincrop",) * 2, "validation": ("valcrop",) * 2,
                          "test": ("testcrop",) * 2},
        mask_suffixes={".png"}, image_suffixes={".jpg"})),

    # BDD100K's drivable area, 1280 x 720: 0 is direct, 1 alternative, 2 background; val is the test
    # part. Licence of UC Regents: education, research and not-for-profit. Yu et al., "BDD100K",
    # CVPR 2020. As it was first published: 0 is background, 1 direct, 2 alternative.
    Layout("bdd100k", ("images/100k", "labels/drivable/masks"), partial(
        parts_in, places={"train": ("images/100k/train", "labels/drivable/masks/train"),
                          "test": ("images/100k/val", "labels/drivable/masks/val")},
        unmasked=True), (0, 1), (0, 1, 2)),
    Layout("bdd100k_legacy", ("images/100k", "drivable_maps/labels"), partial(
        parts_in, places={"train": ("images/100k/train", "drivable_maps/labels/train"),
                          "test": ("images/100k/val", "drivable_maps/labels/val")},
        ending="_drivable_id", unmasked=True), (1, 2), (0, 1, 2)),

    # CamVid in SegNet's form: 480 x 360, 8-bit labels, of which 3 is road. Non-commercial. Brostow
    # et al., Pattern Recognition Letters 30(2), 2009.
    Layout("camvid", ("train", "val", "test", "trainannot", "valannot", "testannot"), camvid,
           (3,), tuple(range(12))))}


@file_errors()
def recognise(folder: Path, chosen: str = "auto") -> Layout:
    """The layout of a folder, by the folders in it.

    `chosen` decides if the folder matches several layouts, and has no effect otherwise, because the
    same overrides may be given for several data sets. `DataError` if there is no such folder or
    layout, or if several match and none of them was chosen.
    """
    if not folder.is_dir():
        raise DataError(f"No data folder at {folder}: give \"synthetic\" or a folder.")
    names = [layout.name for layout in matching_layouts(folder)]
    if len(names) == 1 or chosen in names:
        return LAYOUTS[chosen if chosen in names else names[0]]
    if names:
        raise DataError(f"{folder} fits the layouts {' and '.join(names)}: say which is meant, "
                        f"-y 'overrides: {{layout: {names[0]}}}'.")
    if folders.places_of(folder):
        return LAYOUTS["plain"]
    inner = list(filter(may_be_meant, folders.subfolders(folder)))
    if inner:
        names = folders.first_names([path.name for path in inner])
        raise DataError(f"{folder} is in no known layout, but in it are {names}: give one of these "
                        "folders, or put their images into one images/ and their masks into one "
                        "masks/, with a subfolder for each.")
    raise DataError(f"{folder} is in no known layout: {folders.what_is_there(folder)}")


def may_be_meant(folder: Path) -> bool:
    """Whether a folder inside the given one can be read, and is no mere part of it."""
    with suppress(DataError):
        return folders.kind_and_part(folder.name)[1] == folders.UNDIVIDED and bool(
            matching_layouts(folder) or folders.places_of(folder))
    return False


def matching_layouts(folder: Path) -> list[Layout]:
    """The layouts that a folder has all folders of."""
    return [layout for layout in LAYOUTS.values()
            if all((folder / name).is_dir() for name in layout.folders)
            and (not layout.holds or any((folder / layout.folders[-1]).glob(f"*{layout.holds}")))]
