"""Curves, bars and pictures show what the records and the losses say, in the papers' order."""

import itertools
import warnings
from dataclasses import replace

import matplotlib
import miniatures
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text
from skimage.color import rgb2lab

from crackutils import data as datasets
from crackutils import evaluation, experiment, metrics, records
from crackutils.losses import NAMES, WEIGHTED, label
from crackutils.papers import captions, crack_figures, pictures, road_figures, road_tables
from crackutils.papers.source import Source
from crackutils.protocol import preset

matplotlib.use("Agg")
FLOAT32 = {"precision": "float32"}
SMOKE, ROADS = preset("smoke", "cracks", FLOAT32), preset("smoke", "roads", FLOAT32)
HISTORY = pd.DataFrame({"step": [1, 2, 3, 4], "loss": [0.4, 0.3, 0.2, 0.1]})


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def data(root):
    return datasets.load("synthetic", SMOKE, root)


def fake(root, protocol, data, fingerprint=None):
    """A record of made-up predictions (label times 0.3 plus noise): nothing is trained."""
    noise = np.random.default_rng(protocol.seed + len(protocol.loss))
    made = [torch.tensor(0.3 * sample.mask + 0.5 * noise.random((1, *sample.mask.shape)),
                         dtype=torch.float32) for sample in data.test]
    counted = [evaluation.image_counts(*pair) for pair in zip(made, data.test)]
    counts = {"thresholds": evaluation.THRESHOLDS, "width_edges": evaluation.WIDTH_EDGES}
    for part in ("validation", "test"):
        counts[f"{part}_names"] = np.array(data.test.names)
        counts |= {f"{part}_{name}": np.stack([one[name] for one in counted])
                   for name in counted[0]}
    shown = [index for index, sample in enumerate(data.test) if sample.mask.any()]
    samples = {"names": np.array([data.test[index].name for index in shown]),
               "predictions": np.stack([(255 * made[index][0].numpy()).astype(np.uint8)
                                        for index in shown])}
    fingerprint = fingerprint or data.fingerprint
    record = records.record_folder(root, protocol, "synthetic", fingerprint)
    records.save(record, protocol, "synthetic", fingerprint, {}, HISTORY, counts, samples, {})
    return counts


@pytest.fixture(scope="module")
def source(root, data):
    """Records of Table 8's rows and BCE; the other weights are not run."""
    for loss, weight, _ in crack_figures.chosen_rows():
        fake(root, SMOKE.with_run(loss, weight, 0), data)
    return Source(SMOKE, "synthetic", {"runs": root})


@pytest.fixture(scope="module")
def shown(source, root):
    return pictures.kept_pictures(source, root)


def titles(figure):
    return [axis.get_title().replace("\n", " ") for axis in figure.axes if axis.get_title()]


def tiles(figure):
    return [axis.images[0].get_array() for axis in figure.axes if axis.images]


def texts(figure):
    return [text.get_text() for axis in figure.axes for text in axis.texts]


# At w = 0.5: (error, weight, weight * error^2), from the formulas of paper A, section II.1.2
BY_HAND = {
    "balanced_step": [(-1, 0.5, 0.5), (-0.5, 0.5, 0.125), (0.2, 1.5, 0.06), (1, 1.5, 1.5)],
    "squared_balanced_step": [(-1, 0.25, 0.25), (-0.4, 0.25, 0.04), (0.2, 2.25, 0.09),
                              (1, 2.25, 2.25)],
    "step": [(-1, 1, 1), (-0.5, 1, 0.25), (0.2, 1.5, 0.06), (1, 1.5, 1.5)],
    "relu": [(-1, 1, 1), (-0.5, 1, 0.25), (0.2, 1.1, 0.044), (0.5, 1.25, 0.3125), (1, 1.5, 1.5)],
}


@pytest.mark.parametrize("loss", WEIGHTED)
def test_weighting_curves_are_the_formulas(loss):
    row = WEIGHTED.index(loss)
    panels = crack_figures.weighting_functions(0.5).axes[2 * row:2 * row + 2]
    for column, panel in enumerate(panels, start=1):
        lines = {line.get_label(): line for line in panel.lines}
        error, drawn = lines[NAMES[loss]].get_data()
        mse = lines["MSE"].get_ydata()
        for point in BY_HAND[loss]:
            at = np.flatnonzero(np.isclose(error, point[0]))
            assert drawn[at] == pytest.approx(point[column])
            assert mse[at] == pytest.approx([1, point[0] ** 2][column - 1])
    assert panels[0].get_title(loc="left") == f"Fig. {3 + row}: {NAMES[loss]}"


