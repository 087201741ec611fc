"""Predictions of large pictures, band by band, and the threshold that a cost asks for."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from tiny_records import THRESHOLD, tiny_protocol, write_record

from crackutils import evaluation, losses, records
from crackutils.cracks import prediction
from crackutils.cracks.prediction import CrackModel, Tiling, checked_threshold, tile_starts
from crackutils.experiment import model_folder, open_record
from crackutils.models import probability, receptive_field
from crackutils.records import RecordError


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return write_record(tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="module")
def model(record):
    return CrackModel(record, "cpu")


def noise(*size) -> np.ndarray:
    return np.random.default_rng(sum(size)).integers(256, size=(*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(32, 32), (1, 1), (1, 90), (90, 1), (20, 31), (33, 32), (64, 96),
                                  (75, 131), (200, 40)])
def test_a_blended_prediction_is_the_weighted_mean_over_all_tiles(model, size):
    """Against every tile predicted alone, of the whole picture continued by its edge."""
    image = noise(*size)
    side = [min(pair) for pair in zip(size, (32, 32))]
    tops, lefts = (tile_starts(length, 32, 22, 8) for length in size)
    whole = np.pad(image, ((0, 7), (0, 7), (0, 0)), mode="edge")
    total, weight = np.zeros((2, *whole.shape[:2]))
    weights = evaluation.blending_weights(tuple(side)).double().numpy()
    for top in tops:
        for left in lefts:
            place = np.s_[top:top + side[0], left:left + side[1]]
            tile = torch.from_numpy(whole[place]).permute(2, 0, 1)[None].float() / 255
            with torch.no_grad():
                total[place] += weights * probability(model.model(tile), "sigmoid")[0, 0].numpy()
            weight[place] += weights
    expected = (total / np.where(weight, weight, 1))[:size[0], :size[1]]
    assert model.predict(image) == pytest.approx(expected, abs=1e-5)


def test_a_picture_that_is_read_only_is_predicted_alike_without_a_warning(record):
    """Pictures of a data set are read-only: they lie in mapped files. PyTorch warns once."""
    script = """
import sys, warnings
from pathlib import Path
import numpy as np
from crackutils.cracks.prediction import CrackModel
warnings.simplefilter("ignore")
model = CrackModel(Path(sys.argv[1]), "cpu")
warnings.simplefilter("error")
image = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
before = model.predict(image)
image.flags.writeable = False
assert np.array_equal(model.predict(image), before)
"""
    subprocess.run([sys.executable, "-c", script, record], check=True)


@pytest.mark.parametrize("size", [(301, 299), (9, 1003), (1001, 1), (64, 64)])
@pytest.mark.parametrize("levels, kernel, tile", [(4, 5, 64), (4, 7, 96), (5, 5, 144), (5, 7, 208)])
def test_where_the_tiles_of_training_are_wide_enough_there_are_no_seams(tmp_path, monkeypatch,
                                                                       levels, kernel, tile, size):
    """Against the network's prediction of the whole picture at once."""
    monkeypatch.setattr(prediction, "INTERIOR", 32)
    fields = {"levels": levels, "kernel": kernel, "tile": (tile, tile), "image_size": (208, 208)}
    model = CrackModel(write_record(tmp_path, **fields), "cpu")
    image = noise(*size)
    whole = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        expected = probability(model.model(whole), "sigmoid")[0, 0].numpy()
    assert model.predict(image) == pytest.approx(expected, abs=1e-5)
    margin, grid = model.tiling.margin, model.model.multiple
    tiling = model.tiling.fitted((9, 1003), grid)
    assert len(tile_starts(1003, tiling.side[1], tiling.shared[1], grid)) > 2
    assert 2 * margin >= receptive_field(levels, kernel) and margin % grid == 0


@pytest.mark.parametrize("name", ["balanced_step", "bce", "mse"])
def test_the_shipped_networks_predict_without_seams_and_need_their_margin(name, monkeypatch):
    monkeypatch.setattr(prediction, "INTERIOR", 64)
    model, image = CrackModel(model_folder(name), "cpu"), noise(350, 300)
    whole = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        expected = probability(model.model(whole), "sigmoid")[0, 0].numpy()
    assert model.predict(image) == pytest.approx(expected, abs=1e-5)
    model.tiling = Tiling((160, 160), (96, 96), 48)
    assert np.abs(model.predict(image) - expected).max() > 1e-2


