"""The Snakefile through a real Slurm of one node (`make test-slurm` sets it up)."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from crackutils import data as datasets
from crackutils import experiment, records
from crackutils.files import ROOT
from crackutils.papers import crack_tables
from crackutils.papers.source import Source
from crackutils.protocol import preset
from workflow import plan

OVERRIDES = {"precision": "float32"}
STATES = "PENDING,RUNNING,CONFIGURING,COMPLETING"


def reason_to_skip() -> str:
    """Why these tests can't run here; empty if they can."""
    if shutil.which("scontrol") is None:
        return "Slurm is not installed: make test-slurm installs it"
    shown = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True,
                           check=False).stdout
    if "crackutils-test" not in shown:
        return "Slurm does not run here as tests/slurm/one_node.sh start starts it"
    return ""


pytestmark = pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip())


def start(runs: Path, *targets: str, options: tuple = ()) -> subprocess.Popen:
    """Snakemake with the profile for clusters; this Slurm has no accounting."""
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--workflow-profile", "workflow/profiles/slurm",
         "--slurm-no-account", "--slurm-status-command", "squeue",
         "--slurm-init-seconds-before-status-checks", "3", "--set-threads", "train=1",
         "--default-resources", "mem_mb=2000", "runtime=60", "--quiet", "host", "rules", *options,
         "--", *targets],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True, env=os.environ | {
            "PROTOCOL": "smoke", "RUNS": str(runs), "PARAMETERS": f"{{overrides: {OVERRIDES}}}",
            "PYTHONPATH": str(ROOT)})


def finish(started: subprocess.Popen, seconds: float = 3600) -> str:
    """What Snakemake said, when it has ended; it ignores SIGTERM while it waits for Slurm."""
    try:
        return started.communicate(timeout=seconds)[0]
    finally:
        started.kill()


def queue() -> list[str]:
    """The jobs that Slurm has."""
    shown = subprocess.run(["squeue", "--noheader", "--format=%i", "--states", STATES], text=True,
                           capture_output=True, check=True).stdout
    return shown.split()


def wait_for(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this did not happen in time"
        time.sleep(0.5)


def kernels(runs: Path) -> list[psutil.Process]:
    """The kernels that execute a notebook of these runs."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        parents = [" ".join(parent.cmdline()) for parent in process.parents()]
        if "ipykernel_launcher" in " ".join(process.info["cmdline"] or []) \
                and str(runs) in " ".join(parents):
            found.append(process)
    return found


def complete(runs: Path) -> set[Path]:
    return set(runs.glob("smoke/synthetic/records/*/complete.json"))


def test_the_smoke_grid_gives_the_same_tables_as_without_slurm(tmp_path):
    started = start(tmp_path / "slurm", "grid", options=("--config", "runs_per_job=4"))
    said = finish(started)
    assert started.returncode == 0, said
    local, tables = tmp_path / "local", []
    for network in plan.NETWORKS:
        protocol = preset("smoke", "cracks", OVERRIDES | network)
        dataset = datasets.load("synthetic", protocol, local)
        for loss in plan.published.distinct_rows()["loss"].unique():
            for weight in crack_tables.published_weights(loss):
                run = protocol.with_run(loss, weight, 0)
                experiment.complete(run, dataset, local, None, "cpu")
        source = Source(protocol, "synthetic", {"runs": local})
        tables += [crack_tables.crack_table(number, source).assign(table=number, **network)
                   for number in (1, 4, 5, 6, 7)]
        own = crack_tables.at_validation_thresholds(source)
        tables.append(own[own["loss"] != "bce"].assign(table="own", **network))
    assert len(complete(local)) == len(complete(tmp_path / "slurm")) == 68
    written = pd.read_csv(tmp_path / "slurm" / "smoke" / "synthetic" / "tables" / "networks.csv")
    expected = pd.concat(tables, ignore_index=True)
    expected.to_csv(tmp_path / "expected.csv", index=False)
    pd.testing.assert_frame_equal(written, pd.read_csv(tmp_path / "expected.csv"))


TARGETS = [f"smoke/synthetic/notebooks/04_train_cracks-{loss}-none-0.ipynb"
           for loss in ("mse", "bce")]


def test_a_cancelled_call_leaves_no_job_and_the_same_command_resumes_it(tmp_path):
    started = start(tmp_path, *TARGETS)
    wait_for(queue, 120)
    started.send_signal(signal.SIGINT)
    said = finish(started, 180)
    assert started.returncode == 130 and "the same command resumes the work" in said
    wait_for(lambda: not queue(), 60)
    started = start(tmp_path, *TARGETS)
    said = finish(started)
    assert started.returncode == 0 and len(complete(tmp_path)) == 2, said


def kill_and_restart(daemon: str) -> None:
    """kill -9 of the daemon with this process id file; it is started again after some seconds."""
    pid = int(Path(f"/run/{daemon}.pid").read_text())
    assert psutil.Process(pid).name() == daemon
    os.kill(pid, signal.SIGKILL)
    time.sleep(5)
    subprocess.run([daemon], check=True)


@pytest.mark.parametrize("daemon", ["slurmctld", "slurmd"])
def test_slurms_daemons_may_be_killed(tmp_path, daemon):
    started = start(tmp_path, *TARGETS)
    # at work, and known to Slurm's files: what it was told in its last seconds is lost with it
    wait_for(lambda: kernels(tmp_path) and len(queue()) == len(TARGETS), 300)
    kill_and_restart(daemon)
    said = finish(started)
    if started.returncode != 0:  # Slurm lost a job: the same command runs it again
        started = start(tmp_path, *TARGETS)
        said += finish(started)
    assert started.returncode == 0 and len(complete(tmp_path)) == 2, said


def test_a_job_whose_kernel_is_killed_is_tried_again(tmp_path):
    """By the Snakemake of the job, or by the one that submitted it."""
    started = start(tmp_path, TARGETS[0])
    wait_for(lambda: kernels(tmp_path), 300)
    assert not complete(tmp_path)
    kernels(tmp_path)[0].kill()
    said = finish(started)
    assert started.returncode == 0 and len(complete(tmp_path)) == 1, said


@pytest.mark.skipif(os.cpu_count() < 2, reason="needs two cores")
def test_two_processes_share_a_training_that_torchrun_starts(tmp_path):
    overrides = OVERRIDES | {"batch_norm": False}
    started = start(tmp_path, TARGETS[0], options=(
        "--config", "machines=1", f"parameters={{devices: 2, overrides: {overrides}}}",
        "--set-threads", "train=2"))
    said = finish(started)
    assert started.returncode == 0, said
    [record] = complete(tmp_path)
    assert records.read_json(record.with_name("environment.json"))["devices"] == 2
    assert records.read_json(record.with_name("config.json"))["protocol"]["batch_norm"] is False
