"""The speed of training: this repository, PyTorch as a competent user writes it, and Keras 3 on
TensorFlow, each in float32 and, where the processor computes in it, in bfloat16.

All train the same networks on the same draws, with the same optimizer and number of threads. They
take turns, so a slow minute of the machine slows all of them alike. The last turns have a busy
process beside them, as a browser is. Drawing and preparing the batches is part of the time, except
that Keras is given the draws and only cuts the crops. The table is `training.csv`.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from crackutils import OPENMP, device
from crackutils import data as datasets
from crackutils.batches import Sampler
from crackutils.device import usable_cores
from crackutils.protocol import Protocol, preset

HERE = Path(__file__).resolve().parent


class Case(NamedTuple):
    """A network that is trained, and the number of steps of a turn."""

    model: str
    first_filters: int | None
    steps: int


CASES = (Case("unet", 8, 10), Case("unet", 16, 6), Case("fpn", None, 5))
LAYOUTS = ("channels_first", "channels_last")


class Way(NamedTuple):
    """An implementation in one precision and memory layout."""

    implementation: str
    precision: str
    memory_format: str


class Worker:
    """One implementation in a process of its own."""

    def __init__(self, command: list[str], environment: dict[str, str]):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=environment, cwd=HERE.parent)

    def ask(self, line: str):
        """Send a line and wait for the answer."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{' '.join(self.process.args[:3])} ended without an answer, with "
                               f"exit status {self.process.wait()}; its error is above.")
        return json.loads(answer)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def protocol_of(case: Case, short: bool) -> Protocol:
    """The paper's U-Net on 128 x 128 crops, 16 a step; the FPN on 128 x 160, 8 a step."""
    if case.model == "fpn":
        return preset("cpu", "roads", {"counts": [16, 2, 2], "batch": 2 if short else 8})
    return preset("cpu", "cracks", {
        "first_filters": case.first_filters, "counts": [16, 2, 2], "augmentation": "none",
        "batch": 2 if short else 16})


def keras_input(protocol: Protocol, scratch: Path, steps: int) -> tuple[Path, dict]:
    """Write the pixels and draws of a U-Net's run; returns the file and the network's fields."""
    part = datasets.load("synthetic", protocol, scratch).train
    sampler = Sampler(part, protocol)
    draws = [draw[:3] for step in range(steps) for draw in sampler.draws(step)]
    file = scratch / f"draws-{protocol.first_filters}.npz"
    np.savez(file, images=np.stack([sample.image for sample in part]),
             masks=np.stack([sample.mask for sample in part]), draws=np.array(draws, np.int32))
    return file, {"levels": protocol.levels, "kernel": protocol.kernel,
                  "first_filters": protocol.first_filters, "tile": protocol.tile[0],
                  "batch": protocol.batch}


def ways_of(protocol: Protocol, keras_python: str | None) -> list[Way]:
    """What is compared for this network on this processor."""
    precisions = ["float32"]
    capabilities = torch.cpu.get_capabilities()
    if capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"):
        precisions.append("bfloat16")
    ways = []
    for precision in precisions:
        hardware = device.decide(replace(protocol, precision=precision), "cpu")
        ways.append(Way("crackutils", precision, hardware.memory_format))
        ways += [Way("pytorch", precision, layout) for layout in LAYOUTS]
        if keras_python and protocol.architecture == "unet":
            ways.append(Way("keras", precision, "channels_last"))
    return ways


def start_workers(ways: list[Way], protocol: Protocol, scratch: Path, keras_python: str | None,
                  steps: int) -> dict[Way, Worker]:
    """A process for each way."""
    threads, workers = str(usable_cores()), {}
    environment = os.environ | {"OMP_NUM_THREADS": threads, "TF_NUM_INTRAOP_THREADS": threads,
                                "NO_ALBUMENTATIONS_UPDATE": "1", "PYTHONWARNINGS": "ignore"}
    # what `import crackutils` sets for itself, the others do not have
    others = {name: value for name, value in environment.items() if name not in OPENMP}
    for way in ways:
        if way.implementation == "keras":
            file, fields = keras_input(protocol, scratch, steps)
            command = [keras_python, str(HERE / "keras_worker.py"), str(file),
                       json.dumps(fields | {"precision": way.precision})]
        else:
            chosen = replace(protocol, precision=way.precision, memory_format=way.memory_format)
            command = [sys.executable, str(HERE / "torch_workers.py"), way.implementation,
                       str(scratch), json.dumps(chosen.as_dict())]
        own = way.implementation == "crackutils"
        workers[way] = Worker(command, environment if own else others)
    return workers


