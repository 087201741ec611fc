"""Blocks of consecutive frames, seeds, and how often the intervals hold the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackutils import intervals

VIDEO = [f"0001TP_{8550 + 30 * frame:06d}" for frame in range(62)]


def test_frames_belong_to_their_video_in_the_order_of_their_numbers():
    names = ["Seq05VD_f00120", "b1c66a42-6f7d68cz", "Seq05VD_f00030", "000176", "a_000"]
    found = {name: some.tolist() for name, some in intervals.sequences(names).items()}
    assert found == {"Seq05VD_f": [2, 0], "b1c66a42-6f7d68cz": [1], "000176": [3], "a": [4]}


def test_a_video_is_drawn_in_blocks_of_thirty_consecutive_frames_or_more():
    weights = intervals.resamples(VIDEO, draws=200)
    assert weights.shape == (200, 62) and (weights.sum(axis=1) == 62).all()
    for row in weights:  # two blocks of 31: where the number changes, a block begins or ends
        assert (np.diff(row) != 0).sum() <= 4
        runs = np.split(row, np.flatnonzero(np.diff(row)) + 1)
        assert sum(len(run) * run[0] for run in runs) == 62
    assert (weights > 0).any(axis=0).all() and len(np.unique(weights, axis=0)) > 100


def test_each_long_video_keeps_its_length_and_single_pictures_are_drawn_among_themselves():
    names = VIDEO + [f"Seq05VD_f{frame:05d}" for frame in range(171)] + ["x", "y", "z"]
    weights = intervals.resamples(names, draws=50)
    assert (weights[:, :62].sum(axis=1) == 62).all()
    assert (weights[:, 62:233].sum(axis=1) == 170).all()  # 5 blocks of 34
    assert (weights[:, 233:].sum(axis=1) == 3).all() and weights[:, 233:].max() == 3


def test_short_videos_are_drawn_as_wholes():
    names = [f"{video}_{frame:03d}" for video in "abc" for frame in range(20)]
    weights = intervals.resamples(names, draws=100).reshape(100, 3, 20)
    assert (weights == weights[:, :, :1]).all() and (weights.sum(axis=1) == 3).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(2, 40))
def test_every_draw_of_single_pictures_has_as_many_as_there_are(seed, count):
    names = [f"{seed}x{one:02d}y" for one in range(count)]
    weights = intervals.resamples(names, draws=20)
    assert (weights.sum(axis=1) == count).all() and (weights >= 0).all()


def test_one_short_video_gives_no_interval():
    weights = intervals.resamples([f"a_{frame:03d}" for frame in range(20)])
    assert np.isnan(intervals.interval(weights @ np.arange(20.0))).all()


def test_the_interval_of_single_pictures_is_that_of_their_mean():
    generator = np.random.default_rng(3)
    values = generator.normal(size=200)
    weights = intervals.resamples([f"p{one}q" for one in range(200)])
    low, high = intervals.interval(weights @ values / 200)
    error = values.std() / np.sqrt(200)
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error,
                                         values.mean() + 1.96 * error), abs=0.2 * error)


def test_frames_that_are_alike_give_wider_intervals_in_blocks():
    generator = np.random.default_rng(5)
    steps = np.cumsum(generator.normal(size=300))  # neighbours are alike
    video = intervals.resamples([f"v_{frame:03d}" for frame in range(300)])
    singles = intervals.resamples([f"p{frame}q" for frame in range(300)])
    width = {name: np.ptp(intervals.interval(weights @ steps / weights.sum(axis=1)))
             for name, weights in (("blocks", video), ("singles", singles))}
    assert width["blocks"] > 2 * width["singles"]


def test_seeds_scatter_as_their_mean_does():
    generator = np.random.default_rng(7)
    of_seeds = generator.normal(size=(8, 1)).repeat(4_000, axis=1)
    drawn = intervals.over_seeds(of_seeds)
    assert drawn.mean() == pytest.approx(of_seeds[:, 0].mean(), abs=0.05)
    assert drawn.std() == pytest.approx(of_seeds[:, 0].std(ddof=1) / np.sqrt(8), rel=0.05)
    one = generator.normal(size=(1, 50))
    assert np.array_equal(intervals.over_seeds(one), one[0])
