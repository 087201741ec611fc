"""The report and the page of predictions in a real browser, as wide as a phone and a desk."""

import nbformat
import numpy as np
import pandas as pd
import pytest
from browser import chromium, needs_chromium
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from crackutils.cracks import report as cracks_report
from workflow import report

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
