"""What the papers' tables leave out: each loss at its own threshold, and by the crack's width."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from crackutils import files, metrics, records
from crackutils.data import folder_fingerprint
from crackutils.losses import check_loss
from crackutils.papers import published
from crackutils.protocol import Protocol, preset, preset_of_runs

FIGURES = ("precision", "recall", "accuracy", "f1_score")
BCE_THRESHOLD = 0.5  # BCE is the baseline paper A lacks: an added row of Table 8
REFERENCE = "quick"  # what a reading notebook shows at `smoke`, whose own figures mean nothing


@dataclass(frozen=True)
class Source:
    """Where a table's records come from: a preset (with overrides), a data set, roots, seeds."""

    protocol: Protocol
    dataset: str
    roots: dict[str, Path]
    seeds: tuple[int, ...] = (0,)
    fingerprint: str | None = None  # of the data, where it is at hand

    def records(self, loss: str, weight) -> list[tuple[str, Path]]:
        """Source and folder of each seed's record; seeds without one are left out."""
        found = (records.find(self.roots, self.protocol.with_run(loss, weight, seed), self.dataset,
                           self.fingerprint)
                 for seed in self.seeds)
        return [record for record in found if record is not None]

    def trained(self) -> list[tuple]:
        """(loss, weight) of every record of this protocol, in order."""
        found = set()
        for root in self.roots.values():
            folder = records.records_folder(root, self.protocol.name, self.dataset)
            for path in folder.glob(f"*/{records.COMPLETE}"):
                config = records.read_json(path.with_name("config.json"))["protocol"]
                weight = config["weight"]
                run = config["loss"], tuple(weight) if isinstance(weight, list) else weight
                if run not in found and self.fits(*run) and self.records(*run):
                    found.add(run)
        return sorted(found, key=str)

    def fits(self, loss: str, weight) -> bool:
        """Whether the protocol could be run with a loss: three classes can't with all of them."""
        try:
            self.protocol.with_run(loss, weight, 0)
        except ValueError:
            return False
        return True

    def counts(self, loss: str, weight) -> list[dict[str, np.ndarray]]:
        """The counts of each seed's record."""
        return [records.read_arrays(folder / "counts.npz")
                for _, folder in self.records(loss, weight)]


def reading_source(protocol: str, task: str, data: str, runs_folder: str, results: str,
                   seeds: list[int], overrides: dict | None = None) -> Source:
    """What a notebook that only reads shows, from its parameters.

    The protocol's records in `runs`, then in `results`. `smoke` only proves the path, so at `smoke`
    on synthetic data the reference runs in `results` are shown instead, and this is printed.
    """
    if protocol == "smoke" and data == "synthetic" and results:
        print(f"protocol smoke proves the path only: shown are the reference runs, {REFERENCE} on "
              "synthetic data, from results/")
        return Source(preset(REFERENCE, task), "synthetic",
                      {"results": files.resolve(results, "results")}, tuple(seeds))
    roots = {"runs": files.resolve(runs_folder, "runs")}
    if results:
        roots["results"] = files.resolve(results, "results")
    if protocol == "smoke":
        print("protocol smoke proves the path only: its figures mean nothing")
    chosen = preset_of_runs(protocol, task, overrides)
    if data == "synthetic":
        return Source(chosen, "synthetic", roots, tuple(seeds))
    folder = Path(data).expanduser().resolve()
    fingerprint = folder_fingerprint(folder, chosen, roots["runs"]) if folder.is_dir() else None
    return Source(chosen, folder.name, roots, tuple(seeds), fingerprint)


def crack_table(number: int, source: Source) -> pd.DataFrame:
    """Table 1 or 4-8 of paper A: `loss, weight, threshold`, the four figures pooled over the test
    part at the paper's threshold, `..._published`, `source`, with several seeds `..._low` and
    `..._high` (95 % t-interval of the mean), and in Table 8 `..._selected`.
    """
    rows = published.table(number)
    if number == 8:
        rows = pd.concat([rows, pd.DataFrame([{"loss": "bce", "threshold": BCE_THRESHOLD}])],
                         ignore_index=True)
    rows = rows.rename(columns={figure: f"{figure}_published" for figure in FIGURES})
    table = [crack_row(row, source, number == 8) for row in rows.to_dict("records")]
    return arrange(pd.DataFrame(table), ["loss", "weight", "threshold"], FIGURES)


def crack_row(row: dict, source: Source, select: bool) -> dict:
    """One row of paper A's tables, measured; `select` adds the validation's choice."""
    weight = none_if_missing(row["weight"])
    values = []
    for counts in source.counts(row["loss"], weight):
        index = metrics.at_threshold(counts, row["threshold"])
        scores = metrics.scores(counts, "test")
        values.append([scores[figure][index] for figure in FIGURES])
    names = " ".join(name for name, _ in source.records(row["loss"], weight))
    measured = {**row, "weight": weight, **summary(FIGURES, values), "source": names}
    return {**measured, **selected(row["loss"], source)} if select else measured


