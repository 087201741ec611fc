"""The measured numbers in the README, in docs/ and in figures/, computed from results/.

    python -m workflow.numbers           # compute every block and table anew
    python -m workflow.numbers --check   # change nothing; exit status 1 if one is out of date

A block is what stands on a page between `<!-- name -->` and `<!-- /name -->`; `BLOCKS` has the
function that computes each. Beside the pages, the tables of the runs on CamVid are rewritten.
"""

import argparse
import functools
import itertools
import math
import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from crackutils import cli, evaluation, files, metrics, records
from crackutils import data as datasets
from crackutils.losses import NAMES, PIXELWISE, WEIGHTED, label
from crackutils.papers import (
    captions,
    claims,
    crack_tables,
    fine_cracks,
    published,
    road_tables,
    verdicts,
)
from crackutils.papers.source import Source
from crackutils.protocol import preset

RESULTS = files.ROOT / "results"
BENCHMARKS = RESULTS / "benchmarks"
PHOTOGRAPHS = ("cpu", "sut_crack_512")  # preset and data set of the runs on photographs
CAMVID = ("cpu", "camvid_road")
SEEDS = (0, 1, 2, 3, 4)  # of the study and of the runs on photographs and CamVid
SHORT_STEPS = 200
# the figures of the runs on CamVid, and the names by which notebook 08 saves them
CAMVID_FIGURES = {"camvid_iou_bars": "iou_bars", "camvid_validation_iou": "validation_iou_roads"}
OTHER_IOUS = ("iou_mean_of_images", "iou_mean_of_classes", "iou_official")
NOTEBOOKS = {"01_data": "What do the networks see, and is it a real task?",
             "02_losses_by_hand": "What does each loss charge for a missed crack, a false alarm?",
             "03_audit": "Do the figures that the papers print agree with one another?",
             "04_train_cracks": "How is one family of losses trained on cracks?",
             "05_threshold_sweeps": "Tables 1 and 4 to 8: do weighted losses find fine cracks?",
             "06_fine_cracks": "Which loss finds the fine cracks, at equal precision?",
             "07_drivable_area": "Paper B's IoU table: which loss, and for which IoU?",
             "08_figures": "The papers' figures, loss curves, precision–recall curves",
             "09_your_photographs": "What does a trained network find in your photographs?"}
KOREAN_VERDICTS = {"holds": "성립", "does not hold": "성립하지 않음",
                   "holds in part": "부분적으로 성립",
                   "not distinguishable": "구별되지 않음"}
KOREAN_CLAIMS = dict(zip([claim for claim, *_ in claims.CLAIMS], [
    "MSE로 학습한 U-Net은 미세 균열을 놓친다",
    "제곱 오차에 가중치를 주면 미세 균열을 더 많이 찾는다",
    "네 함수 중 ReLU 가중이 미세 균열을 가장 많이 찾는다", "ReLU 0.97의 F1이 MSE보다 높다",
    "Squared & Balanced Step은 성능이 낮다",
    "Balanced Step과 Step은 잡음을 더해 F1이 MSE보다 낮다",
    "함수들의 최적 임계값은 표 8의 순서를 따른다"], strict=True))
# the words of paper A's rows in Korean, as regular expressions and what takes their place
KOREAN_WORDS = (
    (r"^MSE finds (.*) of the pixels of cracks 1 to 2 px wide and (.*) of those of cracks 3 to 5 "
     r"px wide$", r"MSE는 폭 1~2 픽셀 균열 화소의 \1, 폭 3~5 픽셀 균열 화소의 \2를 찾는다"),
    (r"^(\d+) of (\d+) functions find significantly more; the largest difference is that of ",
     r"함수 \2개 중 \1개가 유의하게 더 많이 찾는다. 차이가 가장 큰 것은 "),
    (r"^recall minus that of ([^:]+): ", r"\1 대비 재현율: "),
    (r"([-+]\d[\d.]*) recall", r"재현율 \1"),
    (r"([-+]\d[\d.]*) F1", r"F1 \1"), (r"\(([-+][\d.]+) to ([-+][\d.]+)\)", r"(\1 ~ \2)"),
    (r"\(means, no interval\)", "(평균, 구간 없음)"))
# the sentences of paper B that the README judges, as `verdicts` has them, and in the README's words
CLAIMS_OF_B = {
    "Tversky(α, β = 0.3) has the highest IoU":
        "Tversky(α, β = 0.3) has the highest IoU (its lead over the best other loss)",
    "… about 2.47 % from BCE": "Tversky(α, β = 0.3) is better than BCE",
    "the higher the share of Dice in BCE-Dice, the better (on the whole)":
        "the more Dice in BCE-Dice, the better (BCE:Dice from 1:1 to 0.25:1)"}
# the pictures on which models/ are counted: the part of the record, how their names begin
MODEL_PARTS = {"SUT-Crack, test part": ("test", ("whole", "half")),
               "synthetic, test part": ("test", ("drawn",)), "CrackForest": ("cfd", ("",)),
               "METU's preview": ("metu_preview", ("",))}
SETS = {"sut_crack_512": "SUT-Crack", "cfd": "CrackForest", "metu_preview": "METU's preview"}
PEERS = {"pytorch channels_first": "PyTorch, channels first", "keras channels_last": "Keras 3",
         "pytorch channels_last": "PyTorch, channels last"}
MARKER = re.compile(r"<!-- (/?)([\w-]+) -->")


def once(function: Callable) -> Callable:
    """Let a function of a `Source` compute each result once, since several blocks need it."""
    results = {}

    @functools.wraps(function)
    def computed(origin: Source, *args, **options):
        key = (origin.protocol, origin.dataset, str(origin.roots), origin.seeds, args,
               tuple(options.items()))
        if key not in results:
            results[key] = function(origin, *args, **options)
        return results[key]
    return computed


recall_table, claim_table = once(fine_cracks.recall_table), once(claims.table)


def source(protocol: str, task: str, dataset: str, seeds: tuple[int, ...] = (0,),
           overrides: dict | None = None) -> Source:
    """The committed records of a preset and a data set."""
    return Source(preset(protocol, task, overrides), dataset, {"results": RESULTS}, seeds)


# the study on synthetic cracks, after all of its steps and after a short training
STUDY = source("study", "cracks", "synthetic", SEEDS)
SHORT = source("study", "cracks", "synthetic", SEEDS, {"steps": SHORT_STEPS})
# photographs of SUT-Crack: with a small network, and with paper A's
PAVEMENT = source(PHOTOGRAPHS[0], "cracks", PHOTOGRAPHS[1], SEEDS)
LARGE = source("paper", "cracks", PHOTOGRAPHS[1], SEEDS[:3], fine_cracks.PAPER_NETWORK)
CAMVID_ROADS = source(CAMVID[0], "roads", CAMVID[1], SEEDS)
LONG_STEPS = f"{STUDY.protocol.steps:,} steps"


def table8() -> str:
    """F1 of Table 8's rows and BCE: the paper's; ours at the paper's threshold; ours at the
    threshold that is best on the validation part."""
    synthetic = table8_f1(source("quick", "cracks", "synthetic"))
    photographs = table8_f1(source(PHOTOGRAPHS[0], "cracks", PHOTOGRAPHS[1], SEEDS))
    rows = synthetic.merge(photographs, on=["loss", "weight"], suffixes=("", "_photographs"),
                           validate="one_to_one")
    cells = []
    for row in rows.to_dict("records"):
        added = " (added)" if row["loss"] == "bce" else ""
        weight = "–" if pd.isna(row["weight"]) else f"{row['weight']:g}"
        cells.append([NAMES[row["loss"]] + added, weight, f"{row['threshold']:g}",
                      figure(row["f1_score_published"]), figure(row["f1_score"]), row["own"],
                      figure(row["f1_score_photographs"]), row["own_photographs"]])
    header = ["loss", "weight", "threshold", "paper", "synthetic (`quick`)",
              "at validation threshold", "photographs (`cpu`, mean)", "at validation threshold"]
    return markdown(header, "lrrrrrrr", cells)


def table8_f1(origin: Source) -> pd.DataFrame:
    """Table 8 of a source, with a column `own`: the F1 at the threshold that is best on the
    validation part, and that threshold. A row without a record has no figure of ours."""
    best = crack_tables.at_validation_thresholds(origin)
    best = best[["loss", "weight", "threshold", "f1_score"]]
    rows = crack_tables.crack_table(8, origin).merge(
        best, on=["loss", "weight"], how="left", suffixes=("", "_own"), validate="one_to_one")
    own = []
    for score, threshold in zip(rows["f1_score_own"], rows["threshold_own"]):
        own.append("–" if pd.isna(score) else f"{figure(score)} ({threshold:g})")
    return rows.assign(own=own)


