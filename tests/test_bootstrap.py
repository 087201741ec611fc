"""Blocks of consecutive frames, seeds, and how often 95 % intervals hold the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.signal import lfilter

from crackutils.papers import bootstrap

VIDEO = [f"0001TP_{8550 + 30 * frame:06d}" for frame in range(62)]


def test_frames_belong_to_their_video_in_the_order_of_their_numbers():
    names = ["Seq05VD_f00120", "b1c66a42-6f7d68cz", "Seq05VD_f00030", "000176", "a_000"]
    videos = {name: frames.tolist() for name, frames in bootstrap.videos(names).items()}
    assert videos == {"Seq05VD": [2, 0], "b1c66a42-6f7d68cz": [1], "000176": [3], "a": [4]}


def test_a_video_of_two_blocks_is_drawn_as_one_block_of_consecutive_frames():
    weights = bootstrap.frame_weights(VIDEO, draws=200)
    assert weights.shape == (200, 62)
    for row in weights:  # 31 frames in a row, round the video, count twice; the others not at all
        assert sorted(row) == [0] * 31 + [2] * 31
        assert (row != np.roll(row, 1)).sum() == 2
    assert len(np.unique(weights, axis=0)) > 50


def test_a_video_of_five_blocks_is_drawn_as_four_of_them():
    names = [f"Seq05VD_f{frame:05d}" for frame in range(171)]
    weights = bootstrap.frame_weights(names, draws=200)
    times = weights * (4 * 34) / 171  # five blocks of 34 frames
    np.testing.assert_allclose(times, times.round(), atol=1e-9)
    np.testing.assert_allclose(times.sum(axis=1), 4 * 34)
    for row in times.round():  # each block begins and ends once
        changes = np.abs(row - np.roll(row, 1)).sum()
        assert changes <= 8 and row.max() <= 4


def test_every_frame_counts_alike_on_the_average():
    names = VIDEO + [f"Seq05VD_f{frame:05d}" for frame in range(171)] + ["x", "y", "z"]
    weights = bootstrap.frame_weights(names)
    assert np.abs(weights.mean(axis=0) - 1).max() < 0.12 and weights.min() == 0
    np.testing.assert_allclose(weights[:, :62].sum(axis=1), 62)
    np.testing.assert_allclose(weights[:, 62:233].sum(axis=1), 171)
    np.testing.assert_allclose(weights[:, 233:].sum(axis=1), 3)


def test_short_videos_are_drawn_as_wholes():
    names = [f"{video}_{frame:03d}" for video in "abc" for frame in range(20)]
    weights = bootstrap.frame_weights(names, draws=100).reshape(100, 3, 20)
    assert (weights == weights[:, :, :1]).all()
    np.testing.assert_allclose(weights.sum(axis=1), 3)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(2, 40))
def test_every_draw_of_single_pictures_has_as_many_as_there_are(seed, count):
    names = [f"{seed}x{number:02d}y" for number in range(count)]
    weights = bootstrap.frame_weights(names, draws=20)
    np.testing.assert_allclose(weights.sum(axis=1), count)


@pytest.mark.parametrize("names", [[f"a_{frame:03d}" for frame in range(59)], ["alone"]])
def test_one_short_video_or_picture_alone_can_not_be_resampled(names):
    assert bootstrap.frame_weights(names) is None


def test_a_single_picture_beside_a_long_video_is_in_every_draw():
    weights = bootstrap.frame_weights([*VIDEO, "alone"])
    assert (weights[:, 62] == 1).all() and weights[:, :62].std() > 0.9


@pytest.mark.parametrize("count", [2, 3, 10])
def test_the_variance_of_a_mean_of_few_pictures_is_not_too_small(count):
    """It is s^2 / n with the n - 1 of the sample's variance; drawing n of n would give less."""
    values = np.random.default_rng(2).normal(size=count)
    weights = bootstrap.frame_weights([f"p{number}q" for number in range(count)], draws=40_000)
    assert np.var(weights @ values / count) == pytest.approx(values.var(ddof=1) / count, rel=0.05)


