"""`workflow.reproduce` on small notebooks: its plan, its arguments, failures and interruptions."""

import os
import shutil
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from miniatures import MINIATURES
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from crackutils import device, files
from crackutils.protocol import preset
from workflow import reproduce
from workflow.reproduce import Stage

COMMON = "protocol = 'smoke'\nruns = 'runs'\nresults = ''\nseeds = [0]\ndevice = 'auto'\n" \
    "overrides = {}\n"
PARAMETERS = {"01_data": "protocol = 'smoke'\ndata = 'synthetic'\nroads = 'synthetic'\nruns = ''",
              "02_losses_by_hand": "protocol = 'smoke'",
              "03_audit": "protocol = 'smoke'",
              "04_train_cracks": COMMON + "data = 'synthetic'\nloss = 'mse'\nweights = []\n"
              "devices = 1",
              "05_threshold_sweeps": COMMON + "data = 'synthetic'",
              "07_drivable_area": COMMON + "data = 'synthetic'\nloss = ''\nweights = []",
              "08_figures": COMMON + "data = 'synthetic'\nroads = 'synthetic'"}
CHECK = "from crackutils.protocol import check_parameters\ncheck_parameters(globals())\n" \
    "print('reached α')"


def write_notebook(path, parameters: str, code: str) -> None:
    """A notebook of a title, a cell of parameters, and a cell of code."""
    cells = [new_markdown_cell(f"# {path.stem}"),
             new_code_cell(parameters, metadata={"tags": ["parameters"]}), new_code_cell(code)]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": {
        "name": "python3", "display_name": "Python 3", "language": "python"}}), path)


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """Notebooks of the real names and parameters that only check `seeds`."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name, parameters in PARAMETERS.items():
        write_notebook(folder / f"{name}.ipynb", parameters, CHECK)
    monkeypatch.setattr(reproduce, "NOTEBOOKS", folder)
    return folder


class Ended:
    """Stands for a papermill that has ended."""

    def __init__(self, returncode=0):
        self.returncode = returncode

    def poll(self):
        return self.returncode


@pytest.fixture
def executed(notebooks, monkeypatch):
    """The stages that `main` would execute, in order; none is."""
    seen = []

    def start(stage, folder, threads):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{stage.name}.log").touch()
        seen.append((stage, folder))
        return Ended()

    monkeypatch.setattr(reproduce, "start", start)
    monkeypatch.setattr(reproduce, "conclude", lambda *_: None)
    return seen


def refused(words, capsys) -> str:
    assert reproduce.main(words) == 2
    said = capsys.readouterr().err.strip()
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize("words, expected", [
    (["-y", "sedes: [0, 1]"], "Unknown parameter sedes: expected data, "),
    (["-y", "{steps: 40, overrides: {batch: 2}}"], "write -y 'overrides: {steps: 40}'."),
    (["-y", "seeds: 1"], "seeds must be a list of different whole numbers of at least 0, got 1"),
    (["-y", "seeds: [a]"], "got ['a']"), (["-y", "seeds: [-1]"], "got [-1]"),
    (["-y", "seeds: []"], "got []"), (["-y", "seeds:"], "got None"),
    (["--results", "nowhere"], "/nowhere is no folder: expected one with finished records, or"),
    (["-y", "devices: two"], "devices must be a whole number of at least 1, got 'two'"),
    (["-y", "devices: 3"], "devices=3, but this process may use 2: choose at most 2."),
    (["--protocol", "papre"], "Unknown protocol 'papre': expected one of smoke, quick"),
    (["-y", "overrides: {step: 3}"], "Unknown protocol field step: expected one of "),
    (["-y", "overrides: {steps: 0}"], "steps must be a whole number of at least 1, got 0."),
    (["-y", "overrides: 3"], "overrides must be a mapping of protocol fields, got 3"),
    (["-y", "[0, 1]"], "-y must be a mapping like 'seeds: [0, 1]', got '[0, 1]'."),
    (["-y", "seeds: [0, 1"], "expected ',' or ']'"),
    (["-y", "weights: 0.97: 3"], "mapping values are not allowed here")])
def test_arguments_that_cant_be_right_are_refused_before_anything_runs(
        executed, capsys, monkeypatch, words, expected):
    monkeypatch.setattr(device, "usable_cores", lambda: 2)
    assert expected in refused(["--protocol", "smoke", *words], capsys)
    assert executed == []


def test_a_folder_that_cant_be_written_is_one_sentence(notebooks, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert reproduce.main(["--protocol", "smoke", "--runs", str(tmp_path / "file")]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"{tmp_path}/file/smoke/") and len(said.splitlines()) == 1
    assert "can't be read or written (Not a directory): check that" in said


def test_a_stage_with_a_parameter_that_its_notebook_lacks_is_refused(notebooks, monkeypatch):
    wrong = Stage("05_threshold_sweeps-x", "05_threshold_sweeps", {"wieght": 1}, "synthetic")
    monkeypatch.setattr(reproduce, "crack_trainings", lambda *_: [wrong])
    with pytest.raises(ValueError, match="05_threshold_sweeps has no parameter wieght: it has dat"):
        reproduce.stages("smoke", "synthetic", "synthetic", {})


def test_an_empty_mapping_of_overrides_changes_nothing(executed, tmp_path):
    assert reproduce.main(["--protocol", "smoke", "--runs", str(tmp_path), "-y", "overrides:"]) == 0
    assert {"levels": 5, "kernel": 5} in [stage.parameters.get("overrides")
                                          for stage, _ in executed]


def test_every_notebook_gets_what_it_knows_and_its_own_folder(executed, tmp_path, capsys):
    photos = tmp_path / "photos"
    MINIATURES["plain"](photos)
    assert reproduce.main(["--protocol", "smoke", "--cracks", str(photos), "--runs",
                       str(tmp_path / "r"), "-y", "{seeds: [0, 1], overrides: {steps: 3}}"]) == 0
    by_name = {stage.name: (stage.parameters, folder) for stage, folder in executed}
    order = sorted(by_name, key=lambda name: (name[:2], name == "07_drivable_area"))
    assert [name[:2] for name in by_name] == [name[:2] for name in order]
    assert list(by_name)[-2:] == ["07_drivable_area", "08_figures"]
    assert {name[:2] for name in by_name} == {"01", "02", "03", "04", "05", "07", "08"}
    parameters, folder = by_name["04_train_cracks-relu"]
    assert folder == tmp_path / "r" / "smoke" / "photos" / "notebooks"
    assert parameters == {"protocol": "smoke", "runs": str(tmp_path / "r"), "results": "",
                          "device": "auto", "seeds": [0, 1], "overrides": {"steps": 3},
                          "data": str(photos), "loss": "relu", "weights": []}
    assert by_name["02_losses_by_hand"][0] == {"protocol": "smoke"}
    assert by_name["07_drivable_area-dice"][1].parts[-2:] == ("synthetic", "notebooks")
    # Fig. 8 shows pictures, and there are none of photographs
    assert not [stage for stage, _ in executed if "figure8" in stage.name]


def test_links_to_two_data_sets_of_one_name_write_into_folders_of_their_own_names(executed,
                                                                                  tmp_path):
    MINIATURES["plain"](tmp_path / "store" / "north" / "data", 9)
    MINIATURES["plain"](tmp_path / "store" / "south" / "data", 10)
    for site in ("north", "south"):
        (tmp_path / f"bridge_{site}").symlink_to(tmp_path / "store" / site / "data")
    given = ("bridge_north", "bridge_south", "store/north/data", "store/south/data")
    for name in given:
        assert reproduce.main(["--protocol", "smoke", "--runs", str(tmp_path / "r"),
                               "--cracks", str(tmp_path / name)]) == 0
    folders = {folder.parent.name: stage.parameters["data"] for stage, folder in executed
               if stage.name == "05_threshold_sweeps"}
    *names, other = folders
    assert names == ["bridge_north", "bridge_south", "data"] and other.startswith("data-")
    assert list(folders.values()) == [str(tmp_path / name) for name in given]


def road_stages(executed):
    return {stage.name.removeprefix("07_drivable_area-"): stage.parameters for stage, _ in executed
            if stage.name.startswith("07_drivable_area-")}


def test_roads_are_trained_for_direct_area_and_three_classes_too(executed, tmp_path):
    assert reproduce.main(["--protocol", "smoke", "--runs", str(tmp_path),
                       "-y", "overrides: {output: clipped}"]) == 0
    found = road_stages(executed)
    assert set(found) == {"tversky", "dice", "bce_dice", "bce", "direct", "three"}
    assert [found[name]["loss"] for name in ("direct", "three")] == ["bce", "cross_entropy"]
    assert found["direct"]["overrides"] == {"output": "clipped", "classes": "direct"}
    # three classes have no clipped output
    assert found["three"]["overrides"] == {"output": "sigmoid", "classes": "three"}
    for name in ("direct", "three"):
        preset("smoke", "roads", found[name]["overrides"])
    assert found["dice"]["overrides"] == {"output": "clipped"}


def test_three_classes_asked_for_are_all_that_roads_are_trained_for(executed, tmp_path):
    assert reproduce.main(["--protocol", "smoke", "--runs", str(tmp_path),
                       "-y", "overrides: {classes: three}"]) == 0
    assert set(road_stages(executed)) == {"tversky", "dice", "bce_dice", "cross_entropy"}


@pytest.mark.parametrize("layout, both", [("plain", False), ("camvid", False), ("bdd100k", True),
                                          ("bdd100k_legacy", True)])
def test_only_layouts_with_two_kinds_of_area_are_trained_for_them(layout, both, executed, tmp_path):
    MINIATURES[layout](tmp_path / "roads")
    assert reproduce.main(["--protocol", "smoke", "--runs", str(tmp_path / "r"), "--roads",
                       str(tmp_path / "roads")]) == 0
    assert ({"direct", "three"} <= set(road_stages(executed))) == both


def test_figure_8_is_trained_for_synthetic_pictures_with_one_seed(executed, tmp_path):
    assert reproduce.main(["--protocol", "smoke", "--runs", str(tmp_path),
                       "-y", "{seeds: [4, 1], overrides: {steps: 3}}"]) == 0
    stages = [stage for stage, _ in executed if "figure8" in stage.name]
    assert all(stage.parameters["seeds"] == [4] and stage.trainings == 1 for stage in stages)
    sizes = [stage.parameters["overrides"] for stage in stages]
    assert sizes == [{"steps": 3, "levels": levels, "kernel": kernel}
                     for levels, kernel in ((4, 7), (5, 5), (5, 7))]  # smoke itself is 4, 5 x 5


def test_a_failing_training_is_named_with_its_log_and_the_others_still_run(
        notebooks, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")  # which has no α
    write_notebook(notebooks / "07_drivable_area.ipynb", PARAMETERS["07_drivable_area"],
                   "import os\nos.kill(os.getpid(), 9)")  # as a system does that is out of memory
    plan = [Stage("04_train_cracks-mse", "04_train_cracks", {"seeds": "[0]", "step": 3},
                  "synthetic", 1),
            Stage("04_train_cracks-bce", "04_train_cracks", {"seeds": [0]}, "synthetic", 1),
            Stage("07_drivable_area-bce", "07_drivable_area", {}, "synthetic", 1),
            Stage("05_threshold_sweeps", "05_threshold_sweeps", {}, "synthetic")]
    monkeypatch.setattr(reproduce, "stages", lambda *_: plan)
    runs = tmp_path / "{3F2504E0} = {} ü"  # papermill would put parameters in place of names
    assert reproduce.main(["--protocol", "smoke", "--runs", str(runs)]) == 1
    said = capsys.readouterr()
    folder = runs / "smoke" / "synthetic" / "notebooks"
    log = folder / "04_train_cracks-mse.log"
    assert "04_train_cracks-mse: " in said.err and str(log) in said.err
    assert "ParameterError: Unknown parameter step: expected protocol, runs, " in said.err
    assert "reached" not in log.read_text()
    assert "Kernel died (killed, probably because memory ran out: the same command" in said.err
    assert "05_threshold_sweeps: not run" in said.out
    assert sorted(path.stem for path in folder.glob("*.ipynb")) == [
        "04_train_cracks-bce", "04_train_cracks-mse", "07_drivable_area-bce"]
    whole = nbformat.read(folder / "04_train_cracks-bce.ipynb", as_version=4)
    assert whole.cells[-1].outputs[0].text == "reached α\n"
    assert "reached α" in (folder / "04_train_cracks-bce.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("said, tries, line", [
    ("ZMQError: Address already in use (addr='tcp://127.0.0.1:5555')\n...\nRuntimeError: Kernel "
     "died before replying to kernel_info\n", 2,
     "RuntimeError: Kernel died before replying to kernel_info"),
    ("first\nthe last line\n", 1, "the last line"), ("", 1, "ended with 1")])
def test_only_two_kernels_at_one_port_are_tried_again(tmp_path, monkeypatch, said, tries, line):
    begun = []

    def fails(stage, folder, threads):
        (folder / "a.log").write_text(said)
        begun.append(stage)
        return Ended(1)

    monkeypatch.setattr(reproduce, "start", fails)
    stage = Stage("a", "b", {}, "synthetic")
    [(ended, _, error)] = reproduce.execute([stage], lambda _: tmp_path, 1)
    assert ended == stage and error == line and len(begun) == tries


def test_a_stage_that_failed_on_a_full_disk_says_so(tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)
    assert reproduce.reason("", 1, tmp_path) == "ended with 1"
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free._replace(free=4096))
    assert reproduce.reason("", 1, tmp_path) == (
        f"ended with 1 (the disk is full: make room for {tmp_path}, the same command resumes the "
        "work)")


def test_a_log_that_is_no_text_is_shown_without_its_control_characters(
        notebooks, tmp_path, monkeypatch, capsys):
    def fails(stage, folder, threads):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{stage.name}.log").write_bytes(
            b"first\n\xff \x1b[2J\xc2\x9bgone\x07 caf\xc3\xa9\n")
        return Ended(1)

    monkeypatch.setattr(reproduce, "start", fails)
    assert reproduce.main(["--protocol", "smoke", "--runs", str(tmp_path / "a\x1b[2Jb")]) == 1
    said = "".join(capsys.readouterr())
    assert "\ufffd \\x1b[2J\\x9bgone\\x07 café\n" in said and "a\\x1b[2Jb" in said
    assert not [character for character in said if not character.isprintable()
                and character != "\n"]


@pytest.mark.parametrize("function", ["stages", "run", "conclude"])
def test_an_error_of_the_programs_own_is_no_wrong_argument(executed, monkeypatch, tmp_path,
                                                           function):
    def fails(*_):
        raise ValueError("a mistake in the program")

    monkeypatch.setattr(reproduce, function, fails)
    with pytest.raises(ValueError, match="a mistake in the program"):
        reproduce.main(["--protocol", "smoke", "--runs", str(tmp_path)])


def test_runs_are_the_repositorys_unless_a_folder_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words, folder in (([], files.ROOT / "runs"), (["--runs", "runs"], tmp_path / "runs")):
        *_, shared, _ = reproduce.checked(reproduce.arguments(words))
        assert shared["runs"] == str(folder)


def is_alive(pid: int) -> bool:
    """Whether a process runs: one that has ended and was not waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition, seconds: float) -> bool:
    """Whether a condition comes true within so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


SLEEPS = """import os, subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open(runs + "/pids.part", "w") as file:
    print(os.getppid(), os.getpid(), worker.pid, file=file)
