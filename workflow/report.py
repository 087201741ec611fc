"""The executed notebooks as HTML pages, and an index page with the tables and figures."""

import html
import os
from pathlib import Path
from urllib.parse import quote

import nbformat
import pandas as pd
from nbconvert import HTMLExporter

from crackutils.papers.crack_tables import paper_beside_ours

STYLE = """body {font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem}
table {border-collapse: collapse; margin: 1rem 0} th, td {padding: .2rem .7rem; text-align: right}
th {border-bottom: 1px solid #999} td:first-child, th:first-child {text-align: left}
figure {display: inline-block; margin: .5rem; vertical-align: top} figure img {max-width: 28rem}
figcaption {color: #555}"""


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
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>
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
</body></html>
""", encoding="utf-8", errors="replace")  # a folder's name need not be text
    return index


def convert(notebook: Path, folder: Path) -> Path:
    """Write an executed notebook as HTML into `folder`; returns the page's path."""
    body, _ = HTMLExporter().from_notebook_node(nbformat.read(notebook, as_version=4),
                                                resources={"metadata": {"name": notebook.stem}})
    page = folder / f"{notebook.stem}.html"
    page.write_text(body, encoding="utf-8")
    return page


def address(path: Path, folder: Path) -> str:
    """The relative address of a file, for a link on a page in `folder`.

    Percent-encoded, so that any file name may stand in an HTML attribute.
    """
    return quote(os.fsencode(Path(os.path.relpath(path, folder)).as_posix()))


def table_html(path: Path) -> str:
    """A table with its data set's name: the columns for readers."""
    table = paper_beside_ours(pd.read_csv(path)).to_html(index=False, na_rep="", border=0,
                                              float_format="{:.3f}".format)
    return f"<h3>{html.escape(f'{path.parent.parent.name}: {path.stem}')}</h3>\n{table}"


def figure_html(figure: Path, folder: Path) -> str:
    """A figure that links to its file."""
    link, name = address(figure, folder), html.escape(figure.stem)
    return (f'<figure><a href="{link}"><img src="{link}" alt="{name}"></a>'
            f"<figcaption>{name}</figcaption></figure>")