def answer() -> str:
    """What was found on cracks and on roads, and what to use: a point on each."""
    after_short, after_long, better, _ = fine_cracks_compared()
    of_paper = claims.paper_losses(better)
    gained = after_long["recall"]["MSE"] - after_short["recall"]["MSE"]
    pixelwise = better["loss"].isin(PIXELWISE)
    advised = better.index[pixelwise][0]
    lower, *higher = sorted(fine_cracks.PRECISIONS)
    significant = significant_at(claims.FINE)
    at_lower_precision = significant[lower]
    if ("ReLU 0.97" in better.index or gained < better["difference"].max()
            or after_long["recall"].idxmin() != "MSE" or after_long["recall"].idxmax() != advised
            or claims.paper_losses(after_long)["recall"].idxmax() != of_paper.index[0]
            or any(significant[precision] for precision in higher) or len(at_lower_precision) != 2
            or not at_lower_precision[0].startswith(of_paper.index[0])
            or not at_lower_precision[1].startswith(advised)):
        raise ValueError("the sentences on ReLU, the steps or the best losses are out of date")
    collapsing = ("Tversky α = 0.3, β = 0.7", "Dice")
    worst = min(min(map(float, best_f1(origin)["of_each_seed"][name].split()))
                for origin in (SHORT, STUDY, PAVEMENT, LARGE) for name in collapsing)
    if worst < 0.5:
        raise ValueError("a training of Tversky or Dice on cracks collapsed")
    compared = compared_on_photographs()
    return "\n".join([
        "- **Cracks: the loss matters most if the training is short.** We trained small U-Nets on "
        f"synthetic concrete with {len(best_losses_first())} losses, {seeds_text(after_short)} "
        "each. They are compared at equal precision: each threshold is set so that "
        f"{claims.PRECISION:.0%} of the marked pixels are crack. After {SHORT_STEPS} steps MSE "
        f"finds {after_short['recall']['MSE']:.0%} of the pixels of cracks 1 to 2 px wide, and "
        f"{len(better)} losses find significantly more: most of all "
        f"{with_brackets(better.index[0])} with {better['recall'].iloc[0]:.0%}; the best of paper "
        f"A's functions is {of_paper.index[0]} with {of_paper['recall'].iloc[0]:.0%}. After "
        f"{LONG_STEPS} MSE finds {after_long['recall']['MSE']:.0%} and the best loss, {advised}, "
        f"{after_long['recall'].max():.0%}. No difference to MSE is significant then, but a lead "
        f"of up to {100 * after_long['difference_high'].max():.0f} points is not excluded. ReLU "
        "0.97, which paper A recommends, is not significantly better than MSE after either "
        f"training. On photographs we compared losses with MSE {compared} times (recall or F1, two "
        "networks, three sets of photographs); one difference is significant "
        "([which](docs/results.md)).",
        f"- **Roads: no winner.** {on_roads()}",
        "- **What to use.** Train longer before you change the loss: on synthetic concrete "
        f"{LONG_STEPS} instead of {SHORT_STEPS} raised what MSE finds from "
        f"{after_short['recall']['MSE']:.0%} to {after_long['recall']['MSE']:.0%}; the best loss, "
        f"after {SHORT_STEPS} steps too, raised it to {better['recall'].max():.0%}. After the long "
        f"training {advised} finds the most, and {of_paper.index[0]} the most of the squared "
        f"errors; their lead over MSE is significant at a precision of {lower}, but not at "
        f"{listed(map(str, higher))}. For a short training take "
        f"{' or '.join(map(with_brackets, better.index[~pixelwise][:2]))}, which never collapsed "
        "on cracks. For roads take BCE or a mix of BCE and Dice. Choose the threshold on "
        "validation pictures, and train several seeds before you call one loss better than "
        "another."])


def compared_on_photographs() -> int:
    """How many differences to MSE on photographs have an interval: of recall and of F1, with both
    networks, on all three sets. ValueError unless one of them is significant."""
    tables = photographs_compared()
    for origin in (PAVEMENT, LARGE):
        tables += [best_f1(origin, unseen) for unseen in (None, "cfd", "metu_preview")]
    pairs = [compared_with_mse(rows) for rows in tables]
    if sum(len(apart) for _, apart in pairs) != 1:
        raise ValueError("the sentence on photographs is out of date")
    return sum(len(compared) for compared, _ in pairs)


def details() -> str:
    """What was found on cracks with each training, in full."""
    after_short, after_long, better, _ = fine_cracks_compared()
    of_paper, relu = claims.paper_losses(better), after_short.loc["ReLU 0.97"]
    below = long_recalls()["< 1 px"]
    places = ((f"after {SHORT_STEPS} steps", SHORT, after_short),
              (f"after {LONG_STEPS}", STUDY, after_long),
              *zip(("on photographs with the small network", "with paper A's"),
                   (PAVEMENT, LARGE), photographs_compared(), strict=True))
    missing, partly = ("; ".join(filter(None, (not_shown(*place, in_part) for place in places)))
                       for in_part in (False, True))
    return "\n".join([
        f"- **{SHORT_STEPS} steps on synthetic concrete** ({seeds_text(after_short)}). MSE finds "
        f"{after_short['recall']['MSE']:.0%} of the pixels of cracks 1 to 2 px wide. "
        f"{len(of_paper)} of paper A's 4 functions find significantly more: "
        f"{listed(with_recalls(of_paper))}. ReLU 0.97 finds {relu['recall']:.0%}, which is not "
        "significantly more.",
        f"- **{LONG_STEPS} on synthetic concrete** ({seeds_text(after_long)}). The "
        f"{len(after_long)} losses that could be compared find {after_long['recall'].min():.0%} "
        f"(MSE) to {after_long['recall'].max():.0%} ({after_long['recall'].idxmax()}), and "
        f"{below['recall'].min():.0%} to {below['recall'].max():.0%} of cracks narrower than 1 px. "
        "Which losses find significantly more than MSE depends on the precision at which they are "
        f"compared: {by_precision(claims.FINE)}. Of cracks narrower than 1 px: "
        f"{by_precision('< 1 px')}.",
        f"- **Photographs of pavement.** {on_pavement()}",
        f"- **Photographs of other places.** {on_other_places()}", "",
        "Some losses have no figure, since none of their thresholds gives about the wanted "
        f"precision. This holds {missing}; and for some seeds {partly}. Dice-clDice collapsed: "
        "it marks nearly every pixel, or nearly none. The other losses are too precise at "
        "each counted threshold, since their predictions are close to 0 or 1."])


def photographs_compared() -> list[pd.DataFrame]:
    """The recall of fine cracks on photographs of pavement, by loss, of the small network and of
    paper A's. ValueError if a loss differs from MSE, or if the test could have shown it."""
    tables = [fine_recalls(origin, tolerance=2) for origin in (PAVEMENT, LARGE)]
    for rows in tables:
        with_interval, apart = compared_with_mse(rows)
        missed = 1 - rows["recall"]["MSE"]
        if len(apart) or with_interval["smallest_detectable"].min() < missed:
            raise ValueError("the sentences on photographs are out of date")
    return tables


def long_recalls() -> dict[str, pd.DataFrame]:
    """The recall of fine cracks, and of those narrower than a pixel, after the long training."""
    table = recall_table(STUDY, claims.PRECISION)
    return {stratum: claims.rows_of(table, stratum) for stratum in (claims.FINE, "< 1 px")}


def significant_at(stratum: str) -> dict[float, list[str]]:
    """Which losses find significantly more than MSE after the long training, by precision."""
    found = {}
    for precision in fine_cracks.PRECISIONS:
        _, apart = compared_with_mse(claims.rows_of(
            recall_table(STUDY, precision), stratum))
        if (apart["difference"] < 0).any():
            raise ValueError("a loss finds fewer cracks than MSE: the sentences are out of date")
        found[precision] = with_differences(apart)
    return found


def by_precision(stratum: str) -> str:
    """`significant_at` in words, precisions with the same losses together."""
    precisions = {}
    for precision, names in significant_at(stratum).items():
        precisions.setdefault(listed(names) if names else "none", []).append(f"{precision}")
    return ", ".join(f"at {listed(those)} {names}" for names, those in precisions.items())


def on_pavement() -> str:
    """The comparison on photographs of the data set that the networks were trained on."""
    small, large = photographs_compared()
    compared = [len(compared_with_mse(rows)[0]) for rows in (small, large)]
    if any(len(compared_with_mse(best_f1(origin))[1]) for origin in (PAVEMENT, LARGE)):
        raise ValueError("the sentence on the F1 on photographs is out of date")
    counts = next(iter(PAVEMENT.counts("mse", None).values()))
    fine = counts["test_positives_by_width"].astype(int)[:, stratum_index(claims.FINE)].sum()
    precision = pd.concat([small, large])["precision"]
    return ("A pixel that lies up to 2 px beside the label counts as right. MSE finds "
            f"{small['recall']['MSE']:.0%} with a small network and "
            f"{large['recall']['MSE']:.0%} with paper A's network on tiles "
            f"of {LARGE.protocol.tile[0]}×{LARGE.protocol.tile[1]} pixels "
            f"({seeds_text(large)}). None of {compared[0]} and none of {compared[1]} other losses "
            f"differs significantly. But this test is too weak: the {len(counts['test_names'])} "
            f"test photographs have only {fine:,} pixels of such cracks, and even a loss that "
            "finds all of them would not have been significantly better. The precision on the test "
            f"part is {precision.min():.2f} to {precision.max():.2f}. Nor does the F1 of any loss "
            "differ significantly from that of MSE, with either network.")


