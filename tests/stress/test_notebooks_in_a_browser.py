"""In JupyterLab in a real browser, 1280 px wide: every notebook run at `smoke`, and the slider."""

import re
import subprocess
import sys

import pandas as pd
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
SLIDER = ROOT / "notebooks" / "09_your_photographs.ipynb"
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


STDERR = """[...document.querySelectorAll('[data-mime-type="application/vnd.jupyter.stderr"]')]
            .map(output => output.innerText)"""
# the slider's picture as a hash of its bytes, and the text above it
STATE = """(async () => {
    const image = document.querySelector("img.widget-image");
    const bytes = await (await fetch(image.src)).arrayBuffer();
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    return [image.complete && image.naturalWidth > 0, hash.join(" "),
            document.querySelector(".widget-html-content").innerText] })()"""


def state(page) -> tuple[str, dict[str, float]]:
    """The picture's hash, and what the text says in numbers."""
    complete, picture, text = page.evaluate(STATE)
    assert complete
    names = ("precision", "recall", "F1")
    return picture, {name: float(re.search(rf"{name} (\d\.\d+)", text)[1]) for name in names}


def changed(page, before) -> tuple[str, dict[str, float]]:
    """The state when picture and text have both changed."""
    page.wait_for(f"""(async () => {{
        const [complete, picture, text] = await {STATE};
        return complete && picture != {before[0]!r}
            && !text.includes("precision {before[1]['precision']:.3f}") }})()""")
    return state(page)


@needs_chromium
def test_a_move_of_the_slider_changes_mask_precision_and_recall(tmp_path):
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    copy_notebook(SLIDER, notebooks, {"runs": str(tmp_path / "runs")})
    with jupyter_lab(tmp_path, notebooks) as address, chromium(tmp_path / "profile") as page:
        open_notebook(page, address(SLIDER.name))
        run_all_cells(page)
        page.wait_for("document.querySelector('img.widget-image')?.naturalWidth")
        first = state(page)
        page.drag(".noUi-handle", -150)
        lower = changed(page, first)
        assert lower[1]["recall"] > first[1]["recall"]
        assert lower[1]["precision"] < first[1]["precision"]
        page.evaluate("[...document.querySelectorAll('.widget-toggle-buttons button')]"
                      ".find(button => button.innerText == 'mse').click()")
        changed(page, lower)
        reading = page.evaluate("document.querySelector('.widget-readout').innerText")
        assert reading == "0.390"  # the network's own threshold
        printed = page.evaluate(STDERR)  # an error in a move of the slider appears here
        assert [text for text in printed if "Traceback" in text or "Error" in text] == []


@needs_chromium
def test_the_moves_of_the_slider_are_measured_in_the_kernel_and_in_a_browser(tmp_path):
    subprocess.run([sys.executable, "benchmarks/slider.py", "--moves", "3", "--out", str(tmp_path)],
                   cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    table = pd.read_csv(tmp_path / "slider.csv").set_index("measured")
    assert (table["moves"] == 3).all()
    assert 0 < table.loc["in the kernel", "median_ms"] < table.loc["the whole move", "median_ms"]
