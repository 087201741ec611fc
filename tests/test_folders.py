"""Folders as people have them: their pairs, their parts, and what is said of all other folders."""

import json
import os
import runpy
import shutil
import sys
import unicodedata

import miniatures
import numpy as np
import pytest
from miniatures import SIZE, crack, pixels, save
from PIL import Image

from crackutils import data as datasets
from crackutils import files
from crackutils.data.folders import by_core, files_below, words_of
from crackutils.data.layouts import recognise
from crackutils.data.samples import DataError
from crackutils.protocol import preset

SMOKE = preset("smoke")


def write_pairs(folder, image="images/{}.jpg", mask="masks/{}.png", numbers=range(10),
                stem="p{}") -> None:
    """Pairs p0, p1, ... whose places and names follow the two patterns."""
    for index in numbers:
        save(folder / image.format(stem.format(index)), pixels(index))
        save(folder / mask.format(stem.format(index)), crack(index) * 255)


def pairs_of(folder) -> dict[str, tuple[str, str]]:
    """The image and the mask of each name, as paths below the folder."""
    parts = recognise(folder).parts(folder)
    return {one.name: tuple(path.relative_to(folder).as_posix() for path in one[1:3])
            for part in parts.values() for one in part}


def parts_of(folder) -> dict[str, list[str]]:
    return {part: [one.name for one in members]
            for part, members in recognise(folder).parts(folder).items()}


def right(folder) -> bool:
    """Whether each image has been given the mask of its own number."""
    found = pairs_of(folder)
    digits = [["".join(filter(str.isdigit, path.rpartition("/")[2])) for path in pair]
              for pair in found.values()]
    return len(found) == 10 and all(image[:1] == mask[:1] for image, mask in digits)


def refused(folder) -> str:
    with pytest.raises(DataError) as error:
        recognise(folder).parts(folder)
    assert str(error.value).isprintable()
    return str(error.value)


@pytest.mark.parametrize("image, mask, said", [
    ("images/{}.jpg", "masks/{}_mask.png", "“mask” in those of the masks"),
    ("images/{}.jpg", "masks/{}-Label.png", "“label”"),
    ("images/{}.jpg", "masks/{}.mask.png", "“mask”"),
    ("images/{}.jpg", "masks/mask_{}.png", "“mask”"),
    ("images/{}.jpg", "masks/{}.jpg.png", "“jpg”"),
    ("images/{}.jpg", "masks/{}_정답.png", "“정답”"),
    ("images/{}_0000.png", "masks/{}.png", "“0000” in those of the images"),
    ("images/{}_sat.jpg", "masks/{}_mask.png", "“sat” in those of the images and without “mask”"),
    ("images/{}_0 (1).jpg", "masks/{}_0 (1)_MASK.png", "“mask”"),
    ("images/[x=1,y={}].tif", "masks/[x=1,y={}]-labelled.png", "“labelled”"),
    ("images/{}_leftImg8bit.png", "masks/{}_gtFine_labelIds.png", "“gtfine labelids”"),
    ("images/img 0{}.jpg", "masks/gt 0{}.png", "“img” in those of the images and without “gt”"),
    ("images/IMG_{}.jpg", "masks/img_{}.png", "whatever their capitals")])
def test_names_pair_up_without_what_all_of_them_begin_or_end_with(tmp_path, capsys, image, mask,
                                                                  said):
    write_pairs(tmp_path / "set", image, mask)
    assert right(tmp_path / "set")
    assert said in capsys.readouterr().out
    [first, *_] = pairs_of(tmp_path / "set")
    assert first == image.format("p0").removeprefix("images/").rpartition(".")[0]


def test_a_word_may_stand_before_the_number_alone(tmp_path):
    write_pairs(tmp_path / "set", "images/img{}.jpg", "masks/mask{}.png", stem="{}")
    assert right(tmp_path / "set")


