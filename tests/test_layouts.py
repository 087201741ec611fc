"""Published layouts: recognised by their folders, read to the exact pixels, refused in words."""

import shutil
from typing import get_args

import miniatures
import numpy as np
import pytest
import scipy.io
from miniatures import MINIATURES, SIZE, crack, pixels, save
from PIL import Image

from crackutils import data as datasets
from crackutils.data import layouts
from crackutils.data.layouts import recognise
from crackutils.data.samples import DataError
from crackutils.protocol import Layout, preset

CRACKS, ROADS = preset("smoke"), preset("smoke", "roads", {"framing": "tiles"})
PARTS = {"deepcrack": (7, 1, 3), "crack500": (4, 2, 3), "bdd100k": (7, 1, 2),
         "bdd100k_legacy": (7, 1, 2), "camvid": (5, 2, 3)}


def load(folder, protocol=CRACKS):
    return datasets.load(folder, protocol, folder.parent / "runs")


def samples(dataset) -> dict:
    return {sample.name: sample for part in (dataset.train, dataset.validation, dataset.test)
            for sample in part}


@pytest.mark.parametrize("name", MINIATURES)
def test_each_layout_is_recognised_and_read_to_the_exact_pixels(tmp_path, name):
    masks = MINIATURES[name](tmp_path / "set")
    dataset = load(tmp_path / "set", ROADS)
    found = samples(dataset)
    assert dataset.layout == name and found.keys() == masks.keys()
    for stem, mask in masks.items():
        assert np.array_equal(found[stem].mask, mask), stem
    counts = tuple(len(getattr(dataset, part)) for part in ("train", "validation", "test"))
    assert counts == PARTS.get(name, (len(masks) - 3, 1, 2))


def test_images_are_turned_as_their_exif_orientation_says(tmp_path):
    miniatures.metu(tmp_path / "set")
    found = samples(load(tmp_path / "set"))
    for name, turns in (("004", -1), ("005", -1), ("006", 2)):
        stored = np.asarray(Image.open(next((tmp_path / "set" / "rgb").glob(f"{name}.*"))))
        assert np.array_equal(found[name].image, np.rot90(stored, turns))


@pytest.mark.parametrize("threshold", [96, 128, 160])
def test_grey_masks_become_classes_at_the_protocols_threshold(tmp_path, threshold):
    miniatures.metu(tmp_path / "set")
    levels = np.zeros(SIZE, np.uint8)
    levels[:8] = np.random.default_rng(0).integers(256, size=(8, SIZE[1]))  # a soft third
    save(tmp_path / "set" / "BW" / "001.jpg", levels, quality=95)
    decoded = np.asarray(Image.open(tmp_path / "set" / "BW" / "001.jpg"))
    protocol = preset("smoke", overrides={"mask_threshold": threshold})
    assert np.array_equal(samples(load(tmp_path / "set", protocol))["001"].mask,
                          decoded >= threshold)


MASKS = {  # ways to write the same mask
    "bilevel": lambda path, mask: Image.fromarray(mask.astype(bool)).save(path),
    "palette": lambda path, mask: save(path, mask * 255, "P"),
    "colour": lambda path, mask: save(path, np.repeat(mask[..., None] * np.uint8(255), 3, 2)),
    "opaque": lambda path, mask: save(path, mask * 255, "RGBA"),
    "white on transparent": lambda path, mask: save(path, np.dstack(
        [np.full((*mask.shape, 3), 255, np.uint8), mask * 255])),
    "grey with alpha": lambda path, mask: save(path, mask * 255, "LA"),
    "16 bits": lambda path, mask: save(path, mask.astype(np.uint16) * 65535),
    "16 bits, to 255": lambda path, mask: save(path, mask.astype(np.uint16) * 255)}


@pytest.mark.parametrize("write", MASKS.values(), ids=MASKS)
def test_a_mask_may_be_written_in_any_of_these_ways(tmp_path, write):
    miniatures.plain(tmp_path / "set")
    write(tmp_path / "set" / "masks" / "p4.png", crack(4))
    assert np.array_equal(samples(load(tmp_path / "set"))["p4"].mask, crack(4))


def test_a_photograph_of_16_bits_is_scaled_to_8_bits_not_clipped(tmp_path):
    miniatures.plain(tmp_path / "set")
    grey = pixels(4)[..., 0]
    (tmp_path / "set" / "images" / "p4.jpg").unlink()
    save(tmp_path / "set" / "images" / "p4.png", grey.astype(np.uint16) * 257)
    assert np.array_equal(samples(load(tmp_path / "set"))["p4"].image,
                          np.repeat(grey[..., None], 3, 2))


