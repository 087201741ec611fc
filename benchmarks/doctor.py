"""How long the data doctor takes on pairs of 512 x 512 (JPEG and PNG), all of different content.

Up to 1,000 pairs it also looks for overlapping photographs, which takes most of the time.
"""

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from crackutils.data.doctor import examine
from crackutils.device import usable_cores


def write_pair(folder: Path, index: int, side: int) -> None:
    """Grain of three sizes with a dark polyline, and the polyline's mask."""
    chance = np.random.default_rng(index)
    ground = np.full((side, side), 150, np.float32)
    for cells in (8, 64, side):
        grain = chance.normal(0, 12, (cells, cells)).astype(np.float32)
        ground += cv2.resize(grain, (side, side), interpolation=cv2.INTER_LINEAR)
    points = np.cumsum(chance.normal(0, side / 12, (12, 2)), axis=0) + side / 2
    mask = cv2.polylines(np.zeros((side, side), np.uint8), [points.astype(np.int32)], False, 255, 4)
    ground[mask > 0] -= 60
    cv2.imwrite(str(folder / "images" / f"{index:05d}.jpg"), ground.clip(0, 255).astype(np.uint8))
    cv2.imwrite(str(folder / "masks" / f"{index:05d}.png"), mask)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    parser.add_argument("--short", action="store_true", help="few, small pairs: only to see it run")
    given = parser.parse_args()
    rows, side = [], 128 if given.short else 512
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in ("images", "masks"):
            (folder / kind).mkdir()
        done = 0
        for count in (20, 40) if given.short else (1_000, 3_000, 10_000):
            with ThreadPoolExecutor(usable_cores()) as pool:
                list(pool.map(lambda index: write_pair(folder, index, side), range(done, count)))
            done, begun = count, time.perf_counter()
            findings = examine(folder)
            rows.append({"pairs": count, "side": side, "seconds": time.perf_counter() - begun,
                         "findings": len([one for one in findings if one.level != "note"]),
                         "cores": usable_cores()})
            print(*findings, sep="\n")
    table = pd.DataFrame(rows)
    given.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(given.out / "doctor.csv", index=False, float_format="%.4g")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
