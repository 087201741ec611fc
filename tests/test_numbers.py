"""The blocks of measured numbers on the pages, computed from small or committed records."""

import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from crackutils import files, records
from crackutils.evaluation import THRESHOLDS
from crackutils.protocol import preset
from workflow import numbers


def rows_of(block: str) -> dict[str, list[str]]:
    """The cells of a Markdown table by the first of their row."""
    lines = [line.strip("| ").split(" | ") for line in block.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in lines}


# Table 8 of paper A, and BCE
ROWS = [("MSE", "mse", None, 0.4), ("Balanced Step", "balanced_step", 0.83, 0.9),
        ("Squared & Balanced Step", "squared_balanced_step", 0.5, 0.75),
        ("Step", "step", 0.69, 0.5), ("ReLU", "relu", 0.97, 0.5), ("BCE (added)", "bce", None, 0.5)]


def write_record(results, preset_name: str, dataset: str, loss: str, weight, number: int) -> None:
    """A record that finds `number` of 100 crack pixels of the test part, and 20 more at threshold
    number 20 + `number`, which is the best one on the validation part; it has no false alarms."""
    protocol = preset(preset_name, "cracks", {"precision": "float32"}).with_run(loss, weight, 0)
    true_positives = np.full((1, len(THRESHOLDS)), number, np.uint32)
    true_positives[0, 20 + number] += 20
    counts = {"thresholds": THRESHOLDS}
    for part in ("validation", "test"):
        counts |= {f"{part}_names": np.array(["a"]), f"{part}_pixels": np.array([1000]),
                   f"{part}_true_positives": true_positives,
                   f"{part}_false_positives": np.zeros_like(true_positives),
                   f"{part}_false_negatives": 100 - true_positives}
    records.save(records.record_folder(results, protocol, dataset, "f"), protocol, dataset, "f", {},
                 pd.DataFrame({"step": [1], "loss": [1.0]}), counts, None, {"w": torch.zeros(1)})


def f1_text(found: int) -> str:
    """The F1 of so many of 100 pixels found, without a false alarm."""
    return f"{2 * found / (found + 100):.3f}"


def test_a_missing_record_leaves_its_own_cells_empty_and_no_others(tmp_path, monkeypatch):
    expected = {}
    for index, (name, loss, weight, threshold) in enumerate(ROWS):
        cells = ["–" if weight is None else f"{weight:g}", f"{threshold:g}"]
        for preset_name, dataset, number, missing in (
                ("quick", "synthetic", 1 + index, "step"),
                (*numbers.PHOTOGRAPHS, 31 + index, "relu")):
            if loss == missing:
                cells += ["–", "–"]
                continue
            write_record(tmp_path, preset_name, dataset, loss, weight, number)
            own = f"{f1_text(number + 20)} ({THRESHOLDS[20 + number]:g})"
            cells += [f1_text(number), own]
        expected[name] = cells
    monkeypatch.setattr(numbers, "RESULTS", tmp_path)
    table = rows_of(numbers.table8())
    del table["loss"]
    assert {name: [*cells[:2], *cells[3:]] for name, cells in table.items()} == expected


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Two pages with two small blocks, and one table."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# é\n<!-- one -->\n1\n<!-- /one -->\nend\n", "utf-8")
    (tmp_path / "docs" / "roads.md").write_text(
        "<!-- two -->\nold\n<!-- /two -->\nbetween\n<!-- one -->\nold\n<!-- /one -->\n")
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setattr(numbers, "BLOCKS", {"one": lambda: "1", "two": lambda: "| 2 |\n\\1"})
    monkeypatch.setattr(numbers, "camvid_tables", lambda: {tmp_path / "t" / "table.csv": "a,b\n"})
    return tmp_path


def test_every_block_on_every_page_is_checked_and_rewritten(site, capsys):
    before = (site / "docs" / "roads.md").read_text()
    assert numbers.main(["--check"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{name} is out of date: run make numbers" for name in (
            os.path.join("t", "table.csv"), os.path.join("docs", "roads.md: block two"),
            os.path.join("docs", "roads.md: block one"))]
    assert (site / "docs" / "roads.md").read_text() == before and not (site / "t").exists()
    assert numbers.main([]) == 0
    assert (site / "docs" / "roads.md").read_text() == (
        "<!-- two -->\n| 2 |\n\\1\n<!-- /two -->\nbetween\n<!-- one -->\n1\n<!-- /one -->\n")
    assert (site / "README.md").read_text("utf-8") == \
        "# é\n<!-- one -->\n1\n<!-- /one -->\nend\n"
    assert (site / "t" / "table.csv").read_text() == "a,b\n"
    assert numbers.main(["--check"]) == 0


