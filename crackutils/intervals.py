"""95 % intervals of figures over pictures that may be frames of a video, and over seeds."""

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

BLOCK = 30  # frames of a video, at least, that are drawn together: neighbours are much alike
DRAWS = 2_000
FRAME = re.compile(r"^(.*\D)(\d{3,})$")  # a video's name and a frame's number


def sequences(names: Sequence[str]) -> dict[str, np.ndarray]:
    """The indices of each video's frames in their order, by its name: `0001TP` of `0001TP_008550`.

    A picture whose name has no number of three digits behind other characters is alone.
    """
    frames = defaultdict(list)
    for index, name in enumerate(names):
        found = FRAME.match(name)
        frames[found[1].rstrip("_-") if found else name].append(
            (int(found[2]) if found else 0, index))
    return {name: np.array([index for _, index in sorted(some)]) for name, some in frames.items()}


def resamples(names: Sequence[str], draws: int = DRAWS) -> np.ndarray:
    """How often each draw of a block bootstrap holds each picture: draws x pictures.

    A sequence of n frames, two blocks or more, is drawn anew from itself: n // 30 blocks of as many
    consecutive frames each, their first ones anywhere (Kuensch 1989). Shorter sequences and single
    pictures are drawn as wholes, as many as there are; of a single one nothing can be said.
    """
    chance = np.random.default_rng(0)
    weights = np.zeros((draws, len(names)), np.int64)
    rows = np.arange(draws)[:, None]
    short = []
    for frames in sequences(names).values():
        blocks = len(frames) // BLOCK
        if blocks < 2:
            short.append(frames)
            continue
        length = len(frames) // blocks
        firsts = chance.integers(len(frames) - length + 1, size=(draws, blocks))
        for drawn in firsts.T:
            weights[rows, frames[drawn[:, None] + np.arange(length)]] += 1
    if short:
        times = chance.multinomial(len(short), np.full(len(short), 1 / len(short)), size=draws)
        for frames, column in zip(short, times.T):
            weights[:, frames] += column[:, None]
    return weights


def over_seeds(values: np.ndarray) -> np.ndarray:
    """Draws of the mean over seeds, from draws of each seed (seeds x draws): the seeds are drawn
    anew too, with replacement.

    Drawn from n seeds, the mean scatters too little by (n - 1) / n in its variance: the seeds'
    deviations are stretched accordingly. With two or three seeds the interval stays rough.
    """
    seeds, draws = values.shape
    if seeds == 1:
        return values[0]
    mean = values.mean(axis=0)
    stretched = mean + (values - mean) * np.sqrt(seeds / (seeds - 1))
    chosen = np.random.default_rng(1).integers(seeds, size=(seeds, draws))
    return np.take_along_axis(stretched, chosen, axis=0).mean(axis=0)


def interval(draws: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of the draws; NaN where all are alike: then nothing could be drawn anew."""
    if np.ptp(draws) == 0:
        return float("nan"), float("nan")
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(low), float(high)
