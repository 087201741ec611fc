"""What the Snakefile executes: the checks of what a user gives, and the jobs with parameters."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import miniatures
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from miniatures import MINIATURES

from crackutils import files, records
from crackutils.data.samples import DataError
from crackutils.papers import crack_tables, road_tables
from crackutils.protocol import preset
from workflow import plan


def chosen(**config):
    return plan.settings({"protocol": "smoke", **config}, {})


def jobs(**config) -> dict[str, plan.Job]:
    """The jobs by their names; there is one data set for each task."""
    return {job.name: job for job in plan.jobs(chosen(**config)).values()}


def road_jobs(**config) -> dict[str, plan.Job]:
    return {name.removeprefix("07_drivable_area-"): job for name, job in jobs(**config).items()
            if job.part == "roads"}


@pytest.mark.parametrize("config, expected", [
    ({"parameters": "sedes: [0, 1]"}, "Unknown parameter sedes: expected best_f1"),
    ({"parameters": "steps: 40"}, "for a field of the protocol write -y 'overrides: {steps: 40}'"),
    ({"parameters": "seeds: [0, 0]"}, "seeds must be"),
    ({"parameters": "devices: 0"}, "devices must be a whole number of at least 1, got 0"),
    ({"protocol": "papre"}, "Unknown protocol 'papre': expected one of smoke, quick"),
    ({"parameters": {"overrides": {"step": 3}}}, "Unknown protocol field step: expected one of "),
    ({"parameters": "overrides: {steps: 0}"}, "steps must be a whole number of at least 1, got 0."),
    ({"parameters": "overrides: 3"}, "overrides must be a mapping of protocol fields, got 3"),
    ({"parameters": "[0, 1]"}, "must be a mapping like 'seeds: [0, 1]', got '[0, 1]'."),
    ({"parameters": "seeds: [0, 1"}, "expected ',' or ']'"),
    ({"parameters": "weights: 0.97: 3"}, "mapping values are not allowed here"),
    ({"parameters": "seeds: 3"}, "seeds must be a list of"),
    ({"parameters": "loss: relu"}, "PARAMETERS can't set loss: use the variables PROTOCOL, "),
    ({"protocl": "smoke"}, "Unknown setting protocl: expected some of cracks, device, "),
    ({"runs_per_job": "all"}, "runs_per_job must be a whole number, got 'all'."),
    ({"device": "gpu"}, "device must be auto, cpu or cuda, got 'gpu'."),
    ({"cracks": "nowhere"}, "No data folder at ")])
def test_what_cant_be_right_is_refused_with_a_sentence(config, expected):
    with pytest.raises(ValueError) as error:
        chosen(**config)
    assert expected in str(error.value)


def test_config_comes_before_the_environment_and_that_before_the_defaults():
    environment = {"PROTOCOL": "cpu", "PARAMETERS": "seeds: [1, 2]", "RUNS": ""}
    for config, protocol in (({}, "cpu"), ({"protocol": "smoke"}, "smoke")):
        given = plan.settings(config, environment)
        assert given.protocol == protocol and given.shared["seeds"] == [1, 2]
        assert given.runs == files.ROOT / "runs" and given.cracks == ["synthetic"]


def test_parameters_mean_the_same_as_yaml_and_as_snakemake_reads_them_from_config():
    """Snakemake's --config leaves the numbers in a mapping texts."""
    given = {"seeds": ["0", "1"], "overrides": {"steps": "3", "batch_norm": "false"}}
    for parameters in (given, "{seeds: [0, 1], overrides: {steps: 3, batch_norm: false}}"):
        shared = chosen(parameters=parameters).shared
        assert shared["seeds"] == [0, 1]
        assert shared["overrides"] == {"steps": 3, "batch_norm": False}


def test_a_gpu_is_missing_only_where_the_jobs_run(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="PyTorch sees no CUDA device"):
        chosen(device="cuda")
    assert chosen().gpus == 0
    cluster = plan.settings({"device": "cuda", "parameters": {"devices": 2}}, {}, here=False)
    assert cluster.gpus == 2 and cluster.shared["device"] == "cuda"


def photographs(folder) -> str:
    miniatures.plain(folder, 8)
    return str(folder)


