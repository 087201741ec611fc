"""The data doctor: planted faults are found and named, and a healthy folder has none."""

import shutil

import miniatures
import numpy as np
import pandas as pd
import pytest
from miniatures import MINIATURES, save
from PIL import Image

from crackutils.data import doctor, synthetic
from crackutils.data.doctor import examine, mean_width
from crackutils.data.folders import NAMES_SHOWN
from crackutils.data.synthetic import cracks
from crackutils.protocol import preset

SIZE = (128, 128)
ROADS = preset("smoke", "roads")


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """Twenty synthetic photographs of concrete, without lists."""
    folder = tmp_path_factory.mktemp("doctor") / "healthy"
    for index in range(20):
        image, mask, _ = cracks.draw(1, index, SIZE)
        if not mask.any():
            mask[40:43, 20:90] = 1
            image[40:43, 20:90] = image[40:43, 20:90] // 3
        save(folder / "images" / f"c{index:02d}.png", image)
        save(folder / "masks" / f"c{index:02d}.png", mask * 255)
    return folder


@pytest.fixture
def folder(healthy, tmp_path):
    return shutil.copytree(healthy, tmp_path / "photos")


def by_kind(folder, protocol=None) -> dict:
    found = examine(folder, protocol)
    assert len({one.kind for one in found} - {"unreadable"}) == len(
        [one for one in found if one.kind != "unreadable"])
    return {one.kind: one for one in found}


def masks(folder, *names):
    return [folder / "masks" / f"{name}.png" for name in names]


def change(path, how) -> None:
    """Write a picture anew, its pixels changed by a function."""
    save(path, np.ascontiguousarray(how(np.asarray(Image.open(path)))))


def test_a_healthy_folder_has_nothing_but_facts(healthy):
    [note] = examine(healthy)
    assert "20 pairs (to be divided), 20 of them 128 x 128" in str(note)
    assert note.level == "note"
    assert "only 2 are in the validation part and 4 are in the test part" in str(note)
    assert "4.1 %" in str(note) and "px wide" in str(note)


