"""Does paper A's conclusion hold in our runs? A verdict on each of its claims, from the records."""

from functools import partial
from typing import NamedTuple

import pandas as pd

from crackutils.losses import WEIGHTED, label
from crackutils.papers import fine_cracks, published

FINE, WIDER = "1-2 px", "3-5 px"
PRECISION = 0.8
RELU = ("relu", 0.97)


class Evidence(NamedTuple):
    """Rows of `fine_cracks.recall_table` by name of the loss: the recall of fine and of wider
    cracks at `PRECISION`, F1 at each network's best threshold, and the recall of fine cracks again,
    its differences those to ReLU instead of MSE."""

    fine: pd.DataFrame
    wider: pd.DataFrame
    f1: pd.DataFrame
    less_relu: pd.DataFrame


def rows_of(table: pd.DataFrame, stratum: str) -> pd.DataFrame:
    """The rows of one stratum by name of the loss; none if the table is empty."""
    if table.empty:
        return table
    rows = table[table["stratum"] == stratum]
    return rows.set_axis([fine_cracks.name_of(row) for row in rows.to_dict("records")])


def table8_names() -> list[str]:
    """MSE and paper A's four weighted functions, with their weights in Table 8, by name."""
    return [label(row.loss, None if pd.isna(row.weight) else row.weight)
            for row in published.table(8).itertuples()]


def paper_losses(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of paper A's four weighted functions with their weights in Table 8."""
    return rows[rows["loss"].isin(WEIGHTED) & rows.index.isin(table8_names())]


def with_interval(row: pd.Series, unit: str = "") -> str:
    """A row's difference, its unit and its interval."""
    value, low, high = (round(row[name], 3) + 0.0  # + 0.0 makes -0.0 positive
                        for name in ("difference", "difference_low", "difference_high"))
    difference = f"{value:+.3f} {unit}".rstrip()
    return f"{difference} ({low:+.3f} to {high:+.3f})"


def sign(row: pd.Series) -> int:
    """1 if a row's difference is above 0 with its whole interval, -1 if below, else 0."""
    return int(row["difference_low"] > 0) - int(row["difference_high"] < 0)


def verdict(yes: bool, no: bool) -> str:
    """The verdict on a claim that the runs support (`yes`), contradict (`no`), or neither."""
    if yes:
        return "holds"
    return "does not hold" if no else "not distinguishable"


def misses_fine_cracks(found: Evidence) -> tuple[str, str]:
    """MSE misses fine cracks: its recall of them, against that of cracks 3 to 5 px wide."""
    fine, wider = found.fine.loc["MSE"], found.wider.loc["MSE"]
    return (f"MSE finds {fine['recall']:.0%} of the pixels of cracks 1 to 2 px wide and "
            f"{wider['recall']:.0%} of those of cracks 3 to 5 px wide",
            verdict(fine["high"] < wider["low"], fine["low"] > wider["high"]))


def weighting_helps(found: Evidence) -> tuple[str, str]:
    """Weighting finds more fine cracks: how many of the paper's functions do."""
    rows = paper_losses(found.fine)
    signs = rows.apply(sign, axis=1)
    best = rows.loc[rows["difference"].idxmax()]
    judged = verdict((signs > 0).all(), (signs < 0).any())
    if 0 < (signs > 0).sum() < len(rows):
        judged = "holds in part"
    return (f"{(signs > 0).sum()} of {len(rows)} functions find significantly more; the "
            f"largest difference is that of {best.name}: {with_interval(best, 'recall')}", judged)


def relu_is_best(found: Evidence) -> tuple[str, str]:
    """ReLU finds the most fine cracks of the paper's functions: each of the others, less ReLU,
    those first that find significantly more."""
    rows = paper_losses(found.less_relu).dropna(subset="difference")
    signs = rows.apply(sign, axis=1)
    rows = rows.assign(sign=signs).sort_values(["sign", "difference"], ascending=False)
    texts = [f"{name}: {with_interval(row)}" for name, row in rows.iterrows()]
    return (f"recall minus that of ReLU 0.97: {'; '.join(texts)}",
            verdict((signs < 0).all(), (signs > 0).any()))


def f1_differs(losses: tuple[str, ...], side: int, found: Evidence) -> tuple[str, str]:
    """The F1 of these losses lies above (`side` 1) or below (-1) that of MSE."""
    rows = paper_losses(found.f1)
    rows = rows[rows["loss"].isin(losses)]
    signs = side * rows.apply(sign, axis=1)
    texts = [with_interval(row, "F1") for _, row in rows.iterrows()]
    if len(losses) > 1:
        texts = [f"{name}: {text}" for name, text in zip(rows.index, texts)]
    return "; ".join(texts), verdict((signs > 0).all(), (signs < 0).any())


def thresholds_move(found: Evidence) -> tuple[str, str]:
    """The best thresholds of the functions stand in the paper's order: ours, in that order."""
    ours = found.f1["threshold"].reindex(table8_names()).rename("ours").reset_index()
    ours["paper"] = published.table(8)["threshold"].to_numpy()
    ours = ours.sort_values(["paper", "ours"])
    texts = [f"{row['index']}: {row['ours']:.2f}" for row in ours.to_dict("records")]
    ordered = ours["ours"].is_monotonic_increasing
    return f"{', '.join(texts)} (means, no interval)", verdict(ordered, not ordered)


# the claim, the figure that the paper gives for it, and what computes ours
CLAIMS = (
    ("A U-Net trained with MSE misses fine cracks", "no figure, pictures", misses_fine_cracks),
    ("Weighting the squared error finds more of them", "no figure, pictures", weighting_helps),
    ("ReLU weighting finds the most of the four functions",
     "pictures; F1 .928, others at most .909", relu_is_best),
    ("ReLU 0.97 has a higher F1 than MSE", "+.018 (.928, .910)",
     partial(f1_differs, ("relu",), 1)),
    ("Squared & Balanced Step does poorly", "F1 .892, MSE .910",
     partial(f1_differs, ("squared_balanced_step",), -1)),
    ("Balanced Step and Step have a lower F1 than MSE (the paper: they add noise)",
     "F1 .909 and .900, MSE .910", partial(f1_differs, ("balanced_step", "step"), -1)),
    ("The best thresholds of the functions stand in the order of Table 8",
     "MSE .4, Step .5, ReLU .5, Squared .75, Balanced Step .9", thresholds_move),
)


def table(source) -> pd.DataFrame:
    """Paper A's claims: `claim`, `paper` (its figure), `ours`, `verdict`.

    The 95 % intervals hold for all losses together. Empty unless MSE and paper A's functions, with
    their weights in Table 8, all have records of at least `fine_cracks.ENOUGH_SEEDS` seeds.
    """
    at_precision = fine_cracks.recall_table(source, PRECISION)
    at_best = fine_cracks.recall_table(source, None)
    less_relu = fine_cracks.recall_table(source, PRECISION, baseline=RELU)
    found = Evidence(rows_of(at_precision, FINE), rows_of(at_precision, WIDER),
                     rows_of(at_best, "F1"), rows_of(less_relu, FINE))
    rows = []
    if all(len(part) and part["seeds"].reindex(table8_names()).ge(fine_cracks.ENOUGH_SEEDS).all()
           for part in found):
        rows = [(claim, paper, *judge(found)) for claim, paper, judge in CLAIMS]
    return pd.DataFrame(rows, columns=["claim", "paper", "ours", "verdict"])
