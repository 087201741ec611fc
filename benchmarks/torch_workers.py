"""Training in PyTorch, in a process of its own: see `training.py`.

`pytorch` is the loop that a competent user writes: autocast for bfloat16, the given memory layout,
Adam. `crackutils` is one call of this repository's `training.train`. A process reads lines of
"<first step> <steps>" and answers each with the seconds that these steps took; drawing and
preparing the batches is part of that.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from crackutils import data as datasets
from crackutils import device, models, records
from crackutils.batches import Sampler
from crackutils.data.picture_cache import Part
from crackutils.protocol import Protocol
from crackutils.training import train

Ask = Callable[[], tuple[int, int]]  # reports that the last steps are done; the next: first, number


def train_in_pytorch(protocol: Protocol, part: Part, ask: Ask) -> None:
    """Train for as many steps as `ask` wants."""
    network, sampler = models.build(protocol).train(), Sampler(part, protocol)
    layout = torch.contiguous_format
    if protocol.memory_format == "channels_last":
        layout = torch.channels_last
    network.to(memory_format=layout)
    optimizer = torch.optim.Adam(network.parameters(), lr=protocol.learning_rate, fused=True)
    while True:
        first, steps = ask()
        for step in range(first, first + steps):
            images, targets = sampler.batch(step)
            with torch.autocast("cpu", torch.bfloat16, protocol.precision == "bfloat16"):
                logits = network(images.contiguous(memory_format=layout))
            loss = functional.mse_loss(torch.sigmoid(logits.float()), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def train_by_package(protocol: Protocol, part: Part, ask: Ask) -> None:
    """The same by `training.train`, which asks where it would validate."""
    hardware = device.decide(protocol, "cpu")
    fabric = device.fabric_for(hardware)
    _, steps = ask()

    def validate() -> float:
        ask()
        return 0.0

    run = replace(protocol, steps=1_000 * steps, validate_every=steps)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = records.Checkpoints(Path(folder), run, "", hardware)
        # it would be due in every turn, after the wait for the others; in a training it takes 2 %
        checkpoints.due = lambda: False
        train(fabric, models.build(run), Sampler(part, run), hardware, checkpoints, validate)


def matrix_product_rate() -> float:
    """Floating-point operations a second of a large bfloat16 matrix product."""
    matrix = torch.randn(2048, 2048, dtype=torch.bfloat16)
    seconds = []
    for _ in range(9):
        begun = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - begun)
    return 2 * 2048**3 / sorted(seconds)[len(seconds) // 2]


def operations_of_a_step(protocol: Protocol, part: Part) -> int:
    """Floating-point operations of the convolutions and products, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        models.build(protocol)(Sampler(part, protocol).batch(0)[0]).sum().backward()
    return counter.get_total_flops()


def main() -> None:
    kind, folder, fields = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    protocol, begun = Protocol.from_dict(fields), None
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # progress bars must not come between the answers

    def ask() -> tuple[int, int]:
        """Answer with the seconds since the last steps were given, and wait for the next."""
        nonlocal begun
        if begun is not None:
            print(json.dumps(time.perf_counter() - begun), file=answers, flush=True)
        for line in sys.stdin:
            if line.strip() == "operations":
                print(operations_of_a_step(protocol, part), file=answers, flush=True)
            elif line.strip() == "matrix product":
                print(matrix_product_rate(), file=answers, flush=True)
            else:
                begun = time.perf_counter()
                first, steps = map(int, line.split())
                return first, steps
        sys.exit()

    with open(os.devnull, "w") as sys.stdout:
        part = datasets.load("synthetic", protocol, folder).train
        {"pytorch": train_in_pytorch, "crackutils": train_by_package}[kind](protocol, part, ask)


if __name__ == "__main__":
    main()
