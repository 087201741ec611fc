"""Every loss with every choice of classes runs at `smoke`, and its record says what it should."""

import numpy as np
import pandas as pd
import pytest
import segmentation_models_pytorch as smp
import torch
from miniatures import MINIATURES, lanes
from torchmetrics.functional.classification import multiclass_confusion_matrix

from crackutils import data as datasets
from crackutils import evaluation, experiment, metrics, records
from crackutils.data.picture_cache import Part
from crackutils.data.samples import Sample
from crackutils.device import decide, fabric_for
from crackutils.models import build
from crackutils.papers import road_tables
from crackutils.protocol import preset

FPN = smp.FPN
OTHERS = list(road_tables.ADDED)
PLANNED = [(classes, row.loss, row.weight) for classes in ("binary", "direct", "three")
           for row in road_tables.paper_rows(preset("smoke", "roads", {"classes": classes}))] \
    + [(classes, *run) for classes in ("binary", "direct", "three") for run in OTHERS]


SMALL = {"counts": [3, 1, 2], "image_size": [64, 96], "tile": [32, 32]}


def protocol_of(classes, loss, weight, **fields):
    return preset("smoke", "roads", {"classes": classes, "loss": loss, "weight": weight, **SMALL,
                                     **fields})


@pytest.fixture(autouse=True)
def small_encoder(monkeypatch):
    """ResNet-18 for ResNet-50: what is tested here lies around the network."""
    monkeypatch.setattr(smp, "FPN", lambda name, **options: FPN("resnet18", **options))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("classes, loss, weight", PLANNED)
def test_every_loss_with_every_choice_of_classes(root, classes, loss, weight):
    protocol = protocol_of(classes, loss, weight, steps=1)
    record = experiment.complete(protocol, datasets.load("synthetic", protocol, root), root, None)
    counts = records.read_arrays(record / "counts.npz")
    history = pd.read_csv(record / "history.csv")
    assert history["validation_iou"].between(0, 1).all() and history["loss"].notna().all()
    images = metrics.images_at(counts, "test", 0.5)
    assert ("confusion" in images) == (classes == "three")
    found = metrics.iou_variants(images)
    assert all(0 <= value.item() <= 1 for value in found.values())
    if classes == "three":
        assert (counts["test_confusion"].sum(axis=(1, 2)) == counts["test_pixels"]).all()
        positives = counts["test_confusion"][:, 1:].sum(axis=(1, 2))
        assert (positives == images["true_positives"] + images["false_negatives"]).all()


@pytest.mark.parametrize("fields", [{"smoothing": 1.0}, {"pooling": "image"},
                                    {"smoothing": 1.0, "pooling": "image", "classes": "three",
                                     "loss": "dice"}])
def test_smoothing_and_pooling_give_other_losses(root, fields):
    protocol = preset("smoke", "roads", {"loss": "dice", "steps": 2, **SMALL, **fields})
    plain = preset("smoke", "roads", {"loss": "dice", "steps": 2, **SMALL,
                                      "classes": fields.get("classes", "binary")})
    dataset = datasets.load("synthetic", protocol, root)
    losses = [pd.read_csv(experiment.complete(one, dataset, root, None) / "history.csv")["loss"]
              for one in (protocol, plain)]
    assert losses[0].notna().all() and not np.allclose(*losses)


def test_direct_area_alone_is_less_than_both(root):
    shares = {}
    for classes in ("binary", "direct", "three"):
        protocol = preset("smoke", "roads", {"classes": classes})
        masks = [sample.mask for sample in datasets.load("synthetic", protocol, root).train]
        shares[classes] = np.bincount(np.concatenate([mask.ravel() for mask in masks]), minlength=3)
    assert shares["three"].all()
    assert shares["binary"].tolist() == [shares["three"][0], shares["three"][1:].sum(), 0]
    assert shares["direct"].tolist() == [shares["three"][[0, 2]].sum(), shares["three"][1], 0]


@pytest.mark.parametrize("classes, numbers", [("three", (1, 2, 0)), ("direct", (1, 0, 0)),
                                              ("binary", (1, 1, 0))])
@pytest.mark.parametrize("layout", ["bdd100k", "bdd100k_legacy"])
def test_both_of_bdd100ks_layouts_give_the_same_classes(layout, classes, numbers, tmp_path):
    folder = tmp_path / layout
    MINIATURES[layout](folder)
    protocol = preset("smoke", "roads", {"classes": classes, "framing": "tiles"})
    for sample in datasets.load(folder, protocol, tmp_path).test:
        expected = np.array(numbers)[lanes(int(sample.name[:8], 16))]
        assert np.array_equal(sample.mask, expected)


@pytest.mark.parametrize("classes", ["direct", "three"])
def test_data_without_two_kinds_of_area_is_refused(classes, tmp_path):
    folder = tmp_path / "plain"
    MINIATURES["plain"](folder)
    with pytest.raises(datasets.DataError, match="does not tell direct from alternative"):
        datasets.load(folder, preset("smoke", "roads", {"classes": classes}), tmp_path)


def test_confusions_of_an_image_are_torchmetrics():
    generator = torch.Generator().manual_seed(3)
    prediction = torch.softmax(torch.randn(3, 9, 11, generator=generator), dim=0)
    mask = torch.randint(3, (9, 11), generator=generator)
    sample = Sample("a", np.zeros((9, 11, 3), np.uint8), mask.numpy().astype(np.uint8), None)
    counts = evaluation.image_counts(prediction, sample)
    expected = multiclass_confusion_matrix(prediction[None].argmax(1), mask[None], 3)
    assert np.array_equal(counts["confusion"], expected.numpy())
    index = evaluation.THRESHOLDS.tolist().index(0.5)
    claimed = prediction[1:].sum(0) >= 0.5
    assert counts["true_positives"][index] == (claimed & (mask > 0)).sum()
    assert counts["false_positives"][index] == (claimed & (mask == 0)).sum()


def test_validating_during_a_run_changes_no_loss(root):
    dataset = datasets.load("synthetic", protocol_of("binary", "dice", None), root)
    validated, never = (pd.read_csv(experiment.complete(
        protocol_of("binary", "dice", None, steps=3, validate_every=every), dataset, root, None)
        / "history.csv") for every in (1, None))
    assert validated["loss"].tolist() == never["loss"].tolist()
    assert "validation_iou" in validated and "validation_iou" not in never


def test_the_last_validation_iou_is_that_of_the_records_counts(root):
    protocol = protocol_of("binary", "bce", None, steps=2)
    record = experiment.complete(protocol, datasets.load("synthetic", protocol, root), root, None)
    counts = records.read_arrays(record / "counts.npz")
    last = pd.read_csv(record / "history.csv")["validation_iou"].iloc[-1]
    assert last == pytest.approx(metrics.iou_variants(metrics.images_at(
        counts, "validation", 0.5))["iou"].item())


def test_networks_of_three_classes_are_applied_in_windows_too():
    protocol = preset("smoke", "roads", {"classes": "three", "tile": [32, 32]})
    generator = np.random.default_rng(0)
    image = generator.integers(256, size=(32, 50, 3), dtype=np.uint8)
    part = Part.of([Sample("a", image, np.zeros((32, 50), np.uint8), None)])
    hardware = decide(protocol, "cpu")
    (_, found), = evaluation.predictions(build(protocol), part, [0], protocol, hardware,
                                         fabric_for(hardware))
    assert found.shape == (3, 32, 50)
    torch.testing.assert_close(found.sum(0), torch.ones(32, 50))