def test_endings_may_be_those_of_some_masks_only_and_a_missing_mask_is_named(tmp_path):
    write_pairs(tmp_path / "set", mask="masks/{}_mask.png", numbers=range(7))
    write_pairs(tmp_path / "set", mask="masks/{}_MASK.png", numbers=range(7, 9))
    write_pairs(tmp_path / "set", numbers=[9])
    assert right(tmp_path / "set")
    (tmp_path / "set" / "masks" / "p3_mask.png").unlink()
    message = refused(tmp_path / "set")
    assert "for 1 of the files" in message and "images p3. Each" in message


@pytest.mark.parametrize("image, mask", [("day1_0{}", "day2_0{}"), ("north{}", "south{}")])
def test_pictures_of_other_places_are_no_masks(tmp_path, image, mask):
    write_pairs(tmp_path / "set", f"images/{image}.jpg", f"masks/{mask}.png")
    assert "for 20 of the files" in refused(tmp_path / "set")


def test_two_masks_for_a_picture_are_not_paired_by_one_of_their_kinds(tmp_path):
    for kind in ("crack", "spalling"):
        write_pairs(tmp_path / "set", mask=f"masks/{{}}_{kind}.png")
    assert "masks p0_" in refused(tmp_path / "set")


def test_names_are_compared_in_one_unicode_form(tmp_path):
    for index in range(10):
        name = f"균열é_{index}"
        save(tmp_path / "set" / "images" / f"{unicodedata.normalize('NFD', name)}.jpg",
             pixels(index))
        save(tmp_path / "set" / "masks" / f"{unicodedata.normalize('NFC', name)}.png",
             crack(index) * 255)
    (tmp_path / "set" / "train.txt").write_text(unicodedata.normalize("NFD", "균열é_1\n균열é_2"))
    (tmp_path / "set" / "test.txt").write_text("균열é_3.jpg\n")
    assert right(tmp_path / "set") is False and parts_of(tmp_path / "set") == {
        "train": ["균열é_1", "균열é_2"], "test": ["균열é_3"]}
    for name in ("train", "test"):
        (tmp_path / "set" / f"{name}.txt").unlink()
    assert right(tmp_path / "set")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_no_utf8_text_is_named(tmp_path):
    write_pairs(tmp_path / "set")
    os.rename(tmp_path / "set" / "images" / "p3.jpg",
              os.fsencode(tmp_path / "set" / "images") + b"/Br\xfccke03.jpg")
    assert "images/Br\\xfccke03.jpg has a name that is not UTF-8 text" in refused(tmp_path / "set")
    os.rename(tmp_path / "set", os.fsencode(tmp_path) + b"/s\xe9t")
    [folder] = tmp_path.iterdir()
    assert "s\\xe9t/images/" in refused(folder)


def test_two_files_of_one_name_are_both_named(tmp_path):
    write_pairs(tmp_path / "set")
    save(tmp_path / "set" / "images" / "p3.png", pixels(0))
    assert "found p3.jpg and p3.png: remove or rename" in refused(tmp_path / "set")


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "webp", "ppm", "JPG"])
def test_pictures_of_these_kinds_are_read(tmp_path, suffix):
    write_pairs(tmp_path / "set")
    (tmp_path / "set" / "images" / "p3.jpg").unlink()
    kind = {"webp": "WEBP", "ppm": "PPM"}.get(suffix, "JPEG")
    save(tmp_path / "set" / "images" / f"p3.{suffix}", pixels(3), format=kind)
    dataset = datasets.load(tmp_path / "set", SMOKE, tmp_path / "runs")
    assert sum(map(len, (dataset.train, dataset.validation, dataset.test))) == 10


def test_heic_is_read(tmp_path):
    write_pairs(tmp_path / "set")
    (tmp_path / "set" / "images" / "p3.jpg").unlink()
    save(tmp_path / "set" / "images" / "p3.HEIC", np.full((*SIZE, 3), 90, np.uint8), format="HEIF")
    dataset = datasets.load(tmp_path / "set", SMOKE, tmp_path / "runs")
    [sample] = [one for part in (dataset.train, dataset.validation, dataset.test) for one in part
                if one.name == "p3"]
    assert np.abs(sample.image.astype(int) - 90).max() < 5