os.rename(runs + "/pids.part", runs + "/pids")
time.sleep(600)"""
COMMAND = """import sys
from pathlib import Path
from workflow import reproduce
reproduce.NOTEBOOKS = Path(sys.argv[1])
sys.exit(reproduce.main(sys.argv[2:]))"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143),
                                            (signal.SIGKILL, -9)])
def test_a_signal_ends_papermill_its_kernel_and_the_kernels_workers(notebooks, tmp_path, number,
                                                                    status):
    if number == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("only Linux tells a process that its parent was killed")
    write_notebook(notebooks / "01_data.ipynb", PARAMETERS["01_data"], SLEEPS)
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(notebooks), "--protocol", "smoke", "--jobs", "1",
         "--runs", str(tmp_path)], cwd=files.ROOT, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True)
    pids = []
    try:
        assert wait_until((tmp_path / "pids").is_file, 300), command.poll()
        pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
        assert all(is_alive(pid) for pid in pids)
        command.send_signal(number)
        _, said = command.communicate(timeout=120)
        assert command.returncode == status
        if number == signal.SIGKILL:  # nobody is left who knows of the worker
            [*ended, _] = pids
        else:
            ended = pids
            assert said.strip() == "interrupted: the same command resumes the work"
        assert wait_until(lambda: not any(is_alive(pid) for pid in ended), 30)
    finally:
        for pid in [command.pid, *pids]:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
