"""Verdicts on paper B's claims and pairs of losses, from made-up records with known answers."""

import numpy as np
import pytest
from road_records import source_of, write, write_all, write_collapsed

from crackutils.papers import bootstrap, published, road_tables, verdicts
from crackutils.papers.source import Source


@pytest.mark.parametrize("shift, verdict", [
    (0.0, "; the paper's size is excluded"), (0.0081, "")])
def test_a_difference_in_the_noise_may_still_exclude_the_papers(shift, verdict):
    """Three seeds that scatter by half a point: 0.81 lies outside around 0, and inside around 0.81,
    where 0 lies inside too (Student's interval: 0.81 +- 1.24)."""
    scatter = np.array([[-0.0025], [0.0], [0.0025]]) * (2 if shift else 1)
    iou = {label: 0.5 + 0 * scatter for label in published.iou_table()["label"]}
    iou[verdicts.TVERSKY_03] = iou[verdicts.TVERSKY_03] + scatter + shift
    draws = {label: bootstrap.draws_over_seeds(values.repeat(200, axis=1))
             for label, values in iou.items()}
    means = {label: values.mean() for label, values in iou.items()}
    row = verdicts.judge_claim(verdicts.CLAIMS[1], means, draws, 3)
    assert row["verdict"] == verdicts.NOISE + verdict, row


@pytest.mark.parametrize("lead, verdict", [
    (0.05, "reproduced; the paper's size is excluded"), (0.0, "not distinguishable"),
    (-0.05, "not reproduced")])
def test_a_verdict_follows_the_interval(tmp_path, lead, verdict):
    write_all(tmp_path, (0, 1, 2), lead)
    table = verdicts.verdicts(source_of(tmp_path, (0, 1, 2))).set_index("figure")
    row = table.loc["Tversky 0.3 − Dice"]
    assert row["verdict"] == verdict and row["low"] <= row["ours"] <= row["high"]
    best = table.loc["its lead over the best other row", "verdict"]
    assert best == verdict.split(";")[0]


def test_verdicts_on_equal_losses_are_seldom_wrong():
    """Seven losses without any difference, three seeds: of 400 studies at most one in ten errs."""
    generator = np.random.default_rng(8)
    labels = published.iou_table()["label"]
    wrong = dict.fromkeys([claim.figure for claim in verdicts.CLAIMS], 0)
    for _ in range(400):
        iou = {label: 0.5 + 0.02 * generator.standard_normal((3, 1)) for label in labels}
        draws = {label: bootstrap.draws_over_seeds(values.repeat(100, axis=1))
                 for label, values in iou.items()}
        means = {label: values.mean() for label, values in iou.items()}
        for claim in verdicts.CLAIMS:
            verdict = verdicts.judge_claim(claim, means, draws, 3)["verdict"]
            wrong[claim.figure] += not verdict.startswith(verdicts.NOISE)
    assert max(wrong.values()) <= 40, wrong
    assert min(wrong[f"Tversky 0.3 − {other}"] for other in ("Dice", "BCE")) >= 5, wrong


def test_only_seeds_that_all_rows_have_are_judged(tmp_path):
    write_all(tmp_path, (0, 1))
    write(tmp_path, "bce", None, 2)
    table = verdicts.verdicts(source_of(tmp_path, (0, 1, 2)))
    assert (table["seeds"] == 2).all() and (table["missing_seeds"] == "seed 2").all()


def test_one_seed_gives_no_verdict_and_a_missing_row_no_table(tmp_path):
    write_all(tmp_path, (0,), 0.05)
    table = verdicts.verdicts(source_of(tmp_path))
    assert (table["verdict"] == "no verdict: one seed").all() and len(table) == 10
    assert verdicts.verdicts(source_of(tmp_path / "nowhere")).empty


