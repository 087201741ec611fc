"""The report's index, read as a browser reads it."""

import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from workflow import report

TABLE = """loss,weight,threshold,precision,source,precision_published
mse,,0.4,0.91234,runs/x,0.949
"""


class Elements(HTMLParser):
    """Every start tag with its attributes, and the text between them."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def links(self, tag: str, attribute: str, folder: Path) -> list[Path]:
        """The files that an attribute of the tags refers to."""
        files = []
        for name, attributes in self.tags:
            if name == tag:
                address = urlsplit(attributes[attribute])
                assert not address.scheme and not address.query and not address.fragment
                path = os.fsdecode(unquote_to_bytes(address.path))
                files.append(Path(os.path.normpath(folder / path)))
        return files


def write_inputs(dataset: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Two notebooks, a table and a figure below a data set's folder."""
    notebooks = []
    for name in ("01_data", "04_train_cracks-bce_dice"):
        path = dataset / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(new_notebook(cells=[new_markdown_cell(f"# Title of {name}")]), path)
        notebooks.append(path)
    table, figure = dataset / "tables" / "table1.csv", dataset / "figures" / "curve.png"
    for path, content in ((table, TABLE), (figure, "")):
        path.parent.mkdir()
        path.write_text(content)
    return notebooks, [table], [figure]


def test_the_index_links_every_page_and_shows_tables_and_figures(tmp_path):
    notebooks, tables, figures = write_inputs(tmp_path / "synthetic")
    index = report.write_report(tmp_path / "report", "A & B", notebooks, tables, figures)
    page = Elements(index.read_text(encoding="utf-8"))
    pages = [index.parent / f"{path.stem}.html" for path in notebooks]
    assert page.links("a", "href", index.parent) == [
        *pages, *figures, index.parent / report.REFERENCE]
    assert page.links("img", "src", index.parent) == figures
    for path, converted in zip(notebooks, pages):
        assert f"Title of {path.stem}" in converted.read_text(encoding="utf-8")
    assert "A & B" in page.text and "synthetic: table1" in page.text
    assert page.text.index("0.949") < page.text.index("0.912")
    assert "0.91234" not in page.text and "runs/x" not in page.text


def test_a_page_shows_equations_and_fetches_nothing(tmp_path):
    loss = "$$L = \\frac{1}{N} \\sum_i e_i^2,\n\\quad N > 0$$"
    cells = [new_markdown_cell(f"The share $q$ and\n{loss}"),
             new_markdown_cell("From $p$\nto $y$."), new_code_cell("price = '$1$'")]
    notebook = tmp_path / "equations.ipynb"
    nbformat.write(new_notebook(cells=cells), notebook)
    text = report.convert(notebook, tmp_path).read_text(encoding="utf-8")
    page = Elements(text)
    equations = [attributes["display"] for tag, attributes in page.tags if tag == "math"]
    assert equations == ["inline", "block", "inline", "inline"]
    assert "mfrac" in [tag for tag, _ in page.tags] and "$1$" in page.text
    assert "\\frac" not in text and "$q$" not in text
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe")]


@pytest.mark.parametrize("name", [
    "walls #1", "a?b", "50%20", "c:d", "e&lt;f", "g'h", 'i"><script>', 'j" onerror="alert(1)',
    "벽 é", os.fsdecode(b"k\xff")], ids=ascii)
def test_any_name_of_a_data_folder_keeps_its_figures_and_injects_nothing(tmp_path, name):
    if os.name == "nt":
        pytest.skip("Windows forbids most of these names")
    notebooks, tables, figures = write_inputs(tmp_path / name)
    index = report.write_report(tmp_path / "report", "title", notebooks[:1], tables, figures)
    page = Elements(index.read_text(encoding="utf-8"))
    assert page.links("img", "src", index.parent) == figures
    assert page.links("a", "href", index.parent)[1:-1] == figures
    assert "script" not in [tag for tag, _ in page.tags]
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
