"""The FPN draws dropout: its runs too must be a function of (seed, step)."""

import pytest
import torch

from crackutils import datasets, training
from crackutils.models import build
from crackutils.protocol import preset
from crackutils.sampling import Sampler
from crackutils.training import Hardware, train

HERE = Hardware("cpu", "float32", "channels_first")
PROTOCOL = preset("smoke", "roads", {"steps": 3})


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return datasets.load("synthetic", PROTOCOL, tmp_path_factory.mktemp("data")).train


class Interrupted(Sampler):
    """A sampler that is gone after the second step."""

    def batch(self, step):
        if step == 2:
            raise KeyboardInterrupt
        return super().batch(step)


def test_an_fpn_run_is_the_same_whatever_was_drawn_before_and_after_a_cut(samples, tmp_path,
                                                                          monkeypatch):
    first = build(PROTOCOL)
    losses, _ = train(first, Sampler(samples, PROTOCOL), PROTOCOL, HERE, tmp_path / "first")
    torch.rand(7)
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1)
    monkeypatch.setattr(training, "FETCH_EVERY", 1)
    with pytest.raises(KeyboardInterrupt):
        train(build(PROTOCOL), Interrupted(samples, PROTOCOL), PROTOCOL, HERE, tmp_path / "cut")
    resumed = build(PROTOCOL)
    again, _ = train(resumed, Sampler(samples, PROTOCOL), PROTOCOL, HERE, tmp_path / "cut")
    assert again == losses
    for one, other in zip(first.state_dict().values(), resumed.state_dict().values()):
        assert torch.equal(one, other)
