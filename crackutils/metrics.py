"""From counts to precision, recall, accuracy, F1, IoU in its variants, and recall by width.

TP, FP and FN are true positives, false positives and false negatives. All functions take counts as
arrays that broadcast (images x thresholds, say) and return float64. **0/0 is 1**: where there was
nothing to find and nothing was claimed, no mistake was made. So the precision of an empty
prediction is 1, the recall on an empty mask is 1, and F1 and IoU are 1 only if mask and prediction
are both empty (scikit-learn's `zero_division=1`). A whole part without a positive pixel has no
precision, recall, F1 and IoU, however: `scores` has NaN, and `undefined` says why.
"""

import numpy as np


def ratio(numerator, denominator) -> np.ndarray:
    """Divide, with 0/0 = 1."""
    numerator = np.asarray(numerator, dtype=np.float64)
    denominator = np.asarray(denominator, dtype=np.float64)
    return np.where(denominator == 0, 1.0, numerator / np.where(denominator == 0, 1, denominator))


def precision(true_positives, false_positives) -> np.ndarray:
    """TP / (TP + FP)."""
    true_positives = np.asarray(true_positives, dtype=np.int64)
    return ratio(true_positives, true_positives + false_positives)


def recall(true_positives, false_negatives) -> np.ndarray:
    """TP / (TP + FN)."""
    true_positives = np.asarray(true_positives, dtype=np.int64)
    return ratio(true_positives, true_positives + false_negatives)


def f1_score(true_positives, false_positives, false_negatives) -> np.ndarray:
    """2 TP / (2 TP + FP + FN): the harmonic mean of precision and recall, and the Dice score."""
    twice = 2 * np.asarray(true_positives, dtype=np.int64)
    return ratio(twice, twice + false_positives + false_negatives)


def iou(true_positives, false_positives, false_negatives) -> np.ndarray:
    """TP / (TP + FP + FN): the Jaccard index of the positive class."""
    true_positives = np.asarray(true_positives, dtype=np.int64)
    return ratio(true_positives, true_positives + false_positives + false_negatives)


def accuracy(false_positives, false_negatives, pixels) -> np.ndarray:
    """(TP + TN) / pixels = 1 - (FP + FN) / pixels."""
    return 1 - (np.asarray(false_positives, dtype=np.int64) + false_negatives) / pixels


def pooled(counts: dict[str, np.ndarray], part: str) -> dict[str, np.ndarray]:
    """Sum the counts of a part over its images: int64 over the thresholds, `pixels` one number."""
    quantities = ("pixels", "true_positives", "false_positives", "false_negatives")
    return {name: counts[f"{part}_{name}"].astype(np.int64).sum(axis=0) for name in quantities}


def scores(counts: dict[str, np.ndarray], part: str) -> dict[str, np.ndarray]:
    """Precision, recall, accuracy, F1 and IoU at every threshold, pooled over a part's images. All
    but accuracy are NaN if the part has no positive pixel."""
    total = pooled(counts, part)
    tp, fp, fn = (total[name] for name in
                  ("true_positives", "false_positives", "false_negatives"))
    values = {"precision": precision(tp, fp), "recall": recall(tp, fn),
              "accuracy": accuracy(fp, fn, total["pixels"]),
              "f1_score": f1_score(tp, fp, fn), "iou": iou(tp, fp, fn)}
    if not (tp + fn).any():
        values |= {name: np.full(tp.shape, np.nan) for name in values if name != "accuracy"}
    return values


def undefined(counts: dict[str, np.ndarray]) -> str | None:
    """Why a record has no F1 and no IoU; None if it has them."""
    for part in ("test", "validation"):
        names = f"{part}_true_positives", f"{part}_false_negatives"
        if all(name in counts and not counts[name].any() for name in names):
            return f"the {part} part has no positive pixel"
    return None


def images_at(counts: dict[str, np.ndarray], part: str, threshold: float) -> dict[str, np.ndarray]:
    """The counts of each image of a part at one threshold, as int64 arrays over the images:
    `true_positives`, `false_positives`, `false_negatives`, and, where they were counted, `pixels`
    and `confusion` (images x labels x predictions)."""
    index = at_threshold(counts, threshold)
    images = {name: counts[f"{part}_{name}"][:, index].astype(np.int64) for name in
              ("true_positives", "false_positives", "false_negatives")}
    names = [name for name in ("pixels", "confusion") if f"{part}_{name}" in counts]
    return images | {name: counts[f"{part}_{name}"].astype(np.int64) for name in names}


