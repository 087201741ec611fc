"""After kill -9 at any moment, a full disk, or the loss of one of two processes, a run is resumed
and ends as an uncut one.

`KILLS` (default 25) is the number of kills in training; a fifth of them, and at least five if there
are more than five, fall into the writing of a checkpoint. One more falls into the evaluation and
one into the writing of the record. `runs/stress/kills.csv` then lists what was done.
"""

import csv
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from crackutils import files, records
from crackutils.device import usable_cores

KILLS = int(os.environ.get("KILLS", "25"))
STEPS = 60  # of `one_run.py`
SCRIPT = Path(__file__).with_name("one_run.py")
COMPARED = ("model.safetensors", "counts.npz", "history.csv", "samples.npz")
REPORT = files.ROOT / "runs" / "stress" / "kills.csv"


def start(root: Path, kind: str = "none", step: int = 0, fraction: float = 0, devices: int = 1):
    command = [sys.executable, str(SCRIPT), str(root), kind, str(step), str(fraction), str(devices)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def results_of(root: Path) -> dict[str, bytes]:
    """The files that a complete run has left, of which there is one; and nothing else is left."""
    record, = (root / "quick" / "synthetic" / "records").iterdir()
    assert records.is_complete(record)
    names = {path.name for path in record.iterdir()}
    assert names == {*COMPARED, "config.json", "environment.json", "complete.json", records.LOCK}
    return {name: (record / name).read_bytes() for name in COMPARED}


@pytest.fixture(scope="module")
def uncut(tmp_path_factory):
    root = tmp_path_factory.mktemp("kills") / "uncut"
    done = start(root)
    assert done.returncode == 0, done.stderr
    return root


def orders() -> list[tuple[str, int, float]]:
    """Kind, step and written fraction of each kill, the same in each session."""
    chance = random.Random(0)
    writes = min(KILLS, max(5, KILLS // 5)) if KILLS > 5 else KILLS // 2
    kills = [("evaluation", 0, 0.0)] + [("record", chance.randrange(7), 0.0)] * (KILLS > 5)
    kills += [("write", chance.randrange(STEPS - 4), chance.choice([0.0, chance.random(), 1.0]))
             for _ in range(writes)]
    return kills + [("step", chance.randrange(STEPS), 0.0) for _ in range(KILLS - writes)]


@pytest.mark.parametrize("kind, step, fraction", orders())
def test_a_killed_run_ends_bit_for_bit_as_the_uncut_one(uncut, request, kind, step, fraction):
    root = uncut.parent / f"{request.node.callspec.id}"
    killed = start(root, kind, step, fraction)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    record = next((root / "quick" / "synthetic" / "records").iterdir())
    assert bool(list(record.glob(".checkpoint.pt.*.part"))) == (kind == "write")
    before = torch.load(record / "checkpoint.pt", weights_only=True)["losses"] if (
        record / "checkpoint.pt").exists() else []
    again = start(root)
    assert again.returncode == 0, again.stderr
    assert (f"resumed after step {len(before)}\n" in again.stdout) == bool(before)
    equal = results_of(root) == results_of(uncut)
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    first = not REPORT.exists()
    with open(REPORT, "a", newline="") as file:
        rows = csv.writer(file)
        if first:
            rows.writerow(["killed", "step", "written_fraction", "resumed_after", "equal"])
        rows.writerow([kind, step, round(fraction, 3), len(before), equal])
    assert equal


def test_a_full_disk_is_an_error_with_advice_and_the_run_is_resumed_when_there_is_room(uncut):
    root = uncut.parent / "full"
    stopped = start(root, "full", 20, 0.5)
    assert stopped.returncode == 1 and "Make room and start again" in stopped.stderr
    record = next((root / "quick" / "synthetic" / "records").iterdir())
    assert not list(record.glob(".*.part"))
    again = start(root)
    assert "resumed after step 16\n" in again.stdout, again.stderr
    assert results_of(root) == results_of(uncut)


@pytest.mark.skipif(usable_cores() < 2, reason="needs two cores")
@pytest.mark.parametrize("kind", ["step", "other"])
def test_a_run_of_two_processes_survives_the_loss_of_one(uncut, kind):
    whole, cut = uncut.parent / "two", uncut.parent / f"two-{kind}"
    assert start(whole, devices=2).returncode == 0
    lost = start(cut, kind, 33, devices=2)
    assert lost.returncode == 1 and "SIGKILL" in lost.stderr
    again = start(cut, devices=2)
    assert "resumed after step 32\n" in again.stdout, again.stderr
    assert results_of(cut) == results_of(whole)


def test_two_programs_on_one_run_train_it_once(uncut):
    root = uncut.parent / "rivals"
    command = [sys.executable, str(SCRIPT), str(root), "none", "0", "0"]
    rivals = [subprocess.Popen(command, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL,
                               env=os.environ | {"OMP_NUM_THREADS": "1"}) for _ in range(2)]
    said = [rival.communicate()[0] for rival in rivals]
    assert [rival.returncode for rival in rivals] == [0, 0]
    assert sum("60/60" in text for text in said) == 1, said
    assert sum("waiting for another program" in text or "not trained again" in text
               for text in said) == 1
    assert results_of(root) == results_of(uncut)
