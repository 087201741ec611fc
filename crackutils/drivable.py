"""Paper B's table and what it leaves out: which loss, for which IoU, at which threshold."""

import json
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from crackutils import intervals, metrics, published, runs
from crackutils.loss_names import label
from crackutils.protocol import Protocol
from crackutils.road_scores import (
    IOUS,
    at_half,
    check_frames,
    collapsed,
    learned,
    pooled_iou,
    variant_draws,
)
from crackutils.tables import Source, arrange, none_if_missing

ADDED = (("tversky", (0.3, 0.7)), ("tversky", (0.7, 0.3)), ("jaccard", None), ("focal", 2))


class Choice(NamedTuple):
    """What the paper leaves open about a loss, the seed it is tried with, and the other choice:
    fields of the protocol and a weight."""

    title: str
    loss: str
    weight: tuple[float, float] | None
    seed: int
    fields: dict
    other_weight: tuple[float, float] | None


OPEN = (Choice("Dice: smoothing 0, or 1", "dice", None, 0, {"smoothing": 1.0}, None),
        Choice("Dice: soft counts of the batch, or of each image", "dice", None, 0,
               {"pooling": "image"}, None),
        Choice("BCE-Dice (1:1): a sum, or normalised (0.5:0.5)", "bce_dice", (1, 1), 0, {},
               (0.5, 0.5)),
        Choice("Dice, another seed: the preset's learning rate, or 1e-4", "dice", None, 1,
               {"learning_rate": 1e-4}, None))


class Row(NamedTuple):
    """A row of the table: how it is called, what was trained, and the paper's IoU, if any."""

    label: str
    loss: str
    weight: tuple[float, float] | float | None
    published: float


def paper_rows(protocol: Protocol) -> list[Row]:
    """Paper B's seven rows in its order; of three classes, cross entropy stands for BCE."""
    rows = [Row(row["label"], row["loss"], none_if_missing(row["weight"]), row["iou"])
            for row in published.iou_table().to_dict("records")]
    if protocol.classes != "three":
        return rows
    other = {"loss": "cross_entropy", "label": "Cross entropy (for BCE)"}
    return [row._replace(**other) if row.loss == "bce" else row for row in rows]


def to_train(protocol: Protocol, loss: str, weights: list) -> list[tuple]:
    """(loss, weight) of the runs asked for: `""` the paper's seven; a loss with these weights, or
    with those of the paper's and the added rows, or without any."""
    rows = paper_rows(protocol)
    if not loss and weights:
        raise ValueError("weights need a loss: add -p loss tversky, or another.")
    if not loss:
        return [(row.loss, row.weight) for row in rows]
    if weights:
        return [(loss, weight) for weight in weights]
    known = [(row.loss, row.weight) for row in rows if row.loss == loss] \
        or [run for run in ADDED if run[0] == loss]
    return known or [(loss, None)]


def rows_of(source: Source) -> list[Row]:
    """Paper B's rows, and whatever else was trained with the same protocol."""
    rows = paper_rows(source.protocol)
    listed = {(row.loss, row.weight) for row in rows}
    return rows + [Row(label(*run), *run, np.nan) for run in source.trained() if run not in listed]


def iou_table(source: Source) -> pd.DataFrame:
    """Paper B's table: `loss, weight, label, iou, iou_published` and the other variants of IoU,
    on the test part at threshold .5, as fractions, the mean over the runs that learned.

    `seeds` is how many runs there are, `of_seeds` their own `iou` in the seeds' order ("–": no
    run), `collapsed` how many of them call all or nothing road: those are counted, not averaged,
    since between learning and not learning no mean means anything (where all have, they are shown).
    `..._low` and `..._high` are 95 % intervals over the test frames, drawn in blocks, and over the
    seeds where several learned. `threshold_selected` has the highest IoU on the validation part
    (each seed its own, here the mean), `iou_selected` is the test part's there. `encoder` says what
    it started from. Rows without a record are empty; runs that the paper lacks come last.
    `ValueError` if they were tested on different frames.
    """
    rows, table = rows_of(source), []
    check_frames([counts for row in rows for counts in source.counts(row.loss, row.weight)])
    for row in rows:
        shown = json.dumps(list(row.weight)) if isinstance(row.weight, tuple) else row.weight
        table.append({"loss": row.loss, "weight": shown, "label": row.label,
                      "iou_published": row.published, **measured(source, row.loss, row.weight)})
    return arrange(pd.DataFrame(table), ["loss", "weight", "label"], IOUS)


def measured(source: Source, loss: str, weight) -> dict:
    """What the records of a loss say; empty without one."""
    every, records = source.counts(loss, weight), source.records(loss, weight)
    if not every:
        return {**dict.fromkeys(IOUS, np.nan), "source": ""}
    seeds = learned(every)
    result = {"source": " ".join(name for name, _ in records), "seeds": len(every)}
    variants = [metrics.iou_variants(one) for one in at_half(seeds)]
    for name, draws in variant_draws(seeds).items():
        result[name] = float(np.mean([one[name] for one in variants]))
        limits = np.clip(intervals.interval(draws), 0, 1)
        result[f"{name}_low"], result[f"{name}_high"] = limits
    chosen = [metrics.best_threshold(counts, "validation") for counts in seeds]
    selected = [metrics.scores(counts, "test")["iou"][metrics.at_threshold(counts, threshold)]
                for counts, threshold in zip(seeds, chosen)]
    started = {"ImageNet" if runs.read_json(folder / "environment.json").get("pretrained_encoder")
               else "random" for _, folder in records}
    return result | {"threshold_selected": np.mean(chosen), "iou_selected": np.mean(selected),
                     "of_seeds": of_seeds(source, loss, weight),
                     "collapsed": sum(map(collapsed, every)),
                     "encoder": " and ".join(sorted(started))}


