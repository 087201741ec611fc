"""Which way of cutting METU's photographs gives paper A's figures?

    python benchmarks/metu_tiles.py MASKS_FOLDER
    python benchmarks/metu_tiles.py METU_FOLDER --write TILES_FOLDER

Paper A trained on 2,924 images of 512 x 512 pixels, "adjusted" from METU's 458 photographs: 6.4 a
photograph. Its printed figures imply that 4.06 to 4.16 % of the evaluated pixels are cracks. This
script cuts masks of METU's photographs (at any reduced size, in the shape of the whole photograph)
into tiles, at the full size of 4032 x 3024 pixels, at a half and at a third of it, keeps the tiles
that show a crack, and counts them and their crack pixels.

The few photographs at hand have more crack than METU's 458 (1.615 % in the mean), so each quantity
is also given with the photographs weighted such that their mean is METU's. The intervals are 95 %
bootstrap intervals over the photographs; they can't tell how the photographs were chosen.

With `--write` the tiles of METU themselves are written, at half the size and with a crack in each:
the set that comes closest to paper A's. It is a data folder like any other, divided into three
parts so that the tiles of a photograph, and of its turned copies, stay in one part.
"""

import argparse
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image
from scipy.optimize import brentq

from crackutils import data as datasets
from crackutils import files
from crackutils.data.synthetic import PARTS
from crackutils.protocol import preset

LONG, SHORT, TILE = 4032, 3024, 512
METU_SHARE = 0.01615  # dataset-ninja/concrete-crack-segmentation-dataset, classes_per_image.json
SHARES = {"full size": 1, "half size": 2, "third of the size": 3}
DRAWS = 4_000


def starts(length: float, side: float) -> np.ndarray:
    """The first pixel of each tile, so that as few as possible cover the length, evenly spaced."""
    count = max(1, int(np.ceil(length / side - 1e-9)))
    return np.linspace(0, max(length - side, 0), count)


def tiles_of(mask: np.ndarray, reduction: int) -> tuple[int, int, float]:
    """Of a photograph: the number of its tiles, of those with a crack, and the sum of their crack
    shares. The mask may be smaller than the photograph."""
    scale = max(mask.shape) / LONG  # of the mask to the photograph
    side = TILE * reduction * scale
    shares = []
    for top in starts(mask.shape[0], side):
        for left in starts(mask.shape[1], side):
            rows, columns = (slice(round(first), round(first + side)) for first in (top, left))
            shares.append(mask[rows, columns].mean())
    return len(shares), np.count_nonzero(shares), float(np.sum(shares))


def weights_for(shares: np.ndarray, wanted: float) -> np.ndarray:
    """Weights exp(-a share) of photographs, scaled to a mean of 1, whose mean share is `wanted`."""
    def gap(a: float) -> float:
        weights = np.exp(-a * (shares - shares.mean()))
        return weights @ shares / weights.sum() - wanted
    if not shares.min() < wanted < shares.max():
        return np.full(len(shares), np.nan)
    weights = np.exp(-brentq(gap, -2_000, 2_000) * (shares - shares.mean()))
    return weights / weights.mean()


def figures(tiles: np.ndarray, shares: np.ndarray, weighted: bool) -> tuple[float, float]:
    """Tiles with a crack for a photograph, and the crack share of these tiles."""
    weights = weights_for(shares, METU_SHARE) if weighted else np.ones(len(shares))
    return weights @ tiles[:, 1] / weights.sum(), weights @ tiles[:, 2] / (weights @ tiles[:, 1])


def write_tiles(folder: Path, out: Path, runs: Path, side: int = TILE) -> None:
    """Write the tiles of halved photographs that show a crack, a folder for each part."""
    if out.exists():
        raise SystemExit(f"{out} exists already: remove it, or name another folder.")
    dataset = datasets.load(folder, preset("paper"), runs)
    beside = out.with_name(f".{out.name}.part")
    shutil.rmtree(beside, ignore_errors=True)  # left by an interrupted call
    for part in PARTS:
        for kind in ("images", "masks"):
            (beside / part / kind).mkdir(parents=True)
        for sample in getattr(dataset, part):
            size = tuple(length // 2 for length in sample.mask.shape[::-1])
            image = cv2.resize(sample.image, size, interpolation=cv2.INTER_AREA)
            share = cv2.resize((sample.mask == 1).astype(np.float32), size,
                               interpolation=cv2.INTER_AREA)
            mask = np.where(share >= 0.5, 255, 0).astype(np.uint8)
            for top in starts(size[1], side).astype(int):
                for left in starts(size[0], side).astype(int):
                    tile = np.s_[top:top + side, left:left + side]
                    if mask[tile].any():
                        name = f"{sample.name.replace('/', '_')}_{top}_{left}.png"
                        Image.fromarray(image[tile]).save(beside / part / "images" / name)
                        Image.fromarray(mask[tile]).save(beside / part / "masks" / name)
    beside.rename(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", type=Path, metavar="TILES_FOLDER")
    given = parser.parse_args()
    if given.write:
        write_tiles(given.folder, given.write, files.ROOT / "runs")
    else:
        compare(given.folder)


def compare(folder: Path) -> None:
    """Write results/benchmarks/metu_tiles.csv from a folder of masks."""
    masks = [np.asarray(Image.open(path).convert("L")) > 127
             for path in sorted(folder.iterdir())]
    whole = [mask for mask in masks
             if abs(min(mask.shape) / max(mask.shape) - SHORT / LONG) < 0.015]
    shares = np.array([mask.mean() for mask in whole])
    print(f"{len(whole)} of {len(masks)} masks are whole; mean crack share {shares.mean():.2%}")
    generator = np.random.default_rng(0)
    rows = []
    for name, reduction in SHARES.items():
        tiles = np.array([tiles_of(mask, reduction) for mask in whole])
        draws = generator.integers(len(whole), size=(DRAWS, len(whole)))
        for weighted in (False, True):
            row = {"photographs": len(whole), "size": name, "tiles": tiles[:, 0].mean(),
                   "weighted": weighted}
            drawn = np.array([figures(tiles[draw], shares[draw], weighted) for draw in draws])
            low, high = np.nanpercentile(drawn, (2.5, 97.5), axis=0)
            for index, figure in enumerate(("with_crack", "share")):
                row |= {figure: figures(tiles, shares, weighted)[index],
                        f"{figure}_low": low[index], f"{figure}_high": high[index]}
            rows.append(row)
    table = pd.DataFrame(rows).round(4)
    print(table.to_string(index=False))
    table.to_csv(files.ROOT / "results" / "benchmarks" / "metu_tiles.csv", index=False)


if __name__ == "__main__":
    main()
