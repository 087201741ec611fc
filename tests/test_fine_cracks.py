"""Recall of fine cracks at equal precision: by hand on small counts, and its intervals."""

import dataclasses

import numpy as np
import pandas as pd
import papermill
import pytest
import torch

from crackutils import files, records
from crackutils.evaluation import DETAIL_THRESHOLDS, THRESHOLDS, TOLERANCES, WIDTH_EDGES
from crackutils.papers import bootstrap, captions, fine_cracks, fine_figures
from crackutils.papers.source import Source
from crackutils.protocol import preset

SMOKE = preset("smoke", overrides={"precision": "float32"})
STRATA = len(WIDTH_EDGES) + 1
PICTURES = 40


def counts_of(quality: float, seed: int) -> dict[str, np.ndarray]:
    """Counts in which a network of higher quality finds more of the finest cracks."""
    generator = np.random.default_rng(seed)
    falling = np.linspace(1, 0, len(THRESHOLDS))
    ease = np.array([0.2, 0.5, 0.8, 0.9, 0.95]) * (0.5 + 0.5 * quality)
    arrays = {"thresholds": THRESHOLDS, "width_edges": WIDTH_EDGES,
              "detail_thresholds": DETAIL_THRESHOLDS, "tolerances": np.array(TOLERANCES)}
    for part in ("validation", "test"):
        present = generator.integers(50, 100, (PICTURES, STRATA))
        chance = np.clip(ease + 0.05 * generator.standard_normal((PICTURES, STRATA)), 0, 1)
        found = np.floor(present[..., None] * chance[..., None] * falling).astype(np.int64)
        false = np.floor(300 * falling**2 * np.ones((PICTURES, 1))).astype(np.int64)
        near = found.sum(axis=1) + false // 2  # half of what is wrong lies close to a crack
        detail = np.isin(THRESHOLDS, DETAIL_THRESHOLDS)
        shape = PICTURES, len(DETAIL_THRESHOLDS)
        arrays |= {f"{part}_{name}": value for name, value in {
            "names": np.array([f"p{index}" for index in range(PICTURES)]),
            "pixels": np.full(PICTURES, 9_000), "true_positives": found.sum(axis=1),
            "false_positives": false,
            "false_negatives": present.sum(axis=1)[:, None] - found.sum(axis=1),
            "true_positives_by_width": found, "positives_by_width": present,
            "claimed_near": np.repeat(near[:, None, detail], 3, 1),
            "found_near_by_width": np.repeat(found[:, None, :, detail], 3, 1),
            # of skeletons, half of what is predicted is right, and a quarter of the crack is met
            "claimed_skeleton": np.full(shape, 40), "claimed_skeleton_right": np.full(shape, 20),
            "skeleton": np.full(PICTURES, 80), "skeleton_found": np.full(shape, 20)}.items()}
    return arrays


def without_cracks(quality: float, seed: int) -> dict[str, np.ndarray]:
    """The same counts, but the test part has no crack pixel: all that is marked there is wrong."""
    counts = counts_of(quality, seed)
    for name in ("true_positives", "false_negatives", "true_positives_by_width",
                 "positives_by_width", "claimed_near", "found_near_by_width", "skeleton",
                 "claimed_skeleton_right", "skeleton_found"):
        counts[f"test_{name}"] = np.zeros_like(counts[f"test_{name}"])
    return counts


def source_with(tmp_path, runs: dict, seeds=(0, 1, 2), counts=counts_of) -> Source:
    """Records of runs {(loss, weight): quality}."""
    for (loss, weight), quality in runs.items():
        for seed in seeds:
            run = SMOKE.with_run(loss, weight, seed)
            records.save(records.record_folder(tmp_path, run, "synthetic", "f"), run, "synthetic",
                         "f", {"precision": "float32"}, pd.DataFrame({"step": [1], "loss": [1.0]}),
                         counts(quality + 0.02 * seed, seed), None, {"w": torch.zeros(1)})
    return Source(SMOKE, "synthetic", {"runs": tmp_path}, seeds)


