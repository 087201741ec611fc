"""Counts and figures against scikit-learn and torchmetrics."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sklearn_metrics
from torchmetrics.classification import (
    BinaryJaccardIndex,
    BinaryRecall,
    MulticlassJaccardIndex,
)

from crackutils import metrics
from crackutils.data.samples import Sample
from crackutils.evaluation import THRESHOLDS, WIDTH_EDGES, counts_by_group, image_counts

CUTS = THRESHOLDS.astype(np.float32)
# every threshold itself and its neighbours on both sides: ties are where counting goes wrong
TIES = np.concatenate([CUTS, np.nextafter(CUTS, np.float32(0)), np.nextafter(CUTS, np.float32(1)),
                       np.array([0, 1], np.float32)])
values = st.sampled_from(TIES.tolist()) | st.floats(0, 1, width=32)
predictions = arrays(np.float32, (4, 5), elements=values)
masks = arrays(np.uint8, (4, 5), elements=st.integers(0, 1))


def sample(mask: np.ndarray, width: np.ndarray | None = None) -> Sample:
    return Sample("one", np.zeros((*mask.shape, 3), np.uint8), mask, width)


def counts_of(*pairs, width=None) -> dict[str, np.ndarray]:
    """The arrays of a part "test", and of the same as "validation", of several images."""
    counted = [image_counts(torch.tensor(prediction)[None], sample(mask, width))
               for prediction, mask in pairs]
    return {"thresholds": THRESHOLDS, "width_edges": WIDTH_EDGES} | {
        f"{part}_{name}": np.stack([counts[name] for counts in counted]).astype(np.uint32)
        for part in ("test", "validation") for name in counted[0]}


def test_the_grid_is_that_of_the_register():
    assert len(THRESHOLDS) == 110 and (np.diff(THRESHOLDS) > 0).all()
    assert {0.01, 0.1, 0.4, 0.5, 0.75, 0.9, 0.99, 0.995, 0.9999} <= set(THRESHOLDS.tolist())


@settings(max_examples=12, deadline=None)
@given(prediction=predictions, mask=masks)
def test_counts_are_scikit_learns_at_every_threshold(prediction, mask):
    counts = image_counts(torch.tensor(prediction)[None], sample(mask))
    for index, cut in enumerate(CUTS):
        (_, false), (missed, true) = sklearn_metrics.confusion_matrix(
            mask.ravel(), (prediction >= cut).ravel(), labels=[0, 1])
        assert (counts["true_positives"][index], counts["false_positives"][index],
                counts["false_negatives"][index]) == (true, false, missed)
    assert counts["pixels"] == 20


@settings(max_examples=12, deadline=None)
@given(prediction=predictions, mask=masks.filter(np.any))
def test_figures_are_scikit_learns_with_zero_division_one(prediction, mask):
    found = metrics.scores(counts_of((prediction, mask)), "test")
    for index in (0, 9, 49, 74, 98, 109):
        claimed, truth = (prediction >= CUTS[index]).ravel(), mask.ravel()
        for name, function in (("precision", sklearn_metrics.precision_score),
                               ("recall", sklearn_metrics.recall_score),
                               ("f1_score", sklearn_metrics.f1_score),
                               ("iou", sklearn_metrics.jaccard_score)):
            expected = function(truth, claimed, zero_division=1)
            assert found[name][index] == pytest.approx(expected, abs=1e-12), name
        assert found["accuracy"][index] == pytest.approx((claimed == truth).mean())


@settings(max_examples=15, deadline=None)
@given(prediction=predictions, mask=masks,
       width=arrays(np.float32, (4, 5), elements=st.sampled_from([0, 0.5, 1, 1.9, 2, 3, 5, 9])))
def test_counts_by_width_are_brute_force_and_sum_to_the_totals(prediction, mask, width):
    counts = image_counts(torch.tensor(prediction)[None], sample(mask, width))
    limits = [0, 1, 2, 3, 5, np.inf]
    for row, (low, high) in enumerate(zip(limits, limits[1:])):
        of_width = (mask == 1) & (width >= low) & (width < high)
        assert counts["positives_by_width"][row] == of_width.sum()
        expected = [(of_width & (prediction >= cut)).sum() for cut in CUTS]
        assert counts["true_positives_by_width"][row].tolist() == expected
    plain = image_counts(torch.tensor(prediction)[None], sample(mask))
    assert all(np.array_equal(counts[name], plain[name]) for name in plain)
    assert counts["positives_by_width"].sum() == mask.sum()


def test_many_groups_are_counted_apart():
    prediction = torch.tensor([[0.2, 0.6, 0.6], [0.9, 0.1, 0.5]])
    group = torch.tensor([[0, 1, 2], [2, 3, 3]])
    counted = counts_by_group(prediction, group, 5, np.array([0.15, 0.5, 0.75]))
    assert counted.dtype == torch.int64
    assert counted.tolist() == [[1, 0, 0], [1, 1, 0], [2, 2, 1], [1, 1, 0], [0, 0, 0]]


def test_predictions_and_thresholds_meet_as_float32():
    # the float64 .1 lies below float32(.1), which lies above .1
    counted = counts_by_group(torch.tensor([[0.1]], dtype=torch.float64), torch.tensor([[0]]), 1)
    assert counted[0, 8:11].tolist() == [1, 1, 0]


@pytest.mark.parametrize("wrong", [float("nan"), -0.001, 1.001, float("inf")])
def test_what_is_no_probability_is_refused(wrong):
    prediction = torch.full((2, 2), 0.5)
    prediction[1, 0] = wrong
    with pytest.raises(ValueError, match="probabilities"):
        image_counts(prediction[None], sample(np.zeros((2, 2), np.uint8)))


def two_images(seed: int = 0):
    """Two images, one with many cracks and one with few, so that pooling and averaging differ."""
    generator = np.random.default_rng(seed)
    result = []
    for share in (0.6, 0.1):
        mask = (generator.random((12, 12)) < share).astype(np.uint8)
        noise = generator.random((12, 12), dtype=np.float32)
        result.append((np.float32(0.3) * mask + np.float32(0.7) * noise, mask))
    return result


def test_iou_variants_are_torchmetrics():
    pairs = two_images()
    images = metrics.images_at(counts_of(*pairs), "test", 0.5)
    found = {name: value.item() for name, value in metrics.iou_variants(images).items()}
    claimed = [torch.tensor(prediction >= 0.5).long() for prediction, _ in pairs]
    masks = [torch.tensor(mask).long() for _, mask in pairs]
    everything = torch.stack(claimed), torch.stack(masks)
    of_images = [BinaryJaccardIndex()(*pair).item() for pair in zip(claimed, masks)]
    assert found["iou"] == pytest.approx(BinaryJaccardIndex()(*everything).item(), abs=1e-6)
    assert found["iou_mean_of_images"] == pytest.approx(np.mean(of_images), abs=1e-6)
    assert found["iou_mean_of_classes"] == pytest.approx(
        MulticlassJaccardIndex(num_classes=2, average="macro")(*everything).item(), abs=1e-6)
    assert found["iou_mean_without_background"] == found["iou"]
    assert found["iou_official"] == pytest.approx(BinaryRecall()(*everything).item(), abs=1e-6)
    assert len({round(value, 3) for value in found.values()}) == 4


def three_classes(seed: int = 0) -> tuple[list, list]:
    """Labels and likeliest classes of three images of 12 x 12."""
    generator = np.random.default_rng(seed)
    labels = [generator.choice(3, (12, 12), p=share) for share in
              ((.5, .4, .1), (.9, .1, 0), (.3, .2, .5))]
    return labels, [np.where(generator.random(label.shape) < .7, label,
                             generator.integers(3, size=label.shape)) for label in labels]


def counted_classes(labels, claimed) -> dict[str, np.ndarray]:
    return metrics.of_confusions(np.stack([
        sklearn_metrics.confusion_matrix(label.ravel(), claim.ravel(), labels=range(3))
        for label, claim in zip(labels, claimed)]))


def test_iou_variants_of_three_classes_are_scikit_learns():
    labels, claimed = three_classes()
    found = {name: value.item() for name, value in
             metrics.iou_variants(counted_classes(labels, claimed)).items()}
    truth, claim = np.ravel(labels), np.ravel(claimed)
    of_classes = sklearn_metrics.jaccard_score(truth, claim, average=None)
    assert found["iou_mean_of_classes"] == pytest.approx(of_classes.mean())
    assert found["iou_mean_without_background"] == pytest.approx(of_classes[1:].mean())
    assert found["iou"] == pytest.approx(sklearn_metrics.jaccard_score(truth > 0, claim > 0))
    assert found["iou_mean_of_images"] == pytest.approx(np.mean(
        [sklearn_metrics.jaccard_score((a > 0).ravel(), (b > 0).ravel())
         for a, b in zip(labels, claimed)]))
    # BDD100K's: pixels labelled background are left out before anything is counted
    kept = truth > 0
    official = sklearn_metrics.jaccard_score(truth[kept], claim[kept], labels=[1, 2],
                                             average="macro")
    assert found["iou_official"] == pytest.approx(official)
    assert found["iou_official"] > found["iou_mean_without_background"]


def test_the_official_mean_leaves_out_classes_that_no_label_has():
    confusion = np.array([[50, 10, 5], [4, 20, 6], [0, 0, 0]])  # labels: background and direct
    assert metrics.official(confusion) == pytest.approx(20 / 30)
    calling_all_road = np.array([[0, 65, 0], [0, 30, 0], [0, 0, 0]])
    assert metrics.official(calling_all_road) == 1, "false alarms on background cost nothing"
    assert metrics.official(np.zeros((3, 3), int)) == 1


def test_weights_say_how_often_an_image_counts():
    labels, claimed = three_classes(1)
    images = counted_classes(labels, claimed)
    drawn = metrics.iou_variants(images, np.array([[1, 1, 1], [2, 0, 1]]))
    twice = counted_classes([labels[0], labels[0], labels[2]],
                            [claimed[0], claimed[0], claimed[2]])
    for name, values in drawn.items():
        assert values[0] == metrics.iou_variants(images)[name][0]
        assert values[1] == pytest.approx(metrics.iou_variants(twice)[name][0])


def test_figures_pool_the_pixels_and_do_not_average_the_images():
    pairs = two_images()
    counts = counts_of(*pairs)
    index = metrics.at_threshold(counts, 0.5)
    truth = np.concatenate([mask.ravel() for _, mask in pairs])
    claimed = np.concatenate([prediction.ravel() >= 0.5 for prediction, _ in pairs])
    pooled = sklearn_metrics.f1_score(truth, claimed)
    average = np.mean([sklearn_metrics.f1_score(mask.ravel(), prediction.ravel() >= 0.5)
                       for prediction, mask in pairs])
    assert abs(pooled - average) > 0.05
    assert metrics.scores(counts, "test")["f1_score"][index] == pytest.approx(pooled)
    assert metrics.scores(counts, "test")["accuracy"][index] == pytest.approx(
        (truth == claimed).mean())


@pytest.mark.parametrize("true, false, missed, expected", [
    (0, 0, 0, (1, 1, 1, 1)), (0, 3, 0, (0, 1, 0, 0)), (0, 0, 3, (1, 0, 0, 0)),
    (2, 0, 0, (1, 1, 1, 1))])
def test_nothing_of_nothing_is_no_mistake(true, false, missed, expected):
    assert (metrics.precision(true, false), metrics.recall(true, missed),
            metrics.f1_score(true, false, missed), metrics.iou(true, false, missed)) == expected


def test_counts_near_the_limit_of_uint32_do_not_wrap():
    large = np.array([4_000_000_000], np.uint32)
    assert metrics.precision(large, large) == 0.5 and metrics.recall(large, large) == 0.5
    assert metrics.f1_score(large, large, large) == 0.5
    assert metrics.iou(large, large, large) == pytest.approx(1 / 3)
    assert metrics.accuracy(large, large, np.array(16_000_000_000)) == 0.5
    stacked = {f"test_{name}": np.stack([large, large]) for name in
               ("pixels", "true_positives", "false_positives", "false_negatives")}
    assert metrics.pooled(stacked, "test")["true_positives"] == 8_000_000_000


def test_recall_by_width_is_pooled():
    width = np.repeat(np.array([0.5, 1.5, 2.5, 4, 8, 9], np.float32)[:, None], 2, axis=1)
    mask = np.ones((6, 2), np.uint8)
    prediction = np.array([[0.9, 0.1], [0.1, 0.1], [0.9, 0.9], [0.9, 0.1], [0.9, 0.1], [0.1, 0.1]],
                          np.float32)
    counts = counts_of((prediction, mask), (np.ones_like(prediction), mask), width=width)
    found = metrics.recall_by_width(counts, "test")[:, metrics.at_threshold(counts, 0.5)]
    assert found.tolist() == [3 / 4, 2 / 4, 4 / 4, 3 / 4, 5 / 8]


def test_a_width_without_a_crack_has_no_recall():
    mask = np.ones((1, 2), np.uint8)
    width = np.array([[1.5, 4]], np.float32)
    counts = counts_of((np.array([[0.9, 0.1]], np.float32), mask), width=width)
    found = metrics.recall_by_width(counts, "test")[:, metrics.at_threshold(counts, 0.5)]
    assert np.array_equal(found, [np.nan, 1, np.nan, 0, np.nan], equal_nan=True)


def test_the_best_threshold_is_the_lowest_of_equals_on_the_part_asked_for():
    mask = np.array([[1, 1, 0, 0]], np.uint8)
    counts = counts_of((np.array([[0.7, 0.7, 0.3, 0.3]], np.float32), mask))
    assert metrics.best_threshold(counts, "validation") == 0.31  # perfect from .31 to .7
    other = counts_of((np.array([[0.7, 0.7, 0.6, 0.6]], np.float32), mask))
    counts |= {name: value for name, value in other.items() if name.startswith("test")}
    assert metrics.best_threshold(counts, "test") == 0.61


def test_the_scores_at_the_validation_threshold_are_the_test_parts():
    """Validation is perfect from .31 to .7, so the threshold is .31; at .31 the test part has its
    two crack pixels, and claims one of its two background pixels too."""
    mask = np.array([[1, 1, 0, 0]], np.uint8)
    counts = counts_of((np.array([[0.7, 0.7, 0.3, 0.3]], np.float32), mask))
    other = counts_of((np.array([[0.9, 0.4, 0.35, 0.1]], np.float32), mask))
    counts |= {name: value for name, value in other.items() if name.startswith("test")}
    threshold, test = metrics.at_validation_threshold(counts)
    assert threshold == 0.31
    assert test == pytest.approx({"precision": 2 / 3, "recall": 1, "accuracy": 3 / 4,
                                  "f1_score": 4 / 5, "iou": 2 / 3})


def test_a_threshold_that_was_not_counted_is_refused():
    counts = {"thresholds": THRESHOLDS}
    assert metrics.at_threshold(counts, 0.75) == 74 and metrics.at_threshold(counts, 0.995) == 103
    for unknown in (0.755, 0, 1, -0.5, np.nan):
        with pytest.raises(ValueError, match=f"{unknown} was not counted.*0.01 ... 0.9999"):
            metrics.at_threshold(counts, unknown)


@pytest.mark.parametrize("level, expected", [(0.0, "empty"), (0.009, "empty"), (1.0, "full"),
                                             (0.5, "constant"), (0.9998, "constant")])
def test_degenerate_predictions_are_told(level, expected):
    mask = np.array([[1, 0, 0, 0]], np.uint8)
    assert metrics.degenerate(counts_of((np.full((1, 4), level, np.float32), mask)),
                              "validation") == expected
    varied = np.float32([[level, 0.3, 0.4, 0.35]])
    assert metrics.degenerate(counts_of((varied, mask)), "validation") is None


def test_the_validation_threshold_is_applied_to_the_test_part():
    """F1 on validation is best at .4 (2/3), where the test part has TP 1, FP 3, FN 1: F1 2/6."""
    counts = {"thresholds": np.array([0.2, 0.4, 0.6]),
              "validation_pixels": np.array([10]), "test_pixels": np.array([10]),
              "validation_true_positives": np.array([[2, 2, 0]]),
              "validation_false_positives": np.array([[4, 2, 0]]),
              "validation_false_negatives": np.array([[0, 0, 2]]),
              "test_true_positives": np.array([[2, 1, 1]]),
              "test_false_positives": np.array([[5, 3, 0]]),
              "test_false_negatives": np.array([[0, 1, 1]])}
    threshold, scores = metrics.at_validation_threshold(counts)
    assert threshold == 0.4 and scores["f1_score"] == pytest.approx(2 / 6)
    assert scores["precision"] == 1 / 4 and scores["recall"] == 1 / 2


def test_a_part_without_a_positive_pixel_has_no_f1_instead_of_a_perfect_one():
    empty = np.zeros((12, 12), np.uint8)
    counts = counts_of((np.zeros((12, 12), np.float32), empty))
    scores = metrics.scores(counts, "test")
    assert (scores["accuracy"] == 1).all()
    assert all(np.isnan(scores[name]).all() for name in ("precision", "recall", "f1_score", "iou"))
    assert metrics.undefined(counts) == "the test part has no positive pixel"
    threshold, at_threshold = metrics.at_validation_threshold(counts)
    assert np.isnan(threshold) and np.isnan(list(at_threshold.values())).all()
    (prediction, mask), *_ = two_images()
    whole = counts_of((prediction, mask))
    mixed = whole | {name: value for name, value in counts.items() if name.startswith("validation")}
    assert metrics.undefined(whole) is None
    assert metrics.undefined(mixed) == "the validation part has no positive pixel"
    assert np.isnan(metrics.at_validation_threshold(mixed)[0])