def test_the_interval_of_single_pictures_is_that_of_their_mean():
    generator = np.random.default_rng(3)
    values = generator.normal(size=200)
    weights = bootstrap.frame_weights([f"p{number}q" for number in range(200)])
    low, high = bootstrap.interval(weights @ values / 200)
    error = values.std() / np.sqrt(200)
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error,
                                         values.mean() + 1.96 * error), abs=0.2 * error)


def test_frames_that_are_alike_give_wider_intervals_in_blocks():
    generator = np.random.default_rng(5)
    steps = np.cumsum(generator.normal(size=300))  # neighbours are alike
    video = bootstrap.frame_weights([f"v_{frame:03d}" for frame in range(300)])
    singles = bootstrap.frame_weights([f"p{frame}q" for frame in range(300)])
    width = {name: np.ptp(bootstrap.interval(weights @ steps / weights.sum(axis=1)))
             for name, weights in (("blocks", video), ("singles", singles))}
    assert width["blocks"] > 2 * width["singles"]


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_without_scatter_by_frames_the_interval_is_students(seeds):
    values = np.random.default_rng(7).normal(size=seeds)
    drawn = bootstrap.draws_over_seeds(values[:, None].repeat(20_000, axis=1))
    expected = stats.t.interval(0.95, seeds - 1, values.mean(), stats.sem(values))
    assert bootstrap.interval(drawn) == pytest.approx(expected, rel=0.05)


def test_the_interval_of_a_difference_is_students_of_the_differences():
    first, second = np.random.default_rng(9).normal(size=(2, 3, 1))
    drawn = bootstrap.draws_over_seeds(first.repeat(20_000, axis=1)) \
        - bootstrap.draws_over_seeds(second.repeat(20_000, axis=1))
    apart = (first - second).ravel()
    expected = stats.t.interval(0.95, 2, apart.mean(), stats.sem(apart))
    assert bootstrap.interval(drawn) == pytest.approx(expected, rel=0.05)


def test_one_seed_scatters_by_frames_alone():
    one = np.random.default_rng(7).normal(size=(1, 50))
    drawn = bootstrap.draws_over_seeds(one).reshape(bootstrap.SEED_DRAWS, 50)
    assert (drawn == one[0]).all()


def test_draws_over_seeds_favour_no_side():
    """Each draw has its opposite about the mean, as long as frames do not scatter."""
    drawn = bootstrap.draws_over_seeds(np.array([[0.2], [0.5], [0.9]]).repeat(7, axis=1))
    first, second = np.split(drawn, 2)
    np.testing.assert_allclose((first + second) / 2, (0.2 + 0.5 + 0.9) / 3)


@pytest.mark.parametrize("lengths, coverage", [((62,), 0.73), ((62, 171), 0.88), ((1200,), 0.91)])
def test_how_often_the_intervals_of_videos_hold_the_truth(lengths, coverage):
    """Frames of an AR(1) process with a correlation of .8 between neighbours, and the mean 0: the
    shares of 95 % intervals that hold 0, as `frame_weights` states them for 62 and 62 + 171."""
    generator = np.random.default_rng(11)
    names = [f"{video}_{frame:04d}" for video, length in zip("ab", lengths)
             for frame in range(length)]
    processes = []
    for length in lengths:
        noise = generator.normal(size=(400, length))
        noise[:, 1:] *= np.sqrt(1 - 0.8**2)
        processes.append(lfilter([1], [1, -0.8], noise, axis=1))
    draws = np.concatenate(processes, axis=1) @ bootstrap.frame_weights(names, draws=400).T
    held = [low < 0 < high for low, high in map(bootstrap.interval, draws)]
    assert np.mean(held) == pytest.approx(coverage, abs=0.05)
