"""Batches: a pure function of (seed, step); image and mask move together; ranges and sizes."""

import random

import albumentations
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from crackutils.batches import Sampler, as_tensors
from crackutils.data import load
from crackutils.data.decoding import framed
from crackutils.data.picture_cache import Part
from crackutils.data.samples import Sample
from crackutils.protocol import preset

AUGMENTATIONS = ("none", "flips", "full")


def sample(name: str, mask: np.ndarray) -> Sample:
    """An image that encodes its mask: white where the mask is 1, black elsewhere."""
    return Sample(name, np.repeat(mask[..., None] * np.uint8(255), 3, axis=2), mask, None)


def speckled(count: int = 5, height: int = 40, width: int = 48) -> list[Sample]:
    generator = np.random.default_rng(0)
    return [sample(f"s{index}", generator.integers(2, size=(height, width), dtype=np.uint8))
            for index in range(count)]


def sampler(samples=None, task: str = "cracks", **overrides) -> Sampler:
    fields = {"tile": (24, 24), "framing": "tiles", "batch": 6, **overrides}
    return Sampler(Part.of(samples or speckled()), preset("smoke", task, fields))


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
@settings(max_examples=8, deadline=None)
@given(steps=st.permutations(range(4)), seed=st.integers(0, 2**40))
def test_a_batch_depends_on_seed_and_step_alone(augmentation, steps, seed):
    used = sampler(augmentation=augmentation, seed=seed)
    batches = {step: used.batch(step) for step in steps}
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the global state must not matter
    for step, (images, targets) in batches.items():
        fresh_images, fresh_targets = sampler(augmentation=augmentation, seed=seed).batch(step)
        assert torch.equal(images, fresh_images) and torch.equal(targets, fresh_targets)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_other_seeds_and_steps_draw_other_pixels(augmentation):
    drawn = [sampler(augmentation=augmentation, seed=seed).batch(step)[1]
             for seed, step in ((0, 0), (0, 1), (1, 0), (1, 1), (0, 10_000))]
    for index, batch in enumerate(drawn):
        assert not any(torch.equal(batch, other) for other in drawn[:index])


def test_names_are_those_of_the_drawn_samples():
    samples = [sample(f"s{level}", np.full((24, 24), level % 2, np.uint8)) for level in range(4)]
    samples = [one._replace(image=np.full((24, 24, 3), 50 * index, np.uint8))
               for index, one in enumerate(samples)]
    drawer = sampler(samples)
    images, _ = drawer.batch(7)
    levels = (images[:, 0, 0, 0] * 255 / 50).round().int().tolist()
    assert drawer.names(7) == [f"s{level}" for level in levels]


@pytest.mark.parametrize("augmentation", ["none", "flips"])
@pytest.mark.parametrize("task, framing", [("cracks", "tiles"), ("roads", "resize")])
def test_image_and_mask_move_together_exactly(augmentation, task, framing):
    samples = speckled(height=24, width=16) if framing == "resize" else speckled()
    drawer = sampler(samples, task, augmentation=augmentation, framing=framing,
                     tile=(24, 16) if framing == "resize" else (20, 20))
    for step in range(5):
        images, targets = drawer.batch(step)
        assert images.shape == (6, 3, *drawer.protocol.tile)
        assert torch.equal(images, targets.expand(-1, 3, -1, -1))
        assert 0.3 < targets.mean() < 0.7


@pytest.mark.parametrize("augmentation", ["flips", "full"])
def test_a_tile_that_is_not_square_keeps_its_shape(augmentation):
    images, targets = sampler(augmentation=augmentation, tile=(24, 16), batch=20).batch(0)
    assert images.shape == (20, 3, 24, 16) and targets.shape == (20, 1, 24, 16)


