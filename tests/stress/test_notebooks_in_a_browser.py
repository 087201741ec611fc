"""Every notebook opened and run at `smoke` in JupyterLab, 1280 px wide, in a real browser."""

import re
import sys

import pytest

from crackutils.files import ROOT

sys.path.append(str(ROOT / "tests"))
from browser import (  # noqa: E402
    chromium,
    copy_notebook,
    jupyter_lab,
    needs_chromium,
    open_notebook,
    run_all_cells,
)

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
RAW = re.compile(r"<Figure size|<Axes|\[<matplotlib| at 0x")
ERRORS = """jupyterapp.shell.currentWidget.content.widgets.filter(cell => cell.model.type == "code")
    .flatMap(cell => cell.model.outputs.toJSON()).filter(output => output.output_type == "error")
    .map(output => output.evalue)"""
NOT_RUN = """jupyterapp.shell.currentWidget.content.widgets.filter(cell =>
    cell.model.type == "code" && cell.model.sharedModel.source.trim()
    && !cell.model.executionCount).map(cell => cell.model.sharedModel.source)"""
OUTPUTS = "[...document.querySelectorAll('.jp-NotebookPanel .jp-OutputArea-output')]"
# what scrolls sideways: outputs and text cells, and boxes within them that can
TOO_WIDE = """[...document.querySelectorAll(
    '.jp-NotebookPanel .jp-OutputArea-output, .jp-NotebookPanel .jp-MarkdownOutput')]
    .flatMap(area => [area, ...[...area.querySelectorAll('*')].filter(
        box => ['auto', 'scroll'].includes(getComputedStyle(box).overflowX))])
    .filter(area => area.scrollWidth > area.clientWidth)
    .map(area => `${area.scrollWidth} > ${area.clientWidth} px: ${area.innerText.slice(0, 200)}`)"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A page, and the function that gives a notebook's address in JupyterLab."""
    folder = tmp_path_factory.mktemp("lab")
    notebooks = folder / "notebooks"
    notebooks.mkdir()
    for path in NOTEBOOKS:
        copy_notebook(path, notebooks, {"runs": str(folder / "runs")})
    with jupyter_lab(folder, notebooks) as address, chromium(folder / "profile") as page:
        yield page, address


@needs_chromium
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_in_jupyterlab_and_fits_its_window(lab, path):
    page, address = lab
    open_notebook(page, address(path.name))
    run_all_cells(page)
    assert page.evaluate(ERRORS) == []
    assert page.evaluate(NOT_RUN) == []
    texts = page.evaluate(f"{OUTPUTS}.map(output => output.innerText)")
    assert texts and [text for text in texts if RAW.search(text)] == []
    assert page.evaluate(TOO_WIDE) == []
    page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")  # ends the kernel