def test_leftovers_of_systems_are_no_pictures(tmp_path):
    write_pairs(tmp_path / "set")
    for name in ("images/._p1.jpg", "__MACOSX/images/._p1.jpg", "images/.DS_Store",
                 "__MACOSX/p2.jpg", "masks/Thumbs.db", "masks/desktop.ini", "@eaDir/p1.jpg",
                 "images/.thumbnails/p1.jpg"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(b"\0\5\x16\7")
    assert right(tmp_path / "set")
    assert len(list(files_below(tmp_path / "set"))) == 20


# Subfolders

@pytest.mark.parametrize("nested", [range(10), range(5)])
def test_pictures_in_subfolders_are_found_and_named_by_their_path(tmp_path, nested):
    for index in range(10):
        place = f"bridge{index % 2}/" if index in nested else ""
        write_pairs(tmp_path / "set", f"images/{place}{{}}.jpg", f"masks/{place}{{}}.png", [index])
    assert right(tmp_path / "set") and "bridge1/p3" in pairs_of(tmp_path / "set")


def test_equal_names_in_different_subfolders_are_different_pictures(tmp_path):
    for site in ("north", "south"):
        write_pairs(tmp_path / "set", f"images/{site}/{{}}.jpg", f"masks/{site}/{{}}.png", range(5))
    found = pairs_of(tmp_path / "set")
    assert found["south/p3"] == ("images/south/p3.jpg", "masks/south/p3.png") and len(found) == 10
    dataset = datasets.load(tmp_path / "set", SMOKE, tmp_path / "runs")
    assert set(dataset.train.names + dataset.validation.names + dataset.test.names) == set(found)
    (tmp_path / "set" / "train.txt").write_text("images/north/p1.jpg\nsouth/p2\n")
    (tmp_path / "set" / "test.txt").write_text("p3\n")
    assert "p3. Expected names such as north/p0, one in each line." in refused(tmp_path / "set")


def test_masks_may_lie_in_one_folder_though_the_pictures_have_subfolders(tmp_path, capsys):
    for index in range(10):
        write_pairs(tmp_path / "set", f"images/bridge{index % 2}/{{}}.jpg", numbers=[index])
    assert right(tmp_path / "set") and "without the subfolders" in capsys.readouterr().out


def test_a_link_to_a_folder_above_is_not_followed(tmp_path):
    write_pairs(tmp_path / "set")
    (tmp_path / "set" / "images" / "all").symlink_to(tmp_path / "set" / "images")
    (tmp_path / "set" / "masks" / "up").symlink_to(tmp_path / "set")
    assert "masks up/images/p0" in refused(tmp_path / "set")
    (tmp_path / "set" / "masks" / "up").unlink()
    assert right(tmp_path / "set")


# Names of folders

@pytest.mark.parametrize("images, masks", [
    ("img", "gt"), ("JPEGImages", "SegmentationClass"), ("Photos", "annotations"),
    ("rgb", "labels"), ("image", "ground_truth"), ("image", "groundTruth"), ("사진", "라벨"),
    ("images", "masks_machine"), ("JPEGImages", "SegmentationClassPNG"), (".", "masks")])
def test_usual_names_of_folders_are_known(tmp_path, capsys, images, masks):
    write_pairs(tmp_path / "set", f"{images}/{{}}.jpg", f"{masks}/{{}}.png")
    for other in ("SegmentationObject", "SegmentationClassVisualization", "masks_color",
                  "predictions", "notes"):
        save(tmp_path / "set" / other / "p0.png", pixels(0))
    assert right(tmp_path / "set") and recognise(tmp_path / "set").name == "plain"
    said = capsys.readouterr().out
    assert f"the masks from {masks}/." in said and "the images are taken from" in said


def test_several_folders_of_one_kind_are_refused_unless_one_has_the_usual_name(tmp_path):
    write_pairs(tmp_path / "set", "img/{}.jpg", "gt/{}.png")
    write_pairs(tmp_path / "set", "photos/{}.jpg", "gt/{}.png")
    assert "several folders that may hold its images or masks (img, photos, gt)" in refused(
        tmp_path / "set")
    (tmp_path / "set" / "photos").rename(tmp_path / "set" / "images")
    (tmp_path / "set" / "gt").rename(tmp_path / "set" / "masks")
    assert right(tmp_path / "set")


@pytest.mark.parametrize("image, mask", [("{}.jpg", "{}.png"), ("{}.jpg", "{}_mask.png"),
                                         ("{}_img.png", "{}_gt.png")])
def test_one_folder_may_hold_images_and_masks(tmp_path, image, mask):
    write_pairs(tmp_path / "set", image, mask)
    assert right(tmp_path / "set")
    (tmp_path / "set" / mask.format("p3")).unlink()
    assert "p3" in refused(tmp_path / "set")


@pytest.mark.parametrize("names", ["p{}", "lab_{0}/../lab_{0}", "p{}_edited"])
def test_photographs_alone_are_no_pairs(tmp_path, names):
    for index in range(5):
        save(tmp_path / "set" / f"p{index}.jpg", pixels(index))
        path = tmp_path / "set" / f"{names.format(index).rpartition('/')[2]}.jpg"
        save(path, pixels(10 + index))
    text = refused(tmp_path / "set")
    assert ".jpg in it. A training needs a mask for each image" in text


# Parts

@pytest.mark.parametrize("image, mask", [
    ("{part}/images/{{}}.jpg", "{part}/masks/{{}}.png"),
    ("images/{part}/{{}}.jpg", "masks/{part}/{{}}.png"),
    ("img_dir/{part}/{{}}.jpg", "ann_dir/{part}/{{}}.png"),
    ("{part}_images/{{}}.jpg", "{part}_masks/{{}}.png"),
    ("{part}/{{}}.jpg", "{part}_labels/{{}}.png"),
    ("{part}/{{}}.jpg", "{part}/{{}}_mask.png")])
@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "valid", "testing"),
                                   ("train", "dev", "test"), ("train", None, "test")])
