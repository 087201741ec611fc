"""Paper B's tables from made-up records, worked out by hand or by another library."""

from dataclasses import replace

import numpy as np
import pytest
from road_records import (
    NAMES,
    ROADS,
    made_up,
    save,
    source_of,
    write,
    write_all,
    write_collapsed,
)
from sklearn.metrics import jaccard_score

from crackutils.evaluation import THRESHOLDS
from crackutils.papers import bootstrap, published, road_tables, verdicts
from crackutils.protocol import preset


def test_the_table_has_the_papers_rows_and_added_ones_with_a_record(tmp_path):
    empty = road_tables.iou_table(source_of(tmp_path))
    assert empty["label"].tolist() == published.iou_table()["label"].tolist()
    assert empty["iou"].isna().all() and "No run yet" in road_tables.encoder_sentence(empty)
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


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_one_short_video_gives_no_interval_however_many_seeds_there_are(tmp_path, seeds):
    """The seeds alone would give one, but it would leave out how the frames scatter."""
    for place, row in enumerate(road_tables.paper_rows(ROADS)):
        for seed in seeds:
            write(tmp_path, row.loss, row.weight, seed, 0.9 + 1e-6 * place, names=NAMES[:59])
    source = source_of(tmp_path, seeds)
    table = road_tables.iou_table(source)
    assert table["iou"].notna().all() and table["seeds"].tolist() == 7 * [len(seeds)]
    limits = [f"{name}_{end}" for name in road_tables.IOUS for end in ("low", "high")]
    assert table[limits].isna().all(axis=None)
    verdict = "no verdict: " + ("one seed" if len(seeds) == 1 else "no interval")
    judged = verdicts.verdicts(source)
    assert (judged["verdict"] == verdict).all()
    assert judged[["low", "high", "smallest_detectable"]].isna().all(axis=None)
    apart = verdicts.pairs(source)
    assert apart[["low", "high"]].isna().all(axis=None) and not apart["distinguishable"].any()


def test_a_row_has_validation_thresholds_encoders_and_seeds(tmp_path):
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
                                               (False, "random weights")])
def test_a_line_above_the_table_says_what_the_encoder_started_from(tmp_path, pretrained, words):
    write(tmp_path, "dice", None, pretrained=pretrained)
    assert words in road_tables.encoder_sentence(road_tables.iou_table(source_of(tmp_path)))


def test_label_conventions_score_as_scikit_learn_on_pixels(tmp_path):
    counts = write(tmp_path, "bce", None)
    table = road_tables.by_label_convention(source_of(tmp_path))
    table = table.set_index(["prediction", "label_convention"])["iou"]
    true, false, missed = (counts[f"test_{name}"][:, 49].sum() for name in
                           ("true_positives", "false_positives", "false_negatives"))
    rest = 1000 * len(NAMES) - true - false - missed
    truth = np.repeat([1, 0, 1, 0], [true, false, missed, rest])
    claim = np.repeat([1, 1, 0, 0], [true, false, missed, rest])
    expected = {("everything is background", "correct"): 0,
                ("everything is road", "correct"): truth.mean(),
                ("the network", "correct"): jaccard_score(truth, claim),
                ("the network", "inverted"): jaccard_score(1 - truth, claim),
                (road_tables.INVERTED_NETWORK, "inverted"): jaccard_score(1 - truth, 1 - claim)}
    assert table.to_dict() == pytest.approx(expected, abs=6e-4)


def test_wrong_label_conventions_of_three_classes_exchange_the_labels(tmp_path):
    three = replace(ROADS, classes="three", loss="cross_entropy")
    counts = write(tmp_path, "cross_entropy", None, protocol=three, classes=3)
    table = road_tables.by_label_convention(source_of(tmp_path, protocol=three))
    table = table.set_index("label_convention")
    pooled = counts["test_confusion"].sum(axis=0)
    labels, claims = (np.repeat(one.ravel(), pooled.ravel()) for one in np.indices((3, 3)))
    # an id k of one convention, as the other reads it
    for title, read_as in (("direct and alternative swapped", {0: 0, 1: 2, 2: 1}),
                           ("legacy ids read as current ids", {0: 1, 1: 2, 2: 0}),
                           ("current ids read as legacy ids", {1: 0, 2: 1, 0: 2})):
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


def test_the_runs_to_train_follow_loss_and_weights():
    assert len(road_tables.runs_to_train(ROADS, "", [])) == 7
    assert road_tables.runs_to_train(ROADS, "tversky", []) == [("tversky", (0.3, 0.3)),
                                                               ("tversky", (0.2, 0.2))]
    assert road_tables.runs_to_train(ROADS, "tversky", [[0.3, 0.7]]) == [("tversky", [0.3, 0.7])]
    assert road_tables.runs_to_train(ROADS, "focal", []) == [("focal", 2)]
    assert road_tables.runs_to_train(ROADS, "mse", []) == [("mse", None)]
    with pytest.raises(ValueError, match="weights need a loss"):
        road_tables.runs_to_train(ROADS, "", [[0.3, 0.7]])