def test_lists_may_hold_paths_of_any_system(tmp_path):
    miniatures.plain(tmp_path / "set")
    for part, lines in (("train", "images\\p0.jpg\r\nimages\\p1.jpg\r\n"), ("val", "p2\n"),
                        ("test", "images/p3.jpg\n")):
        write(tmp_path / "set" / f"{part}.txt", lines)
    dataset = load(tmp_path / "set")
    assert [part.names for part in (dataset.train, dataset.validation, dataset.test)] == [
        ["p0", "p1"], ["p2"], ["p3"]]


def test_a_folder_that_matches_two_layouts_is_refused_until_one_is_chosen(tmp_path):
    masks = miniatures.bdd100k(tmp_path / "set")
    miniatures.bdd100k_legacy(tmp_path / "set")
    with pytest.raises(DataError, match="fits the layouts bdd100k and bdd100k_legacy: say which"):
        load(tmp_path / "set", ROADS)
    for name in ("bdd100k", "bdd100k_legacy"):
        dataset = load(tmp_path / "set", preset("smoke", "roads", {"layout": name,
                                                                   "framing": "tiles"}))
        assert dataset.layout == name
        assert all(np.array_equal(one.mask, masks[one.name]) for one in dataset.test)


def test_a_chosen_layout_has_no_effect_on_a_folder_that_matches_one_layout(tmp_path):
    protocol = preset("smoke", overrides={"layout": "bdd100k_legacy"})
    miniatures.metu(tmp_path / "set")
    assert load(tmp_path / "set", protocol).layout == "metu"
    assert datasets.load("synthetic", protocol, tmp_path / "runs").layout == "plain"


def test_every_layout_can_be_asked_for():
    assert get_args(Layout) == ("auto", *layouts.LAYOUTS)


@pytest.mark.parametrize("layout, left_out", [
    ("crackforest", "2 of 12 images in {set}/image have no mask in {set}/groundTruth and are left "
     "out: 201, 329.\n"),
    ("bdd100k", "1 of 9 images in {set}/images/100k/train have no mask in "
     "{set}/labels/drivable/masks/train and are left out: unlabelled.\n"),
    ("plain", "")])
def test_images_without_masks_are_counted_and_named_once(tmp_path, capsys, layout, left_out):
    MINIATURES[layout](tmp_path / "set")
    for _ in range(2):
        load(tmp_path / "set", ROADS)
    assert capsys.readouterr().out == left_out.format(set=tmp_path / "set")


def test_the_error_points_at_a_subfolder_that_matches_a_layout(tmp_path):
    miniatures.metu(tmp_path / "unpacked" / "set")
    with pytest.raises(DataError, match="in no known layout, but in it are set: give one"):
        recognise(tmp_path / "unpacked")


def test_the_subset_is_drawn_by_its_seed(tmp_path):
    miniatures.bdd100k(tmp_path / "set")

    def names(seed, part="train"):
        protocol = preset("smoke", "roads", {"subset": [3, 1], "subset_seed": seed})
        return [one.name for one in getattr(load(tmp_path / "set", protocol), part)]

    assert len(names(0)) == 3 and len(names(0, "test")) == 1 == len(names(0, "validation"))
    assert names(0) == names(0) and len({tuple(names(seed)) for seed in range(5)}) > 1
    assert not set(names(3)) & set(names(3, "validation"))


def write(path, content: bytes | str) -> None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def cut(path, share: float = 0.6) -> None:
    path.write_bytes(path.read_bytes()[:int(len(path.read_bytes()) * share)])


def mat(path, content: dict) -> None:
    scipy.io.savemat(path, content)


def width_maps(folder) -> None:
    for index in range(10):
        save(folder / "widths" / f"p{index}.png", np.zeros(SIZE, np.uint16))


