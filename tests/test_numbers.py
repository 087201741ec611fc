"""The blocks of measured numbers on the pages, computed from small or committed records."""

import os
import shutil
import subprocess
import sys

import pytest

from crackutils import files
from workflow import numbers


def rows_of(block: str) -> dict[str, list[str]]:
    """The cells of a Markdown table by the first of their row."""
    lines = [line.strip("| ").split(" | ") for line in block.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in lines}


def test_a_missing_record_leaves_its_own_cells_empty_and_no_others(tmp_path, monkeypatch):
    whole = rows_of(numbers.table8())
    for preset, dataset, missing in (("quick", "synthetic", "step-0.69-*"),
                                     (*numbers.PHOTOGRAPHS, "relu-0.97-*")):
        shutil.copytree(numbers.RESULTS / preset / dataset, tmp_path / preset / dataset,
                        ignore=shutil.ignore_patterns(missing))
    monkeypatch.setattr(numbers, "RESULTS", tmp_path)
    expected = {**whole, "Step": [*whole["Step"][:3], "–", "–", *whole["Step"][5:]],
                "ReLU": [*whole["ReLU"][:5], "–", "–"]}
    assert rows_of(numbers.table8()) == expected
    assert whole["Step"][3].startswith("0.") and whole["ReLU"][5].startswith("0.")


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
    assert answer.stdout.strip() == numbers.table8()