def test_the_threshold_is_the_lowest_that_reaches_the_precision_on_the_validation_part():
    counts = counts_of(0.5, 0)
    found = fine_cracks.found_at_precision(counts, "test", 0.7)
    precision = fine_cracks.precisions(counts, "validation")
    index = int(np.flatnonzero(found.threshold == THRESHOLDS)[0])
    assert precision[index] >= 0.7 > precision[:index].max()
    true = counts["test_true_positives_by_width"][:, :, index]
    assert np.array_equal(found.found[:, 1:-1], true)
    f1 = fine_cracks.metrics.scores(counts, "test")["f1_score"][index]
    assert found.found[:, -1].sum() / found.present[:, -1].sum() == pytest.approx(f1)
    assert np.array_equal(found.found[:, 0], true.sum(axis=1))
    expected = true.sum() / (true.sum() + counts["test_false_positives"][:, index].sum())
    assert found.precision == pytest.approx(expected)
    assert fine_cracks.found_at_precision(counts, "test", 1.1) is None
    lowest = fine_cracks.precisions(counts, "validation")[0]  # at a lower one no loss is compared
    assert fine_cracks.found_at_precision(counts, "test", lowest - 0.9 * fine_cracks.ABOVE)
    assert fine_cracks.found_at_precision(counts, "test", lowest - 1.1 * fine_cracks.ABOVE) is None


def test_the_best_f1_takes_the_place_of_a_precision():
    counts = counts_of(0.5, 0)
    found = fine_cracks.found_at_precision(counts, "test", None)
    assert found.threshold == fine_cracks.metrics.best_threshold(counts, "validation")


def test_the_best_f1_of_the_thresholds_with_a_tolerance():
    counts = counts_of(0.5, 0)
    found = fine_cracks.found_at_precision(counts, "test", None, tolerance=1)
    scores = fine_cracks.metrics.scores(counts, "validation")["f1_score"]
    best = max(DETAIL_THRESHOLDS, key=lambda threshold: scores[threshold == THRESHOLDS])
    assert found.threshold == best


def test_a_tolerance_counts_what_is_near():
    counts = counts_of(0.5, 0)
    exact = fine_cracks.precisions(counts, "test")[np.isin(THRESHOLDS, DETAIL_THRESHOLDS)]
    near = fine_cracks.precisions(counts, "test", tolerance=2)
    assert near.shape == DETAIL_THRESHOLDS.shape and (near >= exact).all()
    assert near[3] > exact[3]
    tolerant = fine_cracks.found_at_precision(counts, "test", 0.7, tolerance=2)
    strict = fine_cracks.found_at_precision(counts, "test", 0.7)
    assert tolerant.threshold in DETAIL_THRESHOLDS and tolerant.threshold < strict.threshold


@pytest.mark.parametrize("chosen_on", ["validation", "test"])
@pytest.mark.parametrize("precision", [0.7, None])
def test_each_draw_of_the_pictures_chooses_its_own_threshold(chosen_on, precision):
    counts = counts_of(0.5, 0)
    counts["validation_false_positives"][::3] *= 2  # so that it matters which pictures are drawn
    counts["test_false_positives"][::3] *= 2
    run = fine_cracks.found_at_precision(counts, "test", precision, chosen_on=chosen_on)
    of_test = bootstrap.picture_weights(PICTURES, len(run.draws))
    choosing = of_test if chosen_on == "test" else bootstrap.picture_weights(
        PICTURES, len(run.draws), stream=2)
    chosen = set()
    for draw in (0, 1, 2, 500, 999):
        right, false, missed = (choosing[draw] @ counts[f"{chosen_on}_{name}"] for name in (
            "true_positives", "false_positives", "false_negatives"))
        if precision is None:
            index = (2 * right / (2 * right + false + missed)).argmax()
        else:
            index = np.flatnonzero(right / np.maximum(right + false, 1e-9) >= precision)[0]
        chosen.add(index)
        found = of_test[draw] @ counts["test_true_positives_by_width"][:, 1, index]
        present = of_test[draw] @ counts["test_positives_by_width"][:, 1]
        assert run.draws[draw, 2] == pytest.approx(found / present)
    assert len(chosen) > 1
    fixed = fine_cracks.found_at_threshold(counts, "test", run.threshold)
    assert fixed.draws is None and np.array_equal(fixed.found, run.found)


