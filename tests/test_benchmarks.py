"""Benchmarks in miniature: they run, and leave the tables that they promise."""

import json
import os
import runpy
import subprocess
import sys

import miniatures
import numpy as np
import pandas as pd
import pytest

from crackutils import data as datasets
from crackutils import files, records
from crackutils.data.synthetic import PARTS
from crackutils.papers import fine_cracks
from crackutils.protocol import preset


def run_gpu_benchmark(folder, *words):
    """Run `benchmarks/gpu.py` where no CUDA device can be seen."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "NO_ALBUMENTATIONS_UPDATE": "1",
                                "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "benchmarks/gpu.py", "--out", str(folder), *words],
                          cwd=files.ROOT, env=environment, capture_output=True, text=True,
                          check=False)


def test_gpu_measurements_need_a_device_and_are_not_repeated(tmp_path):
    refused = run_gpu_benchmark(tmp_path / "none")
    assert refused.returncode == 2 and not (tmp_path / "none").exists()
    sentence = refused.stderr.strip().splitlines()[-1]
    assert sentence.startswith("This needs a CUDA device") and sentence.count(".") == 1
    first = run_gpu_benchmark(tmp_path, "--device", "cpu", "--tiny")
    assert first.returncode == 0 and "open: none" in first.stdout, first.stderr
    text = (tmp_path / "gpu.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert all(line["tiny"] and line["device"] == "cpu" for line in lines)
    results = {line["measurement"]: line for line in lines}
    assert len(results) == len(lines) and results["throughput/plain"]["images_per_second"] > 0
    assert results["same_as_cpu"]["loss_difference"] == results["same_as_cpu"][
        "batch_difference_to_cpu"] == results["resume"]["weight_difference"] == 0
    assert results["same_as_cpu"]["streamed_equals_resident"] is True
    assert results["resume"]["resumed_after"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {"gpu.jsonl", "gpu.csv", "profile.csv"}
    second = run_gpu_benchmark(tmp_path, "--device", "cpu", "--tiny")
    assert second.returncode == 0 and "open: none" in second.stdout
    assert (tmp_path / "gpu.jsonl").read_text() == text


@pytest.mark.parametrize("name", ["thresholds", "doctor", "decoding"])
def test_a_benchmark_runs_and_leaves_its_table(tmp_path, name):
    subprocess.run([sys.executable, f"benchmarks/{name}.py", "--short", "--out", str(tmp_path)],
                   cwd=files.ROOT, env=os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"}, check=True,
                   stdout=subprocess.DEVNULL)
    table = pd.read_csv(tmp_path / f"{name}.csv")
    assert len(table) > 1 and (table["seconds"] > 0).all()


def test_the_road_study_lists_every_run_that_has_no_record(tmp_path):
    answer = subprocess.run(
        [sys.executable, "benchmarks/study.py", "roads", "--protocol", "smoke",
         "--runs", str(tmp_path), "--seeds", "0", "1", "--minutes", "0", "--part", "2/2"],
        cwd=files.ROOT, env=os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"}, check=True,
        capture_output=True, text=True)
    remaining = answer.stdout.strip().splitlines()[-1].removeprefix("open: ").split(", ")
    # seven losses with two seeds, four added ones and four open choices; every second of these
    assert len(set(remaining)) == len(remaining) == (7 * 2 + 4 + 4) // 2
    assert remaining[0].startswith("dice-none-0-")
    assert not list(tmp_path.glob("smoke/**/complete.json"))


def test_the_crack_study_counts_each_network_on_unseen_photographs_too(tmp_path):
    miniatures.plain(tmp_path / "walls", 3)
    subprocess.run(
        [sys.executable, "benchmarks/study.py", "cracks", "--protocol", "smoke", "--runs",
         str(tmp_path / "runs"), "--seeds", "7", "--part", "1/13", "--unseen",
         str(tmp_path / "walls")],
        cwd=files.ROOT, env=os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"}, check=True)
    record, = (tmp_path / "runs" / "smoke" / "synthetic" / "records").iterdir()
    counts = records.read_arrays(record / "counts.npz")
    assert record.name.startswith("mse-none-7-")
    assert counts["walls_true_positives"].shape == (3, 110)
    assert "walls_claimed_near" in counts and "test_claimed_near" not in counts


def test_few_masks_are_measured_and_what_has_its_record_is_not_trained_again(tmp_path):
    miniatures.plain(tmp_path / "walls", 14)
    command = [sys.executable, "benchmarks/few_masks.py", str(tmp_path / "walls"), "--numbers",
               "5", "8", "--seeds", "0", "1", "--steps", "1", "--runs", str(tmp_path / "runs"),
               "--out", str(tmp_path)]
    tables = []
    for minutes, remaining in (("0", 8), ("9", 0), ("0", 0)):
        answer = subprocess.run([*command, "--minutes", minutes], cwd=files.ROOT, check=True,
                                env=os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"},
                                capture_output=True, text=True)
        assert answer.stdout.splitlines()[-1] == f"open: {remaining}"
        tables.append((tmp_path / "few_masks.csv").read_text())
    assert len(tables[0].splitlines()) == 2 and tables[1] == tables[2]
    table = pd.read_csv(tmp_path / "few_masks.csv")
    assert table["start"].value_counts().to_dict() == {"balanced_step": 5, "scratch": 4}
    assert table.drop(columns=["seed", "photographs", "start"]).apply(
        lambda column: column.between(0, 1).all()).all()
    made = [records.read_json(path)["protocol"] for path in tmp_path.rglob("records/*/config.json")]
    assert sum("initial_weights" in protocol for protocol in made) == 4
    for protocol in made:
        protocol.pop("initial_weights", None)
    assert {(protocol["steps"], protocol["loss"]) for protocol in made} == {(1, "balanced_step")}
    assert made.count(made[0]) == 4, "the two starts differ in the first weights alone"


def test_the_labelled_photographs_are_drawn_beside_the_test_part(tmp_path):
    miniatures.plain(tmp_path / "walls", 30)
    dataset = datasets.load(tmp_path / "walls", preset("smoke"), tmp_path / "runs")
    draw = script("few_masks")["with_few_labels"]
    few = {(number, seed): draw(dataset, number, seed) for number in (5, 10) for seed in (0, 1)}
    for (number, _), drawn in few.items():
        assert (len(drawn.train), len(drawn.validation)) == (number - number // 5, number // 5)
        names = {*drawn.train.names, *drawn.validation.names}
        assert len(names) == number and not names & {*dataset.test.names}
        assert drawn.test is dataset.test and drawn.fingerprint != dataset.fingerprint
    for seed in (0, 1):
        assert {*few[5, seed].train.names} < {*few[10, seed].train.names}
    assert {*few[5, 0].train.names} != {*few[5, 1].train.names}
    with pytest.raises(SystemExit, match="40 labelled photographs are wanted, and walls has 24"):
        draw(dataset, 40, 0)


def first_steps(folder, *options) -> pd.DataFrame:
    """The table of `benchmarks/collapse.py` on two steps of small runs."""
    subprocess.run([sys.executable, "benchmarks/collapse.py", "--data", "synthetic", "--protocol",
                    "smoke", "--steps", "2", "--out", str(folder), *options], cwd=files.ROOT,
                   env=os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"}, check=True,
                   stdout=subprocess.DEVNULL)
    table, = [pd.read_csv(path) for path in folder.glob("*.csv")]
    assert (table["logit_1_percent"] <= table["logit_99_percent"]).all()
    return table


def test_the_first_steps_of_runs_have_their_gradient_and_logits(tmp_path):
    steps = first_steps(tmp_path / "cases")
    assert len(steps) == 6 * 2 and (steps["gradient"] > 0).all()
    starts = first_steps(tmp_path / "starts", "--starts", "2")
    assert starts["seed"].tolist() == [0, 0, 0, 1, 1, 1] and (starts["step"] == 1).all()
    assert not starts["dead"].any() and (starts["gradient"] > 0.01).all()


def script(name: str) -> dict:
    """What a script of benchmarks/ defines."""
    return runpy.run_path(str(files.ROOT / "benchmarks" / f"{name}.py"))


def test_the_tiles_of_a_metu_photograph():
    metu = script("metu_tiles")
    mask = np.zeros((336, 448), bool)  # a ninth of 3024 x 4032: a tile at full size has 57 px
    mask[0, 0] = True
    assert [metu["tiles_of"](mask, reduction)[:2] for reduction in (1, 2, 3)] == [
        (48, 1), (12, 1), (6, 1)]
    count, with_crack, shares = metu["tiles_of"](np.ones((336, 448), bool), 2)
    assert (count, with_crack, shares) == (12, 12, 12.0)


def test_the_written_tiles_of_metu_are_halved_and_cracked_and_parts_share_no_photograph(tmp_path):
    miniatures.metu(tmp_path / "metu")
    script("metu_tiles")["write_tiles"](tmp_path / "metu", tmp_path / "tiles", tmp_path, side=8)
    protocol = preset("smoke", "cracks")
    tiles = datasets.load(tmp_path / "tiles", protocol, tmp_path)
    whole = datasets.load(tmp_path / "metu", preset("paper"), tmp_path)
    assert sum(len(getattr(tiles, part)) for part in PARTS) > 0
    for part in PARTS:
        for tile in getattr(tiles, part):
            assert tile.mask.shape == (8, 8) and tile.mask.any()
            photograph, top, left = tile.name.rsplit("_", 2)
            [sample] = [one for one in getattr(whole, part) if one.name == photograph]
            place = np.s_[2 * int(top):2 * int(top) + 16, 2 * int(left):2 * int(left) + 16]
            halved = sample.image[place].reshape(8, 2, 8, 2, 3).mean(axis=(1, 3))
            assert np.abs(halved - tile.image).max() <= 0.5
            share = (sample.mask[place] == 1).reshape(8, 2, 8, 2).mean(axis=(1, 3))
            assert np.array_equal(tile.mask == 1, share >= 0.5)


def test_photographs_are_weighted_to_a_wanted_mean():
    metu = script("metu_tiles")
    shares = np.array([0.01, 0.02, 0.04])
    weights = metu["weights_for"](shares, 0.016)
    assert weights.mean() == pytest.approx(1) and weights @ shares / 3 == pytest.approx(0.016)
    assert (np.diff(weights) < 0).all()
    assert np.isnan(metu["weights_for"](shares, 0.05)).all()


def test_the_simulated_recall_is_the_true_one_in_the_mean():
    simulation = script("interval_coverage")
    generator = np.random.default_rng(0)
    present = dict.fromkeys(("validation", "test"), np.full(800, 50))
    effects = {part: simulation["OF_PICTURES"] * generator.standard_normal(800)
               for part in present}
    runs = [simulation["run_of"](3.0, effects, present, 0.1, generator) for _ in range(20)]
    stratum = fine_cracks.strata_names().index("1-2 px")
    recall = np.mean([fine_cracks.recall_of(run, stratum) for run in runs])
    assert recall == pytest.approx(simulation["true_recall"](3.0, 0.1), abs=0.02)
    assert np.mean([run.precision for run in runs]) == pytest.approx(0.8, abs=0.01)


def test_only_the_leaking_divisions_share_photographs_with_the_test_part(tmp_path):
    miniatures.plain(tmp_path / "photographs")
    dataset = datasets.load(tmp_path / "photographs", preset("cpu"), tmp_path)
    divisions = script("leaks")["divisions"](dataset)
    tested = {name: tile.tobytes() for name, tile, _ in divisions["grouped"]["test"]}
    assert len(tested) == 2 * len(dataset.test)
    for name, leaks in (("grouped", 0), ("random", len(tested)), ("in sample", len(tested))):
        train = divisions[name]["train"]
        assert [tile[0] for tile in divisions[name]["test"]] == list(tested)
        assert len(train) == len(divisions["grouped"]["train"])
        photographs = [tile[0].removeprefix("copy_").rsplit("_", 1)[0] for tile in train]
        assert sum(photograph in {one.rsplit("_", 1)[0] for one in tested}
                   for photograph in photographs) == leaks
        same = sum(tile.tobytes() in tested.values() for _, tile, _ in train)
        assert same == (len(tested) if name == "in sample" else 0)


def test_whole_cracks_are_counted_by_their_centre_lines():
    """One crack found, one missed, one too short to count, and a false alarm."""
    near_cracks = script("shipped_models")["near_cracks"]
    mask, marked = np.zeros((2, 80, 80), bool)
    mask[10:13, 5:75] = mask[40:43, 5:75] = mask[70, 70:76] = True
    marked[13:16, 5:45] = marked[42, 50:60] = True  # over half of the first, a seventh of the next
    marked[60:62, 10:40] = True
    assert near_cracks(mask, marked) == (2, 1)
    assert near_cracks(marked, mask) == (3, 2)


def test_every_mark_is_drawn_alike_again_and_darker_or_lighter_than_the_wall():
    marks = script("shipped_models")
    for kind, (_, strength) in marks["KINDS"].items():
        image, mark = marks["drawn"](kind, 1)
        assert np.array_equal(marks["drawn"](kind, 1)[0], image)
        assert image.shape == (256, 256, 3) and mark.shape == (256, 256) and mark.any()
        if kind.startswith("edge"):  # along one straight line: what is marked fits a line
            y, x = np.nonzero(mark)
            _, thickness = np.linalg.svd(np.stack([y - y.mean(), x - x.mean()]))[1] / len(y)**0.5
            assert thickness < 2
        elif not kind.startswith("bare"):
            contrast = image[mark].mean() - image[~mark].mean()
            assert np.sign(contrast) == -np.sign(strength[0]), kind