def test_every_notebook_gets_what_it_knows_and_its_own_folder(tmp_path):
    photos = photographs(tmp_path / "photos")
    planned = plan.jobs(chosen(cracks=photos, runs=str(tmp_path / "r"),
                               parameters="{seeds: [0, 1], overrides: {steps: 3}}"))
    job = planned["photos/04_train_cracks-relu"]
    assert job.parameters == {
        "protocol": "smoke", "runs": str(tmp_path / "r"), "results": "", "device": "auto",
        "seeds": [0, 1], "overrides": {"steps": 3}, "data": photos, "loss": "relu",
        "weights": [0.5, 0.69, 0.97, 1.3]}
    assert [(run.loss, run.weight, run.seed, run.steps) for run in job.trains] == [
        ("relu", weight, seed, 3) for weight in (0.5, 0.69, 0.97, 1.3) for seed in (0, 1)]
    assert planned["photos/02_losses_by_hand"].parameters == {}  # it has a weight, not a protocol
    assert planned["synthetic/07_drivable_area-dice"].parameters["data"] == "synthetic"
    others = {"06_fine_cracks", "09_your_photographs"}  # these read the study, a shipped model
    assert {job.notebook for job in planned.values()} | others == {
        path.stem for path in plan.NOTEBOOKS.glob("*.ipynb")}
    # Fig. 8 shows pictures, and there are none of photographs
    assert not [job for job in planned.values() if job.part == "figure 8"]


def test_a_training_gets_all_that_decides_its_runs():
    for job in plan.jobs(chosen(runs_per_job=1)).values():
        if job.trains:
            assert {"protocol", "data", "loss", "weights", "seeds", "overrides"} <= set(
                job.parameters)


def test_the_jobs_train_what_the_tables_read():
    planned = plan.jobs(chosen()).values()
    cracks = {(run.loss, run.weight) for job in planned if job.part in ("cracks", "added")
              for run in job.trains}
    assert cracks == {(loss, weight) for loss in crack_tables.CRACK_LOSSES
                      for weight in crack_tables.published_weights(loss)}
    roads = {(run.loss, run.weight) for job in planned if job.part == "roads" for run in job.trains
             if run.classes == "binary"}
    assert roads == {(row.loss, row.weight)
                     for row in road_tables.paper_rows(preset("smoke", "roads"))}


def test_roads_are_trained_for_direct_area_and_three_classes_too():
    found = road_jobs(parameters="overrides: {output: clipped}")
    assert set(found) == {"tversky", "dice", "bce_dice", "bce", "direct", "three"}
    given = {name: found[name].parameters for name in found}
    assert [given[name]["loss"] for name in ("direct", "three")] == ["bce", "cross_entropy"]
    assert given["direct"]["overrides"] == {"output": "clipped", "classes": "direct"}
    # three classes have no clipped output
    assert given["three"]["overrides"] == {"output": "sigmoid", "classes": "three"}
    assert given["dice"]["overrides"] == {"output": "clipped"}


def test_three_classes_asked_for_are_all_that_roads_are_trained_for():
    assert set(road_jobs(parameters="overrides: {classes: three}")) == {
        "tversky", "dice", "bce_dice", "cross_entropy"}


@pytest.mark.parametrize("layout, both", [("plain", False), ("camvid", False), ("bdd100k", True),
                                          ("bdd100k_legacy", True)])
def test_only_layouts_with_two_kinds_of_area_are_trained_for_them(layout, both, tmp_path):
    MINIATURES[layout](tmp_path / "roads")
    assert ({"direct", "three"} <= set(road_jobs(roads=str(tmp_path / "roads")))) == both


def test_figure_8_is_trained_for_synthetic_pictures_with_one_seed():
    found = [job for job in jobs(parameters="{seeds: [4, 1], overrides: {steps: 3}}").values()
             if job.part == "figure 8"]
    assert all(job.parameters["seeds"] == [4] and len(job.trains) == 1 for job in found)
    assert [job.parameters["overrides"] for job in found] == [
        {"steps": 3, "levels": levels, "kernel": kernel}
        for levels, kernel in ((4, 7), (5, 5), (5, 7))]  # smoke itself is 4, 5 x 5


def test_the_grid_is_seventeen_settings_with_four_networks():
    for config, seeds in (({}, 1), ({"parameters": "seeds: [0, 1, 2]"}, 3),
                          ({"runs_per_job": 1}, 1)):
        grid = [run for job in jobs(**config).values() if job.part in ("cracks", "grid")
                for run in job.trains]
        assert len(grid) == len(set(grid)) == 68 * seeds
        assert len({(run.levels, run.kernel) for run in grid}) == 4
        assert len({(run.loss, run.weight) for run in grid}) == 17


@pytest.mark.parametrize("size, seeds", [(1, [0]), (1, [0, 1]), (2, [0, 1, 2]), (3, [0]),
                                         (4, [0, 1]), (99, [0, 1])])
def test_jobs_of_at_most_so_many_runs_train_the_same_runs(size, seeds):
    whole = jobs(parameters={"seeds": seeds})
    shared = jobs(parameters={"seeds": seeds}, runs_per_job=size)
    assert max(len(job.trains) for job in shared.values()) <= size
    for part in ("cracks", "added", "figure 8", "grid", "roads"):
        runs = [sorted((run for job in some.values() if job.part == part for run in job.trains),
                       key=repr) for some in (whole, shared)]
        assert runs[0] == runs[1] and len(runs[0]) == len(set(runs[0]))
    for job in shared.values():
        if job.trains:
            given = job.parameters
            protocol = preset("smoke", "roads" if job.part == "roads" else "cracks",
                              given["overrides"])
            assert job.trains == tuple(protocol.with_run(given["loss"], weight, seed)
                                       for weight in given["weights"] for seed in given["seeds"])


