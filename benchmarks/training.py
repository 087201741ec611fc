"""The speed of training: this repository, plain PyTorch, and Keras 3 on TensorFlow.

All train the same networks on the same draws, with the same optimizer and number of threads. Each
implementation is a process that waits while another computes. They take turns, so a slow minute of
the machine slows all of them alike. Drawing and preparing the batches is part of the time, except
that Keras is given the draws and only cuts the crops. The table is `training.csv`.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

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


CASES = (Case("unet", 8, 20), Case("unet", 16, 12), Case("fpn", None, 10))


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


def start_workers(protocol: Protocol, scratch: Path, keras_python: str | None,
                  steps: int) -> dict[str, Worker]:
    """A process for each implementation that has this network."""
    threads = str(usable_cores())
    environment = os.environ | {"OMP_NUM_THREADS": threads, "TF_NUM_INTRAOP_THREADS": threads,
                                "NO_ALBUMENTATIONS_UPDATE": "1", "PYTHONWARNINGS": "ignore"}
    commands = {name: [sys.executable, str(HERE / "torch_workers.py"), name, str(scratch),
                       json.dumps(protocol.as_dict())] for name in ("plain_pytorch", "crackutils")}
    if protocol.architecture == "unet" and keras_python:
        file, fields = keras_input(protocol, scratch, steps)
        commands["keras"] = [keras_python, str(HERE / "keras_worker.py"), str(file),
                             json.dumps(fields)]
    return {name: Worker(command, environment) for name, command in commands.items()}


def measure(case: Case, keras_python: str | None, scratch: Path, repeats: int,
            short: bool) -> list[dict]:
    """The rows of one network."""
    steps = 2 if short else case.steps
    protocol = protocol_of(case, short)
    workers = start_workers(protocol, scratch, keras_python, steps * (repeats + 1))
    rates, product_rates = {name: [] for name in workers}, []
    for turn in range(repeats + 1):
        for name, worker in workers.items():
            seconds = worker.ask(f"{turn * steps} {steps}")
            if turn > 0:  # the first is to warm up
                rates[name].append(steps * protocol.batch / seconds)
                print(f"{case.model} {case.first_filters or ''} {name}: {rates[name][-1]:.1f} "
                      "images/s", flush=True)
        product_rate = workers["crackutils"].ask("matrix product")
        if turn > 0:
            product_rates.append(product_rate)
    hardware = workers["crackutils"].ask("hardware")
    for worker in workers.values():
        worker.close()
    return rows_of(case, protocol, rates, product_rates, hardware)


def rows_of(case: Case, protocol: Protocol, rates: dict[str, list[float]],
            product_rates: list[float], hardware: dict) -> list[dict]:
    """Medians over the turns; the median of a ratio is that of the ratios within each turn."""
    operations = hardware["operations"] / protocol.batch
    layouts = {"crackutils": hardware["memory_format"], "keras": "channels_last",
               "plain_pytorch": "channels_first"}
    rows = []
    for name, speeds in rates.items():
        ratios = {}
        for other, other_speeds in rates.items():
            ratios[other] = round(median_ratio(speeds, other_speeds), 3)
        share = operations * median_ratio(speeds, product_rates)
        rows.append({
            "implementation": name, "model": case.model, "first_filters": case.first_filters,
            "images_per_second": round(statistics.median(speeds), 2),
            "ratio_to_plain_pytorch": ratios["plain_pytorch"],
            "ratio_to_keras": ratios.get("keras"), "slowest": round(min(speeds), 2),
            "fastest": round(max(speeds), 2), "turns": len(speeds),
            "precision": hardware["precision"] if name == "crackutils" else "float32",
            "memory_format": layouts[name], "gflops_per_image": round(operations / 1e9, 2),
            "bfloat16_product_gflops_per_second": round(statistics.median(product_rates) / 1e9),
            "share_of_product_rate": round(share, 3)})
    return rows


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
    parser.add_argument("--repeats", type=int, default=7, help="timed turns, after one to warm up")
    parser.add_argument("--short", action="store_true",
                        help="tiny batches: shows that it runs, measures nothing")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for case in CASES:
            rows += measure(case, given.keras_python, Path(scratch), given.repeats, given.short)
    table = pd.DataFrame(rows).assign(processor=processor(), cores=usable_cores())
    table.to_csv(given.out / "training.csv", index=False)
    print(table.iloc[:, :7].to_string(index=False))
    print(f"on {usable_cores()} cores, {processor()}")


if __name__ == "__main__":
    main()
