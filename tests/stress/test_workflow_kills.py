"""Snakemake, its jobs and their kernels, killed by kill -9 at random moments, and a disk that fills
up: nothing complete is lost, and the next call ends as an uninterrupted one.

`KILLS` (default 25) is half the number of interruptions. `runs/stress/workflow_kills.csv` lists
them.
"""

import contextlib
import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file

from crackutils import files, records

KILLS = 2 * int(os.environ.get("KILLS", "25"))
NOTEBOOKS = [f"smoke/synthetic/notebooks/04_train_cracks-{loss}.ipynb" for loss in ("mse", "relu")]
RUNS = 5  # one with the squared error, four with the ReLU function's weights
REPORT = files.ROOT / "runs" / "stress" / "workflow_kills.csv"


def start(root: Path) -> subprocess.Popen:
    """The command of `make reproduce`, for two small trainings."""
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", *NOTEBOOKS, "--cores", "2", "--keep-going",
         "--rerun-incomplete", "--quiet", "rules", "host"],
        cwd=files.ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=os.environ | {"PROTOCOL": "smoke", "RUNS": str(root), "OMP_NUM_THREADS": "1",
                          "PARAMETERS": "overrides: {steps: 40, precision: float32}"})


def finish(root: Path) -> str:
    """An uninterrupted call, which must succeed; what it printed."""
    process = start(root)
    said = process.communicate(timeout=600)[0]
    assert process.returncode == 0, said
    return said


def complete_records(root: Path) -> dict[str, str]:
    """Each complete record of a folder: its `complete.json`, with the time of its writing."""
    complete = {}
    for path in root.glob("smoke/synthetic/records/*/complete.json"):
        assert not records.damaged(path.parent)
        complete[path.parent.name] = f"{path.stat().st_mtime_ns} {path.read_text()}"
    return complete


def contents(root: Path) -> dict[str, dict[str, np.ndarray]]:
    """Everything that was measured or learned by each run."""
    found = {}
    for record in sorted(root.glob("smoke/synthetic/records/*/")):
        history = np.loadtxt(record / "history.csv", delimiter=",", skiprows=1, usecols=(0, 1))
        arrays = {"history": history}
        for name in ("counts.npz", "samples.npz"):
            with np.load(record / name, allow_pickle=False) as file:
                arrays |= {f"{name}/{key}": file[key] for key in file.files}
        arrays |= {key: value.to(torch.float32).numpy()
                   for key, value in load_file(record / "model.safetensors").items()}
        found[record.name] = arrays
    return found


def assert_equal(root: Path, uncut: Path) -> None:
    """Two folders hold the same runs, bit for bit."""
    ours, theirs = contents(root), contents(uncut)
    assert ours.keys() == theirs.keys() and len(ours) == RUNS
    for name, arrays in ours.items():
        assert arrays.keys() == theirs[name].keys()
        for key, values in arrays.items():
            np.testing.assert_array_equal(values, theirs[name][key], err_msg=f"{name} {key}")


def kind_of(process: psutil.Process) -> str:
    """Whether a process below Snakemake is a job, a notebook's kernel, or another."""
    try:
        command = " ".join(process.cmdline())
    except psutil.Error:
        return "other"
    if "ipykernel_launcher" in command:
        return "kernel"
    return "job" if "execute.py" in command else "other"


def kill(snakemake: subprocess.Popen, chance: random.Random) -> tuple[str, list[psutil.Process]]:
    """Kill Snakemake, a job or a kernel; which it was, and what ran below Snakemake."""
    below = psutil.Process(snakemake.pid).children(recursive=True)
    victims = {"snakemake": [snakemake]}
    for process in below:
        victims.setdefault(kind_of(process), []).append(process)
    victims.pop("other", None)
    kind = chance.choice(sorted(victims))
    with contextlib.suppress(psutil.NoSuchProcess):  # it ended by itself meanwhile
        chance.choice(victims[kind]).send_signal(signal.SIGKILL)
    return kind, below


@pytest.fixture(scope="module")
def uncut(tmp_path_factory):
    root = tmp_path_factory.mktemp("workflow") / "uncut"
    finish(root)
    return root


def wait_for_a_moment(process: subprocess.Popen, root: Path, chance: random.Random) -> bool:
    """Wait for a random number of complete records, and some seconds more; whether the call still
    runs then. A call that begins with as many is interrupted while it starts."""
    before = len(complete_records(root))
    wanted, seconds = chance.randint(before, RUNS - 1), chance.uniform(0, 5)
    if wanted == before:
        seconds *= 3
    while process.poll() is None and len(complete_records(root)) < wanted:
        time.sleep(0.2)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def test_nothing_complete_is_lost_by_random_kills(uncut, tmp_path):
    """Each round begins with an empty folder and ends with a whole call, killed or not."""
    chance = random.Random(0)
    rows, number, root = [], 0, tmp_path / "0"
    while len(rows) < KILLS:
        process, below = start(root), []
        if wait_for_a_moment(process, root, chance):
            kept = complete_records(root)
            kind, below = kill(process, chance)
        said = process.communicate(timeout=600)[0]
        psutil.wait_procs(below, 30)
        assert not [child for child in below if child.is_running()
                    and child.status() != psutil.STATUS_ZOMBIE], said
        if below:
            assert kept.items() <= complete_records(root).items(), said
            rows.append([kind, len(kept), process.returncode])
        if process.returncode == 0 or len(complete_records(root)) == RUNS or len(rows) == KILLS:
            finish(root)
            assert_equal(root, uncut)
            number, root = number + 1, tmp_path / f"{number + 1}"
    assert {kind for kind, *_ in rows} == {"snakemake", "job", "kernel"} or KILLS < 20
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    with open(REPORT, "w", newline="") as file:
        csv.writer(file).writerows([["killed", "complete_records", "status"], *rows])


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0,
                    reason="only root can mount a small disk")
@pytest.mark.parametrize("decoded, kilobytes", [(False, 20), (True, 400), (True, 900)])
def test_a_full_disk_loses_nothing(uncut, tmp_path, decoded, kilobytes):
    """The disk is full when the pictures are decoded or, if they are already, later."""
    root = tmp_path / "disk"
    root.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", root],
                             check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"can't mount a small disk: {mounted.stderr}")
    try:
        if decoded:
            (root / "cache").symlink_to(uncut / "cache")
        process = start(root)
        said = process.communicate(timeout=600)[0]
        assert process.returncode == 1 and "No space left on" in said, said
        kept = complete_records(root)
        subprocess.run(["mount", "-o", "remount,size=200m", root], check=True)
        finish(root)
        assert kept.items() <= complete_records(root).items()
        assert_equal(root, uncut)
    finally:
        time.sleep(0.5)
        subprocess.run(["umount", root], check=True)


def test_a_damaged_record_is_moved_aside_and_made_again(uncut, tmp_path):
    root = tmp_path / "damaged"
    finish(root)
    record = sorted(root.glob("smoke/synthetic/records/*/"))[0]
    kept = complete_records(root)
    kept.pop(record.name)
    counts = bytearray((record / "counts.npz").read_bytes())
    counts[len(counts) // 2] ^= 1
    (record / "counts.npz").write_bytes(counts)
    finish(root)
    aside, = record.parent.with_name("damaged").iterdir()
    assert aside.name.startswith(record.name) and (aside / "counts.npz").read_bytes() == counts
    assert kept.items() <= complete_records(root).items()
    assert_equal(root, uncut)
