"""`experiment.complete`: what it makes, finds, resumes and records."""

import runpy
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_records import write_record

from crackutils import data as datasets
from crackutils import device, experiment, files, records, training
from crackutils.batches import Sampler
from crackutils.data.picture_cache import Part
from crackutils.data.samples import Sample
from crackutils.device import decide, usable_cores
from crackutils.protocol import preset

TINY = {"counts": [4, 2, 2], "image_size": [32, 32], "tile": [16, 16], "batch": 2, "steps": 4}
FPN_SIZE = {"counts": [7, 1, 1], "image_size": [64, 96], "tile": [32, 64], "batch": 2, "steps": 1}


def tiny(**overrides):
    return preset("smoke", overrides=TINY | overrides)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return datasets.load("synthetic", tiny(), tmp_path_factory.mktemp("data"))


def capable(monkeypatch, precision) -> None:
    """Let this machine be one whose fastest precision is this."""
    monkeypatch.setattr(device, "fastest_precision", lambda *_: precision)


def squares() -> Part:
    """White squares on black."""
    masks = np.zeros((4, 16, 16), np.uint8)
    masks[:, 4:12, 4:12] = 1
    return Part.of([Sample(f"square{index}", np.repeat(mask[..., None] * np.uint8(255), 3, 2),
                           mask, None) for index, mask in enumerate(masks)])


def test_a_complete_run_is_not_trained_again(dataset, tmp_path, capsys, monkeypatch):
    record = experiment.complete(tiny(), dataset, tmp_path, None, "cpu")
    before = {path: path.stat().st_mtime_ns for path in record.iterdir()}
    capsys.readouterr()
    monkeypatch.setattr(experiment, "train", None)
    assert experiment.complete(tiny(), dataset, tmp_path, None, "cpu") == record
    assert {path: path.stat().st_mtime_ns for path in record.iterdir()} == before
    assert capsys.readouterr().out.endswith(f"{record.name}: complete, not trained again\n")
    elsewhere = tmp_path / "fresh"
    assert experiment.complete(tiny(), dataset, elsewhere, tmp_path, "cpu") == record
    assert not elsewhere.exists()


def test_without_its_last_file_exactly_that_run_is_trained_again_and_alike(dataset, tmp_path):
    first, other = (experiment.complete(tiny(seed=seed), dataset, tmp_path, None, "cpu")
                    for seed in (0, 1))
    compared = ("counts.npz", "history.csv", "config.json", "model.safetensors", "samples.npz")
    before = [(first / name).read_bytes() for name in compared]
    untouched = (other / "complete.json").stat().st_mtime_ns
    (first / "complete.json").unlink()
    (first / "counts.npz").write_bytes(b"")
    for seed in (0, 1):
        experiment.complete(tiny(seed=seed), dataset, tmp_path, None, "cpu")
    assert [(first / name).read_bytes() for name in compared] == before
    assert (other / "complete.json").stat().st_mtime_ns == untouched


def test_a_record_says_what_was_done_and_holds_no_path(dataset, tmp_path):
    record = experiment.complete(tiny(), dataset, tmp_path, None, "cpu")
    text = (record / "config.json").read_text() + (record / "environment.json").read_text()
    assert not any(str(place) in text for place in (tmp_path, Path.home(), files.ROOT))
    assert "/" not in text
    hardware = decide(tiny(), "cpu")
    decided = tiny(precision=hardware.precision)
    assert record.name == records.run_id(decided, dataset.fingerprint)
    assert records.read_json(record / "config.json") == {
        "format": records.FORMAT, "protocol": decided.as_dict(), "dataset": "synthetic",
        "fingerprint": dataset.fingerprint}
    environment = records.read_json(record / "environment.json")
    assert torch.__version__.startswith(environment["torch"]) and environment["device"] == "cpu"
    assert {"format": records.FORMAT, "precision": hardware.precision,
            "memory_format": hardware.memory_format, "devices": 1,
            "cores": usable_cores()}.items() <= environment.items()
    history = pd.read_csv(record / "history.csv")
    assert history["step"].tolist() == [1, 2, 3, 4] and (history["loss"] > 0).all()
    counts = records.read_arrays(record / "counts.npz")
    assert counts["test_names"].tolist() == [sample.name for sample in dataset.test]
    assert counts["validation_true_positives"].shape == (2, 110)


