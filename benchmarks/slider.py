"""How long a move of the threshold slider takes, on a photograph of 512 x 512.

    python benchmarks/slider.py

Two times are measured: that of the kernel, which compares, draws and encodes; and that of the whole
move in JupyterLab in a headless Chromium, from the key that moves the slider to the first frame
after the new picture was decoded. The photograph is drawn, so are the probabilities: noise with
dark lines. The rows go to `results/benchmarks/slider.csv`.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pandas as pd
from nbformat.v4 import new_code_cell, new_notebook

from crackutils import files

# where the driver of Chromium is
sys.path.insert(0, str(files.ROOT / "tests"))
from browser import (  # noqa: E402
    CHROMIUM,
    chromium,
    jupyter_lab,
    open_notebook,
    run_all_cells,
)

from crackutils.cracks.slider import threshold_slider  # noqa: E402
from crackutils.device import usable_cores  # noqa: E402

SIDE = 512
CELL = """import runpy
runpy.run_path({script!r})["slider"]()"""
WATCH = """(() => {
    window.moves = [];
    const handle = document.querySelector(".noUi-handle");
    const image = document.querySelector("img.widget-image");
    handle.scrollIntoView({block: "center"});
    handle.addEventListener("keydown", () => { window.begun = performance.now() }, true);
    image.addEventListener("load", () => requestAnimationFrame(
        () => setTimeout(() => window.moves.push(performance.now() - window.begun))));
    handle.focus() })()"""


def slider():
    """The slider of a photograph with three networks."""
    generator = np.random.default_rng(0)
    crack = np.zeros((SIDE, SIDE), np.uint8)
    for _ in range(6):
        points = generator.uniform(0, SIDE, 2) + generator.normal(0, 12, (60, 2)).cumsum(axis=0)
        cv2.polylines(crack, [points.astype(np.int32)], False, 1, 3)
    crack = crack == 1
    image = generator.integers(100, 190, (SIDE, SIDE, 3), dtype=np.uint8)
    image[crack] //= 2
    near = cv2.GaussianBlur(crack.astype(np.float32), (0, 0), 2)
    probabilities = {name: (near + 0.3 * generator.random(near.shape)).clip(0, 1).astype("f4")
                     for name in ("balanced_step", "mse", "bce")}
    return threshold_slider(image, crack, probabilities, dict.fromkeys(probabilities, 0.5))


def kernel_moves(number: int) -> list[float]:
    """Milliseconds of each move in Python."""
    moved, times = slider().children[1], []
    for threshold in np.linspace(0.2, 0.8, number):
        begun = time.perf_counter()
        moved.value = threshold
        times.append(1000 * (time.perf_counter() - begun))
    return times


def browser_moves(number: int) -> list[float]:
    """Milliseconds of each move in JupyterLab."""
    with tempfile.TemporaryDirectory() as name:
        folder, notebooks = Path(name), Path(name) / "notebooks"
        notebooks.mkdir()
        cell = new_code_cell(CELL.format(script=str(Path(__file__).resolve())))
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        nbformat.write(new_notebook(cells=[cell], metadata=kernel), notebooks / "slider.ipynb")
        with jupyter_lab(folder, notebooks) as address, chromium(folder / "profile") as page:
            open_notebook(page, address("slider.ipynb"))
            run_all_cells(page)
            page.wait_for("document.querySelector('img.widget-image')?.naturalWidth")
            page.evaluate(WATCH)
            for move in range(number):
                page.press("ArrowRight" if move % 20 < 10 else "ArrowLeft")
                page.wait_for(f"moves.length > {move}", 20)
            return page.evaluate("moves")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=files.ROOT / "results" / "benchmarks")
    parser.add_argument("--moves", type=int, default=40)
    given = parser.parse_args()
    if CHROMIUM is None:
        parser.error("Chromium is needed for this, and there is none on this machine.")
    rows = []
    for title, moves in (("in the kernel", kernel_moves), ("the whole move", browser_moves)):
        times = moves(given.moves)
        median, slowest = np.quantile(times, [0.5, 1]).round(1).tolist()
        first, later = round(times[0], 1), round(max(times[1:]), 1)
        rows.append({"measured": title, "side": SIDE, "moves": len(times), "median_ms": median,
                     "slowest_ms": slowest, "first_ms": first, "slowest_later_ms": later,
                     "within_100_ms": int((np.array(times) <= 100).sum()),
                     "cores": usable_cores(), "load": round(os.getloadavg()[0], 1)})
        print(rows[-1], flush=True)
    pd.DataFrame(rows).to_csv(given.out / "slider.csv", index=False)


if __name__ == "__main__":
    main()
