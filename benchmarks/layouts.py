"""Which precision and memory layout trains fastest on a CPU: the reasons for `device.fastest`.

The four combinations train the same networks in turns. Beside them, the one operation that makes a
layout slow: the backward pass of batch norm, by the number of channels. The table is `layouts.csv`.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch.utils.benchmark import Timer
from torch_workers import package_loop
from training import CASES, Case, processor, protocol_of

from crackutils import data as datasets
from crackutils import device

COMBINATIONS = [(precision, layout) for precision in ("float32", "bfloat16")
                for layout in ("channels_first", "channels_last")]


def training_rows(case: Case, turns: int, short: bool, scratch: Path) -> list[dict]:
    """Images a second of one network in each combination."""
    steps = 2 if short else case.steps // 2
    loops, rates = {}, {}
    for precision, layout in COMBINATIONS:
        protocol = replace(protocol_of(case, short), precision=precision, memory_format=layout)
        part = datasets.load("synthetic", protocol, scratch).train
        loops[precision, layout] = package_loop(protocol, part)
        rates[precision, layout] = []
    for turn in range(turns + 1):
        for combination, loop in loops.items():
            begun = time.perf_counter()
            loop(turn * steps, steps)
            if turn > 0:  # the first is to warm up
                rates[combination].append(steps * protocol.batch / (time.perf_counter() - begun))
    chosen = device.fastest(protocol_of(case, short), "cpu")
    return [{"what": case.model, "channels": case.first_filters, "precision": combination[0],
             "memory_format": combination[1], "unit": "images a second",
             "median": statistics.median(values), "slowest": min(values), "fastest": max(values),
             "chosen": combination == chosen} for combination, values in rates.items()]


def batch_norm_row(channels: int, layout: str, short: bool) -> dict:
    """Milliseconds of batch norm's backward pass on 16 pictures of 128 x 128."""
    side = 16 if short else 128
    memory_format = torch.contiguous_format
    if layout == "channels_last":
        memory_format = torch.channels_last
    values = torch.randn(16, channels, side, side).contiguous(memory_format=memory_format)
    output = torch.nn.BatchNorm2d(channels)(values.requires_grad_())
    timer = Timer("output.backward(gradient, retain_graph=True)",
                  globals={"output": output, "gradient": torch.randn_like(output)},
                  num_threads=torch.get_num_threads())
    times = [1e3 * timer.timeit(1).mean for _ in range(9)]
    return {"what": "backward pass of batch norm", "channels": channels, "precision": "float32",
            "memory_format": layout, "unit": "milliseconds", "median": statistics.median(times),
            "slowest": max(times), "fastest": min(times)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"),
                        help="folder of the table")
    parser.add_argument("--turns", type=int, default=5, help="timed turns, after one to warm up")
    parser.add_argument("--short", action="store_true",
                        help="tiny batches: shows that it runs, measures nothing")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for case in CASES:
            rows += training_rows(case, given.turns, given.short, Path(scratch))
    for channels in (8, 16, 32):
        for layout in ("channels_first", "channels_last"):
            rows.append(batch_norm_row(channels, layout, given.short))
    table = pd.DataFrame(rows).assign(processor=processor(), cores=device.usable_cores())
    given.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(given.out / "layouts.csv", index=False, float_format="%.4g")
    print(table.iloc[:, :9].to_string(index=False))


if __name__ == "__main__":
    main()