def test_a_machine_of_another_precision_finds_the_record_but_begins_a_run_of_its_own(
        dataset, tmp_path, monkeypatch):
    capable(monkeypatch, "bfloat16")
    record = experiment.complete(tiny(), dataset, tmp_path, None, "cpu")
    assert records.read_json(record / "config.json")["protocol"]["precision"] == "bfloat16"
    capable(monkeypatch, "float32")
    assert experiment.complete(tiny(), dataset, tmp_path, None, "cpu") == record
    other = experiment.complete(tiny(precision="float32"), dataset, tmp_path, None, "cpu")
    assert other != record and records.is_complete(record)
    # the first is now unfinished: with a checkpoint, without its end
    for path in (record, other):
        (path / "complete.json").unlink()
    decided = tiny(precision="bfloat16")
    checkpoints = records.Checkpoints(record, decided, dataset.fingerprint, decide(decided, "cpu"))
    checkpoints.save({"losses": [1.0]})
    with pytest.warns(UserWarning, match="unfinished, in bfloat16: it is not resumed"):
        assert experiment.complete(tiny(), dataset, tmp_path, None, "cpu") == other


def test_a_run_with_more_steps_begins_anew_and_says_so(dataset, tmp_path, capsys):
    for steps, said in ((2, False), (3, True)):
        record = experiment.complete(tiny(steps=steps), dataset, tmp_path, None, "cpu")
        assert ("is the same run of 2 steps. This one" in capsys.readouterr().out) == said
        assert len(pd.read_csv(record / "history.csv")) == steps


def test_a_run_writes_what_decides_it_before_it_trains(dataset, tmp_path, monkeypatch):
    def cut_short(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "train", cut_short)
    with pytest.raises(KeyboardInterrupt):
        experiment.complete(tiny(), dataset, tmp_path, None, "cpu")
    config, = tmp_path.rglob("config.json")
    assert records.read_json(config)["format"] == records.FORMAT
    assert not records.is_complete(config.parent)


def test_a_damaged_record_is_moved_aside_and_made_again_alike(dataset, tmp_path):
    record = experiment.complete(tiny(), dataset, tmp_path, None, "cpu")
    whole = (record / "counts.npz").read_bytes()
    (record / "counts.npz").write_bytes(whole[:-9] + b"corrupted")
    with pytest.warns(UserWarning, match="is damaged .counts.npz.: it was moved to"):
        assert experiment.complete(tiny(), dataset, tmp_path, None, "cpu") == record
    assert (record / "counts.npz").read_bytes() == whole and not records.damaged(record)


def test_a_run_that_fails_keeps_none_of_the_others_from_being_made(dataset, tmp_path, monkeypatch):
    runs = [tiny(), tiny(learning_rate=1e30), tiny(seed=2)]
    roots, places = {"runs": tmp_path}, (dataset, tmp_path, None, "cpu")
    with pytest.raises(RuntimeError, match="1 of 3 runs failed: MSE seed 0 .TrainingFailedError: "
                                           "The loss is nan at step"):
        experiment.complete_all(runs, *places)
    found = [records.find(roots, run, "synthetic") is not None for run in runs]
    assert found == [True, False, True]
    failed = [records.has_failed(tmp_path, run, "synthetic") for run in runs]
    assert failed == [False, True, False]
    [told] = tmp_path.rglob("failed.txt")
    assert told.read_text().startswith("TrainingFailedError: The loss is nan at step ")

    def succeeds(hardware, share):
        protocol = share.keywords["protocol"]
        records.save(share.keywords["record"], protocol, "synthetic", dataset.fingerprint, {},
                     pd.DataFrame({"step": [1], "loss": [1.0]}),
                     records.read_arrays(next(tmp_path.rglob("counts.npz"))), None, {})

    monkeypatch.setattr(experiment, "launch", succeeds)
    assert len(experiment.complete_all(runs, *places)) == 3 and not told.exists()