def test_image_and_mask_turn_together_under_full_augmentation():
    mask = np.zeros((64, 64), np.uint8)
    mask[:20] = mask[:, :12] = 1
    drawer = sampler([sample("corner", mask)], tile=(48, 48), augmentation="full")
    for step in range(6):
        for image, target in zip(*drawer.batch(step)):
            middle = (image.max() + image.min()) / 2
            # interpolation blurs the image's edges, brightness moves its levels
            assert ((image[:1] > middle).float() == target).float().mean() > 0.97
            assert set(target.unique().tolist()) <= {0.0, 1.0}


def test_draws_are_uniform_with_replacement():
    drawer = sampler(batch=5)
    steps = [[draw.index for draw in drawer.draws(step)] for step in range(400)]
    assert any(len(set(indices)) < 5 for indices in steps)
    counts = np.bincount(np.concatenate(steps), minlength=5)
    assert counts.min() > 0 and chisquare(counts).pvalue > 1e-4
    seeds = [draw.seed for step in range(400) for draw in drawer.draws(step)]
    assert len(set(seeds)) > 1990  # each draw has a crop and an augmentation of its own


def symmetries(mask: np.ndarray) -> list[bytes]:
    return [np.rot90(side, turns).tobytes() for side in (mask, mask[:, ::-1])
            for turns in range(4)]


@pytest.mark.parametrize("task, allowed", [("cracks", range(8)), ("roads", (0, 4))])
def test_cracks_take_all_eight_turns_and_roads_are_only_mirrored(task, allowed):
    mask = np.random.default_rng(3).integers(2, size=(16, 16), dtype=np.uint8)
    drawer = sampler([sample("one", mask)], task, augmentation="flips", tile=(16, 16))
    known = symmetries(mask)
    seen = {known.index(target[0].numpy().astype(np.uint8).tobytes())
            for step in range(20) for target in drawer.batch(step)[1]}
    assert seen == set(allowed)


@pytest.mark.parametrize("augmentation", ["none", "flips"])
@pytest.mark.parametrize("size", [(40, 48), (24, 24), (10, 50), (9, 9), (23, 60)])
def test_crops_and_turns_are_those_of_albumentations(augmentation, size):
    samples = speckled(5, *size)
    crop = albumentations.RandomCrop(24, 24, pad_if_needed=True, border_mode=cv2.BORDER_REFLECT_101)
    turn = [albumentations.SquareSymmetry(p=1)] if augmentation == "flips" else []
    reference = albumentations.Compose([crop, *turn])
    drawer = sampler(samples, augmentation=augmentation, batch=40)
    images, targets = drawer.batch(3)
    for draw, image, target in zip(drawer.draws(3), images, targets):
        reference.set_random_seed(draw.seed)
        one = samples[draw.index]
        expected = reference(image=one.image, mask=one.mask)
        assert np.array_equal(image.permute(1, 2, 0).numpy() * 255, expected["image"])
        assert np.array_equal(target[0].numpy(), expected["mask"])


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_batches_prepared_ahead_are_those_made_at_once(augmentation):
    at_once, ahead = sampler(augmentation=augmentation), sampler(augmentation=augmentation)
    ahead.resident = False  # as for pixels that do not fit onto a GPU
    batches = list(ahead.batches(range(2, 13)))
    assert len(batches) == 11
    for one, other in zip(batches, at_once.batches(range(2, 13))):
        assert all(torch.equal(*pair) for pair in zip(one, other))


def test_processes_share_out_the_draws_of_one():
    whole = sampler(batch=6).cuts(4)
    for ranks in (2, 3):
        shares = [Sampler(Part.of(speckled()), sampler(batch=6).protocol, rank=rank,
                          ranks=ranks).cuts(4) for rank in range(ranks)]
        for pixels, parts in zip(whole, zip(*shares)):
            assert torch.equal(torch.stack(parts, 1).flatten(0, 1), pixels)