def test_the_overview_has_the_four_functions_and_mse():
    for panel in crack_figures.weighting_overview().axes:
        named = [line.get_label() for line in panel.lines if line.get_label()[0] != "_"]
        assert named == ["MSE", *(NAMES[loss] for loss in WEIGHTED)]


@pytest.mark.parametrize(("loss", "number", "weights", "threshold"), [
    ("balanced_step", 9, (0.69, 0.83, 0.9, 0.97), 0.9),
    ("squared_balanced_step", 10, (0.2, 0.3, 0.5, 0.7), 0.75),
    ("step", 11, (0.5, 0.69, 0.97, 1.3), 0.5), ("relu", 12, (0.5, 0.69, 0.97, 1.3), 0.5)])
def test_pictures_by_weight_have_the_papers_order(source, shown, loss, number, weights, threshold):
    figure = pictures.by_weight(source, shown, loss)
    assert titles(figure) == ["image", "label", *(f"w = {weight:g}" for weight in weights)]
    assert figure.get_suptitle() == f"Fig. {number}: {NAMES[loss]} at {threshold:g}, by weight"
    assert sum("not run" in text for text in texts(figure)) == 3  # weights without a record


def test_figure_13_has_the_papers_order_and_labels_what_is_added(source, shown):
    figure = pictures.side_by_side(source, shown)
    assert titles(figure) == [
        "image", "label", "Balanced Step 0.83 at 0.9", "Squared & Balanced Step 0.5 at 0.75",
        "Step 0.69 at 0.5", "ReLU 0.97 at 0.5", "MSE at 0.4 (added)", "BCE at 0.5 (added)"]
    assert not texts(figure)


def test_a_tile_shows_the_prediction_at_its_threshold(source, shown):
    """With one prediction there is no difference: the first image is shown, from its corner."""
    image, label_tile, _, outcome, *_ = tiles(pictures.by_weight(source, shown, "step"))
    window = np.s_[:pictures.WINDOW, :pictures.WINDOW]
    predicted = pictures.prediction(source, "step", 0.69, shown[0]) >= 0.5
    np.testing.assert_array_equal(image, shown[0].image[window])
    np.testing.assert_array_equal(label_tile == 255, shown[0].mask[window] > 0)
    np.testing.assert_array_equal(outcome, pictures.in_three_colours(
        shown[0].image, shown[0].mask, predicted)[window])


def test_the_busiest_window_is_found():
    difference = np.zeros((40, 30))
    difference[25:30, 12:17], difference[0, 0] = 1, 5
    assert pictures.busiest_window(difference, 5) == (25, np.s_[25:30, 12:17])
    assert pictures.busiest_window(difference, 50) == (30, np.s_[0:40, 0:30])


def test_figure_2_shows_the_images_in_which_mse_misses_most(source, shown):
    coloured = tiles(pictures.missed_cracks(source, shown))[2::3]
    orange = np.round(255 * np.array(pictures.OUTCOMES["miss"]))
    drawn = [np.all(tile == orange, axis=2).sum() for tile in coloured]
    missed = []
    for picture in shown:
        predicted = pictures.prediction(source, "mse", None, picture) >= 0.4
        missed.append(pictures.busiest_window((picture.mask == 1) & ~predicted, 128)[0])
    assert drawn == sorted(missed, reverse=True)[:2] and min(drawn) > 0


def test_figure_8_draws_what_there_is(source, shown, root, data):
    fake(root, replace(SMOKE, levels=5, kernel=7).with_run("relu", 0.97, 0), data)
    figure = pictures.kernels_and_layers(source, shown)
    assert titles(figure)[2:] == ["4 levels, 5×5", "4 levels, 7×7", "5 levels, 5×5",
                                  "5 levels, 7×7"]
    empty = [bool(axis.texts) for axis in figure.axes]
    assert empty == [False, False, False, True, True, False]


def test_pictures_of_other_data_are_not_drawn(tmp_path, root, data, shown):
    fake(tmp_path, SMOKE.with_run("mse", None, 0), data, fingerprint="other")
    other = Source(SMOKE, "synthetic", {"runs": tmp_path})
    with pytest.warns(UserWarning, match="other versions"):
        assert pictures.prediction(other, "mse", None, shown[0]) is None


