"""The executed notebooks as browsable HTML, with an index that shows the main tables."""

import html
import os
from pathlib import Path

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
    """Convert `notebooks` into `folder` and write its `index.html`; returns the index."""
    folder.mkdir(parents=True, exist_ok=True)
    for page in folder.glob("*.html"):  # of an earlier call
        page.unlink()
    pages = [convert(notebook, folder) for notebook in notebooks]
    links = "\n".join(f'<li><a href="{page.name}">{html.escape(page.stem)}</a></li>'
                      for page in pages)
    shown = "\n".join(f"<h3>{html.escape(f'{table.parent.parent.name}: {table.stem}')}</h3>\n"
                      f"{table_html(table)}" for table in tables)
    pictures = "\n".join(picture_html(figure, folder) for figure in figures)
    index = folder / "index.html"
    index.write_text(f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>
<style>{STYLE}</style></head><body>
<h1>{html.escape(title)}</h1>
<h2>Notebooks</h2><ol>
{links}
</ol>
<h2>Tables</h2><p>The papers' figures and ours. The files beside the records hold more
columns: the choice on the validation part, and where each row came from.</p>
{shown}
<h2>Figures</h2>
{pictures}
</body></html>
""", encoding="utf-8")
    return index


def convert(notebook: Path, folder: Path) -> Path:
    """One executed notebook to HTML."""
    body, _ = HTMLExporter().from_notebook_node(nbformat.read(notebook, as_version=4),
                                                resources={"metadata": {"name": notebook.stem}})
    page = folder / f"{notebook.stem}.html"
    page.write_text(body, encoding="utf-8")
    return page


def table_html(path: Path) -> str:
    """A table's columns for the eye."""
    return paper_beside_ours(pd.read_csv(path)).to_html(index=False, na_rep="", border=0,
                                                        float_format="{:.3f}".format)


def picture_html(figure: Path, folder: Path) -> str:
    """A figure where it lies, by a relative link."""
    link = Path(os.path.relpath(figure, folder)).as_posix()
    return (f'<figure><a href="{link}"><img src="{link}" alt="{html.escape(figure.stem)}"></a>'
            f"<figcaption>{html.escape(figure.stem)}</figcaption></figure>")
