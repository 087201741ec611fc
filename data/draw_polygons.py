"""Draw masks from outlines: .venv/bin/python data/draw_polygons.py FOLDER [--label crack]

Reads what LabelMe (a JSON file for each image), COCO (one JSON file for all, with outlines as lists
of points) and YOLO (a text file for each image, in labels/) write, and draws for each image with
outlines a mask FOLDER/masks/NAME.png, in which what they surround is white. Nothing else is
changed. If the outlines have several labels, --label says which of them to draw.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for machines without `make setup`
from crackutils.data.folders import SUFFIXES, files_below

FILLED = {"polygon", "rectangle"}  # of LabelMe's shapes


class Outlined(NamedTuple):
    """An image's path below its folder, its (height, width), and (label, points x 2) of each."""

    name: Path
    size: tuple[int, int]
    outlines: list[tuple[str, np.ndarray]]


def labelme(content: dict, path: Path, images: Path) -> Outlined:
    """The outlines in one of LabelMe's files, which lies beside its image."""
    outlines = []
    for shape in content["shapes"]:
        if shape["shape_type"] not in FILLED:
            sys.exit(f"{path} has a {shape['shape_type']}: only {' and '.join(sorted(FILLED))} "
                     "surround pixels. Draw it as a polygon.")
        points = np.array(shape["points"])
        if shape["shape_type"] == "rectangle":
            (left, top), (right, bottom) = points
            points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
        outlines.append((shape["label"], points))
    return Outlined(path.relative_to(images), (content["imageHeight"], content["imageWidth"]),
                    outlines)


def coco(content: dict, path: Path) -> Iterator[Outlined]:
    """The outlines of each image in a file of COCO's form."""
    labels = {one["id"]: one["name"] for one in content["categories"]}
    outlines = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        if not isinstance(annotation["segmentation"], list):
            sys.exit(f"{path} holds run lengths (RLE), which are no outlines: export PNG masks.")
        for points in annotation["segmentation"]:
            outlines[annotation["image_id"]].append(
                (labels[annotation["category_id"]], np.array(points).reshape(-1, 2)))
    for image in content["images"]:
        yield Outlined(Path(Path(image["file_name"]).name), (image["height"], image["width"]),
                       outlines[image["id"]])


def yolo(path: Path, name: Path, images: Path) -> Outlined | None:
    """The outlines in one of YOLO's files, in shares of the width and height of the image."""
    pictures = [one for one in (images / name).parent.glob(f"{name.stem}.*")
                if one.suffix.lower() in SUFFIXES]
    if not pictures:
        return None
    with Image.open(pictures[0]) as picture:
        width, height = picture.size
    outlines = []
    for line in path.read_text().splitlines():
        label, *numbers = line.split()
        outlines.append((label, np.array(numbers, float).reshape(-1, 2) * (width, height)))
    return Outlined(name, (height, width), outlines)


def outlined_images(folder: Path) -> Iterator[Outlined]:
    """All images of a folder for which there are files of outlines."""
    images = folder / "images" if (folder / "images").is_dir() else folder
    for path in files_below(folder):
        if path.suffix.lower() == ".json":
            content = json.loads(path.read_bytes())
            if "shapes" in content:
                yield labelme(content, path, images if images in path.parents else path.parent)
            elif "annotations" in content:
                yield from coco(content, path)
        elif path.suffix.lower() == ".txt" and folder / "labels" in path.parents:
            found = yolo(path, path.relative_to(folder / "labels"), images)
            if found is not None:
                yield found


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--label", help="which outlines to draw (default: all, of one label)")
    given = parser.parse_args(words)
    if (given.folder / "masks").exists():
        sys.exit(f"{given.folder / 'masks'} exists already: move it away first.")
    found = list(outlined_images(given.folder))
    labels = {label for image in found for label, _ in image.outlines}
    chosen = labels if given.label is None else labels & {given.label}
    if len(chosen) != 1:
        sys.exit(f"The outlines have the labels {', '.join(sorted(labels)) or '(none)'}: give one "
                 "of them by --label.")
    for image in found:
        mask = np.zeros(image.size, np.uint8)
        for label, points in image.outlines:
            if label in chosen:
                cv2.fillPoly(mask, [points.round().astype(np.int32)], 255)
        path = given.folder / "masks" / image.name.with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
    print(f"{len(found)} masks in {given.folder / 'masks'}")


if __name__ == "__main__":
    main()
