"""The split: pictures that show the same are found, others are not, and no split parts them."""

from pathlib import Path

import cv2
import miniatures
import numpy as np
import pytest
from PIL import Image

from crackutils import data as datasets
from crackutils.data import split
from crackutils.data.samples import Files, note
from crackutils.data.split import (
    are_duplicates,
    connected,
    duplicate_pairs,
    eight_positions,
    find_details,
    overlap,
    overlapping_pairs,
    thumbnail,
    video_and_frame,
)
from crackutils.data.synthetic import cracks
from crackutils.protocol import preset

SIZE = (192, 256)


def photograph(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return cracks.draw(3, index, size)[0]


def grey(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)


def brighter(picture: np.ndarray) -> np.ndarray:
    return np.clip(picture * 1.2 + 12, 0, 255).astype(np.uint8)


def noisy(picture: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 6, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def smaller(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def cropped(picture: np.ndarray) -> np.ndarray:
    return picture[3:-3, 4:-4]


def compressed(picture: np.ndarray) -> np.ndarray:
    _, content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 40])
    return cv2.imdecode(content, cv2.IMREAD_COLOR)


@pytest.mark.parametrize("position", range(8))
@pytest.mark.parametrize("change", [brighter, noisy, smaller, cropped, compressed])
def test_a_changed_copy_of_a_photograph_is_a_duplicate_in_all_positions(change, position):
    for index in range(3):
        picture = photograph(index)
        channels = cv2.split(change(picture))
        copy = np.dstack([eight_positions(channel)[position] for channel in channels])
        assert duplicate_pairs([thumbnail(grey(picture)), thumbnail(grey(copy))]) == [(0, 1)]


def test_different_photographs_are_no_duplicates():
    assert duplicate_pairs([thumbnail(grey(photograph(index))) for index in range(120)]) == []


def test_correlation_is_one_for_a_shifted_copy_and_small_for_noise():
    generator = np.random.default_rng(0)
    first, second = generator.random((2, 64, 64)).astype(np.float32) * 255
    assert split.correlation(first, np.roll(first, (5, -9), (0, 1))) > 0.95
    assert split.correlation(first, second) < 0.2
    assert len({split.perceptual_hash(turned) for turned in eight_positions(first)}) == 8


def test_a_picture_of_one_colour_is_a_duplicate_of_its_copy_alone():
    white, black = np.full((64, 64), 255, np.float32), np.zeros((64, 64), np.float32)
    assert are_duplicates(white, white.copy(), range(8))
    assert not are_duplicates(white, black, range(8))


VIEWS = {  # (x, y) of a view's centre on the ground, degrees, scale; beside (200, 200), 0, 1
    "a little further along": ((290, 210), 0, 1.0),
    "turned by 180 degrees": ((260, 240), 180, 1.0),
    "turned by 37 degrees": ((240, 220), 37, 1.0),
    "from closer by": ((250, 200), 0, 1.4),
    "from farther away and turned": ((260, 230), -100, 0.75)}


def view(ground: np.ndarray, centre: tuple[int, int], degrees: float, scale: float) -> np.ndarray:
    """A photograph of 256 x 256 of a place on the ground."""
    matrix = cv2.getRotationMatrix2D(centre, degrees, scale)
    matrix[:, 2] += np.subtract((128, 128), centre)
    return cv2.warpAffine(ground, matrix, (256, 256), flags=cv2.INTER_AREA,
                          borderMode=cv2.BORDER_REFLECT)


@pytest.fixture(scope="module")
def ground() -> np.ndarray:
    return grey(photograph(0, (448, 512)))


@pytest.mark.parametrize("other", VIEWS.values(), ids=VIEWS)
def test_two_photographs_of_one_place_overlap(ground, other):
    first = find_details(view(ground, (200, 200), 0, 1))
    changed = noisy(view(ground, *other) * 0.8 + 10)
    assert overlap(first, find_details(changed)) and overlap(find_details(changed), first)


def test_photographs_of_different_places_do_not_overlap():
    details = [find_details(grey(photograph(index))) for index in range(24)]
    assert min(len(one.points) for one in details) > 100  # they could
    assert overlapping_pairs(details) == []


def test_a_date_in_the_corner_is_no_overlap():
    pictures = [grey(photograph(index)) for index in range(6)]
    for picture in pictures:
        cv2.putText(picture, "2024-07-31 12:45", (8, 180), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2)
    assert overlapping_pairs([find_details(picture) for picture in pictures]) == []


@pytest.mark.parametrize("all_pairs_up_to", [0, 500])
def test_pictures_without_details_overlap_with_nothing(monkeypatch, all_pairs_up_to):
    monkeypatch.setattr(split, "ALL_PAIRS_UP_TO", all_pairs_up_to)
    blank = find_details(np.full((300, 400), 128, np.uint8))
    assert len(blank.points) == 0
    assert overlapping_pairs([blank, blank]) == []
    assert overlapping_pairs([blank, blank, find_details(grey(photograph(0)))]) == []


def test_details_are_the_same_at_each_call_and_their_products_are_exact():
    picture = grey(photograph(0))
    first, second = find_details(picture), find_details(picture.copy())
    assert all(np.array_equal(one, other) for one, other in zip(first, second))
    products = first.descriptors.astype(np.float32) @ first.descriptors.astype(np.float32).T
    exact = first.descriptors.astype(np.int64) @ first.descriptors.astype(np.int64).T
    assert np.array_equal(products, exact)


def test_agreeing_details_are_counted_against_a_known_mapping():
    generator = np.random.default_rng(0)
    points = (generator.random(40) + 1j * generator.random(40)).astype(np.complex64)
    mapping, shift = 1.3 * np.exp(0.7j), 0.07 - 0.1j
    moved = points * mapping + shift
    moved[25:30] += 0.03 * np.exp(1j * np.arange(5))  # beside their places
    moved[30:] += 0.6 * np.exp(1j * np.arange(10))  # anywhere
    descriptors = generator.integers(0, 256, (40, 128)).astype(np.uint8)
    frames = np.full(40, 0.01, np.complex64)
    first = split.Details(points, frames, descriptors)
    turned = frames * mapping
    turned[20:25] *= 1j  # at their places, but of another orientation
    second = split.Details(moved.astype(np.complex64), turned.astype(np.complex64), descriptors)
    assert split.agreeing_details(first, second, 1_000) == 20
    assert split.agreeing_details(first, second, 8) >= 8
    mirrored = split.Details(second.points.conj(), second.frames.conj(), descriptors)
    assert split.agreeing_details(first, mirrored, 1_000) < 8


def test_in_a_large_set_promising_pairs_are_compared_and_overlaps_found(ground, monkeypatch):
    details = [find_details(grey(photograph(index))) for index in range(1, 17)]
    details[12:12] = [find_details(view(ground, (200, 200), 0, 1))]
    details[3:3] = [find_details(view(ground, *VIEWS["turned by 180 degrees"]))]
    monkeypatch.setattr(split, "ALL_PAIRS_UP_TO", 10)
    monkeypatch.setattr(split, "PROMISING", 3)
    promising = split.promising_pairs(details)
    assert len(promising) <= 3 * len(details) and promising == split.promising_pairs(details)
    assert overlapping_pairs(details) == [(3, 13)]


def test_groups_are_chains_of_pairs():
    groups = connected(6, [(0, 1), (1, 4), (2, 3)])
    assert groups[0] == groups[1] == groups[4] != groups[2] == groups[3]
    assert len(set(groups)) == 3 and len(set(connected(3, []))) == 3


@pytest.fixture
def planted(ground, tmp_path):
    """METU's layout: 16 photographs, 6 of them twice (turned or mirrored, compressed again), and
    three views of one place."""
    folder, same = tmp_path / "metu", []
    pictures, masks = {}, {}
    for index in range(1, 17):
        pictures[f"{index:03d}"], mask, _ = cracks.draw(3, index, SIZE)
        masks[f"{index:03d}"] = mask * np.uint8(255)
        if index % 8 < 3:
            same.append({f"{index:03d}", f"{100 + index:03d}"})
            for kind in (pictures, masks):
                kind[f"{100 + index:03d}"] = in_another_position(kind[f"{index:03d}"], index)
    chosen = [((200, 200), 0, 1.0), VIEWS["turned by 180 degrees"], VIEWS["from closer by"]]
    for number, place in enumerate(chosen):
        pictures[f"{200 + number}"] = np.dstack([view(ground, *place)] * 3)
        masks[f"{200 + number}"] = np.eye(256, dtype=np.uint8) * 255
    same.append({"200", "201", "202"})
    for kind, images in (("rgb", pictures), ("BW", masks)):
        (folder / kind).mkdir(parents=True)
        for name, image in images.items():
            quality = 70 if name.startswith("1") else 90
            Image.fromarray(image).save(folder / kind / f"{name}.jpg", quality=quality)
    return folder, same


def in_another_position(image: np.ndarray, index: int) -> np.ndarray:
    """The image in another of its eight positions."""
    mirrored = np.fliplr(image) if index % 2 else image
    return np.ascontiguousarray(np.rot90(mirrored, 1 + index % 3))


def test_all_planted_pairs_are_found_and_no_split_parts_them(planted, tmp_path):
    folder, same = planted
    files = datasets.recognise(folder).parts(folder)["all"]
    members = {}
    for one, group in zip(files, split.content_groups(files, tmp_path)):
        members.setdefault(group, set()).add(one.name)
    assert sorted(map(sorted, (group for group in members.values() if len(group) > 1))) == sorted(
        map(sorted, same))
    dataset = datasets.load(folder, preset("smoke"), tmp_path)
    parts = [set(part.names) for part in (dataset.train, dataset.validation, dataset.test)]
    assert all(any(group <= part for part in parts) for group in same)
    assert [len(part) for part in parts] == [25 - 3 - 5, 3, 5]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 25
    (tmp_path / "elsewhere").mkdir()
    again = datasets.load(folder.rename(tmp_path / "elsewhere" / "metu"), preset("smoke"),
                          tmp_path / "other")
    assert again.fingerprint == dataset.fingerprint and again.test.names == dataset.test.names


def test_groups_are_looked_for_once(tmp_path, monkeypatch):
    miniatures.plain(tmp_path / "set", 8)
    files = datasets.recognise(tmp_path / "set").parts(tmp_path / "set")["all"]
    first = split.content_groups(files, tmp_path)
    [cached] = (tmp_path / "cache").glob("content-groups-*.json")
    with monkeypatch.context() as patch:
        patch.setattr(split, "duplicate_pairs", None)
        assert split.content_groups(files, tmp_path) == first
    for damaged in ("[0, 1", "[0, 1]", "[[0, 1], []]", "0"):
        cached.write_text(damaged)
        assert split.content_groups(files, tmp_path) == first
    monkeypatch.setattr(split, "METHOD", [*split.METHOD, "changed"])
    assert split.content_groups(files, tmp_path) == first
    assert len(list((tmp_path / "cache").glob("content-groups-*.json"))) == 2


def test_photographs_that_all_show_the_same_are_refused(tmp_path):
    for index in range(8):
        miniatures.save(tmp_path / "set" / "images" / f"{index}.png", photograph(0))
        miniatures.save(tmp_path / "set" / "masks" / f"{index}.png",
                        np.eye(192, 256, dtype=np.uint8) * 255)
    with pytest.raises(datasets.DataError, match="8 pairs in 1 content groups .*too few"):
        datasets.load(tmp_path / "set", preset("smoke"), tmp_path)


@pytest.mark.parametrize("size", [SIZE, (1536, 2048)])
def test_an_appearance_is_that_of_the_whole_picture(tmp_path, size):
    picture = cv2.resize(photograph(0), size[::-1], interpolation=cv2.INTER_CUBIC)
    miniatures.save(tmp_path / "a.jpg", picture, quality=95)
    look = split.appearance(tmp_path / "a.jpg", (tmp_path / "a.jpg").read_bytes())
    whole = grey(np.asarray(Image.open(tmp_path / "a.jpg")))
    assert np.abs(look.thumbnail - thumbnail(whole)).mean() < 2
    expected = find_details(whole)
    assert 0.8 < len(look.details.points) / len(expected.points) < 1.25
    found = np.abs(look.details.points[:, None] - expected.points).min(axis=1) < 0.004
    assert found.mean() > 0.8


def test_groups_go_whole_to_the_part_that_has_room():
    files = [Files(f"{index:03d}", None, None) for index in range(50)]
    groups = [0] * 20 + [1] * 8 + list(range(2, 24))
    parts = split.divide("here", files, groups)
    assert {name: len(members) for name, members in parts.items()} == {
        "test": 10, "validation": 6, "train": 34}
    for group in range(24):
        names = {one.name for one, number in zip(files, groups) if number == group}
        assert sum(bool(names & {one.name for one in part}) for part in parts.values()) == 1


def test_a_part_that_no_group_fits_into_gets_the_smallest():
    files = [Files(f"{index:03d}", None, None) for index in range(10)]
    parts = split.divide("here", files, [0] * 4 + [1] * 3 + [2] * 3)
    assert sorted(map(len, parts.values())) == [3, 3, 4] and len(parts["train"]) == 4
    with pytest.raises(datasets.DataError, match="10 pairs in 2 content groups .*too few"):
        split.divide("here", files, [0] * 5 + [1] * 5)


def test_a_subset_larger_than_the_data_set_is_said(tmp_path, capsys):
    miniatures.bdd100k(tmp_path / "set")
    note.cache_clear()
    enough = preset("smoke", "roads", {"subset": [3, 1]})
    split.parts_of(tmp_path / "set", enough, tmp_path)
    assert "subset asks" not in capsys.readouterr().out
    too_many = preset("smoke", "roads", {"subset": [21_000, 3_000]})
    parts = split.parts_of(tmp_path / "set", too_many, tmp_path)
    said = capsys.readouterr().out
    assert f"asks for 21,000 training and 3,000 test images; {tmp_path / 'set'} has " in said
    assert f"has {len(parts['train'])} and {len(parts['test'])} for them" in said


@pytest.mark.parametrize("name, expected", [
    ("Seq05VD_f00120", ("Seq05VD", 120)), ("0001TP_008550", ("0001TP", 8550)),
    ("0016E5_07959", ("0016E5", 7959)), ("IMG_0417", ("IMG", 417)), ("shelf001", ("shelf", 1)),
    ("clip-2-0003", ("clip-2", 3)), ("drive1/0003", ("drive1", 3)), ("a/clip_001", ("a/clip", 1)),
    *((name, (name, 0)) for name in ("train/0003", "a/test/0003", "0417", "wall_12", "wall", ""))])
def test_the_name_of_a_frame_holds_its_video_and_number(name, expected):
    assert video_and_frame(name) == expected


def test_a_few_pairs_between_two_videos_do_not_tie_them_together():
    names = [f"{video}_{index:03d}" for video, count in (("a", 40), ("b", 60))
             for index in range(count)] + ["wall", "floor"]
    inner, chance = [(0, 1), (50, 60), (51, 61)], [(3, 70)]  # 5 % of the frames of each are alike
    outer = [(2, 100), (100, 101)]  # photographs that are no frames
    assert split.without_chance_links(names, inner + chance + outer) == inner + outer
    many = [(3, 70), (4, 71)]  # 5 % of 40 frames
    assert split.without_chance_links(names, inner + many) == inner + many


def test_an_overlap_of_numbered_photographs_counts():
    names = [f"{camera}_{index:04d}" for camera in ("IMG", "DSC") for index in range(30)]
    assert split.without_chance_links(names, [(0, 30)]) == [(0, 30)]


def test_two_videos_of_half_the_set_are_both_cut_and_no_frame_is_lost(tmp_path, capsys):
    files = [Files(f"{video}_{index:03d}", Path("x"), None)
             for video in "ab" for index in range(20)]
    parts = split.divide(tmp_path, files, [0] * 20 + [1] * 20)
    assert sorted(one for part in parts.values() for one in part) == files
    assert all({one.name[0] for one in part} == {"a", "b"} for part in parts.values())
    assert capsys.readouterr().out.count("which is cut") == 2


def part_of_each(folder, runs) -> dict[str, str]:
    """The part of each picture, by name."""
    parts = split.parts_of(folder, preset("smoke"), runs)
    return {one.name: part for part, members in parts.items() for one in members}


@pytest.mark.parametrize("name", ["drive{}_{{:04d}}", "drive{}/{{:04d}}"])
def test_frames_that_show_one_place_lie_in_one_part(tmp_path, name):
    for letter in "ABCDE":
        miniatures.drive(tmp_path / "set", name.format(letter), 8)
    part = part_of_each(tmp_path / "set", tmp_path)
    by_drive = [{part[one] for one in part if letter in one} for letter in "ABCDE"]
    assert all(len(parts) == 1 for parts in by_drive)
    assert set().union(*by_drive) == {"train", "validation", "test"}


def test_a_drive_that_is_most_of_the_set_is_cut_so_that_test_frames_are_no_neighbours(
        tmp_path, capsys):
    miniatures.drive(tmp_path / "set", "drive_{:04d}", 50)
    for index in range(10):
        wall = miniatures.pixels(index, (96, 64))
        miniatures.save(tmp_path / "set" / "images" / f"wall{index}.png", wall)
        miniatures.save(tmp_path / "set" / "masks" / f"wall{index}.png", np.eye(96, 64) > 0)
    part = part_of_each(tmp_path / "set", tmp_path)
    parts = [part[f"drive_{index:04d}"] for index in range(50)]
    assert parts == ["train"] * 34 + ["validation"] * 6 + ["test"] * 10
    assert len(part) == 60
    assert "50 pictures are frames of the video drive, which is cut" in capsys.readouterr().out
