"""Protocols and records: validated, hashed, found, and written whole or not at all."""

import dataclasses
import errno
import os

import numpy as np
import pandas as pd
import pytest
import torch

from crackutils import files, records
from crackutils.device import Hardware
from crackutils.protocol import Protocol, preset

SMOKE = preset("smoke")
FINGERPRINT = "f" * 64
HISTORY = pd.DataFrame({"step": [1, 2], "loss": [0.5, 0.25]})
CPU = Hardware("cpu", "float32", "channels_first")
CHANGES = {"name": "quick", "task": "cracks", "loss": "bce", "weight": 0.5, "seed": 1,
           "counts": (6, 3, 4), "image_size": (64, 65), "framing": "resize", "tile": (32, 33),
           "augmentation": "flips", "mask_threshold": 96, "architecture": "fpn", "levels": 5,
           "kernel": 7, "first_filters": 3, "widest": 128, "batch_norm": False,
           "synchronised_batch_norm": False,
           "upsampling": "bilinear", "output": "clipped", "encoder_weights": "imagenet",
           "layout": "plain", "subset": (3, 2),
           "subset_seed": 1, "steps": 5, "batch": 5, "learning_rate": 1e-4, "schedule": "cosine",
           "precision": "float32", "memory_format": "channels_last", "classes": "direct",
           "smoothing": 1.0, "pooling": "image", "validate_every": 5}


def write(root, protocol=SMOKE, fingerprint=FINGERPRINT, dataset="synthetic"):
    """A whole record with next to nothing in it."""
    record = records.record_folder(root, protocol, dataset, fingerprint)
    records.save(record, protocol, dataset, fingerprint, {}, HISTORY, {"n": np.array([1])}, None,
              {"w": torch.ones(2)})
    return record


def refusal(call, *args, **kwargs) -> str:
    with pytest.raises(ValueError) as error:
        call(*args, **kwargs)
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text and len(text) > 20
    return text


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Protocol)])
def test_the_run_id_changes_with_every_field(field):
    base = dataclasses.replace(SMOKE, task="roads", loss="relu", weight=0.97)
    values = {field: CHANGES[field]} | ({"weight": None} if field == "loss" else {})
    other = dataclasses.replace(base, **values)
    assert getattr(other, field) != getattr(base, field)
    assert base.run_id(FINGERPRINT)[-8:] != other.run_id(FINGERPRINT)[-8:]


def test_the_run_id_reads_loss_weight_seed_and_hash():
    run = SMOKE.with_run("bce_dice", [0.25, 1.0], 3)
    assert run.run_id(FINGERPRINT).rsplit("-", 1)[0] == "bce_dice-0.25+1-3"
    assert SMOKE.run_id(FINGERPRINT).startswith("mse-none-0-")
    assert SMOKE.run_id("a") != SMOKE.run_id("b")
    assert len(SMOKE.run_id("a").rsplit("-", 1)[1]) == 8


@pytest.mark.parametrize("one, other", [
    (SMOKE.with_run("step", 1, 0), SMOKE.with_run("step", 1.0, 0)),
    (SMOKE.with_run("bce_dice", (0.25, 1), 0), SMOKE.with_run("bce_dice", [0.25, 1.0], 0))])
