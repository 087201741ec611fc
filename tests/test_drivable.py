"""Paper B's table and verdicts from made-up records, worked out by hand or by another library."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import jaccard_score

from crackutils import records
from crackutils.evaluation import THRESHOLDS
from crackutils.papers import bootstrap, crack_tables, published, road_tables, verdicts
from crackutils.protocol import preset

ROADS = preset("smoke", "roads", {"precision": "float32"})
NAMES = [f"v_{frame:03d}" for frame in range(62)] + [f"x{one}y" for one in range(5)]
HISTORY = pd.DataFrame({"step": [1, 2], "loss": [0.5, 0.4], "validation_iou": [0.1, 0.2]})


def made_up(quality: float, seed: int, classes: int = 2) -> dict[str, np.ndarray]:
    """Counts of pictures of 1,000 pixels whose prediction is right with this chance."""
    generator = np.random.default_rng(seed)
    arrays = {"thresholds": THRESHOLDS}
    for part in ("validation", "test"):
        positives = generator.integers(200, 400, len(NAMES))[:, None].repeat(len(THRESHOLDS), 1)
        found = generator.binomial(positives, quality)
        alarms = generator.binomial(1000 - positives, 1 - quality)
        arrays |= {f"{part}_names": np.array(NAMES), f"{part}_pixels": np.full(len(NAMES), 1000),
                   f"{part}_true_positives": found, f"{part}_false_positives": alarms,
                   f"{part}_false_negatives": positives - found}
        if classes == 3:
            arrays[f"{part}_confusion"] = generator.integers(1, 99, (len(NAMES), 3, 3))
    return arrays


def write(root, loss, weight, seed=0, quality=0.9, pretrained=False, protocol=ROADS, classes=2):
    run = protocol.with_run(loss, weight, seed)
    counts = made_up(quality, seed + round(1e7 * quality), classes)
    records.save(records.record_folder(root, run, "roads", "f"), run, "roads", "f",
              {"pretrained_encoder": pretrained}, HISTORY, counts, None, {})
    return counts


def save_collapsed(root, loss, seed):
    """A run that calls everything road."""
    everything = made_up(0.9, seed)
    for part in ("validation", "test"):
        positives = everything[f"{part}_true_positives"] + everything[f"{part}_false_negatives"]
        everything |= {f"{part}_true_positives": positives,
                       f"{part}_false_positives": 1000 - positives,
                       f"{part}_false_negatives": 0 * positives}
    run = ROADS.with_run(loss, None, seed)
    records.save(records.record_folder(root, run, "roads", "f"), run, "roads", "f", {}, HISTORY,
              everything, None, {})


def source_of(root, seeds=(0,), protocol=ROADS):
    return crack_tables.Source(protocol, "roads", {"runs": root}, seeds)


def write_all(root, seeds, lead=0.0):
    """All of the paper's rows; Tversky 0.3 is better by `lead`."""
    for place, row in enumerate(road_tables.paper_rows(ROADS)):
        for seed in seeds:  # as good as equal, and other pictures
            write(root, row.loss, row.weight, seed,
                  0.9 + lead * (row.label == verdicts.T3) + 1e-6 * place)


def test_the_table_has_the_papers_rows_and_added_ones_with_a_record(tmp_path):
    empty = road_tables.iou_table(source_of(tmp_path))
    assert empty["label"].tolist() == published.iou_table()["label"].tolist()
    assert empty["iou"].isna().all() and "No run yet" in road_tables.encoder_line(empty)
    write(tmp_path, "tversky", (0.3, 0.7))
    write(tmp_path, "focal", 2)
    table = road_tables.iou_table(source_of(tmp_path))
    assert table["label"].tolist()[7:] == ["Focal γ = 2", "Tversky α = 0.3, β = 0.7"]
    assert table["weight"].tolist()[7:] == [2, "[0.3, 0.7]"]
    assert table["iou_published"][7:].isna().all() and table["iou"][7:].notna().all()


