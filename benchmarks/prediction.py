"""Seconds and peak memory of `crackutils predict` for one photograph of 12 and of 100 megapixels.

    python benchmarks/prediction.py --model RECORD_OR_NAME

The photographs are drawn: grey noise with a hundred dark lines. Each one is predicted in a process
of its own, by two threads in float32, from its file to the last result; what is measured includes
loading the program. The rows go to `results/benchmarks/prediction.csv`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from crackutils import files, records
from crackutils.experiment import model_folder

SIZES = {"12 megapixels": (3024, 4032), "100 megapixels": (7071, 14142)}
LINES = 100
OUT = files.ROOT / "results" / "benchmarks" / "prediction.csv"


def photograph(size: tuple[int, int]) -> np.ndarray:
    """Noise of 170 to 190 with crooked dark lines, uint8 H x W x 3."""
    generator = np.random.default_rng(0)
    image = cv2.cvtColor(generator.integers(170, 190, size, dtype=np.uint8), cv2.COLOR_GRAY2BGR)
    for _ in range(LINES):
        steps = generator.normal(0, 8, (60, 2)) + generator.normal(0, 12, 2)
        points = (generator.uniform(0, size[::-1]) + steps.cumsum(axis=0)).astype(np.int32)
        cv2.polylines(image, [points], False, (60, 60, 60), int(generator.integers(1, 5)))
    return image


def measured(model: Path, image: Path, out: Path) -> tuple[float, float]:
    """Wall-clock seconds and peak memory in MiB of the command, in a process of its own."""
    command = [sys.executable, "-m", "crackutils.cli", "predict", image, out, "--model", model,
               "--device", "cpu"]
    begun = time.monotonic()
    process = subprocess.Popen(command, cwd=files.ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{image} could not be predicted: exit status {status}.")
    return time.monotonic() - begun, usage.ru_maxrss / 2**10  # KiB on Linux


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a record with weights, or a shipped model")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    model = model_folder(given.model)
    protocol = records.read_json(model / records.CONFIG)["protocol"]
    rows = []
    for title, size in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            image = Path(folder) / "wall.jpg"
            cv2.imwrite(str(image), photograph(size))
            seconds, memory = measured(model, image, Path(folder) / "out")
        rows.append({"photograph": title, "height": size[0], "width": size[1],
                     "network": f"U-Net, {protocol['levels']} levels, {protocol['kernel']}x"
                     f"{protocol['kernel']}, {protocol['first_filters']} filters, tile "
                     f"{protocol['tile'][0]}", "seconds": round(seconds, 1),
                     "peak_memory_mib": round(memory)})
        print(rows[-1], flush=True)
    pd.DataFrame(rows).to_csv(given.out, index=False)


if __name__ == "__main__":
    main()
