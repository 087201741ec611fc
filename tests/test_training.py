"""Training: it learns, repeats itself, is resumed as if it had not been cut short, stops at NaN."""

import math

import numpy as np
import pytest
import torch

from crackutils import records, training
from crackutils.batches import Sampler
from crackutils.data.picture_cache import Part
from crackutils.data.samples import Sample
from crackutils.device import Hardware, fabric_for
from crackutils.models import build
from crackutils.protocol import preset
from crackutils.training import TrainingFailedError, learning_rate, train

HERE = Hardware("cpu", "float32", "channels_first")
TINY = {"counts": [4, 2, 2], "image_size": [32, 32], "tile": [16, 16], "batch": 2, "steps": 4}
on_both = pytest.mark.parametrize(
    "hardware", [HERE, Hardware("cpu", "bfloat16", "channels_last")],
    ids=lambda hardware: hardware.precision)


def tiny(**overrides):
    return preset("smoke", overrides=TINY | overrides)


def squares() -> Part:
    """White squares on black: the answer is the brightness."""
    masks = np.zeros((4, 16, 16), np.uint8)
    for index, mask in enumerate(masks):
        mask[index:index + 8, 2 * index:2 * index + 8] = 1
    return Part.of([Sample(f"square{index}", np.repeat(mask[..., None] * np.uint8(255), 3, 2),
                           mask, None) for index, mask in enumerate(masks)])


def run(model, sampler, hardware, record):
    """Train, with the checkpoints in `record`; returns the losses."""
    checkpoints = records.Checkpoints(record, sampler.protocol, "data", hardware)
    return train(fabric_for(hardware), model, sampler, hardware, checkpoints)[0]


def trained(protocol, record, hardware=HERE):
    """A network after its training, and the loss of each step."""
    model = build(protocol)
    losses = run(model, Sampler(squares(), protocol), hardware, record)
    return model.state_dict(), losses


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name])
                                                 for name in first)


@pytest.mark.parametrize("changes", [
    {"loss": "bce"}, {"loss": "relu", "weight": 0.97}, {"loss": "dice"},
    {"loss": "mse", "output": "clipped"}], ids=lambda changes: changes["loss"])
def test_the_loss_falls_where_there_is_something_easy_to_learn(tmp_path, changes):
    _, losses = trained(tiny(steps=40, batch=4, learning_rate=0.03, **changes), tmp_path)
    assert len(losses) == 40 and np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


@on_both
def test_two_runs_end_bit_for_bit_alike_and_another_seed_does_not(tmp_path, hardware):
    first, losses = trained(tiny(augmentation="full"), tmp_path, hardware)
    torch.rand(3)
    second, again = trained(tiny(augmentation="full"), tmp_path, hardware)
    assert same(first, second) and losses == again
    other, _ = trained(tiny(augmentation="full", seed=1), tmp_path, hardware)
    assert not same(first, other)


class CutShortError(Exception):
    pass


class Interrupted(Sampler):
    """A sampler that fails at a step: the power goes out."""

    def batch(self, step):
        if step == 7:
            raise CutShortError
        return super().batch(step)


@on_both
def test_a_run_that_was_cut_short_ends_as_an_uncut_one(tmp_path, monkeypatch, capsys, hardware):
    protocol = tiny(steps=11, schedule="cosine")
    whole, losses = trained(protocol, tmp_path / "whole", hardware)
    assert not (tmp_path / "whole" / "checkpoint.pt").exists()  # within 30 s there is none
    monkeypatch.setattr(records, "CHECKPOINT_SECONDS", -1)
    monkeypatch.setattr(records, "CHECKPOINT_SHARE", math.inf)
    monkeypatch.setattr(training, "FETCH_EVERY", 3)
    model = build(protocol)
    with pytest.raises(CutShortError):
        run(model, Interrupted(squares(), protocol), hardware, tmp_path / "cut")
    assert not same(model.state_dict(), whole)
    resumed, all_losses = trained(protocol, tmp_path / "cut", hardware)
    assert "resumed after step 6" in capsys.readouterr().out
    assert same(resumed, whole) and all_losses == losses


def test_a_loss_of_nan_stops_the_run_with_step_batch_and_remedy(tmp_path, monkeypatch):
    real = training.loss_from_logits
    calls = []

    def infinite_at_the_third(*args, **kwargs):
        calls.append(args)
        return real(*args, **kwargs) * (math.nan if len(calls) >= 3 else 1)

    monkeypatch.setattr(training, "loss_from_logits", infinite_at_the_third)
    protocol = tiny(loss="relu", weight=0.97, seed=6)
    with pytest.raises(TrainingFailedError) as error:
        trained(protocol, tmp_path)
    text = str(error.value)
    assert "nan at step 3 of 4 (relu, weight 0.97, seed 6)" in text
    assert ", ".join(Sampler(squares(), protocol).names(2)) in text
    assert "learning_rate (now 0.001)" in text and "precision=float32" in text


def test_a_learning_rate_far_too_high_is_an_error_and_leaves_no_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "CHECKPOINT_SECONDS", -1)
    monkeypatch.setattr(records, "CHECKPOINT_SHARE", math.inf)
    with pytest.raises(TrainingFailedError, match="learning_rate .now 1e.30"):
        trained(tiny(learning_rate=1e30, batch_norm=False), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_rate_is_constant_or_half_a_cosine():
    constant, cosine = (tiny(steps=6, learning_rate=0.2, schedule=schedule)
                        for schedule in ("constant", "cosine"))
    assert [learning_rate(constant, step) for step in range(6)] == [0.2] * 6
    # cos of 0, 30, 60, 90, 120, 150 degrees
    cosines = [1, math.sqrt(3) / 2, 0.5, 0, -0.5, -math.sqrt(3) / 2]
    assert [learning_rate(cosine, step) for step in range(6)] == pytest.approx(
        [0.1 * (1 + value) for value in cosines])
