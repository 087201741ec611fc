"""Decoding: labels stay where their pictures are, and neither memory nor messages run over."""

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
from PIL import Image

from crackutils.data import decoding, samples
from crackutils.data.decoding import decode, framed, memory_of
from crackutils.data.layouts import LAYOUTS
from crackutils.data.samples import DataError, Files, Sample, printable
from crackutils.protocol import preset


def edges(size: tuple[int, int], axis: int, count: int) -> list[tuple[np.ndarray, int]]:
    """Masks that are 1 on one side of a straight edge across `axis`, with the sign of that side.

    The edges lie as densely on the left as on the right: labels are whole pixels, and only in the
    mean over such edges does what is rounded up make up for what is rounded down.
    """
    masks = []
    half = np.linspace(1, size[axis] // 2, count // 2).astype(int)
    for place in (*half, *size[axis] - half):
        for before in (True, False):
            position = np.arange(size[axis])
            side = (position < place) == before
            mask = np.broadcast_to(side[:, None] if axis == 0 else side, size).astype(np.uint8)
            masks.append((mask, 1 if before else -1))
    return masks


def shift(result: Sample, label: int, axis: int) -> float:
    """How far a label's edge lies from its picture's, in pixels of the result."""
    lines = result.mask.shape[1 - axis]
    return ((result.mask == label).sum() - result.image[..., 1].sum() / 255) / lines


SIZES = [((360, 480), (128, 160)),  # CamVid's
         ((720, 1280), (352, 640)),  # BDD100K's: by two exactly, and by a little more
         ((96, 128), (48, 64)), ((64, 96), (16, 24)), ((64, 96), (56, 90)), ((50, 60), (64, 96))]


@pytest.mark.parametrize("labels", [(0, 1), (1, 2)], ids=str)
@pytest.mark.parametrize("size, tile", SIZES, ids=str)
def test_reducing_does_not_shift_labels_against_the_image(size, tile, labels):
    protocol = preset("smoke", "roads", {"tile": tile})
    for axis in (0, 1):
        shifts = []
        for mask, sign in edges(size, axis, 8):
            image = np.repeat(mask[..., None] * np.uint8(255), 3, 2)
            labelled = np.array(labels, np.uint8)[mask]
            result = framed(Sample("edge", image, labelled, None), protocol)
            shifts.append(sign * shift(result, labels[1], axis))
        assert abs(np.mean(shifts)) < 0.01
        assert np.abs(shifts).max() < 0.51  # no label is finer than its pixel


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("size", [(720, 1280), (363, 645), (241, 323)])
def test_a_reduced_photograph_is_not_shifted_whatever_its_orientation(size, orientation):
    tile = (40, 72)
    protocol = preset("smoke", "roads", {"tile": tile})
    files = Files("edge", Path("edge.jpg"), Path("edge.png"))
    exif = Image.Exif()
    exif[0x0112] = orientation
    for axis in (0, 1):
        shifts = []
        for mask, sign in edges(size, axis, 6):
            contents = [io.BytesIO(), io.BytesIO()]
            stored = np.rot90(mask) if orientation == 6 else mask  # is shown turned clockwise
            Image.fromarray(stored * 255).convert("RGB").save(
                contents[0], "jpeg", quality=95, subsampling=0, exif=exif)
            Image.fromarray(mask * 255).save(contents[1], "png")
            sample = decode(files, [content.getvalue() for content in contents],
                            LAYOUTS["plain"], protocol)
            assert framed(sample, protocol).mask.shape == tile
            shifts.append(sign * shift(framed(sample, protocol), 1, axis))
        assert abs(np.mean(shifts)) < 0.05


def mat_file(labels: np.ndarray, **options) -> bytes:
    content = io.BytesIO()
    scipy.io.savemat(content, {"groundTruth": {"Segmentation": labels}}, **options)
    return content.getvalue()


def decode_mat(content: bytes, size: tuple[int, int]) -> np.ndarray:
    image = io.BytesIO()
    Image.new("RGB", size[::-1]).save(image, "png")
    files = Files("003", Path("003.jpg"), Path("003.mat"))
    return decode(files, [image.getvalue(), content], LAYOUTS["crackforest"], preset("smoke")).mask


def test_a_large_mat_file_is_refused(monkeypatch):
    labels = np.random.default_rng(0).integers(1, 3, (50, 60)).astype(np.uint8)
    for compressed in (False, True):
        content = mat_file(labels, do_compression=compressed)
        monkeypatch.setattr(decoding, "LARGEST_MAT", len(content))
        assert np.array_equal(decode_mat(content, labels.shape), labels == 2)
        monkeypatch.setattr(decoding, "LARGEST_MAT", len(content) - 1)
        with pytest.raises(DataError, match=f"003.mat has {len(content):,} bytes: at most"):
            decode_mat(content, labels.shape)


def test_a_mat_file_that_declares_too_many_elements_is_refused():
    one_by_one, huge = np.array([1, 1], "<i4").tobytes(), np.array([2**20] * 2, "<i4").tobytes()
    content = mat_file(np.ones((5, 5), np.uint8)).replace(one_by_one, huge, 1)
    with pytest.raises(DataError, match=r"003.mat declares groundTruth as \(1048576, 1048576\)"):
        decode_mat(content, (5, 5))


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "LARGEST_FILE", 10)
    for name, length in (("image", 10), ("mask", 11)):
        (tmp_path / name).write_bytes(bytes(length))
    monkeypatch.setattr(Path, "read_bytes", lambda path: {"image": b"read"}[path.name])
    with pytest.raises(DataError, match="mask has 11 bytes: at most 10 are read"):
        Files("a", tmp_path / "image", tmp_path / "mask").contents()


