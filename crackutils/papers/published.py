"""The papers' published tables, and their audit: what follows from the printed figures alone.

`table` and `iou_table` read the tables from `data/published/`. Everything else computes, from the
printed figures or from the losses, whether the papers' statements agree with them; notebook 03
prints the results. Paper A is Sohn, Kim and Hwang (JKSCI 25(10), 2020) on cracks, paper B the one
on the drivable area.
"""

import json
import math

import numpy as np
import pandas as pd
import torch

from crackutils.files import ROOT
from crackutils.losses import CLASS_WEIGHTED, LOSSES, loss_from_logits, optimal_prediction

PUBLISHED = ROOT / "data" / "published"
TABLES = (1, 4, 5, 6, 7, 8)
ROUNDING = 0.0005  # a figure printed to three decimals is that far from the true one at most
Interval = tuple[float, float]


def table(number: int) -> pd.DataFrame:
    """Table 1, 4, 5, 6, 7 or 8 of paper A as printed: `loss, weight, threshold` and four figures.
    The weight of MSE is NaN. `ValueError` for another number."""
    if number not in TABLES:
        raise ValueError(f"Paper A has figures in Tables 1 and 4 to 8, got {number!r}.")
    return pd.read_csv(PUBLISHED / f"table{number}.csv", dtype={"weight": float})


def iou_table() -> pd.DataFrame:
    """Paper B's IoU table as printed: `loss, weight, label, iou`. The weight is a pair of numbers
    or None, IoU a fraction."""
    rows = pd.read_csv(PUBLISHED / "iou_table.csv", dtype={"weight": str})
    rows["weight"] = pd.Series([tuple(json.loads(weight)) if isinstance(weight, str) else None
                                for weight in rows["weight"]], dtype=object)
    return rows


def distinct_rows() -> pd.DataFrame:
    """The 20 measurements of paper A and the number of their `table`; Table 8 repeats five."""
    tables = [table(number).assign(table=number) for number in (1, 4, 5, 6, 7)]
    return pd.concat(tables, ignore_index=True)


# Printed figures: what they imply, given that they were rounded to three decimals

def f1(precision: float, recall: float) -> float:
    """The harmonic mean 2 P R / (P + R) (paper A, Table 3)."""
    return 2 * precision * recall / (precision + recall)


def f1_bounds(precision: float, recall: float, printed: float) -> Interval:
    """The lowest and highest F1 that the printed P, R and F1 allow together (F1 rises with P and
    R). Low > high means that they contradict one another."""
    return (max(f1(precision - ROUNDING, recall - ROUNDING), printed - ROUNDING),
            min(f1(precision + ROUNDING, recall + ROUNDING), printed + ROUNDING))


def common_interval(intervals: list[Interval]) -> Interval:
    """The intersection of the intervals; low > high if it is empty."""
    lows, highs = zip(*intervals, strict=True)
    return max(lows), min(highs)


def crack_share_interval(precision: float, recall: float, accuracy: float,
                         f1_score: float | None = None) -> Interval:
    """The lowest and highest crack share that the rounded figures allow, for P and R above 1/2.

    Let s be the crack share. As shares of all pixels TP = R s, FN = (1 - R) s, FP = R s (1/P - 1),
    so 1 - accuracy = FN + FP = s (1 - 2 R + R / P). The limits are exact: s falls with accuracy and
    rises with P and R; along a curve of constant F1 it is (1 - accuracy) F1 / (2 R (1 - F1)), which
    is monotone in R. So the extremes lie at corners of the box of all (P, R) that round to the
    printed ones, or where a limit of F1 crosses an edge of the box. The result is (inf, -inf) if
    the figures contradict one another.
    """
    limits = [(value - ROUNDING, value + ROUNDING) for value in (precision, recall)]
    points = [(p, r) for p in limits[0] for r in limits[1]]
    if f1_score is not None:
        bounds = (f1_score - ROUNDING, f1_score + ROUNDING)
        points = [point for point in points if bounds[0] <= f1(*point) <= bounds[1]]
        points += _crossings(limits, bounds)
    shares = [(1 - accuracy - side * ROUNDING) / (1 - 2 * r + r / p)
              for p, r in points for side in (-1, 1)]
    return min(shares, default=math.inf), max(shares, default=-math.inf)


def _crossings(limits: list[Interval], bounds: Interval) -> list[tuple[float, float]]:
    """The points (P, R) on the edges of a box where F1 equals one of the bounds: there
    F = 2 a b / (a + b), so b = F a / (2 a - F)."""
    points = []
    for bound in bounds:
        for axis, (low, high) in ((0, limits[1]), (1, limits[0])):
            for fixed in limits[axis]:
                other = bound * fixed / (2 * fixed - bound)
                if low <= other <= high:
                    points.append((fixed, other) if axis == 0 else (other, fixed))
    return points