def test_whatever_was_trained_has_a_row_and_other_protocols_runs_have_none(tmp_path):
    write(tmp_path, "bce_dice", (2, 1.5))
    write(tmp_path, "relu", 0.97)
    write(tmp_path, "jaccard", None, protocol=replace(ROADS, smoothing=1.0))
    write(tmp_path, "jaccard", None, seed=5)
    three = replace(ROADS, classes="three", loss="cross_entropy")
    write(tmp_path, "cross_entropy", None, protocol=three, classes=3)
    table = road_tables.iou_table(source_of(tmp_path))
    assert table["label"].tolist()[7:] == ["BCE-Dice 2:1.5", "ReLU 0.97"]
    others = road_tables.iou_table(source_of(tmp_path, protocol=three))
    assert len(others) == 7 and others["iou"].notna().sum() == 1


def test_a_set_of_one_short_video_has_no_interval(tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap, "resamples", lambda names: np.ones((50, len(names))))
    write(tmp_path, "dice", None)
    row = road_tables.iou_table(source_of(tmp_path)).set_index("label").loc["Dice"]
    assert np.isnan(row[["iou_low", "iou_high"]].tolist()).all() and row["iou"] > 0


def test_own_thresholds_encoders_and_seeds_are_told(tmp_path):
    first = write(tmp_path, "dice", None, 0, 0.9, pretrained=True)
    second = write(tmp_path, "dice", None, 1, 0.8)
    row = road_tables.iou_table(source_of(tmp_path, (0, 1))).set_index("label").loc["Dice"]
    assert row["seeds"] == 2 and row["encoder"] == "ImageNet and random"
    chosen, scores, halves = [], [], []
    for counts in (first, second):
        total = {name: counts[name].sum(axis=0) for name in counts if "positives" in name
                 or "negatives" in name}
        scored = {part: total[f"{part}_true_positives"] / (
            total[f"{part}_true_positives"] + total[f"{part}_false_positives"]
            + total[f"{part}_false_negatives"]) for part in ("validation", "test")}
        best = scored["validation"].argmax()
        chosen.append(THRESHOLDS[best])
        scores.append(scored["test"][best])
        halves.append(scored["test"][49])
    assert row["iou"] == pytest.approx(np.mean(halves), abs=1e-6)
    assert row["threshold_selected"] == pytest.approx(np.mean(chosen))
    assert row["iou_selected"] == pytest.approx(np.mean(scores), abs=1e-6)
    assert row["iou_low"] < row["iou"] < row["iou_high"]
    alone = road_tables.iou_table(source_of(tmp_path)).set_index("label").loc["Dice"]
    assert alone["encoder"] == "ImageNet"
    assert row["iou_high"] - row["iou_low"] > 3 * (alone["iou_high"] - alone["iou_low"])


@pytest.mark.parametrize("pretrained, words", [(True, "Every encoder started from ImageNet"),
                                               (False, "RANDOM WEIGHTS")])
def test_a_line_above_the_table_says_what_the_encoder_started_from(tmp_path, pretrained, words):
    write(tmp_path, "dice", None, pretrained=pretrained)
    assert words in road_tables.encoder_line(road_tables.iou_table(source_of(tmp_path)))


def test_readings_are_scikit_learns_on_pixels(tmp_path):
    counts = write(tmp_path, "bce", None)
    table = road_tables.readings(source_of(tmp_path)).set_index(["prediction", "labels"])["iou"]
    true, false, missed = (counts[f"test_{name}"][:, 49].sum() for name in
                           ("true_positives", "false_positives", "false_negatives"))
    rest = 1000 * len(NAMES) - true - false - missed
    truth = np.repeat([1, 0, 1, 0], [true, false, missed, rest])
    claim = np.repeat([1, 1, 0, 0], [true, false, missed, rest])
    expected = {("everything is background", "right"): 0,
                ("everything is road", "right"): truth.mean(),
                ("the network", "right"): jaccard_score(truth, claim),
                ("the network", "inverted"): jaccard_score(1 - truth, claim),
                (road_tables.MIRRORED, "inverted"): jaccard_score(1 - truth, 1 - claim)}
    assert table.to_dict() == pytest.approx(expected, abs=6e-4)


def test_readings_of_three_classes_exchange_the_labels_rows(tmp_path):
    three = replace(ROADS, classes="three", loss="cross_entropy")
    counts = write(tmp_path, "cross_entropy", None, protocol=three, classes=3)
    table = road_tables.readings(source_of(tmp_path, protocol=three)).set_index("labels")
    pooled = counts["test_confusion"].sum(axis=0)
    labels, claims = (np.repeat(one.ravel(), pooled.ravel()) for one in np.indices((3, 3)))
    # an id k of one convention, as the other reads it
    for title, read_as in (("direct and alternative swapped", {0: 0, 1: 2, 2: 1}),
                           ("legacy ids read as today's", {0: 1, 1: 2, 2: 0}),
                           ("today's ids read as legacy", {1: 0, 2: 1, 0: 2})):
        wrong = np.vectorize(read_as.get)(labels)
        assert table.loc[title, "iou_mean_of_classes"] == pytest.approx(
            jaccard_score(wrong, claims, average="macro"), abs=6e-4)