def test_a_single_picture_to_choose_thresholds_on_is_in_every_draw():
    counts = counts_of(0.5, 0)
    counts |= {name: values[:1] for name, values in counts.items() if "validation" in name}
    run = fine_cracks.found_at_precision(counts, "test", 0.7)
    weights = bootstrap.picture_weights(PICTURES, len(run.draws))
    assert run.draws == pytest.approx((weights @ run.found) / (weights @ run.present))


def test_the_table_has_a_row_for_each_loss_and_stratum_and_finds_a_difference(tmp_path):
    source = source_with(tmp_path, {("mse", None): 0.2, ("relu", 0.97): 0.2, ("dice", None): 0.6})
    table = fine_cracks.recall_table(source, 0.7)
    assert len(table) == 3 * (1 + STRATA + 1)  # all, the widths, F1
    rows = table.set_index(["loss", "stratum"])
    dice, relu = rows.loc[("dice", "1-2 px")], rows.loc[("relu", "1-2 px")]
    mse = rows.loc[("mse", "1-2 px")]
    assert dice["difference"] == pytest.approx(dice["recall"] - mse["recall"])
    assert dice["difference_low"] > 0 and dice["smallest_detectable"] < dice["difference"]
    assert relu["difference"] == 0  # the same counts
    assert mse["low"] < mse["recall"] < mse["high"] and np.isnan(mse["difference"])
    assert (table["seeds"] == 3).all() and (table["missing_seeds"] == "").all()
    assert len(dice["of_each_seed"].split()) == 3
    one_seed = fine_cracks.recall_table(source_with(tmp_path / "one", {
        ("mse", None): 0.2, ("dice", None): 0.6}, seeds=(0,)), 0.7)
    assert one_seed["difference_low"].isna().all()


def test_pictures_are_drawn_with_the_variance_of_their_mean():
    weights = bootstrap.picture_weights(30, 4000)
    values = np.random.default_rng(3).standard_normal(30)
    assert weights.sum(axis=1) == pytest.approx(30)
    draws = weights @ values / 30
    assert draws.std() == pytest.approx(values.std(ddof=1) / np.sqrt(30), rel=0.05)


def test_intervals_of_several_comparisons_are_wider():
    draws = np.random.default_rng(0).standard_normal(20_000)
    low, high = bootstrap.interval(draws, comparisons=12)
    # the middle 1 - .05 / 12 of a normal distribution: 2.865 deviations
    assert (low, high) == pytest.approx((-2.865, 2.865), abs=0.12)


def test_a_network_that_predicts_nothing_has_no_precision():
    counts = counts_of(0.5, 0)
    for part in ("validation", "test"):
        for name in ("true_positives", "false_positives", "true_positives_by_width"):
            counts[f"{part}_{name}"][..., 50:] = 0
    found = fine_cracks.found_at_precision(counts, "test", 0.99)
    assert np.isnan(fine_cracks.precisions(counts, "test")[50:]).all()
    assert found is None or found.threshold < THRESHOLDS[50]


def test_the_answer_names_what_differs_from_mse_and_what_does_not():
    rows = [("mse", None, np.nan, np.nan, np.nan), ("dice", None, 0.3, 0.1, 0.5),
            ("relu", 0.97, 0.05, -0.1, 0.2), ("focal", 2.0, -0.2, -0.3, -0.1)]
    table = pd.DataFrame(rows, columns=["loss", "weight", "difference", "difference_low",
                                        "difference_high"]).assign(stratum="1-2 px")
    assert fine_cracks.answer(table) == [
        "1 of 3 losses find significantly more of the cracks 1 to 2 px wide than MSE: Dice "
        "(+0.300).",
        "1 of 3 losses find significantly fewer of the cracks 1 to 2 px wide than MSE: Focal γ = 2 "
        "(-0.200)."]
    assert fine_cracks.answer(table.iloc[[0, 2]]) == [
        "none of 1 losses find significantly more of the cracks 1 to 2 px wide than MSE."]
    for without in (table.iloc[:1], table.iloc[:0]):
        [sentence] = fine_cracks.answer(without)
        assert sentence.startswith("no answer: intervals need three seeds")