@pytest.mark.parametrize("fields", [{"tile": (32, 32)}, {"tile": (96, 32)}, {"kernel": 7},
                                    {"upsampling": "bilinear"}])
def test_other_networks_see_tiles_of_their_trainings_size(fields):
    protocol = tiny_protocol(**({"tile": (80, 80)} | fields))
    found = prediction.tiling(protocol)
    assert (found.side, found.margin) == (protocol.tile, 0)
    assert found.shared == tuple(np.ceil(np.array(protocol.tile) * 2 / 3))


def test_the_overlap_hides_the_seams(model, monkeypatch):
    """Against tiles that overlap by 7/8: the overlap that is used errs far less than none."""
    image, errors, used = noise(150, 150), {}, model.tiling
    monkeypatch.setattr(model, "tiling", dataclasses.replace(used, shared=(28, 28)))
    finest = model.predict(image)
    for shared in (0, used.shared[0]):
        model.tiling = dataclasses.replace(used, shared=(shared, shared))
        errors[shared] = np.abs(model.predict(image) - finest).mean()
    assert 4 * errors[used.shared[0]] < errors[0], errors


def test_fused_batch_norm_changes_no_prediction(record):
    """Against the network as it was saved, with statistics as a training leaves them."""
    network, _ = open_record(record)
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            for tensor in (layer.running_mean, layer.bias, layer.weight):
                tensor.data.normal_()
            layer.running_var.uniform_(0.5, 2)
    images = torch.rand(2, 3, 40, 56)
    with torch.no_grad():
        expected = network(images)
        prediction.fuse_batch_norm(network)
        assert not [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
        assert network(images).numpy() == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-4)


def test_bands_cover_the_picture_from_top_to_bottom(model):
    image = noise(150, 70)
    rows = [(place.start, place.stop, len(band)) for place, band in model.bands(image)]
    assert [first for first, *_ in rows] == [0, *[last for _, last, _ in rows[:-1]]]
    assert rows[-1][1] == 150 and all(last - first == height for first, last, height in rows)


def test_it_is_the_evaluations_prediction_where_the_tiles_are_the_same(model, monkeypatch):
    """With its overlap, and a size whose evenly spaced tiles begin at multiples of 8."""
    monkeypatch.setattr(model, "tiling", dataclasses.replace(model.tiling, shared=(16, 16)))
    image = noise(96, 80)
    protocol = dataclasses.replace(model.protocol, tile=(32, 32))
    expected = evaluation.predict(model.model, torch.from_numpy(image)[None], protocol,
                                  model.hardware, model.fabric)[0, 0]
    assert model.predict(image) == pytest.approx(expected.numpy(), abs=1e-6)


@pytest.mark.parametrize("length", [1, 31, 32, 33, 40, 95, 96, 97, 1000, 4032])
@pytest.mark.parametrize("side, shared, grid", [(32, 22, 8), (96, 64, 8), (128, 86, 16),
                                                (100, 67, 8), (704, 192, 8)])
def test_tiles_cover_the_picture_on_the_grid_and_overlap(length, side, shared, grid):
    starts = tile_starts(length, side, shared, grid)
    assert starts[0] == 0 and all(start % grid == 0 for start in starts)
    assert length <= starts[-1] + side and (len(starts) == 1 or starts[-1] + side < length + grid)
    steps = np.diff(starts)
    assert (steps > 0).all() and (steps <= max(grid, side - shared)).all()


# The threshold

def test_the_default_threshold_is_the_best_on_the_validation_part(model):
    assert model.default_threshold() == THRESHOLD


def test_a_threshold_in_the_configuration_comes_first(tmp_path):
    record = write_record(tmp_path)
    config = json.loads((record / "config.json").read_text())
    (record / "config.json").write_text(json.dumps(config | {"threshold": 0.3}))
    assert CrackModel(record, "cpu").default_threshold() == 0.3
    (record / "config.json").write_text(json.dumps(config | {"threshold": 3}))
    with pytest.raises(ValueError, match="above 0 and below 1, got 3"):
        CrackModel(record, "cpu").default_threshold()


@pytest.mark.parametrize("loss, weight", [("mse", None), ("balanced_step", 0.83), ("bce", None),
                                          ("weighted_bce", 10.8)])
