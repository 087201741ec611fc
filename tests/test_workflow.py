"""The Snakefile, executed by Snakemake with notebooks that do next to nothing."""

import os
import re
import signal

import checkouts
import pandas as pd
import pytest

TRAININGS = {"04_train_cracks-mse", "04_train_cracks-bce", "04_train_cracks-balanced_step",
             "04_train_cracks-squared_balanced_step", "04_train_cracks-step",
             "04_train_cracks-relu", "04_train_cracks-figure8-4x7", "04_train_cracks-figure8-5x5",
             "04_train_cracks-figure8-5x7"}
ROADS = {f"07_drivable_area-{name}"
         for name in ("tversky", "dice", "bce_dice", "bce", "direct", "three")}
RESULTS = {"05_threshold_sweeps", "07_drivable_area", "08_figures"}
ALL = {"01_data", "02_losses_by_hand", "03_audit", *TRAININGS, *ROADS, *RESULTS}
FAILING = {"04_train_cracks-mse", "07_drivable_area"}


def executed(said: str) -> set[str]:
    """The notebooks whose execution was announced."""
    return {name for name in re.findall(r"output: \S+/notebooks/([^/ ,]+)\.ipynb", said)}


@pytest.fixture(scope="module")
def after_failures(tmp_path_factory):
    """A checkout after a call in which two jobs failed, and what it said."""
    checkout = checkouts.make(tmp_path_factory.mktemp("workflow"), checkouts.PAPERMILL)
    status, said = checkouts.run(checkout, "--cores", "2", "--keep-going",
                                 FAILING=" ".join(FAILING))
    assert status == 1, said
    return checkout, said


def test_what_fails_is_named_with_its_log_and_all_else_is_done(after_failures):
    checkout, said = after_failures
    notebooks = checkout / "r" / "smoke" / "synthetic" / "notebooks"
    for name in FAILING:
        assert f"{name} failed: RuntimeError: {name} fails as ordered\n  log: " \
            f"{notebooks / name}.log\n" in said
        assert (notebooks / f"{name}.failed.ipynb").exists()
    failed = {f"{name}.failed" for name in FAILING}
    assert {path.stem for path in notebooks.glob("*.ipynb")} == ALL - FAILING | failed
    report = (checkout / "r" / "smoke" / "report" / "index.html").read_text()
    assert "table1" in report and "04_train_cracks-bce" in report
    assert "iou_table" not in report and "04_train_cracks-mse" not in report
    assert re.findall(r"^\[ ?\d+/\d+\] 01_data: \d+ s, .* left$", said, re.M)


@pytest.fixture(scope="module")
def finished(after_failures):
    """The checkout after another call, in which nothing failed."""
    checkout, _ = after_failures
    status, said = checkouts.run(checkout, "--cores", "2")
    assert status == 0, said
    # what had failed, and what reads its records
    assert executed(said) == FAILING | {"05_threshold_sweeps", "08_figures"}
    stages = pd.read_csv(checkout / "r" / "smoke" / "report" / "stages.csv")
    assert set(stages["stage"]) == executed(said)
    return checkout


def test_after_a_finished_call_only_what_changed_is_executed(finished):
    """`snakemake -n` after a change of a time stamp, a module, a notebook and a parameter."""
    ask = checkouts.DryRuns(finished)

    def would_execute(*words: str) -> set[str]:
        status, said = ask(*words)
        assert status == 0 and bool(executed(said)) != ("Nothing to be done" in said), said
        return executed(said)

    assert would_execute() == set()
    os.utime(finished / "crackutils" / "losses.py")
    assert would_execute() == set()
    for path, expected in (
            (finished / "crackutils" / "papers" / "baselines.py", {"01_data"}),
            (finished / "crackutils" / "training.py",
             TRAININGS | {"05_threshold_sweeps", "08_figures"}),
            (finished / "notebooks" / "05_threshold_sweeps.ipynb", {"05_threshold_sweeps"}),
            (finished / "data" / "published" / "table1.csv", {"05_threshold_sweeps"})):
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        assert would_execute() == expected, path
        path.write_bytes(content)
    assert would_execute() == set()
    assert would_execute("--config", "parameters={overrides: {steps: 3}}") == ALL - {
        "02_losses_by_hand", "03_audit"}
    assert would_execute("--config", "runs_per_job=1") >= {
        "04_train_cracks-relu-0.97-0", "05_threshold_sweeps"}
    status, said = ask("--config", "parameters={sedes: [0]}")
    assert status == 2 and said.count("\n") == 0
    assert said.startswith("Unknown parameter sedes: expected best_f1")


SLEEPS = """import os, subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open("r/pids.part", "w") as file:
    print(os.getppid(), os.getpid(), worker.pid, file=file)
os.rename("r/pids.part", "r/pids")
time.sleep(600)"""
TARGET = "smoke/synthetic/notebooks/02_losses_by_hand.ipynb"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143),
                                            (signal.SIGKILL, -9)])
def test_a_signal_ends_all_processes_and_the_next_call_goes_on(tmp_path, number, status):
    checkout = checkouts.make(tmp_path)
    checkouts.write_notebook(checkout, "02_losses_by_hand", SLEEPS)
    command = checkouts.start(checkout, "--cores", "1", TARGET)
    pids = []
    try:
        assert checkouts.wait_until((checkout / "r" / "pids").is_file, 300), command.poll()
        pids = [int(word) for word in (checkout / "r" / "pids").read_text().split()]
        assert len(pids) == 3 and all(map(checkouts.is_alive, pids))
        if number == signal.SIGKILL:
            assert checkouts.run(checkout, "--cores", "1", TARGET) == (
                2, f"Another program is at work in {checkout}/r/smoke (it holds .lock): start "
                "again when it has ended.\n")
        command.send_signal(number)
        said = "".join(command.communicate(timeout=120))
        assert command.returncode == status, said
        assert ("interrupted: the same command resumes the work" in said) == (status > 0)
        assert checkouts.wait_until(lambda: not any(map(checkouts.is_alive, pids)), 30)
    finally:
        for pid in filter(checkouts.is_alive, [command.pid, *pids]):
            os.kill(pid, signal.SIGKILL)
    if number == signal.SIGKILL:
        checkouts.write_notebook(checkout, "02_losses_by_hand", "pass")
        assert checkouts.run(checkout, "--cores", "1", TARGET)[0] == 0
