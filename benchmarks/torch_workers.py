"""The same training twice in PyTorch, each in a process of its own: see `training.py`.

`plain_pytorch` is the loop a competent user writes: float32, channels first, Adam as it comes.
`crackutils` is this repository's `training.train`. Both read lines of "<first step> <steps>" and
answer each with the seconds these steps took, drawing and preparing the batches included.
"""

import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from crackutils import data as datasets
from crackutils import device, models, records
from crackutils.batches import Sampler
from crackutils.protocol import Protocol
from crackutils.training import train


def plain_loop(protocol: Protocol, sampler: Sampler):
    """A function of (first step, steps) that trains on."""
    network = models.build(protocol).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=protocol.learning_rate)

    def some(first: int, steps: int) -> None:
        for step in range(first, first + steps):
            images, targets = sampler.batch(step)
            loss = functional.mse_loss(torch.sigmoid(network(images.contiguous())), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return some


class From(Sampler):
    """Batches from another first step."""

    first = 0

    def draws(self, step):
        return super().draws(self.first + step)


def own_loop(protocol: Protocol, part):
    """A function of (first step, steps) that trains a network of its own."""
    decided = device.decide(protocol, "cpu")
    fabric = device.fabric_for(decided)

    def some(first: int, steps: int) -> None:
        shorter = replace(protocol, steps=steps)
        sampler = From(part, shorter)
        sampler.first = first
        with tempfile.TemporaryDirectory() as folder:
            checkpoints = records.Checkpoints(Path(folder), shorter, "", decided)
            train(fabric, models.build(shorter), sampler, decided, checkpoints)

    return some


def rate() -> float:
    """Floating-point operations a second of a bfloat16 matrix product."""
    matrix = torch.randn(2048, 2048, dtype=torch.bfloat16)
    seconds = []
    for _ in range(9):
        begun = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - begun)
    return 2 * 2048**3 / sorted(seconds)[len(seconds) // 2]


def operations(protocol: Protocol, sampler: Sampler) -> int:
    """Floating-point operations of convolutions and products in a step, forward and backward."""
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
        loop = (plain_loop(protocol, sampler) if kind == "plain_pytorch"
                else own_loop(protocol, part))
        for line in sys.stdin:
            if line.startswith("facts"):
                answer = {"operations": operations(protocol, sampler),
                          **vars(device.decide(protocol, "cpu"))}
            elif line.startswith("rate"):
                answer = rate()
            else:
                begun = time.perf_counter()
                loop(*map(int, line.split()))
                answer = time.perf_counter() - begun
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
