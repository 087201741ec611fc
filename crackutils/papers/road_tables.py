"""Paper B's IoU table computed from records, and the questions around it: open choices, classes,
videos, definitions of IoU, and whether a wrong label convention could explain a figure.

A run has *collapsed* if it predicts everything or nothing as road; all others have *converged*.
"""

import json
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from crackutils import metrics
from crackutils.losses import label
from crackutils.papers import bootstrap, published
from crackutils.papers.crack_tables import in_column_order, seeds_used
from crackutils.papers.source import Counts, Source, warn_of_mixed_environments
from crackutils.protocol import Protocol
from crackutils.records import read_json

IOUS = ("iou", "iou_mean_of_images", "iou_mean_of_classes", "iou_mean_without_background",
        "iou_official")  # the definitions of `metrics.iou_variants`
THRESHOLD = 0.5  # paper B states none
NO_RUN = "–"  # stands for a missing seed in `iou_of_each_seed`


class Row(NamedTuple):
    """A row of the IoU table: its label, loss and weight, and the paper's IoU (NaN if added)."""

    label: str
    loss: str
    weight: tuple[float, float] | float | None
    published: float


ADDED_RUNS = (("tversky", (0.3, 0.7)), ("tversky", (0.7, 0.3)), ("jaccard", None), ("focal", 2))


def paper_rows(protocol: Protocol) -> list[Row]:
    """Paper B's seven rows in its order; for three classes, cross entropy stands for BCE."""
    rows = []
    for row in published.iou_table().itertuples():
        rows.append(Row(row.label, row.loss, row.weight, row.iou))
        if protocol.classes == "three" and row.loss == "bce":
            rows[-1] = Row("Cross entropy (for BCE)", "cross_entropy", None, row.iou)
    return rows


def table_rows(source: Source) -> list[Row]:
    """Paper B's rows, then one for every other loss and weight that the source has a record of."""
    rows = paper_rows(source.protocol)
    listed = {(row.loss, row.weight) for row in rows}
    return rows + [Row(label(*run), *run, np.nan) for run in source.trained() if run not in listed]


def runs_to_train(protocol: Protocol, loss: str, weights: list) -> list[tuple]:
    """(loss, weight) of the runs that notebook 07's parameters ask for: the paper's seven without a
    loss, else the loss with each of the weights. Without weights it has those of the paper, else
    those of `ADDED_RUNS`, else none. `ValueError` for weights without a loss."""
    runs = [(row.loss, row.weight) for row in paper_rows(protocol)]
    if not loss and weights:
        raise ValueError("weights need a loss: add -p loss tversky, or another.")
    if not loss:
        return runs
    if weights:
        return [(loss, weight) for weight in weights]
    of_paper, added = ([run for run in group if run[0] == loss] for group in (runs, ADDED_RUNS))
    return of_paper or added or [(loss, None)]


def collapsed(counts: Counts) -> bool:
    """Whether a run predicts more than 99.9 % or less than 0.1 % of the pixels as road. It is
    decided on the validation part, so that the test part has no say in which runs are used."""
    images = metrics.images_at(counts, "validation", THRESHOLD)
    positive = images["true_positives"].sum() + images["false_positives"].sum()
    return not 0.001 < positive / images["pixels"].sum() < 0.999


def converged_or_all(runs: list[Counts]) -> list[Counts]:
    """The runs that converged; all of them if none did."""
    return [counts for counts in runs if not collapsed(counts)] or runs


def check_same_frames(runs: list[Counts]) -> None:
    """`ValueError` unless all runs were tested on the same frames, in the same order."""
    if len({tuple(counts["test_names"].tolist()) for counts in runs}) > 1:
        raise ValueError("These records were tested on different frames and can't be compared: "
                         "expected runs on one version of the data set; remove the others' "
                         "records, or keep them in another folder of runs.")


def mean_ious(runs: list[Counts]) -> dict[str, float]:
    """The IoU of the test part at threshold .5 in each definition, the mean over the runs."""
    variants = [metrics.iou_variants(metrics.images_at(counts, "test", THRESHOLD))
                for counts in runs]
    return {name: float(np.mean([variant[name] for variant in variants])) for name in IOUS}


