"""How long the first load of BDD100K takes: frames of 1280 x 720, for the paper's protocol.

Decoded at reduced size, and at full size beside it, at several numbers of frames: the slope.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

import pandas as pd
from PIL import Image

from crackutils import data as datasets
from crackutils.data import decoding
from crackutils.data.synthetic import roads
from crackutils.protocol import preset


def write_frames(folder: Path, count: int, drawn: int = 16) -> None:
    """BDD100K's layout with so many frames to train, copies of those drawn, and two of val."""
    for part, number in (("train", count), ("val", 2)):
        images = folder / "images" / "100k" / part
        masks = folder / "labels" / "drivable" / "masks" / part
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for index in range(number):
            name = f"{part}{index % drawn:06x}"
            first = images / f"{name}.jpg", masks / f"{name}.png"
            if index < drawn:
                image, mask = roads.draw(0, index, (720, 1280))
                Image.fromarray(image).save(first[0], quality=90)
                Image.fromarray(mask).save(first[1])
            else:
                shutil.copy(first[0], images / f"{part}{index:06x}.jpg")
                shutil.copy(first[1], masks / f"{part}{index:06x}.png")


def seconds(folder: Path, scratch: Path, reduced: bool) -> float:
    """The first load of a folder."""
    real = decoding.Image.Image.draft
    if not reduced:
        decoding.Image.Image.draft = lambda *_: None
    try:
        begun = time.perf_counter()
        datasets.load(folder, preset("paper", "roads"), scratch / f"runs-{reduced}")
        return time.perf_counter() - begun
    finally:
        decoding.Image.Image.draft = real


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    parser.add_argument("--short", action="store_true", help="few frames: only to see it run")
    given = parser.parse_args()
    rows = []
    for count in (4, 8) if given.short else (250, 500, 1000):
        with tempfile.TemporaryDirectory() as scratch:
            write_frames(Path(scratch) / "frames", count, 2 if given.short else 16)
            found = {reduced: seconds(Path(scratch) / "frames", Path(scratch), reduced)
                     for reduced in (True, False)}
        rows.append({"frames": count + 2, "seconds": found[True],
                     "seconds_at_full_size": found[False], "ratio": found[False] / found[True],
                     "cores": os.cpu_count()})
    table = pd.DataFrame(rows)
    given.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(given.out / "decoding.csv", index=False, float_format="%.4g")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
