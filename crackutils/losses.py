"""Every loss of both papers as a plain function of probabilities.

All take `prediction` and `target` of one shape (usually N x 1 x H x W): the prediction is a
float32 probability in [0, 1] (the sigmoid is taken in float32, outside autocast), the target is
0 or 1. They return a scalar tensor. In the formulas
e = target - prediction. `ValueError` where the shapes differ or the weight is out of range.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

UNWEIGHTED = ("mse", "bce", "dice", "jaccard", "cross_entropy")
PAIR_WEIGHTED = ("tversky", "bce_dice")
WEIGHTED = ("balanced_step", "squared_balanced_step", "step", "relu")
LOSS_NAMES = ("mse", *WEIGHTED, "bce", "dice", *PAIR_WEIGHTED, "jaccard", "focal", "cross_entropy")
THREE_CLASS = ("dice", *PAIR_WEIGHTED, "jaccard", "focal", "cross_entropy")  # of direct, ...
NAMES = {"mse": "MSE", "balanced_step": "Balanced Step", "step": "Step", "relu": "ReLU",
         "squared_balanced_step": "Squared & Balanced Step", "bce": "BCE", "dice": "Dice",
         "tversky": "Tversky", "bce_dice": "BCE-Dice", "jaccard": "Jaccard", "focal": "Focal",
         "cross_entropy": "Cross entropy"}


def check_loss(loss: str) -> None:
    """Refuse a loss that is none, with the names of those that are."""
    if loss not in LOSS_NAMES:
        raise ValueError(f"Unknown loss {loss!r}: expected one of {', '.join(LOSS_NAMES)}.")


def check_weight(loss: str, weight) -> None:
    """Refuse a weight outside the range in which the loss is a loss.

    Ranges: MSE, BCE, Dice, Jaccard and cross entropy take none (`None`); Balanced Step
    0 <= w < 1 (from 1 on the weight of the background is zero or negative); Squared & Balanced
    Step, Step and ReLU any finite w >= 0; focal (its gamma) 0 or from 1 on; Tversky
    `(alpha, beta)` and BCE-Dice `(bce, dice)` two finite numbers >= 0, not both 0. Raises
    `ValueError` with the expected range, the value and what to do.
    """
    check_loss(loss)
    if loss in UNWEIGHTED:
        if weight is not None:
            raise ValueError(f"{loss} takes no weight, got {weight!r}: leave the weight out.")
        return
    numbers = weight if loss in PAIR_WEIGHTED else (weight,)
    wanted = 2 if loss in PAIR_WEIGHTED else 1
    if not isinstance(numbers, tuple | list) or len(numbers) != wanted:
        raise ValueError(f"{loss} takes a pair of numbers as its weight, got {weight!r}: "
                         "write it as [0.3, 0.7], and a list of weights as [[0.3, 0.7]].")
    if not all(is_number(number) and math.isfinite(number) and number >= 0 for number in numbers):
        raise ValueError(f"The weight of {loss} must be finite and not negative, got {weight!r}.")
    if loss == "balanced_step" and weight >= 1:
        raise ValueError(f"balanced_step takes a weight from 0 to below 1, got {weight!r}: from 1 "
                         "on, background pixels would count nothing or be rewarded for errors.")
    if loss == "focal" and 0 < weight < 1:
        raise ValueError(f"focal takes a weight (gamma) of 0 or from 1 on, got {weight!r}: between "
                         "them its gradient has no limit where the prediction is right.")
    if loss in PAIR_WEIGHTED and sum(numbers) == 0:
        raise ValueError(f"One of the two weights of {loss} must be above 0, got {weight!r}.")


def is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def weight_text(weight) -> str:
    """A weight as part of a file name: `0.97`, `0.25+1` for a pair, `none`."""
    if weight is None:
        return "none"
    return "+".join(f"{number:g}" for number in weight) if isinstance(weight, tuple | list) \
        else f"{weight:g}"


def label(loss: str, weight) -> str:
    """A loss and its weight as tables and legends say it; a pair as paper B writes it."""
    return NAMES[loss] if weight is None else f"{NAMES[loss]} {weight_label(loss, weight)}"


def weight_label(loss: str, weight) -> str:
    """A weight without its loss: `0.97`, `0.25:1`, `α = β = 0.3`, `γ = 2`."""
    if loss not in PAIR_WEIGHTED:
        return f"γ = {weight:g}" if loss == "focal" else f"{weight:g}"
    first, second = (f"{number:g}" for number in weight)
    if loss == "bce_dice":
        return f"{first}:{second}"
    return f"α = β = {first}" if first == second else f"α = {first}, β = {second}"


def mse(prediction: Tensor, target: Tensor, *, weight: None = None) -> Tensor:
    """Mean squared error, mean(e^2): paper A's baseline (section II.1.2, Table 1).

    Range [0, 1]. An empty mask gives mean(prediction^2).
    """
    return (_weighted_error("mse", prediction, target, weight) ** 2).mean()


def balanced_step(prediction: Tensor, target: Tensor, *, weight: float) -> Tensor:
    """mean((1 + w sign(e)) e^2), 0 <= w < 1 (paper A, section II.1.2, Fig. 3).

    Errors on cracks count 1 + w, on background 1 - w: class-weighted MSE with the
    crack : background weight (1 + w) / (1 - w), and twice the expectile loss with
    tau = (1 + w) / 2. Range [0, 1 + w]. An empty mask gives (1 - w) mean(prediction^2).
    """
    error = _weighted_error("balanced_step", prediction, target, weight)
    return ((1 + weight * error.sign()) * error**2).mean()


def squared_balanced_step(prediction: Tensor, target: Tensor, *, weight: float) -> Tensor:
    """mean((1 + w sign(e))^2 e^2), w >= 0 (paper A, section II.1.2, Fig. 4).

    Balanced Step with its weight squared: crack : background weight ((1 + w) / (1 - w))^2, without
    limit at w = 1. Range [0, (1 + w)^2]. An empty mask gives (1 - w)^2 mean(prediction^2).
    """
    error = _weighted_error("squared_balanced_step", prediction, target, weight)
    return ((1 + weight * error.sign()) ** 2 * error**2).mean()


def step(prediction: Tensor, target: Tensor, *, weight: float) -> Tensor:
    """mean((1 + w sign(relu(e))) e^2), w >= 0 (paper A, section II.1.2, Fig. 5).

    Errors on cracks count 1 + w, on background 1. Range [0, 1 + w]. An empty mask gives
    mean(prediction^2).
    """
    error = _weighted_error("step", prediction, target, weight)
    return ((1 + weight * error.relu().sign()) * error**2).mean()


def relu(prediction: Tensor, target: Tensor, *, weight: float) -> Tensor:
    """mean((1 + w relu(e)) e^2), w >= 0 (paper A, section II.1.2, Fig. 6).

    A missed crack pixel costs e^2 + w e^3: the more, the surer the miss. The gradient flows
    through the weight too. Range [0, 1 + w]. An empty mask gives mean(prediction^2).
    """
    error = _weighted_error("relu", prediction, target, weight)
    return ((1 + weight * error.relu()) * error**2).mean()


def bce(prediction: Tensor, target: Tensor, *, weight: None = None) -> Tensor:
    """Binary cross entropy, mean(-y log p - (1 - y) log(1 - p)) (paper B; paper A's missing one).

    The logarithms are cut at -100, so it stays finite at p = 0 and 1. An empty mask gives
    mean(-log(1 - p)). Training takes it from the logits (`loss_from_logits`), which is the same
    number without the loss of digits.
    """
    _weighted_error("bce", prediction, target, weight)
    return functional.binary_cross_entropy(prediction, target)


def dice(prediction: Tensor, target: Tensor, *, weight: None = None,
         smoothing: float = 0.0) -> Tensor:
    """Soft Dice loss, 1 - 2 (TP + s) / (2 TP + FP + FN + 2 s), soft counts of the batch (paper B).

    TP = sum(p y), FP = sum(p (1 - y)), FN = sum((1 - p) y) over the whole batch, in float32; s is
    `smoothing`, 0 by default, doubled as segmentation-models-pytorch has it. Range [0, 1]. **A
    batch without a positive pixel gives 0 and no gradient**, whatever the smoothing.
    """
    _weighted_error("dice", prediction, target, weight)
    return _library().DiceLoss("binary", from_logits=False, smooth=smoothing)(prediction, target)


def jaccard(prediction: Tensor, target: Tensor, *, weight: None = None,
            smoothing: float = 0.0) -> Tensor:
    """Soft Jaccard loss, 1 - (TP + s) / (TP + FP + FN + s): `tversky` with alpha = beta = 1.

    Soft counts, smoothing and batches without a positive pixel as in `dice`. Not in the papers.
    """
    _weighted_error("jaccard", prediction, target, weight)
    return _library().JaccardLoss("binary", from_logits=False, smooth=smoothing)(prediction,
                                                                                 target)


def tversky(prediction: Tensor, target: Tensor, *, weight: tuple[float, float],
            smoothing: float = 0.0) -> Tensor:
    """Tversky loss, 1 - (TP + s) / (TP + alpha FP + beta FN + s), weight = (alpha, beta) (paper B).

    Soft counts, smoothing and batches without a positive pixel as in `dice`, which is
    alpha = beta = 0.5; segmentation-models-pytorch's convention: **alpha weighs false positives,
    beta false negatives**. Range [0, 1].
    """
    _weighted_error("tversky", prediction, target, weight)
    alpha, beta = weight
    return _library().TverskyLoss("binary", from_logits=False, smooth=smoothing, alpha=alpha,
                                  beta=beta)(prediction, target)


def bce_dice(prediction: Tensor, target: Tensor, *, weight: tuple[float, float],
             smoothing: float = 0.0) -> Tensor:
    """a BCE + b Dice, weight = (a, b), a plain sum (paper B: BCE-Dice(a:b)).

    A batch without a positive pixel gives a BCE alone.
    """
    _weighted_error("bce_dice", prediction, target, weight)
    return weight[0] * bce(prediction, target) \
        + weight[1] * dice(prediction, target, smoothing=smoothing)


def focal(prediction: Tensor, target: Tensor, *, weight: float) -> Tensor:
    """Focal loss, mean((1 - p_t)^gamma (-log p_t)) with p_t = 1 - |e|; weight = gamma.

    Lin et al., ICCV 2017, equation 4, without its class weight alpha; gamma = 0 is BCE. Not in the
    papers. The logarithm is cut at -100. An empty mask gives mean(p^gamma (-log(1 - p))).
    """
    error = _weighted_error("focal", prediction, target, weight)
    cross_entropy = functional.binary_cross_entropy(prediction, target, reduction="none")
    return (error.abs() ** weight * cross_entropy).mean()


LOSSES = {function.__name__: function for function in (
    mse, balanced_step, squared_balanced_step, step, relu, bce, dice, tversky, bce_dice, jaccard,
    focal)}
SOFT = ("dice", "tversky", "bce_dice", "jaccard")  # of soft counts: these take a smoothing


def loss_from_logits(loss: str, logits: Tensor, target: Tensor, *, weight=None,
                     smoothing: float = 0.0) -> Tensor:
    """The loss of a network's logits, in float32 whatever the network computed in.

    The same number as `LOSSES[loss](sigmoid(logits), target, weight=weight)`; cross entropy is
    taken from the logits themselves, whose gradient does not vanish where the sigmoid saturates.
    """
    logits, target = logits.float(), target.float()
    _weighted_error(loss, logits, target, weight)
    if loss == "bce":
        return functional.binary_cross_entropy_with_logits(logits, target)
    if loss == "focal":
        return sigmoid_focal_loss(logits, target, alpha=-1, gamma=weight, reduction="mean")
    probability = torch.sigmoid(logits)
    if loss == "bce_dice":
        cross_entropy = functional.binary_cross_entropy_with_logits(logits, target)
        return weight[0] * cross_entropy + weight[1] * dice(probability, target,
                                                            smoothing=smoothing)
    return loss_of_probabilities(loss, probability, target, weight=weight, smoothing=smoothing)


def loss_of_probabilities(loss: str, prediction: Tensor, target: Tensor, *, weight=None,
                          smoothing: float = 0.0) -> Tensor:
    """`LOSSES[loss]`, its smoothing given to those that have one."""
    options = {"smoothing": smoothing} if loss in SOFT else {}
    return LOSSES[loss](prediction, target, weight=weight, **options)


def _library():
    """segmentation-models-pytorch's losses, imported where needed: that takes seconds."""
    from segmentation_models_pytorch import losses
    return losses


def _weighted_error(loss: str, prediction: Tensor, target: Tensor, weight) -> Tensor:
    """e = target - prediction, after the checks that all losses share."""
    check_weight(loss, weight)
    if prediction.shape != target.shape:
        raise ValueError(f"{loss}: prediction and target must have one shape, got "
                         f"{tuple(prediction.shape)} and {tuple(target.shape)}.")
    return target - prediction


COUNT = 3


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """mean(-log p_y): what BCE is for two classes (paper B does not say how many it trained)."""
    return functional.cross_entropy(logits, target)


def focal_of_classes(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """mean((1 - p_y)^gamma (-log p_y)), p_y the softmax of the labelled class."""
    surprise = functional.cross_entropy(logits, target, reduction="none")  # -log p_y
    # expm1 keeps the digits of 1 - p_y near 0
    return ((-torch.expm1(-surprise)) ** gamma * surprise).mean()


def class_loss_from_logits(loss: str, logits: Tensor, target: Tensor, *, weight=None,
                     smoothing: float = 0.0) -> Tensor:
    """One of `THREE_CLASS`: Dice, Tversky, Jaccard, focal, cross entropy, and `bce_dice` with cross
    entropy in the place of BCE.

    `ValueError` for a weight out of range and for other shapes.
    """
    check_weight(loss, weight)
    if logits.dim() != 4 or target.shape != (len(logits), 1, *logits.shape[2:]) \
            or logits.shape[1] != COUNT:
        raise ValueError(f"{loss}: three classes need logits N x 3 x H x W and a target "
                         f"N x 1 x H x W, got {tuple(logits.shape)} and {tuple(target.shape)}.")
    logits, labels = logits.float(), target[:, 0].long()
    if loss == "cross_entropy":
        return cross_entropy(logits, labels)
    if loss == "focal":
        return focal_of_classes(logits, labels, weight)
    if loss == "bce_dice":
        return weight[0] * cross_entropy(logits, labels) \
            + weight[1] * overlap("dice", logits, labels, None, smoothing)
    return overlap(loss, logits, labels, weight, smoothing)


def overlap(loss: str, logits: Tensor, labels: Tensor, weight, smoothing: float) -> Tensor:
    """Dice, Jaccard or Tversky of soft counts; weight = (alpha, beta) for Tversky."""
    # imported where needed: that takes seconds
    from segmentation_models_pytorch import losses

    kinds = {"dice": losses.DiceLoss, "jaccard": losses.JaccardLoss, "tversky": losses.TverskyLoss}
    if loss not in kinds:
        raise ValueError(f"{loss} is no loss of three classes.")
    options = dict(zip(("alpha", "beta"), weight)) if loss == "tversky" else {}
    return kinds[loss]("multiclass", from_logits=False, smooth=smoothing, **options)(
        torch.softmax(logits, dim=1), labels)