@pytest.mark.parametrize("loss, weight, ratio", [("mse", None, 1), ("balanced_step", 0.5, 3)])
def test_a_weighted_loss_is_calibrated_once_its_predictions_are_mapped_back(loss, weight, ratio):
    """Of a million pixels, those with posterior q have the prediction k q / (k q + 1 - q)."""
    q = np.random.default_rng(0).beta(0.3, 2, 1_000_000)
    cracks = np.random.default_rng(1).random(len(q)) < q
    prediction = ratio * q / (ratio * q + 1 - q)
    claimed = prediction[:, None] >= THRESHOLDS[None, ::10]
    counts = {"thresholds": THRESHOLDS[::10], "test_pixels": np.array([len(q)]),
              "test_true_positives": claimed[cracks].sum(axis=0)[None],
              "test_false_positives": claimed[~cracks].sum(axis=0)[None],
              "test_false_negatives": (~claimed)[cracks].sum(axis=0)[None]}
    table = fine_cracks.reliability(counts, loss, weight)
    assert table["pixels"].sum() == len(q) and table["cracks"].sum() == cracks.sum()
    assert fine_cracks.calibration_error(table, "posterior") < 0.001
    error = fine_cracks.calibration_error(table, "prediction")
    assert error > 0.05 if ratio > 1 else error < 0.001


def test_the_figure_has_a_panel_for_each_table_and_a_row_for_each_loss(tmp_path):
    runs = {("mse", None): 0.2, ("relu", 0.97): 0.9}
    table = fine_cracks.recall_table(source_with(tmp_path, runs), 0.7, settings=tuple(runs))
    figure = fine_figures.recall_figure({"one": table, "two": table.iloc[:0]})
    one, two = figure.axes
    assert [tick.get_text() for tick in one.get_yticklabels()] == ["MSE", "ReLU 0.97"]
    assert two.texts[0].get_text() == "not run"
    more = fine_figures.recall_figure({"one": table, "two": table[table["loss"] == "mse"]})
    assert [text.get_text() for text in more.axes[1].texts] == ["–"]  # ReLU is not there
    dots = [line for line in one.lines
            if line.get_marker() == "o" and line.get_fillstyle() == "full"]
    expected = table[table["stratum"] == "1-2 px"]["recall"].tolist()
    assert [line.get_xdata()[0] for line in dots] == pytest.approx(expected)


