"""Records and checkpoints: named, found, refused, and written whole or not at all."""

import dataclasses
import errno
import os
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from crackutils import files, records
from crackutils.device import Hardware
from crackutils.protocol import Protocol, preset
from crackutils.records import FORMAT, RecordError, run_id

OPEN = preset("smoke")  # leaves the precision open, as a user's protocol does
SMOKE = preset("smoke", overrides={"precision": "float32"})
FINGERPRINT = "f" * 64
HISTORY = pd.DataFrame({"step": [1, 2], "loss": [0.5, 0.25]})
CPU = Hardware("cpu", "float32", "channels_first")
CHANGES = {"name": "quick", "task": "cracks", "loss": "bce", "weight": 0.5, "seed": 1,
           "counts": (6, 3, 4), "image_size": (64, 65), "framing": "resize", "tile": (32, 33),
           "augmentation": "flips", "mask_threshold": 96, "positive": 1, "ignore": 2,
           "architecture": "fpn", "levels": 5,
           "kernel": 7, "first_filters": 3, "widest": 128, "batch_norm": False,
           "synchronised_batch_norm": False,
           "upsampling": "bilinear", "output": "clipped", "encoder_weights": "imagenet",
           "layout": "plain", "subset": (3, 2),
           "subset_seed": 1, "steps": 5, "batch": 5, "learning_rate": 1e-4, "schedule": "cosine",
           "precision": "bfloat16", "memory_format": "channels_last", "classes": "direct",
           "smoothing": 1.0, "pooling": "image", "validate_every": 5,
           "initial_weights": "a" * 64}


def write(root, protocol=SMOKE, fingerprint=FINGERPRINT, dataset="synthetic"):
    """A whole record with next to nothing in it."""
    record = records.record_folder(root, protocol, dataset, fingerprint)
    records.save(record, protocol, dataset, fingerprint, {}, HISTORY, {"n": np.array([1])}, None,
                 {"w": torch.ones(2)})
    return record


def begin(root, protocol=SMOKE, fingerprint=FINGERPRINT):
    """An unfinished run with a checkpoint."""
    record = records.record_folder(root, protocol, "synthetic", fingerprint)
    records.write_config(record, protocol, "synthetic", fingerprint)
    records.Checkpoints(record, protocol, fingerprint, CPU).save({"losses": [1.0]})
    return record


def edit(record, change) -> None:
    """Let `change` work on a record's config.json, as another version might have written it."""
    config = records.read_json(record / "config.json")
    change(config)
    records.write_json(record / "config.json", config)