def test_each_video_is_scored_by_itself(tmp_path):
    counts = write(tmp_path, "dice", None)
    table = road_tables.by_sequence(source_of(tmp_path)).set_index("label")
    assert table.columns.tolist() == ["seeds", "missing_seeds", "collapsed",
                                        "v (62 frames)"]
    true, false, missed = (counts[f"test_{name}"][:62, 49].sum() for name in
                           ("true_positives", "false_positives", "false_negatives"))
    assert table.loc["Dice", "v (62 frames)"] == pytest.approx(true / (true + false + missed),
                                                               abs=6e-4)


def test_the_alternative_of_an_open_choice_stands_beside_the_default(tmp_path):
    write(tmp_path, "dice", None)
    assert road_tables.by_open_choice(source_of(tmp_path)).empty
    write(tmp_path, "dice", None, quality=0.8, protocol=replace(ROADS, smoothing=1.0))
    line, = road_tables.by_open_choice(source_of(tmp_path)).to_dict("records")
    assert "smoothing" in line["open choice"] and line["default"] > line["alternative"] + 0.1


def test_draws_of_two_losses_are_of_the_same_frames():
    same = made_up(0.9, 4)
    first, second = (road_tables.iou_draws([same, same])["iou"] for _ in range(2))
    assert np.array_equal(first, second) and first.std() > 0


def test_collapsed_runs_are_counted_and_left_out_of_the_mean(tmp_path):
    write(tmp_path, "dice", None, 0)
    write_collapsed(tmp_path, "dice", 1)
    row = road_tables.iou_table(source_of(tmp_path, (0, 2, 1))).set_index("label").loc["Dice"]
    alone = road_tables.iou_table(source_of(tmp_path)).set_index("label").loc["Dice"]
    assert row["collapsed"] == 1 and row["seeds"] == 2 and row["missing_seeds"] == "seed 2"
    figures = [name for name in row.index
               if "iou" in name and name not in ("iou_published", "iou_of_each_seed")]
    assert row[figures].tolist() == pytest.approx(alone[figures].tolist())
    first, missing, second = row["iou_of_each_seed"].split()
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
    for converged, count in ((False, 2), (True, 1)):
        table = verdicts.verdicts(source_of(tmp_path, (0, 1)), converged=converged)
        assert (table["seeds"] == count).all()


def test_other_classes_have_lines_of_their_own(tmp_path):
    clipped = source_of(tmp_path, protocol=replace(ROADS, output="clipped"))
    for classes, quality in (("binary", 0.9), ("direct", 0.8), ("three", 0.7)):
        protocol = road_tables.with_classes(clipped, classes).protocol
        assert protocol.output == ("sigmoid" if classes == "three" else "clipped")
        write(tmp_path, protocol.loss, None, quality=quality, protocol=protocol,
              classes=3 if classes == "three" else 2)
    table = road_tables.by_classes(clipped)
    assert table["iou"].notna().all() and table["iou"].is_monotonic_decreasing


def test_runs_from_random_weights_are_found_where_imagenets_could_not_be_had(tmp_path):
    wanted = replace(ROADS, encoder_weights="imagenet")
    assert road_tables.with_encoder_as_trained(source_of(tmp_path)) == source_of(tmp_path)
    source = source_of(tmp_path, protocol=wanted)
    assert road_tables.with_encoder_as_trained(source).protocol == ROADS
    write(tmp_path, "dice", None, protocol=wanted, pretrained=True)
    assert road_tables.with_encoder_as_trained(source) == source


@pytest.mark.parametrize("losses", [["bce"], ["dice", "bce"]])
@pytest.mark.parametrize("seeds", [[1], [0, 1]])
def test_records_of_other_frames_are_not_compared(tmp_path, losses, seeds):
    write_all(tmp_path, (0, 1))
    for loss in losses:
        for seed in seeds:
            other = {name: values[:-1] if name.startswith("test_") else values
                     for name, values in made_up(0.9, 3).items()}
            save(tmp_path, ROADS.with_run(loss, None, seed), other)
    for made in (road_tables.iou_table, road_tables.by_sequence, verdicts.verdicts, verdicts.pairs):
        with pytest.raises(ValueError, match="different frames"):
            made(source_of(tmp_path, (0, 1)))


def test_pooled_draws_are_those_of_the_drawn_frames():
    counts = made_up(0.9, 5)
    weights = bootstrap.frame_weights(NAMES)[:3]
    true, false, missed = (counts[f"test_{name}"][:, 49] for name in
                           ("true_positives", "false_positives", "false_negatives"))
    for row, found in zip(weights, road_tables.iou_draws([counts])["iou"][:3]):
        assert found == pytest.approx((row * true).sum() / (row * (true + false + missed)).sum())
