"""Two methods without learning, tuned on the very images they are scored on.

They show the most that thresholds on grey levels can reach: a data set on which they do well needs
no network.
"""

import cv2
import numpy as np

from crackutils.data.samples import Sample
from crackutils.metrics import f1_score

BLACK_HAT_SIZES = (5, 9, 13, 17, 21, 25)  # px, diameters of the structuring element


def best_grey_threshold(samples: list[Sample]) -> tuple[float, int]:
    """The highest pooled F1 of "darker than t is crack" with one t for all images, and that t."""
    levels = np.zeros((2, 256), dtype=np.int64)
    for sample in samples:
        grey = cv2.cvtColor(sample.image, cv2.COLOR_RGB2GRAY)
        for label in (0, 1):
            levels[label] += np.bincount(grey[sample.mask == label], minlength=256)
    background, cracks = levels.cumsum(axis=1)  # pixels of level t or less: darker than t + 1
    scores = f1_score(cracks, background, cracks[-1] - cracks)
    return float(scores.max()), int(scores.argmax()) + 1


def black_hat_otsu(samples: list[Sample]) -> tuple[float, int]:
    """The highest pooled F1 of the black-hat transform (closing - image), thresholded by Otsu's
    method in each image, and the diameter of the structuring element that gave it."""
    scores = []
    for size in BLACK_HAT_SIZES:
        element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
        confusion = np.zeros(4, dtype=np.int64)  # at index 2 * label + prediction
        for sample in samples:
            grey = cv2.cvtColor(sample.image, cv2.COLOR_RGB2GRAY)
            darkness = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, element)
            _, predicted = cv2.threshold(darkness, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
            confusion += np.bincount((2 * sample.mask + predicted).ravel(), minlength=4)
        _, false_positives, false_negatives, true_positives = confusion
        scores.append(float(f1_score(true_positives, false_positives, false_negatives)))
    best = int(np.argmax(scores))
    return scores[best], BLACK_HAT_SIZES[best]
