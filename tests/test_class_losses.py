"""The losses of three classes against brute force, pixel by pixel and class by class."""

import dataclasses
import math

import pytest
import torch

from crackutils.losses import LOSS_NAMES, THREE_CLASS
from crackutils.losses import class_loss_from_logits as loss_from_logits
from crackutils.protocol import preset
from crackutils.training import charge

CASES = [("dice", None), ("jaccard", None), ("tversky", (0.3, 0.3)), ("tversky", (0.3, 0.7)),
         ("bce_dice", (0.25, 1.0)), ("focal", 2.0), ("focal", 0), ("cross_entropy", None)]


def batch(classes=(0, 1, 2), seed=0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, 3, 4, 5, generator=generator)
    drawn = torch.randint(len(classes), (2, 1, 4, 5), generator=generator)
    return logits, torch.tensor(classes)[drawn].float()


def brute_force(loss, logits, target, weight, smoothing=0.0) -> float:
    """In Python numbers."""
    pixels = []  # (label, probabilities)
    for image, labels in zip(logits.double().tolist(), target[:, 0].int().tolist()):
        for row in range(len(labels)):
            for column in range(len(labels[0])):
                powers = [math.exp(image[one][row][column]) for one in range(3)]
                pixels.append((labels[row][column], [power / sum(powers) for power in powers]))
    if loss in ("cross_entropy", "focal"):
        gamma = weight or 0
        return sum(-(1 - p[label])**gamma * math.log(p[label]) for label, p in pixels) / len(pixels)
    if loss == "bce_dice":
        return weight[0] * brute_force("cross_entropy", logits, target, None) \
            + weight[1] * brute_force("dice", logits, target, None, smoothing)
    alpha, beta = {"dice": (0.5, 0.5), "jaccard": (1, 1)}.get(loss, weight)
    total = 0
    for one in range(3):
        if not any(label == one for label, _ in pixels):
            continue  # a class that no pixel has counts 0
        true = sum(p[one] for label, p in pixels if label == one)
        false = sum(p[one] for label, p in pixels if label != one)
        missed = sum(1 - p[one] for label, p in pixels if label == one)
        total += 1 - (true + smoothing) / (true + alpha * false + beta * missed + smoothing)
    return total / 3


@pytest.mark.parametrize("smoothing", [0.0, 1.0])
@pytest.mark.parametrize("classes", [(0, 1, 2), (0, 2), (0,)])
@pytest.mark.parametrize("loss, weight", CASES)
def test_each_loss_is_brute_force(loss, weight, classes, smoothing):
    logits, target = batch(classes)
    found = loss_from_logits(loss, logits, target, weight=weight, smoothing=smoothing)
    assert found.shape == () and found.dtype == torch.float32
    assert found.item() == pytest.approx(brute_force(loss, logits, target, weight, smoothing),
                                         rel=1e-5)


@pytest.mark.parametrize("loss, weight", CASES)
def test_the_gradient_is_the_finite_difference(loss, weight):
    logits, target = batch(seed=1)
    logits = logits[:1, :, :2, :2].double()
    target = target[:1, :, :2, :2]
    leaf = logits.float().requires_grad_()
    loss_from_logits(loss, leaf, target, weight=weight).backward()
    step = 1e-4
    for place in range(leaf.numel()):
        moved = [logits.clone().flatten() for _ in range(2)]
        moved[0][place] += step
        moved[1][place] -= step
        up, down = (brute_force(loss, one.view_as(logits), target, weight) for one in moved)
        assert leaf.grad.flatten()[place].item() == pytest.approx((up - down) / (2 * step),
                                                                  abs=2e-5)


@pytest.mark.parametrize("loss, weight", CASES)
def test_bfloat16_logits_are_computed_in_float32(loss, weight):
    logits, target = batch(seed=2)
    half = loss_from_logits(loss, logits.bfloat16(), target.bfloat16(), weight=weight)
    assert half.dtype == torch.float32
    assert torch.equal(half, loss_from_logits(loss, logits.bfloat16().float(), target,
                                              weight=weight))


@pytest.mark.parametrize("loss, weight", CASES)
def test_sure_logits_give_finite_values_and_gradients(loss, weight):
    logits, target = batch(seed=3)
    leaf = (100 * logits).requires_grad_()
    result = loss_from_logits(loss, leaf, target, weight=weight)
    result.backward()
    assert result.isfinite() and leaf.grad.isfinite().all()


@pytest.mark.parametrize("shapes", [((2, 1, 4, 4), (2, 1, 4, 4)), ((2, 3, 4, 4), (2, 3, 4, 4)),
                                    ((2, 3, 4, 4), (2, 1, 4, 5)), ((3, 4, 4), (1, 4, 4))])
def test_other_shapes_are_refused(shapes):
    with pytest.raises(ValueError, match="dice: three classes need logits N x 3 x H x W"):
        loss_from_logits("dice", *(torch.zeros(shape) for shape in shapes))


@pytest.mark.parametrize("loss", sorted(set(LOSS_NAMES) - set(THREE_CLASS)))
def test_losses_of_one_class_are_refused_for_three(loss):
    weight = 0.5 if loss in ("relu", "step", "balanced_step", "squared_balanced_step") else None
    with pytest.raises(ValueError, match=f"{loss} is no loss of three classes"):
        preset("smoke", "roads", {"classes": "three", "loss": loss, "weight": weight})
    with pytest.raises(ValueError, match="no loss of three classes"):
        loss_from_logits(loss, *batch(), weight=weight)


def test_three_classes_and_cross_entropy_belong_together():
    assert preset("smoke", "roads", {"classes": "three"}).loss == "cross_entropy"
    with pytest.raises(ValueError, match="of two classes it is bce"):
        preset("smoke", "roads", {"loss": "cross_entropy"})
    with pytest.raises(ValueError, match="three need a softmax"):
        preset("smoke", "roads", {"classes": "three", "output": "clipped"})
    with pytest.raises(ValueError, match="cracks are binary"):
        dataclasses.replace(preset("smoke"), classes="direct")
    assert preset("smoke", "cracks", {"classes": "three"}) == preset("smoke"), "for roads alone"
    with pytest.raises(ValueError, match="the U-Net has one output"):
        preset("smoke", "roads", {"classes": "three", "architecture": "unet"})


@pytest.mark.parametrize("classes, loss, weight", [("binary", "dice", None),
                                                   ("three", "tversky", (0.3, 0.7))])
def test_pooling_by_image_is_the_mean_of_the_images_own(classes, loss, weight):
    logits, target = batch(seed=4)
    protocol = preset("smoke", "roads", {"classes": classes, "pooling": "image", "loss": loss,
                                         "weight": weight})
    if classes == "binary":
        logits, target = logits[:, :1], (target > 0).float()
    singles = [charge(logits[one:one + 1], target[one:one + 1], protocol) for one in range(2)]
    torch.testing.assert_close(charge(logits, target, protocol), torch.stack(singles).mean())
    pooled = preset("smoke", "roads", {"classes": classes, "loss": loss, "weight": weight})
    assert not torch.isclose(charge(logits, target, pooled), torch.stack(singles).mean())
