"""The synthetic sets are written to disk, in the same layouts as photographs."""

import hashlib
import inspect
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from crackutils.data.folders import LISTS
from crackutils.data.samples import WIDTH_UNIT
from crackutils.data.synthetic import cracks, roads
from crackutils.protocol import Protocol

PARTS = ("train", "validation", "test")
DATA_SEED = 0  # the synthetic sets are one fixed sample: the seeds of runs do not change the data


def synthetic_folder(protocol: Protocol, runs: Path) -> Path:
    """The folder of the protocol's synthetic set, which is drawn at the first call.

    It is `runs/data/synthetic-<task>-<counts>-<size>/<version>`, where the version is a hash of the
    generator's source. Older versions of the set are removed when a new one is drawn.
    """
    generator, write = (cracks, write_cracks) if protocol.task == "cracks" else (roads, write_roads)
    version = hashlib.sha256(inspect.getsource(generator).encode()).hexdigest()[:8]
    counts = "+".join(map(str, protocol.counts))
    height, width = protocol.image_size
    data = runs / "data"
    folder = data / f"synthetic-{protocol.task}-{counts}-{height}x{width}" / version
    if folder.is_dir():
        return folder
    data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data) as temporary:
        write(Path(temporary) / "set", protocol)
        folder.parent.mkdir(exist_ok=True)
        try:
            (Path(temporary) / "set").rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first with the same set
                raise
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    return folder


def save_png(path: Path, pixels: np.ndarray) -> None:
    """Write a picture, and make its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_cracks(folder: Path, protocol: Protocol) -> None:
    """Write synthetic cracks with their widths in the layout `plain`, with a list for each part."""
    index = 0
    for part, count in zip(PARTS, protocol.counts):
        names = [f"{part}_{number:04d}" for number in range(index, index + count)]
        for name in names:
            image, mask, width = cracks.draw(DATA_SEED, index, protocol.image_size)
            save_png(folder / "images" / f"{name}.png", image)
            save_png(folder / "masks" / f"{name}.png", mask * 255)
            hundredths = np.round(width * WIDTH_UNIT).astype(np.uint16)
            save_png(folder / "widths" / f"{name}.png", hundredths)
            index += 1
        (folder / LISTS[part]).write_text("\n".join(names) + "\n")


def write_roads(folder: Path, protocol: Protocol) -> None:
    """Write synthetic road scenes in BDD100K's layout, whose train holds the validation part too.

    The images are PNG, not JPEG: what is read is what was drawn.
    """
    train, validation, test = protocol.counts
    index = 0
    for part, count in (("train", train + validation), ("val", test)):
        for _ in range(count):
            image, mask = roads.draw(DATA_SEED, index, protocol.image_size)
            save_png(folder / "images/100k" / part / f"{index:06d}.png", image)
            save_png(folder / "labels/drivable/masks" / part / f"{index:06d}.png", mask)
            index += 1
