"""The same training in two ways in PyTorch, each in a process of its own: see `training.py`.

`plain_pytorch` is the loop that a competent user writes: float32, channels first, Adam with its
defaults. `crackutils` is this repository's `training.train`. A process reads lines of
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
from crackutils.batches import Draw, Sampler
from crackutils.data.picture_cache import Part
from crackutils.protocol import Protocol
from crackutils.training import train

Loop = Callable[[int, int], None]  # first step, number of steps


def plain_loop(protocol: Protocol, sampler: Sampler) -> Loop:
    """A function that trains one network for more and more steps."""
    network = models.build(protocol).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=protocol.learning_rate)

    def train_steps(first: int, steps: int) -> None:
        for step in range(first, first + steps):
            images, targets = sampler.batch(step)
            loss = functional.mse_loss(torch.sigmoid(network(images.contiguous())), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return train_steps


class LaterSampler(Sampler):
    """A sampler whose step 0 is the step `first` of its protocol."""

    first = 0

    def draws(self, step: int) -> list[Draw]:
        return super().draws(self.first + step)


def package_loop(protocol: Protocol, part: Part) -> Loop:
    """A function that trains a new network by `training.train` at each call."""
    hardware = device.decide(protocol, "cpu")
    fabric = device.fabric_for(hardware)

    def train_steps(first: int, steps: int) -> None:
        run = replace(protocol, steps=steps)
        sampler = LaterSampler(part, run)
        sampler.first = first
        with tempfile.TemporaryDirectory() as folder:
            checkpoints = records.Checkpoints(Path(folder), run, "", hardware)
            train(fabric, models.build(run), sampler, hardware, checkpoints)

    return train_steps


def matrix_product_rate() -> float:
    """Floating-point operations a second of a large bfloat16 matrix product."""
    matrix = torch.randn(2048, 2048, dtype=torch.bfloat16)
    seconds = []
    for _ in range(9):
        begun = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - begun)
    return 2 * 2048**3 / sorted(seconds)[len(seconds) // 2]


def operations_of_a_step(protocol: Protocol, sampler: Sampler) -> int:
    """Floating-point operations of the convolutions and products, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        models.build(protocol)(sampler.batch(0)[0]).sum().backward()
    return counter.get_total_flops()


def main() -> None:
    kind, folder, fields = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    protocol = Protocol.from_dict(fields)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # progress bars must not come between the answers
    with open(os.devnull, "w") as sys.stdout:
        part = datasets.load("synthetic", protocol, folder).train
        sampler = Sampler(part, protocol)
        if kind == "plain_pytorch":
            loop = plain_loop(protocol, sampler)
        else:
            loop = package_loop(protocol, part)
        for line in sys.stdin:
            if line.strip() == "hardware":
                answer = {"operations": operations_of_a_step(protocol, sampler),
                          **vars(device.decide(protocol, "cpu"))}
            elif line.strip() == "matrix product":
                answer = matrix_product_rate()
            else:
                begun = time.perf_counter()
                loop(*map(int, line.split()))
                answer = time.perf_counter() - begun
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
