"""The command line: what it prints, its exit status, and errors in one sentence."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_records import write_record

from crackutils import cli, experiment, files, metrics, records
from crackutils.data import download
from crackutils.data.samples import DataError

TINY = "{steps: 2, counts: [2, 1, 1], image_size: [32, 32], tile: [16, 16], precision: float32}"


def status_of(*words) -> int:
    """A command's exit status, argparse's own included."""
    try:
        return cli.main([str(word) for word in words])
    except SystemExit as leaving:
        return leaving.code


def sentence(capsys) -> str:
    """The one line on standard error."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.fixture
def pictures(tmp_path):
    """Twelve pictures of noise with a diagonal line in their masks."""
    folder = tmp_path / "walls"
    generator = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for index in range(12):
        image = generator.integers(256, size=(32, 32, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{index}.png")
        mask = np.roll(np.eye(32, dtype=np.uint8), index, axis=1) * 255
        Image.fromarray(mask).save(folder / "masks" / f"{index}.png")
    return folder


@pytest.mark.parametrize("words, expected", [
    ([], "examine a data folder, fetch a data set, train"), (["doctor"], "it is not changed"),
    (["download"], "name of the data set"), (["train"], "torchrun --nproc-per-node 2"),
    (["predict"], "cracks.geojson and index.html"), (["export"], "differ by less than 1e-4")])
def test_help_explains_each_command(capsys, words, expected):
    assert status_of(*words, "--help") == 0
    assert expected in " ".join(capsys.readouterr().out.split())


def test_help_does_not_import_pytorch():
    code = "import sys; from crackutils import cli\ntry: cli.main(['--help'])\n" \
        "except SystemExit: sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=files.ROOT, capture_output=True,
                          check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("words", [[], ["fly"], ["doctor"], ["train", "--device", "gpu"],
                                   ["train", "--speed", "9"]])
def test_a_command_that_does_not_exist_ends_with_status_2(capsys, words):
    assert status_of(*words) == 2
    assert "usage: crackutils" in capsys.readouterr().err


@pytest.mark.parametrize("words, expected", [
    (["train", "--protocol", "huge"], "Unknown protocol 'huge': expected one of smoke, quick"),
    (["train", "-y", "{loss: rellu}"], "rellu"), (["train", "-y", "{steps"], "must be YAML"),
    (["train", "-y", "steps"], "must be YAML like"),
    (["doctor", ".", "-y", "{stepps: 1}"], "stepps"),
    (["train", "--device", "cuda"], "PyTorch sees no CUDA device"),
    (["train", "--strategy", "foo"], "foo"), (["train", "-y", "{1: 2}"], "protocol field 1"),
    (["download", "imagenet"], "Unknown data set 'imagenet': expected one of metu, ")])
def test_wrong_arguments_are_one_sentence_and_status_2(capsys, monkeypatch, words, expected):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert status_of(*words) == 2
    text = sentence(capsys)
    assert text.startswith(f"crackutils {words[0]}: ") and expected in text


def test_the_doctor_prints_its_findings_and_fails_where_there_is_an_error(pictures, capsys):
    assert status_of("doctor", pictures) == 0
    assert "12 pairs" in capsys.readouterr().out
    (pictures / "images" / "3.png").write_bytes(b"no picture")
    assert status_of("doctor", pictures) == 1
    output = capsys.readouterr().out
    assert "error" in output and "3" in output


def test_a_folder_that_is_not_there_is_named_with_its_full_path(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert status_of("doctor", "nowhere") == 1
    assert str(tmp_path / "nowhere") in capsys.readouterr().out
    assert status_of("train", "nowhere", "--protocol", "smoke", "--runs", tmp_path / "runs") == 1
    assert str(tmp_path / "nowhere") in sentence(capsys)


def test_download_prints_the_folder_or_says_what_to_do(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(download, "fetch", lambda name, folder: folder / name)
    monkeypatch.chdir(tmp_path)
    assert status_of("download", "metu") == status_of("download", "metu", "sets") == 0
    assert capsys.readouterr().out.splitlines() == [
        str(files.ROOT / "data" / "sets" / "metu"), str(tmp_path / "sets" / "metu")]

    def refuse(name, folder):
        raise DataError(f"{name} can't be fetched by a program.")

    monkeypatch.setattr(download, "fetch", refuse)
    assert status_of("download", "bdd100k") == 1
    assert sentence(capsys) == "crackutils download: bdd100k can't be fetched by a program."


def test_train_prints_the_record_and_does_not_train_it_again(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["train", "--protocol", "smoke", "--runs", "mine", "--device", "cpu", "-y", TINY]
    assert status_of(*words) == 0
    *_, chosen, scores, record = capsys.readouterr().out.splitlines()
    record = Path(record)
    assert records.is_complete(record)
    threshold, expected = metrics.at_validation_threshold(
        records.read_arrays(record / "counts.npz"))
    assert f"F1 {expected['f1_score']:.3f}, " in scores and f"threshold {threshold:g}, " in chosen
    assert record.parent == tmp_path / "mine" / "smoke" / "synthetic" / "records"
    monkeypatch.setattr(experiment, "train", None)
    assert status_of(*words) == 0
    assert "not trained again" in capsys.readouterr().out


def test_train_on_a_folder_names_its_data_set(pictures, tmp_path, capsys):
    assert status_of("train", pictures, "--protocol", "smoke", "--runs", tmp_path / "runs",
                     "--device", "cpu", "-y", TINY) == 0
    assert f"{tmp_path}/runs/smoke/walls/records/mse-none-0-" in capsys.readouterr().out


def test_train_says_why_a_set_without_cracks_has_no_scores(pictures, tmp_path, capsys):
    for index, part in enumerate(("train", "val", "test")):  # cracks in the first part only
        for kind in ("images", "masks"):
            (tmp_path / "parts" / part / kind).mkdir(parents=True)
            for number in range(4 * index, 4 * index + 4):
                copy = (pictures / kind / f"{number}.png").rename(
                    tmp_path / "parts" / part / kind / f"{number}.png")
                if index and kind == "masks":
                    Image.fromarray(np.zeros((32, 32), np.uint8)).save(copy)
    assert status_of("train", tmp_path / "parts", "--protocol", "smoke", "--device", "cpu",
                     "--runs", tmp_path / "runs", "-y", TINY) == 0
    assert "no F1 and no IoU: the test part has no positive pixel" in capsys.readouterr().out


def test_train_from_a_model_keeps_its_shape_and_is_another_run(pictures, tmp_path, capsys):
    model = write_record(tmp_path / "models", first_filters=3, loss="bce", tile=[16, 16])
    words = ["train", pictures, "--protocol", "smoke", "--runs", tmp_path / "runs", "--device",
             "cpu", "-y", "{steps: 2, precision: float32}", "--from"]
    configs = []
    for initial in (model, "balanced_step"):
        assert status_of(*words, initial) == 0
        record = Path(capsys.readouterr().out.splitlines()[-1])
        configs.append(records.read_json(record / "config.json")["protocol"])
    assert record.name.startswith("balanced_step-0.83-0-")
    assert [config["first_filters"] for config in configs] == [3, 8]
    assert [config["loss"] for config in configs] == ["bce", "balanced_step"]
    assert configs[1]["tile"] == [128, 128] and "/" not in str(configs)  # and no path
    assert configs[0]["initial_weights"] != configs[1]["initial_weights"]


@pytest.mark.parametrize("words, status, expected", [
    (["--from", "unheard_of"], 1, "There is no model unheard_of: expected one of balanced_step, "),
    (["--from", "tests"], 1, "tests is no record and no model: expected a folder with config"),
    (["--from", "mse", "-y", "{first_filters: 16, levels: 5}"], 2,
     "mse has levels=4 (not 5), first_filters=8 (not 16): a network that is trained further"),
    (["--from", "mse", "--task", "roads"], 2, "mse has task=cracks (not roads)"),
    (["--from", "mse", "-y", "{stepps: 5}"], 2, "Unknown protocol field stepps"),
    (["-y", "{initial_weights: abc}"], 2, "Unknown protocol field initial_weights")])
def test_a_model_that_can_not_be_trained_further_is_one_sentence(capsys, monkeypatch, words,
                                                                  status, expected):
    monkeypatch.chdir(files.ROOT)
    assert status_of("train", *words) == status
    assert expected in sentence(capsys)


@pytest.mark.parametrize("error, status", [
    (records.RecordError("The checkpoint is damaged."), 1), (OSError(28, "No space left"), 1),
    (DataError("A mask is missing."), 1), (KeyboardInterrupt(), 130)])
def test_what_a_user_can_mend_is_one_sentence(tmp_path, capsys, monkeypatch, error, status):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(experiment, "complete", fail)
    assert status_of("train", "--protocol", "smoke", "--runs", tmp_path, "-y", TINY) == status
    assert (str(error) or "interrupted") in sentence(capsys)


@pytest.mark.parametrize("fault", [ValueError("operands could not be broadcast"), KeyError("x"),
                                   RuntimeError("shapes differ"), TypeError("got NoneType")])
def test_a_fault_of_the_program_keeps_its_traceback(tmp_path, monkeypatch, fault):
    def fail(*_, **__):
        raise fault

    monkeypatch.setattr(experiment, "complete", fail)
    with pytest.raises(type(fault)):
        status_of("train", "--protocol", "smoke", "--runs", tmp_path, "-y", TINY)


def test_overrides_add_up_and_may_be_written_as_notebooks_take_them():
    words = ["train", "-y", "{loss: relu, weight: 0.5}", "-y", "overrides: {positive: 1}", "-y",
             "{weight: 0.97}"]
    protocol = cli.protocol_of(cli.parser().parse_args(words), "smoke")
    assert (protocol.loss, protocol.weight, protocol.positive) == ("relu", 0.97, 1)