def test_cracks_in_tiles_that_are_not_square_take_all_four_mirrorings():
    mask = np.random.default_rng(3).integers(2, size=(16, 24), dtype=np.uint8)
    drawer = sampler([sample("one", mask)], augmentation="flips", tile=(16, 24))
    seen = {target[0].numpy().astype(np.uint8).tobytes()
            for step in range(10) for target in drawer.batch(step)[1]}
    assert seen == {mask[rows][:, columns].tobytes() for rows in (np.s_[:], np.s_[::-1])
                    for columns in (np.s_[:], np.s_[::-1])}


def test_crops_reach_every_corner():
    mask = np.zeros((26, 26), np.uint8)
    mask[[0, 0, -1, -1], [0, -1, 0, -1]] = 1
    batch = torch.cat([sampler([sample("corners", mask)]).batch(step)[1] for step in range(20)])
    assert batch.shape[1:] == (1, 24, 24)
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert batch[:, 0, row, column].any()


@pytest.mark.parametrize("size", [(10, 50), (50, 10), (9, 9)])
@pytest.mark.parametrize("augmentation", ["none", "flips"])
def test_photographs_smaller_than_the_tile_are_continued_not_blackened(size, augmentation):
    small = [sample("small", np.ones(size, np.uint8))]
    images, targets = sampler(small, augmentation=augmentation, tile=(24, 24)).batch(0)
    assert images.shape == (6, 3, 24, 24) and images.min() == 1 and targets.min() == 1


def test_tensors_are_float_with_channels_first_and_levels_over_255():
    image = np.arange(2 * 2 * 3 * 3, dtype=np.uint8).reshape(2, 2, 3, 3) * 7
    mask = np.array([[[0, 1, 0], [1, 0, 0]], [[1, 1, 1], [0, 0, 1]]], np.uint8)
    images, targets = as_tensors(torch.tensor(image), torch.tensor(mask))
    assert images.shape == (2, 3, 2, 3) and targets.shape == (2, 1, 2, 3)
    assert images.dtype == targets.dtype == torch.float32
    assert images[1, 2, 0, 1].item() == pytest.approx(image[1, 0, 1, 2] / 255)
    assert torch.equal(targets[:, 0], torch.tensor(mask).float())
    white, _ = as_tensors(torch.full((1, 2, 2, 3), 255, dtype=torch.uint8), torch.tensor(mask[:1]))
    assert (white == 1).all()


def test_a_decoded_photograph_is_taken_without_a_warning(tmp_path, recwarn):
    decoded = load("synthetic", preset("smoke"), tmp_path).test
    torch.set_warn_always(True)  # that an array is read-only is said once a process otherwise
    try:
        Sampler(decoded, preset("smoke")).batch(0)
    finally:
        torch.set_warn_always(False)
    assert not [str(warning.message) for warning in recwarn]


def test_resizing_averages_the_image_and_picks_from_the_mask():
    generator = np.random.default_rng(5)
    image = generator.integers(256, size=(8, 12, 3), dtype=np.uint8)
    mask = generator.integers(2, size=(8, 12), dtype=np.uint8)
    whole = Sample("one", image, mask, np.ones((8, 12), np.float32))
    protocol = preset("smoke", overrides={"framing": "resize", "tile": (4, 4)})
    result = framed(whole, protocol)
    blocks = image.reshape(4, 2, 4, 3, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(result.image - blocks).max() <= 0.5 + 1e-6
    assert set(np.unique(result.mask)) == {0, 1} and result.mask.shape == (4, 4)
    cells = mask.reshape(4, 2, 4, 3).transpose(0, 2, 1, 3).reshape(16, 6)
    same = [len(set(cell)) > 1 or value == cell[0]
            for cell, value in zip(cells, result.mask.flat)]
    assert all(same) and result.name == "one"
    assert result.width is None  # a width in pixels of the photograph is wrong now


def test_framing_by_tiles_leaves_the_samples_alone():
    sample = speckled()[0]
    assert framed(sample, preset("smoke")) is sample