def test_the_claims_printed_figures_are_the_papers_text():
    """The text's own figures, but for the line through three rows, which is worked out here."""
    slope = np.polyfit([1 / 2, 1 / 1.43, 1 / 1.25], [44.57, 45.99, 46.88], 1)[0] * 0.3
    printed = [claim.paper for claim in verdicts.CLAIMS]
    assert printed == [0.81, 0.81, 2.47, 4.77, pytest.approx(slope, abs=0.006), 1.65, 3.96, 1.66,
                       -1.65, 4.77]


@pytest.mark.parametrize("figure, moved", [
    ("Tversky 0.3 − Dice", verdicts.TVERSKY_03),
    ("its lead over the best other row", verdicts.TVERSKY_03),
    ("best BCE-Dice − better of BCE and Dice", verdicts.BCE_DICE_043),
    ("best row − worst row", verdicts.BCE_DICE_043)])
def test_the_smallest_detectable_difference_is_where_the_verdict_turns(figure, moved):
    """A row is moved until the claim's figure lies just below and just above it."""
    generator = np.random.default_rng(4)
    labels = published.iou_table()["label"]
    means = dict(zip(labels, (0.5, 0.495, 0.506, 0.509, 0.51, 0.53, 0.507)))  # the fifth is BCE's
    scatter = generator.standard_normal((7, 3, 1)) * 0.01
    scatter[[4, 5]] *= 0.2  # Dice is worse than BCE, and less sure: of the two it decides
    iou = {label: mean + one - one.mean() for (label, mean), one in zip(means.items(), scatter)}
    claim = next(claim for claim in verdicts.CLAIMS if claim.figure == figure)

    def judged(shift):
        here = iou | {moved: iou[moved] + shift}
        draws = {label: bootstrap.draws_over_seeds(values.repeat(100, axis=1))
                 for label, values in here.items()}
        return verdicts.judge_claim(claim, {label: values.mean() for label, values in here.items()},
                               draws, 3)

    smallest, ours = judged(0)["smallest_detectable"], judged(0)["ours"]
    assert smallest > 1
    for factor, verdict in ((0.98, verdicts.NOISE), (1.02, verdicts.REPRODUCED)):
        row = judged((factor * smallest - ours) / 100)
        assert row["ours"] == pytest.approx(factor * smallest, abs=0.02)
        assert row["smallest_detectable"] == pytest.approx(smallest, abs=0.02)
        assert row["verdict"].startswith(verdict), row


def test_every_definition_has_its_verdicts(tmp_path):
    write_all(tmp_path, (0, 1, 2), 0.05)
    source = source_of(tmp_path, (0, 1, 2))
    table = verdicts.by_definition(source)
    assert table.columns.tolist() == ["figure", *road_tables.IOUS, "seeds",
                                        "missing_seeds"] and len(table) == 10
    for variant, found in verdicts.verdicts_by_variant(source, False).items():
        assert table[variant].tolist() == found["verdict"].tolist()
    assert table["iou"].tolist() == verdicts.verdicts(source)["verdict"].tolist()
    assert verdicts.by_definition(source_of(tmp_path / "nowhere")).empty


def test_two_losses_are_compared_on_the_seeds_with_which_both_converged(tmp_path):
    for seed in (0, 1, 2):
        write(tmp_path, "dice", None, seed, 0.80)
        write(tmp_path, "bce", None, seed, 0.95)
        if seed != 1:
            write(tmp_path, "jaccard", None, seed, 0.80 + 1e-6)
    write_collapsed(tmp_path, "dice", 3)
    write(tmp_path, "bce", None, 3, 0.95)
    write(tmp_path, "focal", 2, 0)  # one seed: in no pair
    source = source_of(tmp_path, (0, 1, 2, 3))
    table = verdicts.pairs(source)
    assert list(zip(table["first"], table["second"], table["seeds"], table["missing_seeds"])) == [
        ("Dice", "BCE", 3, "seed 3"), ("Dice", "Jaccard", 2, "seeds 1, 3"),
        ("BCE", "Jaccard", 2, "seeds 1, 3")]
    first = table.iloc[0]
    means = [np.mean([road_tables.pooled_iou(source.counts(loss, None)[seed]) for seed in range(3)])
             for loss in ("dice", "bce")]
    assert first["difference"] == pytest.approx(100 * (means[0] - means[1]), abs=0.006)
    assert first["distinguishable"] and first["low"] < first["difference"] < first["high"] < 0
    assert not table.iloc[1]["distinguishable"]
    assert verdicts.pairs(source_of(tmp_path / "nowhere")).empty


