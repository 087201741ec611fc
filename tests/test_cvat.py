"""Predictions go to CVAT as its format "Segmentation mask 1.1", and its exports are data folders.

The format: https://docs.cvat.ai/docs/dataset_management/formats/format-smask
"""

import json
import runpy
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
from miniatures import SIZE, crack, pixels, save
from PIL import Image
from tiny_records import write_record

from crackutils import cli, files, records
from crackutils import data as datasets
from crackutils.cracks.prediction import CrackModel
from crackutils.data.folders import CVAT_LIST
from crackutils.data.samples import DataError
from crackutils.protocol import preset

NAMES = [f"bridge/p{index}" for index in range(6)] + [f"wall {index}" for index in range(6)]
EMPTY = "wall 3"
OBJECT_COLOURS = [(0, 0, 0), (128, 0, 0), (0, 128, 0)]  # Pascal VOC's, as CVAT writes them


def masks_for_cvat(*words) -> None:
    runpy.run_path(files.ROOT / "data" / "masks_for_cvat.py")["main"]([str(word) for word in words])


def mask_of(name: str) -> np.ndarray:
    """The corrected mask; in one photograph nothing is left."""
    return crack(NAMES.index(name)) * (name != EMPTY)


def export(folder: Path, colour=(255, 255, 255)) -> None:
    """What CVAT exports with the images, unpacked: masks in the label's colour, and none of a
    photograph in which nothing is marked."""
    for name in NAMES:
        save(folder / "JPEGImages" / f"{name}.jpg", pixels(NAMES.index(name)))
        mask = mask_of(name)
        if mask.any():
            save(folder / "SegmentationClass" / f"{name}.png",
                 np.array([(0, 0, 0), colour], np.uint8)[mask])
            numbers, _ = scipy.ndimage.label(mask)
            save(folder / "SegmentationObject" / f"{name}.png",
                 np.array(OBJECT_COLOURS, np.uint8)[numbers])
    (folder / CVAT_LIST).parent.mkdir(parents=True)
    (folder / CVAT_LIST).write_text("".join(f"{name}\n" for name in NAMES))
    text = ",".join(map(str, colour))
    (folder / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n"
                                         f"background:0,0,0::\ncrack:{text}::\n")


def samples(folder: Path, **overrides) -> dict:
    dataset = datasets.load(folder, preset("smoke", overrides=overrides), folder.parent / "runs")
    return {sample.name: sample for part in (dataset.train, dataset.validation, dataset.test)
            for sample in part}


