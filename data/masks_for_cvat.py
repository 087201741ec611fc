"""Write predictions as CVAT imports them: .venv/bin/python data/masks_for_cvat.py RESULTS FILE.zip

RESULTS is the folder that crackutils predict wrote. The file is in CVAT's format "Segmentation mask
1.1": for each photograph its classes (0 background, 1 crack) and its objects, each crack one. What
CVAT exports in the same format, with the images, is a data folder that crackutils reads.
"""

import argparse
import io
import json
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from crackutils.files import write_atomically

LABELS = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncrack:255,255,255::\n"
MOST_OBJECTS = 255  # in a picture; CVAT knows no more numbers


def masks_in(results: Path) -> dict[str, Path]:
    """The mask of each photograph, by the photograph's path without suffix, as CVAT names it."""
    masks = {}
    for path in sorted(results.rglob("*.json")):
        try:
            entry = json.loads(path.read_text())
            name = Path(entry["photograph"]).with_suffix("").as_posix()
            mask = results / entry["files"]["mask"]
        except (ValueError, TypeError, KeyError):  # another program's file
            continue
        if not mask.is_file():
            sys.exit(f"{mask} is missing: predict again.")
        if name in masks:
            sys.exit(f"Two photographs are called {name} without their suffix, which are one for "
                     "CVAT: rename one of them and predict again.")
        if not name.isprintable():
            sys.exit(f"CVAT can't list the name {name!r}: rename the photograph and predict again.")
        masks[name] = mask
    if not masks:
        sys.exit(f"{results} holds no results of crackutils predict.")
    return masks


def objects_of(classes: np.ndarray) -> np.ndarray:
    """The number of each pixel's crack, from 1 on (uint8); cracks beyond the last number share it.
    """
    _, numbers = cv2.connectedComponents(classes, connectivity=8)
    return np.minimum(numbers, MOST_OBJECTS).astype(np.uint8)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="the folder that crackutils predict wrote")
    parser.add_argument("file", type=Path, help="the file to write, such as predicted.zip")
    given = parser.parse_args(words)
    if given.file.exists():
        sys.exit(f"{given.file} exists already: remove it, or name another file.")
    masks = masks_in(given.results)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labelmap.txt", LABELS)
        archive.writestr("ImageSets/Segmentation/default.txt", "".join(f"{name}\n"
                                                                       for name in masks))
        for name, path in masks.items():
            classes = (np.asarray(Image.open(path)) > 0).astype(np.uint8)
            for folder, picture in (("SegmentationClass", classes),
                                    ("SegmentationObject", objects_of(classes))):
                with archive.open(f"{folder}/{name}.png", "w") as file:
                    Image.fromarray(picture).save(file, "PNG")
    write_atomically(given.file, content.getvalue())
    print(f"{given.file}: the masks of {len(masks)} photographs")


if __name__ == "__main__":
    main()