def test_scores_with_a_tolerance_by_hand():
    counts = counts_of(0.5, 0)
    scores = fine_cracks.tolerant_scores(counts, "test")
    # precision 1/2 and recall 1/4: 2 * 1/2 * 1/4 / (3/4)
    assert scores["clDice"] == pytest.approx(1 / 3)
    chosen = fine_cracks.found_at_precision(counts, "validation", None, tolerance=1).threshold
    index = int(np.flatnonzero(chosen == THRESHOLDS)[0])
    plain = fine_cracks.metrics.scores(counts, "test")
    assert scores["F1, 0 px"] == plain["f1_score"][index]
    true = counts["test_true_positives"][:, index].sum()
    false = counts["test_false_positives"][:, index].astype(int)
    near = (true + (false // 2).sum()) / (true + false.sum())  # as `counts_of` makes them
    recall = plain["recall"][index]
    assert scores["F1, 2 px"] == pytest.approx(2 * near * recall / (near + recall))


def test_a_network_that_predicts_nothing_scores_0_with_every_tolerance():
    counts = counts_of(0.5, 0)
    for name in ("true_positives", "claimed_near", "found_near_by_width", "claimed_skeleton",
                 "true_positives_by_width", "claimed_skeleton_right", "skeleton_found",
                 "false_positives"):
        counts[f"test_{name}"] = np.zeros_like(counts[f"test_{name}"])
    assert set(fine_cracks.tolerant_scores(counts, "test").values()) == {0}


def test_the_tolerance_table_has_means_over_the_seeds(tmp_path):
    source = source_with(tmp_path, {("mse", None): 0.2, ("dice", None): 0.6}, seeds=(0, 1))
    table = fine_cracks.tolerance_table(source)
    assert table.index.tolist() == ["MSE", "Dice"] and (table["seeds"] == 2).all()
    each = [fine_cracks.tolerant_scores(counts, "test")["F1, 1 px"]
            for counts in source.counts("mse", None).values()]
    assert table.loc["MSE", "F1, 1 px"] == pytest.approx(np.mean(each))


def test_open_choices_are_ordered_by_how_far_they_move_f1(tmp_path):
    fields = {"7x7 kernels": (0.9, {"kernel": 7}), "no batch norm": (0.25, {"batch_norm": False})}
    for quality, changed in ((0.2, {}), *fields.values()):
        for seed in (0, 1):
            run = dataclasses.replace(SMOKE.with_run("mse", None, seed), **changed)
            records.save(records.record_folder(tmp_path, run, "synthetic", "f"), run, "synthetic",
                         "f", {"precision": "float32"}, pd.DataFrame({"step": [1], "loss": [1.0]}),
                         counts_of(quality + 0.02 * seed, seed), None, {"w": torch.zeros(1)})
    source = Source(SMOKE, "synthetic", {"runs": tmp_path}, (0, 1))
    table = fine_cracks.open_choices(source)
    assert table["choice"].tolist() == list(fields) and (table["seeds"] == 2).all()
    assert (table["f1_difference"] > 0).all() and table["f1_difference"].is_monotonic_decreasing
    assert fine_cracks.open_choices(Source(SMOKE, "synthetic", {"runs": tmp_path / "no"})).empty


@pytest.mark.parametrize(("losses", "counts", "expected"), [
    ([("bce", None), ("dice", None)], counts_of, "No verdict"),
    ([("mse", None), ("bce", None)], without_cracks, "no record with the widths of the cracks"),
    ([("mse", None), ("bce", None)], counts_of, "no difference was tested")],
    ids=["without MSE", "a test part without cracks", "one seed"])
def test_the_notebook_runs_with_the_records_of_a_reader(tmp_path, losses, counts, expected):
    seeds = (0,) if expected == "no difference was tested" else (0, 1, 2)
    source_with(tmp_path, dict.fromkeys(losses, 0.5), seeds, counts)
    given = {"runs": files.for_papermill(tmp_path), "results": "", "protocol": "smoke"}
    notebook = papermill.execute_notebook(files.ROOT / "notebooks" / "06_fine_cracks.ipynb",
                                          tmp_path / "06.ipynb", given, progress_bar=False,
                                          cwd=tmp_path)
    printed = "".join(output.get("text", output.get("data", {}).get("text/markdown", ""))
                      for cell in notebook.cells for output in cell.get("outputs", ()))
    assert expected in printed
    assert [*tmp_path.rglob("fine_cracks.png")]  # the figure is written in the reader's folder


def test_the_caption_of_recall_by_width_leaves_out_widths_without_a_crack(tmp_path):
    def without_the_finest(quality: float, seed: int) -> dict[str, np.ndarray]:
        counts = counts_of(quality, seed)
        for name in ("true_positives_by_width", "positives_by_width"):
            counts[f"test_{name}"][:, 0] = 0
        return counts

    source = source_with(tmp_path, {("mse", None): 0.2}, seeds=(0,), counts=without_the_finest)
    caption = captions.recall_by_width(source)
    assert " 1-2 px: " in caption and "< 1 px" not in caption and "nan" not in caption
    assert caption.endswith("1 of 1 losses have their lowest recall on the finest cracks.")
