"""The names of the losses, which weights each takes, and how tables and legends call them."""

import math

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
