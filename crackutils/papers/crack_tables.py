"""Paper A's tables computed from records, the paper's figures beside ours, and what they leave out:
every loss at its own threshold, and recall by the width of the crack."""

from collections.abc import Iterable
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from crackutils import files, metrics, records
from crackutils.losses import WEIGHTED, check_loss, label
from crackutils.papers import published
from crackutils.papers.source import Counts, Source, warn_of_mixed_environments

FIGURES = ("precision", "recall", "accuracy", "f1_score")
TITLES = {"f1_score": "F1", "iou": "IoU"}  # of other figures, the column's own name
LONG_TEXT = 25  # characters, of a column that is aligned to the left
UNBROKEN_TEXT = 35  # characters at most, of a name that stays on one line
WIDE_TABLE = 8  # columns, more than which leave too little room for that
BCE_THRESHOLD = 0.5  # of the added row of Table 8: paper A has no BCE
CRACK_LOSSES = ("mse", "bce", *WEIGHTED)


def crack_table(number: int, source: Source) -> pd.DataFrame:
    """Table 1 or 4 to 8 of paper A: `loss, weight, threshold` and our four figures.

    The figures are pooled over the test part, at the paper's threshold; they are the mean over the
    seeds. Beside each stand the paper's (`..._published`) and, from two seeds on, the limits of the
    95 % t-interval of the mean (`..._low`, `..._high`). `source` names the records; `seeds` and
    `missing_seeds` are explained in `seeds_used`. Table 8 has BCE as an added row, and what the
    validation part would have chosen (`..._selected`, see `selected_on_validation`).
    """
    rows = published.table(number)
    if number == 8:
        rows = pd.concat([rows, pd.DataFrame([{"loss": "bce", "threshold": BCE_THRESHOLD}])])
    rows = rows.rename(columns={figure: f"{figure}_published" for figure in FIGURES})
    lines, runs = [], []
    for row in rows.to_dict("records"):
        run = row["loss"], none_if_missing(row["weight"])
        runs.append(run)
        counts_of_seeds, values = source.counts(*run), []
        for counts in counts_of_seeds.values():
            index = metrics.at_threshold(counts, row["threshold"])
            scores = metrics.scores(counts, "test")
            values.append([scores[figure][index] for figure in FIGURES])
        places = [place for place, _ in source.records(*run).values()]
        row |= {"weight": run[1], **mean_and_interval(FIGURES, values), "source": " ".join(places),
                **seeds_used(source, counts_of_seeds, source.failed(*run))}
        if number == 8:
            row |= selected_on_validation(row["loss"], source)
        lines.append(row)
    warn_of_mixed_environments(source.folders(runs))
    return in_column_order(pd.DataFrame(lines), ["loss", "weight", "threshold"], FIGURES)


def selected_on_validation(loss: str, source: Source) -> dict:
    """The weight of a loss with the highest mean F1 on the validation part, and its test figures.
    Each seed has its own validation-chosen threshold (`metrics.at_validation_threshold`);
    `threshold_selected` is their mean. Empty while a weight or a seed has no record."""
    best, chosen = -1.0, {}
    for weight in published_weights(loss):
        counts_of_seeds = source.counts(loss, weight)
        if len(counts_of_seeds) < len(source.seeds):
            return {}
        validation = np.mean([metrics.scores(counts, "validation")["f1_score"].max()
                              for counts in counts_of_seeds.values()])
        if validation > best:
            best = validation
            chosen = {"weight": weight, **at_validation_thresholds_of(counts_of_seeds)}
    return {f"{name}_selected": chosen[name] for name in ("weight", "threshold", *FIGURES)}