def selected(loss: str, source: Source) -> dict:
    """Weight and threshold of the highest mean validation F1 of a loss, and their test figures;
    none while a weight or a seed is missing: that would be no choice."""
    best, choice = -1.0, {}
    for weight in published_weights(loss):
        seeds = source.counts(loss, weight)
        if len(seeds) < len(source.seeds):
            return {}
        validation = np.mean([metrics.scores(counts, "validation")["f1_score"]
                              for counts in seeds], axis=0)
        if validation.max() > best:
            best, index = validation.max(), int(validation.argmax())
            test = [metrics.scores(counts, "test") for counts in seeds]
            choice = {"weight_selected": weight,
                      "threshold_selected": seeds[0]["thresholds"][index]}
            choice |= {f"{figure}_selected": np.mean([scores[figure][index] for scores in test])
                       for figure in FIGURES}
    return choice


def published_weights(loss: str) -> list:
    """The weights of a loss that paper A prints; `[None]` for MSE and BCE."""
    check_loss(loss)
    if loss == "bce":
        return [None]
    rows = pd.concat([published.table(number) for number in (1, 4, 5, 6, 7)])
    weights = rows.loc[rows["loss"] == loss, "weight"].unique()
    return [none_if_missing(weight) for weight in weights]


def summary(names: tuple[str, ...], values: list[list[float]]) -> dict:
    """Mean over seeds, and `_low`, `_high`: the 95 % t-interval of the mean, from two seeds on."""
    if not values:
        return dict.fromkeys(names, np.nan)
    array = np.array(values)
    mean = array.mean(axis=0)
    result = dict(zip(names, mean))
    if len(values) > 1:
        error = array.std(axis=0, ddof=1) / np.sqrt(len(values))
        margin = stdtrit(len(values) - 1, 0.975) * error
        result |= dict(zip([f"{name}_low" for name in names], mean - margin))
        result |= dict(zip([f"{name}_high" for name in names], mean + margin))
    return result


def arrange(table: pd.DataFrame, keys: list[str], figures: tuple[str, ...]) -> pd.DataFrame:
    """Columns in the contract's order, figures to six digits."""
    around = [f"{figure}{end}" for figure in figures for end in ("_published", "_low", "_high")]
    chosen = [column for column in table if column.endswith("_selected")]
    order = [*keys, *figures, "source", *around, *chosen, "seeds", "of_seeds",
             "collapsed", "encoder"]
    return table[[column for column in order if column in table]].round(6)


def none_if_missing(weight):
    """pandas keeps an empty weight as NaN; a loss wants None."""
    return None if not isinstance(weight, tuple) and pd.isna(weight) else weight


def write(table: pd.DataFrame, source: Source, name: str) -> Path | None:
    """Write `tables/<name>.csv` beside the records below `runs`; returns the path.

    Only `runs` is written: for a source that reads `results` alone nothing is, and None returned.
    """
    if "runs" not in source.roots:
        return None
    folder = records.records_folder(source.roots["runs"], source.protocol.name,
                                 source.dataset).parent / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.csv"
    files.write_atomically(path, table.to_csv(index=False).encode())
    return path


def beside(table: pd.DataFrame) -> pd.DataFrame:
    """The columns to read, to three digits: the paper's figure and ours, F1 or IoU first."""
    keys = ["label"] if "label" in table else ["loss", "weight", "threshold"]
    figures = sorted((name for name in table if f"{name}_published" in table),
                     key=lambda name: name not in ("f1_score", "iou"))
    pairs = [name for figure in figures for name in (f"{figure}_published", figure)]
    titles = [("", key) for key in keys]
    titles += [(figure, whose) for figure in figures for whose in ("paper", "ours")]
    shown = table[[*keys, *pairs]].round(3).set_axis(pd.MultiIndex.from_tuples(titles), axis=1)
    for figure in figures:
        if f"{figure}_low" in table:
            place = shown.columns.get_loc((figure, "ours")) + 1
            shown.insert(place, (figure, "95 %"), between(table, figure))
    if "encoder" in table:  # what it started from belongs into every table
        shown[("", "encoder")] = table["encoder"]
    if "weight" in keys:
        shown[("", "weight")] = ["" if pd.isna(weight) else f"{weight:g}"
                                 for weight in table["weight"]]
    return shown


def or_say(table: pd.DataFrame, sentence: str) -> pd.DataFrame | None:
    """The table, or, if it has no row, the sentence, printed."""
    if len(table):
        return table
    print(sentence)
    return None


def between(table: pd.DataFrame, figure: str) -> list[str]:
    """A figure's interval, a text a row."""
    return ["" if np.isnan(low) else f"{low:.3f} to {high:.3f}"
            for low, high in zip(table[f"{figure}_low"], table[f"{figure}_high"])]


def selection(table8: pd.DataFrame) -> pd.DataFrame:
    """Table 8 with weight and threshold chosen on the validation part."""
    chosen = [name for name in table8 if name.endswith("_selected")]
    return table8[["loss", *chosen]].rename(columns=lambda name: name.replace("_selected", "")) \
        .round(3)


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
