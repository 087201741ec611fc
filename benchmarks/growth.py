"""How time and memory grow with the data, the network, the thresholds and the processes.

Each axis is measured at a few values and drawn beside the power law that it should follow. Each
measurement is a process of its own that imports only what it needs, so its peak memory is its own
too: that of the whole process (Linux only), of which the libraries take some hundred MiB; if
several processes share a run, that of the first. The networks compute in float32, channels first,
on every machine: `device.decide` changes both with the number of filters, and such a jump would
look like growth. The tables are `growth.csv` and `growth_slopes.csv`, the figure `growth`.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

REPEATS, WARM_UP = 5, 2
SAME_EVERYWHERE = {"precision": "float32", "memory_format": "channels_first"}


def peak_memory_mib() -> int:
    """The most memory that this process has taken so far."""
    status = Path("/proc/self/status").read_text()
    return round(int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 2**10)


def median_seconds(action: Callable[[int], object], warm_up: int = 0,
                   before: Callable[[], object] | None = None) -> float:
    """Median seconds of `action(number)` after the warm-up; `before` each call is not timed."""
    seconds = []
    for number in range(warm_up + REPEATS):
        if before is not None:
            before()
        begun = time.perf_counter()
        action(number)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[warm_up:])


# Measurements: (value, scratch folder, short) -> seconds, images or pixels, peak memory in MiB

def first_load(pictures: int, scratch: Path, short: bool) -> tuple[float, int, int]:
    """Decode a plain folder of pictures into the cache."""
    return load_pictures(pictures, scratch, cached=False)


def second_load(pictures: int, scratch: Path, short: bool) -> tuple[float, int, int]:
    """Open the cache of decoded pictures that the first load has left."""
    return load_pictures(pictures, scratch, cached=True)


def load_pictures(pictures: int, scratch: Path, cached: bool) -> tuple[float, int, int]:
    """Load a plain folder, which is written first if it is missing."""
    from crackutils.data import load
    from crackutils.data.synthetic import write_cracks
    from crackutils.protocol import preset
    protocol = preset("quick", overrides={"counts": [pictures - 4, 2, 2]})
    folder, runs = scratch / f"pictures-{pictures}", scratch / f"runs-{pictures}"
    if not folder.is_dir():
        write_cracks(folder, protocol)
    if cached:
        seconds = median_seconds(lambda _: load(folder, protocol, runs))
    else:
        seconds = median_seconds(lambda _: load(folder, protocol, runs),
                                 before=lambda: shutil.rmtree(runs, ignore_errors=True))
    return seconds, pictures, peak_memory_mib()


def step_by_side(side: int, scratch: Path, short: bool) -> tuple[float, int, int]:
    """A training step on square tiles of this side."""
    return training_step(side, 4 if short else 8, short)


def step_by_filters(first_filters: int, scratch: Path, short: bool) -> tuple[float, int, int]:
    """A training step of a U-Net with so many first filters."""
    return training_step(32 if short else 96, first_filters, short)


def training_step(side: int, first_filters: int, short: bool) -> tuple[float, int, int]:
    """A training step and the cutting of its tiles; the filters double down to the last level."""
    from crackutils.batches import Sampler
    from crackutils.data.picture_cache import Part
    from crackutils.data.samples import Sample
    from crackutils.data.synthetic.cracks import draw
    from crackutils.device import decide, fabric_for
    from crackutils.models import build
    from crackutils.protocol import preset
    from crackutils.training import one_step, set_switches, set_up
    protocol = preset("quick", overrides=SAME_EVERYWHERE | {
        "tile": [side, side], "batch": 2 if short else 4, "first_filters": first_filters,
        "widest": 2**20})
    hardware = decide(protocol, "cpu")
    fabric = fabric_for(hardware)
    set_switches(hardware)
    network, _, optimizer = set_up(fabric, build(protocol), protocol, hardware)
    sampler = Sampler(Part.of([Sample("picture", *draw(0, 0, protocol.tile))]), protocol)
    seconds = median_seconds(lambda number: one_step(
        fabric, network, optimizer, sampler.batch(number), protocol, hardware), WARM_UP)
    return seconds, protocol.batch * side**2, peak_memory_mib()


def count_pixels(thresholds: int, scratch: Path, short: bool) -> tuple[float, int, int]:
    """Count the positive pixels of crack and of background at all thresholds."""
    import torch

    from crackutils.evaluation import counts_by_group
    pixels = 2**18 if short else 2**22
    prediction, crack = torch.rand(pixels), torch.rand(pixels) < 0.05
    values = np.linspace(0, 1, thresholds)
    seconds = median_seconds(lambda _: counts_by_group(prediction, crack, 2, values), WARM_UP)
    return seconds, pixels, peak_memory_mib()


def shared_training(processes: int, scratch: Path, short: bool) -> tuple[float, int, int]:
    """A training that several processes share; each process has the same number of threads."""
    import torch

    from crackutils import data as datasets
    from crackutils import experiment
    from crackutils.device import usable_cores
    from crackutils.protocol import preset
    from crackutils.records import read_json
    torch.set_num_threads(max(1, usable_cores() // 2))  # as each of two processes has
    size = {"steps": 60}
    if short:
        size = {"tile": [64, 64], "batch": 4, "steps": 20}
    protocol = preset("quick", overrides=SAME_EVERYWHERE | size | {"counts": [6, 2, 2],
                                                                   "batch_norm": False})
    dataset, runs = datasets.load("synthetic", protocol, scratch), scratch / f"runs-{processes}"
    environments = []
    for seed in range(1 if short else 3):
        record = experiment.complete(protocol.with_run("mse", None, seed), dataset, runs, None,
                                     "cpu", processes)
        environments.append(read_json(record / "environment.json"))
    return (statistics.median(run["training_seconds"] for run in environments),
            protocol.steps * protocol.batch, max(run["peak_memory_mib"] for run in environments))


class Axis(NamedTuple):
    """What is varied, how it is measured, and how the seconds should grow.

    `slope` is the expected power; `short` and `values` are the values of a short and a full run.
    """

    measure: Callable[[int, Path, bool], tuple[float, int, int]]
    title: str
    label: str
    slope: int
    short: tuple[int, ...]
    values: tuple[int, ...]


AXES = {
    "first_load": Axis(first_load, "first load", "pictures", 1, (10, 40), (125, 250, 500, 1000)),
    "second_load": Axis(second_load, "second load", "pictures", 1, (10, 40),
                        (125, 250, 500, 1000)),
    "tile_side": Axis(step_by_side, "step of training", "side of a tile [px]", 2, (32, 64),
                      (64, 128, 256, 512)),
    "first_filters": Axis(step_by_filters, "step of training", "first filters", 2, (2, 4),
                          (4, 8, 16, 32, 64)),
    "thresholds": Axis(count_pixels, "sweep", "thresholds", 0, (10, 100), (10, 100, 1000, 10_000)),
    "processes": Axis(shared_training, "training", "processes that share it", -1, (1, 2), (1, 2))}


def measure_in_process(name: str, value: int, scratch: str, short: bool) -> dict:
    """A row of the table, measured by this script in a new process."""
    command = [sys.executable, __file__, "--one", name, str(value), "--scratch", scratch]
    if short:
        command.append("--short")
    # so few steps teach nothing, and the warning about that is not needed
    environment = os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1", "PYTHONWARNINGS": "ignore"}
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True,
                            env=environment).stdout
    seconds, amount, peak = json.loads(output.splitlines()[-1])  # a training prints before that
    print(f"{name:14} {value:>6} {seconds:10.4f} s {peak:>6} MiB", flush=True)
    return {"axis": name, "value": value, "seconds": seconds, "peak_memory_mib": peak,
            "images_or_pixels": amount}


def measure_all(scratch: str, short: bool) -> pd.DataFrame:
    """The whole table, one axis after the other: the second load needs the first."""
    rows = []
    with ThreadPoolExecutor(2 if short else 1) as pool:
        for name, axis in AXES.items():
            values = axis.short if short else axis.values
            jobs = [pool.submit(measure_in_process, name, value, scratch, short)
                    for value in values]
            rows += [job.result() for job in jobs]
    table = pd.DataFrame(rows)
    first = table.groupby("axis")[["value", "seconds"]].transform("first")
    slopes = table["axis"].map({name: axis.slope for name, axis in AXES.items()})
    return table.assign(
        expected_seconds=first["seconds"] * (table["value"] / first["value"]) ** slopes)


def slope_of(rows: pd.DataFrame) -> float:
    """The power by which the seconds grow: a least-squares line through the logarithms."""
    return np.polyfit(np.log(rows["value"]), np.log(rows["seconds"]), 1)[0]


def draw_panel(panel, rows: pd.DataFrame, axis: Axis) -> None:
    """Measured seconds, and a line of the expected slope through the first of them."""
    from matplotlib.ticker import LogLocator
    panel.loglog(rows["value"], rows["expected_seconds"], "--", color="0.5", label="expected")
    panel.loglog(rows["value"], rows["seconds"], "o", label="measured")
    memory = rows["peak_memory_mib"]
    panel.set_title(f"{axis.title}\nslope {slope_of(rows):.2f}, expected {axis.slope}\n"
                    f"peak {memory.min():,} to {memory.max():,} MiB")
    seconds = rows[["seconds", "expected_seconds"]].to_numpy()
    middle = np.sqrt(seconds.max() * seconds.min())
    reach = max(1.5 * seconds.max() / middle, 5)  # at least: else noise would look like growth
    panel.set(xlabel=axis.label, ylabel="seconds", ylim=(middle / reach, middle * reach))
    panel.set_xticks(rows["value"], [f"{value // 1000}k" if value >= 1000 else str(value)
                                     for value in rows["value"]])
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    panel.minorticks_off()
    panel.yaxis.set_major_formatter("{x:g}")
    panel.margins(x=0.12)


def save_figure(table: pd.DataFrame, folder: Path) -> None:
    """Write growth.pdf and growth.png, with a panel for each axis."""
    from matplotlib import rc_context

    from crackutils.papers import crack_figures
    with rc_context(crack_figures.COLUMN_STYLE):
        figure, panels = crack_figures.column_figure(3, 2, 6)
        for panel, (name, axis) in zip(panels.flat, AXES.items()):
            draw_panel(panel, table[table["axis"] == name], axis)
        figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        crack_figures.save(figure, folder, "growth")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true",
                        help="tiny, two at a time: shows that it runs, measures nothing")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"),
                        help="folder of the tables")
    parser.add_argument("--figures", type=Path, default=Path("figures"),
                        help="folder of the figure")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "VALUE"), help="a single measurement")
    parser.add_argument("--scratch", type=Path, help="the folder in which --one writes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if given.one:
            measure, value = AXES[given.one[0]].measure, int(given.one[1])
            print(json.dumps(measure(value, given.scratch or Path(scratch), given.short)))
            return
        table = measure_all(scratch, given.short)
    slopes = pd.DataFrame([{"axis": name, "expected_slope": axis.slope,
                            "measured_slope": slope_of(table[table["axis"] == name])}
                           for name, axis in AXES.items()])
    given.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(given.out / "growth.csv", index=False, float_format="%.4g")
    slopes.to_csv(given.out / "growth_slopes.csv", index=False, float_format="%.2f")
    save_figure(table, given.figures)
    print(slopes.round(2).to_string(index=False))


if __name__ == "__main__":
    main()
