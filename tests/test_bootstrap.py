"""Blocks of consecutive frames, seeds, and how often the intervals hold the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from crackutils.papers import bootstrap

VIDEO = [f"0001TP_{8550 + 30 * frame:06d}" for frame in range(62)]


def test_frames_belong_to_their_video_in_the_order_of_their_numbers():
    names = ["Seq05VD_f00120", "b1c66a42-6f7d68cz", "Seq05VD_f00030", "000176", "a_000"]
    found = {name: some.tolist() for name, some in bootstrap.sequences(names).items()}
    assert found == {"Seq05VD": [2, 0], "b1c66a42-6f7d68cz": [1], "000176": [3], "a": [4]}


def test_a_video_is_drawn_in_blocks_of_thirty_consecutive_frames_or_more():
    weights = bootstrap.resamples(VIDEO, draws=200)
    assert weights.shape == (200, 62)
    np.testing.assert_allclose(weights.sum(axis=1), 62)
    # two blocks of 31: each frame is in none, one or both, 1 + (0, 1, 2 less 1) sqrt(2)
    times = (weights - 1) / np.sqrt(2) + 1
    np.testing.assert_allclose(times, times.round(), atol=1e-9)
    for row in times.round():  # round the video, a block begins and ends at most twice
        assert (row != np.roll(row, 1)).sum() <= 4 and row.min() >= 0 and row.max() <= 2
    assert len(np.unique(weights, axis=0)) > 100


def test_every_frame_counts_alike_on_the_average():
    names = VIDEO + [f"Seq05VD_f{frame:05d}" for frame in range(171)] + ["x", "y", "z"]
    weights = bootstrap.resamples(names)
    assert np.abs(weights.mean(axis=0) - 1).max() < 0.12
    np.testing.assert_allclose(weights[:, :62].sum(axis=1), 62)
    np.testing.assert_allclose(weights[:, 62:233].sum(axis=1), 171)  # 5 blocks of 34
    np.testing.assert_allclose(weights[:, 233:].sum(axis=1), 3)


def test_short_videos_are_drawn_as_wholes():
    names = [f"{video}_{frame:03d}" for video in "abc" for frame in range(20)]
    weights = bootstrap.resamples(names, draws=100).reshape(100, 3, 20)
    assert (weights == weights[:, :, :1]).all()
    np.testing.assert_allclose(weights.sum(axis=1), 3)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(2, 40))
def test_every_draw_of_single_pictures_has_as_many_as_there_are(seed, count):
    names = [f"{seed}x{one:02d}y" for one in range(count)]
    weights = bootstrap.resamples(names, draws=20)
    np.testing.assert_allclose(weights.sum(axis=1), count)


def test_one_short_video_gives_no_interval():
    weights = bootstrap.resamples([f"a_{frame:03d}" for frame in range(20)])
    assert np.isnan(bootstrap.interval(weights @ np.arange(20.0))).all()


def test_the_interval_of_single_pictures_is_that_of_their_mean():
    generator = np.random.default_rng(3)
    values = generator.normal(size=200)
    weights = bootstrap.resamples([f"p{one}q" for one in range(200)])
    low, high = bootstrap.interval(weights @ values / 200)
    error = values.std() / np.sqrt(200)
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error,
                                         values.mean() + 1.96 * error), abs=0.2 * error)


def test_frames_that_are_alike_give_wider_intervals_in_blocks():
    generator = np.random.default_rng(5)
    steps = np.cumsum(generator.normal(size=300))  # neighbours are alike
    video = bootstrap.resamples([f"v_{frame:03d}" for frame in range(300)])
    singles = bootstrap.resamples([f"p{frame}q" for frame in range(300)])
    width = {name: np.ptp(bootstrap.interval(weights @ steps / weights.sum(axis=1)))
             for name, weights in (("blocks", video), ("singles", singles))}
    assert width["blocks"] > 2 * width["singles"]


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_without_scatter_by_frames_the_interval_is_students(seeds):
    values = np.random.default_rng(7).normal(size=seeds)
    drawn = bootstrap.over_seeds(values[:, None].repeat(20_000, axis=1))
    expected = stats.t.interval(0.95, seeds - 1, values.mean(), stats.sem(values))
    assert bootstrap.interval(drawn) == pytest.approx(expected, rel=0.05)


def test_the_interval_of_a_difference_is_students_of_the_differences():
    first, second = np.random.default_rng(9).normal(size=(2, 3, 1))
    drawn = bootstrap.over_seeds(first.repeat(20_000, axis=1)) \
        - bootstrap.over_seeds(second.repeat(20_000, axis=1))
    apart = (first - second).ravel()
    expected = stats.t.interval(0.95, 2, apart.mean(), stats.sem(apart))
    assert bootstrap.interval(drawn) == pytest.approx(expected, rel=0.05)


def test_one_seed_scatters_by_frames_alone():
    one = np.random.default_rng(7).normal(size=(1, 50))
    drawn = bootstrap.over_seeds(one).reshape(bootstrap.SEED_DRAWS, 50)
    assert (drawn == one[0]).all()


def test_draws_over_seeds_favour_no_side():
    """Each draw has its opposite about the mean, as long as frames do not scatter."""
    drawn = bootstrap.over_seeds(np.array([[0.2], [0.5], [0.9]]).repeat(7, axis=1))
    first, second = np.split(drawn, 2)
    np.testing.assert_allclose((first + second) / 2, (0.2 + 0.5 + 0.9) / 3)


def test_how_often_the_intervals_of_videos_hold_the_truth():
    """Neighbours alike (a moving mean of ten), truth 0: of 95 % intervals three in four do with
    the 2 + 5 blocks of CamVid's test part, nearly all with 40."""
    generator = np.random.default_rng(11)
    held = {}
    for lengths in ((62, 171), (1200,)):
        names = [f"{video}_{frame:04d}" for video, length in zip("ab", lengths)
                 for frame in range(length)]
        weights = bootstrap.resamples(names, draws=400)
        means = np.stack([np.convolve(generator.normal(size=len(names) + 9), np.ones(10) / 10,
                                      "valid") for _ in range(300)])
        found = [bootstrap.interval(weights @ one / len(names)) for one in means]
        held[len(lengths)] = np.mean([low < 0 < high for low, high in found])
    assert 0.7 < held[2] < 0.95 and held[1] > 0.88