def supplied_networks() -> str:
    """How many cracks the supplied networks find in places that they have not seen."""
    table = pd.read_csv(BENCHMARKS / "whole_cracks.csv")
    table = table[table["model"] == cli.DEFAULT_MODEL].set_index("pictures")
    walls, pavement = (
        f"{row['found']} of {row['cracks']} cracks ({row['found'] / row['cracks']:.0%}), and "
        f"{row['right']} of the {row['claimed']} pieces that it marks are cracks"
        for row in (table.loc["metu_preview"], table.loc["cfd"]))
    narrower = -table.loc["metu_preview", "width_error"]
    drawn = pd.read_csv(BENCHMARKS / "mistaken.csv")
    drawn = drawn[drawn["model"] == cli.DEFAULT_MODEL].set_index("mark")["marked"]
    seconds = pd.read_csv(BENCHMARKS / "prediction.csv").set_index("photograph")["seconds"][
        "12 megapixels"]
    joints, letters = drawn["joint, 6 px, straight"], drawn["lettering"]
    gains = []
    for place, path in (("walls", "metu_preview/few_masks.csv"), ("pavement", "few_masks.csv")):
        scores = pd.read_csv(BENCHMARKS / path).groupby(["start", "photographs"])["f1_2_px"].mean()
        further = scores["balanced_step"]
        gains.append(f"{further.index.max()} masks of {place} raised the F1 within 2 px from "
                     f"{further[0]:.2f} to {further.iloc[-1]:.2f}")
    return "\n".join([
        f"- **What it finds.** On photographs of walls that it has not seen, the default network, "
        f"`{cli.DEFAULT_MODEL}`, finds {walls}. On pavement that it has not seen it finds "
        f"{pavement}. A crack counts as found if at least half of its length is marked within 2 "
        "px. These photographs have at most 512×512 pixels; how much is found in larger ones is "
        f"unknown. One of 12 megapixels takes {seconds:.0f} s on two cores.",
        "- **Size.** The networks know cracks 1 to 8 pixels wide. Leave photographs with finer "
        "cracks at their full size. If your cracks are wider, reduce the photographs until they "
        "are 2 to 8 pixels wide; if you have both, predict both sizes into two folders.",
        f"- **What to check.** Joints, cables and lettering are marked too ({joints:.0%} of the "
        f"pixels of drawn joints, {letters:.0%} of drawn lettering). On walls the widths are "
        f"smaller than those of hand-drawn masks, in the median by {narrower:.1f} px; lengths were "
        "not compared with anything. So compare 20 of your photographs, and some widths, with what "
        "you see ([model card](models/README.md)).",
        f"- **Training further.** With another of the four networks {listed(gains)}."])


def on_other_places() -> str:
    """The comparison on photographs of other places: the sign and the significance of the
    differences to MSE, over the seeds that both losses have."""
    places = {"concrete walls": "metu_preview", "other pavement": "cfd"}
    networks = {"the small network": PAVEMENT, "paper A's network": LARGE}
    number, higher, found = 0, 0, []
    for network, origin in networks.items():
        for place, part in places.items():
            rows = best_f1(origin, part)
            compared, apart = compared_with_mse(rows)
            number, higher = number + len(compared), higher + (compared["difference"] > 0).sum()
            found += [f"{text} with {network} on {place}" for text in with_differences(apart)]
    verdict = f"only {listed(found)} is significant" if len(found) == 1 else (
        f"{listed(found)} are significant" if found else "none is significant")
    return (f"On {' and '.join(places)} that no network had seen, {higher} of {number} "
            f"differences in F1 to MSE are above 0, but {verdict}.")


def on_roads() -> str:
    """Paper B's losses on CamVid's roads: the pairs that differ, and the runs that collapsed."""
    table, pairs = road_tables.iou_table(CAMVID_ROADS), pairs_of_paper_b()
    of_paper = {*pairs["first"], *pairs["second"]}
    if pairs["distinguishable"].any():
        raise ValueError("the sentence on the pairs of losses is out of date")
    failed = {with_brackets(row.label): row.label in of_paper
              for row in table.itertuples() if row.collapsed}
    seeds = {seed for row in road_tables.table_rows(CAMVID_ROADS)
             for seed, counts in CAMVID_ROADS.counts(row.loss, row.weight).items()
             if road_tables.collapsed(counts)}
    if any("BCE" in name for name in failed) or len(seeds) != 1:
        raise ValueError("the sentence on collapsed trainings is out of date")
    added = [name for name, published in failed.items() if not published]
    return (f"On CamVid's street scenes none of the {len(pairs)} differences between paper B's "
            f"{len(of_paper)} losses is significant ({pairs['seeds'].min()} or "
            f"{pairs['seeds'].max()} seeds, intervals corrected for the "
            f"{len(verdicts.pairs(CAMVID_ROADS))} pairs of all losses). But "
            f"with one of {len(SEEDS)} seeds {listed(name for name in failed if failed[name])} "
            f"collapsed, and {listed(added)}, which we added: such a network labels every pixel as "
            "road. BCE and BCE-Dice never did. In these records the labels are shifted by up to "
            "half a pixel ([details](docs/roads.md)).")


def pairs_of_paper_b() -> pd.DataFrame:
    """The differences on CamVid's roads between the losses in paper B's table."""
    table, pairs = road_tables.iou_table(CAMVID_ROADS), verdicts.pairs(CAMVID_ROADS)
    of_paper = table.loc[table["iou_published"].notna(), "label"]
    return pairs[pairs[["first", "second"]].isin([*of_paper]).all(axis=1)]


def stratum_index(stratum: str) -> int:
    """The place of a width class in counts by width."""
    return fine_cracks.strata_names().index(stratum) - 1


def fine_recalls(origin: Source, **options) -> pd.DataFrame:
    """The recall of fine cracks by loss; `options` are those of `fine_cracks.recall_table`."""
    return claims.rows_of(recall_table(origin, claims.PRECISION, **options),
                          claims.FINE)


def best_f1(origin: Source, unseen: str | None = None) -> pd.DataFrame:
    """The F1 by loss: of the test part at the threshold that is best on the validation part, or the
    best F1 of an unseen part."""
    parts = ("test", "validation") if unseen is None else (unseen, unseen)
    return claims.rows_of(recall_table(origin, None, parts[0], chosen_on=parts[1]),
                          "F1")