def test_three_classes_take_cross_entropy_for_bce():
    three = preset("smoke", "roads", {"classes": "three"})
    rows = road_tables.paper_rows(three)
    assert [row.loss for row in rows] == ["tversky", "dice", "tversky", "bce_dice",
                                          "cross_entropy", "bce_dice", "bce_dice"]
    assert [three.with_run(row.loss, row.weight, 0) for row in rows]
    assert rows[4].published == 0.4687


def test_what_is_trained_follows_loss_and_weights():
    assert len(road_tables.to_train(ROADS, "", [])) == 7
    assert road_tables.to_train(ROADS, "tversky", []) == [("tversky", (0.3, 0.3)),
                                                       ("tversky", (0.2, 0.2))]
    assert road_tables.to_train(ROADS, "tversky", [[0.3, 0.7]]) == [("tversky", [0.3, 0.7])]
    assert road_tables.to_train(ROADS, "focal", []) == [("focal", 2)]
    assert road_tables.to_train(ROADS, "mse", []) == [("mse", None)]
    with pytest.raises(ValueError, match="weights need a loss"):
        road_tables.to_train(ROADS, "", [[0.3, 0.7]])


def test_sequences_are_scored_for_themselves(tmp_path):
    counts = write(tmp_path, "dice", None)
    table = road_tables.by_sequence(source_of(tmp_path)).set_index("label")
    assert table.columns.tolist() == ["seeds", "collapsed", "v (62 frames)"]
    true, false, missed = (counts[f"test_{name}"][:62, 49].sum() for name in
                           ("true_positives", "false_positives", "false_negatives"))
    assert table.loc["Dice", "v (62 frames)"] == pytest.approx(true / (true + false + missed),
                                                               abs=6e-4)


def test_other_choices_of_the_register_stand_beside_the_default(tmp_path):
    write(tmp_path, "dice", None)
    assert road_tables.by_register(source_of(tmp_path)).empty
    write(tmp_path, "dice", None, quality=0.8, protocol=replace(ROADS, smoothing=1.0))
    line, = road_tables.by_register(source_of(tmp_path)).to_dict("records")
    assert "smoothing" in line["open"] and line["default"] > line["other"] + 0.1


@pytest.mark.parametrize("shift, verdict", [(0.0, ", not in size"), (0.0081, "")])
def test_a_difference_in_the_noise_may_still_exclude_the_papers(shift, verdict):
    """Three seeds that scatter by half a point: 0.81 lies outside around 0, and inside around 0.81,
    where 0 lies inside too (Student's interval: 0.81 +- 1.24)."""
    scatter = np.array([[-0.0025], [0.0], [0.0025]]) * (2 if shift else 1)
    iou = {label: 0.5 + 0 * scatter for label in published.iou_table()["label"]}
    iou[verdicts.T3] = iou[verdicts.T3] + scatter + shift
    draws = {label: bootstrap.over_seeds(values.repeat(200, axis=1))
             for label, values in iou.items()}
    means = {label: values.mean() for label, values in iou.items()}
    found = verdicts.judged(verdicts.CLAIMS[1], means, draws, 3)
    assert found["verdict"] == verdicts.NOISE + verdict, found


def test_draws_of_two_losses_are_of_the_same_frames():
    same = made_up(0.9, 4)
    first, second = (road_tables.variant_draws([same, same])["iou"] for _ in range(2))
    assert np.array_equal(first, second) and first.std() > 0


@pytest.mark.parametrize("lead, verdict", [(0.05, "reproduced, not in size"),
                                           (0.0, "within the noise"), (-0.05, "not reproduced")])
def test_a_verdict_follows_the_interval(tmp_path, lead, verdict):
    write_all(tmp_path, (0, 1, 2), lead)
    table = verdicts.verdicts(source_of(tmp_path, (0, 1, 2))).set_index("figure")
    row = table.loc["Tversky 0.3 − Dice"]
    assert row["verdict"] == verdict and row["low"] <= row["ours"] <= row["high"]
    best = table.loc["its lead over the best other row", "verdict"]
    assert best == verdict.split(",")[0]