@contextlib.contextmanager
def busy_process() -> Iterator[None]:
    """A process that keeps a core busy."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(case: Case, given: argparse.Namespace, scratch: Path) -> list[dict]:
    """The rows of one network."""
    steps = 2 if given.short else case.steps
    protocol = protocol_of(case, given.short)
    ways = ways_of(protocol, given.keras_python)
    turns = 1 + given.repeats + given.busy_repeats  # the first is to warm up
    workers = start_workers(ways, protocol, scratch, given.keras_python, steps * turns)
    idle, busy, product_rates = ({way: [] for way in ways} for _ in range(3))
    for turn in range(turns):
        beside = turn > given.repeats
        with busy_process() if beside else contextlib.nullcontext():
            for way in ways:
                rate = steps * protocol.batch / workers[way].ask(f"{turn * steps} {steps}")
                if turn > 0:
                    (busy if beside else idle)[way].append(rate)
                    print(f"{case.model} {case.first_filters or ''} {' '.join(way)}"
                          f"{' beside a busy process' * beside}: {rate:.1f} images/s", flush=True)
                    if not beside:
                        product_rates[way].append(workers[ways[0]].ask("matrix product"))
    operations = workers[ways[0]].ask("operations") / protocol.batch
    for worker in workers.values():
        worker.close()
    return [row_of(way, case, idle, busy, product_rates[way], operations) for way in ways]


def row_of(way: Way, case: Case, idle: dict[Way, list[float]], busy: dict[Way, list[float]],
           product_rates: list[float], operations: float) -> dict:
    """Medians over the turns; the median of a ratio is that of the ratios within each turn.

    The best peer is the fastest of the other implementations in the same precision.
    """
    peers = [other for other in idle if other.implementation != "crackutils"
             and other.precision == way.precision]
    best = max(peers, key=lambda other: statistics.median(idle[other]))
    best_busy = max(peers, key=lambda other: statistics.median(busy[other]))
    speeds = idle[way]
    return {**way._asdict(), "model": case.model, "first_filters": case.first_filters,
            "images_per_second": round(statistics.median(speeds), 2),
            "slowest": round(min(speeds), 2), "fastest": round(max(speeds), 2),
            "turns": len(speeds), "best_peer": f"{best.implementation} {best.memory_format}",
            "ratio_to_best_peer": round(median_ratio(speeds, idle[best]), 3),
            "busy_images_per_second": round(statistics.median(busy[way]), 2),
            "busy_share": round(statistics.median(busy[way]) / statistics.median(speeds), 3),
            "busy_ratio_to_best_peer": round(median_ratio(busy[way], busy[best_busy]), 3),
            "gflops_per_image": round(operations / 1e9, 2),
            "bfloat16_product_gflops_per_second": round(statistics.median(product_rates) / 1e9),
            "share_of_product_rate": round(operations * median_ratio(speeds, product_rates), 3)}


def median_ratio(numerators: list[float], denominators: list[float]) -> float:
    """The median of the ratios within each turn."""
    return statistics.median(numerator / denominator for numerator, denominator
                             in zip(numerators, denominators))


def processor() -> str:
    """The processor's name, and whether it has matrix units for bfloat16 (known on Linux only)."""
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.is_file() else ""
    names = [line.split(":")[1].strip() for line in text.splitlines() if "model name" in line]
    name = names[0] if names else platform.machine()
    return name + ", AMX" if "amx_bf16" in text else name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keras-python", help="a Python with tensorflow and keras (default: "
                        "without Keras)")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"),
                        help="folder of the table")
    parser.add_argument("--repeats", type=int, default=5, help="timed turns, after one to warm up")
    parser.add_argument("--busy-repeats", type=int, default=3,
                        help="further turns beside a busy process")
    parser.add_argument("--short", action="store_true",
                        help="tiny batches: shows that it runs, measures nothing")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for case in CASES:
            rows += measure(case, given, Path(scratch))
    table = pd.DataFrame(rows).assign(processor=processor(), cores=usable_cores())
    table.to_csv(given.out / "training.csv", index=False)
    print(table.iloc[:, :13].to_string(index=False))
    print(f"on {usable_cores()} cores, {processor()}")


if __name__ == "__main__":
    main()
