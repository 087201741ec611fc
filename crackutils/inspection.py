"""What can be told of one image and its mask without any other."""

from dataclasses import dataclass, field

import cv2
import numpy as np
import scipy.fft

from crackutils.decoding import decode, levels_of
from crackutils.duplicates import positions, reduced
from crackutils.layouts import Layout
from crackutils.pairing import DataError, Files, told
from crackutils.protocol import Protocol

SIDE = 256  # shifts are looked for in pictures reduced to at most this
SMALLEST = 100  # px: in less, a few dark pixels decide
FARTHEST = 0.15  # shifts up to this share of the side
LEVELS = (96, 160)  # where else a grey mask may be cut


@dataclass
class Facts:
    """Of one pair; `error` says why there are no others."""

    name: str
    part: str
    error: str | None = None
    size: tuple[int, int] = (0, 0)  # (height, width)
    share: float = 0.0  # of the positive class
    other_shares: tuple[float, ...] = ()  # of a grey mask, were it cut at LEVELS
    grey: float = 0.0  # share of a grey mask's pixels that are neither black nor white
    group: int = -1  # what shows the same thing has the same
    picture: np.ndarray | None = field(default=None, repr=False)  # reduced
    width: float = np.nan  # mean width of the cracks, px
    fit: "Fit | None" = None


@dataclass
class Fit:
    """How well dark lines lie under the mask: correlations, and the shift (rows, columns) in px
    that fits best; `turned` is the best correlation of the mask in another position."""

    here: float
    best: float
    shift: tuple[int, int]
    turned: float


def inspect(part: str, files: Files, layout: Layout, protocol: Protocol) -> Facts:
    """The facts of a pair."""
    try:
        with told():
            contents = [path.read_bytes() if path else None for path in files[1:]]
        sample = decode(files, contents, layout, protocol)
        levels = None if layout.labels else levels_of(files.mask, contents[1])
    except DataError as error:
        return Facts(files.name, part, str(error))
    grey = cv2.cvtColor(sample.image, cv2.COLOR_RGB2GRAY)
    facts = Facts(files.name, part, size=sample.mask.shape, share=float((sample.mask > 0).mean()),
                  picture=reduced(grey))
    if levels is not None:
        counts = np.bincount(levels.reshape(-1), minlength=256) / levels.size
        facts.grey = float(counts[16:240].sum())
        facts.other_shares = tuple(float(counts[level:].sum()) for level in LEVELS)
    if protocol.task == "cracks" and 0 < facts.share < 0.5:
        facts.width = mean_width(sample.mask)
        if min(grey.shape) >= SMALLEST:
            facts.fit = fit_of(grey, sample.mask)
    return facts


def mean_width(mask: np.ndarray) -> float:
    """About the mean width of a mask's bands: the pixels of a band of width w lie w / 4 from its
    edge in the mean. Of 1 px it says 2; from 2 px on it errs by less than a sixth."""
    distance = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float(4 * (distance[distance > 0] - 0.5).mean())


def fit_of(grey: np.ndarray, mask: np.ndarray) -> Fit:
    """Correlate the mask with what is darker than its surroundings, over shifts and positions."""
    factor = min(1.0, SIDE / max(grey.shape))
    size = tuple(max(8, round(length * factor)) for length in grey.shape[::-1])
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    lines = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    dark = np.maximum(cv2.GaussianBlur(small, (0, 0), 6) - small, 0)
    dark, lines = (unit(cv2.GaussianBlur(one, (0, 0), 1)) for one in (dark, lines))
    spectrum = scipy.fft.rfft2(dark)
    by_shift = scipy.fft.irfft2(spectrum * scipy.fft.rfft2(lines).conj(), s=dark.shape)
    most = [max(1, round(FARTHEST * length)) for length in dark.shape]
    near = np.roll(by_shift, most, (0, 1))[:2 * most[0] + 1, :2 * most[1] + 1]
    row, column = np.unravel_index(near.argmax(), near.shape)
    shift = (round((row - most[0]) / factor), round((column - most[1]) / factor))
    others = [one for one in positions(lines)[1:] if one.shape == dark.shape]
    here = near[most[0] - 1:most[0] + 2, most[1] - 1:most[1] + 2].max()
    return Fit(float(here), float(near.max()), shift,
               max(float((dark * one).sum()) for one in others))


def unit(picture: np.ndarray) -> np.ndarray:
    """Of mean 0 and norm 1."""
    picture = picture - picture.mean()
    return picture / max(float(np.linalg.norm(picture)), 1e-6)
