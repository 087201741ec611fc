"""95 % intervals of figures over pictures that may be frames of a video, and over seeds."""

import functools
import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

BLOCK = 30  # frames of a video, at least, that are drawn together: neighbours are much alike
DRAWS = 2_000
SEED_DRAWS = 10  # of the seeds, for each draw of the frames: tails of Student's are long
FRAME = re.compile(r"^(.*\D)(\d{3,})$")  # a video's name and a frame's number


def sequences(names: Sequence[str]) -> dict[str, np.ndarray]:
    """The indices of each video's frames in their order, by its name: `0001TP` of `0001TP_008550`.

    A picture whose name has no number of three digits behind other characters is alone.
    """
    frames = defaultdict(list)
    for index, name in enumerate(names):
        found = FRAME.match(name)
        video = re.sub("[_-]+f?$", "", found[1]) if found else name
        frames[video].append((int(found[2]) if found else 0, index))
    return {name: np.array([index for _, index in sorted(some)]) for name, some in frames.items()}


def resamples(names: Sequence[str], draws: int = DRAWS) -> np.ndarray:
    """`weights_of` these pictures, read-only: kept until other ones are asked for."""
    return weights_of(tuple(names), draws)


@functools.lru_cache(maxsize=1)
def weights_of(names: tuple[str, ...], draws: int) -> np.ndarray:
    """How much each draw of a block bootstrap holds of each picture: draws x pictures.

    A sequence of n frames, two blocks or more, is drawn anew from itself: n // 30 blocks of as many
    consecutive frames each, their first ones anywhere, the last frame followed by the first
    (Politis and Romano 1992). Shorter sequences and single pictures are drawn as wholes, as many as
    there are; of a single one nothing can be said.

    Drawn from k blocks, a mean scatters too little by (k - 1) / k in its variance: the weights'
    deviations are stretched accordingly, so they are no whole numbers and may be below 0. With a
    handful of blocks intervals still are too narrow, and they are for these streets, not others.
    """
    chance = np.random.default_rng(0)
    weights = np.zeros((draws, len(names)))
    short = []
    for frames in sequences(names).values():
        blocks = len(frames) // BLOCK
        if blocks < 2:
            short.append(frames)
            continue
        length = len(frames) // blocks
        times = np.zeros((draws, len(frames)))
        for firsts in chance.integers(len(frames), size=(blocks, draws)):
            places = (firsts[:, None] + np.arange(length)) % len(frames)
            times[np.arange(draws)[:, None], places] += 1
        weights[:, frames] = stretched(times, blocks)
    if short:
        times = chance.multinomial(len(short), np.full(len(short), 1 / len(short)), size=draws)
        for frames, column in zip(short, stretched(times, len(short)).T):
            weights[:, frames] = column[:, None]
    weights.flags.writeable = False
    return weights


def stretched(times: np.ndarray, blocks: int) -> np.ndarray:
    """Weights of mean 1 from how often each was drawn, the deviations as large as those of blocks
    that were drawn from without end."""
    factor = np.sqrt(blocks / (blocks - 1)) if blocks > 1 else 1
    return 1 + (times - times.sum(axis=1, keepdims=True) / times.shape[1]) * factor


def over_seeds(values: np.ndarray) -> np.ndarray:
    """Draws of the mean over seeds, from draws of each seed (seeds x draws); ten for each of these.

    The seeds' part is drawn from Student's distribution, so that without any scatter by frames the
    middle 95 % are the t-interval of the mean, for one loss and for the difference of two: the
    draws behind it are the same for all. Each is drawn with its opposite: no side is favoured.
    """
    values = np.tile(values, SEED_DRAWS)
    seeds, draws = values.shape
    mean = values.mean(axis=0)
    if seeds == 1:
        return mean
    chance = np.random.default_rng(1)
    normal = chance.standard_normal((seeds, draws // 2))
    spread = np.sqrt(chance.chisquare(seeds - 1, draws // 2) / (seeds - 1) * seeds * (seeds - 1))
    scaled = np.concatenate([normal / spread, -normal / spread], axis=1)
    return mean + ((values - mean) * scaled).sum(axis=0)


def interval(draws: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of the draws; NaN where all are alike: then nothing could be drawn anew."""
    if np.ptp(draws) == 0:
        return float("nan"), float("nan")
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(low), float(high)
