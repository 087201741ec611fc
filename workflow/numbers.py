"""The README's measured numbers, computed from `results/`: `python -m workflow.numbers` rewrites
them, and a test compares.

Each stands between `<!-- name -->` and `<!-- /name -->`.
"""

import math
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd

from crackutils import files, metrics, records
from crackutils.losses import NAMES
from crackutils.papers import crack_tables, road_tables, verdicts
from crackutils.papers.crack_tables import Source
from crackutils.protocol import preset

README = files.ROOT / "README.md"
RESULTS = files.ROOT / "results"
STAGES = RESULTS / "quick" / "stages.csv"
BENCHMARKS = RESULTS / "benchmarks"
PHOTOGRAPHS = ("cpu", "sut_crack_512")
FRAMES = ("cpu", "camvid_road")
FRAMES_SEEDS = (0, 1, 2, 3, 4)
TITLES = {"01_data": "what the networks see, and whether it is a real task",
          "02_losses_by_hand": "what each loss charges, on 4×4 masks; the audit of both papers",
          "04_train_cracks": "training, one family of losses on cracks",
          "05_threshold_sweeps": "Tables 1 and 4 to 8, recall by crack width",
          "07_drivable_area": "training and the IoU table of paper B",
          "08_figures": "the papers' figures, loss curves, precision–recall curves"}


def source(protocol: str, task: str, dataset: str) -> Source:
    """The committed records of a protocol and a data set."""
    return Source(preset(protocol, task), dataset, {"results": RESULTS})


def table8() -> str:
    """F1 of Table 8's rows and BCE: the paper's, then ours at its threshold and at our own."""
    synthetic = crack_tables.crack_table(8, source("quick", "cracks", "synthetic"))
    photographs = crack_tables.crack_table(8, source(PHOTOGRAPHS[0], "cracks", PHOTOGRAPHS[1]))
    own = [own_threshold_f1(source("quick", "cracks", "synthetic")),
           own_threshold_f1(source(PHOTOGRAPHS[0], "cracks", PHOTOGRAPHS[1]))]
    lines = ["| loss | weight | threshold | paper | synthetic (`quick`) | … own threshold "
             "| photographs (`cpu`) | … own threshold |", "|---|--:|--:|--:|--:|--:|--:|--:|"]
    for index, row in synthetic.iterrows():
        weight = "–" if pd.isna(row["weight"]) else f"{row['weight']:g}"
        lines.append(" | ".join([
            f"| {NAMES[row['loss']]}{' (added)' if row['loss'] == 'bce' else ''}", weight,
            f"{row['threshold']:g}",
            figure(row["f1_score_published"]), figure(row["f1_score"]), own[0][index],
            figure(photographs["f1_score"][index]), own[1][index]]) + " |")
    return "\n".join(lines)


def own_threshold_f1(origin: Source) -> list[str]:
    """Test F1 of Table 8's rows, each at the threshold that is best on the validation part."""
    cells = []
    for row in crack_tables.crack_table(8, origin).to_dict("records"):
        for counts in origin.counts(row["loss"], crack_tables.none_if_missing(row["weight"])):
            threshold = metrics.best_threshold(counts, "validation")
            index = metrics.at_threshold(counts, threshold)
            f1_score = metrics.scores(counts, "test")["f1_score"][index]
            cells.append(f"{figure(f1_score)} ({threshold:g})")
    return cells


def iou() -> str:
    """Paper B's rows, the paper's IoU and ours."""
    origin = source("quick", "roads", "synthetic")
    lines = ["| loss | paper | synthetic (`quick`) |", "|---|--:|--:|"]
    lines += [f"| {row['label']} | {figure(row['iou_published'])} | {figure(row['iou'])} |"
              for row in road_tables.iou_table(origin).to_dict("records")]
    lines.append(f"| everything is road | – | {figure(road_tables.everything_is_road(origin))} |")
    return "\n".join(lines)


def camvid_source() -> Source:
    """The committed runs on CamVid's roads."""
    return replace(source(FRAMES[0], "roads", FRAMES[1]), seeds=FRAMES_SEEDS)


