"""Photographs that show the same thing, turned and mirrored ones included.

A split that puts one of them into the training part and another into the test part leaks: the test
part is then known by heart. Candidates are found by a perceptual hash of each picture in all eight
positions, and confirmed by their pixels.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import scipy.fft
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

SIDE = 64  # pictures are compared at this size
MOST_DIFFERENT_BITS = 14  # of 63: hashes further apart are not compared by pixels
LEAST_CORRELATION = 0.6  # of fine structure, at the best shift
POSITIONS = [(turns, mirrored) for mirrored in (False, True) for turns in range(4)]


def reduced(grey: np.ndarray) -> np.ndarray:
    """A grey picture as float32 64 x 64, averaged over areas, whatever its sides were."""
    return cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)


def perceptual_hash(picture: np.ndarray) -> np.uint64:
    """63 bits: which of the 8 x 8 lowest frequencies but the constant lie above their median.

    The "pHash" of Zauner, "Implementation and benchmarking of perceptual image hash functions",
    2010, on a reduced picture.
    """
    lowest = scipy.fft.dctn(picture)[:8, :8].reshape(-1)[1:]
    return np.packbits(np.append(lowest > np.median(lowest), False)).view(np.uint64)[0]


def positions(picture: np.ndarray) -> list[np.ndarray]:
    """The picture turned by right angles and mirrored: all eight."""
    return [np.rot90(np.fliplr(picture) if mirrored else picture, turns)
            for turns, mirrored in POSITIONS]


def spectrum(picture: np.ndarray) -> np.ndarray:
    """The Fourier transform of a reduced picture's fine structure, which has norm 1.

    Light and shade are much alike from place to place; the grain is not.
    """
    fine = picture - cv2.GaussianBlur(picture, (0, 0), 4)
    fine -= fine.mean()
    return scipy.fft.rfft2(fine / max(float(np.linalg.norm(fine)), 1e-6))


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """The highest circular cross-correlation of two spectra over all shifts: -1 to 1."""
    return float(scipy.fft.irfft2(spectrum(one) * spectrum(other).conj(), s=(SIDE, SIDE)).max())


def alike(pictures: Sequence[np.ndarray]) -> list[tuple[int, int, float]]:
    """Pairs (i, j, correlation), i < j, of reduced pictures that show the same thing."""
    hashes = np.array([[perceptual_hash(one) for one in positions(picture)]
                       for picture in pictures], np.uint64).reshape(-1, len(POSITIONS))
    found = []
    for first, own in enumerate(hashes[:, 0]):
        different = np.bitwise_count(hashes[first + 1:] ^ own)
        for offset in np.flatnonzero(different.min(axis=1, initial=64) <= MOST_DIFFERENT_BITS):
            second = first + 1 + int(offset)
            near = np.flatnonzero(different[offset] <= MOST_DIFFERENT_BITS)
            # a picture of one colour has no structure, and is like its copy alone
            best = 1.0 if np.array_equal(pictures[first], pictures[second]) else max(
                correlation(pictures[first], positions(pictures[second])[one]) for one in near)
            if best >= LEAST_CORRELATION:
                found.append((first, second, best))
    return found


def groups_of(count: int, pairs: Sequence[tuple[int, int, float]]) -> np.ndarray:
    """The group each of `count` pictures belongs to: those that a chain of pairs connects."""
    rows, columns = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    graph = coo_matrix((np.ones(len(pairs)), (rows, columns)), shape=(count, count))
    return connected_components(graph, directed=False)[1]