def pooled_iou(counts: Counts, frames=slice(None)) -> float:
    """A run's IoU of the positive class at threshold .5, pooled over these test frames."""
    images = metrics.images_at(counts, "test", THRESHOLD)
    return float(metrics.iou(*(images[name][frames].sum() for name in (
        "true_positives", "false_positives", "false_negatives"))))


def iou_draws(runs: list[Counts]) -> dict[str, np.ndarray]:
    """Bootstrap draws of the mean IoU over the runs, in each definition.

    The same frames and seeds are drawn for every loss, so draws of two losses may be subtracted.
    NaN if the frames can't be resampled (one short video): then no interval can be given, however
    many seeds there are. `ValueError` unless all runs were tested on the same frames.
    """
    check_same_frames(runs)
    weights = bootstrap.frame_weights(runs[0]["test_names"].tolist())
    if weights is None:
        return {name: np.array([np.nan]) for name in IOUS}
    variants = [metrics.iou_variants(metrics.images_at(counts, "test", THRESHOLD), weights)
                for counts in runs]
    return {name: bootstrap.draws_over_seeds(np.stack([variant[name] for variant in variants]))
            for name in IOUS}


def iou_table(source: Source) -> pd.DataFrame:
    """Paper B's table: `loss, weight, label, iou, iou_published` and the other definitions of IoU.

    IoU is a fraction: that of the test part at threshold .5, averaged over the runs that converged.
    A mean over converged and collapsed runs would describe neither; only if all collapsed, it is
    over all. Rows without a record are empty; runs that are not in the paper come last.

    `..._low` and `..._high` limit the 95 % interval over the test frames, and over the seeds from
    two converged runs on. `seeds` and `missing_seeds` are those of `crack_tables.seeds_used`,
    `collapsed` says how many of these runs collapsed, `iou_of_each_seed` has the `iou` of each.
    `threshold_selected` and `iou_selected` are the means over the runs, each at its
    validation-chosen threshold; `encoder` is what the encoders started from. `ValueError` if the
    runs were tested on different frames.
    """
    rows = table_rows(source)
    counts_of_rows = [source.counts(row.loss, row.weight) for row in rows]
    check_same_frames([counts for seeds in counts_of_rows for counts in seeds.values()])
    warn_of_mixed_environments(source.folders((row.loss, row.weight) for row in rows))
    lines = []
    for row, counts_of_seeds in zip(rows, counts_of_rows):
        is_pair = isinstance(row.weight, tuple)
        lines.append({"loss": row.loss, "weight": json.dumps(row.weight) if is_pair else row.weight,
                      "label": row.label, "iou_published": row.published,
                      **iou_row(source, row.loss, row.weight, counts_of_seeds)})
    return in_column_order(pd.DataFrame(lines), ["loss", "weight", "label"], IOUS)


def iou_row(source: Source, loss: str, weight, counts_of_seeds: dict[int, Counts]) -> dict:
    """The measured columns of a row of `iou_table`, from the counts of its seeds."""
    line = {"source": "", **seeds_used(source, counts_of_seeds, source.failed(loss, weight))}
    if not counts_of_seeds:
        return {**dict.fromkeys(IOUS, np.nan), **line}
    places, starts = [], set()
    for place, folder in source.records(loss, weight).values():
        places.append(place)
        environment = read_json(folder / "environment.json")
        starts.add("ImageNet" if environment.get("pretrained_encoder") else "random")
    line |= {"source": " ".join(places), "encoder": " and ".join(sorted(starts))}
    line["collapsed"] = sum(map(collapsed, counts_of_seeds.values()))
    line["iou_of_each_seed"] = " ".join(
        f"{pooled_iou(counts_of_seeds[seed]):.3f}" if seed in counts_of_seeds else NO_RUN
        for seed in source.seeds)
    runs = converged_or_all(list(counts_of_seeds.values()))
    line |= mean_ious(runs)
    for name, draws in iou_draws(runs).items():
        line[f"{name}_low"], line[f"{name}_high"] = np.clip(bootstrap.interval(draws), 0, 1)
    selected = [metrics.at_validation_threshold(counts) for counts in runs]
    line["threshold_selected"] = np.mean([threshold for threshold, _ in selected])
    line["iou_selected"] = np.mean([scores["iou"] for _, scores in selected])
    return line


