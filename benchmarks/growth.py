"""How time and memory grow with the data, the network, the thresholds and the processes.

Each axis is measured at a few values and set beside the law it should follow. Each measurement is a
process of its own and imports only what it needs, so that its peak memory (read on Linux only) is
its own too: all of it, libraries included, which take some hundred MiB; of processes that share a
run, the first one's. The networks compute in float32, channels first, on every machine:
`hardware.fastest` changes both with the number of filters, and such a jump would look like growth.
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
from collections import namedtuple
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

REPEATS, WARM_UP = 5, 2
ALIKE = {"precision": "float32", "memory_format": "channels_first"}


def peak_memory_mib() -> int:
    """The most memory this process took so far."""
    status = Path("/proc/self/status").read_text()
    return round(int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 2**10)


def median_seconds(action: Callable[[int], object], warm_up: int = 0,
                   before: Callable[[], object] = lambda: None) -> float:
    """Median over the calls that follow the warm-up; `before` each of them is not timed."""
    seconds = []
    for number in range(warm_up + REPEATS):
        before()
        begun = time.perf_counter()
        action(number)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[warm_up:])


# Measurements: (value, folder to write in, short) -> seconds, images or pixels, peak memory in MiB

def loading(pictures: int, scratch: Path, short: bool, again: bool) -> tuple[float, int, int]:
    """Decode a plain folder into the store that later loads share; or open that store `again`."""
    from crackutils.data import load
    from crackutils.data.synthetic import write_cracks
    from crackutils.protocol import preset
    protocol = preset("quick", overrides={"counts": [pictures - 4, 2, 2]})
    folder, kept = scratch / f"pictures-{pictures}", scratch / f"kept-{pictures}"
    if not folder.is_dir():
        write_cracks(folder, protocol)
    forget = (lambda: None) if again else lambda: shutil.rmtree(kept, ignore_errors=True)
    seconds = median_seconds(lambda _: load(folder, protocol, kept), before=forget)
    return seconds, pictures, peak_memory_mib()


def step(side: int, first_filters: int, short: bool) -> tuple[float, int, int]:
    """A step of training, its tiles cut anew; the deepest level is as wide as it comes."""
    from crackutils.batches import Sampler
    from crackutils.data.picture_cache import Part
    from crackutils.data.samples import Sample
    from crackutils.data.synthetic.cracks import draw
    from crackutils.device import decide, fabric_for
    from crackutils.models import build
    from crackutils.protocol import preset
    from crackutils.training import one_step, set_switches, set_up
    protocol = preset("quick", overrides=ALIKE | {
        "tile": [side, side], "batch": 2 if short else 4, "first_filters": first_filters,
        "widest": 2**20})
    hardware = decide(protocol, "cpu")
    fabric = fabric_for(hardware)
    set_switches(hardware)
    network, _, optimizer = set_up(fabric, build(protocol), protocol, hardware)
    sampler = Sampler(Part.of([Sample("one", *draw(0, 0, protocol.tile))]), protocol)
    seconds = median_seconds(lambda number: one_step(
        fabric, network, optimizer, sampler.batch(number), protocol, hardware), WARM_UP)
    return seconds, protocol.batch * side**2, peak_memory_mib()


def sweep(thresholds: int, scratch: Path, short: bool) -> tuple[float, int, int]:
    """Count the positive pixels of crack and of background at all thresholds."""
    import torch

    from crackutils.evaluation import counts_by_group
    pixels = 2**18 if short else 2**22
    prediction, crack = torch.rand(pixels), torch.rand(pixels) < 0.05
    cuts = np.linspace(0, 1, thresholds)
    seconds = median_seconds(lambda _: counts_by_group(prediction, crack, 2, cuts), WARM_UP)
    return seconds, pixels, peak_memory_mib()


def training(processes: int, scratch: Path, short: bool) -> tuple[float, int, int]:
    """A training whose batches are shared out; each process has as many threads as any other."""
    import torch

    from crackutils import data as datasets
    from crackutils import experiment
    from crackutils.protocol import preset
    from crackutils.records import read_json
    torch.set_num_threads(max(1, os.cpu_count() // 2))  # what each of two processes gives itself
    size = {"tile": [64, 64], "batch": 4, "steps": 20} if short else {"steps": 60}
    protocol = preset("quick", overrides=ALIKE | size | {"counts": [6, 2, 2], "batch_norm": False})
    data, own = datasets.load("synthetic", protocol, scratch), scratch / f"runs-{processes}"
    folders = [experiment.complete(protocol.with_run("mse", None, seed), data, own, None, "cpu",
                                    processes) for seed in range(1 if short else 3)]
    found = [read_json(folder / "environment.json") for folder in folders]
    return (statistics.median(run["training_seconds"] for run in found),
            protocol.steps * protocol.batch, max(run["peak_memory_mib"] for run in found))


# a measurement, its panel's words, the expected slope, the values of a short and of a full run
Axis = namedtuple("Axis", "measure heading label slope short values")
PICTURES = ("pictures", 1, (10, 40), (125, 250, 500, 1000))
AXES = {
    "first_load": Axis(lambda *given: loading(*given, again=False), "first load", *PICTURES),
    "second_load": Axis(lambda *given: loading(*given, again=True), "second load", *PICTURES),
    "tile_side": Axis(lambda side, _, short: step(side, 4 if short else 8, short),
                      "step of training", "side of a tile [px]", 2, (32, 64), (64, 128, 256, 512)),
    "first_filters": Axis(lambda filters, _, short: step(32 if short else 96, filters, short),
                          "step of training", "first filters", 2, (2, 4), (4, 8, 16, 32, 64)),
    "thresholds": Axis(sweep, "sweep", "thresholds", 0, (10, 100), (10, 100, 1000, 10_000)),
    "processes": Axis(training, "training", "processes that share it", -1, (1, 2), (1, 2))}


def in_own_process(name: str, value: int, scratch: str, short: bool) -> dict:
    """A row of the table, measured by this script in a new process."""
    command = [sys.executable, __file__, "--one", name, str(value), "--scratch", scratch]
    # so few steps teach nothing, and need no warning of it
    quiet = os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1", "PYTHONWARNINGS": "ignore"}
    output = subprocess.run(command + ["--short"] * short, stdout=subprocess.PIPE, text=True,
                            check=True, env=quiet).stdout
    seconds, amount, peak = json.loads(output.splitlines()[-1])  # behind what training prints
    print(f"{name:14} {value:>6} {seconds:10.4f} s {peak:>6} MiB", flush=True)
    return {"axis": name, "value": value, "seconds": seconds, "peak_memory_mib": peak,
            "images_or_pixels": amount}


def measure_all(scratch: str, short: bool) -> pd.DataFrame:
    """The whole table, one axis after the other: the second load needs the first."""
    rows = []
    with ThreadPoolExecutor(2 if short else 1) as pool:
        for name, axis in AXES.items():
            rows += pool.map(lambda value, name=name: in_own_process(name, value, scratch, short),
                             axis.short if short else axis.values)
    table = pd.DataFrame(rows)
    first = table.groupby("axis")[["value", "seconds"]].transform("first")
    slopes = table["axis"].map({name: axis.slope for name, axis in AXES.items()})
    return table.assign(
        expected_seconds=first["seconds"] * (table["value"] / first["value"]) ** slopes)


def slope_of(rows: pd.DataFrame) -> float:
    """The power by which the seconds grow: a least-squares line through the logarithms."""
    return np.polyfit(np.log(rows["value"]), np.log(rows["seconds"]), 1)[0]


def draw_panel(panel, rows: pd.DataFrame, axis: Axis) -> None:
    """Measured seconds, and the expected slope from the first of them."""
    from matplotlib.ticker import LogLocator
    panel.loglog(rows["value"], rows["expected_seconds"], "--", color="0.5", label="expected")
    panel.loglog(rows["value"], rows["seconds"], "o", label="measured")
    memory = rows["peak_memory_mib"]
    panel.set_title(f"{axis.heading}\nslope {slope_of(rows):.2f}, expected {axis.slope}\n"
                    f"peak {memory.min():,} to {memory.max():,} MiB")
    seconds = rows[["seconds", "expected_seconds"]].to_numpy()
    middle = np.sqrt(seconds.max() * seconds.min())
    reach = max(1.5 * seconds.max() / middle, 5)  # wide: noise is not to look like growth
    panel.set(xlabel=axis.label, ylabel="seconds", ylim=(middle / reach, middle * reach))
    panel.set_xticks(rows["value"], [f"{value:,}" for value in rows["value"]])
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    panel.minorticks_off()
    panel.yaxis.set_major_formatter("{x:g}")
    panel.margins(x=0.12)


def save_figure(table: pd.DataFrame, folder: Path) -> None:
    """growth.pdf and growth.png: a panel an axis."""
    from matplotlib import pyplot, rc_context

    from crackutils.papers import crack_figures
    with rc_context(crack_figures.STYLE):
        figure, panels = pyplot.subplots(2, 3, figsize=(crack_figures.WIDTH, 4.8))
        for panel, (name, axis) in zip(panels.flat, AXES.items()):
            draw_panel(panel, table[table["axis"] == name], axis)
        figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        crack_figures.save(figure, folder, "growth")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="tiny, two at a time: to see it run")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    parser.add_argument("--figures", type=Path, default=Path("figures"))
    parser.add_argument("--one", nargs=2, metavar=("NAME", "VALUE"), help="a single measurement")
    parser.add_argument("--scratch", type=Path, help="of --one: where its files go")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as own:
        if given.one:
            measure, value = AXES[given.one[0]].measure, int(given.one[1])
            print(json.dumps(measure(value, given.scratch or Path(own), given.short)))
            return
        table = measure_all(own, given.short)
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
