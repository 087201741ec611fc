"""The FPN draws dropout: its runs too must be a function of (seed, step)."""

import math

import pytest
import torch

from crackutils import datasets, runs, training
from crackutils.hardware import Hardware, fabric_for
from crackutils.models import build
from crackutils.protocol import preset
from crackutils.sampling import Sampler
from crackutils.training import train

HERE = Hardware("cpu", "float32", "channels_first")
PROTOCOL = preset("smoke", "roads", {"steps": 3})


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return datasets.load("synthetic", PROTOCOL, tmp_path_factory.mktemp("data")).train


def run(model, sampler, record):
    checkpoints = runs.Checkpoints(record, PROTOCOL, "data", HERE)
    return train(fabric_for(HERE), model, sampler, HERE, checkpoints)[0]


class Interrupted(Sampler):
    """A sampler that is gone after the second step."""

    def batch(self, step):
        if step == 2:
            raise KeyboardInterrupt
        return super().batch(step)


def test_an_fpn_run_is_the_same_whatever_was_drawn_before_and_after_a_cut(samples, tmp_path,
                                                                          monkeypatch):
    first = build(PROTOCOL)
    losses = run(first, Sampler(samples, PROTOCOL), tmp_path / "first")
    torch.rand(7)
    monkeypatch.setattr(runs, "CHECKPOINT_SECONDS", -1)
    monkeypatch.setattr(runs, "CHECKPOINT_SHARE", math.inf)
    monkeypatch.setattr(training, "FETCH_EVERY", 1)
    with pytest.raises(KeyboardInterrupt):
        run(build(PROTOCOL), Interrupted(samples, PROTOCOL), tmp_path / "cut")
    resumed = build(PROTOCOL)
    again = run(resumed, Sampler(samples, PROTOCOL), tmp_path / "cut")
    assert again == losses
    for one, other in zip(first.state_dict().values(), resumed.state_dict().values()):
        assert torch.equal(one, other)