def test_pictures_of_a_folder_are_predicted_by_the_records_network(tmp_path):
    miniatures.plain(tmp_path / "walls")
    protocol = preset("smoke", "cracks", {**FLOAT32, "tile": [16, 16]})
    dataset = datasets.load(tmp_path / "walls", protocol, tmp_path)
    record = experiment.complete(protocol, dataset, tmp_path, None, "cpu")
    source = Source(protocol, dataset.name, {"runs": tmp_path}, (0,), dataset.fingerprint)
    picture, *_ = pictures.kept_pictures(source, tmp_path, tmp_path / "walls")
    counts = records.read_arrays(record / "counts.npz")
    index = counts["test_names"].tolist().index(picture.name)
    threshold = float(np.median(pictures.prediction(source, "mse", None, picture)))
    threshold = counts["thresholds"][np.abs(counts["thresholds"] - threshold).argmin()]
    predicted = pictures.prediction(source, "mse", None, picture) >= np.float32(threshold)
    found = counts["test_true_positives"][index, metrics.at_threshold(counts, threshold)]
    assert (predicted & (picture.mask == 1)).sum() == found
    assert len(tiles(pictures.missed_cracks(source, [picture]))) == 3


def test_without_the_folder_there_are_no_pictures_and_a_sentence_says_so(root, capsys, tmp_path):
    photographs = Source(SMOKE, "photographs", {"runs": root})
    none = pictures.kept_pictures(photographs, root, tmp_path / "photographs")
    assert none == [] and "left out" in capsys.readouterr().out
    assert pictures.missed_cracks(photographs, none) is None
    assert pictures.road_pictures(photographs, none) is None
    assert crack_figures.save(None, tmp_path / "figures", "none") == ()
    assert not (tmp_path / "figures").exists()


def test_without_records_every_figure_still_draws(tmp_path, shown):
    cracks = Source(SMOKE, "synthetic", {"runs": tmp_path})
    roads = Source(ROADS, "synthetic", {"runs": tmp_path})
    for figure in (crack_figures.loss_curves(cracks), crack_figures.loss_curves(roads),
                   crack_figures.f1_by_threshold(cracks), road_figures.iou_bars(roads),
                   crack_figures.precision_recall(cracks), road_figures.validation_curves(roads),
                   crack_figures.recall_by_width(cracks), pictures.missed_cracks(cracks, shown),
                   pictures.road_pictures(roads, shown)):
        assert any("not run" in text for text in texts(figure))
    for name, caption in captions.CAPTIONS.items():
        assert caption(roads if name in captions.ON_ROADS else cracks).endswith(".")


def test_curves_are_the_counts_scores(source):
    panel = crack_figures.precision_recall(source).axes[0]
    sweep = crack_figures.f1_by_threshold(source).axes
    for loss, weight, threshold in crack_figures.chosen_rows():
        scores = metrics.scores(source.counts(loss, weight)[0], "test")
        line = next(line for line in panel.lines if line.get_label() == label(loss, weight))
        some = scores["recall"] > 0
        np.testing.assert_array_equal(line.get_xdata(), scores["recall"])
        np.testing.assert_array_equal(line.get_ydata()[some], scores["precision"][some])
        assert evaluation.THRESHOLDS[line.get_markevery()[0]] == pytest.approx(threshold)
        family = sweep[["mse", *WEIGHTED, "bce"].index(loss)]
        assert any(np.array_equal(line.get_ydata(), scores["f1_score"]) for line in family.lines)


def test_seeds_are_pooled(tmp_path, data):
    both = [fake(tmp_path, SMOKE.with_run("mse", None, seed), data) for seed in (0, 1)]
    source = Source(SMOKE, "synthetic", {"runs": tmp_path}, (0, 1))
    pooled = crack_figures.pooled_counts(source, "mse", None)
    sums = [metrics.pooled(counts, "test")["true_positives"] for counts in (*both, pooled)]
    assert (sums[0] != sums[1]).any()
    np.testing.assert_array_equal(sums[0] + sums[1], sums[2])


def test_recall_by_width_leaves_out_widths_that_are_not_there(source):
    figure = crack_figures.recall_by_width(source)
    counts = source.counts("mse", None)[0]
    present = counts["test_positives_by_width"].sum(axis=0) > 0
    line = next(line for line in figure.axes[0].lines if line.get_label() == "MSE")
    expected = metrics.recall_by_width(counts, "test")[:, metrics.at_threshold(counts, 0.4)]
    np.testing.assert_array_equal(line.get_ydata()[present], expected[present])
    assert np.isnan(line.get_ydata()[~present]).all()


