"""The measurements of a CUDA machine, in miniature."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from crackutils import files


def gpu(folder, *words):
    """What `benchmarks/gpu.py` answers where there is no CUDA device."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "NO_ALBUMENTATIONS_UPDATE": "1",
                                "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "benchmarks/gpu.py", "--out", str(folder), *words],
                          cwd=files.ROOT, env=environment, capture_output=True, text=True,
                          check=False)


def test_a_second_call_measures_nothing_anew_and_none_measures_without_a_device(tmp_path):
    refused = gpu(tmp_path / "none")
    assert refused.returncode == 2 and not (tmp_path / "none").exists()
    sentence = refused.stderr.strip().splitlines()[-1]
    assert sentence.startswith("This needs a CUDA device") and sentence.count(".") == 1
    first = gpu(tmp_path, "--device", "cpu", "--tiny")
    assert first.returncode == 0 and "open: none" in first.stdout, first.stderr
    text = (tmp_path / "gpu.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert all(line["tiny"] and line["device"] == "cpu" for line in lines)
    found = {line["measurement"]: line for line in lines}
    assert len(found) == len(lines) and found["throughput/plain"]["images_per_second"] > 0
    assert found["same_as_cpu"]["loss_difference"] == 0 == found["resume"]["weight_difference"]
    assert found["same_as_cpu"]["streamed_equals_resident"] and found["resume"]["resumed_after"]
    assert {path.name for path in tmp_path.iterdir()} == {"gpu.jsonl", "gpu.csv", "profile.csv"}
    second = gpu(tmp_path, "--device", "cpu", "--tiny")
    assert second.returncode == 0 and "open: none" in second.stdout
    assert (tmp_path / "gpu.jsonl").read_text() == text


@pytest.mark.parametrize("name", ["thresholds", "doctor", "decoding"])
def test_a_benchmark_runs_and_leaves_its_table(tmp_path, name):
    subprocess.run([sys.executable, f"benchmarks/{name}.py", "--short", "--out", str(tmp_path)],
                   cwd=files.ROOT, env=os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"}, check=True,
                   stdout=subprocess.DEVNULL)
    table = pd.read_csv(tmp_path / f"{name}.csv")
    assert len(table) > 1 and (table["seconds"] > 0).all()


def test_the_road_study_has_every_row_of_its_tables(tmp_path):
    answer = subprocess.run(
        [sys.executable, "benchmarks/roads.py", "--data", "synthetic", "--protocol", "smoke",
         "--runs", str(tmp_path), "--seeds", "2", "--minutes", "0", "--part", "2/2"],
        cwd=files.ROOT, env=os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"}, check=True,
        capture_output=True, text=True)
    left = answer.stdout.strip().splitlines()[-1].removeprefix("open: ").split(", ")
    assert len(left) == (14 + 4 + 4) // 2 and left[0].startswith("dice-none-0-")
    assert not list(tmp_path.glob("smoke/**/complete.json"))


def first_steps(folder, *options):
    subprocess.run([sys.executable, "benchmarks/collapse.py", "--data", "synthetic", "--protocol",
                    "smoke", "--steps", "2", "--out", str(folder), *options], cwd=files.ROOT,
                   env=os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"}, check=True,
                   stdout=subprocess.DEVNULL)
    table, = [pd.read_csv(path) for path in folder.glob("*.csv")]
    assert (table["logit_1_percent"] <= table["logit_99_percent"]).all()
    return table


def test_the_first_steps_of_a_run_are_told_apart(tmp_path):
    steps = first_steps(tmp_path / "cases")
    assert len(steps) == 6 * 2 and (steps["gradient"] > 0).all()
    starts = first_steps(tmp_path / "starts", "--starts", "2")
    assert starts["seed"].tolist() == [0, 0, 0, 1, 1, 1] and (starts["step"] == 1).all()
    assert not starts["dead"].any() and (starts["gradient"] > 0.01).all()
