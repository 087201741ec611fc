"""Notebook 09 on folders in which there is little to find."""

import numpy as np
import papermill
import pytest
from PIL import Image

from crackutils import files


def folder(place, cracks):
    """A folder of plain grey pictures; those in `cracks` have a crack in the mask alone."""
    for number in range(6):
        mask = np.zeros((64, 64), np.uint8)
        mask[30:33] = 255 * (number in cracks)
        for kind, picture in (("images", np.full((64, 64, 3), 128, np.uint8)), ("masks", mask)):
            (place / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(place / kind / f"p{number}.png")
    return files.for_papermill(place)


def executed(tmp_path, **given):
    return papermill.execute_notebook(
        files.ROOT / "notebooks" / "09_your_photographs.ipynb", tmp_path / "09.ipynb",
        {"runs": files.for_papermill(tmp_path / "runs"), **given}, progress_bar=False, cwd=tmp_path)


def test_the_notebook_runs_where_nothing_is_found(tmp_path):
    notebook = executed(tmp_path, data=folder(tmp_path / "set", cracks=range(6)))
    answer = notebook.cells[-1].outputs[0]["data"]["text/markdown"]
    assert "finds 0% of the crack pixels" in answer and "It marks 0 connected pieces" in answer
    assert "By the width of the label it finds 0% (3 to 5 px)" in answer and "nan" not in answer


def test_the_notebook_says_that_no_scored_picture_has_a_crack(tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="none of the 1 pictures to be "
                                                                "scored has a crack"):
        executed(tmp_path, data=folder(tmp_path / "set", cracks=[5]), limit=1)
