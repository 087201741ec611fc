"""Verdicts on paper A's claims, from records whose answer is known."""

import pytest
from test_fine_cracks import source_with

from crackutils.papers import claims

PAPER = {("mse", None): 0.2, ("balanced_step", 0.83): 0.2, ("squared_balanced_step", 0.5): 0.2,
         ("step", 0.69): 0.2, ("relu", 0.97): 0.2, ("dice", None): 0.6}


def verdicts(tmp_path, **changed: float) -> dict[str, str]:
    """The verdict on each claim if some losses find more or fewer fine cracks."""
    runs = {setting: changed.get(setting[0], quality) for setting, quality in PAPER.items()}
    table = claims.table(source_with(tmp_path, runs))
    assert len(table) == len(claims.CLAIMS)
    return {row["claim"].split()[0]: row["verdict"] for row in table.to_dict("records")} | {
        "best": table["verdict"][2], "f1": table["verdict"][3]}


def test_equal_losses_support_no_claim_of_a_difference(tmp_path):
    found = verdicts(tmp_path)
    assert found["Weighting"] == found["best"] == found["f1"] == "not distinguishable"
    assert found["A"] == "holds"  # the finest cracks are the hardest to find in these counts


@pytest.mark.parametrize("better, best, f1", [("relu", "holds", "holds"),
                                              ("balanced_step", "does not hold",
                                               "not distinguishable")])
def test_a_better_loss_is_found(tmp_path, better, best, f1):
    found = verdicts(tmp_path, **{better: 0.9})
    assert (found["Weighting"], found["best"], found["f1"]) == ("holds in part", best, f1)


def test_a_worse_loss_is_found(tmp_path):
    found = verdicts(tmp_path, squared_balanced_step=0.0, mse=0.5, relu=0.5)
    assert found["Squared"] == "holds" and found["Weighting"] == "does not hold"


def test_fewer_than_three_seeds_give_no_verdict(tmp_path):
    assert claims.table(source_with(tmp_path, PAPER, seeds=(0, 1))).empty
    assert claims.table(source_with(tmp_path / "none", {})).empty


def test_records_of_some_of_the_losses_give_no_verdict(tmp_path):
    few = {setting: PAPER[setting] for setting in (("mse", None), ("relu", 0.97), ("dice", None))}
    assert claims.table(source_with(tmp_path, few)).empty


def test_a_weight_that_is_not_in_table_8_decides_no_claim(tmp_path):
    table = claims.table(source_with(tmp_path, PAPER | {("step", 0.73): 0.9}))
    assert table["verdict"][1] == "not distinguishable" and "of 4 functions" in table["ours"][1]
    assert "0.73" not in table.to_string()
