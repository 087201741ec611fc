"""Several processes share a run: the draws, the gradient and the counts are those of one."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from crackutils import data as datasets
from crackutils import experiment, files, records
from crackutils.device import decide, fabric_for, usable_cores
from crackutils.protocol import preset

FIELDS = {"counts": [5, 3, 4], "image_size": [32, 32], "tile": [16, 16], "batch": 4, "steps": 6,
          "precision": "float32", "batch_norm": False, "learning_rate": 0.01}


def protocol(loss="relu", weight=0.97, **overrides):
    return preset("smoke", overrides=FIELDS | {"loss": loss, "weight": weight} | overrides)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return datasets.load("synthetic", protocol(), tmp_path_factory.mktemp("data"))


def made(run, dataset, root, devices=1):
    return experiment.complete(run, dataset, root, None, "cpu", devices)


def assert_alike(one, other):
    first, second = (load_file(record / "model.safetensors") for record in (one, other))
    for name, weights in first.items():
        torch.testing.assert_close(second[name], weights, rtol=0, atol=1e-5)
    histories = [np.loadtxt(record / "history.csv", delimiter=",", skiprows=1)
                 for record in (one, other)]
    np.testing.assert_allclose(*histories, rtol=1e-5)
    counts = [records.read_arrays(record / "counts.npz") for record in (one, other)]
    for name in ("test_names", "test_pixels", "validation_names", "validation_pixels"):
        assert np.array_equal(counts[0][name], counts[1][name])
    for name in ("test_true_positives", "validation_false_positives"):
        assert np.abs(counts[0][name].astype(int) - counts[1][name]).max() <= 3  # at a threshold


@pytest.mark.skipif(usable_cores() < 2, reason="needs two cores")
@pytest.mark.parametrize("run", [protocol(), protocol("dice", None), protocol("tversky", (.3, .7))],
                         ids=lambda run: run.loss)
def test_two_processes_end_as_one(dataset, tmp_path, run):
    one, two = made(run, dataset, tmp_path / "one"), made(run, dataset, tmp_path / "two", devices=2)
    assert_alike(one, two)
    environments = [records.read_json(record / "environment.json") for record in (one, two)]
    assert [environment["devices"] for environment in environments] == [1, 2]


@pytest.mark.skipif(usable_cores() < 2, reason="needs two cores")
def test_torchrun_ends_as_one_process(dataset, tmp_path):
    one = made(protocol(seed=3), dataset, tmp_path / "one")
    overrides = str(FIELDS | {"loss": "relu", "weight": 0.97, "seed": 3}).replace("'", "").replace(
        "False", "false")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
               "2", "-m", "crackutils.cli", "train", "--protocol", "smoke", "--device", "cpu",
               "--runs", str(tmp_path / "two"), "-y", overrides]
    done = subprocess.run(command, cwd=files.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_alike(one, records.find({"runs": tmp_path / "two"}, protocol(seed=3), "synthetic")[1])


WORK_FOR_EVER = """
import os
import time

from crackutils.device import Hardware, launch


def work(fabric):
    os.write(1, b"begun\\n")  # at once: two processes print into one pipe
    time.sleep(3600)


if __name__ == "__main__":
    launch(Hardware("cpu", "float32", "channels_first", devices=2), work)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs process groups")
def test_processes_end_with_the_program_that_started_them(tmp_path):
    script = tmp_path / "work.py"
    script.write_text(WORK_FOR_EVER)
    # in the background of a shell and in many schedulers' jobs, programs ignore interrupts
    program = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True,
                               env=os.environ | {"PYTHONPATH": str(files.ROOT)},
                               start_new_session=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    try:
        assert [program.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
        program.terminate()
        # their standard output is closed when the last of them has ended
        program.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)


class Rank:
    """What Fabric tells of one of three processes."""

    def __init__(self, rank):
        self.global_rank, self.world_size, self.device = rank, 3, torch.device("cpu")


def test_an_image_is_counted_once_whatever_the_number_of_processes(dataset, monkeypatch):
    from crackutils import evaluation
    from crackutils.models import build

    run, shares = protocol(), []
    hardware = decide(run, "cpu")
    fabric = fabric_for(hardware)

    def gather(gathered, counted):
        shares.append(counted)
        gathered[:len(shares)] = shares
        gathered[len(shares):] = [{}] * (3 - len(shares))

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    parts = {"test": dataset.test}
    for rank in range(3):
        process = Rank(rank)
        process.autocast = fabric.autocast
        if rank < 2:  # some images have no counts yet
            with pytest.raises(RuntimeError, match="counts for 4 images"):
                evaluation.evaluate(build(run), parts, run, hardware, process)
    shared = evaluation.evaluate(build(run), parts, run, hardware, process)
    alone = evaluation.evaluate(build(run), parts, run, hardware, fabric)
    assert shared.keys() == alone.keys()
    assert all(np.array_equal(shared[name], alone[name]) for name in alone)
    shares.pop()
    shares[0] = shares[0] | shares[1]
    with pytest.raises(RuntimeError, match="each must be counted once"):
        evaluation.evaluate(build(run), parts, run, hardware, process)


def test_the_second_of_two_programs_waits_for_the_run_and_trains_nothing(dataset, tmp_path, capsys,
                                                                     monkeypatch):
    run = protocol()
    first = made(run, dataset, tmp_path / "elsewhere")
    monkeypatch.setattr(experiment, "train", None)
    record = records.record_folder(tmp_path, run, dataset.name, dataset.fingerprint)
    found = []
    with files.locked(record / records.LOCK):
        second = threading.Thread(target=lambda: found.append(made(run, dataset, tmp_path)))
        second.start()
        second.join(1)
        assert second.is_alive() and "waiting for another program" in capsys.readouterr().out
        for path in first.iterdir():
            path.rename(record / path.name)
    second.join()
    assert found == [record] and records.is_complete(record)
