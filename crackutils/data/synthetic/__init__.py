"""The synthetic sets on disk, in the layouts that photographs come in."""

import hashlib
import inspect
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from crackutils.data.layouts import LISTS
from crackutils.data.samples import WIDTH_UNIT
from crackutils.data.synthetic import cracks, roads
from crackutils.protocol import Protocol

PARTS = ("train", "validation", "test")
DATA_SEED = 0  # the synthetic sets are one fixed sample: seeds of runs don't change the data
GENERATORS = {"cracks": (cracks,),
              "roads": (roads,)}


def synthetic_folder(protocol: Protocol, runs: Path) -> Path:
    """The protocol's synthetic set on disk, made at the first call; a new generator, a new set."""
    source = "".join(inspect.getsource(module) for module in GENERATORS[protocol.task])
    version = hashlib.sha256(source.encode()).hexdigest()[:8]
    counts = "+".join(map(str, protocol.counts))
    height, width = protocol.image_size
    folder = runs / "data" / f"synthetic-{protocol.task}-{counts}-{height}x{width}-{version}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as side:
            write = write_cracks if protocol.task == "cracks" else write_roads
            write(Path(side) / "set", protocol)
            try:
                (Path(side) / "set").rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process was first with the same set
                    raise
    return folder


def write_cracks(folder: Path, protocol: Protocol) -> None:
    """A plain folder of synthetic cracks with widths and lists."""
    for name in ("images", "masks", "widths"):
        (folder / name).mkdir(parents=True)
    index = 0
    for part, count in zip(PARTS, protocol.counts):
        names = [f"{part}_{index + number:04d}" for number in range(count)]
        for number, name in enumerate(names):
            image, mask, width = cracks.draw(DATA_SEED, index + number,
                                                       protocol.image_size)
            Image.fromarray(image).save(folder / "images" / f"{name}.png")
            Image.fromarray(mask * 255).save(folder / "masks" / f"{name}.png")
            hundredths = np.round(width * WIDTH_UNIT).astype(np.uint16)
            Image.fromarray(hundredths).save(folder / "widths" / f"{name}.png")
        (folder / LISTS[part]).write_text("\n".join(names) + "\n")
        index += count


def write_roads(folder: Path, protocol: Protocol) -> None:
    """Synthetic road scenes in BDD100K's layout (validation lies within train there)."""
    train, validation, test = protocol.counts
    index = 0
    for part, count in (("train", train + validation), ("val", test)):
        images = folder / "images" / "100k" / part
        masks = folder / "labels" / "drivable" / "masks" / part
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for _ in range(count):
            image, mask = roads.draw(DATA_SEED, index, protocol.image_size)
            Image.fromarray(image).save(images / f"{index:06d}.jpg", quality=95, subsampling=0)
            Image.fromarray(mask).save(masks / f"{index:06d}.png")
            index += 1
