"""Scores of runs on roads: which of them learned, and draws of every IoU that may be compared."""

import numpy as np

from crackutils import intervals, metrics

IOUS = ("iou", "iou_mean_of_images", "iou_mean_of_classes", "iou_mean_without_background",
        "iou_official")
THRESHOLD = 0.5  # paper B states none


def collapsed(counts: dict[str, np.ndarray]) -> bool:
    """Whether a run calls everything road, or nothing: all but a thousandth of the pixels of the
    validation part, so that the test part does not choose what it is scored on."""
    images = metrics.images_at(counts, "validation", THRESHOLD)
    claimed = (images["true_positives"] + images["false_positives"]).sum() / images["pixels"].sum()
    return not 0.001 < claimed < 0.999


def learned(seeds: list[dict]) -> list[dict]:
    """The counts of the runs that did not collapse; of all, if each of them did."""
    return [counts for counts in seeds if not collapsed(counts)] or seeds


def at_half(seeds: list[dict]) -> list[dict]:
    """Each seed's test counts by image at threshold .5."""
    return [metrics.images_at(counts, "test", THRESHOLD) for counts in seeds]


def variant_draws(seeds: list[dict]) -> dict[str, np.ndarray]:
    """Bootstrap draws of each variant of IoU: the same frames and seeds for every loss, so that
    draws of two losses may be subtracted. `ValueError` unless all were tested on the same frames.
    """
    check_frames(seeds)
    weights = intervals.resamples(seeds[0]["test_names"].tolist())
    drawn = [metrics.iou_variants(images, weights) for images in at_half(seeds)]
    return {name: intervals.over_seeds(np.stack([one[name] for one in drawn])) for name in IOUS}


def check_frames(seeds: list[dict]) -> None:
    """`ValueError` unless all were tested on the same frames, in the same order."""
    if len({tuple(counts["test_names"].tolist()) for counts in seeds}) > 1:
        raise ValueError("These records were tested on different frames and can't be compared: "
                         "expected runs on one version of the data set; remove the others' "
                         "records, or keep them in another folder of runs.")


def pooled_iou(seeds: list[dict], frames=slice(None)) -> float:
    """The pooled IoU of the positive class over the chosen test frames, the mean over seeds."""
    return float(np.mean([metrics.iou(*(images[name][frames].sum() for name in (
        "true_positives", "false_positives", "false_negatives"))) for images in at_half(seeds)]))