def test_the_threshold_for_a_cost_has_the_lowest_expected_cost(tmp_path, loss, weight):
    """A million pixels of known crack probability q, each predicted as the loss asks for: k q /
    (k q + 1 - q) for class weights of ratio k. A missed one costs 10, a false alarm 1."""
    model = CrackModel(write_record(tmp_path, loss=loss, weight=weight), "cpu")
    q = np.linspace(0.001, 0.999, 999)
    k = {"balanced_step": (1 + 0.83) / (1 - 0.83), "weighted_bce": 10.8}.get(loss, 1)
    predicted = k * q / (k * q + 1 - q)
    costs = {cut: (10 * q[predicted < cut]).sum() + (1 - q[predicted >= cut]).sum()
             for cut in (*np.linspace(0.01, 0.99, 99), model.threshold_for(10))}
    assert costs[model.threshold_for(10)] == pytest.approx(min(costs.values()), rel=1e-3)
    assert model.threshold_for(1) == pytest.approx(k / (k + 1))


def test_costs_need_a_loss_that_is_a_mean_over_pixels(tmp_path, model):
    for costs in (0, -1, np.inf, np.nan):
        with pytest.raises(ValueError, match="must be finite and above 0"):
            model.threshold_for(costs)
    dice = CrackModel(write_record(tmp_path, loss="dice"), "cpu")
    with pytest.raises(ValueError, match="'dice' has no best prediction of one pixel"):
        dice.threshold_for(10)
    assert "dice" not in losses.PIXELWISE


@pytest.mark.parametrize("threshold", [0, 1, -0.1, 2, np.nan, "0.5", None])
def test_a_threshold_lies_between_0_and_1(threshold):
    with pytest.raises(ValueError, match="above 0 and below 1"):
        checked_threshold(threshold)


# Opening a record

def test_a_record_opens_as_the_network_that_was_saved(record):
    network, protocol = open_record(record)
    assert protocol == tiny_protocol() and not network.training
    assert model_folder(record) == record


def config_of(record, **fields) -> None:
    config = records.read_json(record / "config.json")
    records.write_json(record / "config.json", config | fields)


def truncate(record) -> None:
    path = record / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def other_shapes(record) -> None:
    protocol = records.read_json(record / "config.json")["protocol"]
    config_of(record, protocol=protocol | {"first_filters": 4})


def not_finite(record) -> None:
    network, protocol = open_record(record)
    weights = {name: tensor * np.nan for name, tensor in network.state_dict().items()}
    files = {path.name for path in record.iterdir()}
    history = __import__("pandas").DataFrame({"step": [1], "loss": [0.5]})
    records.save(record, protocol, "walls", "0" * 16, {}, history, {}, None, weights)
    assert {path.name for path in record.iterdir()} == files


FAULTS = {
    "no record and no model": lambda record: (record / "config.json").unlink(),
    "its training has not come to its end": lambda record: (record / "complete.json").unlink(),
    "model.safetensors missing or not as written": truncate,
    "has format 1, expected 2": lambda record: config_of(record, format=1),
    "missing fields: ": lambda record: config_of(record, protocol={}),
    "config.json can't be used": lambda record: (record / "config.json").write_text("{"),
    "kept without weights": lambda record: (record / "model.safetensors").unlink(),
    "does not hold the network that config.json describes": other_shapes,
    "no finite numbers": not_finite}


@pytest.mark.parametrize("sentence", FAULTS)
def test_a_record_that_can_not_be_used_is_refused_in_a_sentence(tmp_path, sentence):
    record = write_record(tmp_path)
    FAULTS[sentence](record)
    with pytest.raises(RecordError, match=sentence) as refusal:
        open_record(record)
    assert str(record) in str(refusal.value)


def test_a_model_is_found_by_its_name_or_its_folder(tmp_path, record, monkeypatch):
    monkeypatch.setattr("crackutils.files.ROOT", tmp_path)
    with pytest.raises(RecordError, match="There is no model bce: expected one of none that ship"):
        model_folder("bce")
    (tmp_path / "models").mkdir()
    record.rename(tmp_path / "models" / "bce")
    try:
        assert model_folder("bce") == tmp_path / "models" / "bce"
        with pytest.raises(RecordError, match="There is no model mse: expected one of bce, or"):
            model_folder("mse")
    finally:
        (tmp_path / "models" / "bce").rename(record)


@pytest.mark.parametrize("fields", [{"framing": "resize"}])
def test_a_network_that_was_not_trained_on_tiles_is_refused(tmp_path, fields):
    with pytest.raises(RecordError, match="expected cracks and framing=tiles"):
        CrackModel(write_record(tmp_path, **fields), "cpu")
