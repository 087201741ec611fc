"""Every loss against written arithmetic, a derived gradient and finite differences.

The binary example misses a crack by .6 and has a false alarm of .3, so that no sign in a loss can
be turned without changing its value. The three-class losses are compared with sums over single
pixels in Python numbers.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torchvision.ops import sigmoid_focal_loss

from crackutils.losses import (
    LOSSES,
    NAMES,
    SKELETON_ITERATIONS,
    THREE_CLASS,
    loss_from_logits,
)
from crackutils.papers import road_figures

CASES = [("mse", None), ("balanced_step", 0.5), ("squared_balanced_step", 0.5), ("step", 0.5),
         ("relu", 0.5), ("bce", None), ("dice", None), ("tversky", (0.3, 0.7)),
         ("bce_dice", (0.25, 1.0)), ("jaccard", None), ("focal", 2.0), ("weighted_bce", 3.0)]
THREE_CLASS_CASES = [("dice", None), ("jaccard", None), ("tversky", (0.3, 0.3)),
                     ("tversky", (0.3, 0.7)), ("bce_dice", (0.25, 1.0)), ("focal", 2.0),
                     ("focal", 0), ("cross_entropy", None)]
OVERLAPS = ("dice", "tversky", "jaccard")
PREDICTION = [0.9, 0.4, 0.3, 0.1]
TARGET = [1.0, 1.0, 0.0, 0.0]
# e = .1, .6, -.3, -.1; soft counts TP = .9 + .4 = 1.3, FP = .3 + .1 = .4, FN = .1 + .6 = .7
CROSS_ENTROPY = -(math.log(0.9) + math.log(0.4) + math.log(0.7) + math.log(0.9)) / 4
VALUES = {"mse": (0.01 + 0.36 + 0.09 + 0.01) / 4,
          "balanced_step": (1.5 * 0.01 + 1.5 * 0.36 + 0.5 * 0.09 + 0.5 * 0.01) / 4,
          "squared_balanced_step": (2.25 * 0.01 + 2.25 * 0.36 + 0.25 * 0.09 + 0.25 * 0.01) / 4,
          "step": (1.5 * 0.01 + 1.5 * 0.36 + 0.09 + 0.01) / 4,
          "relu": (1.05 * 0.01 + 1.3 * 0.36 + 0.09 + 0.01) / 4,
          "bce": CROSS_ENTROPY,
          "dice": 1 - 2.6 / (2.6 + 0.4 + 0.7),
          "tversky": 1 - 1.3 / (1.3 + 0.3 * 0.4 + 0.7 * 0.7),
          "bce_dice": 0.25 * CROSS_ENTROPY + 1 - 2.6 / 3.7,
          "jaccard": 1 - 1.3 / (1.3 + 0.4 + 0.7),
          "focal": -(0.01 * math.log(0.9) + 0.36 * math.log(0.4) + 0.09 * math.log(0.7)
                     + 0.01 * math.log(0.9)) / 4,
          "weighted_bce": -(3 * math.log(0.9) + 3 * math.log(0.4) + math.log(0.7)
                            + math.log(0.9)) / 4}
# the values without a positive pixel, where p = .5, .1, 0, .2 and mean(p^2) = .3 / 4
NOTHING = [0.5, 0.1, 0.0, 0.2]
NOTHING_BCE = -(math.log(0.5) + math.log(0.9) + math.log(0.8)) / 4
WITHOUT_POSITIVES = {"mse": 0.075, "balanced_step": 0.5 * 0.075,
                     "squared_balanced_step": 0.25 * 0.075, "step": 0.075, "relu": 0.075,
                     "bce": NOTHING_BCE, "dice": 0, "tversky": 0, "bce_dice": 0.25 * NOTHING_BCE,
                     "jaccard": 0, "weighted_bce": NOTHING_BCE,
                     "focal": -(0.25 * math.log(0.5) + 0.01 * math.log(0.9)
                                + 0.04 * math.log(0.8)) / 4}
WEIGHTED = ["balanced_step", "squared_balanced_step", "step", "relu"]

probabilities = st.lists(st.floats(0.02, 0.98), min_size=4, max_size=4)
labels = st.lists(st.sampled_from([0.0, 1.0]), min_size=4, max_size=4).filter(any)


def square(values, **options) -> torch.Tensor:
    """Four numbers as a batch of a single 2 x 2 image."""
    return torch.tensor(values, **options).view(1, 1, 2, 2)


def hand_gradient(loss: str, weight, p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """dL/dp of each loss, derived on paper."""
    e, n = y - p, p.numel()
    if loss in OVERLAPS:
        a, b = {"dice": (0.5, 0.5), "jaccard": (1, 1)}.get(loss, weight)
        true = (p * y).sum()
        whole = true + a * (p * (1 - y)).sum() + b * ((1 - p) * y).sum()
        slope = y + a * (1 - y) - b * y
        return -(y * whole - true * slope) / whole**2
    if loss == "bce":
        return (p - y) / (p * (1 - p)) / n
    if loss == "weighted_bce":
        return ((1 - y) / (1 - p) - weight * y / p) / n
    if loss == "focal":  # gamma = 2
        missed = 2 * (1 - p) * p.log() - (1 - p) ** 2 / p
        alarm = -2 * p * (1 - p).log() + p**2 / (1 - p)
        return (y * missed + (1 - y) * alarm) / n
    if loss == "bce_dice":
        return weight[0] * hand_gradient("bce", None, p, y) \
            + weight[1] * hand_gradient("dice", None, p, y)
    crack = {"mse": 1, "balanced_step": 1.5, "squared_balanced_step": 2.25, "step": 1.5,
             "relu": 1 + 0.75 * e}[loss]  # (e^2 + .5 e^3)' = 2e (1 + .75 e)
    background = {"balanced_step": 0.5, "squared_balanced_step": 0.25}.get(loss, 1)
    return -2 * e * (crack * y + background * (1 - y)) / n


def is_one_sentence(error, *words: str) -> bool:
    text = str(error.value)
    return all(word in text for word in words) and text.endswith(".") and "\n" not in text \
        and ". " not in text


@pytest.mark.parametrize("loss, weight", CASES)
def test_the_value_is_that_of_the_written_arithmetic(loss, weight):
    result = LOSSES[loss](square(PREDICTION), square(TARGET), weight=weight)
    assert result.shape == () and result.dtype == torch.float32
    assert result.item() == pytest.approx(VALUES[loss], rel=1e-6)


@pytest.mark.parametrize("loss, weight", CASES)
def test_the_value_of_an_empty_mask_is_the_documented_one(loss, weight):
    prediction = square(NOTHING).requires_grad_()
    result = LOSSES[loss](prediction, square([0.0] * 4), weight=weight)
    assert result.item() == pytest.approx(WITHOUT_POSITIVES[loss], rel=1e-6)
    result.backward()
    assert bool(prediction.grad.any()) == (loss not in OVERLAPS)


@pytest.mark.parametrize("loss, weight", CASES)
@settings(max_examples=15, deadline=None)
@given(values=probabilities, answers=labels)
def test_the_gradient_is_the_derived_one_and_that_of_finite_differences(loss, weight, values,
                                                                       answers):
    prediction = square(values, dtype=torch.float64).requires_grad_()
    target = square(answers, dtype=torch.float64)
    LOSSES[loss](prediction, target, weight=weight).backward()
    expected = hand_gradient(loss, weight, prediction.detach(), target)
    torch.testing.assert_close(prediction.grad, expected, rtol=1e-9, atol=1e-12)
    # (L(p + h) - L(p - h)) / 2h in float64
    assert torch.autograd.gradcheck(
        lambda p: LOSSES[loss](p, target, weight=weight), prediction, eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("loss, weight", CASES)
@pytest.mark.parametrize("answer", ([0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 1, 0]))
@pytest.mark.parametrize("claim", ([0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]))
def test_values_and_gradients_are_finite_for_predictions_of_0_and_1(loss, weight, answer, claim):
    target, prediction = square(answer).float(), square(claim).float().requires_grad_()
    logits = (square(claim) * 200.0 - 100).requires_grad_()
    direct = LOSSES[loss](prediction, target, weight=weight)
    through = loss_from_logits(loss, logits, target, weight=weight)
    assert through.item() == pytest.approx(direct.item(), rel=1e-5, abs=1e-6)
    for result, leaf in ((direct, prediction), (through, logits)):
        result.backward()
        assert result.isfinite() and leaf.grad.isfinite().all()


@pytest.mark.parametrize("loss, weight", CASES)
@settings(max_examples=15, deadline=None)
@given(values=st.lists(st.floats(-10, 10, width=32), min_size=4, max_size=4), answers=labels)
def test_the_loss_of_logits_is_the_loss_of_their_sigmoid(loss, weight, values, answers):
    logits, target = square(values), square(answers)
    expected = LOSSES[loss](1 / (1 + (-logits.double()).exp()), target.double(), weight=weight)
    result = loss_from_logits(loss, logits, target, weight=weight)
    assert result.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("loss, weight", CASES)
@settings(max_examples=10, deadline=None)
@given(values=st.lists(st.floats(-2, 2, width=32), min_size=4, max_size=4), answers=labels)
def test_the_loss_of_clipped_logits_is_the_loss_of_the_values_cut_at_0_and_1(loss, weight, values,
                                                                             answers):
    logits, target = square(values), square(answers)
    clipped = square([min(max(value, 0.0), 1.0) for value in values])
    result = loss_from_logits(loss, logits, target, weight=weight, output="clipped")
    assert torch.equal(result, LOSSES[loss](clipped, target, weight=weight))


@pytest.mark.parametrize("loss, weight", CASES)
def test_bfloat16_logits_are_computed_in_float32(loss, weight):
    logits = square([3.0, -0.5, -1.25, 7.0])  # all exact in bfloat16, 7's sigmoid is not
    target = square(TARGET)
    half = loss_from_logits(loss, logits.bfloat16(), target.bfloat16(), weight=weight)
    assert half.dtype == torch.float32
    assert torch.equal(half, loss_from_logits(loss, logits, target, weight=weight))


def test_cross_entropy_from_logits_does_not_saturate():
    logits = torch.tensor([-30.0], requires_grad=True)
    loss_from_logits("bce", logits, torch.ones(1)).backward()
    assert logits.grad.item() == pytest.approx(-1)  # p - y; through a float32 sigmoid it is 0


@settings(max_examples=25, deadline=None)
@given(values=probabilities, answers=labels)
def test_tversky_with_two_halves_is_dice(values, answers):
    p, y = square(values, dtype=torch.float64), square(answers, dtype=torch.float64)
    halves = LOSSES["tversky"](p, y, weight=(0.5, 0.5))
    torch.testing.assert_close(halves, LOSSES["dice"](p, y), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("alpha, beta", [(1, 0), (0, 1), (0.2, 0.9)])
def test_alpha_weighs_false_positives_and_beta_false_negatives(alpha, beta):
    # TP = 1, FP = 2, FN = 0 and TP = 1, FP = 0, FN = 2
    alarms = LOSSES["tversky"](square([1.0, 1, 1, 0]), square([1.0, 0, 0, 0]), weight=(alpha, beta))
    misses = LOSSES["tversky"](square([1.0, 0, 0, 0]), square([1.0, 1, 1, 0]), weight=(alpha, beta))
    assert alarms.item() == pytest.approx(1 - 1 / (1 + 2 * alpha))
    assert misses.item() == pytest.approx(1 - 1 / (1 + 2 * beta))


def test_soft_counts_are_summed_over_the_batch_and_not_per_image():
    target = torch.cat([square([1.0, 1, 1, 1]), square([1.0, 0, 0, 0])])
    prediction = torch.cat([square([1.0, 1, 1, 1]), square([0.0, 1, 0, 0])])
    # TP = 4, FP = 1, FN = 1 of both images; the images' own losses are 0 and 1, mean .5
    assert LOSSES["dice"](prediction, target).item() == pytest.approx(1 - 8 / 10)
    assert LOSSES["tversky"](prediction, target, weight=(0.2, 0.4)).item() == \
        pytest.approx(1 - 4 / (4 + 0.2 + 0.4))


@pytest.mark.parametrize("loss, weight, smoothed", [
    ("dice", None, 1 - (2.6 + 2) / (3.7 + 2)), ("jaccard", None, 1 - (1.3 + 1) / (2.4 + 1)),
    ("tversky", (0.3, 0.7), 1 - (1.3 + 1) / (1.3 + 0.12 + 0.49 + 1)),
    ("bce_dice", (0.25, 1.0), 0.25 * CROSS_ENTROPY + 1 - 4.6 / 5.7), ("mse", None, VALUES["mse"])])
def test_smoothing_is_added_to_numerator_and_denominator(loss, weight, smoothed):
    clipped = loss_from_logits(loss, square(PREDICTION), square(TARGET), weight=weight,
                               smoothing=1.0, output="clipped")
    assert clipped.item() == pytest.approx(smoothed, rel=1e-6)
    logits = torch.logit(square(PREDICTION))
    assert loss_from_logits(loss, logits, square(TARGET), weight=weight, smoothing=1.0).item() \
        == pytest.approx(smoothed, rel=1e-5)


@pytest.mark.parametrize("loss", OVERLAPS)
def test_an_empty_mask_gives_no_gradient_with_smoothing_either(loss):
    prediction = square(NOTHING).requires_grad_()
    weight = (0.3, 0.7) if loss == "tversky" else None
    result = LOSSES[loss](prediction, square([0.0] * 4), weight=weight, smoothing=1.0)
    result.backward()
    assert result.item() == 0 and not prediction.grad.any()


def test_focal_is_that_of_torchvision_and_with_gamma_0_bce():
    logits, target = square([3.0, -0.5, -1.25, 7.0]), square(TARGET)
    expected = sigmoid_focal_loss(logits, target, alpha=-1, gamma=2, reduction="mean")
    torch.testing.assert_close(LOSSES["focal"](logits.sigmoid(), target, weight=2), expected,
                               rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(loss_from_logits("focal", logits, target, weight=0),
                               loss_from_logits("bce", logits, target))


def test_soft_counts_of_a_large_batch_are_added_in_float32():
    # 2^20 pixels: in bfloat16, whose numbers above 256 are 2 apart, sums would stop growing
    generator = torch.Generator().manual_seed(2)
    logits = (4 * torch.randn(4, 1, 512, 512, generator=generator)).bfloat16()
    target = (torch.rand(logits.shape, generator=generator) < 0.2).bfloat16()
    p, y = logits.double().sigmoid(), target.double()
    true, false, missed = (p * y).sum(), (p * (1 - y)).sum(), ((1 - p) * y).sum()
    for loss, weight, (alpha, beta) in (("dice", None, (0.5, 0.5)), ("jaccard", None, (1, 1)),
                                        ("tversky", (0.3, 0.7), (0.3, 0.7))):
        expected = 1 - true / (true + alpha * false + beta * missed)
        result = loss_from_logits(loss, logits, target, weight=weight)
        assert result.dtype == torch.float32
        assert result.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("both", [0.2, 0.3, 1.0])
@settings(max_examples=20, deadline=None)
@given(values=probabilities, answers=labels)
def test_equal_tversky_weights_change_the_length_of_the_gradient_alone(both, values, answers):
    target = square(answers, dtype=torch.float64)
    gradients = {}
    for weight in (both, 1.0):
        prediction = square(values, dtype=torch.float64).requires_grad_()
        loss = LOSSES["tversky"](prediction, target, weight=(weight, weight))
        loss.backward()
        gradients[weight], soft_iou = prediction.grad, 1 - loss.item()
    # the last is c = 1, whose loss is 1 - J
    expected = road_figures.gradient_factor(soft_iou, both) * gradients[1.0]
    torch.testing.assert_close(gradients[both], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss, weight", CASES)
def test_cropped_and_channels_last_tensors_give_the_same_value(loss, weight):
    generator = torch.Generator().manual_seed(1)
    prediction = torch.rand(2, 1, 6, 7, generator=generator)
    target = (torch.rand(2, 1, 6, 7, generator=generator) > 0.6).float()
    views = [tensor.to(memory_format=torch.channels_last)[..., :5, 1:] for tensor in
             (prediction, target)]
    copies = [tensor[..., :5, 1:].clone() for tensor in (prediction, target)]
    torch.testing.assert_close(LOSSES[loss](*views, weight=weight),
                               LOSSES[loss](*copies, weight=weight))


@pytest.mark.parametrize("loss, weight", [
    *(("balanced_step", weight) for weight in (1, 1.5)),
    *((loss, weight) for loss in WEIGHTED
      for weight in (-0.1, math.nan, math.inf, "0.5", None, True, (0.5, 0.5))),
    ("focal", 0.5), ("focal", None), ("jaccard", 1), ("weighted_bce", None), ("weighted_bce", -1),
    ("dice_cldice", 1.5), ("dice_cldice", None), ("relu", -1), ("step", -1e-9), ("mse", 0.5),
    ("bce", 0), ("dice", (0.5, 0.5)),
    *((loss, weight) for loss in ("tversky", "bce_dice")
      for weight in (0.3, None, "ab", (0, 0), (0.1, 0.2, 0.3), (0.3,), (-0.1, 1), (math.nan, 1)))])
def test_the_error_on_a_weight_is_one_sentence_with_loss_and_weight(loss, weight):
    for call in (LOSSES[loss], lambda *a, **k: loss_from_logits(loss, *a, **k)):
        with pytest.raises(ValueError) as error:
            call(square(PREDICTION), square(TARGET), weight=weight)
        assert is_one_sentence(error, loss, repr(weight))


@pytest.mark.parametrize("loss, weight", [("balanced_step", 0), ("balanced_step", 0.99),
                                          ("squared_balanced_step", 1.5), ("step", 1.3),
                                          ("relu", 1.3), ("tversky", (0, 1)), ("tversky", [1, 0]),
                                          ("bce_dice", (0, 1)), ("focal", 0), ("focal", 1),
                                          ("weighted_bce", 0), ("dice_cldice", 0),
                                          ("dice_cldice", 1)])
def test_weights_at_the_edge_of_their_range_are_accepted(loss, weight):
    assert LOSSES[loss](square(PREDICTION), square(TARGET), weight=weight).item() > 0


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("loss, weight", CASES)
def test_the_error_on_shapes_that_differ_is_one_sentence_with_the_loss(loss, weight, from_logits):
    tensors = torch.full((1, 1, 2, 2), 0.5), torch.ones(1, 2, 2)  # these would broadcast
    with pytest.raises(ValueError) as error:
        if from_logits:
            loss_from_logits(loss, *tensors, weight=weight)
        else:
            LOSSES[loss](*tensors, weight=weight)
    assert is_one_sentence(error, f"{loss}: ", "(1, 1, 2, 2)", "(1, 2, 2)")


def test_the_error_on_an_unknown_loss_names_it_and_the_known_ones():
    with pytest.raises(ValueError) as error:
        loss_from_logits("lovasz", square(PREDICTION), square(TARGET))
    assert is_one_sentence(error, "'lovasz'", "balanced_step")


def soft_skeleton(picture: np.ndarray, erosions: int) -> np.ndarray:
    """The soft skeleton of Shit et al. 2021 (their algorithm 1), by scipy."""
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)

    def opened(image):
        eroded = ndimage.grey_erosion(image, footprint=cross, mode="constant", cval=np.inf)
        return ndimage.grey_dilation(eroded, size=3, mode="constant", cval=-np.inf)

    skeleton = np.maximum(picture - opened(picture), 0)
    for _ in range(erosions):
        picture = ndimage.grey_erosion(picture, footprint=cross, mode="constant", cval=np.inf)
        ridge = np.maximum(picture - opened(picture), 0)
        skeleton = skeleton + np.maximum(ridge - skeleton * ridge, 0)
    return skeleton


@pytest.mark.parametrize("weight", [0, 0.3, 1])
def test_dice_cldice_is_the_formula_of_its_paper(weight):
    generator = np.random.default_rng(0)
    p = generator.random((2, 1, 12, 12))
    y = np.zeros((2, 1, 12, 12))
    y[0, 0, 3:7], y[1, 0, :, 5] = 1, 1
    expected = []
    for claim, truth in zip(p[:, 0], y[:, 0]):
        claim_skeleton, truth_skeleton = (soft_skeleton(picture, SKELETON_ITERATIONS)
                                          for picture in (claim, truth))
        precision = ((claim_skeleton * truth).sum() + 1) / (claim_skeleton.sum() + 1)
        recall = ((truth_skeleton * claim).sum() + 1) / (truth_skeleton.sum() + 1)
        cldice = 1 - 2 * precision * recall / (precision + recall)
        dice = 1 - (2 * (claim * truth).sum() + 1) / (claim.sum() + truth.sum() + 1)
        expected.append((1 - weight) * dice + weight * cldice)
    target, prediction = torch.from_numpy(y), torch.from_numpy(p).requires_grad_()
    result = LOSSES["dice_cldice"](prediction, target, weight=weight)
    assert result.item() == pytest.approx(np.mean(expected), abs=1e-4)
    through = loss_from_logits("dice_cldice", torch.logit(prediction), target, weight=weight)
    assert through.item() == pytest.approx(result.item(), rel=1e-5)
    assert torch.autograd.gradcheck(
        lambda p: LOSSES["dice_cldice"](p, target, weight=weight), prediction, eps=1e-7, atol=1e-5)


def three_class_batch(classes=(0, 1, 2), seed=0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits 2 x 3 x 4 x 5, and a target 2 x 1 x 4 x 5 that has the given classes."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, 3, 4, 5, generator=generator)
    drawn = torch.randint(len(classes), (2, 1, 4, 5), generator=generator)
    return logits, torch.tensor(classes)[drawn].float()


def brute_force(loss, logits, target, weight, smoothing=0.0) -> float:
    """A three-class loss in Python numbers."""
    pixels = []  # (label, probabilities)
    for image, labels in zip(logits.double().tolist(), target[:, 0].int().tolist()):
        for row in range(len(labels)):
            for column in range(len(labels[0])):
                powers = [math.exp(channel[row][column]) for channel in image]
                pixels.append((labels[row][column], [power / sum(powers) for power in powers]))
    if loss in ("cross_entropy", "focal"):
        gamma = weight or 0
        return sum(-(1 - p[label])**gamma * math.log(p[label]) for label, p in pixels) / len(pixels)
    if loss == "bce_dice":
        return weight[0] * brute_force("cross_entropy", logits, target, None) \
            + weight[1] * brute_force("dice", logits, target, None, smoothing)
    alpha, beta = {"dice": (0.5, 0.5), "jaccard": (1, 1)}.get(loss, weight)
    total = 0
    for number in range(3):
        if not any(label == number for label, _ in pixels):
            continue  # a class that no pixel has contributes 0
        true = sum(p[number] for label, p in pixels if label == number)
        false = sum(p[number] for label, p in pixels if label != number)
        missed = sum(1 - p[number] for label, p in pixels if label == number)
        total += 1 - (true + smoothing) / (true + alpha * false + beta * missed + smoothing)
    return total / 3


@pytest.mark.parametrize("smoothing", [0.0, 1.0])
@pytest.mark.parametrize("classes", [(0, 1, 2), (0, 2), (0,)])
@pytest.mark.parametrize("loss, weight", THREE_CLASS_CASES)
def test_a_three_class_loss_is_the_sum_over_single_pixels(loss, weight, classes, smoothing):
    logits, target = three_class_batch(classes)
    result = loss_from_logits(loss, logits, target, weight=weight, smoothing=smoothing)
    assert result.shape == () and result.dtype == torch.float32
    assert result.item() == pytest.approx(brute_force(loss, logits, target, weight, smoothing),
                                          rel=1e-5)


@pytest.mark.parametrize("loss, weight", THREE_CLASS_CASES)
def test_the_gradient_of_a_three_class_loss_is_that_of_finite_differences(loss, weight):
    logits, target = three_class_batch(seed=1)
    logits = logits[:1, :, :2, :2].double()
    target = target[:1, :, :2, :2]
    leaf = logits.float().requires_grad_()
    loss_from_logits(loss, leaf, target, weight=weight).backward()
    step = 1e-4
    for place in range(leaf.numel()):
        above, below = logits.clone().flatten(), logits.clone().flatten()
        above[place] += step
        below[place] -= step
        up = brute_force(loss, above.view_as(logits), target, weight)
        down = brute_force(loss, below.view_as(logits), target, weight)
        assert leaf.grad.flatten()[place].item() == pytest.approx((up - down) / (2 * step),
                                                                  abs=2e-5)


@pytest.mark.parametrize("loss, weight", THREE_CLASS_CASES)
def test_bfloat16_logits_of_three_classes_are_computed_in_float32(loss, weight):
    logits, target = three_class_batch(seed=2)
    half = loss_from_logits(loss, logits.bfloat16(), target.bfloat16(), weight=weight)
    assert half.dtype == torch.float32
    assert torch.equal(half, loss_from_logits(loss, logits.bfloat16().float(), target,
                                              weight=weight))


@pytest.mark.parametrize("loss, weight", THREE_CLASS_CASES)
def test_large_logits_of_three_classes_give_finite_values_and_gradients(loss, weight):
    logits, target = three_class_batch(seed=3)
    leaf = (100 * logits).requires_grad_()
    result = loss_from_logits(loss, leaf, target, weight=weight)
    result.backward()
    assert result.isfinite() and leaf.grad.isfinite().all()


@pytest.mark.parametrize("shapes", [((2, 3, 4, 4), (2, 3, 4, 4)), ((2, 3, 4, 4), (2, 1, 4, 5))])
def test_the_error_on_a_target_of_other_shape_says_what_three_classes_need(shapes):
    with pytest.raises(ValueError) as error:
        loss_from_logits("dice", *(torch.zeros(shape) for shape in shapes))
    assert is_one_sentence(error, "dice: three classes need logits N x 3 x H x W",
                           *map(str, shapes))


@pytest.mark.parametrize("loss", sorted(set(NAMES) - set(THREE_CLASS)))
def test_binary_losses_are_refused_for_three_classes(loss):
    weight = 0.5 if loss in (*WEIGHTED, "weighted_bce", "dice_cldice") else None
    with pytest.raises(ValueError) as error:
        loss_from_logits(loss, *three_class_batch(), weight=weight)
    assert is_one_sentence(error, f"{loss} is no loss of three classes", "cross_entropy")


def test_cross_entropy_of_a_single_channel_is_refused_and_bce_proposed():
    with pytest.raises(ValueError) as error:
        loss_from_logits("cross_entropy", square(PREDICTION), square(TARGET))
    assert is_one_sentence(error, "cross_entropy needs logits N x 3 x H x W", "(1, 1, 2, 2)", "bce")


@pytest.mark.parametrize("output", ["sigmoid", "clipped"])
@pytest.mark.parametrize("classes, loss, weight", [(1, "dice", None), (3, "tversky", (0.3, 0.7)),
                                                   (1, "bce_dice", (0.25, 1.0))])
def test_pooling_by_image_is_the_mean_of_the_losses_of_single_images(classes, loss, weight, output):
    logits, target = three_class_batch(seed=4)
    if classes == 1:
        logits, target = logits[:, :1], (target > 0).float()
    options = {"weight": weight, "smoothing": 0.5, "output": output}
    first = loss_from_logits(loss, logits[:1], target[:1], **options)
    second = loss_from_logits(loss, logits[1:], target[1:], **options)
    by_image = loss_from_logits(loss, logits, target, pooling="image", **options)
    torch.testing.assert_close(by_image, (first + second) / 2)
    assert not torch.isclose(loss_from_logits(loss, logits, target, **options), by_image)