def compared_with_mse(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The losses whose difference to MSE has an interval, and those that are apart from MSE."""
    compared = rows.dropna(subset="difference_low")
    return compared, compared[(compared["difference_low"] > 0) | (compared["difference_high"] < 0)]


def apart_from_mse(rows: pd.DataFrame) -> str:
    """Which losses find significantly more or less than MSE."""
    compared, apart = compared_with_mse(rows)
    if not len(apart):
        return f"None of the {len(compared)} others differs significantly from MSE."
    return (f"{len(apart)} of the {len(compared)} others "
            f"{'differ' if len(apart) > 1 else 'differs'} significantly from MSE: "
            f"{listed(with_differences(apart))}.")


def listed(names: Iterable[str]) -> str:
    """Names in a sentence: `a, b and c`."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def with_brackets(name: str) -> str:
    """The name of a loss, with two weights in brackets so that it can stand in a list."""
    first, *weights = name.split(" ", 1)
    return f"{first} ({weights[0]})" if "," in name and "(" not in name else name


def seeds_text(rows: pd.DataFrame) -> str:
    """How many seeds the rows of a table have, such as `1 to 3 seeds`."""
    fewest, most = int(rows["seeds"].min()), int(rows["seeds"].max())
    return (f"{fewest} to {most}" if fewest < most else f"{most}") + \
        (" seed" if most == 1 else " seeds")


def seeds_by_loss(rows: pd.DataFrame) -> str:
    """How many seeds the losses of a table have, and which of them have fewer than the others."""
    rows = rows.dropna(subset="seeds").astype({"seeds": int})
    most = rows["seeds"].max()
    fewer = rows[rows["seeds"] < most]["seeds"]
    others = [f"{count} for {listed(names)}"
              for count, names in fewer.groupby(fewer).groups.items()]
    return f"{most}, but {', and '.join(others)}" if others else f"{most}"


def caption() -> str:
    """The finding that the README's figure shows."""
    after_short, after_long, better, rest = fine_cracks_compared()
    below = long_recalls()["< 1 px"]["recall"]
    if len(compared_with_mse(after_long)[1]):
        raise ValueError("the caption's sentence on significance is out of date")
    photographs_compared()
    return (f"*The share of the pixels of cracks 1 to 2 px wide that each loss finds (recall), at "
            f"a precision of {claims.PRECISION} on the validation part, with 95 % intervals. After "
            f"{SHORT_STEPS} steps {len(better)} of {len(better) + len(rest)} losses find "
            f"significantly more than MSE. After {LONG_STEPS} none does: all that are shown find "
            f"{after_long['recall'].min():.0%} or more, but only {below.min():.0%} to "
            f"{below.max():.0%} of cracks narrower than 1 px (circles). The photographs, of "
            "pavement, have too few fine cracks to show a difference; a pixel counts there within "
            "2 px of the label. The panels' axes begin at different values. Paper's network is a "
            "larger one, paper A's. A dot without a bar has fewer than three seeds. A dash in "
            "place of a dot: not trained, or not comparable at this precision ([which, and "
            "why](docs/results.md)).*")


def not_shown(place: str, origin: Source, rows: pd.DataFrame, in_part: bool) -> str:
    """The losses that have records, but no place in a table of recalls; with `in_part`, those of
    which only some seeds have none.

    ValueError unless Dice-clDice has collapsed and the others are too precise.
    """
    texts = []
    for setting in fine_cracks.SETTINGS:
        trained, name = len(origin.records(*setting)), label(*setting)
        shown = int(rows["seeds"].get(name, 0))
        if shown == trained or in_part != (shown > 0):
            continue
        reason = without_threshold(origin, name)
        if reason != ("collapsed" if setting[0] == "dice_cldice" else "more precise everywhere"):
            raise ValueError(f"{name} {place} is {reason}: the caption is out of date")
        seeds = f" ({trained - shown} of {trained})" if in_part else ""
        texts.append(with_brackets(name) + seeds)
    return f"{place} for {listed(texts)}" if texts else ""


def results() -> str:
    """Every loss: its recall of fine cracks after a short and a long training, and its F1 on
    photographs."""
    photographs = best_f1(PAVEMENT)
    rows = [[name, *with_and_without_interval(SHORT, claims.FINE, name),
             *with_and_without_interval(STUDY, claims.FINE, name),
             with_and_without_interval(STUDY, "< 1 px", name)[0],
             figure(photographs["recall"].get(name, math.nan))] for name in best_losses_first()]
    shown = markdown(["loss", f"1–2 px, {SHORT_STEPS} steps", "minus MSE", f"1–2 px, {LONG_STEPS}",
                      "minus MSE", f"< 1 px, {LONG_STEPS}", "F1, photographs"], "lrrrrrr", rows)
    return (f"{shown}\n\nSeeds: {seeds_by_loss(fine_recalls(SHORT))}; on photographs "
            f"{seeds_by_loss(photographs)}. Step 0.73 is our addition: fitted perfectly, it would "
            "mark the same pixels as ReLU 0.97. Dice-clDice collapsed: it marks nearly every "
            "pixel, or nearly none.")


def more_results() -> str:
    """What `results` leaves out: the differences for the finest cracks, and the F1 of both
    networks."""
    networks = [[best_f1(origin, unseen) for origin in (PAVEMENT, LARGE)]
                for unseen in (None, "metu_preview")]
    rows = []
    for name in best_losses_first():
        scores = [figure(table["recall"].get(name, math.nan)) for tables in networks
                  for table in tables]
        rows.append([name, *with_and_without_interval(STUDY, "< 1 px", name), *scores])
    shown = markdown(["loss", f"< 1 px, {LONG_STEPS}", "minus MSE", "F1, photographs, small",
                      "F1, photographs, paper A's", "F1, walls, small", "F1, walls, paper A's"],
                     "lrrrrrr", rows)
    return (f"{shown}\n\nSeeds: of the long training {seeds_by_loss(fine_recalls(STUDY))}; on "
            f"photographs with the small network {seeds_by_loss(networks[0][0])}, with paper A's "
            f"{seeds_by_loss(networks[0][1])}.")


def best_losses_first() -> list[str]:
    """The losses, those first that find the most fine cracks after the short training."""
    recalls = fine_recalls(SHORT)["recall"].reindex(best_f1(SHORT).index)
    return [*recalls.sort_values(ascending=False).index]


def with_and_without_interval(origin: Source, stratum: str, name: str) -> tuple[str, str]:
    """A loss's recall of a width class, or why it has none; and its difference to MSE."""
    table = claims.rows_of(recall_table(origin, claims.PRECISION), stratum)
    if name not in table.index:
        reason = without_threshold(origin, name)
        return "not comparable" if reason.endswith("everywhere") else reason, "–"
    return figure(table["recall"][name]), difference_to_mse(table.loc[name])


def without_threshold(origin: Source, name: str) -> str:
    """Why a loss has no recall at the wanted precision: it was not trained, or what it predicts."""
    [setting] = [setting for setting in fine_cracks.SETTINGS if label(*setting) == name]
    runs = origin.counts(*setting).values()
    if not runs:
        return "–"
    if all(map(road_tables.collapsed, runs)):
        return "collapsed"
    tolerance = 0 if origin.dataset == "synthetic" else 2  # labels of photographs are beside it
    reasons = set()
    for counts in runs:
        if fine_cracks.found_at_precision(counts, "test", claims.PRECISION, tolerance) is None:
            lowest = fine_cracks.precisions(counts, "validation", tolerance)[0]
            reasons.add("more" if lowest > claims.PRECISION else "less")
    [reason] = reasons  # else the runs differ, and it takes other words
    return f"{reason} precise everywhere"


def study() -> str:
    """How the networks of the study were trained, and how much their test parts show."""
    lines = []
    for place, origin in (("synthetic concrete", STUDY),
                          ("photographs of pavement, small network", PAVEMENT),
                          ("photographs of pavement, paper A's network", LARGE)):
        run = origin.protocol
        counts = next(iter(origin.counts("mse", None).values()))
        of_width = counts["test_positives_by_width"].astype(int).sum(axis=0)
        fine = of_width[stratum_index(claims.FINE)]
        lines.append(
            f"- On {place}: a U-Net of {run.levels} levels, {run.kernel}×{run.kernel} kernels, "
            f"{run.first_filters} first filters, {run.batch} tiles of "
            f"{run.tile[0]}×{run.tile[1]} pixels a step, Adam with a learning rate of "
            f"{run.learning_rate:g} that falls to 0 ({run.schedule}), {run.steps:,} steps"
            + (f" (long) or {SHORT_STEPS} (short, with a schedule of its own)"
               if origin is STUDY else "")
            + f". The {len(counts['test_names'])} test pictures have {of_width.sum():,} crack "
            f"pixels, {fine:,} of them ({fine / of_width.sum():.0%}) in cracks 1 to 2 px wide.")
    rows = fine_recalls(SHORT, baseline=("balanced_step", 0.83))
    compared = rows.dropna(subset="difference_low").sort_values("difference", ascending=False)
    texts = [f"{name} {claims.with_interval(row, 'recall')}"
             for name, row in compared[:3].iterrows()]
    settings = (("mse", None), *((row.loss, row.weight) for row in claims.paper_losses(
        fine_recalls(STUDY)).itertuples()))
    of_paper, apart = compared_with_mse(fine_recalls(STUDY, settings=settings))
    table = recall_table(STUDY, claims.PRECISION, chosen_on="test")
    on_test = [apart_from_mse(claims.rows_of(table, stratum))
               for stratum in (claims.FINE, "< 1 px")]
    return "\n".join([
        *lines, "", "After the short training the losses that find the most differ from Balanced "
        f"Step 0.83 by: {'; '.join(texts)}.", "",
        "After the long training the comparison was also made in two other ways. With a correction "
        f"for paper A's {len(of_paper)} functions alone, {len(apart) or 'none'} of them would "
        "differ significantly from MSE"
        + (f": {listed(with_differences(apart))}" if len(apart) else "")
        + f". With thresholds chosen on the test part itself, each network has a precision of "
        f"{claims.PRECISION} there, Dice too. Then, of cracks 1 to 2 px wide: {on_test[0]} Of "
        f"cracks narrower than 1 px: {on_test[1]}"])


def fine_cracks_compared() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The recall of fine cracks by loss: after a short and after a long training; and of the short
    one the losses that find significantly more than MSE, and the others."""
    after_short, after_long = map(fine_recalls, (SHORT, STUDY))
    compared = after_short.dropna(subset="difference_low").sort_values("recall", ascending=False)
    if (compared["difference_high"] < 0).any():
        raise ValueError("a loss finds fewer fine cracks than MSE: the sentences are out of date")
    better = compared["difference_low"] > 0
    return after_short, after_long, compared[better], compared[~better]


def with_differences(rows: pd.DataFrame) -> list[str]:
    """The names of losses, each with its difference to MSE."""
    return [f"{with_brackets(name)} ({difference:+.3f})"
            for name, difference in rows["difference"].items()]


def with_recalls(rows: pd.DataFrame) -> list[str]:
    """The names of losses, each with its recall."""
    return [f"{name} ({row['recall']:.0%})" for name, row in rows.iterrows()]


def unseen_photographs() -> str:
    """The best F1 on photographs of other places than those of the training, by loss."""
    blocks = []
    for article, title, origin in (("the ", "small network", PAVEMENT),
                                   ("", "paper A's network", LARGE)):
        walls = best_f1(origin, "metu_preview").sort_values("recall", ascending=False)
        streets = best_f1(origin, "cfd")
        rows = [[name, f"{row['seeds']}", figure(row["recall"]), figure(streets["recall"][name]),
                 *(difference_to_mse(table.loc[name]) for table in (walls, streets))]
                for name, row in walls.iterrows()]
        blocks += [markdown([f"loss ({title})", "seeds", "F1, concrete walls (METU's preview)",
                             "F1, other pavement (CrackForest)", "walls, minus MSE",
                             "pavement, minus MSE"], "lrrrrr", rows), ""]
        for place, found in (("walls", walls), ("pavement", streets)):
            blocks.append(f"With {article}{title}, on the {place}: {apart_from_mse(found)}")
        blocks.append("")
    return "\n".join(blocks[:-1])


def difference_to_mse(row: pd.Series) -> str:
    """A row's difference to MSE with its interval, if there are seeds enough for one; a dash where
    there is no difference."""
    if pd.isna(row.get("difference", math.nan)):
        return "–"
    if pd.isna(row["difference_low"]):
        return f"{row['difference']:+.3f}"
    return claims.with_interval(row)


def answer_in_korean() -> str:
    """The answer on fine cracks and the verdicts on paper A's claims, in Korean."""
    after_short, after_long, better, rest = fine_cracks_compared()
    [seeds] = after_short["seeds"].unique()
    below = long_recalls()["< 1 px"]["recall"]
    seen, large = (fine_recalls(origin, tolerance=2) for origin in (PAVEMENT, LARGE))
    pairs = pairs_of_paper_b()
    in_korean_at_precisions = [f"{precision} {', '.join(names) or '없음'}" for precision, names in
                               significant_at(claims.FINE).items()]
    lines = [f"- **짧은 학습**(합성 콘크리트 영상, {SHORT_STEPS} 스텝, 시드 {seeds}개, "
             f"검증 세트에서 정밀도가 {claims.PRECISION}이 되는 임계값에서 비교): "
             "MSE는 폭 1~2 픽셀 균열 화소의 "
             f"{after_short['recall']['MSE']:.0%}를 찾는다. 유의하게 더 많이 찾는 손실 함수는 "
             f"{len(better) + len(rest)}개 중 {len(better)}개이다: "
             f"{', '.join(with_recalls(better))}.",
             f"- MSE와 구별되지 않는 손실 함수: {', '.join(with_recalls(rest))}.",
             f"- **긴 학습**({STUDY.protocol.steps:,} 스텝, 시드 {after_long['seeds'].max()}개): "
             f"{len(after_long)}개 손실 함수 모두 "
             f"{after_long['recall'].min():.0%}~{after_long['recall'].max():.0%}를 찾는다. 차이의 "
             "대부분은 학습 시간에서 오는 것으로 보인다. "
             "MSE보다 유의하게 더 많이 찾는 손실 함수는 정밀도에 달려 있다: "
             f"{'; '.join(in_korean_at_precisions)}. 폭 1 픽셀 미만의 균열은 이때에도 "
             f"{below.min():.0%}(MSE)~{below.max():.0%}({below.idxmax()})만 찾는다.",
             f"- **도로 포장 사진**(시드 {seen.loc['MSE', 'seeds']:.0f}개, 위치 오차 2 픽셀 "
             f"허용; 시험이 약하다): MSE는 {seen['recall']['MSE']:.0%}를 찾는다. "
             f"{korean_difference(seen)} "
             f"논문 A의 망과 {LARGE.protocol.tile[0]}×{LARGE.protocol.tile[1]} 타일로는(시드 "
             f"{large['seeds'].max()}개) MSE는 {large['recall']['MSE']:.0%}를 찾는다. "
             f"{korean_difference(large)}",
             f"- **도로 영역**(CamVid): 논문 B의 손실 함수 쌍 {len(pairs)}개 중 보정 후에도 "
             f"유의하게 다른 것은 {pairs['distinguishable'].sum()}개이다.",
             "- **권장**: 먼저 더 오래 학습한다. 합성 영상에서는 "
             f"{better.index[better['loss'].isin(PIXELWISE)][0]}과(논문의 함수 중에서는) "
             f"{claims.paper_losses(better).index[0]}이 가장 좋았고, 사진에서는 더 나은 손실 "
             "함수가 확인되지 않았다. 임계값은 검증 세트에서 정하고, "
             "손실 함수는 여러 시드로 비교한다."]
    if below.idxmin() != "MSE":
        raise ValueError("the Korean sentence on cracks narrower than a pixel is out of date")
    return "\n".join(lines)


def korean_difference(rows: pd.DataFrame) -> str:
    """`apart_from_mse` in Korean, without what would have been detected."""
    compared, apart = compared_with_mse(rows)
    names = ", ".join(f"{name} {difference:+.3f}"
                      for name, difference in apart["difference"].items())
    return (f"시드가 여러 개인 다른 손실 함수 {len(compared)}개 중 MSE와 유의하게 다른 것은 "
            f"{f'{len(apart)}개이다({names})' if len(apart) else '없다'}.")


def claims_in_korean() -> str:
    """Paper A's claims with our figures and the verdicts, in Korean."""
    cells = [[KOREAN_CLAIMS[before["claim"]],
              *(judged(KOREAN_VERDICTS[row["verdict"]], in_korean(row["ours"]))
                for row in (before, after))]
             for before, after in zip(claim_table(SHORT).to_dict("records"),
                                      claim_table(STUDY).to_dict("records"))]
    return markdown(["논문의 주장", f"{SHORT_STEPS} 스텝 후 결과(95 % 신뢰 구간)",
                     f"{STUDY.protocol.steps:,} 스텝 후 결과(95 % 신뢰 구간)"], "lll", cells)


def in_korean(ours: str) -> str:
    """What the runs say about a claim of paper A, in Korean. ValueError where words are unknown."""
    for pattern, words in KOREAN_WORDS:
        ours = re.sub(pattern, words, ours)
    if left := re.search(r"\b(finds?|minus|recall|means?|to|of)\b", ours):
        raise ValueError(f"no Korean for {left[0]!r} in {ours!r}: add it to KOREAN_WORDS")
    return ours


def claims_of_the_papers() -> str:
    """Paper A's claims, judged by the study after a short and a long training, and paper B's main
    ones, judged by CamVid's roads."""
    short, long = claim_table(SHORT), claim_table(STUDY)
    of_a = [[before["claim"], before["paper"], judged(before["verdict"], before["ours"]),
             judged(after["verdict"], after["ours"])]
            for before, after in zip(short.to_dict("records"), long.to_dict("records"))]
    roads, of_b = verdicts.verdicts(CAMVID_ROADS, converged=True), []
    for row in roads[roads["sentence"].isin(CLAIMS_OF_B)].to_dict("records"):
        interval = " (each other loss was compared by itself)" if pd.isna(row["low"]) else (
            f" ({row['low']:+.2f} to {row['high']:+.2f})")
        of_b.append([CLAIMS_OF_B[row["sentence"]], f"{row['paper']:+g}",
                     judged(row["verdict"], f"{row['ours']:+.2f}{interval}")])
    return "\n".join([
        was_paper_a_right(short, long), "",
        markdown(["paper A's claim", "its figure", f"ours after {SHORT_STEPS} steps (95 %)",
                  f"ours after {LONG_STEPS} (95 %)"], "llll", of_a), "",
        markdown(["paper B's claim", "its figure, IoU points", "ours on CamVid's roads (95 %)"],
                 "lll", of_b)])


def was_paper_a_right(short: pd.DataFrame, long: pd.DataFrame) -> str:
    """The verdicts on paper A in sentences, and what speaks for it: the order by its own measure.
    ValueError if ReLU is not the first of its functions by that measure."""
    words = {"holds": "hold", "holds in part": "holds in part", "does not hold": "does not hold",
             "not distinguishable": "can't be decided"}
    counted = []
    for steps, verdicts_then in ((f"{SHORT_STEPS} steps", short), (LONG_STEPS, long)):
        counts = verdicts_then["verdict"].value_counts()
        parts = [f"{counts[verdict]} {text}" for verdict, text in words.items()
                 if verdict in counts]
        counted.append(f"after {steps} {listed(parts)}")
    scores = []
    for origin in (source("quick", "cracks", "synthetic"), PAVEMENT):
        table = crack_tables.crack_table(8, origin)
        table = table[table["loss"].isin(WEIGHTED)].set_index("loss")["f1_score"]
        if table.idxmax() != "relu":
            raise ValueError("ReLU no longer has the highest F1 of paper A's functions")
        scores.append(figure(table.max()))
    return (f"**Was paper A right?** Of its {len(long)} claims, {'; '.join(counted)}. What speaks "
            "for it: by its own measure, the F1 at its weights and thresholds, ReLU is the first "
            f"of its four functions here too, on synthetic concrete (F1 {scores[0]}, one seed, so "
            f"not tested) and on photographs ({scores[1]}, five seeds; its lead over MSE is not "
            "significant there).")


def judged(verdict: str, ours: str) -> str:
    """A cell of the claim table."""
    return f"**{verdict}**: {ours}"


def shipped_models() -> str:
    """How good the networks in models/ are, on their test part and on pictures never seen."""
    strata, cells = fine_cracks.strata_names(), []
    for folder in sorted(path.parent for path in (files.ROOT / "models").glob("*/counts.npz")):
        counts = records.read_arrays(folder / "counts.npz")
        threshold = metrics.best_threshold(counts, "validation")
        for name, (part, prefixes) in MODEL_PARTS.items():
            kept = [picture.startswith(prefixes) for picture in counts[f"{part}_names"].tolist()]
            chosen = counts | {key: values[kept] for key, values in counts.items()
                               if key.startswith(f"{part}_")}
            found = fine_cracks.found_at_threshold(chosen, part, threshold)
            scores = fine_cracks.tolerant_scores(chosen, part)
            recalls = [figure(fine_cracks.recall_of(found, strata.index(stratum)))
                       for stratum in ("1-2 px", "2-3 px", "3-5 px", ">= 5 px", "F1")]
            cells.append([f"`{folder.name}`", f"{threshold:g}", name, figure(found.precision),
                          *recalls, figure(scores["F1, 2 px"])])
    header = ["model", "threshold", "pictures", "precision", "recall, 1–2 px", "2–3 px", "3–5 px",
              "≥ 5 px", "F1", "F1, 2 px"]
    return markdown(header, "lrlrrrrrrr", cells)


def trained_there() -> str:
    """The model `balanced_step` on two sets that it has not seen, beside networks that were trained
    on the other photographs of each set: F1, and in brackets F1 with a tolerance of 2 px."""
    cells = []
    for name, path in (("CrackForest", "few_masks.csv"),
                       ("METU's preview", "metu_preview/few_masks.csv")):
        table = pd.read_csv(BENCHMARKS / path)
        number = table["photographs"].max()
        trained = table[table["photographs"] == number]
        rows = [table[table["photographs"] == 0], *(trained[trained["start"] == start] for start in
                                                    ("scratch", "balanced_step"))]
        cells.append([name, f"{number}", f"{trained['seed'].nunique()}",
                      *(f"{row['f1'].mean():.3f} ({row['f1_2_px'].mean():.3f})" for row in rows)])
    return markdown(["test part of", "photographs to train on", "seeds", "`balanced_step` as it is",
                     "trained there from scratch", "`balanced_step` trained further there"],
                    "lrrrrr", cells)


def mistaken() -> str:
    """What the shipped networks mark of drawn things that are no cracks, and of drawn cracks."""
    table = pd.read_csv(BENCHMARKS / "mistaken.csv")
    marked = table.pivot(index="mark", columns="model", values="marked").loc[table.mark.unique()]
    cells = [[mark, *(f"{share:.1%}" for share in row)] for mark, row in
             zip(marked.index, marked.to_numpy())]
    header = ["drawn", *(f"`{name}`" for name in marked)]
    return markdown(header, "l" + "r" * len(marked.columns), cells)


def whole_cracks() -> str:
    """How many cracks the shipped networks find on photographs that they have not seen."""
    rows = []
    for row in pd.read_csv(BENCHMARKS / "whole_cracks.csv").to_dict("records"):
        shares = (f"{row[some]} of {row[all_]} ({row[some] / row[all_]:.0%})"
                  for some, all_ in (("found", "cracks"), ("right", "claimed")))
        rows.append([f"`{row['model']}`", SETS[row["pictures"]], *shares,
                     f"{row['width_error']:+.1f} ({row['width_error_10']:+.1f} to "
                     f"{row['width_error_90']:+.1f}) px"])
    return markdown(["model", "pictures", "cracks found", "marked pieces that are cracks",
                     "width"], "llrrr", rows)


def seams() -> str:
    """F1 in tiles of the training's size, and in larger ones, of the networks that were tried."""
    rows = []
    table = pd.read_csv(BENCHMARKS / "seams.csv")
    sets = table["pictures"].unique()
    for network, group in table.groupby("network", sort=False):
        first, group = group.iloc[0], group.set_index("pictures").loc[sets]
        rows.append([network, f"{first['receptive_field']}", f"{first['training_tile']}",
                     *(f"{row.f1_training_tiles:.3f} → {row.f1_larger_tiles:.3f}"
                       for row in group.itertuples()),
                     "larger" if first["larger_by_default"] else "as in training"])
    return markdown(["network", "receptive field, px", "tile in training, px",
                     *(SETS[pictures.split()[-1]] for pictures in sets),
                     "`predict` uses tiles"], "lrrrrrl", rows)


def prediction_speed() -> str:
    """Seconds and memory of `crackutils predict` for a photograph, in a sentence."""
    rows = [f"one of {row['photograph']} took {row['seconds']:.0f} s and "
            f"{row['peak_memory_mib'] / 1024:.1f} GiB of memory"
            for row in pd.read_csv(BENCHMARKS / "prediction.csv").to_dict("records")]
    return (f"On two cores, in float32 and with a supplied network, {listed(rows)}, loading the "
            "program and writing the results included ([prediction.csv]"
            "(../results/benchmarks/prediction.csv), `benchmarks/prediction.py`).")


def fine_tuning_rate() -> str:
    """F1 after a network was trained further with each of some learning rates, in a sentence."""
    table = pd.read_csv(BENCHMARKS / "fine_tuning_rate.csv")
    means = [f"{rows['f1'].mean():.3f} with {rate:g}"
             for rate, rows in sorted(table.groupby("learning_rate"), reverse=True)]
    return (f"`balanced_step`, trained further on METU's preview, had an F1 of {listed(means)} "
            f"(means of {table['seed'].nunique()} seeds; [fine_tuning_rate.csv]"
            "(../results/benchmarks/fine_tuning_rate.csv)).")


def known_faults_of_camvid() -> str:
    """The faults that the records on CamVid's roads are known to have, or that they have none."""
    lines = [f"- {fault}" for fault in CAMVID_ROADS.known_faults()]
    if not lines:
        return "None of these records has a known fault."
    return "\n".join(["Known faults of these records, until new trainings replace them:", "",
                      *lines])


def blending() -> str:
    """Seam, difference, F1 and cost of ways to blend tiles."""
    rows = []
    for row in pd.read_csv(BENCHMARKS / "blending.csv").to_dict("records"):
        rows.append([row["network"], row["weights"], f"{row['overlap']:g}", f"{row['tiles']}",
                     f"{row['seam']:.2f}", f"{row['mean_difference']:.4f}", figure(row["best_f1"])])
    return markdown(["network", "weights", "overlap", "tiles a picture", "seam",
                     "mean difference", "best F1"], "llrrrrr", rows)


def slider_times() -> str:
    """How long a move of the threshold slider takes."""
    kernel, whole = pd.read_csv(BENCHMARKS / "slider.csv").to_dict("records")
    return (f"On a photograph of {whole['side']}×{whole['side']} pixels it takes "
            f"{whole['median_ms']:.0f} ms from the key press to the new picture (median of "
            f"{whole['moves']} moves, {whole['within_100_ms']} of which take at most 100 ms;\n"
            f"the first takes {whole['first_ms']:.0f} ms, the slowest of the others "
            f"{whole['slowest_later_ms']:.0f} ms), "
            f"{kernel['median_ms']:.0f} ms of them in Python, on {whole['cores']} cores "
            f"(load before it {whole['load']:g};\n"
            "[slider.csv](../results/benchmarks/slider.csv), `benchmarks/slider.py`).")


def open_choices() -> str:
    """What each of paper A's open choices changes in the F1 of MSE, three seeds each."""
    origin = Source(preset("quick"), "synthetic", {"results": RESULTS / "choices"}, (0, 1, 2))
    table = fine_cracks.open_choices(origin)
    if (table["seeds"] != len(origin.seeds)).any():
        raise ValueError("a choice has not been trained with every seed")
    rows = [[row["choice"], f"{row['f1_difference']:+.3f} ({row['f1_low']:+.3f} to "
             f"{row['f1_high']:+.3f})"] for row in table.to_dict("records")]
    apart = table[(table["f1_low"] > 0) | (table["f1_high"] < 0)]
    printed = published.table(8).set_index("loss")["f1_score"]
    gain = printed["relu"] - printed["mse"]
    larger = (table["f1_difference"].abs() > gain).sum()
    return "\n".join([
        markdown(["choice", "F1 minus that of `quick` (95 %)"], "lr", rows), "",
        f"Significant: {listed(apart['choice'])}. The others can't be judged with three seeds. "
        f"The means of {larger} of {len(table)} choices differ by more than the {gain:.3f} that "
        "paper A gained by weighting."])


def four_networks() -> str:
    """F1 of paper A's settings with each of its four networks, one seed."""
    grid = pd.read_csv(RESULTS / "quick" / "synthetic" / "tables" / "networks.csv")
    grid = grid[grid["table"] == "own"].pivot(index=["loss", "weight"],
                                              columns=["levels", "kernel"], values="f1_score")
    rows = []
    for (levels, kernel), scores in grid.items():
        rows.append([f"{levels} levels, {kernel}×{kernel}",
                     *map(figure, (scores.mean(), scores.min(), scores.max()))])
    larger = source("study", "cracks", "synthetic", SEEDS, {"levels": 5, "kernel": 7})
    long = {name: claims.rows_of(fine_cracks.recall_table(origin, None, settings=[("mse", None)]),
                                 "F1").iloc[0]
            for name, origin in (("4 levels, 5×5", STUDY), ("5 levels, 7×7", larger))}
    listed_scores = [f"{row['recall']:.3f} with {name} (seeds: {row['seeds']})"
                     for name, row in long.items()]
    return "\n".join([
        markdown(["network", "mean F1", "lowest", "highest"], "lrrr", rows), "",
        "The network with 4 levels and 5×5 kernels has a higher F1 than that with 5 levels and 7×7 "
        f"for {(grid[4, 5] > grid[5, 7]).sum()} of the {len(grid)} settings. A larger network may "
        f"need more steps: after {LONG_STEPS} the F1 of MSE is {listed(listed_scores)}. The larger "
        "one was trained on a processor, the smaller ones on a GPU."])


def leaks() -> str:
    """What tiles of the test photographs in the training part add to the F1 of MSE."""
    table = pd.read_csv(BENCHMARKS / "leaks.csv").pivot(index="seed", columns="division",
                                                        values="f1_score")
    parts = []
    for division in ("random", "in sample"):
        gain = table[division] - table["grouped"]
        parts.append(f"of *{division}* {gain.mean():+.3f} ({gain.min():+.3f} to {gain.max():+.3f})")
    return (f"The F1 of *grouped* is {table['grouped'].mean():.3f} in the mean of {len(table)} "
            f"seeds. The others, minus *grouped* of the same seed: {listed(parts)}. In brackets "
            "stand the lowest and the highest difference.")


def trust() -> str:
    """How often simulated intervals contain the true difference, and the error of the width that
    is estimated from a mask."""
    table = pd.read_csv(BENCHMARKS / "coverage.csv")
    rows = [[f"{row['validation']:.0f}", f"{row['test']:.0f}", f"{row['seeds']:.0f}",
             f"{row['seed_deviation']:g}", f"{row['coverage']:.1%}", f"{row['length']:.2f}"]
            for row in table.to_dict("records")]
    drawn = datasets.load("synthetic", preset("quick", overrides={"counts": [1, 1, 20]}),
                          files.ROOT / "runs")
    true = np.concatenate([sample.width[sample.mask == 1] for sample in drawn.test])
    estimate = np.concatenate([evaluation.estimated_width(sample.mask)[sample.mask == 1]
                               for sample in drawn.test])
    classes = [(1, 2), (2, 3), (3, 5), (5, 8)]
    errors = [np.median((estimate - true)[(true >= low) & (true < high)]) for low, high in classes]
    return "\n".join([
        markdown(["validation pictures", "test pictures", "seeds", "deviation of a seed",
                  "intervals that contain the difference", "mean length"], "rrrrrr", rows), "",
        f"They contain it in {table['coverage'].min():.1%} to {table['coverage'].max():.1%} of "
        f"{table['simulations'].iloc[0]:,} simulations each.", "",
        f"**Widths.** On {len(drawn.test)} synthetic pictures, whose widths are known, the median "
        f"error of the width that is estimated from the mask is at most {np.abs(errors).max():.2f} "
        "px for cracks 1 to 8 px wide."])


def camvid_iou() -> str:
    """Paper B's rows and the added ones on CamVid's roads, with intervals."""
    table = road_tables.iou_table(CAMVID_ROADS)
    rows = []
    for row in table.to_dict("records"):
        others = [figure(row.get(name, math.nan)) for name in ("iou_selected", *OTHER_IOUS)]
        rows.append([row["label"], figure(row["iou_published"]), row.get("iou_of_each_seed", "–"),
                     with_interval(row), *others])
    for row in road_tables.by_label_convention(CAMVID_ROADS).to_dict("records"):
        case = row["prediction"], row["label_convention"]
        if case == ("everything is road", "correct"):
            rows.append([row["prediction"], "–", "–", figure(row["iou"]), "–",
                         *(figure(row[name]) for name in OTHER_IOUS)])
    shown = markdown(["loss", "paper", "pooled IoU of each seed",
                      "mean of those that converged (95 %)", "at validation threshold",
                      "mean of images", "mean of classes", "official (here: recall)"],
                     "lrrrrrrr", rows)
    return "\n".join([shown, "", "† One training converged: the interval is over the frames alone "
                      "and says nothing about another training.", "",
                      road_tables.encoder_sentence(table)])


def with_interval(row: dict) -> str:
    """A row's IoU with its 95 % interval, marked if the interval is not over seeds."""
    if pd.isna(row.get("iou_low", math.nan)):
        return "–"
    converged = row["seeds"] - row["collapsed"]
    if converged == 0:
        return "none converged"
    mark = " †" if converged == 1 else ""
    return f"{row['iou']:.3f} ({row['iou_low']:.3f}–{row['iou_high']:.3f}){mark}"


def camvid_verdicts() -> str:
    """The verdict on each sentence of paper B's conclusion, from the seeds with which every loss
    converged."""
    table = verdicts.verdicts(CAMVID_ROADS, converged=True)
    if table.empty:
        return "No verdict: a row of the table has no record."
    rows = []
    for row in table.to_dict("records"):
        interval = "" if pd.isna(row["low"]) else f" ({row['low']:.2f} to {row['high']:.2f})"
        smallest = "–"
        if not pd.isna(row["smallest_detectable"]):
            smallest = f"{row['smallest_detectable']:.2f}"
        rows.append([row["sentence"], row["figure"], f"{row['paper']:g}",
                     f"{row['ours']:.2f}{interval}", smallest, row["verdict"]])
    seeds = table["seeds"].iloc[0]
    return markdown(["paper B's conclusion", "figure, in IoU points", "paper",
                     f"ours, {seeds} seeds (95 %)", "smallest detectable difference", "verdict"],
                    "llrrrl", rows)


def camvid_pairs() -> str:
    """The pairs of losses whose IoU differs on CamVid's roads."""
    table = verdicts.pairs(CAMVID_ROADS)
    differing = table[(table["low"] > 0) | (table["high"] < 0)]
    lines = []
    for row in differing.to_dict("records"):
        mark = ": **distinguishable**" if row["distinguishable"] else ""
        lines.append(f"- {row['first']} − {row['second']}: {row['difference']:+.2f} points "
                     f"({row['low']:.2f} to {row['high']:.2f}, {row['seeds']} seeds){mark}")
    return "\n".join([
        f"{len({*table['first'], *table['second']})} losses have several seeds, which makes "
        f"{len(table)} pairs. {table['distinguishable'].sum() or 'None'} of them can be "
        "distinguished if the intervals hold for all pairs together (Bonferroni). Taken alone, "
        f"{len(differing)} have a 95 % interval without 0, where chance would give about "
        f"{len(table) / 20:.0f}{':' if lines else '.'}", "", *lines])


def notebook_minutes() -> str:
    """The notebooks with the minutes they took in `make reproduce`, in both precisions."""
    stages = pd.read_csv(RESULTS / "quick" / "stages.csv")
    [processor], [cores] = stages["processor"].unique(), stages["cores"].unique()
    rows = []
    for name, title in NOTEBOOKS.items():
        executions = stages[stages["stage"].str.startswith(name)]
        count = len(executions[executions["precision"] == "float32"])
        title += f" ({count} executions)" if count > 1 else ""
        seconds = executions.groupby("precision")["seconds"].sum()
        rows.append([f"[`{name}`](notebooks/{name}.ipynb)", title, *minutes(seconds)])
    ended = (stages["begun"] + stages["seconds"]).groupby(stages["precision"]).max()
    rows.append(["`make reproduce`", "all of them but 06 and 09, two at a time", *minutes(ended)])
    table = markdown(["notebook", "question", "minutes, float32", "minutes, bfloat16"], "llrr",
                     rows)
    return "\n".join([
        table, "", f"Minutes of `make reproduce`, after set-up, on {cores} cores of {processor}. A "
        "processor without bfloat16 units computes in float32; an older or busy one takes longer. "
        "Notebooks 06 and 09 train nothing and take about a minute."])


def minutes(seconds: pd.Series) -> list[str]:
    """The seconds of each precision in minutes; a dash where there are none."""
    return [f"{seconds[precision] / 60:.1f}" if precision in seconds else "–"
            for precision in ("float32", "bfloat16")]


def speed() -> str:
    """What `make benchmark` measured: training and counting beside other implementations, and the
    same runs in both precisions."""
    table = pd.read_csv(BENCHMARKS / "training.csv")
    rows = []
    for _, group in table.fillna({"first_filters": 0}).groupby(
            ["model", "first_filters", "precision"], sort=False):
        [own] = group[group["implementation"] == "crackutils"].to_dict("records")
        [peer] = group[own["best_peer"] == group["implementation"] + " " + group["memory_format"]
                       ].to_dict("records")
        name = f"U-Net, {own['first_filters']:.0f} first filters"
        if own["model"] == "fpn":
            name = "FPN-ResNet-50"
        rows.append([name, own["precision"], with_range(own),
                     f"{with_range(peer)} {PEERS[own['best_peer']]}",
                     f"{own['ratio_to_best_peer']:.2f}", f"{own['busy_share']:.0%}",
                     f"{peer['busy_share']:.0%}", f"{own['busy_ratio_to_best_peer']:.2f}"])
    shown = markdown(["network", "precision", "crackutils", "best of the others", "ratio",
                      "kept, crackutils", "kept, the other", "ratio, busy"],
                     "llrrrrrr", rows)
    [turns], [cores], [processor] = (table[name].unique() for name in ("turns", "cores",
                                                                       "processor"))
    counting = pd.read_csv(BENCHMARKS / "thresholds.csv").set_index("implementation")
    [thresholds] = counting["thresholds"].unique()
    faster = counting["times_as_fast_is_crackutils"]
    return "\n".join([
        shown, "", f"Images a second in training, median (slowest–fastest of {turns} turns), on "
        f"{cores} cores of {processor}. *Kept* is the speed beside a process that keeps one core "
        "busy, as a share of the speed on an idle machine; *ratio, busy* compares crackutils with "
        f"the fastest of the others there. Counting {thresholds} thresholds is "
        f"{faster['torchmetrics']:.0f} times as fast as torchmetrics' binned curve and "
        f"{faster['plain_loop']:.0f} times as fast as a plain loop, with equal counts.", "",
        precisions()])


def with_range(row: dict) -> str:
    """The median speed of a row of `training.csv`, and the slowest and fastest."""
    return f"{row['images_per_second']:.1f} ({row['slowest']:.1f}–{row['fastest']:.1f})"


def precisions() -> str:
    """Test F1 and the threshold chosen on the validation part, of the same seeds in float32 and
    in bfloat16."""
    table = pd.read_csv(BENCHMARKS / "precision.csv")
    rows = []
    for (loss, name), runs in table.groupby(["loss", "precision"], sort=False):
        scores = runs["test_f1"]
        rows.append([NAMES[loss], name, " ".join(map(figure, scores)),
                     f"{scores.mean():.3f} ± {scores.std():.3f}",
                     " ".join(f"{threshold:g}" for threshold in runs["threshold"])])
    scores = table.groupby(["precision", "loss"])["test_f1"].agg(["mean", "std"])
    apart = (scores.loc["bfloat16", "mean"] - scores.loc["float32", "mean"]).abs().max()
    shown = markdown(["loss", "precision", "test F1 by seed", "mean ± deviation",
                      "validation thresholds"], "llrrr", rows)
    return "\n".join([shown, "", f"The means of the two precisions differ by {apart:.3f} at most, "
                      f"float32's seeds deviate by {scores.loc['float32', 'std'].min():.3f} or "
                      "more."])


def gpu() -> str:
    """What `benchmarks/gpu.py` measured: speed, its share of the card's peak, where the time goes,
    and whether a run there agrees with one on a CPU."""
    table = pd.read_csv(BENCHMARKS / "gpu.csv").set_index("measurement")
    own, plain = table.loc["throughput/bfloat16"], table.loc["throughput/plain"]
    [device], [version] = table["device"].unique(), table["torch"].unique()
    kernels = pd.read_csv(BENCHMARKS / "gpu_profile.csv")
    norm = kernels["kernel"].str.contains("batch_norm")
    convolution = kernels["kernel"].str.contains("gemm|fprop|dgrad|convBwd|convolve")
    first = {how: table.loc[f"first_level/16-16/{how}"]
             for how in ("channels_last", "channels_first", "unfolded")}
    same, resumed = table.loc["same_as_cpu"], table.loc["resume"]
    step = table.loc["profile"]
    if (table["tiny"].any() or {*kernels["device"]} != {device} or kernels["tiny"].any()
            or {resumed["within_tolerance"], same["streamed_equals_resident"]} != {True}):
        raise ValueError("these are no measurements of one GPU, or one failed")
    return "\n".join([
        f"On one {device} (PyTorch {version}), with paper A's network and protocol (40 tiles of "
        "512×512 pixels a step):", "",
        f"- **Speed.** crackutils trains {own['images_per_second']:.0f} images a second in "
        f"bfloat16, channels last. A plain PyTorch loop in float32 (convolutions in TF32, channels "
        f"first) trains {plain['images_per_second']:.0f}. The ratio, "
        f"{own['ratio_to_plain']:.1f}, comes at least in part from the precision and the layout; a "
        "plain loop in bfloat16 was not timed. The paper's 10,000 steps would take "
        f"{own['extrapolated_seconds_of_10000_steps'] / 60:.0f} minutes instead of "
        f"{plain['extrapolated_seconds_of_10000_steps'] / 60:.0f} (extrapolated from "
        f"{own['steps']:.0f} steps). Memory: {own['peak_memory_mib'] / 1024:.1f} GiB, plain "
        f"{plain['peak_memory_mib'] / 1024:.1f}.",
        f"- **Share of the peak.** This is {own['share_of_product_rate']:.0%} of the rate of a "
        f"large bfloat16 matrix product on the same card ({own['product_tflops']:.0f} TFLOP/s). "
        f"The card hardly waits for the program: of a step's {step['milliseconds_a_step']:.0f} ms "
        f"its kernels take {step['busy_milliseconds_a_step']:.0f}. At least "
        f"{kernels['share'][convolution].sum():.0%} of that are convolutions and "
        f"{kernels['share'][norm].sum():.0%} batch norm. The first level's convolution of 16 by "
        "16 channels at 512×512 pixels, forward and backward, reaches "
        f"{first['channels_last']['tflops']:.0f} TFLOP/s by itself (channels first "
        f"{first['channels_first']['tflops']:.0f}, as a matrix product of unfolded pictures "
        f"{first['unfolded']['tflops']:.0f}).",
        "- **Correctness.** In float32 without TF32 the losses of twenty steps of a small network "
        f"differ from a CPU's by at most {same['loss_difference']:.0e}. Batches are the same "
        "whether the pictures lie on the GPU or are sent there step by step. A training of 20 "
        f"steps that was resumed from its checkpoint at step {resumed['resumed_after']:.0f} ended "
        "with weights that differ from those of an uncut one by at most "
        f"{resumed['weight_difference']:g}, and two uncut ones by "
        f"{resumed['uncut_weight_difference']:g}. So short a test does not prove that trainings on "
        "a GPU can be repeated bit for bit."])


def figures() -> str:
    """The finished figures in figures/, each with its caption."""
    crack_runs, road_runs = (source("quick", task, "synthetic") for task in ("cracks", "roads"))
    shown = {"fine_cracks": caption().strip("*").replace("(docs/", "(../docs/")}
    for name, caption_of in captions.CAPTIONS.items():
        on_roads = name in captions.ON_ROADS
        shown[name] = caption_of(road_runs if on_roads else crack_runs)
    for name, of_camvid in CAMVID_FIGURES.items():
        shown[name] = f"CamVid's roads. {captions.caption(of_camvid, CAMVID_ROADS)}"
    slopes = pd.read_csv(BENCHMARKS / "growth_slopes.csv").to_dict("records")
    parts = [f"{row['axis'].replace('_', ' ')} {row['measured_slope']:.2f} "
             f"({row['expected_slope']:g})" for row in slopes]
    shown["growth"] = ("How the time grows, drawn by `make benchmark`. Log-log slopes, in brackets "
                       f"the expected ones: {', '.join(parts)}.")
    return "\n\n".join(f'**[`{name}`]({name}.pdf)** {text}\n\n<img src="{name}.png" '
                       f'alt="{name}" width="420">' for name, text in shown.items())


def figure(value: float) -> str:
    """Three digits, or a dash where there is no figure."""
    return "–" if pd.isna(value) else f"{value:.3f}"


def markdown(header: list[str], alignment: str, rows: list[list[str]]) -> str:
    """A table in Markdown; `alignment` has a letter for each column, l(eft) or r(ight)."""
    rules = {"l": "---", "r": "--:"}
    lines = ["| " + " | ".join(header) + " |",
             "|" + "|".join(rules[letter] for letter in alignment) + "|"]
    for row in rows:
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


BLOCKS = {"answer": answer, "caption": caption, "claims": claims_of_the_papers,
          "results": results, "details": details, "more-results": more_results, "study": study,
          "answer-ko": answer_in_korean, "supplied": supplied_networks,
          "claims-ko": claims_in_korean, "models": shipped_models, "trained-there": trained_there,
          "unseen": unseen_photographs, "open-choices": open_choices, "networks": four_networks,
          "leaks": leaks, "trust": trust,
          "table8": table8, "blending": blending, "seams": seams, "mistaken": mistaken,
          "whole-cracks": whole_cracks, "fine-tuning-rate": fine_tuning_rate,
          "prediction-speed": prediction_speed, "slider": slider_times,
          "known-faults-camvid": known_faults_of_camvid,
          "camvid": camvid_iou, "verdicts": camvid_verdicts,
          "pairs": camvid_pairs, "figures": figures, "notebooks": notebook_minutes, "speed": speed,
          "gpu": gpu}


def camvid_tables() -> dict[Path, str]:
    """The tables of the runs on CamVid's roads, by their path."""
    tables = {"iou_table": road_tables.iou_table(CAMVID_ROADS),
              "iou_by_sequence": road_tables.by_sequence(CAMVID_ROADS),
              "iou_by_open_choice": road_tables.by_open_choice(CAMVID_ROADS),
              "iou_by_label_convention": road_tables.by_label_convention(CAMVID_ROADS),
              "pairs": verdicts.pairs(CAMVID_ROADS),
              "verdicts": verdicts.verdicts(CAMVID_ROADS),
              "verdicts_converged": verdicts.verdicts(CAMVID_ROADS, converged=True),
              "verdicts_by_definition": verdicts.by_definition(CAMVID_ROADS, converged=True)}
    folder = records.records_folder(RESULTS, *CAMVID).parent / "tables"
    return {folder / f"{name}.csv": table.to_csv(index=False) for name, table in tables.items()
            if len(table)}


def pages() -> list[Path]:
    """The files that may have blocks."""
    return [path for pattern in ("README*.md", "docs/*.md", "models/*.md", "figures/*.md")
            for path in sorted(files.ROOT.glob(pattern))]


def fill(page: Path) -> tuple[str, list[str]]:
    """A page's text with every block computed anew, and the names of the blocks that changed.

    `ValueError`, with the page and the line, for a marker without its counterpart and for a block
    that `BLOCKS` does not have.
    """
    text = page.read_text(encoding="utf-8")
    markers = list(MARKER.finditer(text))
    result, end, changed = "", 0, []
    for opening, closing in itertools.zip_longest(markers[::2], markers[1::2]):
        name = opening[2]
        place = f"{page.name}, line {text.count(chr(10), 0, opening.start()) + 1}"
        if opening[1] or closing is None or closing[1] != "/" or closing[2] != name:
            raise ValueError(f"{place}: {opening[0]} is not followed by its <!-- /{name} -->.")
        if name not in BLOCKS:
            raise ValueError(f"{place}: there is no block {name}; expected one of "
                             f"{', '.join(BLOCKS)}.")
        content = f"\n{BLOCKS[name]()}\n".replace("(α, β = ", "(α = β = ")  # the papers' names
        if content != text[opening.end():closing.start()]:
            changed.append(name)
        result += text[end:opening.end()] + content
        end = closing.start()
    return result + text[end:], changed


def update(check: bool = False) -> list[str]:
    """Compute every block and table anew. Returns what was out of date: files, and their blocks.

    With `check` nothing is written.
    """
    outdated, contents = [], camvid_tables()
    for path, content in contents.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != content:
            outdated.append(os.path.relpath(path, files.ROOT))
    for page in pages():
        contents[page], changed = fill(page)
        outdated += [f"{os.path.relpath(page, files.ROOT)}: block {name}" for name in changed]
    if not check:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_atomically(path, content.encode())
    return outdated


def main(words: list[str] | None = None) -> int:
    """The exit status: 1 if `--check` found something out of date, else 0."""
    parser = argparse.ArgumentParser(prog="python -m workflow.numbers", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true",
                        help="change nothing, only say what is out of date")
    given = parser.parse_args(words)
    outdated = update(given.check)
    for name in outdated:
        print(f"{name} {'is out of date: run make numbers' if given.check else 'was rewritten'}")
    return int(given.check and bool(outdated))


if __name__ == "__main__":
    sys.exit(main())
