"""Which files of a folder are pictures, which mask belongs to each, and into which parts they fall.

People name their folders and files in many ways. What they mean is decided by names alone, in one
Unicode form (NFC), and said in a note wherever it is not plainly `images/` and `masks/`.
"""

import filecmp
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Set
from itertools import chain, islice
from pathlib import Path

from crackutils.data.samples import DataError, Files, note

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm",
            ".pgm", ".heic", ".heif"}
UNREAD = {".gif", ".avif", ".jp2", ".npy", ".dng", ".cr2", ".nef", ".arw", ".psd"}
LEFTOVERS = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin"}

UNDIVIDED = "all"  # the one part of a data set that is published without parts
LISTS = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}
LIST_FOLDERS = (".", "splits", "ImageSets/Segmentation")
CVAT_LIST = "ImageSets/Segmentation/default.txt"
PART_OF = {word: part for part, words in {
    "train": "train training tr 학습 훈련", "test": "test testing ts 시험 테스트",
    "validation": "val valid validation dev va 검증"}.items() for word in words.split()}
IMAGE_WORDS = {"image", "img", "photo", "picture", "pic", "rgb", "sat", "jpeg", "orig", "original",
               "input", "raw", "src", "frame", "이미지", "사진", "원본"}
MASK_WORDS = {"mask", "label", "lab", "lbl", "annotation", "annot", "anno", "ann", "gt", "truth",
              "groundtruth", "segmentation", "seg", "target", "bw", "matte", "마스크", "라벨",
              "레이블", "정답"}
OTHER_WORDS = {"object", "instance", "color", "colour", "human", "overlay", "vis", "visualization",
               "preview", "pred", "prediction", "unlabelled", "unlabeled"}  # neither of the two
KINDS = {"other": OTHER_WORDS, "masks": MASK_WORDS, "images": IMAGE_WORDS}
WORD = re.compile(r"\d+|[^\W\d_]+|[^\w\s.\-]")  # of a file's name: a number or a sign is one, too
PATH_IN_LINE = re.compile(rf"(.+?)({'|'.join(map(re.escape, SUFFIXES))})(?=[\s,;]|$)",
                          re.IGNORECASE)
NAMES_SHOWN = 5  # in a message
FILES_LOOKED_AT = 20_000  # to say what a folder holds


def first_names(names: list[str], between: str = ", ") -> str:
    """The first names of a list, and how many more there are."""
    more = len(names) - NAMES_SHOWN
    return between.join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


# Files

def entries(folder: Path) -> list[Path]:
    """What lies in a folder, sorted, without hidden files and what systems leave behind."""
    return [path for path in sorted(folder.iterdir())
            if not path.name.startswith(".") and path.name.casefold() not in LEFTOVERS]


def files_below(folder: Path, nested: bool = True,
                above: frozenset = frozenset()) -> Iterator[Path]:
    """The files in a folder and, if `nested`, in its subfolders, sorted. A folder named like a
    picture counts as a file; a link to a folder that holds this one (`above`) is not followed."""
    above |= {folder.resolve()}
    for path in entries(folder):
        if path.suffix.lower() in SUFFIXES or not path.is_dir():
            yield path
        elif nested and path.resolve() not in above:
            yield from files_below(path, nested, above)


def holds_pictures(folder: Path, nested: bool = True) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in files_below(folder, nested))


