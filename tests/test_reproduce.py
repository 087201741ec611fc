"""The batch command with small notebooks of its own: parameters, failures, and the report."""

import subprocess
import sys

import nbformat
import pytest
from miniatures import MINIATURES
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

from crackutils.protocol import preset
from workflow import report, reproduce
from workflow.reproduce import Stage

COMMON = "protocol = 'smoke'\nruns = 'runs'\nresults = ''\nseeds = [0]\ndevice = 'auto'\n" \
    "overrides = {}\n"
PARAMETERS = {"01_data": "protocol = 'smoke'\ndata = 'synthetic'\nroads = 'synthetic'\nruns = ''",
              "02_losses_by_hand": "protocol = 'smoke'",
              "03_audit": "protocol = 'smoke'",
              "04_train_cracks": COMMON + "data = 'synthetic'\nloss = 'mse'\nweights = []",
              "05_threshold_sweeps": COMMON + "data = 'synthetic'",
              "07_drivable_area": COMMON + "data = 'synthetic'\nloss = ''\nweights = []",
              "08_figures": COMMON + "data = 'synthetic'\nroads = 'synthetic'"}
CHECK = "from crackutils.protocol import as_list\nprint('reached')\nas_list('seeds', seeds)"


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """Notebooks of the real names and parameters that only check `seeds`."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name, parameters in PARAMETERS.items():
        tagged = new_code_cell(parameters, metadata={"tags": ["parameters"]})
        cells = [new_markdown_cell(f"# {name}"), tagged, new_code_cell(CHECK)]
        notebook = new_notebook(cells=cells, metadata={"kernelspec": {
            "name": "python3", "display_name": "Python 3", "language": "python"}})
        nbformat.write(notebook, folder / f"{name}.ipynb")
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
    (["-y", "sedes: [0, 1]"], "No notebook has a parameter sedes: expected some of data, "),
    (["--protocol", "papre"], "Unknown protocol 'papre': expected one of smoke, quick"),
    (["-y", "overrides: {step: 3}"], "Unknown protocol field step: expected one of "),
    (["-y", "overrides: {steps: 0}"], "steps must be a whole number of at least 1, got 0."),
    (["-y", "overrides: 3"], "overrides must map Protocol fields to values, got 3"),
    (["-y", "[0, 1]"], "-y must be a mapping like 'seeds: [0, 1]', got [0, 1]"),
    (["-y", "seeds: [0, 1"], "expected ',' or ']'"),
    (["-y", "weights: 0.97: 3"], "mapping values are not allowed here")])
def test_arguments_that_cant_be_right_are_refused_before_anything_runs(executed, capsys, words,
                                                                      expected):
    assert expected in refused(["--protocol", "smoke", *words], capsys)
    assert executed == []


def test_a_stage_with_a_parameter_that_its_notebook_lacks_is_refused(notebooks, monkeypatch):
    wrong = Stage("05_threshold_sweeps-x", "05_threshold_sweeps", {"wieght": 1}, "synthetic")
    monkeypatch.setattr(reproduce, "crack_trainings", lambda *_: [wrong])
    with pytest.raises(ValueError, match="05_threshold_sweeps has no parameter wieght: it has dat"):
        reproduce.stages("smoke", "synthetic", "synthetic", {})


def test_an_empty_mapping_of_overrides_changes_nothing(executed):
    assert reproduce.main(["--protocol", "smoke", "-y", "overrides:"]) == 0
    assert {"levels": 5, "kernel": 5} in [stage.parameters.get("overrides")
                                          for stage, _ in executed]


def test_every_notebook_gets_what_it_knows_and_its_own_folder(executed, tmp_path, capsys):
    photos = tmp_path / "photos"
    for name, level in (("images", 90), ("masks", 255)):
        (photos / name).mkdir(parents=True)
        for number in range(8):
            Image.new("L", (8, 8), level).save(photos / name / f"{number}.png")
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
    plan = [Stage("04_train_cracks-mse", "04_train_cracks", {"seeds": "[0]"}, "synthetic", 1),
            Stage("04_train_cracks-bce", "04_train_cracks", {"seeds": [0]}, "synthetic", 1),
            Stage("05_threshold_sweeps", "05_threshold_sweeps", {}, "synthetic")]
    monkeypatch.setattr(reproduce, "stages", lambda *_: plan)
    assert reproduce.main(["--protocol", "smoke", "--runs", str(tmp_path / "r")]) == 1
    said = capsys.readouterr()
    folder = tmp_path / "r" / "smoke" / "synthetic" / "notebooks"
    log = folder / "04_train_cracks-mse.log"
    assert "04_train_cracks-mse: " in said.err and str(log) in said.err
    assert "write seeds: [...]" in said.err  # the string where a list belongs
    assert "ValueError" in log.read_text() and "reached" in log.read_text()
    assert "05_threshold_sweeps: not run" in said.out
    assert sorted(path.name for path in folder.glob("*.ipynb")) == [
        "04_train_cracks-bce.ipynb", "04_train_cracks-mse.ipynb"]
    whole = nbformat.read(folder / "04_train_cracks-bce.ipynb", as_version=4)
    assert whole.cells[-1].outputs[0].text == "reached\n"


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


def test_two_stages_run_at_once_and_none_outlives_an_interruption(
        notebooks, tmp_path, monkeypatch, capsys):
    processes = []

    def sleeps(stage, folder, threads):
        processes.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        return processes[-1]

    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(reproduce, "start", sleeps)
    monkeypatch.setattr(reproduce, "stages", lambda *_: [
        Stage(name, "04_train_cracks", {}, "synthetic", 1) for name in "abc"])
    monkeypatch.setattr(reproduce.time, "sleep", interrupted)
    assert reproduce.main(["--protocol", "smoke", "--runs", str(tmp_path), "--jobs", "2"]) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert len(processes) == 2 and all(process.returncode for process in processes)


def test_the_index_of_the_report_links_every_page_and_shows_tables_and_figures(tmp_path):
    paths = []
    for name in ("01_data", "04_train_cracks-bce_dice"):
        cells = [new_markdown_cell(f"# Title of {name}")]
        nbformat.write(new_notebook(cells=cells), tmp_path / f"{name}.ipynb")
        paths.append(tmp_path / f"{name}.ipynb")
    table = tmp_path / "table1.csv"
    table.write_text("loss,weight,threshold,precision,source,precision_published\n"
                     "mse,,0.4,0.91234,runs/x,0.949\n")
    figure = tmp_path / "figures" / "curve.png"
    figure.parent.mkdir()
    figure.touch()
    index = report.write_report(tmp_path / "report", "A & B", paths, [table], [figure])
    text = index.read_text()
    for path in paths:
        assert f'<a href="{path.stem}.html">{path.stem}</a>' in text
        assert f"Title of {path.stem}" in (index.parent / f"{path.stem}.html").read_text()
    assert "<h1>A &amp; B</h1>" in text and '<img src="../figures/curve.png"' in text
    assert text.index("0.949") < text.index("0.912") and "0.91234" not in text
    assert "table1" in text and "runs/x" not in text
