"""Draw masks from outlines: .venv/bin/python data/draw_polygons.py FOLDER [--label crack]

Reads what LabelMe (a JSON file beside each image), COCO (one JSON file for many images, with
outlines as lists of points) and YOLO (a text file for each image, in labels/ instead of images/)
write. For each image with such a file a PNG mask of the same name is drawn, in which white is what
the outlines surround: in masks/ instead of images/, else in a folder masks/ beside the image.
Nothing else is changed. If the outlines have several labels, --label says which of them to draw.
"""

import argparse
import glob
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

FILLED = ("polygon", "rectangle")  # of LabelMe's shapes


class Outlined(NamedTuple):
    """An image's file, its (height, width), and the label and points (N x 2) of each outline."""

    image: Path
    size: tuple[int, int]
    outlines: list[tuple[str, np.ndarray]]


def image_of(name: str, file: Path, folder: Path) -> Path:
    """The image that a file of outlines names: beside it, or anywhere in the folder."""
    name = name.replace("\\", "/").rpartition("/")[2]
    found = [path for path in files_below(folder) if path.name == name]
    beside = [path for path in found if path.parent == file.parent]
    if len(found) != 1 and len(beside) != 1:
        sys.exit(f"{file} names the image {name}, of which there are {len(found)} in {folder}: "
                 "expected one.")
    return (beside or found)[0]


def labelme(content: dict, file: Path, folder: Path) -> Outlined:
    """The outlines in one of LabelMe's files."""
    outlines = []
    for shape in content["shapes"]:
        points, kind = np.array(shape["points"]), shape.get("shape_type", "polygon")
        if kind not in FILLED:
            sys.exit(f"{file} has a {kind}: only {' and '.join(FILLED)} surround pixels. Draw it "
                     "as a polygon.")
        if kind == "rectangle":
            (left, top), (right, bottom) = points
            points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
        outlines.append((shape["label"], points))
    return Outlined(image_of(content["imagePath"], file, folder),
                    (content["imageHeight"], content["imageWidth"]), outlines)


def coco(content: dict, file: Path, folder: Path) -> Iterator[Outlined]:
    """The outlines of each image in a file of COCO's form."""
    labels = {one["id"]: one["name"] for one in content["categories"]}
    outlines = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        if not isinstance(annotation["segmentation"], list):
            sys.exit(f"{file} holds run lengths (RLE), which are no outlines: export PNG masks.")
        for points in annotation["segmentation"]:
            outlines[annotation["image_id"]].append(
                (labels[annotation["category_id"]], np.array(points).reshape(-1, 2)))
    for image in content["images"]:
        yield Outlined(image_of(image["file_name"], file, folder),
                       (image["height"], image["width"]), outlines[image["id"]])


def yolo(path: Path) -> Iterator[Outlined]:
    """The outlines in one of YOLO's files, as shares of the width and height of its image."""
    for image in replaced(path, "labels", "images").parent.glob(f"{glob.escape(path.stem)}.*"):
        if image.suffix.lower() not in SUFFIXES:
            continue
        with Image.open(image) as picture:
            size = picture.size
        lines = [line.split() for line in path.read_text().splitlines()]
        yield Outlined(image, size[::-1], [
            (line[0], np.array(line[1:], float).reshape(-1, 2) * size) for line in lines])


def replaced(path: Path, name: str, other: str) -> Path:
    """The path with another name for the last folder of this name in it."""
    parts = list(path.parts)
    parts[len(parts) - 1 - parts[::-1].index(name)] = other
    return Path(*parts)


def outlined_images(folder: Path) -> Iterator[Outlined]:
    """All images of a folder for which there are outlines."""
    for path in files_below(folder):
        if path.suffix.lower() == ".json":
            content = json.loads(path.read_bytes())
            if "shapes" in content:
                yield labelme(content, path, folder)
            elif "annotations" in content:
                yield from coco(content, path, folder)
        elif path.suffix.lower() == ".txt" and "labels" in path.relative_to(folder).parts:
            yield from yolo(path)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--label", help="which outlines to draw (default: all, if of one label)")
    given = parser.parse_args(words)
    images = list(outlined_images(given.folder))
    labels = {label for image in images for label, _ in image.outlines}
    chosen = labels if given.label is None else labels & {given.label}
    if len(chosen) != 1:
        sys.exit(f"The outlines have the labels {', '.join(sorted(labels)) or '(none)'}: give one "
                 "of them by --label.")
    paths = [mask_path(image.image, given.folder) for image in images]
    existing = [path for path in paths if path.exists()]
    if existing:
        sys.exit(f"{existing[0]} exists already: move such masks away first.")
    for image, path in zip(images, paths):
        mask = np.zeros(image.size, np.uint8)
        for label, points in image.outlines:
            if label in chosen:
                cv2.fillPoly(mask, [points.round().astype(np.int32)], 255)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
    print(f"{len(paths)} masks are in {', '.join(sorted({str(path.parent) for path in paths}))}")


def mask_path(image: Path, folder: Path) -> Path:
    """Where the mask of an image goes."""
    if "images" in image.relative_to(folder).parts:
        return replaced(image, "images", "masks").with_suffix(".png")
    return image.parent / "masks" / f"{image.stem}.png"


if __name__ == "__main__":
    main()