def test_a_complete_record_is_read_without_a_lock(dataset, tmp_path, monkeypatch):
    record = experiment.complete(tiny(), dataset, tmp_path, None, "cpu")

    def refuse(path, **_):
        raise PermissionError(f"{path} can't be written")

    monkeypatch.setattr(files, "locked", refuse)
    assert experiment.complete(tiny(), dataset, tmp_path, None, "cpu") == record
    assert experiment.complete(tiny(), dataset, tmp_path / "mine", tmp_path, "cpu") == record


@pytest.fixture
def fresh_commit():
    """`experiment.commit` without what it remembers of the process."""
    experiment.commit.cache_clear()
    yield experiment.commit
    experiment.commit.cache_clear()


def test_a_checkout_has_a_commit_and_one_without_any_has_none(fresh_commit, monkeypatch, tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setattr(files, "ROOT", tmp_path)
    assert fresh_commit() is None
    fresh_commit.cache_clear()
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *who, "commit", "-q", "--allow-empty", "-m", "first"], cwd=tmp_path,
                   check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True,
                          text=True, check=True).stdout.strip()
    assert fresh_commit() == head
    fresh_commit.cache_clear()
    inside = tmp_path / "site-packages"  # a package within somebody else's repository
    inside.mkdir()
    monkeypatch.setattr(files, "ROOT", inside)
    assert fresh_commit() is None


def test_without_the_program_git_the_module_is_imported_and_the_commit_unknown(
        fresh_commit, monkeypatch, tmp_path):
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    module = runpy.run_path(experiment.__file__)
    assert module["commit"]() is None and fresh_commit() is None


def test_samples_are_kept_of_synthetic_images_only(dataset, tmp_path):
    record = experiment.complete(tiny(), dataset, tmp_path, None, "cpu")
    samples = records.read_arrays(record / "samples.npz")
    assert samples["predictions"].dtype == np.uint8
    assert samples["predictions"].shape == (len(samples["names"]), 32, 32)
    photos = datasets.Dataset("photos", "plain", "f", *[squares()] * 3)
    record = experiment.complete(tiny(), photos, tmp_path, None, "cpu")
    assert not (record / "samples.npz").exists() and (record / "complete.json").exists()


def test_a_test_part_without_a_single_crack_is_no_obstacle(tmp_path):
    protocol = tiny(counts=[5, 1, 1])
    dataset = datasets.load("synthetic", protocol, tmp_path)
    assert not dataset.test[0].mask.any(), "the seventh synthetic image shows none"
    assert records.is_complete(experiment.complete(protocol, dataset, tmp_path, None, "cpu"))