def test_verdicts_on_equal_losses_are_seldom_wrong():
    """Seven losses without any difference, three seeds: of 400 studies at most one in ten errs."""
    generator = np.random.default_rng(8)
    labels = published.iou_table()["label"]
    wrong = dict.fromkeys([claim.figure for claim in verdicts.CLAIMS], 0)
    for _ in range(400):
        iou = {label: 0.5 + 0.02 * generator.standard_normal((3, 1)) for label in labels}
        draws = {label: bootstrap.over_seeds(values.repeat(100, axis=1))
                 for label, values in iou.items()}
        means = {label: values.mean() for label, values in iou.items()}
        for claim in verdicts.CLAIMS:
            verdict = verdicts.judged(claim, means, draws, 3)["verdict"]
            wrong[claim.figure] += not verdict.startswith(verdicts.NOISE)
    assert max(wrong.values()) <= 40, wrong
    assert min(wrong[f"Tversky 0.3 − {other}"] for other in ("Dice", "BCE")) >= 5, wrong


def test_only_seeds_that_all_rows_have_are_judged(tmp_path):
    write_all(tmp_path, (0, 1))
    write(tmp_path, "bce", None, 2)
    table = verdicts.verdicts(source_of(tmp_path, (0, 1, 2)))
    assert (table["seeds"] == 2).all()


def test_runs_that_call_everything_road_are_counted(tmp_path):
    write(tmp_path, "dice", None, 0)
    save_collapsed(tmp_path, "dice", 1)
    row = road_tables.iou_table(source_of(tmp_path, (0, 2, 1))).set_index("label").loc["Dice"]
    alone = road_tables.iou_table(source_of(tmp_path)).set_index("label").loc["Dice"]
    assert row["collapsed"] == 1 and row["seeds"] == 2
    figures = [name for name in row.index if "iou" in name and not name.startswith("iou_publ")]
    assert row[figures].tolist() == pytest.approx(alone[figures].tolist())  # of what learned
    first, missing, second = row["of_seeds"].split()
    assert missing == "–" and float(first) == pytest.approx(row["iou"], abs=6e-4)
    everything = road_tables.everything_is_road(source_of(tmp_path, (1,)))
    assert float(second) == pytest.approx(everything, abs=6e-4)
    dead = road_tables.iou_table(source_of(tmp_path, (1,))).set_index("label").loc["Dice"]
    assert dead["iou"] == pytest.approx(everything, abs=1e-6)  # nothing else there to show
    line, = road_tables.by_sequence(source_of(tmp_path, (0, 1))).to_dict("records")
    assert line | {"seeds": 1, "collapsed": 0} == road_tables.by_sequence(
        source_of(tmp_path)).to_dict("records")[0]
    for place, other in enumerate(road_tables.paper_rows(ROADS)):
        if other.loss != "dice":
            for seed in (0, 1):
                write(tmp_path, other.loss, other.weight, seed, 0.9 + 1e-6 * place)
    for learned, count in ((False, 2), (True, 1)):
        table = verdicts.verdicts(source_of(tmp_path, (0, 1)), learned=learned)
        assert (table["seeds"] == count).all()


def test_other_classes_have_lines_of_their_own(tmp_path):
    clipped = source_of(tmp_path, protocol=replace(ROADS, output="clipped"))
    for classes, quality in (("binary", 0.9), ("direct", 0.8), ("three", 0.7)):
        protocol = road_tables.of_classes(clipped, classes).protocol
        assert protocol.output == ("sigmoid" if classes == "three" else "clipped")
        write(tmp_path, protocol.loss, None, quality=quality, protocol=protocol,
              classes=3 if classes == "three" else 2)
    table = road_tables.by_classes(clipped)
    assert table["iou"].notna().all() and table["iou"].is_monotonic_decreasing


def test_runs_from_random_weights_are_found_where_imagenets_could_not_be_had(tmp_path):
    wanted = replace(ROADS, encoder_weights="imagenet")
    assert road_tables.as_trained(source_of(tmp_path)) == source_of(tmp_path)
    source = source_of(tmp_path, protocol=wanted)
    assert road_tables.as_trained(source).protocol == ROADS
    write(tmp_path, "dice", None, protocol=wanted, pretrained=True)
    assert road_tables.as_trained(source) == source


