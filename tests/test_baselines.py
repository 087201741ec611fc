"""The classical baselines against other implementations, and the task they must not solve."""

import numpy as np
import pytest
from skimage.filters import threshold_otsu
from sklearn.metrics import f1_score

from crackutils.data.samples import Sample
from crackutils.data.synthetic import DATA_SEED, cracks
from crackutils.papers import baselines
from crackutils.protocol import preset


def drawn(indices: range, size: tuple[int, int]) -> list[Sample]:
    return [Sample(str(index), *cracks.draw(DATA_SEED, index, size))
            for index in indices]


def grey(sample: Sample) -> np.ndarray:
    return np.round(sample.image @ np.array([0.299, 0.587, 0.114])).astype(int)


def test_the_best_grey_cut_is_the_best_of_all_256():
    samples = drawn(range(4), (64, 64))
    target = np.concatenate([sample.mask.ravel() for sample in samples])
    levels = np.concatenate([grey(sample).ravel() for sample in samples])
    by_cut = [f1_score(target, levels < cut, zero_division=1) for cut in range(257)]
    score, cut = baselines.best_grey_threshold(samples)
    assert score == pytest.approx(max(by_cut), abs=2e-3)  # OpenCV's grey rounds at other places
    assert by_cut[cut] == pytest.approx(max(by_cut), abs=2e-3)


def test_black_hat_and_otsu_cut_where_scikit_image_cuts(monkeypatch):
    monkeypatch.setattr(baselines, "BLACK_HAT_SIZES", (9,))
    import cv2
    samples = drawn(range(3), (96, 96))
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    claims = []
    for sample in samples:
        plane = cv2.cvtColor(sample.image, cv2.COLOR_RGB2GRAY)
        darker = cv2.morphologyEx(plane, cv2.MORPH_CLOSE, element).astype(int) - plane
        claims.append((darker > threshold_otsu(darker)).ravel())
    target = np.concatenate([sample.mask.ravel() for sample in samples])
    score, size = baselines.black_hat_otsu(samples)
    assert size == 9
    assert score == pytest.approx(f1_score(target, np.concatenate(claims)), abs=0.02)


def test_no_grey_level_solves_the_test_part_of_quick():
    train, validation, test = preset("quick").counts
    first = train + validation
    samples = drawn(range(first, first + test), preset("quick").image_size)
    assert baselines.best_grey_threshold(samples)[0] <= 0.55
    assert baselines.black_hat_otsu(samples)[0] <= 0.55