def name_of(path: Path, folder: Path) -> str:
    """A file's path below a folder without suffix, in NFC; `DataError` if it is no UTF-8 text."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{path} has a name that is not UTF-8 text: rename it.") from error
    return unicodedata.normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())


def named_files(folder: Path, suffixes: Iterable[str] = SUFFIXES, ending: str = "",
                nested: bool = False) -> dict[str, Path]:
    """The files of a folder that have one of the suffixes, by name (without `ending`), sorted.
    Raises `DataError` if there are none, if two have the same name, or if one is no file."""
    if not folder.is_dir():
        raise DataError(f"No folder {folder}: images and masks are expected side by side.")
    by_name = defaultdict(list)
    for path in files_below(folder, nested):
        if path.suffix.lower() in suffixes and path.stem.endswith(ending):
            by_name[name_of(path, folder).removesuffix(ending)].append(path)
    if not by_name:
        raise DataError(f"{folder} must hold files ({', '.join(sorted(suffixes))}), found 0: "
                        f"{what_is_there(folder)}")
    no_files = [path.name for same in by_name.values() for path in same if not path.is_file()]
    if no_files:
        raise DataError(f"{folder} holds folders or broken links where pictures are expected: "
                        f"{first_names(no_files)}. Remove them.")
    repeated = [" and ".join(path.relative_to(folder).as_posix() for path in same)
                for same in by_name.values() if len(same) > 1]
    if repeated:
        raise DataError(f"{folder} must hold files of different names (without their suffix), "
                        f"found {first_names(repeated)}: remove or rename one of each.")
    return {name: by_name[name][0] for name in sorted(by_name)}


# Pairs

def listed_by_cvat(folder: Path) -> set[str]:
    """The photographs of an export of CVAT ("Segmentation mask 1.1"), by name. Where one of them
    has no mask, nothing was marked in it: CVAT writes no empty masks. Without its list, none."""
    path = folder / CVAT_LIST
    lines = path.read_text(encoding="utf-8-sig").splitlines() if path.is_file() else []
    return {unicodedata.normalize("NFC", line.strip()) for line in lines}


def pairs_in(images_in: Path, masks_in: Path, widths: Path | None = None,
             may_be_empty: Set[str] = frozenset()) -> list[Files]:
    """The images of a folder with their masks in another or the same one, by the images' names.

    An image of `may_be_empty` that has no mask of its name shows nothing.

    Names may differ in capitals, in signs such as `_`, and in words that most masks or most images
    have, as in `mask_01` or `01_GT`; masks may lie in one folder though the images have subfolders.
    What was done is said in a note. `DataError` if not all pair up, or if some images have no width
    map in the folder `widths`.
    """
    if images_in == masks_in:
        images, masks = halves(images_in)
    else:
        images = named_files(images_in, nested=images_in not in masks_in.parents)
        masks = named_files(masks_in, nested=True)
    empty = [Files(name, images.pop(name), None)
             for name in sorted(may_be_empty & images.keys() - masks.keys())]
    if empty:
        note(f"{len(empty)} images of {images_in} show nothing, since {CVAT_LIST} lists them and "
             f"they have no mask: {first_names([files.name for files in empty])}.")
    mask_of, how = matching_names(images_in, masks_in, list(images), list(masks))
    if images_in == masks_in and not how:
        how = "and PNG files are masks"
    if how:
        note(f"The images in {images_in} and the masks in {masks_in} are paired by their names, "
             f"{how}.")
    pairs = [Files(name, path, masks[mask_of[name]]) for name, path in images.items()]
    if empty:
        pairs = sorted(pairs + empty)
    if widths is None or not widths.is_dir():
        return pairs
    width_of = named_files(widths, {".png"}, nested=True)
    missing = [pair.name for pair in pairs if pair.name not in width_of]
    if missing:
        raise DataError(f"{widths} has no width map for {len(missing)} of {len(pairs)} images: "
                        f"{first_names(missing)}. Add a PNG of the same stem for each, or remove "
                        "the folder.")
    return [pair._replace(width=width_of[pair.name]) for pair in pairs]


def matching_names(images_in: Path, masks_in: Path, images: list[str],
                   masks: list[str]) -> tuple[dict, str]:
    """The mask's name for each image's name, and how they were compared, in words; `DataError` if
    not all pair up, with the names that are alone."""
    if images == masks:
        return dict(zip(images, masks)), ""
    of_images, of_masks = extra_words(images, masks)
    for with_folders in (True, False):
        image_of = by_core(images, of_images, with_folders)
        mask_of = by_core(masks, of_masks, with_folders)
        if image_of.keys() == mask_of.keys():
            how = [f"without “{' '.join(sorted(words))}” in those of the {kind}"
                   for kind, words in (("images", of_images), ("masks", of_masks)) if words]
            how += [] if with_folders else ["without the subfolders"]
            return ({name: mask_of[core] for core, name in image_of.items()},
                    " and ".join(how) or "whatever their capitals")
    same = set(images) & set(masks)
    if 2 * len(same) > min(len(images), len(masks)):  # then names are meant to be the same
        of_images = of_masks = set()
    image_of, mask_of = by_core(images, of_images), by_core(masks, of_masks)
    raise no_partner(images_in, masks_in,
                     [image_of[core] for core in sorted(image_of.keys() - mask_of.keys())],
                     [mask_of[core] for core in sorted(mask_of.keys() - image_of.keys())])


def no_partner(images_in: Path, masks_in: Path, images: list[str], masks: list[str]) -> DataError:
    """The error for images without a mask and masks without an image."""
    listed = "; ".join(f"{kind} {first_names(names)}"
                       for kind, names in (("images", images), ("masks", masks)) if names)
    kinds = {path.suffix.lower() for path in chain(files_below(images_in), files_below(masks_in))}
    unread = f" Files are not read that end in {', '.join(sorted(kinds & UNREAD))}: convert them."
    return DataError(f"There is no partner of the same name for {len(images + masks)} of the files "
                     f"in {images_in} and {masks_in}: {listed}. Each image needs one mask: add the "
                     f"missing ones, or take these files away.{unread if kinds & UNREAD else ''}")


def extra_words(images: Collection[str], masks: Collection[str]) -> tuple[set[str], set[str]]:
    """The words that most images' names have and most masks' names lack, and the reverse.

    If both have such words, one has to say that it is an image's or a mask's, and not both may hold
    a number: images `a_00...` would be paired with masks `b_00...`, or `day1_...` with `day2_...`.
    """
    common = []
    for names in (images, masks):
        times = Counter(chain(*(set(words_in(name)) for name in names)))
        common.append({word for word, number in times.items() if 2 * number > len(names)})
    of_images, of_masks = common[0] - common[1], common[1] - common[0]
    say_so = any(says(word, IMAGE_WORDS) for word in of_images) or any(
        says(word, MASK_WORDS) for word in of_masks)
    numbered = all(any(map(str.isdigit, words)) for words in (of_images, of_masks))
    if of_images and of_masks and (numbered or not say_so):
        return set(), set()
    return of_images, of_masks


def words_in(name: str) -> list[str]:
    """The words of a file's name in small letters, in their order."""
    return WORD.findall(name.rpartition("/")[2].casefold())