def test_one_seed_gives_no_verdict_and_a_missing_row_no_table(tmp_path):
    write_all(tmp_path, (0,), 0.05)
    table = verdicts.verdicts(source_of(tmp_path))
    assert (table["verdict"] == "one seed: none").all() and len(table) == 10
    assert verdicts.verdicts(source_of(tmp_path / "nowhere")).empty


def test_the_claims_printed_figures_are_the_papers_text():
    """The text's own figures, but for the line through three rows, which is worked out here."""
    slope = np.polyfit([1 / 2, 1 / 1.43, 1 / 1.25], [44.57, 45.99, 46.88], 1)[0] * 0.3
    printed = [claim.printed for claim in verdicts.CLAIMS]
    assert printed == [0.81, 0.81, 2.47, 4.77, pytest.approx(slope, abs=0.006), 1.65, 3.96, 1.66,
                       -1.65, 4.77]


@pytest.mark.parametrize("figure, moved", [
    ("Tversky 0.3 − Dice", verdicts.T3), ("its lead over the best other row", verdicts.T3),
    ("best BCE-Dice − better of BCE and Dice", verdicts.MIDDLE),
    ("best row − worst row", verdicts.MIDDLE)])
def test_told_from_is_where_the_verdict_turns(figure, moved):
    """A row is moved until the claim's figure lies just below and just above `told_from`."""
    generator = np.random.default_rng(4)
    labels = published.iou_table()["label"]
    means = dict(zip(labels, (0.5, 0.495, 0.506, 0.509, 0.51, 0.53, 0.507)))  # the fifth is BCE's
    scatter = generator.standard_normal((7, 3, 1)) * 0.01
    scatter[[4, 5]] *= 0.2  # Dice is worse than BCE, and less sure: of the two it decides
    iou = {label: mean + one - one.mean() for (label, mean), one in zip(means.items(), scatter)}
    claim = next(claim for claim in verdicts.CLAIMS if claim.figure == figure)

    def judged(shift):
        here = iou | {moved: iou[moved] + shift}
        draws = {label: bootstrap.over_seeds(values.repeat(100, axis=1))
                 for label, values in here.items()}
        return verdicts.judged(claim, {label: values.mean() for label, values in here.items()},
                               draws, 3)

    told_from, ours = judged(0)["told_from"], judged(0)["ours"]
    assert told_from > 1
    for factor, verdict in ((0.98, verdicts.NOISE), (1.02, verdicts.REPRODUCED)):
        found = judged((factor * told_from - ours) / 100)
        assert found["ours"] == pytest.approx(factor * told_from, abs=0.02)
        assert found["told_from"] == pytest.approx(told_from, abs=0.02)
        assert found["verdict"].startswith(verdict), found


def test_every_definition_has_its_verdicts(tmp_path):
    write_all(tmp_path, (0, 1, 2), 0.05)
    source = source_of(tmp_path, (0, 1, 2))
    table = verdicts.by_definition(source)
    assert table.columns.tolist() == ["figure", *road_tables.IOUS] and len(table) == 10
    for variant, found in verdicts.by_variant(source, False).items():
        assert table[variant].tolist() == found["verdict"].tolist()
    assert table["iou"].tolist() == verdicts.verdicts(source)["verdict"].tolist()
    assert verdicts.by_definition(source_of(tmp_path / "nowhere")).empty


def test_each_loss_is_compared_with_each_on_the_seeds_both_learned(tmp_path):
    for seed in (0, 1, 2):
        write(tmp_path, "dice", None, seed, 0.80)
        write(tmp_path, "bce", None, seed, 0.95)
        if seed != 1:
            write(tmp_path, "jaccard", None, seed, 0.80 + 1e-6)
    save_collapsed(tmp_path, "dice", 3)
    write(tmp_path, "bce", None, 3, 0.95)
    write(tmp_path, "focal", 2, 0)  # one seed: in no pair
    source = source_of(tmp_path, (0, 1, 2, 3))
    table = verdicts.pairs(source)
    assert list(zip(table["first"], table["second"], table["seeds"])) == [
        ("Dice", "BCE", 3), ("Dice", "Jaccard", 2), ("BCE", "Jaccard", 2)]
    first = table.iloc[0]
    means = [np.mean([float(one) for one in road_tables.of_seeds(source, loss, None).split()[:3]])
             for loss in ("dice", "bce")]
    assert first["difference"] == pytest.approx(100 * (means[0] - means[1]), abs=0.06)
    assert first["told"] and first["low"] < first["difference"] < first["high"] < 0
    assert not table.iloc[1]["told"]
    assert verdicts.pairs(source_of(tmp_path / "nowhere")).empty