def test_pairs_share_one_error(tmp_path, monkeypatch):
    """Three seeds; t = 7 for Dice - BCE: beyond Student's 4.3 for one pair, within the 10.9 that
    six pairs share."""
    monkeypatch.setattr(bootstrap, "frame_weights", lambda names: np.ones((2000, len(names))))
    scores = {"dice": 0.57, "bce": 0.50, "jaccard": 0.51, "focal": 0.50}
    shifts = dict(zip(scores, ((-1, 0, 1), (0, 0, 0), (2, -4, 2), (3, -6, 3))))

    def counts_of(self, loss, weight):
        counts_of_seeds = {}
        for seed in self.seeds:
            scatter = shifts[loss][seed] * 0.01 * np.sqrt(3)
            found = round(1e6 * (scores[loss] + scatter))  # pooled IoU: found of a million
            part = {"pixels": 4_000_000, "true_positives": found, "false_positives": 0,
                    "false_negatives": 1_000_000 - found}
            counts_of_seeds[seed] = {"thresholds": np.array([0.5]), **{
                f"{name}_{key}": np.array([value] if key == "pixels" else [[value]])
                for name in ("validation", "test") for key, value in part.items()},
                "test_names": np.array(["one"])}
        return counts_of_seeds

    rows = [road_tables.Row(loss, loss, 2 if loss == "focal" else None, np.nan) for loss in scores]
    monkeypatch.setattr(verdicts, "table_rows", lambda source: rows)
    monkeypatch.setattr(Source, "counts", counts_of)
    table = verdicts.pairs(source_of(tmp_path, (0, 1, 2)))
    assert len(table) == 6
    pair = table.iloc[0]
    assert (pair["first"], pair["second"]) == ("dice", "bce") and pair["low"] > 0
    assert pair["low"] == pytest.approx(7 - 4.303, abs=0.15) and not pair["distinguishable"]
    scores["dice"] = 0.62  # t = 12
    assert verdicts.pairs(source_of(tmp_path, (0, 1, 2))).iloc[0]["distinguishable"]


def test_spread_of_equal_losses_is_noise_and_of_unequal_ones_is_not(tmp_path):
    figure = verdicts.CLAIMS[-1].figure
    write_all(tmp_path / "equal", (0, 1, 2))
    table = verdicts.verdicts(source_of(tmp_path / "equal", (0, 1, 2))).set_index("figure")
    assert table.loc[figure, "verdict"] == "not distinguishable"
    write_all(tmp_path / "unequal", (0, 1, 2), 0.05)
    table = verdicts.verdicts(source_of(tmp_path / "unequal", (0, 1, 2))).set_index("figure")
    assert table.loc[figure, "verdict"] == "reproduced"


@pytest.mark.parametrize("mixes, verdict", [
    ((0.40, 0.40, 0.40), verdicts.NOT_REPRODUCED),  # each is below BCE
    ((0.40, 0.40, 0.50), verdicts.NOISE),  # the last one is not
    ((0.40, 0.40, 0.60), verdicts.REPRODUCED),  # it is above both
    ((0.47, 0.47, 0.47), verdicts.NOT_REPRODUCED)])  # above Dice, but below BCE
def test_a_mix_is_judged_against_bce_and_dice(mixes, verdict):
    noise = np.random.default_rng(1).normal(0, 0.002, size=(5, 1000))
    means = dict(zip(verdicts.DICE_SHARES, mixes)) | {verdicts.BCE: 0.50, verdicts.DICE: 0.44}
    draws = {label: mean + row for (label, mean), row in zip(means.items(), noise)}
    assert verdicts.judge_mixing(draws, means)[0] == verdict