def at_validation_thresholds(source: Source) -> pd.DataFrame:
    """The test figures of every loss and weight, each seed at its validation-chosen threshold. The
    columns are `loss, weight`, the means of `threshold`, of the four figures and of `fine_recall`
    over the seeds, from two seeds on with 95 % t-intervals, and those of `seeds_used`."""
    runs = [(loss, weight) for loss in CRACK_LOSSES for weight in published_weights(loss)]
    lines = []
    for loss, weight in runs:
        counts_of_seeds = source.counts(loss, weight)
        lines.append({"loss": loss, "weight": weight,
                      **at_validation_thresholds_of(counts_of_seeds),
                      **seeds_used(source, counts_of_seeds)})
    warn_of_mixed_environments(source.folders(runs))
    return pd.DataFrame(lines).round(3)


def at_validation_thresholds_of(counts_of_seeds: dict[int, dict]) -> dict:
    """Mean and interval of threshold and figures, each seed at its validation-chosen threshold."""
    values = []
    for counts in counts_of_seeds.values():
        threshold, scores = metrics.at_validation_threshold(counts)
        fine = fine_recall(counts, metrics.at_threshold(counts, threshold))
        values.append([threshold, *(scores[figure] for figure in FIGURES), fine])
    return mean_and_interval(("threshold", *FIGURES, "fine_recall"), values)


def recall_by_width(source: Source) -> pd.DataFrame:
    """Recall by crack width of Table 8's rows and BCE, each at its validation-chosen threshold: one
    row for each loss and weight, the mean over the seeds, with `precision`, `seeds` and
    `missing_seeds`. Rows without a record, or without known crack widths, are left out."""
    lines, runs = [], []
    for loss, weight, _ in chosen_rows():
        used = {seed: counts for seed, counts in source.counts(loss, weight).items()
                if "test_true_positives_by_width" in counts}
        if not used:
            continue
        values = []
        for counts in used.values():
            threshold, scores = metrics.at_validation_threshold(counts)
            index = metrics.at_threshold(counts, threshold)
            values.append([scores["precision"], *metrics.recall_by_width(counts, "test")[:, index]])
        names = ["precision", *width_labels(counts["width_edges"])]
        lines.append({"loss": loss, "weight": weight, **dict(zip(names, np.mean(values, axis=0))),
                      **seeds_used(source, used)})
        runs.append((loss, weight))
    warn_of_mixed_environments(source.folders(runs))
    return pd.DataFrame(lines).round(3)


def pooled_counts(source: Source, loss: str, weight) -> Counts | None:
    """The test counts of all seeds, as if they were of one set of images; None without a record."""
    runs = list(source.counts(loss, weight).values())
    if not runs:
        return None
    tests = {name: np.concatenate([counts[name] for counts in runs])
             for name in runs[0] if name.startswith("test_")}
    return {"thresholds": runs[0]["thresholds"], "width_edges": runs[0]["width_edges"], **tests}


def found(source: Source, loss: str, weight, threshold: float) -> dict | None:
    """What a run finds in the test part at a threshold, all seeds pooled; None without a record.

    The scores of `metrics.scores` and `fine_recall`; in pixels `hits`, `called` (crack), `cracks`
    and `pixels`.
    """
    counts = pooled_counts(source, loss, weight)
    if counts is None:
        return None
    index = metrics.at_threshold(counts, threshold)
    values = {name: float(scores[index]) for name, scores in metrics.scores(counts, "test").items()}
    total = metrics.pooled(counts, "test")
    hits = int(total["true_positives"][index])
    return values | {"hits": hits, "called": hits + int(total["false_positives"][index]),
                     "cracks": hits + int(total["false_negatives"][index]),
                     "pixels": int(total["pixels"]), "fine_recall": fine_recall(counts, index)}


def fine_recall(counts: Counts, index: int) -> float:
    """The recall of the test part's crack pixels narrower than 2 px at the threshold of an index;
    NaN where the widths are not known or there are none."""
    if "test_positives_by_width" not in counts:
        return np.nan
    fine = slice((counts["width_edges"] <= 2).sum())
    hits = counts["test_true_positives_by_width"][:, fine, index].astype(np.int64).sum()
    present = counts["test_positives_by_width"][:, fine].astype(np.int64).sum()
    return hits / present if present else np.nan


