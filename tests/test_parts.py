"""The store of decoded pictures: exact, made once, gone on with, shared, never larger than read."""

import multiprocessing
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackutils.data import picture_cache
from crackutils.data.picture_cache import Part, open_part, store
from crackutils.data.samples import Sample


def picture(index: int, size: tuple[int, int], with_width: bool = False) -> Sample:
    generator = np.random.default_rng(index)
    width = generator.integers(0, 999, size).astype(np.float32) / 100 if with_width else None
    return Sample(f"s{index}", generator.integers(256, size=(*size, 3), dtype=np.uint8),
                  generator.integers(2, size=size, dtype=np.uint8), width)


class Decoder:
    """Decodes a number to a picture; counts, and fails where told to."""

    def __init__(self, fails_at=None, with_width=None):
        self.calls, self.fails_at, self.with_width = [], fails_at, with_width

    def __call__(self, index):
        if index == self.fails_at:
            raise ValueError("the picture can't be read")
        self.calls.append(index)
        with_width = bool(self.with_width and self.with_width(index))
        return picture(index, (5 + index % 3, 7), with_width), f"{index:02x}"


JOBS = [("train" if index % 3 else "test", index) for index in range(40)]


def equal(sample: Sample, other: Sample) -> bool:
    widths = (sample.width is None and other.width is None) or np.allclose(
        sample.width, other.width, atol=1e-6)
    return widths and sample.name == other.name and np.array_equal(
        sample.image, other.image) and np.array_equal(sample.mask, other.mask)


@pytest.mark.parametrize("with_width", [lambda _: False, lambda _: True, lambda i: i % 2 == 0])
def test_every_picture_comes_back_from_its_part(tmp_path, with_width):
    decoder = Decoder(with_width=with_width)
    entries = store(tmp_path / "a", JOBS, decoder, any(map(with_width, range(40))))
    assert [entry.digest for entry in entries] == [f"{index:02x}" for _, index in JOBS]
    for part in ("train", "test"):
        wanted = [index for name, index in JOBS if name == part]
        opened = open_part(tmp_path / "a", part)
        assert opened.names == [f"s{index}" for index in wanted]
        assert opened.sizes == [(5 + index % 3, 7) for index in wanted]
        for index, sample in zip(wanted, opened):
            assert equal(sample, picture(index, (5 + index % 3, 7), with_width(index)))
            assert not sample.image.flags.writeable and isinstance(sample.image, np.memmap)


def test_a_store_is_made_once_even_by_two_processes(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        arguments = [(tmp_path / "a", JOBS, Decoder(), False)] * 2
        first, second = pool.starmap(store, arguments)
    assert first == second and len(first) == 40
    decoder = Decoder()
    assert store(tmp_path / "a", JOBS, decoder, False) == first and decoder.calls == []


@settings(max_examples=20, deadline=None)
@given(kept=st.integers(0, 10_000), index_kept=st.integers(0, 3_000), fails_at=st.integers(0, 39))
def test_a_store_cut_short_anywhere_is_gone_on_with(tmp_path_factory, kept, index_kept, fails_at):
    whole, cut = (tmp_path_factory.mktemp("stores") / name for name in ("whole", "cut"))
    store(whole, JOBS, Decoder(), False)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ValueError, match="can't be read"):
        patch.setattr(picture_cache, "SYNC_BYTES", 1000)  # some pictures between two entries
        store(cut, JOBS, Decoder(fails_at), False)
    for name, length in (("images.bin", kept), ("index.jsonl", index_kept)):
        (cut / name).write_bytes((cut / name).read_bytes()[:length])
    decoder = Decoder()
    store(cut, JOBS, decoder, False)
    for name in ("images.bin", "masks.bin", "index.jsonl"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()


def test_what_was_whole_is_not_decoded_again(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_cache, "SYNC_BYTES", 0)
    with pytest.raises(ValueError):
        store(tmp_path / "a", JOBS, Decoder(fails_at=30), False)
    decoder = Decoder()
    store(tmp_path / "a", JOBS, decoder, False)
    assert sorted(decoder.calls) == list(range(len(picture_cache.read_index(tmp_path / "a")) -
                                               len(decoder.calls), 40))
    assert len(decoder.calls) <= 10 + 2 * (picture_cache.os.cpu_count() or 1)


@pytest.mark.parametrize("harm", [
    lambda folder: (folder / "images.bin").write_bytes(b"short"),
    lambda folder: (folder / "masks.bin").write_bytes(bytes(10_000)),
    lambda folder: (folder / "images.bin").unlink(),
    lambda folder: (folder / "complete.json").unlink()])
def test_a_store_that_was_harmed_is_mended(tmp_path, harm):
    store(tmp_path / "a", JOBS, Decoder(), False)
    before = (tmp_path / "a" / "images.bin").read_bytes()
    harm(tmp_path / "a")
    store(tmp_path / "a", JOBS, Decoder(), False)
    assert (tmp_path / "a" / "images.bin").read_bytes() == before
    assert equal(open_part(tmp_path / "a", "test")[0], picture(0, (5, 7)))


def test_a_part_maps_its_own_pixels_alone(tmp_path):
    jobs = sorted(JOBS, reverse=True)
    store(tmp_path / "a", jobs, Decoder(), False)
    for part in ("train", "test"):
        opened = open_part(tmp_path / "a", part)
        assert len(opened.arrays["masks"]) == sum(height * width for height, width in opened.sizes)
        assert equal(opened[3], picture(int(opened.names[3][1:]), opened.sizes[3]))


def test_another_process_gets_the_place_and_not_the_pixels(tmp_path):
    store(tmp_path / "a", [("train", index) for index in range(40)], Decoder(), False)
    part = open_part(tmp_path / "a", "train")
    parcel = pickle.dumps(part)
    assert len(parcel) < 1000 < part.arrays["images"].nbytes
    assert all(equal(one, other) for one, other in zip(pickle.loads(parcel), part))


def test_a_part_of_samples_in_memory_is_like_one_from_a_store():
    samples = [picture(index, (4 + index, 6), index == 1) for index in range(3)]
    part = Part.of(samples)
    assert len(part) == 3 and all(equal(*pair) for pair in zip(part, samples))
    images, masks = part.tensors()
    assert images.shape == (6 * (4 + 5 + 6), 3) and masks.shape == (90,)
    with pytest.raises(IndexError):
        part[3]
