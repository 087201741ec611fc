"""Where the program runs: other users' files, a HOME that can't be written, a poor encoding."""

import os
import shutil
import subprocess
import sys

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

from crackutils import cli, files

TINY = "{steps: 2, tile: [16, 16], precision: float32, seed: 0}"


def run(*words, **environment) -> subprocess.CompletedProcess:
    """Run a command at the repository's root."""
    return subprocess.run([str(word) for word in words], cwd=files.ROOT, capture_output=True,
                          text=True, check=False, env=os.environ | environment)


@pytest.fixture
def without_rights():
    """The beginning of a command that may write only where the files' modes allow it.

    To root they allow everything, unless it gives up its capabilities.
    """
    if not hasattr(os, "geteuid"):
        pytest.skip("Windows has no such modes")
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere, and there is no setpriv")
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


@pytest.fixture
def read_only(tmp_path):
    """A function that makes a folder, and all that it holds, read-only until the test ends."""
    def protect(folder):
        for path in [folder, *folder.rglob("*")]:
            path.chmod(path.stat().st_mode & 0o555)

    yield protect
    for folder, _, _ in os.walk(tmp_path):
        os.chmod(folder, 0o755)


def test_a_finished_record_and_its_pictures_are_read_where_nothing_can_be_written(
        tmp_path, capsys, without_rights, read_only):
    photographs, runs = tmp_path / "walls", tmp_path / "runs"
    generator = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (photographs / kind).mkdir(parents=True)
    for index in range(12):
        Image.fromarray(generator.integers(256, size=(32, 32, 3), dtype=np.uint8)).save(
            photographs / "images" / f"{index}.png")
        Image.fromarray(np.eye(32, k=index, dtype=np.uint8) * 255).save(
            photographs / "masks" / f"{index}.png")
    words = ["train", str(photographs), "--protocol", "smoke", "--runs", str(runs),
             "--device", "cpu", "-y", TINY]
    assert cli.main(words) == 0
    record = capsys.readouterr().out.splitlines()[-1]
    read_only(tmp_path)
    other = [*words[:-1], TINY.replace("seed: 0", "seed: 1")]
    done = run(*without_rights, sys.executable, "-W", "ignore", "-c", "from crackutils import cli\n"
               f"print(cli.main({words}))\nprint(cli.main({other}))")
    assert done.returncode == 0, done.stderr
    place = os.path.relpath(record, tmp_path)
    note, validation, test, *others = done.stdout.splitlines()
    assert note == f"{place}: complete, not trained again"
    assert validation.startswith("validation part: F1 ") and test.startswith("test part: F1 ")
    assert others == [record, "0", "1"]
    [refusal] = done.stderr.splitlines()
    assert refusal.startswith("crackutils train: ") and "Permission denied" in refusal


def test_notebooks_pass_in_an_empty_home_that_cant_be_written(tmp_path, without_rights, read_only):
    """A notebook imports matplotlib first, which warns of such a home in the cell's output."""
    home, notebooks = tmp_path / "home", tmp_path / "notebooks"
    for folder in (home, notebooks):
        folder.mkdir()
    shutil.copy(files.ROOT / "notebooks" / "conftest.py", notebooks)
    cell = new_code_cell("import matplotlib.pyplot", execution_count=1)
    nbformat.write(new_notebook(cells=[cell]), notebooks / "a.ipynb")
    read_only(home)
    done = run(*without_rights, sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env",
               "-p", "no:cacheprovider", notebooks, HOME=str(home))
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout and not list(home.iterdir())


def test_what_an_encoding_lacks_is_printed_as_an_escape():
    done = run(sys.executable, "-c", "import crackutils; print('α = β 균열')",
               PYTHONIOENCODING="cp1252")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "\\u03b1 = \\u03b2 \\uade0\\uc5f4\n"