def test_a_mask_of_another_size_is_refused_before_its_pixels_take_memory(monkeypatch):
    pictures = [io.BytesIO(), io.BytesIO()]
    Image.new("RGB", (20, 10)).save(pictures[0], "png")
    Image.new("L", (2000, 1000)).save(pictures[1], "png")
    decoded, real = [], decoding.upright
    monkeypatch.setattr(decoding, "upright", lambda path, picture: (
        decoded.append(str(path)) or real(path, picture)))
    with pytest.raises(DataError, match=r"m.png is \(1000, 2000\), its image \(10, 20\)"):
        decode(Files("a", Path("i.png"), Path("m.png")), [one.getvalue() for one in pictures],
               LAYOUTS["plain"], preset("smoke"))
    assert decoded == ["i.png"]


def test_the_memory_of_decoding_is_judged_from_the_header_alone(tmp_path):
    Image.new("L", (500, 300)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[:60])  # no pixels
    (tmp_path / "b.png").write_bytes(b"no picture")
    needed = [memory_of(Files(name, tmp_path / name, tmp_path / "mask.png"))
              for name in ("a.png", "b.png", "missing.png")]
    assert needed == [500 * 300 * decoding.BYTES_A_PIXEL, 0, 0]


@pytest.mark.parametrize("kind", ["tiff", "png"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("colours", [False, True])
def test_deep_pictures_are_scaled_by_their_depth(tmp_path, colours, bits, kind):
    generator = np.random.default_rng(bits)
    levels = generator.integers(0, 2**bits, (20, 24, 3) if colours else (20, 24)).astype(np.uint16)
    levels.flat[0] = 2**bits - 1
    path = tmp_path / f"deep.{kind}"
    cv2.imwrite(str(path), levels[..., ::-1] if colours else levels)
    decoded = np.asarray(decoding.decode_image(path, path.read_bytes()))
    expected = levels.astype(float) * 255 / (2**bits - 1)
    difference = decoded - (expected if colours else expected[..., None])
    assert difference.max() < 1e-3 and difference.min() > -1


def test_pictures_of_hundreds_of_millions_of_pixels_are_no_bombs(tmp_path, monkeypatch):
    content = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(content, "png")  # 200 million
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow's warning of bombs
        picture = decoding.open_picture(tmp_path / "a.png", content.getvalue())
    assert picture.size == (20_000, 10_000)
    monkeypatch.setattr(decoding, "MOST_PIXELS", 10**8)
    with pytest.raises(DataError, match=r"a.png has 200 million pixels.*Cut picture and mask"):
        decoding.open_picture(tmp_path / "a.png", content.getvalue())


def test_heic_is_read_whatever_its_name(tmp_path):
    levels = np.full((64, 48, 3), 90, np.uint8)
    levels[20:40] = 200
    content = io.BytesIO()
    Image.fromarray(levels).save(content, "HEIF", quality=90)
    decoded = np.asarray(decoding.decode_image(tmp_path / "a.jpg", content.getvalue()))
    assert np.abs(decoded.astype(int) - levels).max() < 12
    with pytest.raises(DataError, match="a.jpg can't be read as a picture .*: save it as JPEG"):
        decoding.decode_image(tmp_path / "a.jpg", content.getvalue()[:60])


def test_control_characters_are_escaped_in_messages():
    assert printable("Straße_\x1b[31m\n\u202e.png") == "Straße_\\x1b[31m\\n\\u202e.png"
    assert str(DataError("wall\x1b]0;title\x07.png is missing.")) == (
        "wall\\x1b]0;title\\x07.png is missing.")
