"""A data set larger than memory works: its pixels stay in files."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).with_name("larger_than_memory.py")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """300 pairs of 1024 x 1024, 1,200 MiB decoded, divided by lists."""
    folder = tmp_path_factory.mktemp("large") / "photos"
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    generator = np.random.default_rng(0)
    for index in range(300):
        small = generator.integers(256, size=(32, 32, 3), dtype=np.uint8)
        Image.fromarray(small).resize((1024, 1024)).save(folder / "images" / f"{index}.jpg")
        mask = (generator.random((32, 32)) < 0.05).astype(np.uint8) * 255
        Image.fromarray(mask).resize((1024, 1024), 0).save(folder / "masks" / f"{index}.png")
    for name, numbers in (("train", range(284)), ("val", range(284, 292)),
                          ("test", range(292, 300))):
        (folder / f"{name}.txt").write_text("".join(f"{number}\n" for number in numbers))
    return folder


def start(pictures, how):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run([sys.executable, str(SCRIPT), str(pictures), str(pictures.parent / how),
                           how], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_pictures_that_do_not_fit_are_trained_on_and_evaluated(pictures):
    done = start(pictures, "mapped")
    assert "decoded: 1200 MiB, room: 600 MiB\n" in done.stdout, done.stderr
    assert done.returncode == 0 and "complete: True" in done.stdout, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_the_limit_bites_where_pictures_are_read_whole(pictures):
    done = start(pictures, "all")
    assert done.returncode == 1 and "MemoryError" in done.stderr
