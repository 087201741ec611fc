"""The cache of decoded pictures: exact, made once, shared, bounded, and emptied."""

import multiprocessing
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from crackutils.data import picture_cache
from crackutils.data.picture_cache import Part, decode_in_order, open_cache
from crackutils.data.samples import Sample


def picture(index: int, size: tuple[int, int], with_width: bool = False) -> Sample:
    generator = np.random.default_rng(index)
    width = generator.integers(0, 999, size).astype(np.float32) / 100 if with_width else None
    return Sample(f"s{index}", generator.integers(256, size=(*size, 3), dtype=np.uint8),
                  generator.integers(2, size=size, dtype=np.uint8), width)


class Decoder:
    """Decodes a number to a picture; counts, and fails at one of them."""

    def __init__(self, fails_at=None, with_width=False):
        self.calls, self.fails_at, self.with_width = [], fails_at, with_width

    def __call__(self, index):
        if index == self.fails_at:
            raise ValueError("the picture can't be read")
        self.calls.append(index)
        return picture(index, (5 + index % 3, 7), self.with_width), f"{index:02x}"


PARTS = {"train": [*range(1, 25)], "test": [0, *range(25, 40)]}


def memory_of(index) -> int:
    return 1


def make(data_set, decoder=None, version="v", parts=PARTS, with_widths=False):
    return open_cache(data_set, version, parts, decoder or Decoder(), memory_of, with_widths)


def folder(data_set, version="v"):
    return data_set / f"{picture_cache.FORMAT}-{version}"


def equal(sample: Sample, other: Sample) -> bool:
    widths = (sample.width is None and other.width is None) or np.allclose(
        sample.width, other.width, atol=1e-6)
    return widths and sample.name == other.name and np.array_equal(
        sample.image, other.image) and np.array_equal(sample.mask, other.mask)


@pytest.mark.parametrize("with_width", [False, True])
def test_every_picture_comes_back_from_its_part(tmp_path, with_width):
    opened = make(tmp_path, Decoder(with_width=with_width), with_widths=with_width)
    for part, indices in PARTS.items():
        assert opened[part].names == [f"s{index}" for index in indices]
        assert opened[part].digests == [f"{index:02x}" for index in indices]
        assert opened[part].sizes == [(5 + index % 3, 7) for index in indices]
        for index, sample in zip(indices, opened[part]):
            assert equal(sample, picture(index, (5 + index % 3, 7), with_width))
            assert not sample.image.flags.writeable and isinstance(sample.image, np.memmap)
        assert equal(opened[part][-1], opened[part][len(indices) - 1])


def make_and_count(data_set) -> tuple[list[str], int]:
    """The names, and how many pictures this process decoded."""
    decoder = Decoder()
    opened = make(data_set, decoder)
    return opened["train"].names + opened["test"].names, len(decoder.calls)


