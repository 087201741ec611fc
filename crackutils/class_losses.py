"""The losses of three classes: background, directly and alternatively drivable area.

All take `logits` N x 3 x H x W and `target` N x 1 x H x W of 0, 1 and 2, and return a scalar. The
softmax is taken in float32, outside autocast. Soft counts are pooled over the batch for each class;
Dice, Jaccard and Tversky are the mean over the three classes, background included, where **a class
without a pixel in the batch counts 0** and has no gradient (segmentation-models-pytorch's).
"""

import torch
from torch import Tensor
from torch.nn import functional

from crackutils.loss_names import check_weight

COUNT = 3


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """mean(-log p_y): what BCE is for two classes (paper B does not say how many it trained)."""
    return functional.cross_entropy(logits, target)


def focal(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """mean((1 - p_y)^gamma (-log p_y)), p_y the softmax of the labelled class."""
    surprise = functional.cross_entropy(logits, target, reduction="none")  # -log p_y
    # expm1 keeps the digits of 1 - p_y near 0
    return ((-torch.expm1(-surprise)) ** gamma * surprise).mean()


def loss_from_logits(loss: str, logits: Tensor, target: Tensor, *, weight=None,
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
        return focal(logits, labels, weight)
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