def test_parts_may_be_folders(tmp_path, names, image, mask):
    expected = {}
    for part, name, numbers in zip(("train", "validation", "test"), names,
                                   (range(6), range(6, 8), range(8, 10))):
        if name is not None:
            write_pairs(tmp_path / "set", image.format(part=name), mask.format(part=name), numbers)
            expected[part] = [f"p{index}" for index in numbers]
    found = parts_of(tmp_path / "set")
    assert {part: [name.rpartition("/")[2] for name in members]
            for part, members in found.items()} == expected
    dataset = datasets.load(tmp_path / "set", SMOKE, tmp_path / "runs")
    assert set(dataset.test.names) == set(found["test"]) and len(dataset.validation) > 0


def test_nnu_nets_folders_are_parts(tmp_path):
    for part, numbers in (("Tr", range(7)), ("Ts", range(7, 10))):
        write_pairs(tmp_path / "set", f"images{part}/{{}}_0000.png", f"labels{part}/{{}}.png",
                    numbers)
    assert {part: len(names) for part, names in parts_of(tmp_path / "set").items()} == {
        "train": 7, "test": 3}


def test_equal_names_in_two_parts_are_different_pictures_unless_they_are_the_same(tmp_path):
    write_pairs(tmp_path / "set", "train/images/{}.jpg", "train/masks/{}.png", range(5))
    for index in range(5):
        save(tmp_path / "set" / "test" / "images" / f"p{index}.jpg", pixels(50 + index))
        save(tmp_path / "set" / "test" / "masks" / f"p{index}.png", crack(index) * 255)
    assert parts_of(tmp_path / "set")["test"][:2] == ["test/p0", "test/p1"]
    shutil.copy(tmp_path / "set" / "train" / "images" / "p1.jpg",
                tmp_path / "set" / "test" / "images" / "p1.jpg")
    assert "stand in several parts" in refused(tmp_path / "set")


