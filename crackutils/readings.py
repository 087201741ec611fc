"""What constant predictions score in each definition of IoU, and a network whose labels are read
wrongly: which mistakes can explain a published figure."""

import numpy as np
import pandas as pd

from crackutils import metrics
from crackutils.road_scores import at_half
from crackutils.tables import Source

MIRRORED = "its mirror image, as if trained so"


def readings(source: Source) -> pd.DataFrame:
    """Every variant of IoU of one network (BCE's or cross entropy's, first seed) and of constant
    predictions, against the labels and against labels read wrongly; of three classes the likeliest
    counts, without a threshold."""
    loss = "cross_entropy" if source.protocol.classes == "three" else "bce"
    seeds = source.counts(loss, None)
    if not seeds:
        return pd.DataFrame()
    confusion = metrics.confusions(at_half(seeds)[0])
    classes = confusion.shape[-1]
    lines = [(f"everything is {name}", "right", constant(confusion, column))
             for column, name in enumerate(("background", "direct area" if classes == 3 else
                                            "road", "alternative area")[:classes])]
    # a row of a confusion is a label: reading labels wrongly exchanges rows
    orders = {"right": (0, 1), "inverted": (1, 0)} if classes == 2 else {
        "right": (0, 1, 2), "direct and alternative swapped": (0, 2, 1),
        "legacy ids read as today's": (2, 0, 1), "today's ids read as legacy": (1, 2, 0)}
    lines += [("the network", title, confusion[:, list(order)]) for title, order in orders.items()]
    if classes == 2:
        lines.append((MIRRORED, "inverted", confusion[:, ::-1, ::-1]))
    return pd.DataFrame([{"prediction": prediction, "labels": labels, **{
        name: float(value[0]) for name, value in metrics.iou_variants(
            metrics.of_confusions(changed)).items()}} for prediction, labels, changed in lines]) \
        .round(3)


def constant(confusion: np.ndarray, column: int) -> np.ndarray:
    """The confusions of a prediction that says one class everywhere."""
    result = np.zeros_like(confusion)
    result[..., column] = confusion.sum(axis=-1)
    return result