def test_smoothing_is_a_running_mean(tmp_path, data):
    protocol = replace(SMOKE, steps=60)
    fake(tmp_path, protocol, data)
    record = records.record_folder(tmp_path, protocol, "synthetic", data.fingerprint)
    losses = np.arange(60.0) ** 2
    (record / "history.csv").write_text(
        "step,loss\n" + "".join(f"{step + 1},{loss}\n" for step, loss in enumerate(losses)))
    records.write_json(record / records.COMPLETE, {"run": record.name})  # without its checksum
    source = Source(protocol, "synthetic", {"runs": tmp_path})
    history = crack_figures.training_loss(source, "mse", None)
    # 60 / 20 = 3 steps: (9^2 + 10^2 + 11^2) / 3
    assert history["smooth"][10] == pytest.approx((81 + 100 + 121) / 3)


def test_iou_bars_are_the_table(tmp_path):
    roads = datasets.load("synthetic", ROADS, tmp_path)
    fake(tmp_path, ROADS.with_run("dice", None, 0), roads)
    source = Source(ROADS, "synthetic", {"runs": tmp_path})
    row, axis = road_tables.iou_table(source).dropna(subset="iou"), \
        road_figures.iou_bars(source).axes[0]
    assert [bar.get_width() for bar in axis.patches] == row["iou"].tolist()
    ticks = next(line for line in axis.lines if line.get_label() == "paper B")
    np.testing.assert_array_equal(ticks.get_xdata(), row["iou_published"])
    assert [text.get_text() for text in axis.get_yticklabels()] == ["Dice"]
    figure = pictures.road_pictures(source, pictures.kept_pictures(source, tmp_path))
    assert titles(figure) == ["image", "label", "Tversky α = β = 0.3", "Dice",
                              "Tversky α = β = 0.2", "BCE-Dice 0.25:1", "BCE", "BCE-Dice 0.43:1",
                              "BCE-Dice 1:1"]


def test_the_three_colours_are_the_four_outcomes_and_ignored_pixels_stay_grey():
    mask = np.array([[1, 1, 0, 0, 255, 255]], np.uint8)
    predicted = np.array([[1, 0, 1, 0, 1, 0]])
    coloured = pictures.in_three_colours(np.full((1, 6, 3), 100, np.uint8), mask, predicted)
    colours = [np.round(255 * np.array(colour)) for colour in pictures.OUTCOMES.values()]
    grey = (193, 193, 193)  # 0.4 * 100 + 153
    assert list(pictures.OUTCOMES) == ["true positive", "miss", "false alarm"]
    np.testing.assert_array_equal(coloured[0], [*colours, grey, grey, grey])


# linear RGB as protanopes, deuteranopes and tritanopes see it (Machado et al. 2009, severity 1)
COLOUR_BLIND = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]]}


@pytest.mark.parametrize("matrix", [np.eye(3), *COLOUR_BLIND.values()],
                         ids=["normal", *COLOUR_BLIND])
def test_the_colour_blind_can_tell_the_three_colours_apart(matrix):
    shown = np.array([*pictures.OUTCOMES.values(), (0.6,) * 3, (1,) * 3])  # and the image
    linear = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(matrix).T, 0, 1)
    srgb = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = rgb2lab(srgb)
    for first, second in itertools.combinations(range(len(lab)), 2):
        if first < 3:  # 2.3 is just noticeable
            assert np.linalg.norm(lab[first] - lab[second]) > 25