HARMS = {  # harm -> kind, level, files it must name
    "empty": (lambda f: [change(one, lambda m: m * 0) for one in masks(f, "c03", "c07")],
              "empty", "warning", {"c03", "c07"}),
    "all empty": (lambda f: [change(one, lambda m: m * 0) for one in (f / "masks").iterdir()],
                  "masks", "error", set()),
    "full": (lambda f: [change(one, lambda m: m * 0 + 255) for one in masks(f, "c03")],
             "full", "warning", {"c03"}),
    "inverted": (lambda f: [change(one, lambda m: 255 - m) for one in masks(f, "c03", "c11")],
                 "inverted", "warning", {"c03", "c11"}),
    "all inverted": (lambda f: [change(one, lambda m: 255 - m) for one in (f / "masks").iterdir()],
                     "inverted", "warning", {f"c{index:02d}" for index in range(20)}),
    "grey": (lambda f: [Image.open(one).convert("L").resize((64, 64), Image.BILINEAR).resize(
        (128, 128), Image.BILINEAR).point(lambda level: min(255, 2 * level)).save(one)
        for one in masks(f, "c02")], "grey", "warning", {"c02"}),
    "shifted": (lambda f: [change(one, lambda m: np.roll(m, (9, -6), (0, 1)))
                           for one in (f / "masks").iterdir()], "shifted", "warning", None),
    "turned": (lambda f: [change(one, lambda m: np.rot90(m, 2)) for one in (f / "masks").iterdir()],
               "turned", "warning", None),
    "0 and 1": (lambda f: [change(one, lambda m: m // 255) for one in masks(f, "c05")],
                "masks", "error", {"c05"}),
    "cut short": (lambda f: [one.write_bytes(one.read_bytes()[:-30]) for one in masks(f, "c05")],
                  "unreadable", "error", {"c05"}),
    "other size": (lambda f: [change(one, lambda m: m[:-1]) for one in masks(f, "c05")],
                   "unreadable", "error", {"c05"}),
    "no partner": (lambda f: masks(f, "c05")[0].unlink(), "folder", "error", set()),
    "duplicates": (lambda f: [shutil.copy(f / kind / "c05.png", f / kind / "x05.png")
                         for kind in ("images", "masks")], "duplicates", "warning", {"c05 = x05"}),
    "duplicates across parts": (lambda f: [
        *(change(f / kind / "c06.png", lambda _, kind=kind: np.fliplr(np.asarray(Image.open(
            f / kind / "c05.png")))) for kind in ("images", "masks")),
        *((f / f"{part}.txt").write_text("".join(f"c{index:02d}\n" for index in numbers))
          for part, numbers in (("train", range(6)), ("val", range(6, 9)),
                                ("test", range(9, 20))))],
        "leak", "warning", {"train/c05 = validation/c06"})}


@pytest.mark.parametrize("harm, kind, level, files", HARMS.values(), ids=HARMS)
def test_planted_harm_is_found_and_named(folder, harm, kind, level, files):
    harm(folder)
    found = by_kind(folder)
    assert kind in found and found[kind].level == level
    assert set(found) <= {kind, "shares"}
    if files is None:  # faint cracks can't tell where their mask belongs
        assert len(found[kind].files) >= 10
    else:
        assert set(found[kind].files) == files
    text = str(found[kind])
    assert text.startswith(f"{level}: ") and text.endswith(".") and "\n" not in text


def test_masks_of_other_pictures_are_noticed(folder):
    names = sorted(path.name for path in (folder / "masks").iterdir())
    right = [(folder / "masks" / name).read_bytes() for name in names]
    for name, content in zip(names, right[1:] + right[:1]):
        (folder / "masks" / name).write_bytes(content)
    found = by_kind(folder)
    assert set(found) == {"misfit", "shares"}
    assert "most of 20 masks do not lie" in str(found["misfit"])


def test_roads_taken_for_cracks_are_noticed(tmp_path):
    for index in range(6):
        save(tmp_path / "set" / "images" / f"{index}.png", miniatures.pixels(index, (120, 160)))
        mask = np.zeros((120, 160), np.uint8)
        mask[70:] = 255
        save(tmp_path / "set" / "masks" / f"{index}.png", mask)
    assert set(by_kind(tmp_path / "set")) == {"regions", "shares"}


def test_pairs_that_are_unreadable_for_one_reason_share_one_finding(folder):
    for one in (folder / "masks").iterdir():
        change(one, lambda mask: mask[:, :-1])
    [error] = [one for one in examine(folder) if one.level == "error"]
    assert "20 pairs can't be read for one reason: " in str(error) and len(error.files) == 20
    assert "is (128, 127), its image (128, 128)" in str(error)


def test_each_reason_is_one_finding_and_the_commonest_comes_first(folder):
    for one in masks(folder, "c03", "c04", "c15"):
        change(one, lambda mask: mask[1:])
    masks(folder, "c07")[0].write_bytes(b"")
    first, second = [one for one in examine(folder) if one.level == "error"]
    assert first.files == ("c03", "c04", "c15") and second.files == ("c07",)
    assert "3 pairs can't be read for one reason: " in str(first)


def test_pictures_of_a_kind_that_is_not_read_are_noted(folder):
    for kind in ("images", "masks"):
        (folder / kind / "c05.png").rename(folder / kind / "c05.gif")
    (folder / "__MACOSX").mkdir()
    shutil.copy(folder / "masks" / "c06.png", folder / "__MACOSX")
    shutil.copy(folder / "masks" / "c06.png", folder / "copy.png")
    found = by_kind(folder)["unused"]
    assert found.files == ("copy.png", "images/c05.gif", "masks/c05.gif")
    assert "3 pictures are not used, beside 38 that are: 2 .gif (not read), 1 .png" in str(found)


def test_errors_come_first_and_long_lists_are_cut(folder):
    for one in masks(folder, *(f"c{index:02d}" for index in range(8))):
        change(one, lambda mask: 255 - mask)
    masks(folder, "c15")[0].write_bytes(b"")
    found = examine(folder)
    assert [one.level for one in found] == ["error", "warning", "note"]
    assert f"c{NAMES_SHOWN - 1:02d} and 3 more" in str(found[1])
    assert f"c{NAMES_SHOWN:02d}" not in str(found[1])


def test_the_share_that_a_random_division_leaks_is_said(folder):
    for kind in ("images", "masks"):
        for index in range(20):
            shutil.copy(folder / kind / f"c{index:02d}.png", folder / kind / f"d{index:02d}.png")
    # of 40 in 20 pairs, a test picture's copy is in the other 32 with probability 32/39
    text = str(by_kind(folder)["duplicates"])
    percent = float(text.split("leave ")[1].split(" %")[0])
    assert abs(percent - 100 * 32 / 39) < 4 and "40 pictures are duplicates, in 20 groups" in text


@pytest.mark.parametrize("name", MINIATURES)
def test_every_layout_can_be_examined(tmp_path, name):
    MINIATURES[name](tmp_path / "set")
    roads = name.startswith(("bdd", "cam"))
    found = by_kind(tmp_path / "set", ROADS if roads else None)
    assert not [one for one in found.values() if one.level == "error"] and "shares" in found
    # pictures without a use: an unlabelled frame, colour maps, a frame that is in no list
    assert ("unused" in found) == (name in ("crackforest", "bdd100k", "bdd100k_legacy", "camvid"))
    assert set(found) <= {"shares", "unused", "grey"}


@pytest.mark.parametrize("pattern, number", [("0001TP_{:06d}", 6690), ("Seq05VD_f{:05d}", 0)])
@pytest.mark.parametrize("video", [True, False])
def test_divided_videos_are_named_with_their_parts(tmp_path, video, pattern, number):
    chance = np.random.default_rng(0)
    street = np.kron(chance.integers(256, size=(8, 60, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    for index in range(30):  # a camera that passes by, or pictures of anything
        first = 3 * index if video else 8 * int(chance.integers(50))
        part = ("train", "val", "test")[index // 10]
        name = pattern.format(number + 30 * index)
        frame = street if video else np.roll(street, int(chance.integers(60)), 0)[::-1]
        save(tmp_path / "set" / part / f"{name}.png", frame[:, first:first + 64])
        save(tmp_path / "set" / f"{part}annot" / f"{name}.png", np.full((64, 64), 3, np.uint8))
    found = by_kind(tmp_path / "set", ROADS)
    assert ("sequence" in found) == video
    if video:
        name = pattern.split("_")[0]
        assert found["sequence"].files == (f"{name}: 10 train, 10 validation, 10 test",)


@pytest.mark.parametrize("width", range(1, 13))
def test_the_width_of_cracks_is_about_right(width):
    mask = np.zeros((64, 200), np.uint8)
    mask[20:20 + width] = 1
    assert abs(mean_width(mask) - width) <= (1 if width == 1 else width / 6)


def test_the_width_of_synthetic_cracks_is_about_right():
    for index in range(12):
        _, mask, width = cracks.draw(5, index, (256, 256))
        if mask.sum() > 200:
            true = width[mask == 1].mean()
            assert 0.6 * true < mean_width(mask) < 1.5 * true + 1


def test_a_set_that_can_not_be_divided_is_an_error(tmp_path):
    miniatures.plain(tmp_path / "set", 3)
    found = by_kind(tmp_path / "set")
    assert found["split"].level == "error" and "too few" in str(found["split"])


def test_a_label_archive_that_was_not_unpacked_whole_is_noted(tmp_path):
    miniatures.crackforest(tmp_path / "set")
    (tmp_path / "set" / "groundTruth" / "003.mat").unlink()
    assert "image/003.jpg" in by_kind(tmp_path / "set")["unused"].files


def test_the_synthetic_sets_are_healthy(tmp_path):
    sizes = {"counts": [20, 4, 6], "image_size": [128, 160]}
    for task, overrides in (("cracks", {}), ("cracks", sizes), ("roads", sizes)):
        protocol = preset("smoke", task, overrides)
        found = examine(synthetic.synthetic_folder(protocol, tmp_path), protocol)
        assert {one.kind for one in found} <= {"shares", "empty"}


def test_a_folder_that_is_none_is_one_finding(tmp_path):
    [finding] = examine(tmp_path / "nowhere")
    assert finding.level == "error" and "No data folder" in str(finding)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def overlapping(folder):
    """Two more photographs, of one place: the second from a little further along."""
    ground, mask, _ = cracks.draw(1, 50, (256, 384))
    mask[128, 20:360] = 1
    for name, first in (("y01", 0), ("y02", 100)):
        save(folder / "images" / f"{name}.png", ground[:, first:first + 256])
        save(folder / "masks" / f"{name}.png", mask[:, first:first + 256] * 255)
    return folder


def test_overlapping_photographs_are_named(overlapping):
    found = by_kind(overlapping)
    assert found["overlaps"].level == "warning" and found["overlaps"].files == ("y01 = y02",)
    assert "2 pictures show a place that another one shows, in 1 groups" in str(found["overlaps"])
    assert "duplicates" not in found


def test_overlapping_photographs_in_two_parts_are_a_leak(overlapping):
    names = {"train": [f"c{index:02d}" for index in range(15)] + ["y01"],
             "val": ["c15", "c16"], "test": ["c17", "c18", "c19", "y02"]}
    for part, members in names.items():
        (overlapping / f"{part}.txt").write_text("\n".join(members))
    assert by_kind(overlapping)["leak"].files == ("train/y01 = test/y02",)


def test_overlaps_are_not_looked_for_in_large_folders_and_a_note_says_so(overlapping, monkeypatch):
    monkeypatch.setattr(doctor, "SEARCH_OVERLAPS_UP_TO", 20)
    note = by_kind(overlapping)["overlaps"]
    assert note.level == "note" and "there are more than 20 pairs" in str(note)


def test_control_characters_in_names_do_not_reach_the_terminal(folder):
    for kind in ("images", "masks"):
        (folder / kind / "c05.png").rename(folder / kind / "c\x1b[31m05.png")
    change(folder / "masks" / "c\x1b[31m05.png", lambda mask: mask * 0)
    text = str(by_kind(folder)["empty"])
    assert "\x1b" not in text and "c\\x1b[31m05" in text


def test_videos_that_are_called_like_a_fact_are_found_in_several_parts():
    names = [f"{camera}_{index:04d}" for camera in ("left", "right") for index in range(30)]
    facts = pd.DataFrame({"name": names, "right": 0.0, "left": 0.0, "content_group": 0,
                          "part": (["train"] * 20 + ["test"] * 10) * 2})
    [(kind, videos, _)] = doctor.divided_videos(facts)
    assert kind == "sequence" and videos == ("left: 20 train, 10 test", "right: 20 train, 10 test")
