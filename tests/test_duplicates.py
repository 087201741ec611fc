"""Photographs of the same thing: planted ones are found, others are not, no split parts them."""

import cv2
import miniatures
import numpy as np
import pytest
from PIL import Image

from crackutils import data as datasets
from crackutils.data import split
from crackutils.data.split import alike, groups_of, positions, preview, reduced
from crackutils.data.synthetic import cracks
from crackutils.protocol import preset

SIZE = (192, 256)


def photograph(index: int) -> np.ndarray:
    return cracks.draw(3, index, SIZE)[0]


def grey(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


CHANGES = {  # what one photograph may become in a data set
    "brighter": lambda one: np.clip(one * 1.2 + 12, 0, 255).astype(np.uint8),
    "noisy": lambda one: np.clip(one + np.random.default_rng(0).normal(0, 6, one.shape), 0,
                                 255).astype(np.uint8),
    "smaller": lambda one: cv2.resize(one, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "cropped": lambda one: one[3:-3, 4:-4],
    "compressed": lambda one: cv2.imdecode(
        cv2.imencode(".jpg", one, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)}


@pytest.mark.parametrize("turns, mirrored", split.POSITIONS)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_same_photograph_is_known_again(change, turns, mirrored):
    for index in range(3):
        one = photograph(index)
        other = np.rot90(np.fliplr(change(one)) if mirrored else change(one), turns)
        assert alike([reduced(grey(one)), reduced(grey(np.ascontiguousarray(other)))])


def test_other_photographs_are_not_taken_for_it():
    assert alike([reduced(grey(photograph(index))) for index in range(120)]) == []


def test_correlation_is_one_for_a_shifted_copy_and_small_for_noise():
    chance = np.random.default_rng(0)
    one, other = chance.random((2, 64, 64)).astype(np.float32) * 255
    assert split.correlation(one, np.roll(one, (5, -9), (0, 1))) > 0.95
    assert split.correlation(one, other) < 0.2
    assert len({split.perceptual_hash(turned) for turned in positions(one)}) == 8


def test_groups_are_chains_of_pairs():
    groups = groups_of(6, [(0, 1, 1.0), (1, 4, 1.0), (2, 3, 1.0)])
    assert groups[0] == groups[1] == groups[4] != groups[2] == groups[3]
    assert len(set(groups)) == 3 and len(set(groups_of(3, []))) == 3


@pytest.fixture
def planted(tmp_path):
    """METU's layout with 24 photographs, 9 of them twice: turned or mirrored, compressed anew."""
    folder, twins = tmp_path / "metu", []
    for index in range(24):
        picture, mask, _ = cracks.draw(3, index, SIZE)
        mask = mask * np.uint8(255)
        names = [f"{index:03d}"]
        if index % 8 < 3:
            turns, mirrored = split.POSITIONS[1 + index % 7]
            names.append(f"{100 + index:03d}")
            twins.append(set(names))
        for name, copy in zip(names, (False, True)):
            for kind, one in (("rgb", picture), ("BW", mask)):
                if copy:
                    one = np.rot90(np.fliplr(one) if mirrored else one, turns)
                (folder / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.ascontiguousarray(one)).save(
                    folder / kind / f"{name}.jpg", quality=90 - 20 * copy)
    return folder, twins


def test_all_planted_twins_are_found_and_no_split_parts_them(planted, tmp_path):
    folder, twins = planted
    files = datasets.recognise(folder).parts(folder)["all"]
    found = {}
    for one, group in zip(files, split.together(files, tmp_path)):
        found.setdefault(group, []).append(one.name)
    assert sorted(sorted(group) for group in found.values() if len(group) > 1) == sorted(
        map(sorted, twins))
    dataset = datasets.load(folder, preset("smoke"), tmp_path)
    parts = [set(part.names) for part in (dataset.train, dataset.validation, dataset.test)]
    assert all(any(pair <= part for part in parts) for pair in twins)
    assert [len(part) for part in parts] == [33 - 4 - 7, 4, 7]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 33
    (tmp_path / "elsewhere").mkdir()
    again = datasets.load(folder.rename(tmp_path / "elsewhere" / "metu"), preset("smoke"),
                          tmp_path / "other")
    assert again.fingerprint == dataset.fingerprint and again.test.names == dataset.test.names


def test_twins_are_looked_for_once(planted, tmp_path, monkeypatch):
    first = datasets.load(planted[0], preset("smoke"), tmp_path).fingerprint
    [kept] = (tmp_path / "cache").glob("twins-*.json")
    with monkeypatch.context() as patch:
        patch.setattr(split, "alike", None)
        assert datasets.load(planted[0], preset("smoke"), tmp_path).fingerprint == first
    for harmed in ("[0, 1", "[0, 1]"):
        kept.write_text(harmed)
        assert datasets.load(planted[0], preset("smoke"), tmp_path).fingerprint == first


def test_photographs_that_all_show_one_thing_are_refused(tmp_path):
    for index in range(8):
        miniatures.save(tmp_path / "set" / "images" / f"{index}.png", photograph(0))
        miniatures.save(tmp_path / "set" / "masks" / f"{index}.png",
                        np.eye(192, 256, dtype=np.uint8) * 255)
    with pytest.raises(datasets.DataError, match="8 pairs that show 1 different things"):
        datasets.load(tmp_path / "set", preset("smoke"), tmp_path)


def test_a_preview_is_the_reduced_picture(tmp_path):
    miniatures.save(tmp_path / "a.jpg", photograph(0), quality=95)
    whole = reduced(grey(np.asarray(Image.open(tmp_path / "a.jpg"))))
    assert np.abs(preview(tmp_path / "a.jpg") - whole).mean() < 2