def test_predictions_are_written_as_cvat_imports_them(tmp_path):
    for index, name in enumerate(NAMES):
        save(tmp_path / "photographs" / f"{name}.jpg", pixels(index, (40, 56)))
    record = write_record(tmp_path / "records")
    threshold = np.quantile(CrackModel(record, "cpu").predict(pixels(0, (40, 56))), 0.8)
    assert cli.main(["predict", str(tmp_path / "photographs"), str(tmp_path / "out"), "--model",
                     str(record), "--threshold", str(threshold), "--device", "cpu"]) == 0
    masks_for_cvat(tmp_path / "out", tmp_path / "predicted.zip")
    marked = 0
    with zipfile.ZipFile(tmp_path / "predicted.zip") as archive:
        assert archive.read("ImageSets/Segmentation/default.txt").decode().splitlines() == NAMES
        lines = archive.read("labelmap.txt").decode().splitlines()
        assert [line for line in lines if line[0] != "#"] == [
            "background:0,0,0::", "crack:255,255,255::"]  # the line's number is the index
        for name in NAMES:
            classes, objects = (Image.open(archive.open(f"{folder}/{name}.png"))
                                for folder in ("SegmentationClass", "SegmentationObject"))
            assert classes.mode == objects.mode == "L"  # one channel: its values are indices
            mask = np.asarray(Image.open(tmp_path / "out" / f"{name}.jpg.mask.png"))
            assert np.array_equal(np.asarray(classes), mask // 255)
            numbers, count = scipy.ndimage.label(mask, np.ones((3, 3)))
            pairs = {*zip(numbers.reshape(-1).tolist(), np.asarray(objects).reshape(-1).tolist())}
            assert len(pairs) == count + 1 <= 256 and (0, 0) in pairs
            marked += count
    assert marked > len(NAMES)


def test_more_cracks_than_cvat_has_numbers_share_the_last_one():
    script = runpy.run_path(files.ROOT / "data" / "masks_for_cvat.py")
    dots = np.zeros((40, 40), np.uint8)
    dots[::2, ::2] = 1
    objects = script["objects_of"](dots)
    assert np.array_equal(objects > 0, dots > 0) and len(np.unique(objects)) == 256


@pytest.mark.parametrize("results, masks, expected", [
    ([], [], "holds no results of crackutils predict"),
    (["a.jpg", "a.png"], ["a.jpg", "a.png"], "Two photographs are called a without their suffix"),
    (["a.jpg", "b.jpg"], ["a.jpg"], "b.jpg.mask.png is missing"),
    (["a\n.jpg"], ["a\n.jpg"], "CVAT can't list the name")])
def test_what_can_not_be_written_for_cvat_is_said(tmp_path, results, masks, expected):
    (tmp_path / "labelme.json").write_text('{"shapes": []}')  # another program's
    for name in masks:
        save(tmp_path / f"{name}.mask.png", crack(0) * 255)
    for name in results:
        (tmp_path / f"{name}.json").write_text(json.dumps(
            {"photograph": name, "files": {"mask": f"{name}.mask.png"}}))
    with pytest.raises(SystemExit, match=expected):
        masks_for_cvat(tmp_path, tmp_path / "predicted.zip")
    assert not (tmp_path / "predicted.zip").exists()


def test_a_file_that_exists_is_not_replaced(tmp_path):
    (tmp_path / "photographs.zip").write_bytes(b"mine")
    with pytest.raises(SystemExit, match="photographs.zip exists already"):
        masks_for_cvat(tmp_path, tmp_path / "photographs.zip")
    assert (tmp_path / "photographs.zip").read_bytes() == b"mine"


def test_an_export_of_cvat_is_examined_and_trained_on(tmp_path, capsys):
    export(tmp_path / "corrected")
    assert cli.main(["doctor", str(tmp_path / "corrected")]) == 0
    said = capsys.readouterr().out
    assert "12 pairs" in said
    assert f"1 images of {tmp_path}/corrected/JPEGImages show nothing" in said and EMPTY in said
    for name, sample in samples(tmp_path / "corrected").items():
        assert np.array_equal(sample.mask, mask_of(name))
    record = write_record(tmp_path / "records")
    assert cli.main(["train", str(tmp_path / "corrected"), "--protocol", "smoke", "--from",
                     str(record), "--runs", str(tmp_path / "runs"), "--device", "cpu"]) == 0
    made = Path(capsys.readouterr().out.splitlines()[-1])
    assert records.is_complete(made) and made.parent.parent.name == "corrected"


def test_a_label_of_another_colour_is_named_by_the_user(tmp_path):
    export(tmp_path / "corrected", (250, 50, 83))
    with pytest.raises(DataError, match=r"colour \[250, 50, 83\] in"):
        samples(tmp_path / "corrected")
    for name, sample in samples(tmp_path / "corrected", positive=[250, 50, 83]).items():
        assert np.array_equal(sample.mask, mask_of(name))


def test_a_photograph_that_is_not_listed_needs_a_mask(tmp_path):
    export(tmp_path / "corrected")
    save(tmp_path / "corrected" / "JPEGImages" / "late.jpg", pixels(99, SIZE))
    with pytest.raises(DataError, match="no partner of the same name for 1 of .*: images late"):
        samples(tmp_path / "corrected")