def published_weights(loss: str) -> list:
    """The weights of a loss in paper A's tables; `[None]` for MSE and for BCE."""
    check_loss(loss)
    if loss == "bce":
        return [None]
    rows = published.distinct_rows()
    return [none_if_missing(weight)
            for weight in rows.loc[rows["loss"] == loss, "weight"].unique()]


def chosen_rows() -> list[tuple[str, float | None, float]]:
    """(loss, weight, threshold) of Table 8, BCE added at the end."""
    rows = [(row.loss, none_if_missing(row.weight), row.threshold)
            for row in published.table(8).itertuples()]
    return [*rows, ("bce", None, BCE_THRESHOLD)]


def chosen_counts(source: Source) -> list[tuple[str, str, int, Counts]]:
    """Those rows of `chosen_rows` that have a record: the name with its weight, the loss, the index
    of its threshold, and `pooled_counts`."""
    rows = [(loss, weight, threshold, pooled_counts(source, loss, weight))
            for loss, weight, threshold in chosen_rows()]
    return [(label(loss, weight), loss, metrics.at_threshold(counts, threshold), counts)
            for loss, weight, threshold, counts in rows if counts is not None]


# What tables of both papers have in common

def mean_and_interval(names: tuple[str, ...], values: list[list[float]]) -> dict:
    """The mean over seeds of several figures (`values`: seeds x figures), NaN without a seed. From
    two seeds on also `..._low` and `..._high`, the 95 % t-interval of the mean."""
    if not values:
        return dict.fromkeys(names, np.nan)
    mean = np.mean(values, axis=0)
    result = dict(zip(names, mean))
    if len(values) > 1:
        error = np.std(values, axis=0, ddof=1) / np.sqrt(len(values))
        margin = stdtrit(len(values) - 1, 0.975) * error
        for name, low, high in zip(names, mean - margin, mean + margin):
            result |= {f"{name}_low": low, f"{name}_high": high}
    return result


def seeds_used(source: Source, used, failed=()) -> dict:
    """`seeds`: how many of the source's seeds a row was computed from. `missing_seeds`: the others,
    such as "seeds 1, 3 (failed)", with the reason if they have a record; empty if there is none."""
    missing = [f"{seed} (failed)" if seed in failed else str(seed) for seed in source.seeds
               if seed not in used]
    word = "seed" if len(missing) == 1 else "seeds"
    text = f"{word} {', '.join(missing)}" if missing else ""
    if missing and source.undefined:
        text += f": {', '.join(sorted(source.undefined))}"
    return {"seeds": len(source.seeds) - len(missing), "missing_seeds": text}


def in_column_order(table: pd.DataFrame, keys: list[str], figures: tuple[str, ...]) -> pd.DataFrame:
    """The table with its columns in the order that all files have, numbers to six digits."""
    around = [f"{figure}{end}" for figure in figures for end in ("_published", "_low", "_high")]
    selected = [column for column in table if column.endswith("_selected")]
    order = [*keys, *figures, "source", *around, *selected, "seeds", "missing_seeds",
             "iou_of_each_seed", "collapsed", "encoder"]
    return table[[column for column in order if column in table]].round(6)


def none_if_missing(weight):
    """The weight as the losses take it: None where pandas has NaN for an empty cell."""
    return weight if isinstance(weight, tuple) or not pd.isna(weight) else None


def write(table: pd.DataFrame, source: Source, name: str) -> Path | None:
    """Write `tables/<name>.csv` beside the records in `runs` and return its path. Only `runs` is
    written to: None, and no file, for a source that has `results` alone."""
    if "runs" not in source.roots:
        return None
    folder = records.records_folder(source.roots["runs"], source.protocol.name,
                                    source.dataset).parent / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.csv"
    files.write_atomically(path, table.to_csv(index=False).encode())
    return path