def camvid() -> str:
    """Paper B's rows and the added ones on CamVid's roads, with intervals."""
    table = road_tables.iou_table(camvid_source())
    others = ("iou_mean_of_images", "iou_mean_of_classes", "iou_official")
    lines = ["| loss | paper | pooled IoU of each seed | mean of those that learned (95 %) "
             "| at own threshold | mean of images | mean of classes | official (here: recall) |",
             "|---|--:|--:|--:|--:|--:|--:|--:|"]
    for row in table.to_dict("records"):
        cells = [figure(row.get(name, math.nan)) for name in ("iou_selected", *others)]
        lines.append(f"| {row['label']} | {figure(row['iou_published'])} | {row['of_seeds']} "
                     f"| {with_interval(row)} | {' | '.join(cells)} |")
    read = road_tables.readings(camvid_source()).set_index(["prediction", "labels"])
    everything = read.loc[("everything is road", "right")]
    cells = [figure(everything[name]) for name in others]
    lines.append(f"| everything is road | – | – | {figure(everything['iou'])} | – "
                 f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", "† One run that learned: the interval is over the frames alone "
                      "and says nothing about another training.", "",
                      road_tables.encoder_line(table)])


def with_interval(row: dict) -> str:
    """A row's IoU with its 95 % interval, marked if no seeds are in it."""
    if pd.isna(row.get("iou_low", math.nan)):
        return "–"
    if row["seeds"] == row["collapsed"]:
        return "none learned"
    alone = " †" if row["seeds"] - row["collapsed"] == 1 else ""
    return f"{row['iou']:.3f} ({row['iou_low']:.3f}–{row['iou_high']:.3f}){alone}"


def judged() -> str:
    """The verdict on each sentence of paper B's conclusion, without the seeds that collapsed."""
    rows = verdicts.verdicts(camvid_source(), learned=True).to_dict("records")
    lines = [f"| paper B's conclusion | figure, in IoU points | paper | ours, {rows[0]['seeds']} "
             "seeds (95 %) | told from | verdict |", "|---|---|--:|--:|--:|---|"]
    for row in rows:
        between = "" if pd.isna(row["low"]) else f" ({row['low']:.2f} to {row['high']:.2f})"
        told_from = f"{row['told_from']:.2f}" if row["paper"] > 0 else "–"
        lines.append(f"| {row['sentence']} | {row['figure']} | {row['paper']:g} "
                     f"| {row['ours']:.2f}{between} | {told_from} | {row['verdict']} |")
    return "\n".join(lines)


def told_apart() -> str:
    """Which pairs of losses differ: by an error shared by all of them, and each for itself."""
    table = verdicts.pairs(camvid_source())
    alone = table[(table["low"] > 0) | (table["high"] < 0)]
    lines = [f"- {row['first']} − {row['second']}: {row['difference']:+.2f} points "
             f"({row['low']:.2f} to {row['high']:.2f}, {row['seeds']} seeds)"
             f"{': **told apart**' if row['told'] else ''}" for row in alone.to_dict("records")]
    return "\n".join([
        f"Each loss against each, {len(table)} pairs: {table['told'].sum()} can be told apart at "
        f"an error of 5 % that all of them share, {len(alone)} have an interval of their own that "
        f"leaves out 0 (one in twenty would by chance){':' if lines else '.'}", "", *lines])


def notebooks() -> str:
    """The notebooks with the minutes they took in `make reproduce` on two cores."""
    stages = pd.read_csv(STAGES)
    stages["ended"] = stages["begun"] + stages["seconds"]
    lines = ["| notebook | answers | minutes |", "|---|---|--:|"]
    for name, title in TITLES.items():
        of_name = stages[stages["stage"].str.startswith(name)]
        minutes = (of_name["ended"].max() - of_name["begun"].min()) / 60
        runs_of = f" ({len(of_name)} executions)" if len(of_name) > 1 else ""
        lines.append(f"| [`{name}`](notebooks/{name}.ipynb) | {title} "
                     f"| {minutes:.1f}{runs_of} |")
    total = stages["ended"].max() / 60
    lines.append(f"| `make reproduce` | all of it, after set-up | {total:.0f} |")
    return "\n".join(lines)


