"""Data sets on disk: layouts, splits, fingerprints, the synthetic sets, and what is refused."""

import errno
import inspect
import shutil

import numpy as np
import pytest
from PIL import Image

from crackutils import data as datasets
from crackutils.data import picture_cache, synthetic
from crackutils.data.samples import DataError
from crackutils.data.synthetic import cracks, roads
from crackutils.papers.source import reading_source
from crackutils.protocol import preset

SMOKE = preset("smoke")
ROADS = preset("smoke", "roads")


def picture(index: int, size=(6, 8)) -> np.ndarray:
    return np.random.default_rng(index).integers(256, size=(*size, 3), dtype=np.uint8)


def mask_of(index: int, size=(6, 8)) -> np.ndarray:
    return np.random.default_rng(100 + index).integers(2, size=size, dtype=np.uint8)


def save(path, array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def plain(tmp_path):
    """Ten pairs a, b, ..., j without lists."""
    folder = tmp_path / "photos"
    for index, stem in enumerate("abcdefghij"):
        save(folder / "images" / f"{stem}.png", picture(index))
        save(folder / "masks" / f"{stem}.png", mask_of(index) * 255)
    return folder


@pytest.fixture
def driving(tmp_path):
    """BDD100K's layout: eight frames to train, two of val."""
    folder = tmp_path / "bdd"
    for part, count in (("train", 8), ("val", 2)):
        for index in range(count):
            save(folder / "images" / "100k" / part / f"{part}{index}.jpg", picture(index))
            labels = np.random.default_rng(index).integers(3, size=(6, 8), dtype=np.uint8)
            save(folder / "labels" / "drivable" / "masks" / part / f"{part}{index}.png", labels)
    return folder


def write_lists(folder, train="abc", validation="de", test="fg"):
    for name, stems in (("train", train), ("val", validation), ("test", test)):
        (folder / f"{name}.txt").write_text("".join(f"{stem}\n" for stem in stems))


def load(folder, protocol=SMOKE):
    return datasets.load(folder, protocol, folder.parent / "runs")


def names(dataset) -> dict[str, list[str]]:
    return {part: [sample.name for sample in getattr(dataset, part)] for part in datasets.PARTS}


def test_a_plain_folder_with_lists_is_split_as_they_say(plain):
    write_lists(plain)
    dataset = load(plain)
    assert (dataset.name, dataset.layout) == ("photos", "plain")
    assert names(dataset) == {"train": list("abc"), "validation": list("de"), "test": list("fg")}
    for index, sample in enumerate(dataset.train):
        assert np.array_equal(sample.image, picture(index))
        assert np.array_equal(sample.mask, mask_of(index)) and sample.mask.dtype == np.uint8
        assert sample.width is None


def test_lists_may_name_files_and_stems_may_hold_dots(plain):
    for kind in ("images", "masks"):
        (plain / kind / "a.png").rename(plain / kind / "IMG_1.2.png")
    write_lists(plain, train=["IMG_1.2", "b.png", "c.JPG"])
    assert names(load(plain))["train"] == ["IMG_1.2", "b", "c"]


def test_a_folder_without_lists_is_split_in_the_same_way_wherever_it_lies(plain, tmp_path):
    first = names(load(plain))
    assert [len(first[part]) for part in datasets.PARTS] == [7, 1, 2]
    assert sorted(sum(first.values(), [])) == list("abcdefghij")
    moved = tmp_path / "elsewhere" / "photos"
    shutil.copytree(plain, moved)
    assert names(load(moved)) == first and load(moved).fingerprint == load(plain).fingerprint


def test_bdd100k_counts_direct_and_alternative_as_drivable(driving):
    dataset = load(driving, preset("smoke", "roads", {"tile": (6, 8)}))
    assert dataset.layout == "bdd100k" and names(dataset)["test"] == ["val0", "val1"]
    inner = names(dataset)["train"] + names(dataset)["validation"]
    assert sorted(inner) == [f"train{index}" for index in range(8)]
    assert len(dataset.validation) == 1  # .12 of 8, and never none
    for index, sample in enumerate(dataset.test):
        labels = np.random.default_rng(index).integers(3, size=(6, 8), dtype=np.uint8)
        assert np.array_equal(sample.mask, (labels != 2).astype(np.uint8))


@pytest.mark.parametrize("threshold", [96, 128, 160])
def test_grey_masks_are_positive_from_the_protocols_threshold_on(plain, threshold):
    levels = np.zeros((6, 8), np.uint8)
    levels[0], levels[1] = [95, 127, 128, 160, 159, 255, 96, 20], np.arange(5, 253, 31)
    save(plain / "masks" / "a.png", levels)
    write_lists(plain)
    found = load(plain, preset("smoke", overrides={"mask_threshold": threshold})).train[0].mask
    assert np.array_equal(found, (levels >= threshold).astype(np.uint8))


def test_an_image_is_turned_as_its_exif_orientation_says(plain):
    stored = picture(0, (6, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    Image.fromarray(stored).save(plain / "images" / "a.png", exif=exif)
    save(plain / "masks" / "a.png", mask_of(0, (8, 6)) * 255)
    write_lists(plain)
    sample = load(plain).train[0]
    assert np.array_equal(sample.image, np.rot90(stored, -1))
    assert np.array_equal(sample.mask, mask_of(0, (8, 6)))


def test_a_table_looks_for_the_records_of_the_data_that_was_trained_on(plain, driving):
    for folder, task in ((plain, "cracks"), (driving, "roads")):
        source = reading_source("smoke", task, folder, "runs", "", [0])
        trained = load(folder, preset("smoke", task))
        assert source.fingerprint == trained.fingerprint and source.dataset == trained.name


def test_a_full_disk_is_named_with_what_to_do(plain, monkeypatch):
    def disk_is_full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    write_lists(plain)
    monkeypatch.setattr(picture_cache.os, "fsync", disk_is_full)
    with pytest.raises(DataError, match="/runs/cache/photos-.* can't be read or written .No space "
                       "left on device.: make room and start the same command again."):
        load(plain)


def test_two_data_sets_of_one_name_never_share_a_place(plain, tmp_path, capsys):
    other, runs = tmp_path / "elsewhere" / "photos", tmp_path / "runs"
    shutil.copytree(plain, other)
    change_byte(other / "images" / "g.png")
    for _ in range(2):
        first, second = (datasets.load(folder, SMOKE, runs) for folder in (plain, other))
        assert (first.name, second.name) == ("photos", f"photos-{second.fingerprint[:8]}")
    said = capsys.readouterr().out
    assert said.count("holds results of other pictures of that name") == 1 and second.name in said
    for folder, dataset in ((plain, first), (other, second)):
        source = reading_source("smoke", "cracks", folder, runs, "", [0])
        assert (source.dataset, source.fingerprint) == (dataset.name, dataset.fingerprint)
    assert datasets.load(other, preset("quick"), runs).name == "photos"


def test_a_place_with_records_of_other_data_is_not_taken(plain, tmp_path):
    for number in range(2):
        record = tmp_path / "runs" / "smoke" / "photos" / "records" / str(number)
        record.mkdir(parents=True)
        (record / "config.json").write_text(f'{{"fingerprint": "{number}"}}')
    fingerprint = load(plain).fingerprint
    assert load(plain).name == f"photos-{fingerprint[:8]}"
    (record.parents[1] / "fingerprint.txt").unlink()
    (record / "config.json").write_text(f'{{"fingerprint": "{fingerprint}"}}')
    assert load(plain).name == "photos"


def change_byte(path):
    Image.fromarray(np.asarray(Image.open(path)) ^ np.uint8(255)).save(path)


@pytest.mark.parametrize("change", [
    lambda folder: change_byte(folder / "images" / "g.png"),
    lambda folder: change_byte(folder / "masks" / "a.png"),
    lambda folder: [save(folder / "widths" / f"{stem}.png", np.zeros((6, 8), np.uint16))
                    for stem in "abcdefghij"],
    lambda folder: [(folder / kind / "a.png").rename(folder / kind / "k.png")
                    for kind in ("images", "masks")] and write_lists(folder, train="kbc"),
    lambda folder: write_lists(folder, train="ab"),
    lambda folder: write_lists(folder, train="acb"),
    lambda folder: write_lists(folder, validation="fg", test="de"),
    lambda folder: write_lists(folder, train="abcd", validation="e")])
def test_the_fingerprint_changes_with_any_byte_name_or_split(plain, change):
    write_lists(plain)
    before = load(plain).fingerprint
    change(plain)
    assert load(plain).fingerprint != before
    assert len(before) == 64


def test_bdd100k_with_too_few_frames_to_train_on_is_refused(driving):
    for index in range(1, 8):
        (driving / "images" / "100k" / "train" / f"train{index}.jpg").unlink()
        (driving / "labels" / "drivable" / "masks" / "train" / f"train{index}.png").unlink()
    with pytest.raises(ValueError, match="train"):
        load(driving, ROADS)


@pytest.mark.parametrize("overrides", [{}, {"counts": [4, 4, 2]}])
@pytest.mark.parametrize("task", ["cracks", "roads"])
def test_a_synthetic_set_has_the_protocols_counts_and_size(tmp_path, task, overrides):
    protocol = preset("smoke", task, overrides)
    dataset = datasets.load("synthetic", protocol, tmp_path)
    assert tuple(len(getattr(dataset, part)) for part in datasets.PARTS) == protocol.counts
    assert dataset.name == "synthetic"
    assert {sample.mask.shape for sample in dataset.train} == {protocol.image_size}


def test_synthetic_pixels_masks_and_widths_survive_the_disk(tmp_path):
    dataset = datasets.load("synthetic", SMOKE, tmp_path)
    for index, sample in enumerate([*dataset.train, *dataset.validation, *dataset.test]):
        image, mask, width = cracks.draw(0, index, SMOKE.image_size)
        assert np.array_equal(sample.image, image) and np.array_equal(sample.mask, mask)
        assert np.abs(sample.width - width).max() <= 0.005 + 1e-6
    for sample in datasets.load("synthetic", ROADS, tmp_path).test:
        image, labels = roads.draw(0, int(sample.name), ROADS.image_size)
        assert np.array_equal(sample.image, image)
        assert np.array_equal(sample.mask, np.isin(labels, (0, 1)))


def rewrite(path, change=lambda pixels: pixels) -> None:
    """Write a PNG anew as another encoder might, with the same pixels or changed ones."""
    with Image.open(path) as stored:
        pixels = np.array(stored)
    before = path.read_bytes()
    Image.fromarray(change(pixels)).save(path, compress_level=1)
    assert path.read_bytes() != before


def brighter_in_one_pixel(pixels: np.ndarray) -> np.ndarray:
    pixels.flat[7] = 255 if pixels.flat[7] == 0 else 0
    return pixels


@pytest.mark.parametrize("task", ["cracks", "roads"])
def test_the_fingerprint_of_a_synthetic_set_is_that_of_its_pixels(tmp_path, task):
    protocol = preset("smoke", task)
    fingerprint = datasets.load("synthetic", protocol, tmp_path).fingerprint
    pictures = sorted(synthetic.synthetic_folder(protocol, tmp_path).rglob("*.png"))
    assert {path.suffix for path in (tmp_path / "data").rglob("*.*")} <= {".png", ".txt"}
    for path in pictures:
        rewrite(path)
    assert datasets.load("synthetic", protocol, tmp_path).fingerprint == fingerprint
    for kind in {path.parent for path in pictures}:  # images, masks, widths; by part for roads
        kept = min(kind.iterdir()).read_bytes()
        rewrite(min(kind.iterdir()), brighter_in_one_pixel)
        assert datasets.load("synthetic", protocol, tmp_path).fingerprint != fingerprint, kind
        min(kind.iterdir()).write_bytes(kept)
    assert datasets.load("synthetic", protocol, tmp_path).fingerprint == fingerprint


def test_a_synthetic_set_of_another_generator_takes_the_place_of_the_old_one(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_cache, "KEPT_SECONDS", -1)
    old = synthetic.synthetic_folder(SMOKE, tmp_path)
    datasets.load("synthetic", SMOKE, tmp_path)
    source = inspect.getsource(cracks) + "# changed"
    monkeypatch.setattr(synthetic.inspect, "getsource", lambda _: source)
    new = synthetic.synthetic_folder(SMOKE, tmp_path)
    assert old != new and list(new.parent.iterdir()) == [new]
    datasets.load("synthetic", SMOKE, tmp_path)
    [cache] = (tmp_path / "cache").iterdir()
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1


def test_two_folders_of_one_name_keep_a_cache_each(plain, tmp_path):
    other = tmp_path / "elsewhere" / "photos"
    shutil.copytree(plain, other)
    for _ in range(2):
        for folder in (plain, other):
            datasets.load(folder, SMOKE, tmp_path / "runs")
    caches = list((tmp_path / "runs" / "cache").glob("photos-*/*/index.jsonl"))
    assert len(caches) == 2


def test_a_synthetic_set_is_drawn_once_and_is_the_same_everywhere(tmp_path, monkeypatch):
    folder = synthetic.synthetic_folder(SMOKE, tmp_path / "one")
    again = datasets.load("synthetic", SMOKE, tmp_path / "two").fingerprint
    monkeypatch.setattr(synthetic, "write_cracks", None)
    assert synthetic.synthetic_folder(SMOKE, tmp_path / "one") == folder
    assert datasets.load("synthetic", SMOKE, tmp_path / "one").fingerprint == again


def test_a_synthetic_set_that_was_interrupted_leaves_nothing(tmp_path, monkeypatch):
    real = cracks.draw

    def fails_at_the_fourth(seed, index, size):
        if index == 3:
            raise KeyboardInterrupt
        return real(seed, index, size)

    monkeypatch.setattr(cracks, "draw", fails_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        synthetic.synthetic_folder(SMOKE, tmp_path)
    assert list((tmp_path / "data").iterdir()) == []


def test_of_two_processes_drawing_a_set_the_second_leaves_nothing(tmp_path, monkeypatch):
    real = synthetic.write_cracks
    rivals = []

    def rival_is_faster(folder, protocol):
        real(folder, protocol)
        if not rivals:
            rivals.append(folder)
            synthetic.synthetic_folder(protocol, tmp_path).joinpath("first").touch()

    monkeypatch.setattr(synthetic, "write_cracks", rival_is_faster)
    folder = synthetic.synthetic_folder(SMOKE, tmp_path)
    assert (folder / "first").exists()
    assert list((tmp_path / "data").glob("*/*")) == [folder]
