"""In a real browser: the slider of notebook 09 in JupyterLab, and the pages on a phone."""

import re

import nbformat
import numpy as np
import pandas as pd
import pytest
from browser import (
    chromium,
    copy_notebook,
    jupyter_lab,
    needs_chromium,
    open_notebook,
    run_all_cells,
)
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from crackutils.cracks import report as cracks_report
from crackutils.files import ROOT
from workflow import report

NOTEBOOK = ROOT / "notebooks" / "09_your_photographs.ipynb"
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
            && !text.includes("precision {before[1]['precision']:.3f}") }})()""", 20)
    return state(page)


@needs_chromium
def test_a_move_of_the_slider_changes_mask_precision_and_recall(tmp_path):
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    copy_notebook(NOTEBOOK, notebooks, {"runs": str(tmp_path / "runs")})
    with jupyter_lab(tmp_path, notebooks) as address, chromium(tmp_path / "profile") as page:
        open_notebook(page, address(NOTEBOOK.name))
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
        assert page.evaluate("document.querySelectorAll('.jp-mod-error, "
                             "[data-mime-type=\"application/vnd.jupyter.stderr\"]').length") == 0


# code, tables and pictures that reach beyond the window and that nobody can move
CUT_OFF = """[...document.querySelectorAll("pre, table, img")].filter(box => {
    let frame = box;
    while (frame && !["auto", "scroll"].includes(getComputedStyle(frame).overflowX))
        frame = frame.parentElement;
    return !frame && box.getBoundingClientRect().left + box.scrollWidth > innerWidth
}).map(box => box.innerText)"""
LONG = "a_name_that_has_no_place_to_break_" * 4


def report_pages(folder) -> list:
    """The report of a table, a figure and a notebook that are all wider than a phone."""
    figure = folder / "synthetic" / "figures" / "curve.png"
    table = folder / LONG / "tables" / "table1.csv"
    notebook = folder / "synthetic" / "notebooks" / "01_data.ipynb"
    for path in (figure, table, notebook):
        path.parent.mkdir(parents=True)
    Image.fromarray(np.zeros((900, 1400), np.uint8)).save(figure)
    columns = ["loss", "weight", "threshold", "precision", "precision_published", "recall",
               "recall_published", "accuracy", "accuracy_published", "f1_score"]
    frame = pd.DataFrame([["squared_balanced_step", *[0.123] * 9]], columns=columns)
    frame.to_csv(table, index=False)
    outputs = [new_output("stream", name="stdout", text="a sentence of many words " * 9),
               new_output("execute_result", {"text/html": frame.to_html(), "text/plain": ""},
                          execution_count=1)]
    cells = [new_markdown_cell("# Title\n\n|" + " a word |" * 12 + "\n|" + "--|" * 12),
             new_code_cell("number = 1  # " + "word " * 17, outputs=outputs, execution_count=1)]
    nbformat.write(new_notebook(cells=cells), notebook)
    index = report.write_report(folder / "report", "Both papers", [notebook], [table], [figure])
    return [index, index.parent / "01_data.html"]


def photographs_page(folder) -> list:
    """The page of one photograph with cracks and one that can't be read, in a long folder."""
    crack = {"area_px": 123, "length_mm": 1234.5, "greatest_width_px": 12.3,
             "greatest_width_mm": 1.23, "greatest_width_uncertainty_mm": 0.1234}
    entry = {"photograph": f"{LONG}.jpg", "size": [4032, 3024], "note": "", "cracks": [crack],
             "files": {"overlay": "a.jpg", "mask": "a.png", "thumbnail": "t.jpg"}}
    page = folder / "index.html"
    page.write_bytes(cracks_report.page(
        [entry, entry | {"cracks": []}], {"b": f"{LONG}/b.jpg can't be read: replace it."},
        f"Model {LONG}, threshold 0.88."))
    return [page]


@needs_chromium
@pytest.mark.parametrize("pages", [report_pages, photographs_page])
def test_pages_fit_a_phone_and_a_desk(tmp_path, pages):
    with chromium(tmp_path / "profile") as page:
        for path in pages(tmp_path):
            for width, phone in ((390, True), (1280, False)):
                page.resize(width, 844, phone)
                page.open(path.as_uri())
                page.wait_for("document.readyState == 'complete'")
                widths = page.evaluate("[innerWidth, document.documentElement.scrollWidth]")
                assert widths[0] == width and widths[1] <= width, path
                assert page.evaluate(CUT_OFF) == []
