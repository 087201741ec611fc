"""Every loss of both papers, with its formula, range, weight and names.

A binary loss is a function of `prediction` and `target`, two tensors of one shape (usually
N x 1 x H x W): the prediction is a probability in [0, 1], the target is 0 or 1. It returns a scalar
tensor. In the formulas e = target - prediction. It raises `ValueError` if the shapes differ or the
weight is out of range. Training calls `loss_from_logits`, which also has the three-class losses.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

# The names in tables and legends, in the order of the papers; from Jaccard on they are additions.
NAMES = {"mse": "MSE", "balanced_step": "Balanced Step",
         "squared_balanced_step": "Squared & Balanced Step", "step": "Step", "relu": "ReLU",
         "bce": "BCE", "dice": "Dice", "tversky": "Tversky", "bce_dice": "BCE-Dice",
         "jaccard": "Jaccard", "focal": "Focal", "weighted_bce": "Weighted BCE",
         "dice_cldice": "Dice-clDice", "cross_entropy": "Cross entropy"}
WEIGHTED = ("balanced_step", "squared_balanced_step", "step", "relu")  # paper A's proposals
PAIR_WEIGHTED = ("tversky", "bce_dice")
UNWEIGHTED = ("mse", "bce", "dice", "jaccard", "cross_entropy")
SURELY_BACKGROUND = -100.0  # a logit whose probability is 0 in float32
SKELETON_ITERATIONS = 5  # clDice's soft skeleton then reaches the middle of cracks 10 px wide
CLASS_WEIGHTED = ("mse", "balanced_step", "squared_balanced_step", "step")
# means over pixels, so that one pixel has a best prediction, see `posterior`
PIXELWISE = (*CLASS_WEIGHTED, "relu", "bce", "weighted_bce", "focal")
THREE_CLASS = ("dice", "tversky", "bce_dice", "jaccard", "focal", "cross_entropy")


def check_loss(loss: str) -> None:
    """Raise `ValueError` if `loss` is not one of `NAMES`."""
    if loss not in NAMES:
        raise ValueError(f"Unknown loss {loss!r}: expected one of {', '.join(NAMES)}.")


def check_weight(loss: str, weight) -> None:
    """Raise `ValueError` unless the weight is in the range of the loss.

    MSE, BCE, Dice, Jaccard and cross entropy take no weight (`None`). Balanced Step takes
    0 <= w < 1, since from 1 on background pixels would have a weight of zero or less. Squared &
    Balanced Step, Step, ReLU and weighted BCE take any finite w >= 0. Focal takes gamma = 0 or
    gamma >= 1. Dice-clDice takes 0 <= w <= 1, the share of clDice. Tversky `(alpha, beta)` and
    BCE-Dice `(bce, dice)` take two finite numbers >= 0, not both 0.
    """
    check_loss(loss)
    if loss in UNWEIGHTED:
        if weight is not None:
            raise ValueError(f"{loss} takes no weight, got {weight!r}: leave the weight out.")
        return
    numbers = [weight]
    if loss in PAIR_WEIGHTED:
        if not isinstance(weight, tuple | list) or len(weight) != 2:
            raise ValueError(f"{loss} takes a pair of numbers as its weight, got {weight!r}: "
                             "write it as [0.3, 0.7], and a list of weights as [[0.3, 0.7]].")
        numbers = weight
    for number in numbers:
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if not (is_number and 0 <= number < math.inf):
            raise ValueError(f"{loss} takes a finite weight that is not negative, got {weight!r}: "
                             "set one, such as weight: 0.5.")
    if loss == "balanced_step" and weight >= 1:
        raise ValueError(f"balanced_step takes a weight from 0 to below 1, got {weight!r}: from 1 "
                         "on, background pixels would count nothing or be rewarded for errors.")
    if loss == "dice_cldice" and weight > 1:
        raise ValueError(f"dice_cldice takes a weight from 0 to 1, got {weight!r}: it is the share "
                         "of clDice in the loss, and Dice has the rest.")
    if loss == "focal" and 0 < weight < 1:
        raise ValueError(f"focal takes a weight (gamma) of 0 or from 1 on, got {weight!r}: between "
                         "0 and 1 its gradient is NaN where a prediction is exactly right.")
    if loss in PAIR_WEIGHTED and sum(numbers) == 0:
        raise ValueError(f"One of the two weights of {loss} must be above 0, got {weight!r}.")


def weight_text(weight) -> str:
    """A weight as a part of file names: `0.97`, `0.25+1` for a pair, `none` for no weight."""
    if weight is None:
        return "none"
    if isinstance(weight, tuple | list):
        return "+".join(f"{number:g}" for number in weight)
    return f"{weight:g}"


def weight_label(loss: str, weight) -> str:
    """A weight in tables and legends: `0.97`, `γ = 2`, `0.25:1`, `α = β = 0.3`."""
    if loss == "focal":
        return f"γ = {weight:g}"
    if loss not in PAIR_WEIGHTED:
        return f"{weight:g}"
    first, second = weight
    if loss == "bce_dice":
        return f"{first:g}:{second:g}"
    return f"α = β = {first:g}" if first == second else f"α = {first:g}, β = {second:g}"


def label(loss: str, weight) -> str:
    """A loss with its weight in tables and legends: `MSE`, `ReLU 0.97`, `BCE-Dice 0.25:1`."""
    return NAMES[loss] if weight is None else f"{NAMES[loss]} {weight_label(loss, weight)}"


def mse(prediction: Tensor, target: Tensor, *, weight: None = None) -> Tensor:
    """Mean squared error, mean(e^2): paper A's baseline (section II.1.2, Table 1).

    Range [0, 1]. An empty mask gives mean(prediction^2).
    """
    _check("mse", prediction, target, weight)
    return ((target - prediction) ** 2).mean()


def balanced_step(prediction: Tensor, target: Tensor, *, weight: float) -> Tensor:
    """mean((1 + w sign(e)) e^2), 0 <= w < 1 (paper A, section II.1.2, Fig. 3).

    Errors on cracks have the weight 1 + w, errors on background 1 - w. This is MSE with the class
    weights crack : background = (1 + w) : (1 - w), and twice the expectile loss with
    tau = (1 + w) / 2. Range [0, 1 + w]. An empty mask gives (1 - w) mean(prediction^2).
    """
    _check("balanced_step", prediction, target, weight)
    error = target - prediction
    return ((1 + weight * error.sign()) * error**2).mean()


def squared_balanced_step(prediction: Tensor, target: Tensor, *, weight: float) -> Tensor:
    """mean((1 + w sign(e))^2 e^2), w >= 0 (paper A, section II.1.2, Fig. 4).

    Balanced Step with squared weights: crack : background = (1 + w)^2 : (1 - w)^2, so that the
    background has no weight at w = 1. Range [0, (1 + w)^2]. An empty mask gives
    (1 - w)^2 mean(prediction^2).
    """
    _check("squared_balanced_step", prediction, target, weight)
    error = target - prediction
    return ((1 + weight * error.sign()) ** 2 * error**2).mean()


def step(prediction: Tensor, target: Tensor, *, weight: float) -> Tensor:
    """mean((1 + w sign(relu(e))) e^2), w >= 0 (paper A, section II.1.2, Fig. 5).

    Errors on cracks have the weight 1 + w, errors on background 1. Range [0, 1 + w]. An empty
    mask gives mean(prediction^2).
    """
    _check("step", prediction, target, weight)
    error = target - prediction
    return ((1 + weight * error.relu().sign()) * error**2).mean()


def relu(prediction: Tensor, target: Tensor, *, weight: float) -> Tensor:
    """mean((1 + w relu(e)) e^2), w >= 0 (paper A, section II.1.2, Fig. 6).

    A missed crack pixel contributes e^2 + w e^3: the penalty grows with the confidence of the miss.
    The gradient flows through the weight 1 + w relu(e) too. Range [0, 1 + w]. An empty mask gives
    mean(prediction^2).
    """
    _check("relu", prediction, target, weight)
    error = target - prediction
    return ((1 + weight * error.relu()) * error**2).mean()


def bce(prediction: Tensor, target: Tensor, *, weight: None = None) -> Tensor:
    """Binary cross entropy, mean(-y log p - (1 - y) log(1 - p)) (paper B; not in paper A).

    Range [0, 100]: PyTorch clamps the logarithms at -100, so the loss is finite at p = 0 and p = 1.
    An empty mask gives mean(-log(1 - p)). Training computes it from the logits
    (`loss_from_logits`): the same number, but without the loss of digits near 0 and 1.
    """
    _check("bce", prediction, target, weight)
    return functional.binary_cross_entropy(prediction, target)


def dice(prediction: Tensor, target: Tensor, *, weight: None = None,
         smoothing: float = 0.0) -> Tensor:
    """Soft Dice loss, 1 - 2 (TP + s) / (2 TP + FP + FN + 2 s) (paper B).

    The soft counts TP = sum(p y), FP = sum(p (1 - y)) and FN = sum((1 - p) y) are sums over the
    whole batch. s is `smoothing`, which segmentation-models-pytorch doubles here. Range [0, 1].
    **A batch without a positive pixel gives 0 and no gradient**, whatever the smoothing.
    """
    _check("dice", prediction, target, weight)
    return _overlap_loss("dice", "binary", prediction, target, smoothing)


def tversky(prediction: Tensor, target: Tensor, *, weight: tuple[float, float],
            smoothing: float = 0.0) -> Tensor:
    """Tversky loss, 1 - (TP + s) / (TP + alpha FP + beta FN + s), weight = (alpha, beta) (paper B).

    Soft counts, smoothing, range and batches without a positive pixel are as in `dice`, which is
    Tversky with alpha = beta = 0.5. **alpha weighs false positives, beta false negatives**, as in
    segmentation-models-pytorch.
    """
    _check("tversky", prediction, target, weight)
    return _overlap_loss("tversky", "binary", prediction, target, smoothing, weight)


def bce_dice(prediction: Tensor, target: Tensor, *, weight: tuple[float, float],
             smoothing: float = 0.0) -> Tensor:
    """The weighted sum a * BCE + b * Dice, weight = (a, b) (paper B: BCE-Dice(a:b)).

    Range [0, 100 a + b]. On a batch without a positive pixel the Dice term is 0.
    """
    _check("bce_dice", prediction, target, weight)
    return weight[0] * bce(prediction, target) \
        + weight[1] * dice(prediction, target, smoothing=smoothing)


def jaccard(prediction: Tensor, target: Tensor, *, weight: None = None,
            smoothing: float = 0.0) -> Tensor:
    """Soft Jaccard loss, 1 - (TP + s) / (TP + FP + FN + s) (not in the papers).

    This is `tversky` with alpha = beta = 1. Soft counts, smoothing, range and batches without a
    positive pixel are as in `dice`.
    """
    _check("jaccard", prediction, target, weight)
    return _overlap_loss("jaccard", "binary", prediction, target, smoothing)


def focal(prediction: Tensor, target: Tensor, *, weight: float) -> Tensor:
    """Focal loss, mean((1 - p_t)^gamma (-log p_t)) with p_t = 1 - |e| and weight = gamma.

    Lin et al., ICCV 2017, equation 4, without its class weight alpha; not in the papers. gamma = 0
    is BCE. Range [0, 100], as for BCE. An empty mask gives mean(p^gamma (-log(1 - p))).
    """
    _check("focal", prediction, target, weight)
    error = target - prediction
    cross_entropies = functional.binary_cross_entropy(prediction, target, reduction="none")
    return (error.abs() ** weight * cross_entropies).mean()


def weighted_bce(prediction: Tensor, target: Tensor, *, weight: float) -> Tensor:
    """Class-weighted BCE, mean(-w y log p - (1 - y) log(1 - p)), w >= 0 (not in the papers).

    A crack pixel has the weight w, a background pixel 1. Range [0, 100 max(1, w)]; the logarithms
    are clamped as for BCE. An empty mask gives mean(-log(1 - p)).
    """
    _check("weighted_bce", prediction, target, weight)
    class_weights = 1 + (weight - 1) * target
    return functional.binary_cross_entropy(prediction, target, class_weights)


def dice_cldice(prediction: Tensor, target: Tensor, *, weight: float) -> Tensor:
    """(1 - w) * Dice + w * clDice, 0 <= w <= 1, for thin structures (not in the papers).

    Shit et al., "clDice", CVPR 2021: clDice compares each mask with the other's skeleton, so a fine
    crack counts as much as a wide one of the same length. Computed by MONAI for each image (with a
    smoothing of 1, and `SKELETON_ITERATIONS` erosions for the soft skeleton) and averaged over the
    batch. Shape N x 1 x H x W. Range [0, 1]. An empty mask gives a value between 0 (for an empty
    prediction) and 1.
    """
    # imported here because it takes seconds, and most who import this module don't need it
    from monai.losses import SoftDiceclDiceLoss

    _check("dice_cldice", prediction, target, weight)
    return SoftDiceclDiceLoss(iter_=SKELETON_ITERATIONS, alpha=float(weight))(prediction, target)


LOSSES = {loss.__name__: loss for loss in (mse, balanced_step, squared_balanced_step, step, relu,
                                           bce, dice, tversky, bce_dice, jaccard, focal,
                                           weighted_bce, dice_cldice)}


# From a prediction to the crack probability, and back

def posterior(loss: str, prediction, weight: float | None = None) -> np.ndarray:
    """The crack probability q at which the prediction p has the lowest expected loss.

    There the slope of the expected loss q L(p, 1) + (1 - q) L(p, 0) is 0, so q = L0' / (L0' - L1').
    L1' and L0', the slopes for crack and background, come from automatic differentiation. For class
    weights of ratio k (for weighted BCE its w) this is q = p / (p + k (1 - p)), for ReLU
    q = 2 p / (2 + 3 w (1 - p)^2), for BCE q = p. `ValueError` for a loss that is no mean over
    pixels.
    """
    if loss not in PIXELWISE:
        raise ValueError(f"{loss!r} has no best prediction of one pixel: expected one of "
                         f"{', '.join(PIXELWISE)}.")
    crack, background = (_slope(loss, prediction, label, weight) for label in (1.0, 0.0))
    return background / (background - crack)


def optimal_prediction(loss: str, q, weight: float | None = None) -> np.ndarray:
    """p*(q): the prediction with the lowest expected loss if a crack has the probability q. The
    inverse of `posterior`, by bisection; k q / (k q + 1 - q) for class weights of ratio k."""
    q = np.asarray(q, dtype=float)
    low, high = np.zeros_like(q), np.ones_like(q)
    for _ in range(40):
        middle = (low + high) / 2
        below = posterior(loss, middle, weight) < q
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def _slope(loss: str, prediction, label: float, weight) -> np.ndarray:
    """dL/dp at every prediction, for one label (0 or 1)."""
    values = torch.tensor(np.asarray(prediction, dtype=float), requires_grad=True)
    LOSSES[loss](values, torch.full_like(values, label), weight=weight).backward()
    return values.grad.numpy() * values.numel()


# Training calls the losses with logits

def _three_class_loss(loss: str, logits: Tensor, target: Tensor, weight,
                      smoothing: float) -> Tensor:
    """One of `THREE_CLASS`; p_y is the softmax probability of a pixel's labelled class y.

    cross_entropy: mean(-log p_y), which is BCE for two classes (paper B does not say how many
    classes it trained). focal: mean((1 - p_y)^gamma (-log p_y)), weight = gamma. dice, tversky and
    jaccard: the mean of the three classes' losses, in [0, 1]; the loss of a class without a pixel
    in the batch is 0. bce_dice: as in `bce_dice`, with cross entropy instead of BCE.
    """
    check_weight(loss, weight)
    if loss not in THREE_CLASS:
        raise ValueError(f"{loss} is no loss of three classes: expected one of "
                         f"{', '.join(THREE_CLASS)}.")
    if target.shape != (len(logits), 1, *logits.shape[2:]):
        raise ValueError(f"{loss}: three classes need logits N x 3 x H x W and a target "
                         f"N x 1 x H x W, got {tuple(logits.shape)} and {tuple(target.shape)}.")
    labels = target[:, 0].long()
    if loss == "cross_entropy":
        return functional.cross_entropy(logits, labels)
    if loss == "focal":
        cross_entropies = functional.cross_entropy(logits, labels, reduction="none")  # -log p_y
        # 1 - p_y = 1 - exp(log p_y); expm1 keeps its digits where it is near 0
        return ((-torch.expm1(-cross_entropies)) ** weight * cross_entropies).mean()
    prediction = torch.softmax(logits, dim=1)
    if loss == "bce_dice":
        return weight[0] * functional.cross_entropy(logits, labels) \
            + weight[1] * _overlap_loss("dice", "multiclass", prediction, labels, smoothing)
    return _overlap_loss(loss, "multiclass", prediction, labels, smoothing, weight)


def loss_from_logits(loss: str, logits: Tensor, target: Tensor, *, weight=None,
                     smoothing: float = 0.0, output: str = "sigmoid", pooling: str = "batch",
                     ignored: int | None = None) -> Tensor:
    """The loss of a network's logits, computed in float32 whatever the network computed in.

    Logits N x 3 x H x W with a target N x 1 x H x W of class indices are three classes, and `loss`
    must be one of `THREE_CLASS`. All other logits are binary, with a target of their shape;
    `output` says how they become probabilities: by the sigmoid, or "clipped" to [0, 1]. With the
    sigmoid, cross entropies (of BCE, weighted BCE, BCE-Dice and focal) are computed from the logits
    themselves, since their gradient would vanish where the sigmoid saturates. `smoothing` concerns
    Dice, Tversky and Jaccard alone. `pooling="image"` gives the mean of the images' losses instead
    of the loss of the batch. Pixels whose target is `ignored` count as if they were not there (for
    clDice, as background that was predicted right); a batch of nothing else gives 0. Raises
    `ValueError` for an unknown loss, a weight out of range and wrong shapes.
    """
    if pooling == "image":
        values = [loss_from_logits(loss, image_logits, image_target, weight=weight,
                                   smoothing=smoothing, output=output, ignored=ignored)
                  for image_logits, image_target in zip(logits.split(1), target.split(1),
                                                        strict=True)]
        return torch.stack(values).mean()
    logits, target = logits.float(), target.float()
    if logits.dim() == 4 and logits.shape[1] == 3:
        return _three_class_loss(loss, logits, target, weight, smoothing)
    _check(loss, logits, target, weight)
    if loss == "cross_entropy":
        raise ValueError("cross_entropy needs logits N x 3 x H x W, got "
                         f"{tuple(logits.shape)}: for two classes use bce.")
    if ignored is not None:
        counted = target != ignored
        if loss == "dice_cldice":  # a skeleton needs the whole picture
            logits, target = logits.where(counted, SURELY_BACKGROUND), target * counted
        elif not counted.any():
            return 0 * logits.sum()
        else:
            logits, target = logits[counted].view(1, 1, -1), target[counted].view(1, 1, -1)
    options = {"smoothing": smoothing} if loss in ("dice", "tversky", "bce_dice", "jaccard") else {}
    if output == "clipped":
        return LOSSES[loss](logits.clamp(0, 1), target, weight=weight, **options)
    if loss == "bce":
        return functional.binary_cross_entropy_with_logits(logits, target)
    if loss == "weighted_bce":
        class_weights = 1 + (weight - 1) * target
        return functional.binary_cross_entropy_with_logits(logits, target, class_weights)
    if loss == "focal":
        return sigmoid_focal_loss(logits, target, alpha=-1, gamma=weight, reduction="mean")
    prediction = torch.sigmoid(logits)
    if loss == "bce_dice":
        return weight[0] * functional.binary_cross_entropy_with_logits(logits, target) \
            + weight[1] * dice(prediction, target, smoothing=smoothing)
    return LOSSES[loss](prediction, target, weight=weight, **options)


def _overlap_loss(loss: str, mode: str, prediction: Tensor, target: Tensor, smoothing: float,
                  weight=None) -> Tensor:
    """A loss of soft counts by segmentation-models-pytorch; mode "binary" or "multiclass"."""
    # imported here because it takes seconds, and most who import this module don't need it
    from segmentation_models_pytorch import losses

    options = {"mode": mode, "from_logits": False, "smooth": smoothing}
    if loss == "dice":
        return losses.DiceLoss(**options)(prediction, target)
    if loss == "jaccard":
        return losses.JaccardLoss(**options)(prediction, target)
    alpha, beta = weight
    return losses.TverskyLoss(**options, alpha=alpha, beta=beta)(prediction, target)


def _check(loss: str, prediction: Tensor, target: Tensor, weight) -> None:
    """The checks that all binary losses share."""
    check_weight(loss, weight)
    if prediction.shape != target.shape:
        raise ValueError(f"{loss}: prediction and target must have one shape, got "
                         f"{tuple(prediction.shape)} and {tuple(target.shape)}.")