def write_all_and_parts(folder, numbers=range(10)) -> None:
    """All pairs in images/ and masks/, and these numbers again in train/ and test/."""
    write_pairs(folder)
    for index in numbers:
        part = "test" if index % 4 == 0 else "train"
        write_pairs(folder / part, numbers=[index])


def test_the_division_of_folders_beside_the_whole_is_used_if_it_covers_the_whole(tmp_path, capsys):
    write_all_and_parts(tmp_path / "set")
    assert parts_of(tmp_path / "set")["test"] == ["p0", "p4", "p8"]
    assert "those of its folders, which hold what images/ and masks/ hold (7 train, 3 test)" \
        in capsys.readouterr().out


@pytest.mark.parametrize("numbers", [range(8), [0, 4, 8]])
def test_a_division_that_does_not_cover_the_whole_is_said_not_to_be_used(tmp_path, capsys, numbers):
    write_all_and_parts(tmp_path / "set", numbers)
    assert parts_of(tmp_path / "set").keys() == {"all"}
    assert f"are NOT used, for {10 - len(numbers)} of 10 pairs" in capsys.readouterr().out


def test_a_test_part_alone_is_neither_trained_on_nor_hinted_at(tmp_path):
    write_pairs(tmp_path / "set" / "test")
    assert "has a part test and none to train on" in refused(tmp_path / "set")
    save(tmp_path / "set" / "train" / "p0.jpg", pixels(0))
    assert "has a part test and none to train on" in refused(tmp_path / "set")


def test_two_folders_of_one_part_are_refused(tmp_path):
    for name in ("train", "test", "val", "validation"):
        write_pairs(tmp_path / "set" / name)
    assert "several folders of the part validation (val, validation)" in refused(tmp_path / "set")


def test_a_train_part_alone_is_divided_and_a_validation_part_takes_the_place_of_test(tmp_path,
                                                                                     capsys):
    write_pairs(tmp_path / "set" / "train")
    assert parts_of(tmp_path / "set").keys() == {"all"}
    assert "no part but train, which is divided into three here" in capsys.readouterr().out
    write_pairs(tmp_path / "set" / "valid", numbers=range(10, 13))
    assert [len(names) for names in parts_of(tmp_path / "set").values()] == [10, 3]
    assert "its validation part takes that place" in capsys.readouterr().out


@pytest.mark.parametrize("names", [("train.txt", "valid.txt", "testing.txt"),
                                   ("Train.txt", "validation.txt", "test.txt"),
                                   ("train.txt", "dev.txt", "test.txt"),
                                   ("train.txt", None, "test.txt")])
def test_lists_may_have_other_usual_names(tmp_path, names):
    write_pairs(tmp_path / "set")
    for name, numbers in zip(names, ("01234", "56", "789")):
        if name is not None:
            (tmp_path / "set" / name).write_text("".join(f"p{number}\n" for number in numbers))
    expected = {"train": 5, "validation": 2, "test": 3}
    if names[1] is None:
        del expected["validation"]
    assert {part: len(members) for part, members in parts_of(tmp_path / "set").items()} == expected
    (tmp_path / "set" / "val.txt").write_text("p0\n")
    if names[1] is not None:
        assert "both list the part validation" in refused(tmp_path / "set")


@pytest.mark.parametrize("line", ["{}", "images/{}.jpg", "./images/{}.jpg",
                                  "C:\\set\\images\\{}.JPG", "images/{0}.jpg masks/{0}.png",
                                  "images/{0}.jpg,masks/{0}.png"])