# Tables for a reader's eye

def for_readers(table: pd.DataFrame, best: Iterable[str] = ()) -> object:
    """A table as a notebook shows it: without its index, fractions to three digits, a dash where
    there is no figure, and the highest value of each column in `best` in bold. The first column and
    those with long texts are aligned to the left; names in the first column stay on one
    line unless the table is wide. Columns may have two levels."""
    from IPython.display import HTML  # a machine that only trains may have no Jupyter

    shown = table.map(lambda cell: f"{cell:.3f}" if isinstance(cell, float) else escape(str(cell)))
    shown = shown.mask(table.isna() | (table == ""), "–")
    for column in best:
        highest = table[column].round(3) == table[column].round(3).max()
        shown.loc[highest, column] = "<b>" + shown.loc[highest, column] + "</b>"
    shown = shown.rename(columns=lambda title: escape(str(title)))
    for number, column in enumerate(shown):
        longest = shown[column].str.len().max()
        if number == 0 or longest > LONG_TEXT:
            narrow = number == 0 and longest <= UNBROKEN_TEXT and shown.shape[1] <= WIDE_TABLE
            wrap = "nowrap" if narrow else "normal"
            left = f'<div style="text-align: left; white-space: {wrap}">{{}}</div>'.format
            shown[column] = shown[column].map(left)
            if shown.columns.nlevels == 1:
                shown = shown.rename(columns={column: left(column)})
    return HTML(shown.to_html(index=False, escape=False, border=0))


def bullets(sentences: Iterable[str]) -> object:
    """Sentences as a list, which a notebook's page wraps between words."""
    from IPython.display import Markdown  # a machine that only trains may have no Jupyter

    return Markdown("\n".join(f"- {sentence}" for sentence in sentences))


def paper_beside_ours(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The columns for a reader: the paper's figures beside those of our tables, then the seeds.

    `tables` maps the name of each data set to its table of the same number, which may have been
    read back from a file. F1 or IoU come first, intervals follow our figure. Figures are floats;
    all else is text, the losses as the paper names them. Seeds are left out where each row has one.
    """
    first = next(iter(tables.values()))
    columns = {}
    if "label" in first:
        columns["loss"] = first["label"]
    else:
        columns["loss"] = [label(loss, none_if_missing(weight))
                           for loss, weight in zip(first["loss"], first["weight"])]
        columns["threshold"] = [f"{threshold:g}" for threshold in first["threshold"]]
    figures = [name for name in first if f"{name}_published" in first]
    figures.sort(key=lambda name: name not in ("f1_score", "iou"))
    for figure in figures:
        title = TITLES.get(figure, figure)
        columns[f"{title}, paper"] = first[f"{figure}_published"]
        for name, table in tables.items():
            columns[f"{title}, {name}"] = table[figure]
            if f"{figure}_low" in table:
                limits = zip(table[f"{figure}_low"], table[f"{figure}_high"])
                columns[f"{title}, {name}, 95 %"] = [
                    "" if np.isnan(low) else f"{low:.3f} to {high:.3f}" for low, high in limits]
    for name, table in tables.items():
        for extra, usual in {"seeds": 1, "missing_seeds": "", "encoder": ""}.items():
            if extra in table and (table[extra].fillna(usual) != usual).any():
                title = extra.replace("_", " ")
                title += f", {name}" if len(tables) > 1 else ""
                columns[title] = table[extra].fillna("").astype(str)
    return pd.DataFrame(columns).round(3)


def width_labels(edges: np.ndarray) -> list[str]:
    """The names of the width classes between the edges: `< 1 px`, `1-2 px`, ..."""
    middle = [f"{low:g}-{high:g} px" for low, high in zip(edges, edges[1:])]
    return [f"< {edges[0]:g} px", *middle, f">= {edges[-1]:g} px"]
