"""The slider's pictures and figures, held to the pixels they show and to scikit-learn."""

import cv2
import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from crackutils.cracks.report import OUTCOMES, encoded, in_three_colours
from crackutils.cracks.slider import GAP, scores, threshold_slider, view
from crackutils.data.masks import IGNORED
from crackutils.data.samples import Sample
from crackutils.evaluation import DETAIL_THRESHOLDS, detailed_counts

GREY = 170  # of the photograph
FOUND = np.round(255 * np.array(OUTCOMES["true positive"]))


@pytest.fixture
def picture():
    """A photograph of 40 x 60, its mask, and two networks' predictions."""
    generator = np.random.default_rng(0)
    image = np.full((40, 60, 3), GREY, np.uint8)
    crack = np.zeros((40, 60), bool)
    crack[18:22] = True
    probabilities = {name: (0.6 * crack + 0.4 * generator.random((40, 60))).astype(np.float32)
                     for name in ("mse", "bce")}
    return image, crack, probabilities


def shown(slider) -> np.ndarray:
    """The picture of the widget, decoded."""
    encoded = np.frombuffer(slider.children[3].value, np.uint8)
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def test_scores_are_those_of_scikit_learn_over_all_pictures():
    generator = np.random.default_rng(1)
    cracks, marked = (list(generator.random((3, 8, 9)) < share) for share in (0.2, 0.4))
    *expected, _ = precision_recall_fscore_support(np.ravel(cracks), np.ravel(marked),
                                                   average="binary")
    expected = pytest.approx(dict(zip(("precision", "recall", "F1"), expected)))
    assert scores(cracks, marked) == expected
    ignored = [np.pad(crack.astype(np.uint8), ((0, 1), (0, 0)), constant_values=IGNORED)
               for crack in cracks]
    assert scores(ignored, [np.pad(one, ((0, 1), (0, 0)), constant_values=True)
                            for one in marked]) == expected
    beside = np.roll(np.eye(8, 9, dtype=bool), 1, axis=1)  # all wrong, all missed
    nothing = {"precision": 0, "recall": 0, "F1": 0}
    assert scores([np.eye(8, 9, dtype=np.uint8)], [beside]) == nothing
    with pytest.raises(ValueError):
        scores(cracks, marked[:2])


@pytest.mark.parametrize("tolerance", [1, 2])
def test_scores_with_a_tolerance_are_those_of_the_evaluation(tolerance):
    generator = np.random.default_rng(2)
    mask = (generator.random((40, 50)) < 0.02).astype(np.uint8)
    mask[:5] = IGNORED
    prediction = generator.choice(np.array([0.1, 0.9], np.float32), (40, 50), p=(0.97, 0.03))
    sample = Sample("a", np.zeros((40, 50, 3), np.uint8), mask, np.full((40, 50), 0.5, np.float32))
    counts = detailed_counts(prediction, sample, [tolerance])
    index = int(np.flatnonzero(np.isclose(DETAIL_THRESHOLDS, 0.5))[0])
    right = counts["claimed_near"][0, index] / ((prediction >= 0.5) & (mask < 2)).sum()
    found = counts["found_near_by_width"][0, 0, index] / (mask == 1).sum()
    assert scores([mask], [prediction >= 0.5], tolerance) == pytest.approx(
        {"precision": right, "recall": found, "F1": 2 * right * found / (right + found)})


def test_a_view_has_the_mask_in_black_beside_the_outcome_and_large_ones_are_reduced(picture):
    image, crack, _ = picture
    both = view(image, crack, crack)
    assert both.shape == (40, 60 + GAP + 60, 3)
    assert np.array_equal(both[:, :60, 0] == 0, crack)
    assert np.array_equal(both[:, 60 + GAP:], in_three_colours(image, crack, crack))
    large = np.zeros((100, 3000, 3), np.uint8)
    assert view(large, None, large[..., 0] == 0).shape == (34, 1024 + GAP + 1024, 3)


def test_a_move_and_another_network_change_picture_and_scores(picture):
    image, crack, probabilities = picture
    slider = threshold_slider(image, crack, probabilities, {"mse": 0.5, "bce": 0.7})
    network, threshold, text, _ = slider.children
    for move, value in ((lambda: None, 0.5), (lambda: setattr(threshold, "value", 0.9), 0.9),
                        (lambda: setattr(network, "value", "bce"), 0.7)):
        move()
        assert threshold.value == value
        marked = probabilities[network.value] >= value
        assert slider.children[3].value == encoded(".jpg", view(image, crack, marked))
        expected = scores([crack], [marked])
        assert text.value == (f"{marked.mean():.2%} of the picture is marked, precision "
                              f"{expected['precision']:.3f}, recall {expected['recall']:.3f}, "
                              f"F1 {expected['F1']:.3f}")


def test_another_network_with_the_same_threshold_is_drawn_too(picture):
    image, crack, probabilities = picture
    slider = threshold_slider(image, crack, probabilities, {"mse": 0.8, "bce": 0.8})
    before = shown(slider)
    slider.children[0].value = "bce"
    assert not np.array_equal(before, shown(slider))


def test_without_a_mask_there_are_no_scores(picture):
    image, _, probabilities = picture
    slider = threshold_slider(image, None, probabilities, {"mse": 0.5, "bce": 0.5})
    marked = probabilities["mse"] >= 0.5
    share = marked.mean()
    assert slider.children[2].value == f"{share:.2%} of the picture is marked"
    expected = view(image, None, marked)
    assert slider.children[3].value == encoded(".jpg", expected)
    assert (expected[:, 60 + GAP:] == FOUND).all(axis=2).mean() == share


def test_a_crack_of_one_pixel_keeps_its_colour_in_a_jpeg():
    picture = np.full((40, 60, 3), GREY, np.uint8)
    picture[20] = FOUND
    decoded = cv2.imdecode(np.frombuffer(encoded(".jpg", picture), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(decoded[20, :, ::-1].astype(int) - FOUND).max() < 40