def found(root, protocol, fingerprint=FINGERPRINT):
    """The folder that is found without a warning, or None."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = records.find({"runs": root}, protocol, "synthetic", fingerprint)
    return answer and answer[1]


def refusal(call, *args, **kwargs) -> str:
    with pytest.raises(RecordError) as error:
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
    assert run_id(base, FINGERPRINT)[-8:] != run_id(other, FINGERPRINT)[-8:]


def test_the_ids_of_the_committed_records_are_those_that_they_were_written_with():
    committed = sorted((files.ROOT / "results").rglob("config.json"))
    assert len(committed) > 100
    for path in committed:
        config = records.read_json(path)
        protocol = Protocol.from_dict(config["protocol"])
        assert run_id(protocol, config["fingerprint"]) == path.parent.name


def test_a_fine_tuned_network_and_one_from_scratch_find_their_own_records(tmp_path):
    tuned = dataclasses.replace(SMOKE, initial_weights="a" * 64)
    other = dataclasses.replace(SMOKE, initial_weights="b" * 64)
    assert "initial_weights" not in SMOKE.as_dict() and "initial_weights" in tuned.as_dict()
    for first, second in ((SMOKE, tuned), (tuned, SMOKE)):
        root = tmp_path / str(first.initial_weights)
        records_of = write(root, first), write(root, second)
        assert (found(root, first), found(root, second)) == records_of
        assert found(root, other) is None  # and nothing is said of another version


def test_the_run_id_changes_with_the_format(monkeypatch):
    before = run_id(SMOKE, FINGERPRINT)
    monkeypatch.setattr(records, "FORMAT", FORMAT + 1)
    assert run_id(SMOKE, FINGERPRINT) != before


def test_the_run_id_reads_loss_weight_seed_and_hash():
    run = SMOKE.with_run("bce_dice", [0.25, 1.0], 3)
    assert run_id(run, FINGERPRINT).rsplit("-", 1)[0] == "bce_dice-0.25+1-3"
    assert run_id(SMOKE, FINGERPRINT).startswith("mse-none-0-")
    assert run_id(SMOKE, "a") != run_id(SMOKE, "b")
    assert len(run_id(SMOKE, "a").rsplit("-", 1)[1]) == 8


def test_a_run_whose_precision_is_open_has_no_record(tmp_path):
    with pytest.raises(ValueError, match="must be decided .float32 or bfloat16., got auto"):
        write(tmp_path, OPEN)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("one, other", [
    (SMOKE.with_run("step", 1, 0), SMOKE.with_run("step", 1.0, 0)),
    (SMOKE.with_run("bce_dice", (0.25, 1), 0), SMOKE.with_run("bce_dice", [0.25, 1.0], 0))])
def test_a_weight_of_one_finds_the_record_of_one_point_nought(tmp_path, one, other):
    record = write(tmp_path, one)
    assert found(tmp_path, other) == record
    assert found(tmp_path, other, "another") is None


def old_format(config):
    """A record as format 1 was: no format number, and the precision as the user gave it."""
    del config["format"]
    config["protocol"]["precision"] = "auto"


def newer_format(config):
    config["format"] = FORMAT + 1


def without_a_field(config):
    del config["protocol"]["schedule"]  # whose default is SMOKE's


def with_a_dropped_field(config):
    config["protocol"]["dropped"] = 1


@pytest.mark.parametrize("change", [old_format, newer_format, without_a_field,
                                    with_a_dropped_field])
def test_a_record_of_another_version_is_not_used_and_a_warning_says_so(tmp_path, change):
    for seed in (0, 1):
        edit(write(tmp_path, SMOKE.with_run("mse", None, seed)), change)
    unfinished = begin(tmp_path, SMOKE.with_run("mse", None, 2))
    edit(unfinished, change)
    folder = records.records_folder(tmp_path, "smoke", "synthetic")
    for protocol in (SMOKE, OPEN, SMOKE.with_run("mse", None, 2)):
        with pytest.warns(UserWarning) as caught:
            assert records.find({"runs": tmp_path}, protocol, "synthetic") is None
        assert len(caught) == 1
        text = str(caught[0].message)
        assert f"2 complete records and 1 unfinished runs in {folder}" in text
        assert f"format {FORMAT}" in text and caught[0].filename == __file__
    assert found(tmp_path, SMOKE.with_run("mse", None, 3)) is None  # nothing of this run is there
    record = write(tmp_path)  # the new record is used, and nothing more is said
    assert found(tmp_path, OPEN) == record


def test_an_unfinished_run_without_a_config_is_of_an_older_format(tmp_path):
    (begin(tmp_path) / "config.json").unlink()
    with pytest.warns(UserWarning, match="0 complete records and 1 unfinished runs"):
        assert records.find({"runs": tmp_path}, OPEN, "synthetic", FINGERPRINT) is None


def test_a_changed_default_does_not_reinterpret_a_record(tmp_path, monkeypatch):
    record = write(tmp_path)  # with the schedule "constant", today's default
    values = SMOKE.as_dict()
    monkeypatch.setattr(Protocol, "as_dict", lambda self: values | {"schedule": "cosine"})
    assert found(tmp_path, SMOKE) is None  # what SMOKE would be if the default were "cosine"
    monkeypatch.setattr(Protocol, "as_dict", lambda self: values)
    assert found(tmp_path, SMOKE) == record


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_open_precision_takes_either_record_and_a_stated_one_only_its_own(tmp_path, precision):
    stated = dataclasses.replace(SMOKE, precision=precision)
    other = {"float32": "bfloat16", "bfloat16": "float32"}[precision]
    record = write(tmp_path, stated)
    assert records.read_json(record / "config.json")["protocol"]["precision"] == precision
    assert found(tmp_path, OPEN) == found(tmp_path, stated) == record
    assert found(tmp_path, dataclasses.replace(SMOKE, precision=other)) is None


@pytest.mark.parametrize("fingerprint", [None, FINGERPRINT])
def test_of_both_precisions_float32_is_used_and_a_warning_says_so(tmp_path, fingerprint):
    both = [write(tmp_path, dataclasses.replace(SMOKE, precision=precision))
            for precision in ("bfloat16", "float32")]
    with pytest.warns(UserWarning, match="float32 and in bfloat16.*State precision") as caught:
        answer = records.find({"runs": tmp_path}, OPEN, "synthetic", fingerprint)
    assert answer[1] == both[1] and all(record.name in str(caught[0].message) for record in both)
    assert found(tmp_path, SMOKE) == both[1]
    assert found(tmp_path, dataclasses.replace(SMOKE, precision="bfloat16")) == both[0]


def test_an_unfinished_run_in_another_precision_is_not_orphaned_silently(tmp_path):
    run = begin(tmp_path, dataclasses.replace(SMOKE, precision="bfloat16"))
    record = records.record_folder(tmp_path, SMOKE, "synthetic", FINGERPRINT)
    with pytest.warns(UserWarning, match=f"{run} is this run, unfinished, in bfloat16"):
        records.warn_of_other_precision(record, OPEN, FINGERPRINT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        records.warn_of_other_precision(record, SMOKE, FINGERPRINT)  # float32 was asked for
        records.warn_of_other_precision(record, OPEN, "other data")


def test_a_run_that_differs_in_its_steps_is_named_and_others_are_not(tmp_path, capsys):
    fewer, more = (dataclasses.replace(SMOKE, steps=steps) for steps in (2, 8))
    complete = write(tmp_path, fewer)
    unfinished = begin(tmp_path, more)
    write(tmp_path, fewer.with_run("mse", None, 1))
    write(tmp_path, dataclasses.replace(fewer, batch=2))
    write(tmp_path, fewer, fingerprint="e" * 64)
    records.write_config(complete.with_name(f"{complete.name}-empty"),
                         dataclasses.replace(SMOKE, steps=3), "synthetic", FINGERPRINT)
    record = records.record_folder(tmp_path, SMOKE, "synthetic", FINGERPRINT)
    records.note_other_steps(record, SMOKE, FINGERPRINT)
    said = capsys.readouterr().out.splitlines()
    assert sorted(line.split(". ")[0] for line in said) == sorted([
        f"{complete} is the same run of 2 steps", f"{unfinished} is the same run of 8 steps"])
    assert all("This one of 4 begins at step 0: a run's schedule depends on" in line
               for line in said)
    records.note_other_steps(complete, fewer, FINGERPRINT)
    assert "8 steps" in capsys.readouterr().out


def test_known_faults_are_printed_once_where_a_record_has_them(tmp_path, capsys):
    for seed in (0, 1):
        record = write(tmp_path, SMOKE.with_run("mse", None, seed))
        edit(record, lambda config: config.update(known_faults=["Labels are shifted.", "Slow."]))
    write(tmp_path, SMOKE.with_run("mse", None, 2))
    for _ in range(2):
        for seed in (2, 0, 1):
            assert found(tmp_path, SMOKE.with_run("mse", None, seed)) is not None
    assert capsys.readouterr().out.splitlines() == [
        "Known fault of records that are used here: Labels are shifted.",
        "Known fault of records that are used here: Slow."]


def test_records_that_were_not_made_alike_are_named_by_what_differs(tmp_path):
    made = [{"precision": "float32", "torch": "2.15.0", "device": "cpu", "cores": 2},
            {"precision": "float32", "torch": "2.15.0", "device": "cpu", "cores": 8},
            {"precision": "bfloat16", "torch": "2.15.0", "device": "cpu"},
            {"precision": "float32", "torch": "2.14.1", "device": "NVIDIA H100"}, {}]
    folders = [tmp_path / str(index) for index in range(len(made))]
    for folder, environment in zip(folders, made):
        folder.mkdir()
        records.write_json(folder / "environment.json", environment)
    assert records.environments_differ([]) is None
    assert records.environments_differ(folders[:2]) is None
    assert records.environments_differ(folders[:3]) == (
        "These records were not made alike: they differ in precision (bfloat16, float32).")
    assert records.environments_differ(iter(folders[1:4:2])) == (
        "These records were not made alike: they differ in version of PyTorch (2.14.1, 2.15.0), "
        "device (NVIDIA H100, cpu).")
    assert "precision (float32, unknown)" in records.environments_differ(folders[3:])


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
    assert record == tmp_path / "smoke" / "synthetic" / "records" / run_id(SMOKE, FINGERPRINT)
    assert (record / "history.csv").read_text() == "step,loss\n1,0.5\n2,0.25\n"


def test_records_are_looked_for_in_runs_first_and_then_in_results(tmp_path):
    roots = {"runs": tmp_path / "a", "results": tmp_path / "b"}
    assert records.find(roots, SMOKE, "synthetic") is None
    below = f"smoke/synthetic/records/{run_id(SMOKE, FINGERPRINT)}"
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


def test_two_records_of_one_run_are_refused_if_data_differs_or_one_is_a_copy(tmp_path):
    names = [write(tmp_path / "data", fingerprint=letter * 64).name for letter in "ab"]
    text = refusal(records.find, {"runs": tmp_path / "data"}, SMOKE, "synthetic")
    assert all(name in text for name in names) and str(tmp_path / "data") in text
    record = write(tmp_path / "copies")
    shutil.copytree(record, record.with_name(f"{record.name}.old"))
    text = refusal(records.find, {"runs": tmp_path / "copies"}, OPEN, "synthetic", FINGERPRINT)
    assert f"2 records of one run: {record.name}, {record.name}.old." in text


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
def test_a_damaged_checkpoint_is_an_error_of_one_sentence(tmp_path, kept):
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


def test_checkpoints_take_at_most_two_percent_of_the_time(tmp_path, monkeypatch):
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


def test_a_full_disk_is_an_error_with_advice_and_the_checkpoint_before_stays(tmp_path, monkeypatch):
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


@pytest.mark.parametrize("name", ["environment.json", "history.csv", "counts.npz",
                                  "model.safetensors", "complete.json"])
def test_one_wrong_byte_makes_a_record_damaged(tmp_path, name):
    record = write(tmp_path)
    assert records.damaged(record) == [] and found(tmp_path, SMOKE) == record
    content = bytearray((record / name).read_bytes())
    content[len(content) // 2] ^= 0x80
    (record / name).write_bytes(content)
    assert records.damaged(record) == [name]
    assert found(tmp_path, SMOKE) is None


def test_a_record_without_its_weights_is_whole_and_without_its_counts_is_damaged(tmp_path):
    record = write(tmp_path)
    (record / "model.safetensors").unlink()
    assert found(tmp_path, SMOKE) == record
    (record / "counts.npz").unlink()
    assert records.damaged(record) == ["counts.npz"] and found(tmp_path, SMOKE) is None


def test_a_record_of_before_there_were_checksums_is_found(tmp_path):
    record = write(tmp_path)
    records.write_json(record / "complete.json", {"run": record.name})
    assert found(tmp_path, SMOKE) == record


def test_a_fault_may_be_added_to_a_record_later(tmp_path, capsys):
    record = write(tmp_path)
    edit(record, lambda config: config.update(known_faults=["seams"]))
    assert found(tmp_path, SMOKE) == record


def test_a_damaged_record_is_moved_aside_with_a_warning_and_a_whole_one_is_not(tmp_path):
    record = write(tmp_path)
    records.move_aside(record)
    assert records.is_complete(record)
    (record / "counts.npz").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"is damaged \(counts.npz\): it was moved to .*damaged"):
        records.move_aside(record)
    assert not record.exists()
    [moved] = (record.parents[1] / "damaged").iterdir()
    assert moved.name.startswith(record.name) and records.is_complete(moved)
