"""How long the first load of BDD100K takes: frames of 1280 x 720, for the paper's protocol.

The frames are decoded at reduced size, as the package does, and at full size for comparison. The
times at several numbers of frames show how they grow. The table is `decoding.csv`.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import pandas as pd
from PIL import Image

from crackutils import data as datasets
from crackutils.data import decoding
from crackutils.data.synthetic import roads
from crackutils.device import usable_cores
from crackutils.protocol import preset


def write_frames(folder: Path, count: int, different: int = 16) -> None:
    """Write BDD100K's layout with `count` training frames and two validation frames.

    Only so many `different` frames are drawn; the others are copies of these.
    """
    for part, frames in (("train", count), ("val", 2)):
        images = folder / "images" / "100k" / part
        masks = folder / "labels" / "drivable" / "masks" / part
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for index in range(frames):
            image_path = images / f"{part}{index:06x}.jpg"
            mask_path = masks / f"{part}{index:06x}.png"
            if index < different:
                image, mask = roads.draw(0, index, (720, 1280))
                Image.fromarray(image).save(image_path, quality=90)
                Image.fromarray(mask).save(mask_path)
            else:
                original = f"{part}{index % different:06x}"
                shutil.copy(images / f"{original}.jpg", image_path)
                shutil.copy(masks / f"{original}.png", mask_path)


def seconds_to_load(folder: Path, runs: Path, reduced: bool) -> float:
    """Seconds of the first load of a folder; JPEG is decoded at `reduced` size or at full size."""
    draft = decoding.Image.Image.draft
    if not reduced:
        decoding.Image.Image.draft = lambda *_: None
    try:
        begun = time.perf_counter()
        datasets.load(folder, preset("paper", "roads"), runs)
        return time.perf_counter() - begun
    finally:
        decoding.Image.Image.draft = draft


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"),
                        help="folder of the table")
    parser.add_argument("--short", action="store_true",
                        help="few frames: shows that it runs, measures nothing")
    given = parser.parse_args()
    rows = []
    for count in (4, 8) if given.short else (250, 500, 1000):
        with tempfile.TemporaryDirectory() as name:
            scratch = Path(name)
            write_frames(scratch / "frames", count, 2 if given.short else 16)
            reduced = seconds_to_load(scratch / "frames", scratch / "reduced", True)
            full = seconds_to_load(scratch / "frames", scratch / "full", False)
        rows.append({"frames": count + 2, "seconds": reduced, "seconds_at_full_size": full,
                     "ratio": full / reduced, "cores": usable_cores()})
    table = pd.DataFrame(rows)
    given.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(given.out / "decoding.csv", index=False, float_format="%.4g")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
