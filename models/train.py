"""Train the networks in this folder again: python models/train.py SUT_CRACK_FOLDER

They learn from three kinds of pictures together, so that fine and wide cracks are found: the
photographs of SUT-Crack (at 512 x 512 pixels), the same at half size, whose cracks are half as
wide, and synthetic pictures, whose finest cracks are below one pixel. Each network is also counted
on the folders that `--unseen` names.

A training that was interrupted is resumed. A trained network is copied into this folder; its card,
README.md, is written by hand.
"""

import argparse
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from crackutils import data, experiment, files
from crackutils.protocol import Protocol, preset

MODELS = {"balanced_step": ("balanced_step", 0.83), "bce": ("bce", None), "mse": ("mse", None),
          "weighted_bce": ("weighted_bce", 10.8)}
COPIED = ("config.json", "environment.json", "history.csv", "counts.npz", "model.safetensors",
          "complete.json")
FOLDERS = {"train": "train", "validation": "val", "test": "test"}


def protocol_of(loss: str, weight) -> Protocol:
    """The preset `study` with larger tiles, and as many steps as take half an hour."""
    fields = dict(tile=[128, 128], steps=2_500, augmentation="flips", loss=loss, weight=weight)
    return preset("study", "cracks", fields)


def write_pictures(source: data.Dataset, folder: Path, prefix: str, scale: int = 1) -> None:
    """Write the pictures and masks of a data set as PNG, reduced by a whole number."""
    for part, name in FOLDERS.items():
        for kind in ("images", "masks"):
            (folder / name / kind).mkdir(parents=True, exist_ok=True)
        for sample in getattr(source, part):
            size = sample.mask.shape[1] // scale, sample.mask.shape[0] // scale
            mask = (sample.mask == 1).astype(np.uint8) * 255
            image = cv2.resize(sample.image, size, interpolation=cv2.INTER_AREA)
            mask = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
            stem = f"{prefix}_{Path(sample.name).stem}.png"
            Image.fromarray(image).save(folder / name / "images" / stem)
            Image.fromarray(np.where(mask >= 128, 255, 0).astype(np.uint8)).save(
                folder / name / "masks" / stem)


def training_data(photographs: str, protocol: Protocol, runs: Path) -> Path:
    """The folder of all pictures; it is written at the first call."""
    folder = runs / "data" / "photographs_and_synthetic"
    with files.locked(folder.with_suffix(".lock")):
        if not folder.exists():
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            source = data.load(photographs, protocol, runs)
            write_pictures(source, part, "whole")
            write_pictures(source, part, "half", scale=2)
            write_pictures(data.load("synthetic", protocol, runs), part, "drawn")
            part.rename(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", help="the folder of SUT-Crack at 512 x 512 pixels")
    parser.add_argument("--unseen", nargs="*", default=[], metavar="FOLDER")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--runs", help="where records are written (default: runs)")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    runs = files.resolve(given.runs, "runs")
    for name in given.models:
        protocol = protocol_of(*MODELS[name])
        folder = training_data(given.photographs, protocol, runs)
        unseen = {Path(other).name: data.load_undivided(other, protocol, runs)
                  for other in given.unseen}
        record = experiment.complete(protocol, data.load(folder, protocol, runs), runs, None,
                                     given.device, unseen=unseen)
        place = files.ROOT / "models" / name
        place.mkdir(exist_ok=True)
        for file in COPIED:
            shutil.copy(record / file, place)
        print(f"{name}: copied from {record} to {place}")


if __name__ == "__main__":
    main()