def test_a_prediction_that_is_black_everywhere_is_warned_of_with_advice():
    counts = {f"validation_{name}": np.array([[value]] if name != "pixels" else [value])
              for name, value in (("pixels", 9), ("true_positives", 0), ("false_positives", 0),
                                  ("false_negatives", 2))}
    with pytest.warns(UserWarning, match="is empty, whatever the threshold.*Likely causes"):
        experiment.warn_if_degenerate(counts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        experiment.warn_if_degenerate(counts | {"validation_true_positives": np.array([[1]])})


def tuned(initial, **overrides):
    """The protocol of a training that starts from the record `initial`."""
    return experiment.fine_tuning(initial, "smoke", "cracks", TINY | overrides)


def test_fine_tuning_starts_from_the_models_weights_and_keeps_its_shape(dataset, tmp_path):
    initial = write_record(tmp_path, first_filters=3, upsampling="bilinear", loss="relu",
                           weight=0.97, augmentation="flips", tile=[24, 24])
    protocol = experiment.fine_tuning(initial, "smoke", "cracks", {"steps": 1, "batch": 2,
                                                                   "learning_rate": 1e-12})
    assert (protocol.first_filters, protocol.upsampling) == (3, "bilinear")
    assert (protocol.loss, protocol.weight, protocol.tile) == ("relu", 0.97, (24, 24))
    assert (protocol.augmentation, protocol.name, protocol.steps) == ("flips", "smoke", 1)
    other = tuned(initial, loss="bce", framing="resize")
    assert (other.loss, other.weight, other.tile) == ("bce", None, (16, 16))
    record = experiment.complete(protocol, dataset, tmp_path, None, "cpu", initial=initial)
    before, after = (experiment.open_record(folder)[0] for folder in (initial, record))
    for first, second in zip(before.parameters(), after.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-6)
    assert experiment.open_record(record)[1].initial_weights == protocol.initial_weights


def test_another_model_another_run_and_none_is_the_run_from_scratch(dataset, tmp_path):
    models = [write_record(tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    made = [experiment.complete(tuned(model), dataset, tmp_path, None, "cpu", initial=model)
            for model in models]
    scratch = experiment.complete(tiny(), dataset, tmp_path, None, "cpu")
    assert len({*made, scratch}) == 3
    assert all(records.read_json(folder / "config.json")["protocol"].get("initial_weights")
               == expected for folder, expected in zip(
                   [*made, scratch], [*(tuned(model).initial_weights for model in models), None]))
    with pytest.raises(records.RecordError, match="is not the model with which this training"):
        experiment.complete(tuned(models[0], seed=5), dataset, tmp_path, None, "cpu",
                            initial=models[1])
    with pytest.raises(records.RecordError, match="None is not the model"):
        experiment.complete(tuned(models[0], seed=5), dataset, tmp_path, None, "cpu")


def test_fine_tuning_that_was_cut_short_ends_as_uncut(dataset, tmp_path, monkeypatch, capsys):
    initial = write_record(tmp_path / "model")
    protocol = tuned(initial, steps=6)
    whole = experiment.complete(protocol, dataset, tmp_path / "whole", None, "cpu",
                                initial=initial)
    monkeypatch.setattr(records, "CHECKPOINT_SECONDS", -1)
    monkeypatch.setattr(records, "CHECKPOINT_SHARE", float("inf"))
    monkeypatch.setattr(training, "FETCH_EVERY", 2)
    real = Sampler.batch

    def cut_short(sampler, step):
        if step == 5:
            raise KeyboardInterrupt
        return real(sampler, step)

    monkeypatch.setattr(Sampler, "batch", cut_short)
    with pytest.raises(KeyboardInterrupt):
        experiment.complete(protocol, dataset, tmp_path / "cut", None, "cpu", initial=initial)
    monkeypatch.setattr(Sampler, "batch", real)
    resumed = experiment.complete(protocol, dataset, tmp_path / "cut", None, "cpu",
                                  initial=initial)
    assert "resumed after step 4" in capsys.readouterr().out and resumed.name == whole.name
    for name in ("model.safetensors", "history.csv", "counts.npz", "config.json"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize("task, overrides, expected", [
    ("cracks", {"levels": 5, "kernel": 5}, "has levels=4 .not 5.: a network"),
    ("cracks", {"first_filters": 8, "output": "clipped"},
     "has first_filters=2 .not 8., output=sigmoid .not clipped.: a network"),
    ("cracks", {"encoder_weights": "imagenet"}, "encoder_weights=imagenet would have no effect"),
    ("roads", {}, "has task=cracks .not roads."), ("cracks", {"stepps": 1}, "field stepps")])
def test_what_contradicts_the_models_shape_is_refused(tmp_path, task, overrides, expected):
    with pytest.raises(ValueError, match=expected):
        experiment.fine_tuning(write_record(tmp_path), "smoke", task, overrides)


def test_the_fpn_trains_evaluates_and_is_recorded(tmp_path):
    protocol = preset("smoke", "roads", FPN_SIZE)
    dataset = datasets.load("synthetic", protocol, tmp_path)
    record = experiment.complete(protocol, dataset, tmp_path, None, "cpu")
    environment = records.read_json(record / "environment.json")
    assert environment["pretrained_encoder"] is False
    assert environment["precision"] == decide(protocol, "cpu").precision
    assert "test_true_positives_by_width" not in records.read_arrays(record / "counts.npz")
