"""The executed notebooks as HTML pages, and an index page with the tables and figures."""

import html
import os
import re
from pathlib import Path
from urllib.parse import quote

import nbformat
import pandas as pd
from latex2mathml import converter as latex2mathml
from nbconvert import HTMLExporter

from crackutils.data.samples import printable
from crackutils.papers.crack_tables import paper_beside_ours

# the tables that a notebook writes
TABLES = {"05_threshold_sweeps": "table*.csv", "07_drivable_area": "iou_table*.csv"}

REFERENCE = "reference/crackutils.html"  # which pdoc writes
# a wide table scrolls by itself, so that the page fits a phone
STYLE = """:root {color-scheme: light dark}
body {font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem}
h1, h3, figcaption {overflow-wrap: anywhere}
.table {overflow-x: auto} table {border-collapse: collapse; margin: 1rem 0}
th, td {padding: .2rem .7rem; text-align: right; white-space: nowrap}
td:first-child, th:first-child {text-align: left} th {border-bottom: 1px solid #999}
figure {display: inline-block; margin: .5rem 0; vertical-align: top}
figure img {width: 28rem; max-width: 100%; height: auto; background: #fff}"""

# a notebook's page without nbconvert's scripts, which a browser would fetch from the network
TEMPLATE = """{% extends "lab/index.html.j2" %}{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}{% block html_head_js_mermaidjs %}{% endblock %}"""
EQUATION = re.compile(r"\$\$(?P<display>.+?)\$\$|\$(?P<inline>[^$\n]+)\$", re.DOTALL)
# of a notebook's page: code that is wider than a phone can be moved, nbconvert cuts it off
CODE_STYLE = "<style>.jp-InputArea-editor {overflow-x: auto}</style>"


def write_report(folder: Path, title: str, notebooks: list[Path], tables: list[Path],
                 figures: list[Path]) -> Path:
    """Convert `notebooks` into `folder`, write its `index.html`, and return the path of that.

    Pages of an earlier call are deleted. Figures stay where they are, the index links to them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for page in folder.glob("*.html"):
        page.unlink()
    pages = [convert(notebook, folder) for notebook in notebooks]
    links = "\n".join(f'<li><a href="{address(page, folder)}">{html.escape(page.stem)}</a></li>'
                      for page in pages)
    shown_tables = "\n".join(map(table_html, tables))
    shown_figures = "\n".join(figure_html(figure, folder) for figure in figures)
    index = folder / "index.html"
    index.write_text(f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{STYLE}</style></head><body>
<h1>{html.escape(title)}</h1>
<h2>Notebooks</h2><ol>
{links}
</ol>
<h2>Tables</h2><p>The papers' figures and ours. The table files beside the records have more
columns: the weight and threshold chosen on the validation part, and the source of each row.</p>
{shown_tables}
<h2>Figures</h2>
{shown_figures}
<h2>Reference</h2><p><a href="{REFERENCE}">The functions that the notebooks call.</a></p>
</body></html>
""", encoding="utf-8", errors="replace")  # a folder's name need not be text
    return index


def convert(notebook: Path, folder: Path) -> Path:
    """Write an executed notebook as HTML into `folder`; returns the page's path."""
    content = nbformat.read(notebook, as_version=4)
    for cell in content.cells:
        if cell.cell_type == "markdown":
            cell.source = EQUATION.sub(mathml, cell.source)
    exporter = HTMLExporter(raw_template=TEMPLATE)
    body, _ = exporter.from_notebook_node(content, resources={"metadata": {"name": notebook.stem}})
    page = folder / f"{notebook.stem}.html"
    page.write_text(body.replace("</head>", f"{CODE_STYLE}</head>", 1), encoding="utf-8")
    return page


def mathml(equation: re.Match) -> str:
    """An equation in LaTeX as MathML, which browsers show without a network."""
    if equation["display"] is None:
        return latex2mathml.convert(equation["inline"])
    return latex2mathml.convert(equation["display"], display="block")


def address(path: Path, folder: Path) -> str:
    """The relative address of a file, for a link on a page in `folder`.

    Percent-encoded, so that any file name may stand in an HTML attribute.
    """
    return quote(os.fsencode(Path(os.path.relpath(path, folder)).as_posix()))


def table_html(path: Path) -> str:
    """A table with its data set's name: the columns for readers."""
    table = paper_beside_ours({"ours": pd.read_csv(path)}).to_html(
        index=False, na_rep="–", border=0, float_format="{:.3f}".format)
    title = html.escape(f"{path.parent.parent.name}: {path.stem}")
    return f'<h3>{title}</h3>\n<div class="table">{table}</div>'


def figure_html(figure: Path, folder: Path) -> str:
    """A figure that links to its file."""
    link, name = address(figure, folder), html.escape(figure.stem)
    return (f'<figure><a href="{link}"><img src="{link}" alt="{name}"></a>'
            f"<figcaption>{name}</figcaption></figure>")


def tables_of(notebooks: list[Path]) -> list[Path]:
    """The tables that these executed notebooks have written."""
    return [table for notebook in notebooks if notebook.stem in TABLES
            for table in sorted((notebook.parents[1] / "tables").glob(TABLES[notebook.stem]))]


def folders_of(notebooks: list[Path]) -> list[Path]:
    """The folders of the data sets that these executed notebooks are about."""
    return list(dict.fromkeys(notebook.parents[1] for notebook in notebooks))


def conclude(notebooks: list[str]) -> None:
    """Print the tables, and where everything lies."""
    paths = [Path(notebook).resolve() for notebook in notebooks]
    for table in tables_of(paths):
        print(f"\n{printable(table.parent.parent.name)}: {table.stem}")
        print(paper_beside_ours({"ours": pd.read_csv(table)}).to_string(
            index=False, na_rep="–", float_format="{:.3f}".format))
    folders = folders_of(paths)
    print(f"\nreport    {printable(str(folders[0].parent / 'report' / 'index.html'))}")
    for folder in folders:
        for name in ("tables", "figures", "notebooks", "records"):
            print(f"{name:9} {printable(str(folder / name))}")


def main(job) -> None:
    """Write the report of a job of the Snakefile."""
    notebooks = sorted(map(Path, job.input.notebooks),
                       key=lambda path: (path.stem[:2], path.stem == "07_drivable_area"))
    folder = Path(job.output[0]).parent
    figures = [figure for place in folders_of(notebooks)
               for figure in sorted((place / "figures").glob("*.png"))]
    write_report(folder, f"Both papers at protocol {folder.parent.name}", notebooks,
                 tables_of(notebooks), figures)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821 (Snakemake provides it)
