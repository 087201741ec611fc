"""Training, side by side: plain PyTorch, Keras 3 on TensorFlow, and this repository.

The same networks, draws, optimiser and number of threads; each implementation is a process that
waits while another computes. Their turns are interleaved, so that a slow minute of the machine
slows all of them alike. Drawing and preparing the batches counts; Keras gets its draws ready-made
and only cuts them.
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

import numpy as np
import pandas as pd

from crackutils import data as datasets
from crackutils.batches import Sampler
from crackutils.protocol import Protocol, preset

HERE = Path(__file__).resolve().parent
# model, first filters, steps a turn
CASES = (("unet", 8, 20), ("unet", 16, 12), ("fpn", None, 10))


class Worker:
    """One implementation in its own process."""

    def __init__(self, command: list[str], environment: dict):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=environment, cwd=HERE.parent)

    def ask(self, line: str):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.process.args[:3]} ended with {self.process.wait()}")
        return json.loads(answer)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def protocol_of(model: str, first_filters: int | None, short: bool) -> Protocol:
    """The paper's U-Net on 128 x 128 crops, 16 a step; the FPN on 128 x 160, 8 a step."""
    if model == "fpn":
        return preset("cpu", "roads", {"counts": [16, 2, 2], "batch": 2 if short else 8})
    return preset("cpu", "cracks", {"first_filters": first_filters, "counts": [16, 2, 2],
                                    "augmentation": "none", "batch": 2 if short else 16})


def keras_input(protocol: Protocol, data: Path, steps: int) -> tuple[Path, dict]:
    """The pixels and draws of a U-Net's run as a file, and the network's form."""
    part = datasets.load("synthetic", protocol, data).train
    sampler = Sampler(part, protocol)
    draws = [draw[:3] for step in range(steps) for draw in sampler.draws(step)]
    file = data / f"draws-{protocol.first_filters}.npz"
    np.savez(file, images=np.stack([sample.image for sample in part]),
             masks=np.stack([sample.mask for sample in part]), draws=np.array(draws, np.int32))
    return file, {"levels": protocol.levels, "kernel": protocol.kernel,
                  "first_filters": protocol.first_filters, "tile": protocol.tile[0],
                  "batch": protocol.batch}


def workers(protocol: Protocol, data: Path, keras_python: str | None, steps: int,
            threads: int) -> dict[str, Worker]:
    """A process for each implementation that has this network."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "NO_ALBUMENTATIONS_UPDATE": "1",
                                "TF_NUM_INTRAOP_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
    commands = {name: [sys.executable, str(HERE / "torch_workers.py"), name, str(data),
                       json.dumps(protocol.as_dict())] for name in ("plain_pytorch", "crackutils")}
    if protocol.architecture == "unet" and keras_python:
        file, form = keras_input(protocol, data, steps)
        commands["keras"] = [keras_python, str(HERE / "keras_worker.py"), str(file),
                             json.dumps(form)]
    return {name: Worker(command, environment) for name, command in commands.items()}


def measure(case: tuple, keras_python: str | None, data: Path, repeats: int,
            short: bool) -> list[dict]:
    """The rows of one network."""
    model, first_filters, steps = case
    steps = 2 if short else steps
    protocol = protocol_of(model, first_filters, short)
    running = workers(protocol, data, keras_python, steps * (repeats + 1), os.cpu_count())
    rates, product_rates = {name: [] for name in running}, []
    for turn in range(repeats + 1):
        for name, worker in running.items():
            seconds = worker.ask(f"{turn * steps} {steps}")
            if turn:  # the first is warm-up
                rates[name].append(steps * protocol.batch / seconds)
                print(f"{model} {first_filters or ''} {name}: {rates[name][-1]:.1f} images/s",
                      flush=True)
        product_rates.append(running["crackutils"].ask("rate"))
    facts = running["crackutils"].ask("facts") | {"rates": product_rates[1:]}
    for worker in running.values():
        worker.close()
    return rows_of(model, first_filters, protocol, rates, facts)


def rows_of(model: str, first_filters: int | None, protocol: Protocol, rates: dict,
            facts: dict) -> list[dict]:
    """Medians and ratios; a ratio is the median over the turns of the ratio within a turn."""
    rows = []
    for name, found in rates.items():
        ratios = {other: statistics.median(own / their for own, their in zip(found, rates[other]))
                  for other in rates}
        speed = statistics.median(found)
        ours = name == "crackutils"
        rows.append({
            "implementation": name, "model": model, "first_filters": first_filters,
            "images_per_second": round(speed, 2),
            "ratio_to_plain_pytorch": round(ratios["plain_pytorch"], 3),
            "ratio_to_keras": round(ratios["keras"], 3) if "keras" in ratios else None,
            "slowest": round(min(found), 2), "fastest": round(max(found), 2), "turns": len(found),
            "precision": facts["precision"] if ours else "float32",
            "memory_format": facts["memory_format"] if ours else
            "channels_last" if name == "keras" else "channels_first",
            "gflops_per_image": round(facts["operations"] / protocol.batch / 1e9, 2),
            "bfloat16_product_gflops_per_second": round(statistics.median(facts["rates"]) / 1e9),
            "share_of_product_rate": round(statistics.median(
                own * facts["operations"] / protocol.batch / rate
                for own, rate in zip(found, facts["rates"])), 3)})
    return rows


def processor() -> str:
    """The processor's name, and whether it has matrix units for bfloat16 (Linux tells)."""
    facts = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    names = [line.split(":")[1].strip() for line in facts.splitlines() if "model name" in line]
    return (names or [platform.machine()])[0] + (", AMX" if "amx_bf16" in facts else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keras-python", help="a Python with tensorflow and keras")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--short", action="store_true", help="tiny batches: only to see it run")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows = []
    with tempfile.TemporaryDirectory() as data:
        for case in CASES:
            rows += measure(case, given.keras_python, Path(data), given.repeats, given.short)
    table = pd.DataFrame(rows).assign(processor=processor(), cores=os.cpu_count())
    table.to_csv(given.out / "training.csv", index=False)
    print(table.iloc[:, :7].to_string(index=False))
    print(f"on {os.cpu_count()} cores, {processor()}")


if __name__ == "__main__":
    main()