def iou_variants(images: dict[str, np.ndarray],
                 weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """IoU in every definition that a paper may mean, from the counts of `images_at`.

    `weights` (draws x images) says how often each draw of a bootstrap contains each image; without
    it there is one draw that contains each image once. Returns arrays over the draws:

    - `iou`: of the positive class, pooled over the images;
    - `iou_mean_of_images`: the mean of the IoU of each image;
    - `iou_mean_of_classes`: the mean over all classes, background included, each pooled;
    - `iou_mean_without_background`: the same without background (equal to `iou` for one class);
    - `iou_official`: the mean IoU of BDD100K's toolkit, see `official`.

    For a network of three classes the last three variants use its likeliest class, without a
    threshold.
    """
    true, false, missed = (images[name] for name in
                           ("true_positives", "false_positives", "false_negatives"))
    weights = np.ones((1, len(true))) if weights is None else weights
    pooled_confusion = np.tensordot(weights, confusions(images), axes=1)
    of_classes = class_ious(pooled_confusion)
    return {"iou": ratio(weights @ true, weights @ (true + false + missed)),
            "iou_mean_of_images": weights @ iou(true, false, missed) / weights.sum(axis=1),
            "iou_mean_of_classes": of_classes.mean(axis=1),
            "iou_mean_without_background": of_classes[:, 1:].mean(axis=1),
            "iou_official": official(pooled_confusion)}


def confusions(images: dict[str, np.ndarray]) -> np.ndarray:
    """The confusion of each image (images x labels x predictions): of the network's three classes,
    or of background and the positive class."""
    if "confusion" in images:
        return images["confusion"]
    true, false, missed = (images[name] for name in
                           ("true_positives", "false_positives", "false_negatives"))
    true_negatives = images["pixels"] - true - false - missed
    return np.stack([true_negatives, false, missed, true], axis=1).reshape(-1, 2, 2)


def of_confusions(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """The counts of `images_at` from confusions: all classes but the first are positive."""
    return {"confusion": confusion, "pixels": confusion.sum(axis=(1, 2)),
            "true_positives": confusion[:, 1:, 1:].sum(axis=(1, 2)),
            "false_positives": confusion[:, 0, 1:].sum(axis=1),
            "false_negatives": confusion[:, 1:, 0].sum(axis=1)}


def class_ious(confusion: np.ndarray) -> np.ndarray:
    """IoU of each class from confusions (... x labels x predictions): diagonal over union."""
    diagonal = np.diagonal(confusion, axis1=-2, axis2=-1)
    return ratio(diagonal, confusion.sum(axis=-1) + confusion.sum(axis=-2) - diagonal)


def official(confusion: np.ndarray) -> np.ndarray:
    """BDD100K's mean IoU of drivable area, from confusions (... x labels x predictions).

    Its toolkit (bdd100k/eval/seg.py) ignores the background, here class 0: **pixels labelled
    background are left out, so a false alarm there costs nothing**. The mean is over the other
    classes that occur in the labels. With one positive class this equals its recall.
    """
    kept = confusion.copy()
    kept[..., 0, :] = 0
    diagonal = np.diagonal(kept, axis1=-2, axis2=-1)[..., 1:]
    present = kept.sum(axis=-1)[..., 1:]
    union = present + kept.sum(axis=-2)[..., 1:] - diagonal
    occurs = present > 0
    scores = np.where(occurs, diagonal / np.where(union == 0, 1, union), 0)
    return ratio(scores.sum(axis=-1), occurs.sum(axis=-1))


def recall_by_width(counts: dict[str, np.ndarray], part: str) -> np.ndarray:
    """Pooled recall in each stratum of crack width: width strata x thresholds. The limits of the
    strata, in pixels, are `width_edges` in the counts. A stratum without a pixel has NaN."""
    found = counts[f"{part}_true_positives_by_width"].astype(np.int64).sum(axis=0)
    present = counts[f"{part}_positives_by_width"].astype(np.int64).sum(axis=0)[:, None]
    return np.where(present > 0, ratio(found, present), np.nan)


def at_threshold(counts: dict[str, np.ndarray], threshold: float) -> int:
    """The index of a threshold in the counts; `ValueError` if it was not counted."""
    distance = np.abs(counts["thresholds"] - threshold)
    if not distance.min() <= 1e-9:  # NaN is not counted either
        raise ValueError(f"Threshold {threshold} was not counted: expected one of "
                         f"{counts['thresholds'][0]} ... {counts['thresholds'][-1]}.")
    return int(distance.argmin())


def best_threshold(counts: dict[str, np.ndarray], part: str) -> float:
    """The threshold of the highest pooled F1 on a part; the lowest one on a tie."""
    return float(counts["thresholds"][scores(counts, part)["f1_score"].argmax()])


def at_validation_threshold(counts: dict[str, np.ndarray]) -> tuple[float, dict[str, float]]:
    """The best threshold on the validation part, and the pooled scores of the test part there. All
    are NaN if one of the parts has no positive pixel."""
    if undefined(counts):
        return np.nan, dict.fromkeys(scores(counts, "test"), np.nan)
    threshold = best_threshold(counts, "validation")
    index = at_threshold(counts, threshold)
    return threshold, {name: float(values[index])
                       for name, values in scores(counts, "test").items()}


def degenerate(counts: dict[str, np.ndarray], part: str) -> str | None:
    """"empty" or "full" if a part's prediction is so at every threshold, "constant" if it changes
    from full to empty at one (every pixel has the same probability), else None."""
    total = pooled(counts, part)
    claimed = total["true_positives"] + total["false_positives"]
    empty, full = claimed == 0, claimed == total["pixels"]
    if not (empty | full).all():
        return None
    return "empty" if empty.all() else "full" if full.all() else "constant"