def test_pairs_share_one_error(tmp_path, monkeypatch):
    """Three seeds; t = 7 for Dice - BCE: beyond Student's 4.3 for one pair, within the 10.9 that
    six pairs share."""
    monkeypatch.setattr(bootstrap, "resamples", lambda names: np.ones((2000, len(names))))
    scores = {"dice": 0.57, "bce": 0.50, "jaccard": 0.51, "focal": 0.50}
    shifts = dict(zip(scores, ((-1, 0, 1), (0, 0, 0), (2, -4, 2), (3, -6, 3))))

    def counts_of(self, loss, weight):
        if loss not in scores:
            return []
        scatter = shifts[loss][self.seeds[0]] * 0.01 * np.sqrt(3)
        found = round(1e6 * (scores[loss] + scatter))  # pooled IoU: found of a million
        part = {"pixels": 4_000_000, "true_positives": found, "false_positives": 0,
                "false_negatives": 1_000_000 - found}
        return [{"thresholds": np.array([0.5]), **{
            f"{name}_{key}": np.array([value] if key == "pixels" else [[value]])
            for name in ("validation", "test") for key, value in part.items()},
            "test_names": np.array(["one"])}]

    rows = [road_tables.Row(loss, loss, None, np.nan) for loss in scores]
    monkeypatch.setattr(verdicts, "rows_of", lambda source: rows)
    monkeypatch.setattr(crack_tables.Source, "counts", counts_of)
    table = verdicts.pairs(source_of(tmp_path, (0, 1, 2)))
    assert len(table) == 6
    pair = table.iloc[0]
    assert (pair["first"], pair["second"]) == ("dice", "bce") and pair["low"] > 0
    assert pair["low"] == pytest.approx(7 - 4.303, abs=0.15) and not pair["told"]
    scores["dice"] = 0.62  # t = 12
    assert verdicts.pairs(source_of(tmp_path, (0, 1, 2))).iloc[0]["told"]


@pytest.mark.parametrize("losses", [["bce"], ["dice", "bce"]])
@pytest.mark.parametrize("seeds", [[1], [0, 1]])
def test_records_of_other_frames_are_not_compared(tmp_path, losses, seeds):
    write_all(tmp_path, (0, 1))
    for loss in losses:
        for seed in seeds:
            run = ROADS.with_run(loss, None, seed)
            other = {name: values[:-1] if name.startswith("test_") else values
                     for name, values in made_up(0.9, 3).items()}
            records.save(records.record_folder(tmp_path, run, "roads", "f"), run, "roads", "f", {},
                      HISTORY, other, None, {})
    for made in (road_tables.iou_table, road_tables.by_sequence, verdicts.verdicts, verdicts.pairs):
        with pytest.raises(ValueError, match="different frames"):
            made(source_of(tmp_path, (0, 1)))


def test_spread_of_equal_losses_is_noise_and_of_unequal_ones_is_not(tmp_path):
    figure = verdicts.CLAIMS[-1].figure
    write_all(tmp_path / "equal", (0, 1, 2))
    table = verdicts.verdicts(source_of(tmp_path / "equal", (0, 1, 2))).set_index("figure")
    assert table.loc[figure, "verdict"] == "within the noise"
    write_all(tmp_path / "unequal", (0, 1, 2), 0.05)
    table = verdicts.verdicts(source_of(tmp_path / "unequal", (0, 1, 2))).set_index("figure")
    assert table.loc[figure, "verdict"] == "reproduced"


def test_pooled_draws_are_those_of_the_drawn_frames():
    counts = made_up(0.9, 5)
    weights = bootstrap.resamples(NAMES)[:3]
    true, false, missed = (counts[f"test_{name}"][:, 49] for name in
                           ("true_positives", "false_positives", "false_negatives"))
    for row, found in zip(weights, road_tables.variant_draws([counts])["iou"][:3]):
        assert found == pytest.approx((row * true).sum() / (row * (true + false + missed)).sum())