def test_a_line_of_a_list_is_a_name_or_a_path_with_or_without_the_masks(tmp_path, line):
    for index in range(10):
        write_pairs(tmp_path / "set", "images/my {}.jpg", "masks/my {}.png", [index])
    for part, numbers in (("train", range(7)), ("test", range(7, 10))):
        (tmp_path / "set" / f"{part}.txt").write_text(
            "".join(line.format(f"my p{number}") + "\n" for number in numbers))
    assert parts_of(tmp_path / "set")["test"] == ["my p7", "my p8", "my p9"]


# What can't be read

def test_a_folder_in_no_known_form_is_described_and_one_form_named(tmp_path):
    for index in range(4):
        save(tmp_path / "set" / "walls" / f"{index}.jpg", pixels(index))
    (tmp_path / "set" / "notes.docx").write_text("hello")
    text = refused(tmp_path / "set")
    assert "it holds 4 .jpg in walls, 1 .docx in it." in text
    assert "images/" in text and "masks/" in text and "data/README.md" in text
    assert "trainannot" not in text and "rgb" not in text


def test_a_folder_of_masks_that_holds_none_is_described(tmp_path):
    write_pairs(tmp_path / "set")
    shutil.rmtree(tmp_path / "set" / "masks")
    labelme(tmp_path / "set", 0)
    (tmp_path / "set" / "json").rename(tmp_path / "set" / "masks")
    text = refused(tmp_path / "set")
    assert "masks must hold files" in text and "found 0: it holds 1 .json in it." in text


@pytest.mark.parametrize("sites, words", [
    (("a",), "in no known layout, but in it are a: give one of these folders, or put"),
    (("a", "b"), "in no known layout, but in it are a, b: give one of these folders, or put")])
def test_folders_inside_that_can_be_read_are_named(tmp_path, sites, words):
    for site in sites:
        write_pairs(tmp_path / "set" / site)
    assert words in refused(tmp_path / "set")


def test_labels_of_a_form_that_is_not_read_are_to_be_exported_as_masks(tmp_path):
    for index in range(4):
        save(tmp_path / "set" / "img" / f"{index}.jpg", pixels(index))
    (tmp_path / "set" / "annotations.xml").write_text("<annotations/>")
    assert "export labels of other forms as PNG" in refused(tmp_path / "set")


def draw_polygons(*words: str) -> None:
    runpy.run_path(files.ROOT / "data" / "draw_polygons.py")["main"](words)


def labelme(folder, index: int) -> None:
    (folder / "json").mkdir(exist_ok=True)
    (folder / "json" / f"p{index}.json").write_text(json.dumps({
        "imagePath": f"..\\images\\p{index}.jpg", "imageHeight": SIZE[0],
        "imageWidth": SIZE[1], "shapes": [
            {"label": "crack", "shape_type": "polygon", "points": [
                [3, 4], [20, 4], [20, 8], [3, 8]]},
            {"label": "crack", "shape_type": "rectangle", "points": [[25, 2], [27, 20]]}]}))


def coco(folder, index: int) -> None:
    numbers = range(index + 1)
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "annotations" / "instances.json").write_text(json.dumps({
        "images": [{"id": number, "file_name": f"p{number}.jpg", "height": SIZE[0],
                    "width": SIZE[1]} for number in numbers],
        "categories": [{"id": 1, "name": "crack"}],
        "annotations": [{"image_id": number, "category_id": 1, "segmentation": [
            [3, 4, 20, 4, 20, 8, 3, 8], [25, 2, 27, 2, 27, 20, 25, 20]]} for number in numbers]}))


def yolo(folder, index: int) -> None:
    (folder / "labels").mkdir(exist_ok=True)
    outlines = ([3, 4, 20, 4, 20, 8, 3, 8], [25, 2, 27, 2, 27, 20, 25, 20])
    (folder / "labels" / f"p{index}.txt").write_text("".join(
        "0 " + " ".join(str(number / SIZE[1 - place % 2]) for place, number in enumerate(outline))
        + "\n" for outline in outlines))


