"""Batches: a pure function of (seed, step); image and mask move together; draws are independent."""

import random

import albumentations
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from crackutils.batches import Draw, Sampler, as_tensors, crop, rotate_and_recolour
from crackutils.data import load
from crackutils.data.decoding import framed
from crackutils.data.picture_cache import Part
from crackutils.data.samples import Sample
from crackutils.protocol import preset

AUGMENTATIONS = ("none", "flips", "full")
UNCHANGED = Draw(0, 0, 0, False, False, False, 0.0, 1.0, 0.0)


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


def test_runs_that_differ_in_the_augmentation_alone_see_the_same_crops():
    crops = [[draw[:3] for draw in sampler(augmentation=augmentation).draws(9)]
             for augmentation in AUGMENTATIONS]
    assert crops[0] == crops[1] == crops[2]


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


def test_image_and_mask_rotate_together_under_full_augmentation():
    mask = np.zeros((64, 64), np.uint8)
    mask[:20] = mask[:, :12] = 1
    drawer = sampler([sample("corner", mask)], tile=(48, 48), augmentation="full")
    for step in range(6):
        for image, target in zip(*drawer.batch(step)):
            middle = (image.max() + image.min()) / 2
            # interpolation blurs the image's edges, brightness moves its levels
            assert ((image[:1] > middle).float() == target).float().mean() > 0.97
            assert set(target.unique().tolist()) <= {0.0, 1.0}


def test_rotations_do_not_shift_masks_against_images():
    rows, columns = np.mgrid[:96, :96]
    disc = sample("disc", (((rows - 40) ** 2 + (columns - 58) ** 2) < 20**2).astype(np.uint8))
    shifts = []
    for angle in np.linspace(-15, 15, 61):  # the nearest pixel of the mask is off by up to .5 px
        image, mask = rotate_and_recolour(torch.tensor(disc.image), torch.tensor(disc.mask),
                                          UNCHANGED._replace(angle=angle))
        weights = image[..., 0].numpy() / 255
        shifts.append([(weights * place).sum() / weights.sum() - place[mask.numpy() == 1].mean()
                       for place in (rows, columns)])
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.01


def test_samples_are_drawn_uniformly_and_with_replacement():
    drawer = sampler(batch=5)
    steps = [[draw.index for draw in drawer.draws(step)] for step in range(400)]
    assert any(len(set(indices)) < 5 for indices in steps)
    counts = np.bincount(np.concatenate(steps), minlength=5)
    assert counts.min() > 0 and chisquare(counts).pvalue > 1e-4


def many_draws(**fields) -> dict[str, np.ndarray]:
    """Each field of 4,000 draws, from pictures of one size with 97 x 97 possible crops."""
    drawer = sampler(speckled(3, 120, 120), batch=40, **fields)
    draws = [draw for step in range(100) for draw in drawer.draws(step)]
    return {name: np.array(values, float) for name, values in zip(Draw._fields, zip(*draws))}


def test_all_draws_of_a_sample_are_independent():
    drawn = many_draws(augmentation="full")
    drawn |= {"rotated": drawn["angle"] != 0, "recoloured": drawn["contrast"] != 1}
    names = list(drawn)
    correlations = np.corrcoef(np.array([drawn[name] for name in names], float))
    np.fill_diagonal(correlations, 0)
    # the correlation of 4,000 independent draws has a standard error of .016
    row, column = np.unravel_index(np.abs(correlations).argmax(), correlations.shape)
    assert np.abs(correlations).max() < 0.07, (names[row], names[column])
    # and among the samples that are both rotated and recoloured (standard error .032)
    both = drawn["rotated"] & drawn["recoloured"]
    changing = [name for name in names if name not in ("rotated", "recoloured")]
    correlations = np.corrcoef(np.array([drawn[name][both] for name in changing]))
    np.fill_diagonal(correlations, 0)
    assert 800 < both.sum() < 1200 and np.abs(correlations).max() < 0.14
    # each of the four combinations of the two is as frequent as the others
    assert chisquare(np.bincount((drawn["rotated"] * 2 + drawn["recoloured"]).astype(int),
                                 minlength=4)).pvalue > 1e-4


def test_draws_are_uniform_in_their_ranges():
    drawn = many_draws(augmentation="full")
    for side in ("top", "left"):
        counts = np.bincount(drawn[side].astype(int))
        assert len(counts) == 97 and chisquare(counts).pvalue > 1e-4
    for name, centre, reach in (("angle", 0, 15), ("contrast", 1, 0.2), ("brightness", 0, 0.2)):
        changed = drawn[name][drawn[name] != centre]
        assert 1800 < len(changed) < 2200
        assert kstest((changed - centre) / reach, "uniform", args=(-1, 2)).pvalue > 1e-4


def eight_symmetries(mask: np.ndarray) -> list[bytes]:
    return [np.rot90(side, turns).tobytes() for side in (mask, mask[:, ::-1])
            for turns in range(4)]


@pytest.mark.parametrize("task, allowed", [("cracks", range(8)), ("roads", (0, 4))])
def test_cracks_take_all_eight_symmetries_equally_often_and_roads_are_only_mirrored(task, allowed):
    mask = np.random.default_rng(3).integers(2, size=(16, 16), dtype=np.uint8)
    drawer = sampler([sample("one", mask)], task, augmentation="flips", tile=(16, 16), batch=40)
    known = eight_symmetries(mask)
    counts = np.zeros(8)
    for step in range(40):
        for target in drawer.batch(step)[1]:
            counts[known.index(target[0].numpy().astype(np.uint8).tobytes())] += 1
    assert counts.nonzero()[0].tolist() == list(allowed)
    assert chisquare(counts[list(allowed)]).pvalue > 1e-4


