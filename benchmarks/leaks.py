"""What a leak between training and test is worth in F1: python benchmarks/leaks.py SUT_CRACK_FOLDER

Paper A cut photographs into images of 512 x 512 pixels and does not say whether images of one
photograph were kept in one part. This script cuts photographs of 512 x 512 into four tiles each and
trains the same network on three sets of the same size, of which only the second and third leak:

- `grouped`: no tile is of a photograph that the test part shows;
- `random`: some tiles are the neighbours of test tiles, as if tiles had been divided at random;
- `in sample`: some tiles are the test tiles themselves.

All are counted on the same test tiles, two of each test photograph, at the threshold that is best
on the same validation tiles. Differences are paired over the seeds. It writes
results/benchmarks/leaks.csv; an interrupted call is resumed.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from crackutils import data as datasets
from crackutils import experiment, files, metrics, records
from crackutils.protocol import Protocol, preset

FIELDS = dict(tile=[96, 96], batch=8, steps=800, augmentation="flips")
FOLDERS = {"train": "train", "validation": "val", "test": "test"}


def tiles_of(samples) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Four tiles of each photograph: name, image, mask (levels 0 and 255). Those that touch at a
    corner come first."""
    tiles = []
    for top, left in ((0, 0), (1, 1), (0, 1), (1, 0)):
        for sample in samples:
            height, width = (length // 2 for length in sample.mask.shape)
            part = np.s_[top * height:(top + 1) * height, left * width:(left + 1) * width]
            tiles.append((f"{sample.name.replace('/', '_')}_{top}{left}", sample.image[part],
                          (sample.mask[part] == 1).astype(np.uint8) * 255))
    return tiles


def divisions(dataset: datasets.Dataset) -> dict[str, dict[str, list]]:
    """The tiles of each part, for each of the three divisions."""
    test_photographs = tiles_of(dataset.test)
    half = len(test_photographs) // 2
    test, neighbours = test_photographs[:half], test_photographs[half:]
    train, validation = tiles_of(dataset.train), tiles_of(dataset.validation)
    replaced = set(np.random.default_rng(0).permutation(len(train))[:half].tolist())
    kept = [tile for index, tile in enumerate(train) if index not in replaced]
    sets = {"grouped": train, "random": kept + neighbours, "in sample": kept + [
        (f"copy_{name}", image, mask) for name, image, mask in test]}
    return {name: {"train": tiles, "validation": validation, "test": test}
            for name, tiles in sets.items()}


def write(division: dict[str, list], folder: Path) -> None:
    """Write a division as a data folder, unless it is there."""
    if folder.exists():
        return
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    for name, tiles in division.items():
        for kind in ("images", "masks"):
            (part / FOLDERS[name] / kind).mkdir(parents=True)
        for stem, image, mask in tiles:
            Image.fromarray(image).save(part / FOLDERS[name] / "images" / f"{stem}.png")
            Image.fromarray(mask).save(part / FOLDERS[name] / "masks" / f"{stem}.png")
    part.rename(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", help="the folder of SUT-Crack at 512 x 512 pixels")
    parser.add_argument("--runs", help="where records are written (default: runs)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=FIELDS["steps"])
    parser.add_argument("--out", type=Path,
                        default=files.ROOT / "results" / "benchmarks" / "leaks.csv")
    given = parser.parse_args()
    runs = files.resolve(given.runs, "runs")
    protocol = preset("study", "cracks", FIELDS | {"steps": given.steps})
    place = runs / "data" / "leaks"
    place.mkdir(parents=True, exist_ok=True)
    for name, division in divisions(datasets.load(given.photographs, protocol, runs)).items():
        write(division, place / name.replace(" ", "_"))
    rows = [{"division": name, "seed": seed, **scores_of(
        protocol.with_run("mse", None, seed), place / name.replace(" ", "_"), runs)}
        for seed in given.seeds for name in ("grouped", "random", "in sample")]
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    table.to_csv(given.out, index=False, float_format="%.4f")


def scores_of(protocol: Protocol, folder: Path, runs: Path) -> dict[str, float]:
    """Train a network, unless its record is there; its scores on the test tiles."""
    record = experiment.complete(protocol, datasets.load(folder, protocol, runs), runs, None, "cpu")
    threshold, test = metrics.at_validation_threshold(records.read_arrays(record / "counts.npz"))
    return {"steps": protocol.steps, "threshold": threshold,
            **{name: test[name] for name in ("precision", "recall", "f1_score")}}


if __name__ == "__main__":
    main()