def test_a_cache_is_made_once_even_by_two_processes(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first, second = pool.map(make_and_count, [tmp_path] * 2)
    assert first[0] == second[0] and sorted((first[1], second[1])) == [0, 40]
    assert make_and_count(tmp_path) == (first[0], 0)


def test_a_cache_that_could_not_be_made_leaves_nothing(tmp_path):
    for name in ("new", "again"):
        with pytest.raises(ValueError, match="can't be read"):
            make(tmp_path, Decoder(fails_at=30))
        assert caches(tmp_path) == set(), name
    (tmp_path / f"{folder(tmp_path).name}.part").mkdir()  # of a process that was killed
    make(tmp_path)
    assert caches(tmp_path) == {folder(tmp_path).name}


@pytest.mark.parametrize("harm", [
    lambda cache: (cache / "images.bin").write_bytes(b"short"),
    lambda cache: (cache / "masks.bin").write_bytes(bytes(10_000)),
    lambda cache: (cache / "images.bin").unlink(),
    lambda cache: (cache / "index.jsonl").unlink(),
    lambda cache: (cache / "index.jsonl").write_text(""),
    lambda cache: (cache / "index.jsonl").write_text('["train", "a", 5'),
    lambda cache: (cache / "index.jsonl").write_text("[1]\n")])
def test_a_damaged_cache_is_mended(tmp_path, harm):
    make(tmp_path)
    before = (folder(tmp_path) / "images.bin").read_bytes()
    harm(folder(tmp_path))
    opened = make(tmp_path)
    assert (folder(tmp_path) / "images.bin").read_bytes() == before
    assert equal(opened["test"][0], picture(0, (5, 7)))


def test_a_part_maps_its_own_pixels_alone(tmp_path):
    for part in make(tmp_path).values():
        assert len(part.arrays["masks"]) == sum(height * width for height, width in part.sizes)
        assert equal(part[3], picture(int(part.names[3][1:]), part.sizes[3]))


def test_another_process_gets_the_place_and_not_the_pixels(tmp_path):
    part = make(tmp_path)["train"]
    parcel = pickle.dumps(part)
    assert len(parcel) < 1000 < part.arrays["images"].nbytes
    assert all(equal(*pair) for pair in zip(pickle.loads(parcel), part, strict=True))


@pytest.mark.parametrize("with_width", [False, True])
def test_a_part_in_memory_is_like_one_from_a_cache(with_width):
    samples = [picture(index, (4 + index, 6), with_width) for index in range(3)]
    part = Part.of(samples)
    assert len(part) == 3 and all(equal(*pair) for pair in zip(part, samples))
    images, masks = part.tensors()
    assert images.shape == (6 * (4 + 5 + 6), 3) and masks.shape == (90,)
    with pytest.raises(IndexError):
        part[3]


def caches(data_set) -> set[str]:
    return {path.name for path in data_set.iterdir() if path.is_dir()}


def test_a_cache_of_another_format_is_not_read(tmp_path, monkeypatch):
    make(tmp_path)
    monkeypatch.setattr(picture_cache, "FORMAT", picture_cache.FORMAT + 1)
    decoder = Decoder()
    make(tmp_path, decoder)
    assert len(decoder.calls) == 40


@pytest.mark.parametrize("change", ["format", "age"])
def test_a_new_cache_takes_the_place_of_unused_ones_of_its_data_set(tmp_path, monkeypatch, change):
    mine, others = tmp_path / "set-1", tmp_path / "set-2"
    for data_set in (mine, others):
        make(data_set, version="a")
    if change == "format":
        monkeypatch.setattr(picture_cache, "FORMAT", picture_cache.FORMAT + 1)
    else:
        monkeypatch.setattr(picture_cache, "KEPT_SECONDS", -1)
    opened = make(mine, version="b")
    assert caches(mine) == {folder(mine, "b").name}
    assert len(caches(others)) == 1  # another folder of the same name keeps its own
    assert all(equal(*pair) for pair in zip(opened["test"], make(others, version="a")["test"]))


def test_other_choices_of_a_data_set_keep_their_caches(tmp_path):
    for version in "aba":
        decoder = Decoder()
        make(tmp_path, decoder, version)
    assert not decoder.calls


def make_slowly(data_set, version, begun) -> None:
    """Make a cache whose first picture says that the lock is held, and waits for the other."""
    decoder = Decoder()

    def decode(files):
        begun.set()
        time.sleep(0.05)
        return decoder(files)

    make(data_set, decode, version=version)


def test_two_processes_may_make_two_caches_of_one_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_cache, "KEPT_SECONDS", -1)
    begun = threading.Event()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(make_slowly, tmp_path, "a", begun)
        assert begun.wait(60)
        second = make(tmp_path, version="b")  # waits, and then finds its folder
        first.result()
    assert equal(second["test"][0], picture(0, (5, 7)))


def test_a_part_whose_cache_is_removed_stays_readable(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_cache, "KEPT_SECONDS", -1)
    part = make(tmp_path, version="a")["train"]
    make(tmp_path, version="b")
    assert caches(tmp_path) == {folder(tmp_path, "b").name}
    assert equal(part[0], picture(1, (6, 7)))


@pytest.mark.parametrize("memory, most", [(1, 8), (100, 3), (301, 1), (299, 1)])
def test_pictures_being_decoded_take_bounded_memory(monkeypatch, memory, most):
    """4 cores, room for 300 bytes: `most` pictures are decoded or wait to be taken at once."""
    monkeypatch.setattr(picture_cache, "usable_cores", lambda: 4)
    monkeypatch.setattr(picture_cache, "DECODING_BYTES", 300)
    lock, held, highest = threading.Lock(), [0], [0]

    def decode(index):
        with lock:
            held[0] += 1
            highest[0] = max(highest[0], held[0])
        time.sleep(0.001)
        return index

    for expected, index in enumerate(decode_in_order(range(30), decode, lambda _: memory)):
        assert index == expected
        with lock:
            held[0] -= 1
    assert expected == 29 and highest[0] <= most
