"""Every loss against arithmetic written out here, against its hand-derived gradient and against
finite differences.

The example has a missed crack (.4) that is larger than its false alarm (.3), so that no sign in a
loss can be turned without changing its value.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import sigmoid_focal_loss

from crackutils.losses import LOSSES, loss_from_logits, loss_of_probabilities
from crackutils.papers import road_figures

CASES = [("mse", None), ("balanced_step", 0.5), ("squared_balanced_step", 0.5), ("step", 0.5),
         ("relu", 0.5), ("bce", None), ("dice", None), ("tversky", (0.3, 0.7)),
         ("bce_dice", (0.25, 1.0)), ("jaccard", None), ("focal", 2.0)]
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
                     + 0.01 * math.log(0.9)) / 4}
# what each gives where nothing is positive: p = .5, .1, 0, .2, so mean(p^2) = .3 / 4
NOTHING = [0.5, 0.1, 0.0, 0.2]
NOTHING_BCE = -(math.log(0.5) + math.log(0.9) + math.log(0.8)) / 4
WITHOUT_POSITIVES = {"mse": 0.075, "balanced_step": 0.5 * 0.075,
                     "squared_balanced_step": 0.25 * 0.075, "step": 0.075, "relu": 0.075,
                     "bce": NOTHING_BCE, "dice": 0, "tversky": 0, "bce_dice": 0.25 * NOTHING_BCE,
                     "jaccard": 0, "focal": -(0.25 * math.log(0.5) + 0.01 * math.log(0.9)
                                              + 0.04 * math.log(0.8)) / 4}
WEIGHTED = ["balanced_step", "squared_balanced_step", "step", "relu"]

probabilities = st.lists(st.floats(0.02, 0.98), min_size=4, max_size=4)
labels = st.lists(st.sampled_from([0.0, 1.0]), min_size=4, max_size=4).filter(any)


def square(values, **options) -> torch.Tensor:
    """Four numbers as a batch of one 2 x 2 image."""
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
def test_the_value_is_the_arithmetic(loss, weight):
    result = LOSSES[loss](square(PREDICTION), square(TARGET), weight=weight)
    assert result.shape == () and result.dtype == torch.float32
    assert result.item() == pytest.approx(VALUES[loss], rel=1e-6)


@pytest.mark.parametrize("loss, weight", CASES)
def test_the_value_without_positives_is_the_documented_one(loss, weight):
    prediction = square(NOTHING).requires_grad_()
    result = LOSSES[loss](prediction, square([0.0] * 4), weight=weight)
    assert result.item() == pytest.approx(WITHOUT_POSITIVES[loss], rel=1e-6)
    result.backward()
    assert bool(prediction.grad.any()) == (loss not in OVERLAPS)


@pytest.mark.parametrize("loss, weight", CASES)
@settings(max_examples=15, deadline=None)
@given(values=probabilities, answers=labels)
def test_the_gradient_is_the_derived_one_and_the_finite_difference(loss, weight, values, answers):
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
def test_values_and_gradients_are_finite_at_the_ends(loss, weight, answer, claim):
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
    found = loss_from_logits(loss, logits, target, weight=weight)
    assert found.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)


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


def test_overlap_is_pooled_over_the_batch_and_not_per_image():
    target = torch.cat([square([1.0, 1, 1, 1]), square([1.0, 0, 0, 0])])
    prediction = torch.cat([square([1.0, 1, 1, 1]), square([0.0, 1, 0, 0])])
    # TP = 4, FP = 1, FN = 1 together; one image alone has 0 and the other 1, mean .5
    assert LOSSES["dice"](prediction, target).item() == pytest.approx(1 - 8 / 10)
    assert LOSSES["tversky"](prediction, target, weight=(0.2, 0.4)).item() == \
        pytest.approx(1 - 4 / (4 + 0.2 + 0.4))


@pytest.mark.parametrize("loss, weight, smoothed", [
    ("dice", None, 1 - (2.6 + 2) / (3.7 + 2)), ("jaccard", None, 1 - (1.3 + 1) / (2.4 + 1)),
    ("tversky", (0.3, 0.7), 1 - (1.3 + 1) / (1.3 + 0.12 + 0.49 + 1)),
    ("bce_dice", (0.25, 1.0), 0.25 * CROSS_ENTROPY + 1 - 4.6 / 5.7), ("mse", None, VALUES["mse"])])
def test_smoothing_is_added_above_and_below(loss, weight, smoothed):
    found = loss_of_probabilities(loss, square(PREDICTION), square(TARGET), weight=weight,
                                  smoothing=1.0)
    assert found.item() == pytest.approx(smoothed, rel=1e-6)
    logits = torch.logit(square(PREDICTION))
    assert loss_from_logits(loss, logits, square(TARGET), weight=weight, smoothing=1.0).item() \
        == pytest.approx(smoothed, rel=1e-5)


@pytest.mark.parametrize("loss", OVERLAPS)
def test_smoothing_gives_a_batch_without_positives_no_gradient_either(loss):
    prediction = square(NOTHING).requires_grad_()
    weight = (0.3, 0.7) if loss == "tversky" else None
    result = loss_of_probabilities(loss, prediction, square([0.0] * 4), weight=weight,
                                   smoothing=1.0)
    result.backward()
    assert result.item() == 0 and not prediction.grad.any()


def test_focal_is_torchvisions_and_at_gamma_nought_bce():
    logits, target = square([3.0, -0.5, -1.25, 7.0]), square(TARGET)
    expected = sigmoid_focal_loss(logits, target, alpha=-1, gamma=2, reduction="mean")
    torch.testing.assert_close(LOSSES["focal"](logits.sigmoid(), target, weight=2), expected,
                               rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(loss_from_logits("focal", logits, target, weight=0),
                               loss_from_logits("bce", logits, target))


def test_soft_counts_of_a_large_batch_are_added_in_float32():
    # 2^20 pixels: summed in bfloat16, whose numbers above 256 are 2 apart, they would stop growing
    generator = torch.Generator().manual_seed(2)
    logits = (4 * torch.randn(4, 1, 512, 512, generator=generator)).bfloat16()
    target = (torch.rand(logits.shape, generator=generator) < 0.2).bfloat16()
    p, y = logits.double().sigmoid(), target.double()
    true, false, missed = (p * y).sum(), (p * (1 - y)).sum(), ((1 - p) * y).sum()
    for loss, weight, both in (("dice", None, (0.5, 0.5)), ("jaccard", None, (1, 1)),
                               ("tversky", (0.3, 0.7), (0.3, 0.7))):
        expected = 1 - true / (true + both[0] * false + both[1] * missed)
        found = loss_from_logits(loss, logits, target, weight=weight)
        assert found.dtype == torch.float32
        assert found.item() == pytest.approx(expected.item(), rel=1e-5)


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
def test_a_crop_and_channels_last_change_nothing(loss, weight):
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
    ("focal", 0.5), ("focal", None), ("jaccard", 1), ("relu", -1), ("step", -1e-9), ("mse", 0.5),
    ("bce", 0), ("dice", (0.5, 0.5)),
    *((loss, weight) for loss in ("tversky", "bce_dice")
      for weight in (0.3, None, "ab", (0, 0), (0.1, 0.2, 0.3), (0.3,), (-0.1, 1), (math.nan, 1)))])
def test_a_refused_weight_gives_one_sentence_with_loss_and_weight(loss, weight):
    for call in (LOSSES[loss], lambda *a, **k: loss_from_logits(loss, *a, **k)):
        with pytest.raises(ValueError) as error:
            call(square(PREDICTION), square(TARGET), weight=weight)
        assert is_one_sentence(error, loss, repr(weight))


@pytest.mark.parametrize("loss, weight", [("balanced_step", 0), ("balanced_step", 0.99),
                                          ("squared_balanced_step", 1.5), ("step", 1.3),
                                          ("relu", 1.3), ("tversky", (0, 1)), ("tversky", [1, 0]),
                                          ("bce_dice", (0, 1)), ("focal", 0), ("focal", 1)])
def test_weights_at_the_edge_of_their_range_are_taken(loss, weight):
    assert LOSSES[loss](square(PREDICTION), square(TARGET), weight=weight).item() > 0


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("loss, weight", CASES)
def test_shapes_that_differ_give_one_sentence_with_the_loss(loss, weight, from_logits):
    tensors = torch.full((1, 1, 2, 2), 0.5), torch.ones(1, 2, 2)  # these would broadcast
    with pytest.raises(ValueError) as error:
        if from_logits:
            loss_from_logits(loss, *tensors, weight=weight)
        else:
            LOSSES[loss](*tensors, weight=weight)
    assert is_one_sentence(error, f"{loss}: ", "(1, 1, 2, 2)", "(1, 2, 2)")


def test_an_unknown_loss_is_named():
    with pytest.raises(ValueError) as error:
        loss_from_logits("lovasz", square(PREDICTION), square(TARGET))
    assert is_one_sentence(error, "'lovasz'", "balanced_step")