@pytest.mark.skipif(os.name == "nt", reason="Windows forbids some of these names")
@pytest.mark.parametrize("name", ["a\nb", os.fsdecode(b"k\xff")], ids=ascii)
def test_a_folder_whose_name_snakemake_cant_have_is_refused(tmp_path, name):
    with pytest.raises(DataError, match="rename"):
        chosen(cracks=photographs(tmp_path / name), runs=str(tmp_path / "r"))


def test_braces_in_a_name_become_parentheses_in_paths_of_the_workflow(tmp_path):
    photos = photographs(tmp_path / "{3F25}")
    planned = plan.jobs(chosen(cracks=photos, runs=str(tmp_path / "{r}")))
    assert planned["(3F25)/04_train_cracks-relu"].parameters["data"] == photos


def test_a_job_changes_with_the_files_of_its_data_folder_alone(tmp_path):
    photos = photographs(tmp_path / "photos")

    def calls():
        plan.state.cache_clear()
        given = chosen(cracks=photos, runs=str(tmp_path / "r"))
        return {job.name: plan.call(job, given) for job in plan.jobs(given).values()}

    before = calls()
    assert calls() == before
    miniatures.save(tmp_path / "photos" / "images" / "p3.jpg", miniatures.pixels(99))
    after = calls()
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {name for name, call in before.items()
                       if photos in call["parameters"].values()}


@pytest.mark.parametrize("notebook", ["02_losses_by_hand", "04_train_cracks", "08_figures"])
def test_the_sources_of_a_notebook_are_the_modules_that_it_loads(notebook):
    """Against Python itself: the modules that are loaded after the notebook's own imports."""
    cells = nbformat.read(plan.NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells
    imports = next(cell.source for cell in cells if cell.cell_type == "code")
    code = f"{imports}\nimport sys, json\nprint(json.dumps([module.__file__ for name, module in " \
        "list(sys.modules.items()) if name.partition('.')[0] == 'crackutils']))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                            check=True, cwd=files.ROOT,
                            env=os.environ | {"PYTHONPATH": str(files.ROOT)})
    loaded = set(json.loads(answer.stdout.splitlines()[-1]))
    found = {str(path) for path in plan.sources(plan.NOTEBOOKS / f"{notebook}.ipynb")}
    assert loaded == {path for path in found if path.endswith(".py")}
    assert str(plan.NOTEBOOKS / f"{notebook}.ipynb") in found


def decided(run):
    """A run with a precision, as its record has it."""
    return replace(run, precision="float32")


def test_a_training_whose_record_is_lost_or_damaged_is_executed_again(tmp_path):
    given = chosen(runs=str(tmp_path))
    planned = {name: job for name, job in plan.jobs(given).items() if job.part == "cracks"}
    notebooks, counts = {}, {}
    for job in planned.values():
        notebooks[job.name] = tmp_path / "smoke/synthetic/notebooks" / f"{job.name}.ipynb"
        for run in map(decided, job.trains):
            record = records.record_folder(tmp_path, run, "synthetic", "f")
            records.save(record, run, "synthetic", "f", {}, pd.DataFrame({"step": [1]}),
                         {"n": np.ones(9)}, None, {})
            counts[job.name] = record / "counts.npz"  # of the last run
    notebooks["04_train_cracks-mse"].parent.mkdir()
    for notebook in notebooks.values():
        notebook.touch()
    with plan.LOCKS:
        plan.prepare(given, planned)
    assert all(notebook.exists() for notebook in notebooks.values())
    counts["04_train_cracks-step"].write_bytes(b"damaged")
    shutil.rmtree(counts["04_train_cracks-mse"].parent)
    with plan.LOCKS:
        plan.prepare(given, planned)
    assert {name for name, notebook in notebooks.items() if not notebook.exists()} == {
        "04_train_cracks-step", "04_train_cracks-mse"}


def test_two_programs_dont_work_on_the_same_runs(tmp_path):
    given = chosen(runs=str(tmp_path))
    with plan.LOCKS:
        plan.prepare(given, {})
        other = subprocess.run(
            [sys.executable, "-c", "import sys; from workflow import plan\n"
             "plan.prepare(plan.settings({'protocol': 'smoke', 'runs': sys.argv[1]}, {}), {})",
             str(tmp_path)], capture_output=True, text=True, check=False, cwd=files.ROOT)
        assert other.returncode == 1
        assert f"Another program is at work in {tmp_path / 'smoke'} " in other.stderr
    with plan.LOCKS:
        plan.prepare(given, {})