@pytest.mark.parametrize("text, message", [
    ("\n<!-- three -->\n<!-- /three -->", "roads.md, line 2: there is no block three; expected"),
    ("<!-- one -->\n", "roads.md, line 1: <!-- one --> is not followed by its <!-- /one -->"),
    ("<!-- /one -->\n", "roads.md, line 1: <!-- /one --> is not followed by its <!-- /one -->"),
    ("<!-- one -->\n<!-- two -->\n<!-- /two -->\n<!-- /one -->", "line 1: <!-- one --> is not"),
    ("<!-- one -->\n<!-- /two -->", "roads.md, line 1: <!-- one --> is not followed by its")])
def test_an_unknown_block_and_a_marker_alone_are_errors(site, text, message):
    (site / "docs" / "roads.md").write_text(text)
    before = (site / "README.md").read_bytes()
    with pytest.raises(ValueError, match=message):
        numbers.main([])
    assert (site / "README.md").read_bytes() == before


def test_every_block_stands_on_a_page():
    text = "".join(page.read_text("utf-8") for page in numbers.pages())
    assert {name for _, name in numbers.MARKER.findall(text)} == set(numbers.BLOCKS)


def test_every_finished_figure_has_a_caption_and_every_caption_its_figure():
    page = (files.ROOT / "figures" / "README.md").read_text("utf-8")
    named = re.findall(r'<img src="(.*?)"', page)
    drawn = sorted(path.name for path in (files.ROOT / "figures").glob("*.p*"))
    assert sorted([*named, *(name.replace(".png", ".pdf") for name in named)]) == drawn


def test_neither_git_nor_the_network_is_needed():
    code = """import socket
def refuse(*_): raise OSError("no network")
socket.socket.connect = socket.getaddrinfo = refuse
from workflow import numbers
print(numbers.table8())"""
    environment = os.environ | {"PATH": "", "PYTHONIOENCODING": "utf-8"}
    answer = subprocess.run([sys.executable, "-c", code], cwd=files.ROOT, env=environment,
                            capture_output=True, encoding="utf-8", check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip().endswith(numbers.table8())


def test_what_the_runs_say_of_a_claim_is_said_in_korean():
    said = {
        "MSE finds 36% of the pixels of cracks 1 to 2 px wide and 83% of those of cracks 3 to 5 px "
        "wide": "MSE는 폭 1~2 픽셀 균열 화소의 36%, 폭 3~5 픽셀 균열 화소의 83%를 찾는다",
        "2 of 4 functions find significantly more; the largest difference is that of Step 0.69: "
        "+0.239 recall (+0.065 to +0.414)":
            "함수 4개 중 2개가 유의하게 더 많이 찾는다. 차이가 가장 큰 것은 Step 0.69: "
            "재현율 +0.239 (+0.065 ~ +0.414)",
        "recall minus that of ReLU 0.97: Step 0.69: -0.169 (-0.232 to +0.105); C: +0.3 (+0.1 to "
        "+0.4)":
            "ReLU 0.97 대비 재현율: Step 0.69: -0.169 (-0.232 ~ +0.105); C: +0.3 (+0.1 ~ +0.4)",
        "Step 0.69: +0.011 F1 (-0.027 to +0.047)": "Step 0.69: F1 +0.011 (-0.027 ~ +0.047)",
        "MSE: 0.42, Step 0.69: 0.53 (means, no interval)":
            "MSE: 0.42, Step 0.69: 0.53 (평균, 구간 없음)"}
    assert {text: numbers.in_korean(text) for text in said} == said
    with pytest.raises(ValueError, match="no Korean for 'means'"):
        numbers.in_korean("the means of three")


def test_measurements_of_no_gpu_are_not_published(tmp_path, monkeypatch):
    for name in ("gpu.csv", "gpu_profile.csv"):
        table = pd.read_csv(numbers.BENCHMARKS / name)
        table.assign(tiny=True).to_csv(tmp_path / name, index=False)
    assert "images a second in bfloat16" in numbers.gpu()
    monkeypatch.setattr(numbers, "BENCHMARKS", tmp_path)
    with pytest.raises(ValueError, match="no measurements of one GPU"):
        numbers.gpu()


def test_the_significant_losses_are_listed_by_precision(monkeypatch):
    def recall_table(source, precision):
        rows = {"low": [np.nan, 0.1, -0.1], "high": [np.nan, 0.3, 0.2]}
        if precision > 0.7:
            rows["low"][1] = -0.2
        return pd.DataFrame({"loss": ["mse", "bce", "dice"], "weight": None, "stratum": "1-2 px",
                             "difference": [np.nan, 0.2, 0.05], "difference_low": rows["low"],
                             "difference_high": rows["high"]})
    monkeypatch.setattr(numbers, "recall_table", recall_table)
    assert numbers.by_precision("1-2 px") == "at 0.7 BCE (+0.200), at 0.8 and 0.9 none"
