"""Recall of fine cracks at equal precision: by hand on small counts, and its intervals."""

import numpy as np
import pandas as pd
import pytest
import torch

from crackutils import records
from crackutils.evaluation import DETAIL_THRESHOLDS, THRESHOLDS, TOLERANCES, WIDTH_EDGES
from crackutils.papers import bootstrap, fine_cracks
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
        arrays |= {f"{part}_{name}": value for name, value in {
            "names": np.array([f"p{index}" for index in range(PICTURES)]),
            "pixels": np.full(PICTURES, 9_000), "true_positives": found.sum(axis=1),
            "false_positives": false,
            "false_negatives": present.sum(axis=1)[:, None] - found.sum(axis=1),
            "true_positives_by_width": found, "positives_by_width": present,
            "claimed_near": np.repeat(near[:, None, detail], 3, 1),
            "found_near_by_width": np.repeat(found[:, None, :, detail], 3, 1)}.items()}
    return arrays


def source_with(tmp_path, runs: dict, seeds=(0, 1, 2)) -> Source:
    """Records of runs {(loss, weight): quality}."""
    for (loss, weight), quality in runs.items():
        for seed in seeds:
            run = SMOKE.with_run(loss, weight, seed)
            records.save(records.record_folder(tmp_path, run, "synthetic", "f"), run, "synthetic",
                         "f", {"precision": "float32"}, pd.DataFrame({"step": [1], "loss": [1.0]}),
                         counts_of(quality + 0.02 * seed, seed), None, {"w": torch.zeros(1)})
    return Source(SMOKE, "synthetic", {"runs": tmp_path}, seeds)


def test_the_threshold_is_the_lowest_that_reaches_the_precision_on_the_validation_part():
    counts = counts_of(0.5, 0)
    found = fine_cracks.found_at_precision(counts, "test", 0.7)
    precision = fine_cracks.precisions(counts, "validation")
    index = int(np.flatnonzero(found.threshold == THRESHOLDS)[0])
    assert precision[index] >= 0.7 > precision[:index].max()
    true = counts["test_true_positives_by_width"][:, :, index]
    assert np.array_equal(found.found[:, 1:], true)
    assert np.array_equal(found.found[:, 0], true.sum(axis=1))
    expected = true.sum() / (true.sum() + counts["test_false_positives"][:, index].sum())
    assert found.precision == pytest.approx(expected)
    assert fine_cracks.found_at_precision(counts, "test", 1.1) is None


def test_the_best_f1_takes_the_place_of_a_precision():
    counts = counts_of(0.5, 0)
    found = fine_cracks.found_at_precision(counts, "test", None)
    assert found.threshold == fine_cracks.metrics.best_threshold(counts, "validation")


def test_a_tolerance_counts_what_is_near():
    counts = counts_of(0.5, 0)
    exact = fine_cracks.precisions(counts, "test")[np.isin(THRESHOLDS, DETAIL_THRESHOLDS)]
    near = fine_cracks.precisions(counts, "test", tolerance=2)
    assert near.shape == DETAIL_THRESHOLDS.shape and (near >= exact).all()
    assert near[3] > exact[3]
    tolerant = fine_cracks.found_at_precision(counts, "test", 0.7, tolerance=2)
    strict = fine_cracks.found_at_precision(counts, "test", 0.7)
    assert tolerant.threshold in DETAIL_THRESHOLDS and tolerant.threshold < strict.threshold


def test_the_table_has_a_row_for_each_loss_and_stratum_and_finds_a_difference(tmp_path):
    source = source_with(tmp_path, {("mse", None): 0.2, ("relu", 0.97): 0.2, ("dice", None): 0.6})
    table = fine_cracks.recall_table(source, 0.7)
    assert len(table) == 3 * (1 + STRATA)
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
