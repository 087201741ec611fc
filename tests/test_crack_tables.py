"""Paper A's tables from small made-up records whose figures are worked out here by hand."""

import math
import re
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from crackutils import files, records
from crackutils.evaluation import THRESHOLDS
from crackutils.papers import crack_tables, road_tables, verdicts
from crackutils.papers.source import Source, reading_source
from crackutils.protocol import preset

FLOAT32 = {"precision": "float32"}
SMOKE, ROADS = preset("smoke", overrides=FLOAT32), preset("smoke", "roads", FLOAT32)
FIGURES = ["precision", "recall", "accuracy", "f1_score"]
PIXELS, POSITIVES = 1000, 200
HISTORY = pd.DataFrame({"step": [1], "loss": [1.0]})
MEASURED = {"precision": "float32", "device": "cpu", "torch": "2.15.0"}
# the papers' rows, typed again: loss, weight, threshold, precision of each table
ROWS = {1: [("mse", None, 0.1, .806), ("mse", None, 0.4, .949), ("mse", None, 0.75, .986),
            ("mse", None, 0.9, .994)],
        4: [("balanced_step", 0.69, 0.9, .94), ("balanced_step", 0.83, 0.9, .945),
            ("balanced_step", 0.9, 0.9, .884), ("balanced_step", 0.97, 0.9, .784)],
        5: [("squared_balanced_step", 0.2, 0.75, .864), ("squared_balanced_step", 0.3, 0.75, .947),
            ("squared_balanced_step", 0.5, 0.75, .884), ("squared_balanced_step", 0.7, 0.75, .849)],
        6: [("step", 0.5, 0.5, .863), ("step", 0.69, 0.5, .908), ("step", 0.97, 0.5, .887),
            ("step", 1.3, 0.5, .885)],
        7: [("relu", 0.5, 0.5, .898), ("relu", 0.69, 0.5, .929), ("relu", 0.97, 0.5, .936),
            ("relu", 1.3, 0.5, .926)],
        8: [("mse", None, 0.4, .949), ("balanced_step", 0.83, 0.9, .945),
            ("squared_balanced_step", 0.5, 0.75, .884), ("step", 0.69, 0.5, .908),
            ("relu", 0.97, 0.5, .936), ("bce", None, 0.5, math.nan)]}
ROAD_ROWS = [("tversky", "[0.3, 0.3]", .4934), ("dice", None, .4853),
             ("tversky", "[0.2, 0.2]", .4853), ("bce_dice", "[0.25, 1]", .4688),
             ("bce", None, .4687), ("bce_dice", "[0.43, 1]", .4597), ("bce_dice", "[1, 1]", .4457)]


def part(name: str, true, false, pixels=(600, 400), positives=(150, 50)) -> dict:
    """Counts of two images; `true` and `false` are images x thresholds."""
    missed = np.array(positives)[:, None] - true
    return {f"{name}_names": np.array(["a", "b"]), f"{name}_pixels": np.array(pixels),
            f"{name}_true_positives": true, f"{name}_false_positives": false,
            f"{name}_false_negatives": missed}