@pytest.mark.parametrize("write", [labelme, coco, yolo])
def test_outlines_are_recognised_and_a_script_draws_masks_from_them(tmp_path, write):
    expected = np.zeros(SIZE, np.uint8)
    expected[4:9, 3:21] = expected[2:21, 25:28] = 255
    for index in range(10):
        save(tmp_path / "set" / "images" / f"p{index}.jpg", pixels(index))
        write(tmp_path / "set", index)
    assert "data/draw_polygons.py FOLDER`; export labels" in refused(tmp_path / "set")
    draw_polygons(str(tmp_path / "set"))
    assert right(tmp_path / "set")
    assert np.array_equal(Image.open(tmp_path / "set" / "masks" / "p3.png"), expected)
    with pytest.raises(SystemExit, match="exists already"):
        draw_polygons(str(tmp_path / "set"))


def test_outlines_of_several_labels_are_drawn_when_one_is_chosen(tmp_path):
    save(tmp_path / "set" / "images" / "p0.jpg", pixels(0))
    labelme(tmp_path / "set", 0)
    path = tmp_path / "set" / "json" / "p0.json"
    path.write_text(path.read_text().replace('"crack"', '"spalling"', 1))
    with pytest.raises(SystemExit, match="labels crack, spalling: give one"):
        draw_polygons(str(tmp_path / "set"))
    draw_polygons(str(tmp_path / "set"), "--label", "crack")
    drawn = np.asarray(Image.open(tmp_path / "set" / "masks" / "p0.png"))
    assert drawn[10, 26] == 255 and drawn[5, 10] == 0


def test_words_and_cores_of_names():
    assert words_of("imagesTr") == {"images", "image", "tr"}
    assert words_of("JPEGImages") >= {"jpeg", "image"}
    assert words_of("02_groundTruth.v2") >= {"ground", "truth", "v"}
    assert by_core(["a/P1_0001_Mask"], {"mask"}) == {("a", "p", "1", "0001"): "a/P1_0001_Mask"}
    assert list(by_core(["0000_0000"], {"0000"})) == [("", "0000")]  # once, where it stands last
    assert list(by_core(["p1", "p_1"], set())) == ["p1", "p_1"]  # the words are the same


# Two data sets of one name

def test_a_link_keeps_its_own_name(tmp_path):
    miniatures.plain(tmp_path / "store" / "v1" / "data")
    (tmp_path / "bridge").symlink_to(tmp_path / "store" / "v1" / "data")
    assert datasets.load(tmp_path / "bridge", SMOKE, tmp_path / "runs").name == "bridge"
    assert datasets.load(f"{tmp_path}/store/v1/data/.", SMOKE, tmp_path / "runs").name == "data"
    assert datasets.given_name(f"{tmp_path}/store/v1/data/..") == "v1"


def test_a_line_with_another_folder_means_another_picture(tmp_path):
    write_pairs(tmp_path / "set", "images/bridge2/{}.jpg", "masks/bridge2/{}.png")
    lines = {"train": range(6), "val": range(6, 8), "test": range(8, 10)}
    for folder, accepted in (("bridge2/", True), ("images/bridge2/", True),
                             ("bridge1/", False)):
        for part, numbers in lines.items():
            (tmp_path / "set" / f"{part}.txt").write_text(
                "".join(f"{folder}p{number}\n" for number in numbers))
        if accepted:
            assert len(parts_of(tmp_path / "set")["test"]) == 2
        else:
            with pytest.raises(DataError, match="that are not there: bridge1/p0"):
                parts_of(tmp_path / "set")


def test_a_single_pair_of_unrelated_files_is_refused(tmp_path):
    write_pairs(tmp_path / "set", "images/wall.png", "masks/floor_mask.png", [1])
    assert "no partner of the same name" in refused(tmp_path / "set")
