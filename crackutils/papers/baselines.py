"""What needs no learning: thresholds on grey levels, tuned on the very images they are scored on.

They are upper bounds of what such methods reach: a data set on which they do well needs no network.
"""

import cv2
import numpy as np

from crackutils.data.samples import Sample
from crackutils.metrics import f1_score

BLACK_HAT_SIZES = (5, 9, 13, 17, 21, 25)  # px, sides of the structuring element


def best_grey_cut(samples: list[Sample]) -> tuple[float, int]:
    """The highest pooled F1 of "darker than t is crack" over one t for all images, and that t."""
    levels = np.zeros((2, 256), dtype=np.int64)
    for sample in samples:
        grey = cv2.cvtColor(sample.image, cv2.COLOR_RGB2GRAY)
        for label in (0, 1):
            levels[label] += np.bincount(grey[sample.mask == label], minlength=256)
    background, cracks = levels.cumsum(axis=1)  # at most t: darker than t + 1
    scores = f1_score(cracks, background, cracks[-1] - cracks)
    return float(scores.max()), int(scores.argmax()) + 1


def black_hat_otsu(samples: list[Sample]) -> tuple[float, int]:
    """The highest pooled F1 of black-hat (closing - image) cut by Otsu's method in each image, and
    the side of the structuring element that gave it."""
    scores = []
    for size in BLACK_HAT_SIZES:
        element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
        true = false = missed = 0
        for sample in samples:
            grey = cv2.cvtColor(sample.image, cv2.COLOR_RGB2GRAY)
            darker = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, element)
            _, claimed = cv2.threshold(darker, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
            true += int((claimed & sample.mask).sum())
            false += int((claimed & (1 - sample.mask)).sum())
            missed += int(((1 - claimed) & sample.mask).sum())
        scores.append(float(f1_score(true, false, missed)))
    best = int(np.argmax(scores))
    return scores[best], BLACK_HAT_SIZES[best]