@pytest.mark.parametrize("transpose, flip_rows, flip_columns, expected", [
    (False, False, False, lambda pixels: pixels),
    (False, True, True, lambda pixels: np.rot90(pixels, 2)),
    (True, True, False, lambda pixels: np.rot90(pixels, 1)),
    (True, False, True, lambda pixels: np.rot90(pixels, 3)),
    (False, True, False, lambda pixels: np.flip(pixels, 0)),
    (False, False, True, lambda pixels: np.flip(pixels, 1)),
    (True, False, False, lambda pixels: np.swapaxes(pixels, 0, 1)),
    (True, True, True, lambda pixels: np.swapaxes(np.rot90(pixels, 2), 0, 1))])
def test_a_crop_is_numpys_slice_turned_and_mirrored(transpose, flip_rows, flip_columns, expected):
    generator = np.random.default_rng(1)
    draw = UNCHANGED._replace(top=3, left=5, transpose=transpose, flip_rows=flip_rows,
                              flip_columns=flip_columns)
    for shape in ((30, 40, 3), (30, 40)):
        pixels = generator.integers(256, size=shape, dtype=np.uint8)
        result = crop(torch.tensor(pixels), draw, (8, 8)).numpy()
        assert np.array_equal(result, expected(pixels[3:11, 5:13]))


@pytest.mark.parametrize("size", [(10, 50), (50, 10), (9, 9), (23, 60), (24, 24)])
def test_pictures_smaller_than_the_tile_are_continued_as_albumentations_pads(size):
    whole = speckled(1, *size)[0]
    pad = albumentations.PadIfNeeded(24, 24, border_mode=cv2.BORDER_REFLECT_101)
    expected = pad(image=whole.image, mask=whole.mask)
    image, mask = sampler([whole]).sample_pixels(0)
    assert np.array_equal(image.numpy(), expected["image"])
    assert np.array_equal(mask.numpy(), expected["mask"])


@pytest.mark.parametrize("angle, contrast, brightness", [
    (15.0, 1.0, 0.0), (-7.3, 1.0, 0.0), (0.0, 1.2, 0.0), (0.0, 0.8, -0.2), (0.0, 1.1, 0.2),
    (4.2, 0.85, 0.11)])
def test_rotation_contrast_and_brightness_are_albumentations(angle, contrast, brightness):
    generator = np.random.default_rng(2)
    image = cv2.GaussianBlur(generator.integers(256, size=(48, 40, 3), dtype=np.uint8), (0, 0), 2)
    mask = (image[..., 0] > 128).astype(np.uint8)
    reference = albumentations.Compose([
        albumentations.Rotate((angle, angle), border_mode=cv2.BORDER_REFLECT_101, p=1),
        albumentations.RandomBrightnessContrast((brightness, brightness),
                                                (contrast - 1, contrast - 1), p=1)])
    expected = reference(image=image, mask=mask)
    found_image, found_mask = rotate_and_recolour(
        torch.tensor(image), torch.tensor(mask),
        UNCHANGED._replace(angle=angle, contrast=contrast, brightness=brightness))
    difference = np.abs(found_image.numpy().astype(int) - expected["image"])
    assert difference.max() <= 1  # we round the levels, albumentations cuts them off
    assert np.array_equal(found_mask.numpy(), expected["mask"])


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_batches_prepared_ahead_are_those_made_at_once(augmentation):
    at_once, ahead = sampler(augmentation=augmentation), sampler(augmentation=augmentation)
    ahead.resident = False  # as for pixels that do not fit onto a GPU
    batches = list(ahead.batches(range(2, 13)))
    assert len(batches) == 11
    for one, other in zip(batches, at_once.batches(range(2, 13))):
        assert all(torch.equal(*pair) for pair in zip(one, other))


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_processes_share_out_the_draws_of_one(augmentation):
    protocol = sampler(batch=6, augmentation=augmentation).protocol
    whole = Sampler(Part.of(speckled()), protocol).step_pixels(4)
    for ranks in (2, 3):
        shares = [Sampler(Part.of(speckled()), protocol, rank=rank, ranks=ranks).step_pixels(4)
                  for rank in range(ranks)]
        for pixels, pieces in zip(whole, zip(*shares)):
            assert torch.equal(torch.stack(pieces, 1).flatten(0, 1), pixels)


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
    torch.set_warn_always(True)  # otherwise PyTorch warns of a read-only array once a process
    try:
        Sampler(decoded, preset("smoke", overrides={"augmentation": "full"})).batch(0)
    finally:
        torch.set_warn_always(False)
    assert not [str(warning.message) for warning in recwarn]


def test_resizing_averages_the_image_and_picks_from_the_mask():
    generator = np.random.default_rng(5)
    image = generator.integers(256, size=(8, 12, 3), dtype=np.uint8)
    cells = generator.integers(2, size=(4, 4), dtype=np.uint8)
    mask = cells.repeat(2, axis=0).repeat(3, axis=1)  # so each pixel of the result has one answer
    whole = Sample("one", image, mask, np.ones((8, 12), np.float32))
    protocol = preset("smoke", overrides={"framing": "resize", "tile": (4, 4)})
    result = framed(whole, protocol)
    blocks = image.reshape(4, 2, 4, 3, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(result.image - blocks).max() <= 0.5 + 1e-6
    assert np.array_equal(result.mask, cells) and 4 < cells.sum() < 12
    assert result.name == "one"
    assert result.width is None  # a width in pixels of the photograph is wrong now


def test_framing_by_tiles_leaves_the_samples_alone():
    sample = speckled()[0]
    assert framed(sample, preset("smoke")) is sample
