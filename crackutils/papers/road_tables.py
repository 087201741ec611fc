"""What constant predictions score in each definition of IoU, and a network whose labels are read
wrongly: which mistakes can explain a published figure."""

import json
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from crackutils import metrics
from crackutils.losses import label
from crackutils.papers import bootstrap, published
from crackutils.papers.crack_tables import Source, arrange, none_if_missing
from crackutils.protocol import Protocol
from crackutils.records import read_json

IOUS = ("iou", "iou_mean_of_images", "iou_mean_of_classes", "iou_mean_without_background",
        "iou_official")
THRESHOLD = 0.5  # paper B states none


def collapsed(counts: dict[str, np.ndarray]) -> bool:
    """Whether a run calls everything road, or nothing: all but a thousandth of the pixels of the
    validation part, so that the test part does not choose what it is scored on."""
    images = metrics.images_at(counts, "validation", THRESHOLD)
    claimed = (images["true_positives"] + images["false_positives"]).sum() / images["pixels"].sum()
    return not 0.001 < claimed < 0.999


def learned(seeds: list[dict]) -> list[dict]:
    """The counts of the runs that did not collapse; of all, if each of them did."""
    return [counts for counts in seeds if not collapsed(counts)] or seeds


def at_half(seeds: list[dict]) -> list[dict]:
    """Each seed's test counts by image at threshold .5."""
    return [metrics.images_at(counts, "test", THRESHOLD) for counts in seeds]


def variant_draws(seeds: list[dict]) -> dict[str, np.ndarray]:
    """Bootstrap draws of each variant of IoU: the same frames and seeds for every loss, so that
    draws of two losses may be subtracted. `ValueError` unless all were tested on the same frames.
    """
    check_frames(seeds)
    weights = bootstrap.resamples(seeds[0]["test_names"].tolist())
    drawn = [metrics.iou_variants(images, weights) for images in at_half(seeds)]
    return {name: bootstrap.over_seeds(np.stack([one[name] for one in drawn])) for name in IOUS}


def check_frames(seeds: list[dict]) -> None:
    """`ValueError` unless all were tested on the same frames, in the same order."""
    if len({tuple(counts["test_names"].tolist()) for counts in seeds}) > 1:
        raise ValueError("These records were tested on different frames and can't be compared: "
                         "expected runs on one version of the data set; remove the others' "
                         "records, or keep them in another folder of runs.")


def pooled_iou(seeds: list[dict], frames=slice(None)) -> float:
    """The pooled IoU of the positive class over the chosen test frames, the mean over seeds."""
    return float(np.mean([metrics.iou(*(images[name][frames].sum() for name in (
        "true_positives", "false_positives", "false_negatives"))) for images in at_half(seeds)]))


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
    every, found = source.counts(loss, weight), source.records(loss, weight)
    if not every:
        return {**dict.fromkeys(IOUS, np.nan), "source": ""}
    seeds = learned(every)
    result = {"source": " ".join(name for name, _ in found), "seeds": len(every)}
    variants = [metrics.iou_variants(one) for one in at_half(seeds)]
    for name, draws in variant_draws(seeds).items():
        result[name] = float(np.mean([one[name] for one in variants]))
        limits = np.clip(bootstrap.interval(draws), 0, 1)
        result[f"{name}_low"], result[f"{name}_high"] = limits
    chosen = [metrics.best_threshold(counts, "validation") for counts in seeds]
    selected = [metrics.scores(counts, "test")["iou"][metrics.at_threshold(counts, threshold)]
                for counts, threshold in zip(seeds, chosen)]
    started = {"ImageNet" if read_json(folder / "environment.json").get("pretrained_encoder")
               else "random" for _, folder in found}
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
                  bootstrap.sequences(seeds[0]["test_names"].tolist()).items()
                  if len(frames) >= bootstrap.BLOCK}
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
    random ones (`models.with_available_weights`)."""
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
