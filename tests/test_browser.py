"""Notebook 09 in JupyterLab in a real browser: a move of the slider changes what is shown."""

import re

from browser import (
    chromium,
    copy_notebook,
    jupyter_lab,
    needs_chromium,
    open_notebook,
    run_all_cells,
)

from crackutils.files import ROOT

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