def falling(start: int, slope: int) -> np.ndarray:
    """Two images x thresholds: counts that differ from each threshold to the next."""
    column = np.arange(len(THRESHOLDS))
    return np.stack([start - slope * column, start // 4 - column // 4]).astype(np.uint32)


def write(root, protocol, test, validation=None, environment=MEASURED):
    test = {name: value.astype(np.uint32) if value.dtype != np.array("a").dtype else value
            for name, value in test.items()}
    other = {name.replace("test", "validation"): value for name, value in
             (validation or test).items()}
    record = records.record_folder(root, protocol, "synthetic", "f")
    records.save(record, protocol, "synthetic", "f", environment, HISTORY,
                 {"thresholds": THRESHOLDS, **test, **other}, None, {"w": torch.zeros(1)})
    return record


def source_of(tmp_path, protocol=SMOKE, seeds=(0,)):
    return Source(protocol, "synthetic", {"runs": tmp_path / "runs",
                                          "results": tmp_path / "results"}, seeds)


@pytest.fixture
def filled(tmp_path):
    """A record for each row of paper A in `runs`; ReLU .97 lies in `results` instead."""
    for number in (1, 4, 5, 6, 7, 8):
        for index, (loss, weight, _, _) in enumerate(ROWS[number]):
            if number == 8 and loss != "bce" or number == 1 and index:
                continue  # Table 8 repeats rows, Table 1 is one run at four thresholds
            place = "results" if (loss, weight) == ("relu", 0.97) else "runs"
            write(tmp_path / place, SMOKE.with_run(loss, weight, 0),
                  part("test", falling(149 - number - 2 * index, 1), falling(300 + number, 2)))
    return source_of(tmp_path)


def by_hand(number: int, index: int, threshold: float) -> list[float]:
    """The figures of a record of `filled`: counts summed over two images at one threshold."""
    k = THRESHOLDS.tolist().index(threshold)
    start = 149 - number - 2 * index
    tp = (start - k) + (start // 4 - k // 4)
    fp = (300 + number - 2 * k) + ((300 + number) // 4 - k // 4)
    fn = POSITIVES - tp
    precision, recall = tp / (tp + fp), tp / POSITIVES
    return [precision, recall, (PIXELS - fp - fn) / PIXELS,
            2 * precision * recall / (precision + recall)]


@pytest.mark.parametrize("number", ROWS)
def test_rows_are_the_papers_in_its_order_with_the_published_figures(filled, number):
    table = crack_tables.crack_table(number, filled)
    rows = [(row.loss, crack_tables.none_if_missing(row.weight), row.threshold)
            for row in table.itertuples()]
    assert rows == [row[:3] for row in ROWS[number]]
    np.testing.assert_array_equal(table["precision_published"], [row[3] for row in ROWS[number]])
    assert table.columns[:8].tolist() == ["loss", "weight", "threshold", *FIGURES, "source"]
    printed = pd.read_csv(files.ROOT / "data" / "published" / f"table{number}.csv")
    for figure in FIGURES:
        assert table[f"{figure}_published"].tolist()[:len(printed)] == printed[figure].tolist()


@pytest.mark.parametrize("number", (1, 4, 5, 6, 7))
def test_measured_figures_are_the_arithmetic_at_the_papers_threshold(filled, number):
    table = crack_tables.crack_table(number, filled)
    for index, row in enumerate(table.to_dict("records")):
        record = 0 if number == 1 else index
        expected = by_hand(number, record, row["threshold"])
        assert [row[figure] for figure in FIGURES] == pytest.approx(expected, abs=6e-7)
        beside = by_hand(number, record, round(row["threshold"] + 0.01, 2))
        assert abs(beside[3] - expected[3]) > 1e-4


def test_each_row_says_where_its_record_lies(filled, tmp_path):
    sources = crack_tables.crack_table(7, filled)["source"]
    assert sources.iloc[0] == "runs/smoke/synthetic/records/" \
        + records.record_folder(tmp_path, SMOKE.with_run("relu", 0.5, 0), "synthetic", "f").name
    assert [text.split("/")[0] for text in sources] == ["runs", "runs", "results", "runs"]


def test_without_results_every_row_lies_under_runs(filled, tmp_path):
    write(tmp_path / "runs", SMOKE.with_run("relu", 0.97, 0),
          part("test", falling(149, 1), falling(300, 2)))
    source = reading_source("smoke", "cracks", "synthetic", str(tmp_path / "runs"), "", [0],
                            FLOAT32)
    for number in ROWS:
        table = crack_tables.crack_table(number, source)
        assert table["source"].str.startswith("runs/smoke/").all()


def test_a_row_without_a_record_is_empty(filled, tmp_path):
    source = Source(SMOKE, "synthetic", {"runs": tmp_path / "runs"})
    table = crack_tables.crack_table(7, source)
    assert table[FIGURES].isna().all(axis=1).tolist() == [False, False, True, False]
    assert table["source"][2] == "" and table["f1_score_published"][2] == 0.928
    nothing = crack_tables.crack_table(8, source_of(tmp_path / "nowhere"))
    assert len(nothing) == 6 and nothing[FIGURES].isna().all(axis=None)


def test_several_seeds_give_the_mean_and_its_t_interval(tmp_path):
    for seed in (0, 1, 2):
        write(tmp_path / "runs", SMOKE.with_run("relu", 0.5, seed),
              part("test", falling(149 - 4 * seed**2, 1), falling(300, 2)))
    row = crack_tables.crack_table(7, source_of(tmp_path, seeds=(0, 1, 2))).iloc[0]
    singles = [crack_tables.crack_table(7, source_of(tmp_path, seeds=(seed,))).iloc[0]
               for seed in (0, 1, 2)]
    for figure in FIGURES:
        values = [single[figure] for single in singles]
        low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
        assert row[figure] == pytest.approx(np.mean(values), abs=2e-6)
        assert (row[f"{figure}_low"], row[f"{figure}_high"]) == pytest.approx((low, high), abs=5e-6)
    assert [name.split("-")[-2] for name in row["source"].split()] == ["0", "1", "2"]
    assert "f1_score_low" not in singles[0]


def test_every_row_says_how_many_seeds_are_in_it_and_which_are_missing(tmp_path):
    for seed in (0, 2):
        write(tmp_path / "runs", SMOKE.with_run("relu", 0.97, seed), with_widths(seed))
    write(tmp_path / "runs", SMOKE.with_run("mse", None, 1), with_widths(1))
    for seeds, relu, mse in (((0,), (1, ""), (0, "seed 0")),
                             ((0, 1, 2), (2, "seed 1"), (1, "seeds 0, 2"))):
        source = source_of(tmp_path, seeds=seeds)
        for table in (crack_tables.crack_table(8, source), crack_tables.recall_by_width(source),
                      crack_tables.at_validation_thresholds(source)):
            rows = table.set_index(["loss", "weight"])[["seeds", "missing_seeds"]]
            assert tuple(rows.loc[("relu", 0.97)]) == relu
            if "mse" in table["loss"].tolist():
                assert tuple(table.set_index("loss").loc["mse", rows.columns]) == mse
    shown = crack_tables.paper_beside_ours({"ours": crack_tables.crack_table(8, source)})
    assert shown["seeds"].tolist() == ["1", "0", "0", "0", "2", "0"]
    assert shown["missing seeds"].tolist()[4] == "seed 1"


def test_the_tables_of_two_data_sets_stand_beside_the_papers(filled):
    table = crack_tables.crack_table(7, filled)
    shown = crack_tables.paper_beside_ours({"one": table, "two": table.assign(f1_score=0.5)})
    assert shown["loss"].tolist() == ["ReLU 0.5", "ReLU 0.69", "ReLU 0.97", "ReLU 1.3"]
    assert shown["threshold"].tolist() == ["0.5"] * 4
    assert shown["F1, paper"].tolist() == [0.889, 0.927, 0.928, 0.917]
    assert shown["F1, one"].tolist() == table["f1_score"].round(3).tolist()
    assert shown["F1, two"].tolist() == [0.5] * 4


def test_a_test_part_without_a_crack_leaves_the_row_empty_with_the_reason(tmp_path):
    empty = {name: 0 * value if name.startswith("test_true") or name.startswith("test_false_neg")
             else value for name, value in with_widths(0).items()}
    write(tmp_path / "runs", SMOKE.with_run("relu", 0.97, 0), empty)
    source = source_of(tmp_path)
    for table in (crack_tables.crack_table(8, source),
                  crack_tables.at_validation_thresholds(source)):
        row = table[(table["loss"] == "relu") & (table["weight"] == 0.97)].iloc[0]
        assert np.isnan(row["f1_score"]) and row["seeds"] == 0
        assert row["missing_seeds"] == "seed 0: the test part has no positive pixel"


def test_a_row_names_the_seeds_whose_training_failed(tmp_path):
    for task, protocol in (("cracks", SMOKE), ("roads", ROADS)):
        failed = protocol.with_run("bce", None, 1)
        record = records.record_folder(tmp_path / "runs", failed, "synthetic", "f")
        records.write_config(record, failed, "synthetic", "f")
        (record / records.FAILED).write_text("TrainingFailedError: The loss is nan\n")
        source = source_of(tmp_path, protocol, seeds=(0, 1))
        table = crack_tables.crack_table(8, source) if task == "cracks" \
            else road_tables.iou_table(source)
        missing = table.set_index("loss")["missing_seeds"]
        assert missing["bce"] == "seeds 0, 1 (failed)"
        assert (missing.drop("bce") == "seeds 0, 1").all()


def with_widths(seed: int) -> dict:
    """Counts of two images, with two width classes, that change with the seed."""
    counts = part("test", falling(149 - 9 * seed, 1), falling(300, 2))
    narrow = falling(60 - 9 * seed, 1) // 2
    return counts | {"width_edges": np.array([1]),
                     "test_positives_by_width": np.array([[75, 75], [25, 25]]),
                     "test_true_positives_by_width": np.stack([narrow, narrow + 1], axis=1)}


def test_recall_by_width_has_one_row_a_loss_and_weight_the_mean_over_seeds(tmp_path):
    for seed in (0, 1):
        write(tmp_path / "runs", SMOKE.with_run("relu", 0.97, seed), with_widths(seed))
    row, = crack_tables.recall_by_width(source_of(tmp_path, seeds=(0, 1))).to_dict("records")
    # the highest F1 of the validation part lies at the lowest threshold, index 0
    narrow = [(60 - 9 * seed) // 2 + (60 - 9 * seed) // 4 // 2 for seed in (0, 1)]
    assert row["< 1 px"] == pytest.approx(np.mean(narrow) / 100, abs=6e-4)
    assert row[">= 1 px"] == pytest.approx((np.mean(narrow) + 2) / 100, abs=6e-4)
    true = [149 - 9 * seed + (149 - 9 * seed) // 4 for seed in (0, 1)]
    assert row["precision"] == pytest.approx(np.mean([tp / (tp + 375) for tp in true]), abs=6e-4)


def test_each_seed_has_its_own_validation_threshold(tmp_path):
    for seed, place in ((0, 0.2), (1, 0.4)):
        write(tmp_path / "runs", SMOKE.with_run("mse", None, seed),
              part("test", peak(0.8, 120), 0 * peak(0.8, 1)),
              part("test", peak(place, 140), 0 * peak(0.8, 1)))
    table = crack_tables.at_validation_thresholds(source_of(tmp_path, seeds=(0, 1)))
    row = table.set_index("loss").loc["mse"]
    # 60 and 40 thresholds off the test part's own peak: 120 - 60 + 40 - 15, 120 - 40 + 40 - 10
    assert row["recall"] == pytest.approx((85 + 110) / 2 / 200, abs=6e-4)
    assert row["threshold"] == pytest.approx(0.3) and row["precision"] == 1
    chosen = crack_tables.crack_table(8, source_of(tmp_path, seeds=(0, 1))).iloc[0]
    assert chosen["threshold_selected"] == pytest.approx(0.3)
    assert chosen["recall_selected"] == pytest.approx((85 + 110) / 2 / 200)


@pytest.mark.parametrize("field, other", [("precision", "bfloat16"), ("torch", "2.14.0"),
                                          ("device", "cuda")])
def test_a_table_of_records_from_different_environments_warns(tmp_path, field, other):
    for seed, environment in ((0, MEASURED), (1, MEASURED | {field: other})):
        write(tmp_path / "runs", SMOKE.with_run("relu", 0.97, seed), with_widths(seed),
              environment=environment)
        write(tmp_path / "runs", ROADS.with_run("bce", None, seed), with_widths(seed),
              environment=environment)
    write(tmp_path / "runs", ROADS.with_run("dice", None, 0), with_widths(0))
    write(tmp_path / "runs", replace(ROADS, smoothing=1.0).with_run("dice", None, 0),
          with_widths(0), environment=MEASURED | {field: other})
    cracks, roads = (source_of(tmp_path, protocol, (0, 1)) for protocol in (SMOKE, ROADS))
    for made, source in ((lambda source: crack_tables.crack_table(8, source), cracks),
                         (crack_tables.at_validation_thresholds, cracks),
                         (crack_tables.recall_by_width, cracks), (road_tables.iou_table, roads),
                         (road_tables.by_sequence, roads), (road_tables.by_classes, roads),
                         (verdicts.verdicts, roads), (verdicts.pairs, roads)):
        with pytest.warns(UserWarning, match=f"differ.*{other}"):
            made(source)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            made(replace(source, seeds=(0,)))
    with pytest.warns(UserWarning, match=f"differ.*{other}"):
        road_tables.by_open_choice(roads)


def test_known_faults_of_the_records_are_listed_once_each(tmp_path):
    faults = {("relu", 0.5): ["b is wrong.", "a is wrong."], ("relu", 0.69): ["b is wrong."],
              ("mse", None): None}
    for (loss, weight), sentences in faults.items():
        record = write(tmp_path / "runs", SMOKE.with_run(loss, weight, 0), with_widths(0))
        if sentences:
            config = records.read_json(record / "config.json")
            records.write_json(record / "config.json", {**config, "known_faults": sentences})
    assert source_of(tmp_path).known_faults() == ["a is wrong.", "b is wrong."]
    assert source_of(tmp_path, seeds=(1,)).known_faults() == []


def peak(threshold: float, height: int) -> np.ndarray:
    """Two images x thresholds: true positives that have one highest place."""
    distance = np.abs(np.arange(len(THRESHOLDS)) - THRESHOLDS.tolist().index(threshold))
    return np.stack([height - distance, 40 - distance // 4]).clip(0)


def test_table_8_selects_on_validation_and_reports_on_test(tmp_path):
    none = np.zeros((2, len(THRESHOLDS)), int)
    for weight, validation, test in ((0.69, peak(0.2, 140), peak(0.8, 120)),
                                     (1.3, peak(0.3, 130), peak(0.9, 145)),
                                     (0.5, peak(0.4, 90), peak(0.4, 160)),
                                     (0.97, peak(0.5, 80), peak(0.5, 170))):
        before = crack_tables.crack_table(8, source_of(tmp_path))
        assert "weight_selected" not in before  # no choice while a weight is missing
        write(tmp_path / "runs", SMOKE.with_run("relu", weight, 0), part("test", test, none),
              part("test", validation, none))
    row = crack_tables.crack_table(8, source_of(tmp_path)).set_index("loss").loc["relu"]
    assert (row["weight_selected"], row["threshold_selected"]) == (0.69, 0.2)
    # 60 thresholds off the test's own peak: 120 - 60 and 40 - 15 of 200, and no false alarm
    assert row["recall_selected"] == pytest.approx(85 / 200)
    assert row["precision_selected"] == 1
    assert row["f1_score_selected"] == pytest.approx(2 * 85 / (2 * 85 + 115), abs=6e-7)
    assert row["f1_score"] != row["f1_score_selected"] and row["weight"] == 0.97


def test_bce_is_an_added_last_row_without_published_figures(filled):
    table = crack_tables.crack_table(8, filled)
    last = table.iloc[-1]
    assert last["loss"] == "bce" and np.isnan(last["f1_score_published"])
    assert [last[figure] for figure in FIGURES] == pytest.approx(by_hand(8, 5, 0.5), abs=6e-7)


def test_the_iou_table_has_each_variant_by_hand(tmp_path):
    shape = (2, len(THRESHOLDS))
    true, false = np.zeros(shape, int), np.zeros(shape, int)
    true[:, 49], false[:, 49] = (90, 10), (60, 30)  # at .5, and nothing at the others
    write(tmp_path / "runs", ROADS.with_run("bce_dice", (0.25, 1), 0), part("test", true, false))
    table = road_tables.iou_table(source_of(tmp_path, ROADS))
    assert table.columns[:4].tolist() == ["loss", "weight", "label", "iou"]
    assert [(row.loss, crack_tables.none_if_missing(row.weight), row.iou_published)
            for row in table.itertuples()] == ROAD_ROWS
    row = table.iloc[3]
    assert row["label"] == "BCE-Dice (0.25:1)"
    # TP 90 + 10, FP 60 + 30, FN 60 + 40, so TN = 1000 - 290
    assert row["iou"] == pytest.approx(100 / 290, abs=6e-7)
    assert row["iou_mean_of_images"] == pytest.approx((90 / 210 + 10 / 80) / 2, abs=6e-7)
    assert row["iou_mean_of_classes"] == pytest.approx((100 / 290 + 710 / 900) / 2, abs=6e-7)
    assert table["iou"].notna().sum() == 1
    assert road_tables.everything_is_road(source_of(tmp_path, ROADS)) == POSITIVES / PIXELS
    assert math.isnan(road_tables.everything_is_road(source_of(tmp_path / "nowhere", ROADS)))


def test_a_table_is_written_byte_for_byte_alike_and_below_runs_only(filled, tmp_path):
    first = crack_tables.write(crack_tables.crack_table(8, filled), filled, "table8")
    content = first.read_bytes()
    assert first == tmp_path / "runs" / "smoke" / "synthetic" / "tables" / "table8.csv"
    again = crack_tables.write(crack_tables.crack_table(8, filled), filled, "table8")
    assert again.read_bytes() == content
    assert str(tmp_path).encode() not in content
    assert pd.read_csv(first)["loss"].tolist() == [row[0] for row in ROWS[8]]
    reading = Source(SMOKE, "synthetic", {"results": tmp_path / "results"})
    assert crack_tables.write(crack_tables.crack_table(8, reading), reading, "table8") is None
    assert not (tmp_path / "results" / "smoke" / "synthetic" / "tables").exists()


def test_smoke_shows_the_reference_runs_where_there_are_results(tmp_path, capsys):
    source = reading_source("smoke", "cracks", "synthetic", None, str(tmp_path), [0, 1],
                            {"steps": 1})
    assert source == Source(preset("quick"), "synthetic", {"results": tmp_path}, (0, 1))
    printed = capsys.readouterr().out
    assert "smoke" in printed and "quick" in printed
    photographs = reading_source("smoke", "cracks", str(tmp_path / "photos"), None, str(tmp_path),
                                 [0])
    assert (photographs.protocol, photographs.dataset) == (preset("smoke"), "photos")
    assert "mean nothing" in capsys.readouterr().out
    other = reading_source("cpu", "cracks", str(tmp_path / "photos"), str(tmp_path / "r"),
                           str(tmp_path), [0], {"steps": 9})
    assert other == Source(preset("cpu", overrides={"steps": 9}), "photos",
                           {"runs": tmp_path / "r", "results": tmp_path}, (0,))
    assert list(other.roots) == ["runs", "results"]


def test_no_folder_means_the_repositorys_and_an_empty_name_no_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = reading_source("cpu", "cracks", "synthetic", None, None, [0])
    assert source.roots == {"runs": files.ROOT / "runs", "results": files.ROOT / "results"}
    source = reading_source("smoke", "cracks", "synthetic", None, "", [0])
    assert source.roots == {"runs": files.ROOT / "runs"} and source.protocol == preset("smoke")
    (tmp_path / "others").mkdir()
    source = reading_source("cpu", "cracks", "synthetic", "mine", "./others", [0])
    assert source.roots == {"runs": tmp_path / "mine", "results": tmp_path / "others"}


def test_a_table_for_readers_marks_the_best_and_has_no_index():
    table = pd.DataFrame({"loss": ["MSE", "A & B", "C"], "F1": [np.nan, 0.7, 0.69999]}, [7, 8, 9])
    page = crack_tables.for_readers(table, best=["F1"]).data
    cells = [re.sub("</?div[^>]*>", "", cell) for cell in re.findall("<t[dh]>(.*)</t[dh]>", page)]
    assert cells == ["loss", "F1", "MSE", "–", "A &amp; B", "<b>0.700</b>", "C", "<b>0.700</b>"]
    assert page.count("text-align: left") == 4  # the first column with its title


def test_long_texts_are_aligned_to_the_left_and_sentences_become_a_list():
    table = pd.DataFrame({"a": ["1"], "short": ["x"], "long <": ["word " * 6]})
    page = crack_tables.for_readers(table).data
    left = '<div style="text-align: left; white-space: {}">{}</div>'.format
    assert left("normal", "long &lt;") in page and left("nowrap", "1") in page
    assert "<th>short</th>" in page
    wide = pd.DataFrame({str(number): ["1"] for number in range(crack_tables.WIDE_TABLE + 1)})
    assert "nowrap" not in crack_tables.for_readers(wide).data
    two_levels = pd.DataFrame({("loss", ""): ["MSE"], ("set <", "F1"): [0.5]})
    page = crack_tables.for_readers(two_levels).data
    assert "set &lt;" in page and ">F1<" in page and "0.500" in page
    assert crack_tables.bullets(["One.", "Two."]).data == "- One.\n- Two."