def test_saving_twice_gives_the_same_bytes(tmp_path):
    first = crack_figures.save(crack_figures.weighting_functions(), tmp_path / "a", "fig06_relu")
    second = crack_figures.save(crack_figures.weighting_functions(), tmp_path / "b", "fig06_relu")
    assert [path.name for path in first] == ["fig06_relu.pdf", "fig06_relu.png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert b"CreationDate" not in first[0].read_bytes()


def test_figures_lie_below_runs_whatever_was_read(tmp_path):
    reference = Source(SMOKE, "synthetic", {"results": tmp_path / "results"})
    folder = tmp_path / "smoke" / "synthetic" / "figures"
    assert crack_figures.figures_folder(reference, tmp_path) == folder


def test_looks_differ_in_colour_line_and_marker():
    rows = [loss for loss, _, _ in crack_figures.chosen_rows()]
    for part in zip(*(crack_figures.LOOKS[loss] for loss in rows)):
        assert len(set(map(str, part))) == len(rows)
    colours = [np.array(matplotlib.colors.to_rgb(crack_figures.LOOKS[loss][0])) for loss in rows]
    apart = [np.linalg.norm(a - b) for i, a in enumerate(colours) for b in colours[:i]]
    assert min(apart) > 0.25


def test_figures_are_a_column_wide_and_their_text_has_7_points_and_stays_inside(source, shown):
    roads = Source(ROADS, "synthetic", source.roots)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a layout that collapses warns
        for figure in (pictures.side_by_side(source, shown), pictures.missed_cracks(source, shown),
                       crack_figures.weighting_functions(), crack_figures.loss_curves(source),
                       crack_figures.precision_recall(source),
                       crack_figures.recall_by_width(source), crack_figures.f1_by_threshold(source),
                       road_figures.iou_bars(roads), road_figures.tversky_gradients()):
            assert figure.get_figwidth() == pytest.approx(8 / 2.54)
            assert all(text.get_fontsize() >= 7 for text in figure.findobj(Text)
                       if text.get_text() and text.get_visible())
            box = figure.get_tightbbox()
            assert box.x0 >= -0.01 and box.x1 <= figure.get_figwidth() + 0.01


def test_the_kept_pictures_are_those_of_training(shown):
    assert 0 < len(shown) <= experiment.KEPT_SAMPLES
    assert all(picture.mask.any() for picture in shown)


def test_validation_curves_are_the_records_looks(tmp_path):
    for seed, value, claimed in ((0, 0.5, 40), (1, 0.7, 50), (2, 0.1, 100)):  # of 100 pixels
        run = ROADS.with_run("dice", None, seed)
        record = records.record_folder(tmp_path, run, "synthetic", "f")
        history = pd.DataFrame({"step": [1, 2, 3, 4], "loss": 0.5,
                                "validation_iou": [np.nan, value, np.nan, value + 0.1]})
        counts = {"thresholds": np.array([0.5]), "validation_pixels": np.array([100])} | {
            f"validation_{name}": np.array([[number]]) for name, number in (
                ("true_positives", 30), ("false_positives", claimed - 30), ("false_negatives", 0))}
        records.save(record, run, "synthetic", "f", {}, history, counts, None, {})
    for seeds, fallen in (((0, 1), 0), ((0, 1, 2), 1)):
        figure = road_figures.validation_curves(
            Source(ROADS, "synthetic", {"runs": tmp_path}, seeds))
        assert titles(figure) == ["Dice"]
        panel = figure.axes[0]
        assert [line.get_ydata().tolist() for line in panel.lines] == [
            pytest.approx([value, value + 0.1]) for value in (0.5, 0.7, 0.1)[:len(seeds)]]
        assert [line.get_linestyle() for line in panel.lines] == ["-", "-", "--"][:len(seeds)]
        assert [text.get_text() for text in panel.texts] == ["1 of 3 collapsed"][:fallen]


def test_each_of_several_seeds_is_a_point_on_its_bar(tmp_path):
    roads = datasets.load("synthetic", ROADS, tmp_path)
    for seed in (0, 1):
        fake(tmp_path, ROADS.with_run("dice", None, seed), roads)
    source = Source(ROADS, "synthetic", {"runs": tmp_path}, (0, 1))
    points = next(line for line in road_figures.iou_bars(source).axes[0].lines
                  if line.get_label() == "each seed")
    row = road_tables.iou_table(source).set_index("label").loc["Dice"]
    assert points.get_xdata().tolist() == list(map(float, row["iou_of_each_seed"].split()))
    assert points.get_ydata().tolist() == [0, 0]


def test_the_gradients_of_equal_tversky_weights_have_a_line_each():
    figure = road_figures.tversky_gradients()
    assert len(figure.axes) == 2 and len(figure.axes[1].lines) == 4


def test_the_network_is_drawn_as_the_paper_prints_its_filters():
    """16-32-64-128-64-32-16 (Table 2) are the filters of 4 levels; each level halves the size."""
    protocol = preset("paper", overrides={"levels": 4, "tile": [64, 96]})
    filters = [16, 32, 64, 128, 64, 32, 16]
    sizes = [(64, 96), (32, 48), (16, 24), (8, 12), (16, 24), (32, 48), (64, 96)]
    assert crack_figures.feature_shapes(protocol) == [(number, *size) for number, size
                                                      in zip(filters, sizes)]
    drawn = texts(crack_figures.network_drawing(protocol))
    boxes = [f"{number}\n{height}×{width}" for number, (height, width) in zip(filters, sizes)]
    assert [text for text in drawn if text] == ["image\n3 · 64×96", "prediction\n1 · 64×96", *boxes]


def test_the_flow_of_the_training_names_the_four_weightings():
    drawn = " ".join(texts(crack_figures.training_flow())).replace("\n", " ")
    assert all(NAMES[loss] in drawn for loss in WEIGHTED)
