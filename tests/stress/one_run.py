"""One training run that may kill its own process: see `test_kills.py`.

Usage: one_run.py RUNS KIND STEP FRACTION [DEVICES]. KIND is "none", "step" (kill -9 after STEP),
"other" (the same, in the second process), "write" (kill -9 in the first checkpoint from STEP on,
when FRACTION of it is written; at 1 it is whole, but not renamed), "full" (no file may grow beyond
FRACTION of that checkpoint), "evaluation" (kill -9 when all is trained) or "record" (kill -9 when
STEP of the record's files are written).
"""

import io
import math
import os
import resource
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch

from crackutils import data as datasets
from crackutils import experiment, files, records, training
from crackutils.protocol import preset

PROTOCOL = preset("quick", overrides={
    "counts": [12, 3, 3], "image_size": [96, 96], "tile": [64, 64], "batch": 4, "steps": 60,
    "augmentation": "flips", "loss": "relu", "weight": 0.97, "precision": "float32"})
BETWEEN_CHECKPOINTS = 4  # steps
MAKE = experiment.make


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_after(step: int, rank: int) -> None:
    """Die after a step, before its loss is fetched."""
    real = training.learning_rate

    def learning_rate(protocol, number):
        if number == step and int(os.environ.get("LOCAL_RANK", "0")) == rank:
            kill_this_process()
        return real(protocol, number)

    training.learning_rate = learning_rate


def harm_checkpoint(kind: str, step: int, fraction: float) -> None:
    """Die, or meet a full disk, while the first checkpoint from `step` on is written."""
    real = torch.save

    def save(state, file):
        if len(state["losses"]) < step:
            return real(state, file)
        buffer = io.BytesIO()
        real(state, buffer)
        size = int(len(buffer.getvalue()) * fraction)
        if kind == "full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            return real(state, file)
        file.write(buffer.getvalue()[:size])
        file.flush()
        kill_this_process()

    torch.save = save


def kill_in_record(done: int) -> None:
    """Die in the writing of the record, when this number of its files is written."""
    real, written = files.write_atomically, []

    def write_atomically(path, content):
        if path.name == records.CHECKPOINT:
            return real(path, content)
        if len(written) == done + 1:  # the first is config.json, at the beginning of the run
            kill_this_process()
        written.append(path)
        real(path, content)

    records.write_atomically = write_atomically


def prepare(kind: str, step: int, fraction: float) -> None:
    """Have checkpoints written often, and the process killed as ordered."""
    records.CHECKPOINT_SECONDS, records.CHECKPOINT_SHARE = -1, math.inf
    training.FETCH_EVERY = BETWEEN_CHECKPOINTS
    if kind in ("step", "other"):
        kill_after(step, rank=int(kind == "other"))
    elif kind == "record":
        kill_in_record(step)
    elif kind == "evaluation":
        experiment.evaluate = lambda *_: kill_this_process()
    elif kind in ("write", "full"):
        harm_checkpoint(kind, step, fraction)


class Prepared:
    """`make` after `prepare`, in processes that are started anew too."""

    def __init__(self, *order):
        self.order = order

    def __call__(self, *args, **kwargs):
        prepare(*self.order)
        return MAKE(*args, **kwargs)


def main() -> None:
    root, kind, step, fraction = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    devices = int(sys.argv[5]) if len(sys.argv) > 5 else 1
    protocol = PROTOCOL
    if devices > 1:
        protocol = replace(protocol, batch_norm=False)
    experiment.make = Prepared(kind, step, float(fraction))
    dataset = datasets.load("synthetic", protocol, root.parent / "data")
    print(experiment.complete(protocol, dataset, root, None, "cpu", devices))


if __name__ == "__main__":
    main()