def by_core(names: Collection[str], extra: set[str], with_folders: bool = True) -> dict:
    """The names by what is compared: their folder and their words, of which the extra ones are left
    out where they stand last, unless none would be left. If that is the same for two names, they
    are compared as they are."""
    cores = {}
    for name in names:
        words = words_in(name)
        left_out = extra & set(words)
        for word in left_out if len(left_out) < len(words) else ():
            del words[len(words) - 1 - words[::-1].index(word)]
        cores[name.rpartition("/")[0] if with_folders else "", *words] = name
    return cores if len(cores) == len(names) else {name: name for name in names}


def says(text: str, meaning: set[str]) -> bool:
    """Whether a name has one of these words; long ones may stand within others (`labelIds`)."""
    return bool(words_of(text) & meaning) or any(len(word) > 3 and word in text.lower()
                                                 for word in meaning)


def words_of(name: str) -> set[str]:
    """The words of a name, in small letters and also without an s at the end: those of `imagesTr`
    are `images`, `image` and `tr`."""
    words = {word.lower() for word in re.findall(
        r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\da-zA-Z_]+", unicodedata.normalize("NFC", name))}
    return words | {word.removesuffix("s") for word in words}


def halves(folder: Path) -> tuple[dict[str, Path], dict[str, Path]] | None:
    """The images and the masks of a folder that holds both; None if it does not.

    The masks are PNG beside other pictures of the same names, or a word in their names says so.
    """
    png, others = {}, {}
    for path in files_below(folder, nested=False):
        if path.suffix.lower() in SUFFIXES:
            kind = png if path.suffix.lower() == ".png" else others
            kind[name_of(path, folder)] = path
    if mostly_equal(png.keys(), others.keys()):
        return others, png
    files = named_files(folder) if png or others else {}
    masks = {name: path for name, path in files.items() if says(name, MASK_WORDS)}
    images = {name: path for name, path in files.items() if name not in masks}
    of_images, of_masks = extra_words(images, masks)
    if all(says(word, IMAGE_WORDS) for word in of_images) and mostly_equal(
            by_core(images, of_images).keys(), by_core(masks, of_masks).keys()):
        return images, masks
    return None


def mostly_equal(names: Set, others: Set) -> bool:
    """Whether more than half of all names are in both; those that are alone are named later."""
    return 2 * len(names & others) > len(names | others)


# Folders

def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder that may be entered, sorted."""
    return [path for path in entries(folder) if path.is_dir() and os.access(path, os.X_OK)]


def kind_and_part(name: str) -> tuple[str, str]:
    """What a folder's name says: `images`, `masks`, `other` or nothing; a part or `UNDIVIDED`."""
    words = words_of(name)
    parts = {PART_OF[word] for word in words & PART_OF.keys()}
    part = parts.pop() if len(parts) == 1 else UNDIVIDED
    for kind, meaning in KINDS.items():
        if words & meaning:
            return kind, part
    return "", part


def places_of(folder: Path) -> dict[str, tuple[Path, Path]]:
    """The folders of images and of masks in a folder: of each part, of `UNDIVIDED`, or of both.

    Both kinds may lie side by side (`images/ masks/`, `train_images/ train_masks/`), in a folder of
    each part (`train/images/ train/masks/`), or in one folder together. `DataError` if several
    folders may hold the images or the masks of a part.
    """
    inside, places = defaultdict(list), {}
    for path in subfolders(folder):
        inside[kind_and_part(path.name)].append(path)
    for part in (UNDIVIDED, *LISTS):
        images, masks = (usual(kind, inside[kind, part]) for kind in ("images", "masks"))
        named = inside["", part] if part != UNDIVIDED else [folder]
        own = [path for path in named if path.name.lower() in PART_OF] or named
        if masks and not images and len(own) == 1 and holds_pictures(own[0], nested=False):
            images = own
        if len(images) == len(masks) == 1:
            places[part] = (*images, *masks)
        elif images and masks:
            raise DataError(f"{folder} has several folders that may hold its images or masks "
                            f"({', '.join(path.name for path in images + masks)}): call the right "
                            "ones images and masks.")
        elif part == UNDIVIDED and halves(folder):
            places[part] = (folder, folder)
        elif part != UNDIVIDED:
            inner = [found[UNDIVIDED] for found in map(places_of, own) if UNDIVIDED in found]
            if len(inner) > 1:
                raise DataError(f"{folder} has several folders of the part {part} "
                                f"({', '.join(path.name for path in own)}): keep one of them.")
            if inner:
                places[part] = inner[0]
    return places


def usual(name: str, folders: list[Path]) -> list[Path]:
    """Of several folders the one of this name; without it, those that hold pictures."""
    return [path for path in folders if path.name == name] or [
        path for path in folders if holds_pictures(path)]


# Parts

def plain(folder: Path) -> dict[str, list[Files]]:
    """Your own data: `images/` and `masks/` with the same stems; white is crack (or road).

    Crack widths may lie in `widths/`: PNGs of the same stems, 16-bit hundredths of a pixel. If the
    data has parts, `train.txt`, `val.txt` and `test.txt` list them, a stem a line, or they lie in
    folders of these names. Other usual names are known too; see `data/README.md`.
    """
    places, lists = places_of(folder), lists_of(folder)
    if UNDIVIDED not in places:
        return usable(folder, parts_of_places(places), "folders")
    place = places.pop(UNDIVIDED)
    names = [path.name + "/" if path != folder else "the folder itself" for path in place]
    if names != ["images/", "masks/"]:
        note(f"{folder}: the images are taken from {names[0]}, the masks from {names[1]}.")
    pairs = pairs_in(*place, folder / "widths", listed_by_cvat(folder))
    if lists:
        return usable(folder, {part: pairs_of_list(path, pairs) for part, path in lists.items()})
    source = f"folders, which hold what {' and '.join(names)} hold" if places else "subfolders"
    parts = parts_of_places(places) if places else parts_of_subfolders(pairs)
    outside = {files.name for files in pairs} - {files.name for files in chain(*parts.values())}
    if parts and not outside:
        return usable(folder, parts, source)
    if parts:
        note(f"{folder}: its folders of parts ({', '.join(parts)}) are NOT used, for "
             f"{len(outside)} of {len(pairs)} pairs are not in them: all pairs are divided anew. "
             "To keep a division, write train.txt, val.txt and test.txt.")
    return {UNDIVIDED: pairs}


def parts_of_places(places: dict[str, tuple[Path, Path]]) -> dict[str, list[Files]]:
    """The pairs of parts that lie in different places. If different pictures of two parts have the
    same name, the part is put before all names."""
    parts, images_of = {part: pairs_in(*place) for part, place in places.items()}, defaultdict(list)
    for files in chain(*parts.values()):
        images_of[files.name].append(files.image)
    repeated = [images for images in images_of.values() if len(images) > 1]
    if not repeated or any(filecmp.cmp(*images[:2], shallow=False) for images in repeated):
        return parts  # the layout names the pictures that stand in several parts
    return {part: [files._replace(name=f"{part}/{files.name}") for files in pairs]
            for part, pairs in parts.items()}


def parts_of_subfolders(pairs: list[Files]) -> dict[str, list[Files]]:
    """The parts if subfolders of `images/` are named after them; empty if none is."""
    parts = defaultdict(list)
    for files in pairs:
        first, slash, _ = files.name.partition("/")
        parts[PART_OF.get(first.lower()) if slash else None].append(files)
    return {part: parts[part] for part in LISTS if part in parts}


def usable(folder: Path, parts: dict[str, list[Files]], source: str = "") -> dict[str, list[Files]]:
    """The parts as they are used: train and test, and validation unless that is to be taken from
    train. Without test the validation part takes its place. `DataError` if train is missing."""
    if "train" not in parts:
        raise DataError(f"{folder} has a part {' and '.join(parts)} and none to train on: add "
                        "train.")
    if parts.keys() == {"train"}:
        note(f"{folder} has no part but train, which is divided into three here.")
        return {UNDIVIDED: parts["train"]}
    if "test" not in parts:
        note(f"{folder} has no test part: its validation part takes that place, and validation is "
             "taken from train.")
        parts["test"] = parts.pop("validation")
    if source:
        note(f"{folder}: the parts are those of its {source} "
             f"({', '.join(f'{len(files)} {part}' for part, files in parts.items())}).")
    return {part: parts[part] for part in LISTS if part in parts}


def lists_of(folder: Path) -> dict[str, Path]:
    """The list of each part: `train.txt`, `valid.txt` and so on; `DataError` if a part has two."""
    lists = {}
    for path in chain(*(sorted((folder / name).glob("*.txt")) for name in LIST_FOLDERS)):
        part = PART_OF.get(path.stem.lower())
        if part in lists:
            raise DataError(f"{lists[part]} and {path} both list the part {part}: remove one.")
        if part:
            lists[part] = path
    if lists.keys() == {"train"}:
        raise DataError(f"{lists['train']} lists what to train on, and test.txt is missing.")
    return {part: lists[part] for part in LISTS if part in lists}


def pairs_of_list(path: Path, pairs: list[Files]) -> list[Files]:
    """The pairs that a list names, in its order. A line holds a name, or the path of an image,
    which may begin with other folders and have that of its mask behind it."""
    by_name = {files.name: files for files in pairs}
    try:
        text = unicodedata.normalize("NFC", path.read_text(encoding="utf-8-sig"))
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is missing, a broken link or no UTF-8 text: a list has a stem a "
                        "line.") from error
    names = []
    for line in filter(None, map(str.strip, text.splitlines())):
        image = PATH_IN_LINE.match(line)
        folders = (image[1] if image else line).replace("\\", "/").split("/")
        ends = ["/".join(folders[first:]) for first in range(len(folders))]
        names.append(next((name for name in (line, *ends) if name in by_name), ends[0]))
    unknown = [name for name in names if name not in by_name]
    if unknown or not names:
        raise DataError(f"{path} names {len(unknown)} of {len(names)} pictures that are not there: "
                        f"{first_names(unknown) or 'the list is empty'}. Expected names such as "
                        f"{first_names(sorted(by_name)[:1])}, one in each line.")
    return [by_name[name] for name in names]


# What a folder without pairs holds

def what_is_there(folder: Path) -> str:
    """Sentences that say what a folder without pairs holds, and what to do."""
    places = Counter((path.suffix.lower(), path.parent.relative_to(folder).as_posix())
                     for path in islice(files_below(folder), FILES_LOOKED_AT))
    kinds = [f"{number} {suffix or 'without suffix'} in {place if place != '.' else 'it'}"
             for (suffix, place), number in places.most_common()]
    advice = ("A training needs a mask for each image: put the images into images/ and masks of "
              "the same names into masks/.")
    if {suffix for suffix, _ in places} & {".json", ".txt", ".xml"}:
        advice += (" Outlines of LabelMe, COCO or YOLO become masks by `.venv/bin/python "
                   "data/draw_polygons.py FOLDER`; export labels of other forms as PNG.")
    return (f"it holds {first_names(kinds) or 'no files'}. {advice} The forms of folders that are "
            "read stand in data/README.md.")
