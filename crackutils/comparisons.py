"""What the papers' tables leave out: each loss at its own threshold, and by the crack's width."""

import numpy as np
import pandas as pd

from crackutils import metrics, published
from crackutils.tables import FIGURES, Source, none_if_missing, published_weights, summary


def best_thresholds(source: Source) -> pd.DataFrame:
    """Each loss and weight at its own validation-chosen threshold: figures on the test part."""
    rows = []
    for loss in ("mse", "bce", "balanced_step", "squared_balanced_step", "step", "relu"):
        for weight in published_weights(loss):
            values = []
            for counts in source.counts(loss, weight):
                threshold = metrics.best_threshold(counts, "validation")
                scores = metrics.scores(counts, "test")
                index = metrics.at_threshold(counts, threshold)
                values.append([threshold, *(scores[figure][index] for figure in FIGURES)])
            rows.append({"loss": loss, "weight": weight,
                         **summary(("threshold", *FIGURES), values)})
    return pd.DataFrame(rows).round(3)


def recall_table(source: Source) -> pd.DataFrame:
    """Recall by crack width of Table 8's rows and BCE, at validation-chosen thresholds."""
    rows = []
    for row in published.table(8).to_dict("records") + [{"loss": "bce", "weight": None}]:
        weight = none_if_missing(row["weight"])
        for counts in source.counts(row["loss"], weight):
            if "test_true_positives_by_width" not in counts:
                continue
            index = metrics.at_threshold(counts, metrics.best_threshold(counts, "validation"))
            recalls = metrics.recall_by_width(counts, "test")[:, index]
            precision = metrics.scores(counts, "test")["precision"][index]
            rows.append({"loss": row["loss"], "weight": weight, "precision": precision,
                         **dict(zip(width_labels(counts["width_edges"]), recalls))})
    return pd.DataFrame(rows).round(3)


def width_labels(edges: np.ndarray) -> list[str]:
    """`< 1 px`, `1-2 px`, ... of the width classes between the edges."""
    middle = [f"{low:g}-{high:g} px" for low, high in zip(edges, edges[1:])]
    return [f"< {edges[0]:g} px", *middle, f">= {edges[-1]:g} px"]
