"""Made-up records of paper B's runs, from which tables and verdicts are tested."""

import numpy as np
import pandas as pd

from crackutils import records
from crackutils.evaluation import THRESHOLDS
from crackutils.papers import road_tables, verdicts
from crackutils.papers.source import Source
from crackutils.protocol import preset

ROADS = preset("smoke", "roads", {"precision": "float32"})
NAMES = [f"v_{frame:03d}" for frame in range(62)] + [f"x{number}y" for number in range(5)]
HISTORY = pd.DataFrame({"step": [1, 2], "loss": [0.5, 0.4], "validation_iou": [0.1, 0.2]})


def made_up(quality: float, seed: int, classes: int = 2, names=NAMES) -> dict[str, np.ndarray]:
    """Counts of pictures of 1,000 pixels whose prediction is right with this chance."""
    generator = np.random.default_rng(seed)
    arrays = {"thresholds": THRESHOLDS}
    for part in ("validation", "test"):
        positives = generator.integers(200, 400, len(names))[:, None].repeat(len(THRESHOLDS), 1)
        found = generator.binomial(positives, quality)
        alarms = generator.binomial(1000 - positives, 1 - quality)
        arrays |= {f"{part}_names": np.array(names), f"{part}_pixels": np.full(len(names), 1000),
                   f"{part}_true_positives": found, f"{part}_false_positives": alarms,
                   f"{part}_false_negatives": positives - found}
        if classes == 3:
            arrays[f"{part}_confusion"] = generator.integers(1, 99, (len(names), 3, 3))
    return arrays


def save(root, run, counts, pretrained=False):
    records.save(records.record_folder(root, run, "roads", "f"), run, "roads", "f",
                 {"pretrained_encoder": pretrained}, HISTORY, counts, None, {})


def write(root, loss, weight, seed=0, quality=0.9, pretrained=False, protocol=ROADS, classes=2,
          names=NAMES):
    counts = made_up(quality, seed + round(1e7 * quality), classes, names)
    save(root, protocol.with_run(loss, weight, seed), counts, pretrained)
    return counts


def write_collapsed(root, loss, seed):
    """A run that predicts everything as road."""
    everything = made_up(0.9, seed)
    for part in ("validation", "test"):
        positives = everything[f"{part}_true_positives"] + everything[f"{part}_false_negatives"]
        everything |= {f"{part}_true_positives": positives,
                       f"{part}_false_positives": 1000 - positives,
                       f"{part}_false_negatives": 0 * positives}
    save(root, ROADS.with_run(loss, None, seed), everything)


def source_of(root, seeds=(0,), protocol=ROADS):
    return Source(protocol, "roads", {"runs": root}, seeds)


def write_all(root, seeds, lead=0.0):
    """All of the paper's rows; Tversky 0.3 is better by `lead`."""
    for place, row in enumerate(road_tables.paper_rows(ROADS)):
        for seed in seeds:  # as good as equal, and other pictures
            write(root, row.loss, row.weight, seed,
                  0.9 + lead * (row.label == verdicts.TVERSKY_03) + 1e-6 * place)
