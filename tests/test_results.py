"""What the committed reference runs must show for the synthetic task to be one, and its claims."""

import numpy as np
import pytest

from crackutils import metrics
from crackutils.papers import crack_tables, published, road_tables
from workflow import numbers

CRACKS = numbers.source("quick", "cracks", "synthetic")
ROADS = numbers.source("quick", "roads", "synthetic")
PHOTOGRAPHS = numbers.source(numbers.PHOTOGRAPHS[0], "cracks", numbers.PHOTOGRAPHS[1])


@pytest.mark.parametrize("number", published.TABLES)
def test_every_row_has_a_committed_record(number):
    table = crack_tables.crack_table(number, CRACKS)
    assert table["source"].str.startswith("results/quick/synthetic/").all()
    assert table[list(crack_tables.FIGURES)].notna().all(axis=None)


@pytest.mark.parametrize("number", [1, 4, 5, 6, 7])
def test_the_best_row_of_each_function_reaches_three_quarters(number):
    assert crack_tables.crack_table(number, CRACKS)["f1_score"].max() >= 0.75


def test_mse_finds_cracks_and_misses_the_fine_ones():
    counts = CRACKS.counts("mse", None)[0]
    index = metrics.at_threshold(counts, 0.4)
    scores = metrics.scores(counts, "test")
    assert scores["recall"][index] >= 0.3
    assert scores["precision"][index] >= 0.5
    by_width = counts["test_true_positives_by_width"].astype(int).sum(axis=0)[:, index]
    present = counts["test_positives_by_width"].astype(int).sum(axis=0)
    labels = crack_tables.width_labels(counts["width_edges"])
    assert labels[:2] == ["< 1 px", "1-2 px"] and labels[3] == "3-5 px"
    assert by_width[:2].sum() / present[:2].sum() < by_width[3] / present[3]


def test_the_committed_tables_of_camvid_are_computed_from_its_records():
    for path, content in numbers.camvid_tables().items():
        assert path.read_text(encoding="utf-8") == content, "run make numbers"


def test_every_road_loss_beats_calling_everything_road():
    table = road_tables.iou_table(ROADS)
    assert len(table) == len(published.iou_table())
    assert (table["iou"] > road_tables.everything_is_road(ROADS)).all()


def test_the_photographs_have_table_8_and_bce():
    table = crack_tables.crack_table(8, PHOTOGRAPHS)
    assert table["source"].str.startswith("results/cpu/sut_crack_512/").all()
    counts = PHOTOGRAPHS.counts("bce", None)[0]
    pooled = metrics.pooled(counts, "test")
    assert len(counts["test_names"]) == 26  # a fifth of 130
    assert pooled["pixels"] == 26 * 512 * 512
    assert not set(counts["test_names"]) & set(counts["validation_names"])


@pytest.mark.parametrize("origin", [CRACKS, PHOTOGRAPHS], ids=["synthetic", "photographs"])
def test_the_counts_of_a_table_are_of_one_test_part(origin):
    shares = []
    for row in published.table(8).to_dict("records"):
        weight = crack_tables.none_if_missing(row["weight"])
        for counts in origin.counts(row["loss"], weight).values():
            total = metrics.pooled(counts, "test")
            shares.append(int(total["true_positives"][0] + total["false_negatives"][0]))
    assert len(shares) == 5 and np.unique(shares).size == 1
