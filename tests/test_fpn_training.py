"""The FPN draws dropout: its runs too must be a function of (seed, step)."""

import math

import pytest
import torch

from crackutils import data as datasets
from crackutils import experiment, records, training
from crackutils.batches import Sampler
from crackutils.device import Hardware, fabric_for
from crackutils.models import build
from crackutils.protocol import preset
from crackutils.training import train

HERE = Hardware("cpu", "float32", "channels_first")
PROTOCOL = preset("smoke", "roads", {"steps": 3})


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return datasets.load("synthetic", PROTOCOL, tmp_path_factory.mktemp("data")).train


def run(model, sampler, record, protocol=PROTOCOL):
    """The losses, and in the place of the validation's IoU the sum of the network's state."""
    checkpoints = records.Checkpoints(record, protocol, "data", HERE)

    def sum_of_state() -> float:
        model.eval()
        return float(sum(value.double().sum() for value in model.state_dict().values()))

    return train(fabric_for(HERE), model, sampler, HERE, checkpoints, sum_of_state)[:2]


class Interrupted(Sampler):
    """A sampler that is interrupted after the second step."""

    def batch(self, step):
        if step == 2:
            raise KeyboardInterrupt
        return super().batch(step)


def test_an_fpn_run_depends_on_its_seed_alone_and_ends_alike_after_an_interruption(
        samples, tmp_path, monkeypatch):
    first = build(PROTOCOL)
    losses = run(first, Sampler(samples, PROTOCOL), tmp_path / "first")
    torch.rand(7)
    monkeypatch.setattr(records, "CHECKPOINT_SECONDS", -1)
    monkeypatch.setattr(records, "CHECKPOINT_SHARE", math.inf)
    monkeypatch.setattr(training, "FETCH_EVERY", 1)
    with pytest.raises(KeyboardInterrupt):
        run(build(PROTOCOL), Interrupted(samples, PROTOCOL), tmp_path / "cut")
    resumed = build(PROTOCOL)
    again = run(resumed, Sampler(samples, PROTOCOL), tmp_path / "cut")
    assert again == losses and list(losses[1]) == [1, 2, 3]
    for one, other in zip(first.state_dict().values(), resumed.state_dict().values()):
        assert torch.equal(one, other)


def test_a_loss_of_nan_stops_the_run_although_validation_met_nan_before(tmp_path):
    protocol = preset("smoke", "roads", {"steps": 3, "learning_rate": 1e38})
    dataset = datasets.load("synthetic", protocol, tmp_path)
    with pytest.raises(training.TrainingFailedError, match="its batch"):
        experiment.complete(protocol, dataset, tmp_path, None, "cpu")


def test_how_often_a_run_validates_changes_no_loss(samples, tmp_path):
    seldom = preset("smoke", "roads", {"steps": 3, "validate_every": 2})
    losses, validation = run(build(seldom), Sampler(samples, seldom), tmp_path / "seldom", seldom)
    assert list(validation) == [2]
    assert losses == run(build(PROTOCOL), Sampler(samples, PROTOCOL), tmp_path / "often")[0]