def f1_at_recall(recall: float, curve: pd.DataFrame) -> float:
    """The F1 of a model at a recall between those of its printed thresholds; NaN outside of them.

    If each picture is given one of two thresholds at random, recall and the false alarms per crack
    pixel, R (1/P - 1), lie on a straight line between those of the two (Davis and Goadrich 2006).
    F1 = 2 R / (R + 1 + false alarms).
    """
    curve = curve.sort_values("recall")
    alarms = curve["recall"] * (1 / curve["precision"] - 1)
    alarms_there = np.interp(recall, curve["recall"], alarms, left=np.nan, right=np.nan)
    return float(2 * recall / (recall + 1 + alarms_there))


def gain_bounds(row: pd.Series, curve: pd.DataFrame) -> Interval:
    """The least and the most by which a row's F1 lies above another loss's precision-recall curve.

    The least is the lowest F1 that the row's rounding allows, less the highest that the rounding of
    the curve's best printed point allows (as if no point of the curve were better). The most is the
    row's printed F1 less `f1_at_recall` of the curve; NaN outside of its recalls.
    """
    columns = ["precision", "recall", "f1_score"]
    best = curve.loc[curve["f1_score"].idxmax(), columns]
    return (f1_bounds(*row[columns])[0] - f1_bounds(*best)[1],
            row["f1_score"] - f1_at_recall(row["recall"], curve))


# The losses: which of them are the same, and at which threshold each has its best F1

def class_weights(loss: str, weight: float | None = None) -> tuple[float, float]:
    """The weights on the squared error of a crack pixel and of a background pixel.

    For predictions inside (0, 1) the error of a crack pixel is positive and that of background
    negative, so these two numbers describe the whole loss (paper A, section II.1.2). They are
    evaluated at the prediction 1/2. `ValueError` for losses weighted by the size of the error.
    """
    if loss not in CLASS_WEIGHTED:
        raise ValueError(f"{loss!r} is no class-weighted squared error: expected one of "
                         f"{', '.join(CLASS_WEIGHTED)}.")
    half = torch.tensor([0.5], dtype=torch.float64)
    crack, background = (LOSSES[loss](half, torch.full_like(half, label), weight=weight).item()
                         / 0.25 for label in (1.0, 0.0))
    return crack, background


def class_ratio(loss: str, weight: float | None = None) -> float:
    """k = weight of a crack pixel / weight of background; infinite for Squared & Balanced(1)."""
    crack, background = class_weights(loss, weight)
    return crack / background if background else math.inf


def as_balanced_step(loss: str, weight: float | None = None) -> tuple[float, float]:
    """(scale, v) such that the loss equals scale * Balanced Step(v).

    Squared(w) = (1 + w^2) Balanced(2w / (1 + w^2)), Step(w) = (1 + w/2) Balanced(w / (2 + w)).
    Balanced Step(v) is twice the expectile loss with tau = (1 + v) / 2.
    """
    crack, background = class_weights(loss, weight)
    return (crack + background) / 2, (crack - background) / (crack + background)


def best_threshold(loss: str, best_f1: float, weight: float | None = None) -> float:
    """The threshold t* with the best F1, F*, if the network predicts p*(q): t* = p*(F* / 2).

    F1 is best if every pixel with a crack probability of F* / 2 or more is called crack (Lipton,
    Elkan and Naryanaswamy 2014).
    """
    return float(optimal_prediction(loss, best_f1 / 2, weight))


def logit_gradient(loss: str, prediction: float, label: float, weight=None) -> float:
    """The size of one pixel's gradient at the logit: 2 |e| p (1 - p) for MSE, |e| for BCE."""
    probability = torch.tensor([prediction], dtype=torch.float32)
    logits = torch.logit(probability).requires_grad_()
    loss_from_logits(loss, logits, torch.full_like(logits, label), weight=weight).backward()
    return abs(logits.grad.item())


# Paper B

def iou_difference(first: str, second: str) -> float:
    """The IoU of one label of paper B's table less that of another, in percentage points."""
    iou = iou_table().set_index("label")["iou"]
    return round(100 * (iou[first] - iou[second]), 2)


def dice_share(loss: str, weight: tuple[float, float] | None) -> float | None:
    """The share of Dice in BCE-Dice(a:b), b / (a + b); 1 for Dice, 0 for BCE, None for others."""
    if loss == "bce_dice":
        return weight[1] / sum(weight)
    return {"dice": 1.0, "bce": 0.0}.get(loss)


def tversky_index(soft_iou, both: float):
    """The Tversky index with alpha = beta = c, from the soft IoU J: J / (J + c (1 - J)).

    J = TP / (TP + FP + FN) of the same soft counts. The index depends on J alone, so equal weights
    can't trade false alarms for misses (paper B, Fig. 1). c = 1/2 is the Dice score.
    """
    return soft_iou / (soft_iou + both * (1 - soft_iou))