# layout, harm to the miniature, what the sentence names
DAMAGED = {
    "no folder": ("plain", lambda f: shutil.rmtree(f), "No data folder"),
    "a file": ("plain", lambda f: (shutil.rmtree(f), f.touch()), "No data folder"),
    "nothing in it": ("plain", lambda f: (shutil.rmtree(f), f.mkdir()), "no known layout"),
    "no masks": ("plain", lambda f: shutil.rmtree(f / "masks"), "no known layout"),
    "misspelt folder": ("metu", lambda f: (f / "BW").rename(f / "BWs"), "no known layout"),
    "empty images": ("plain", lambda f: [one.unlink() for one in (f / "images").iterdir()],
                     "found 0"),
    "image alone": ("plain", lambda f: (f / "masks" / "p3.png").unlink(), " p3."),
    "mask alone": ("plain", lambda f: (f / "images" / "p3.jpg").unlink(), " p3."),
    "two of a stem": ("plain", lambda f: save(f / "images" / "p3.png", pixels(0)),
                      "p3.jpg and p3.png"),
    "swapped folders' ends": ("metu", lambda f: (f / "rgb" / "001.jpg").rename(
        f / "rgb" / "1.jpg"), "001"),
    "too few": ("plain", lambda f: [(f / kind / f"p{index}{ending}").unlink()
                                    for kind, ending in (("images", ".jpg"), ("masks", ".png"))
                                    for index in range(7)], "too few"),
    "image cut short": ("plain", lambda f: cut(f / "images" / "p3.jpg"), "p3.jpg"),
    "image cut in its header": ("plain", lambda f: cut(f / "images" / "p3.jpg", 0.02), "p3.jpg"),
    "image empty": ("plain", lambda f: write(f / "images" / "p3.jpg", b""), "p3.jpg"),
    "image is text": ("plain", lambda f: write(f / "images" / "p3.jpg", "hello"), "p3.jpg"),
    "image is a page": ("plain", lambda f: write(f / "images" / "p3.jpg", "<html>log in</html>"),
                        "p3.jpg"),
    "mask cut short": ("plain", lambda f: cut(f / "masks" / "p3.png"), "p3.png"),
    "mask of noise": ("plain", lambda f: write(f / "masks" / "p3.png", bytes(range(256))),
                      "p3.png"),
    "mask's checksum": ("plain", lambda f: write(f / "masks" / "p3.png", (
        f / "masks" / "p3.png").read_bytes().replace(b"IDAT", b"IDAT\0\0", 1)), "p3.png"),
    "mask too small": ("plain", lambda f: save(f / "masks" / "p3.png", crack(3)[:-1] * 255),
                       "p3.png is (23, 32)"),
    "mask turned": ("plain", lambda f: save(f / "masks" / "p3.png", crack(3).T * 255), "p3.png"),
    "mask of 0 and 1": ("plain", lambda f: save(f / "masks" / "p3.png", crack(3)), "p3.png"),
    "mask too grey": ("plain", lambda f: save(f / "masks" / "p3.png", crack(3) * 90), "p3.png"),
    "widths too small": ("plain", lambda f: [width_maps(f), save(
        f / "widths" / "p3.png", np.zeros((9, 9), np.uint16))], "p3.png is (9, 9)"),
    "widths in colour": ("plain", lambda f: [width_maps(f), save(
        f / "widths" / "p3.png", pixels(3))], "p3.png is (24, 32, 3)"),
    "widths are text": ("plain", lambda f: [width_maps(f), write(
        f / "widths" / "p3.png", "w")], "p3.png can't be read"),
    "widths of some": ("plain", lambda f: [width_maps(f), (f / "widths" / "p3.png").unlink()],
                       "widths has no width map for 1 of 10 images: p3."),
    "names with control characters": ("plain", lambda f: (f / "masks" / "p3.png").rename(
        f / "masks" / "p\x1b[2J\n3.png"), "p\\x1b[2J\\n3"),
    "list of strangers": ("plain", lambda f: [write(f / f"{part}.txt", f"p{index}\nq9\n")
                                              for index, part in enumerate(
                                                  ("train", "val", "test"))], "q9"),
    "list empty": ("plain", lambda f: [write(f / f"{part}.txt", "p1" * (part != "val"))
                                       for part in ("train", "val", "test")], "the list is empty"),
    "list missing": ("plain", lambda f: write(f / "train.txt", "p1\n"), "test.txt is missing"),
    "list twice": ("plain", lambda f: [write(f / f"{part}.txt", "p1\n")
                                       for part in ("train", "val", "test")], "p1"),
    "list of a dangling link": ("plain", lambda f: [(f / f"{part}.txt").symlink_to("nowhere")
                                                    for part in ("train", "val", "test")],
                                "train.txt"),
    "image is a folder": ("plain", lambda f: [(f / "images" / "p3.jpg").unlink(), (
        f / "images" / "p3.jpg").mkdir()], "p3.jpg"),
    "image is a dangling link": ("plain", lambda f: [(f / "images" / "p3.jpg").unlink(), (
        f / "images" / "p3.jpg").symlink_to("nowhere")], "p3.jpg"),
    "image of a strange kind": ("plain", lambda f: [(f / "images" / "p3.jpg").unlink(), save(
        f / "images" / "p3.tif", pixels(3), "LAB")], "p3.tif"),
    "image with harmed EXIF": ("plain", lambda f: [(f / "images" / "p3.jpg").unlink(), save(
        f / "images" / "p3.png", pixels(3), exif=b"Exif\0\0junkjunkjunk")], "p3.png"),
    "mask of no numbers": ("plain", lambda f: [(f / "masks" / "p3.png").unlink(), save(
        f / "masks" / "p3.tif", np.full(SIZE, np.nan, np.float32))], "p3.tif"),
    "mat of nothing": ("crackforest", lambda f: mat(f / "groundTruth" / "003.mat", {
        "groundTruth": {"Segmentation": np.zeros((0, 0), np.uint8)}}), "003.mat"),
    "one frame in two parts": ("bdd100k", lambda f: [shutil.copy(
        f / place / "train" / f"00000000-00000007{ending}", f / place / "val")
        for place, ending in (("images/100k", ".jpg"), ("labels/drivable/masks", ".png"))],
        "00000000-00000007"),
    "list of bytes": ("plain", lambda f: [write(f / f"{part}.txt", b"\xff\xfe\x00")
                                          for part in ("train", "val", "test")], "train.txt"),
    "list out of the folder": ("plain", lambda f: [write(f / f"{part}.txt", "../../secret\n")
                                                   for part in ("train", "val", "test")],
                               "secret"),
    "mat is text": ("crackforest", lambda f: write(f / "groundTruth" / "003.mat", "hello"),
                    "003.mat"),
    "mat is empty": ("crackforest", lambda f: write(f / "groundTruth" / "003.mat", b""),
                     "003.mat"),
    "mat cut short": ("crackforest", lambda f: cut(f / "groundTruth" / "003.mat"), "003.mat"),
    "mat of something else": ("crackforest", lambda f: mat(f / "groundTruth" / "003.mat",
                                                           {"other": 1}), "003.mat"),
    "mat without labels": ("crackforest", lambda f: mat(f / "groundTruth" / "003.mat", {
        "groundTruth": {"Segmentation": "text"}}), "003.mat"),
    "mat of other labels": ("crackforest", lambda f: mat(f / "groundTruth" / "003.mat", {
        "groundTruth": {"Segmentation": np.full(SIZE, 9, np.uint8)}}), "label 9"),
    "mat of another size": ("crackforest", lambda f: mat(f / "groundTruth" / "003.mat", {
        "groundTruth": {"Segmentation": np.ones((5, 5), np.uint8)}}), "003.mat is (5, 5)"),
    "mat of a later version": ("crackforest", lambda f: write(
        f / "groundTruth" / "003.mat", b"MATLAB 7.3 MAT-file" + bytes(105) + b"\0\2IM" + bytes(
            400)), "003.mat"),
    "no test part": ("deepcrack", lambda f: [one.unlink() for name in ("test_img", "test_lab")
                                             for one in (f / name).iterdir()], "found 0"),
    "one picture in two parts": ("deepcrack", lambda f: [shutil.copy(
        f / f"train_{kind}" / f"1111-0{ending}", f / f"test_{kind}")
        for kind, ending in (("img", ".jpg"), ("lab", ".png"))], "1111-0"),
    "nothing to hold out": ("deepcrack", lambda f: [
        (f / f"train_{kind}" / f"1111-{index}{ending}").unlink()
        for kind, ending in (("img", ".jpg"), ("lab", ".png")) for index in range(7)],
        "too few to hold some out"),
    "lanes in colour": ("bdd100k", lambda f: save(next((
        f / "labels" / "drivable" / "masks" / "train").iterdir()), pixels(0)), "has colours"),
    "lanes of 0 and 255": ("bdd100k", lambda f: save(next((
        f / "labels" / "drivable" / "masks" / "val").iterdir()), crack(0) * 255), "label 255"),
    "no frames of val": ("bdd100k", lambda f: shutil.rmtree(f / "images" / "100k" / "val"),
                         "No folder"),
    "legacy names in the masks": ("bdd100k_legacy", lambda f: next((
        f / "drivable_maps" / "labels" / "train").iterdir()).rename(
            f / "drivable_maps" / "labels" / "train" / "zzz_drivable_id.png"), "zzz"),
    "other classes": ("camvid", lambda f: save(f / "valannot" / "0001TP_006870.png", np.full(
        SIZE, 30, np.uint8)), "label 30"),
    "list of other frames": ("camvid", lambda f: write(f / "val.txt",
                                                       "/SegNet/CamVid/val/x.png /SegNet/x.png"),
                             "val.txt names 1 of 1")}


@pytest.mark.parametrize("layout, harm, words", DAMAGED.values(), ids=DAMAGED)
def test_damaged_data_is_refused_in_one_sentence_with_its_place(tmp_path, layout, harm, words):
    folder = tmp_path / "set"
    MINIATURES[layout](folder)
    harm(folder)
    with pytest.raises(DataError) as error:
        load(folder, ROADS)
    text = str(error.value)
    assert words in text and str(tmp_path) in text and text.isprintable() and text.endswith(".")


def test_a_notebook_shows_the_sentence_without_a_traceback():
    from IPython.core.interactiveshell import InteractiveShell
    shell = InteractiveShell()
    shown = []
    shell._showtraceback = lambda kind, value, lines: shown.extend(lines)
    shell.run_cell("from crackutils.data.layouts import recognise\nfrom pathlib import Path\n"
                   "recognise(Path('/nowhere'))")
    assert shown == ["DataError: No data folder at /nowhere: give \"synthetic\" or a folder."]