def encoder_sentence(table: pd.DataFrame) -> str:
    """The sentence to print above every table: which weights the encoders started from."""
    starts = sorted(set(table.get("encoder", pd.Series(dtype=str)).dropna()))
    if not starts:
        return "No run yet: every row is empty."
    if starts == ["ImageNet"]:
        return "Every encoder started from ImageNet weights."
    if starts == ["random"]:
        return ("The encoders start from random weights, not from ImageNet's: figures are lower "
                "than with them, and losses may rank differently.")
    return f"Encoders started from {', '.join(starts)} weights: see the column encoder."


def by_threshold(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of `iou_table` for IoU at .5 and at the threshold chosen on validation."""
    names = {"label": "label", "iou": "iou at .5", "threshold_selected": "validation's threshold",
             "iou_selected": "iou there", "seeds": "seeds", "missing_seeds": "missing seeds"}
    return table.reindex(columns=list(names)).rename(columns=names).round(3)


# Related questions

def by_sequence(source: Source) -> pd.DataFrame:
    """The pooled IoU at .5 of each test video of 30 frames or more, mean over converged runs. Empty
    where no video is that long. `ValueError` for runs on different frames."""
    lines, every_run, rows = [], [], table_rows(source)
    for row in rows:
        counts_of_seeds = source.counts(row.loss, row.weight)
        if not counts_of_seeds:
            continue
        every_run += counts_of_seeds.values()
        line = {"label": row.label, **seeds_used(source, counts_of_seeds),
                "collapsed": sum(map(collapsed, counts_of_seeds.values()))}
        used = converged_or_all(list(counts_of_seeds.values()))
        for video, frames in bootstrap.videos(used[0]["test_names"].tolist()).items():
            if len(frames) >= bootstrap.BLOCK:
                scores = [pooled_iou(counts, frames) for counts in used]
                line[f"{video} ({len(frames)} frames)"] = round(float(np.mean(scores)), 3)
        lines.append(line)
    check_same_frames(every_run)
    warn_of_mixed_environments(source.folders((row.loss, row.weight) for row in rows))
    table = pd.DataFrame(lines)
    return table if table.shape[1] > 4 else pd.DataFrame()


def by_classes(source: Source) -> pd.DataFrame:
    """Every definition of IoU for networks that were trained for direct and alternative area as one
    class, for direct area alone (both BCE) and for three classes (cross entropy). Each is scored
    against the labels it was trained for."""
    titles = {"binary": "binary: direct + alternative", "direct": "binary: direct only",
              "three": "three classes"}
    lines, folders = [], []
    for classes, title in titles.items():
        other = with_classes(source, classes)
        run = other.protocol.loss, None
        folders += other.folders([run])
        lines.append({"trained for": title, **iou_row(other, *run, other.counts(*run))})
    warn_of_mixed_environments(folders)
    return pd.DataFrame(lines)[["trained for", *IOUS, "seeds", "missing_seeds"]].round(3)


class OpenChoice(NamedTuple):
    """Something that paper B leaves open about a loss. The alternative differs from our default in
    `fields` of the protocol or in the weight."""

    title: str
    loss: str
    weight: tuple[float, float] | None
    seed: int
    fields: dict
    other_weight: tuple[float, float] | None


OPEN_CHOICES = (
    OpenChoice("Dice: smoothing 0, or 1", "dice", None, 0, {"smoothing": 1.0}, None),
    OpenChoice("Dice: soft counts of the batch, or of each image", "dice", None, 0,
               {"pooling": "image"}, None),
    OpenChoice("BCE-Dice (1:1): a sum, or normalised (0.5:0.5)", "bce_dice", (1, 1), 0, {},
               (0.5, 0.5)),
    OpenChoice("Dice, another seed: the preset's learning rate, or 1e-4", "dice", None, 1,
               {"learning_rate": 1e-4}, None))


def by_open_choice(source: Source) -> pd.DataFrame:
    """The IoU of one run with the default of each open choice, and of one with the alternative.
    Choices are left out if one of the two runs has no record."""
    lines, folders = [], []
    for choice in OPEN_CHOICES:
        default = replace(source, seeds=(choice.seed,))
        alternative = replace(default, protocol=replace(source.protocol, **choice.fields))
        first = default.counts(choice.loss, choice.weight)
        second = alternative.counts(choice.loss, choice.other_weight)
        if first and second:
            lines.append({"open choice": choice.title, "seed": choice.seed,
                          "default": pooled_iou(first[choice.seed]),
                          "alternative": pooled_iou(second[choice.seed])})
            folders += default.folders([(choice.loss, choice.weight)])
            folders += alternative.folders([(choice.loss, choice.other_weight)])
    warn_of_mixed_environments(folders)
    return pd.DataFrame(lines).round(3)


def everything_is_road(source: Source) -> float:
    """The IoU of calling every pixel road: the share of road pixels. NaN without a record."""
    for row in table_rows(source):
        for counts in source.counts(row.loss, row.weight).values():
            total = metrics.pooled(counts, "test")
            positives = total["true_positives"][0] + total["false_negatives"][0]
            return float(positives / total["pixels"])
    return np.nan


INVERTED_NETWORK = "the network, inverted"
# The number in place i is the correct label of the pixels that the convention reads as label i.
TWO_CLASSES = {"correct": (0, 1), "inverted": (1, 0)}
THREE_CLASSES = {"correct": (0, 1, 2), "direct and alternative swapped": (0, 2, 1),
                 "legacy ids read as current ids": (2, 0, 1),
                 "current ids read as legacy ids": (1, 2, 0)}


def by_label_convention(source: Source) -> pd.DataFrame:
    """Which mistake with the labels could explain a published IoU? The table has every definition
    of IoU for constant predictions, and for one network with labels read by each convention.

    The network is that of BCE (for three classes, of cross entropy), the first seed's. With two
    classes it is also scored with prediction and labels inverted, as if it had been trained so;
    with three its likeliest class counts, without a threshold. Empty without a record.
    """
    three = source.protocol.classes == "three"
    counts_of_seeds = source.counts("cross_entropy" if three else "bce", None)
    if not counts_of_seeds:
        return pd.DataFrame()
    seed, counts = next(iter(counts_of_seeds.items()))
    # images x labels x predictions
    confusions = metrics.confusions(metrics.images_at(counts, "test", THRESHOLD))
    classes = ("background", "direct area", "alternative area") if three else ("background", "road")
    cases = []
    for column, name in enumerate(classes):
        constant = np.zeros_like(confusions)
        constant[..., column] = confusions.sum(axis=-1)
        cases.append((f"everything is {name}", "correct", constant))
    for convention, order in (THREE_CLASSES if three else TWO_CLASSES).items():
        cases.append(("the network", convention, confusions[:, list(order)]))
    if not three:
        cases.append((INVERTED_NETWORK, "inverted", confusions[:, ::-1, ::-1]))
    lines = []
    for prediction, convention, of_case in cases:
        scores = metrics.iou_variants(metrics.of_confusions(of_case))
        lines.append({"prediction": prediction, "label_convention": convention,
                      **{name: float(score[0]) for name, score in scores.items()}, "seed": seed})
    return pd.DataFrame(lines).round(3)


def with_classes(source: Source, classes: str) -> Source:
    """The source of networks for other classes: with BCE, for three classes with cross entropy."""
    fields = {"classes": classes, "weight": None, "loss": "bce"}
    if classes == "three":
        fields |= {"loss": "cross_entropy", "output": "sigmoid"}  # a clipped output has one class
    return replace(source, protocol=replace(source.protocol, **fields))


def with_encoder_as_trained(source: Source) -> Source:
    """The source of the runs whose encoders started from random weights, if ImageNet's were wanted
    but not available in training (`models.with_available_weights`); else the same source."""
    if source.protocol.encoder_weights is None or any(
            source.records(row.loss, row.weight) for row in paper_rows(source.protocol)):
        return source
    return replace(source, protocol=replace(source.protocol, encoder_weights=None))