def test_a_weight_of_one_finds_the_record_of_one_point_nought(tmp_path, one, other):
    record = write(tmp_path, one)
    assert records.find({"runs": tmp_path}, other, "synthetic", FINGERPRINT)[1] == record
    assert records.find({"runs": tmp_path}, other, "synthetic", "another") is None


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "counts.npz"
    files.write_atomically(path, b"old")

    def disk_is_full(descriptor):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", disk_is_full)
    with pytest.raises(OSError, match="No space"):
        files.write_atomically(path, b"new and longer")
    assert path.read_bytes() == b"old"
    monkeypatch.undo()
    with open(path, "rb") as reader:  # a reader of the old file is not disturbed: it is renamed
        files.write_atomically(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_two_processes_may_write_one_file_at_once(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"

    def other_process(file):
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "getpid", lambda: -1)
            files.write_atomically(path, b"theirs")
        file.write(b"ours")

    files.write_atomically(path, other_process)
    assert path.read_bytes() == b"ours" and list(tmp_path.iterdir()) == [path]


def test_a_record_is_complete_last_and_drops_its_checkpoint(tmp_path, monkeypatch):
    record = records.record_folder(tmp_path, SMOKE, "synthetic", FINGERPRINT)
    records.Checkpoints(record, SMOKE, FINGERPRINT, CPU).save({"losses": [1.0]})
    written = []
    real = files.write_atomically
    monkeypatch.setattr(records, "write_atomically", lambda path, content: (
        written.append(path.name), real(path, content)))
    assert write(tmp_path) == record
    assert written == ["config.json", "environment.json", "history.csv", "counts.npz",
                       "model.safetensors", "complete.json"]
    assert sorted(path.name for path in record.iterdir()) == sorted(written)
    assert record == tmp_path / "smoke" / "synthetic" / "records" / SMOKE.run_id(FINGERPRINT)
    assert (record / "history.csv").read_text() == "step,loss\n1,0.5\n2,0.25\n"


def test_records_are_looked_for_in_runs_first_and_then_in_results(tmp_path):
    roots = {"runs": tmp_path / "a", "results": tmp_path / "b"}
    assert records.find(roots, SMOKE, "synthetic") is None
    below = f"smoke/synthetic/records/{SMOKE.run_id(FINGERPRINT)}"
    in_results = write(roots["results"])
    assert records.find(roots, SMOKE, "synthetic") == (f"results/{below}", in_results)
    in_runs = write(roots["runs"])
    assert records.find(roots, SMOKE, "synthetic") == (f"runs/{below}", in_runs)
    (in_runs / "complete.json").unlink()
    assert records.find(roots, SMOKE, "synthetic") == (f"results/{below}", in_results)


def test_records_of_other_protocols_data_and_seeds_are_not_taken(tmp_path):
    roots = {"runs": tmp_path}
    write(tmp_path, dataclasses.replace(SMOKE, steps=5))
    write(tmp_path, SMOKE.with_run("mse", None, 10))
    write(tmp_path, SMOKE.with_run("relu", 0.97, 0))
    write(tmp_path, SMOKE, dataset="photos")
    assert records.find(roots, SMOKE, "synthetic") is None
    assert records.find(roots, SMOKE.with_run("mse", None, 1), "synthetic") is None
    found = records.find(roots, SMOKE.with_run("relu", 0.97, 0), "synthetic")
    assert found is not None and found[1].name.startswith("relu-0.97-0-")


def test_two_records_of_one_run_on_different_data_are_refused(tmp_path):
    names = [write(tmp_path, fingerprint=letter * 64).name for letter in "ab"]
    text = refusal(records.find, {"runs": tmp_path}, SMOKE, "synthetic")
    assert all(name in text for name in names) and str(tmp_path) in text


def test_a_field_that_is_newer_than_a_record_counts_as_its_default(tmp_path):
    path = write(tmp_path) / "config.json"
    config = records.read_json(path)
    del config["protocol"]["schedule"]  # its default is SMOKE's
    records.write_json(path, config)
    roots = {"runs": tmp_path}
    assert records.find(roots, SMOKE, "synthetic")[1] == path.parent
    assert records.find(roots, dataclasses.replace(SMOKE, schedule="cosine"), "synthetic") is None
    config["protocol"]["dropped"] = 1
    records.write_json(path, config)
    assert records.find(roots, SMOKE, "synthetic") is None


class Malicious:
    """Unpickled carelessly, it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_comes_back_and_code_in_one_is_never_run(tmp_path):
    checkpoints = records.Checkpoints(tmp_path, SMOKE, FINGERPRINT, CPU)
    assert checkpoints.load() is None
    checkpoints.save({"model": {"w": torch.arange(3)}, "losses": [0.1]})
    assert torch.equal(checkpoints.load()["model"]["w"], torch.arange(3))
    torch.save({"losses": Malicious(tmp_path / "harm")}, tmp_path / "checkpoint.pt")
    assert "checkpoint.pt is no checkpoint of this program, or damaged" in refusal(checkpoints.load)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_a_damaged_checkpoint_is_told_in_a_sentence(tmp_path, kept):
    checkpoints = records.Checkpoints(tmp_path, SMOKE, FINGERPRINT, CPU)
    checkpoints.save({"model": {"w": torch.arange(300)}, "losses": [0.1]})
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:kept])
    assert "delete it to begin the run anew" in refusal(checkpoints.load)


def test_a_checkpoint_of_another_run_is_refused_with_the_fields_that_differ(tmp_path):
    other = dataclasses.replace(SMOKE, learning_rate=0.5, steps=9)
    records.Checkpoints(tmp_path, other, FINGERPRINT, CPU).save({"losses": []})
    text = refusal(records.Checkpoints(tmp_path, SMOKE, FINGERPRINT, CPU).load)
    assert "steps (9 there, 4 here)" in text and "learning_rate (0.5 there, 0.001 here)" in text
    assert "batch" not in text and "fingerprint" not in text
    assert "fingerprint" in refusal(records.Checkpoints(tmp_path, other, "b" * 64, CPU).load)


def test_a_checkpoint_computed_otherwise_is_refused_and_what_it_cost_is_remembered(tmp_path):
    first = records.Checkpoints(tmp_path, SMOKE, FINGERPRINT, CPU)
    first.cost, first.seconds = 2.0, 5.0
    first.save({"losses": []})
    other = dataclasses.replace(CPU, device="cuda", precision="bfloat16")
    text = refusal(records.Checkpoints(tmp_path, SMOKE, FINGERPRINT, other).load)
    assert "device ('cpu' there, 'cuda' here)" in text and "batch" not in text
    assert "precision ('float32' there, 'bfloat16' here)" in text
    again = records.Checkpoints(tmp_path, SMOKE, FINGERPRINT, CPU)
    again.load()
    assert (again.cost, again.seconds) == (2.0, 5.0)


def test_a_disk_that_can_not_be_read_is_not_called_a_damaged_checkpoint(tmp_path, monkeypatch):
    checkpoints = records.Checkpoints(tmp_path, SMOKE, FINGERPRINT, CPU)
    checkpoints.save({"losses": []})
    monkeypatch.setattr(records.Path, "read_bytes", lambda _: (_ for _ in ()).throw(
        OSError(errno.EIO, "Input/output error")))
    with pytest.raises(OSError, match="Input/output error"):
        checkpoints.load()


def test_checkpoints_are_so_seldom_that_they_cost_two_percent(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(records.time, "monotonic", lambda: clock[0])

    def slow_disk(path, content):
        clock[0] += 3  # seconds to write one

    checkpoints = records.Checkpoints(tmp_path, SMOKE, FINGERPRINT, CPU)
    monkeypatch.setattr(records, "write_atomically", slow_disk)
    times = []
    while clock[0] < 2_000:
        clock[0] += 1
        if checkpoints.due():
            times.append(clock[0])
            checkpoints.save({"losses": []})
    # the first comes after 30 s: what one costs is not known yet
    assert times[0] == 130 and times[1] == 133 + 150
    assert len(times) > 8 and (checkpoints.seconds - 3) / (clock[0] - 133) <= 0.02


def test_a_full_disk_is_told_and_the_checkpoint_before_stays(tmp_path, monkeypatch):
    checkpoints = records.Checkpoints(tmp_path, SMOKE, FINGERPRINT, CPU)
    checkpoints.save({"losses": [0.5]})
    monkeypatch.setattr(files.os, "fsync", lambda _: (_ for _ in ()).throw(
        OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError, match="after step 2 .*No space left.*Make room and start again"):
        checkpoints.save({"losses": [0.5, 0.4]})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert checkpoints.load()["losses"] == [0.5]


def test_arrays_with_objects_are_refused(tmp_path):
    np.savez(tmp_path / "counts.npz", names=np.array([Malicious(tmp_path / "harm")], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        records.read_arrays(tmp_path / "counts.npz")
    assert not (tmp_path / "harm").exists()


def test_folders_resolve_against_the_repository_or_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert files.resolve("runs", "runs") == files.ROOT / "runs"
    assert files.resolve("mine", "runs") == tmp_path / "mine"
    assert files.resolve("~/mine", "runs").is_absolute()
    assert files.optional("", "results") is None
    assert files.optional("results", "results") == files.ROOT / "results"
