"""Which precision and memory layout trains fastest on a CPU: why `device.fastest` decides so.

The four combinations take turns. Beside them the one operation that spoils a layout: the backward
pass of batch norm, by channels.
"""

import argparse
import itertools
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch.utils.benchmark import Timer
from torch_workers import own_loop
from training import CASES, processor, protocol_of

from crackutils import data as datasets
from crackutils import device

COMBINATIONS = tuple(itertools.product(("float32", "bfloat16"),
                                       ("channels_first", "channels_last")))


def networks(case: tuple, turns: int, short: bool, scratch: Path) -> list[dict]:
    """Images a second of one network in each combination."""
    model, first_filters, steps = case
    steps = 2 if short else steps // 2
    loops, rates = {}, {}
    for precision, layout in COMBINATIONS:
        protocol = replace(protocol_of(model, first_filters, short), precision=precision,
                                    memory_format=layout)
        part = datasets.load("synthetic", protocol, scratch).train
        loops[precision, layout], rates[precision, layout] = own_loop(protocol, part), []
    chosen = device.fastest(protocol_of(model, first_filters, short), "cpu")
    for turn in range(turns + 1):
        for combination, loop in loops.items():
            begun = time.perf_counter()
            loop(turn * steps, steps)
            if turn:  # the first is warm-up
                rates[combination].append(steps * protocol.batch / (time.perf_counter() - begun))
    return [{"what": model, "channels": first_filters, "precision": combination[0],
             "memory_format": combination[1], "unit": "images a second",
             "median": statistics.median(found), "slowest": min(found), "fastest": max(found),
             "chosen": combination == chosen} for combination, found in rates.items()]


def batch_norm(channels: int, layout: str, short: bool) -> dict:
    """Milliseconds of batch norm's backward pass on 16 pictures of 128 x 128."""
    side = 16 if short else 128
    values = torch.randn(16, channels, side, side).contiguous(
        memory_format=getattr(torch, layout) if layout == "channels_last"
        else torch.contiguous_format).requires_grad_()
    answer = torch.nn.BatchNorm2d(channels)(values)
    timer = Timer("answer.backward(slope, retain_graph=True)",
                  globals={"answer": answer, "slope": torch.randn_like(answer)},
                  num_threads=torch.get_num_threads())
    found = [1e3 * timer.timeit(1).mean for _ in range(9)]
    return {"what": "backward pass of batch norm", "channels": channels, "precision": "float32",
            "memory_format": layout, "unit": "milliseconds", "median": statistics.median(found),
            "slowest": max(found), "fastest": min(found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--short", action="store_true", help="tiny batches: only to see it run")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = [row for case in CASES
                for row in networks(case, given.turns, given.short, Path(scratch))]
    rows += [batch_norm(channels, layout, given.short) for channels in (8, 16, 32)
             for layout in ("channels_first", "channels_last")]
    table = pd.DataFrame(rows).assign(processor=processor(), cores=os.cpu_count())
    given.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(given.out / "layouts.csv", index=False, float_format="%.4g")
    print(table.iloc[:, :9].to_string(index=False))


if __name__ == "__main__":
    main()