def of_seeds(source: Source, loss: str, weight) -> str:
    """The pooled IoU of each seed at threshold .5, "–" for one without a run."""
    found = [replace(source, seeds=(seed,)).counts(loss, weight) for seed in source.seeds]
    return " ".join(f"{pooled_iou(one):.3f}" if one else "–" for one in found)


def encoder_line(table: pd.DataFrame) -> str:
    """What to say above every table: which weights the encoders started from."""
    started = sorted(set(table.get("encoder", pd.Series(dtype=str)).dropna()))
    if not started:
        return "No run yet: every row is empty."
    if started == ["ImageNet"]:
        return "Every encoder started from ImageNet weights."
    return ("ENCODERS FROM RANDOM WEIGHTS, not ImageNet's: figures are lower than with them, and "
            "losses may rank differently." if started == ["random"] else
            f"Encoders started from {', '.join(started)} weights: see the column encoder.")


def by_threshold(table: pd.DataFrame) -> pd.DataFrame:
    """IoU at .5 and at the validation-chosen threshold."""
    names = {"label": "label", "iou": "iou at .5", "threshold_selected": "own threshold",
             "iou_selected": "iou at own"}
    return table.reindex(columns=list(names)).rename(columns=names).round(3)


def by_sequence(source: Source) -> pd.DataFrame:
    """Pooled IoU at .5 of each video of the test part, 30 frames or more, the mean over the runs
    that learned. Empty where frames stand alone."""
    found = {row.label: source.counts(row.loss, row.weight) for row in rows_of(source)}
    check_frames(sum(found.values(), []))
    lines = []
    for label_of_row, seeds in found.items():
        if not seeds:
            continue
        videos = {f"{name} ({len(frames)} frames)": frames for name, frames in
                  intervals.sequences(seeds[0]["test_names"].tolist()).items()
                  if len(frames) >= intervals.BLOCK}
        lines.append({"label": label_of_row, "seeds": len(seeds),
                      "collapsed": sum(map(collapsed, seeds)),
                      **{name: round(pooled_iou(learned(seeds), frames), 3)
                         for name, frames in videos.items()}})
    table = pd.DataFrame(lines)
    return table if table.shape[1] > 3 else pd.DataFrame()


def by_classes(source: Source) -> pd.DataFrame:
    """BCE trained for direct and alternative area together, for direct area alone, and cross
    entropy for three classes: every variant of IoU, each against the labels it was trained for."""
    titles = {"binary": "binary: direct + alternative", "direct": "binary: direct only",
              "three": "three classes"}
    lines = []
    for classes, title in titles.items():
        other = of_classes(source, classes)
        found = measured(other, other.protocol.loss, None)
        lines.append({"trained for": title, **{name: found[name] for name in IOUS}})
    return pd.DataFrame(lines).round(3)


def by_register(source: Source) -> pd.DataFrame:
    """What the paper leaves open about its losses: IoU of one run with the default choice and of
    one with the other; without those that have no record."""
    lines = []
    for one in OPEN:
        of_seed = replace(source, seeds=(one.seed,))
        other = replace(of_seed, protocol=replace(source.protocol, **one.fields))
        found = [of_seed.counts(one.loss, one.weight), other.counts(one.loss, one.other_weight)]
        if all(found):
            scores = [pooled_iou(counts) for counts in found]
            lines.append({"open": one.title, "seed": one.seed, "default": scores[0],
                          "other": scores[1]})
    return pd.DataFrame(lines).round(3)


def of_classes(source: Source, classes: str) -> Source:
    """The same records' place for networks of other classes, their loss BCE or cross entropy."""
    three = {"loss": "cross_entropy", "output": "sigmoid"}  # three have no clipped output
    fields = three if classes == "three" else {"loss": "bce"}
    return replace(source, protocol=replace(source.protocol, classes=classes, weight=None,
                                            **fields))


def as_trained(source: Source) -> Source:
    """The same source; where ImageNet's weights are asked for and no run has them, the runs from
    random ones (`models.with_encoder_at_hand`)."""
    if source.protocol.encoder_weights is None or any(
            source.records(row.loss, row.weight) for row in paper_rows(source.protocol)):
        return source
    return replace(source, protocol=replace(source.protocol, encoder_weights=None))


def everything_is_road(source: Source) -> float:
    """The IoU of a prediction that calls every pixel drivable: the share of drivable pixels."""
    for row in rows_of(source):
        for counts in source.counts(row.loss, row.weight):
            total = metrics.pooled(counts, "test")
            positives = total["true_positives"][0] + total["false_negatives"][0]
            return float(positives / total["pixels"])
    return float("nan")