def speed() -> str:
    """Training beside its peers, and the same runs in both precisions (`make benchmark`)."""
    table = pd.read_csv(BENCHMARKS / "training.csv")
    lines = ["| network | crackutils | plain PyTorch | Keras 3 | times PyTorch, Keras |",
             "|---|--:|--:|--:|--:|"]
    for network, rows in table.fillna({"first_filters": 0}).groupby(
            ["model", "first_filters"], sort=False):
        own = rows[rows["implementation"] == "crackutils"].iloc[0]
        rates = {row["implementation"]: f"{row['images_per_second']:.1f} ({row['slowest']:.1f}–"
                 f"{row['fastest']:.1f})" for row in rows.to_dict("records")}
        ratios = [f"{ratio:.2f} ×" for ratio in own[["ratio_to_plain_pytorch", "ratio_to_keras"]]
                  if not pd.isna(ratio)]
        name = f"U-Net, {network[1]:.0f} first filters" if network[1] else "FPN-ResNet-50"
        lines.append(f"| {name} | {rates['crackutils']} | {rates['plain_pytorch']} "
                     f"| {rates.get('keras', '–')} | {', '.join(ratios)} |")
    facts, own = table.iloc[0], table[table["implementation"] == "crackutils"]
    share = own.loc[own["first_filters"] == 16, "share_of_product_rate"].iloc[0]
    sweep = pd.read_csv(BENCHMARKS / "thresholds.csv").set_index("implementation")
    faster = sweep["times_as_fast_is_crackutils"]
    return "\n".join([*lines, "", f"Images a second in training, median (slowest–fastest of "
                      f"{facts['turns']} turns), on {facts['cores']} cores of "
                      f"{facts['processor']}. With 16 filters that is {share:.0%} of the rate of a "
                      "large bfloat16 matrix product there. Counting "
                      f"{sweep['thresholds'].iloc[0]} thresholds is {faster['torchmetrics']:.0f} "
                      "times as fast as torchmetrics' binned curve and "
                      f"{faster['plain_loop']:.0f} times as fast as a plain loop, with equal "
                      "counts.", "", precision()])


def precision() -> str:
    """F1 and own threshold of the same seeds in float32 and in bfloat16."""
    table = pd.read_csv(BENCHMARKS / "precision.csv")
    lines = ["| loss | precision | test F1 by seed | mean ± deviation | own thresholds |",
             "|---|---|--:|--:|--:|"]
    for (loss, name), rows in table.groupby(["loss", "precision"], sort=False):
        scores = rows["test_f1"]
        lines.append(f"| {NAMES[loss]} | {name} | {' '.join(map(figure, scores))} "
                     f"| {scores.mean():.3f} ± {scores.std():.3f} "
                     f"| {' '.join(f'{value:g}' for value in rows['threshold'])} |")
    scores = table.groupby(["precision", "loss"])["test_f1"].agg(["mean", "std"])
    apart = (scores.loc["bfloat16", "mean"] - scores.loc["float32", "mean"]).abs().max()
    return "\n".join([*lines, "", f"The means of the two precisions differ by {apart:.3f} at most, "
                      f"float32's seeds deviate by {scores.loc['float32', 'std'].min():.3f} or "
                      "more."])


def figure(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.3f}"


BLOCKS = {"table8": table8, "iou": iou, "camvid": camvid, "verdicts": judged,
          "pairs": told_apart,
          "notebooks": notebooks, "speed": speed}


def filled(text: str) -> str:
    """The README's text with every block computed anew."""
    for name, block in BLOCKS.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        if not re.search(pattern, text, flags=re.S):
            raise ValueError(f"README.md has no block <!-- {name} --> ... <!-- /{name} -->.")
        content = block()
        text = re.sub(pattern, lambda found, content=content: f"{found[1]}{content}\n{found[2]}",
                      text, flags=re.S)
    return text


def camvid_tables() -> dict[Path, str]:
    """The committed tables of the runs on CamVid's roads, by their path."""
    origin = camvid_source()
    folder = records.records_folder(RESULTS, *FRAMES).parent / "tables"
    return {folder / f"{name}.csv": table.to_csv(index=False) for name, table in (
        ("iou_table", road_tables.iou_table(origin)),
        ("iou_by_sequence", road_tables.by_sequence(origin)),
        ("iou_by_register", road_tables.by_register(origin)),
        ("iou_by_readings", road_tables.readings(origin)),
        ("pairs", verdicts.pairs(origin)),
        ("verdicts", verdicts.verdicts(origin)),
        ("verdicts_learned", verdicts.verdicts(origin, learned=True)),
        ("verdicts_by_definition", verdicts.by_definition(origin, learned=True))) if len(table)}


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
    for path, content in camvid_tables().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
