"""What a mask's pixels mean: read where it is beyond doubt, refused for the whole set where not."""

import io
from pathlib import Path

import cv2
import miniatures
import numpy as np
import pytest
import torch
from PIL import Image

from crackutils import data as datasets
from crackutils import evaluation
from crackutils.batches import Sampler
from crackutils.data.decoding import stored_values
from crackutils.data.doctor import examine
from crackutils.data.masks import IGNORED, MaskValuesError, classes_of
from crackutils.data.picture_cache import Part
from crackutils.data.samples import DataError, Sample
from crackutils.losses import LOSSES, loss_from_logits
from crackutils.protocol import preset

SIZE = (60, 80)
VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]  # the palette that most label tools write


def crack() -> np.ndarray:
    """A wandering crack of 3 px, 1 on 0."""
    mask = np.zeros(SIZE, np.uint8)
    points = np.array([[0, 10], [20, 22], [45, 18], [79, 50]], np.int32)
    return cv2.polylines(mask, [points], False, 1, thickness=3)


CRACK = crack()
RING = (cv2.dilate(CRACK, np.ones((7, 7), np.uint8)) > 0) & (CRACK == 0)
LINES = np.repeat(np.eye(30, 40, dtype=np.uint8) + np.eye(30, 40, 8, dtype=np.uint8), 2, 0).repeat(
    2, 1) * (1 + np.arange(SIZE[1]) // 20).astype(np.uint8)  # 2 px wide: 1 to 4, and a fifth below
INSTANCES = CRACK * (1 + np.arange(SIZE[1]) // 8).astype(np.uint8)  # ten pieces: 1 to 10


def paletted(numbers: np.ndarray, palette=VOC) -> Image.Image:
    picture = Image.frombytes("P", numbers.shape[::-1], numbers.astype(np.uint8).tobytes())
    picture.putpalette(palette)
    return picture


def coloured(*parts) -> np.ndarray:
    """(where, colour) pairs painted on black."""
    picture = np.zeros((*SIZE, 3), np.uint8)
    for where, colour in parts:
        picture[where > 0] = colour
    return picture


def transparent(colours: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    return np.dstack([colours, opacity])


def saved(picture, kind: str = "png") -> bytes:
    """A picture as a file's bytes; PNG has no 32-bit numbers, so these become TIFF."""
    content = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    options = {"quality": 95} if kind == "jpeg" else {}
    if picture.mode in ("F", "I"):
        kind = "tiff"
    picture.save(content, kind, **options)
    return content.getvalue()


def read(content: bytes, **overrides) -> np.ndarray:
    protocol = preset("smoke", overrides=overrides)
    return classes_of(Path("m"), stored_values(Path("m"), content, protocol), protocol)


def opacity_in_palette() -> Image.Image:
    picture = paletted(CRACK, [255] * 6)
    picture.info["transparency"] = bytes([0, 255])
    return picture


BLACK, WHITE = np.zeros((*SIZE, 3), np.uint8), np.full((*SIZE, 3), 255, np.uint8)
RED, GREEN = (255, 0, 0), (0, 255, 0)
HALF = cv2.resize(np.kron(CRACK, np.ones((2, 2), np.uint8))[1:, 1:] * 255, SIZE[::-1],
                  interpolation=cv2.INTER_AREA)
READ = {
    "0 and 255": CRACK * 255,
    "one bit": Image.fromarray(CRACK * 255).convert("1"),
    "16 bits": CRACK.astype(np.uint16) * 65535,
    "grey saved as RGB": np.repeat(CRACK[..., None] * np.uint8(255), 3, 2),
    "palette, two indices": paletted(CRACK),
    "palette of white and black": paletted(1 - CRACK, [255, 255, 255, 0, 0, 0]),
    "palette of greys": paletted(CRACK * 255, [level for level in range(256) for _ in range(3)]),
    "black on transparent": transparent(BLACK, CRACK * 255),
    "white on transparent": transparent(coloured((CRACK, (255, 255, 255))), CRACK * 255),
    "opaque": transparent(coloured((CRACK, (255, 255, 255))), np.full(SIZE, 255, np.uint8)),
    "two-bit palette": paletted(CRACK * 3, [0, 0, 0, 85, 85, 85, 170, 170, 170, 255, 255, 255]),
    "white, opaque on transparent, in a palette": opacity_in_palette(),
    "palette of two near blacks": paletted(CRACK, [0, 0, 0, 1, 1, 1]),
    "floats up to 1": CRACK.astype(np.float32),
    "12 of 16 bits": CRACK.astype(np.uint16) * 4095,
    "empty": np.zeros(SIZE, np.uint8),
}
FORMATS = {"tiff of one bit": ("tiff", {"compression": "group4"}, "1"), "bmp": ("bmp", {}, "L"),
           "jpeg of inks": ("jpeg", {"quality": 95}, "CMYK"), "pgm": ("ppm", {}, "L"),
           "jpeg in colour": ("jpeg", {"quality": 80}, "RGB"),
           "lossy webp": ("webp", {"quality": 80}, "RGB"), "opacity": ("png", {}, "LA")}


@pytest.mark.parametrize("kind, options, mode", FORMATS.values(), ids=FORMATS)
def test_masks_are_read_in_many_formats(kind, options, mode):
    picture = Image.fromarray(CRACK * 255)
    if mode == "LA":
        picture = Image.merge("LA", (Image.new("L", SIZE[::-1]), picture))
    elif mode == "CMYK":
        picture = picture.convert("RGB").convert("CMYK")
    content = io.BytesIO()
    picture.convert(mode).save(content, kind, **options)
    assert np.array_equal(read(content.getvalue()), CRACK)


@pytest.mark.parametrize("picture", READ.values(), ids=READ)
def test_what_is_beyond_doubt_is_read(picture):
    expected = np.zeros(SIZE) if picture is READ["empty"] else CRACK
    assert np.array_equal(read(saved(picture)), expected)


REFUSED = {
    "0 and 1": CRACK,
    "255 around class 1": np.where(RING, 255, CRACK).astype(np.uint8),
    "127 around 255": np.where(RING, 127, CRACK * 255).astype(np.uint8),
    "1 and 2": 1 + CRACK,
    "instances": INSTANCES,
    "instances up to 250": INSTANCES * 25,
    "classes and void": np.where(RING, 255, INSTANCES % 4).astype(np.uint8),
    "palette with void": paletted(np.where(RING, 255, CRACK)),
    "palette of three": paletted(CRACK + 2 * RING),
    "red brush": coloured((CRACK, RED)),
    "red and green": coloured((CRACK, RED), (RING, GREEN)),
    "red on transparent": transparent(coloured((CRACK, RED)), CRACK * 255),
    "0 and 254": CRACK * 254,
    "0 and 128": CRACK * 128,
    "half opaque": transparent(BLACK, CRACK * 128),
    "32 bits": CRACK.astype(np.int32),
    "instances of 16 bits": INSTANCES.astype(np.uint16) + np.where(CRACK, 24_000, 0).astype(
        np.uint16),
    "palette that begins with red": paletted(1 - CRACK, [255, 0, 0, 0, 0, 0]),
    "16 bits, 65535 around class 1": np.where(RING, 65535, CRACK.astype(np.uint16)),
    "many instances": cv2.resize(np.arange(150, dtype=np.uint8).reshape(10, 15), SIZE[::-1],
                                 interpolation=cv2.INTER_NEAREST),
    "instances on lines of 2 px": np.where(LINES > 0, LINES * 40, 0).astype(np.uint8),
    "a photograph in grey": miniatures.pixels(1, SIZE)[..., 0],
    "a photograph cut out": transparent(miniatures.pixels(0, SIZE), CRACK * 255),
    "drawn into the photograph": np.where(CRACK[..., None] > 0, np.uint8(RED),
                                          miniatures.pixels(0, SIZE)),
    "heat map": cv2.applyColorMap(CRACK * 255, cv2.COLORMAP_JET),
    "white and pale blue": coloured((np.ones(SIZE), (200, 200, 255)), (CRACK, (255, 255, 255))),
}


@pytest.mark.parametrize("picture", REFUSED.values(), ids=REFUSED)
def test_what_could_mean_several_things_is_refused(picture):
    with pytest.raises(MaskValuesError):
        read(saved(picture))


def test_soft_masks_are_cut_at_the_threshold():
    blurred = cv2.GaussianBlur(CRACK * np.uint8(255), (0, 0), 1.2)
    for soft in (HALF, blurred, cv2.resize(CRACK * np.uint8(255), None, fx=0.7, fy=0.7,
                                           interpolation=cv2.INTER_LINEAR)):
        assert np.array_equal(read(saved(soft)), soft >= 128)
        assert np.array_equal(read(saved(soft), mask_threshold=60), soft >= 60)
    noisy = Image.open(io.BytesIO(saved(CRACK * 255, "jpeg")))
    assert np.array_equal(read(saved(noisy)), np.asarray(noisy) >= 128)  # a JPEG made a PNG
    assert np.array_equal(read(saved(CRACK * 255, "jpeg")), CRACK)


def test_jpeg_hides_numbers_of_classes_but_not_their_areas():
    areas = np.zeros(SIZE, np.uint8)
    areas[10:30, 10:40], areas[40:50, 20:70] = 128, 255
    with pytest.raises(MaskValuesError):
        read(saved(areas, "jpeg"))
    assert read(saved(CRACK, "jpeg")).max() == 0  # 0 and 1: as good as empty, see the set's test
    with pytest.raises(MaskValuesError, match="positive: 1 can't be distinguished from 0"):
        read(saved(CRACK, "jpeg"), positive=1)


def test_what_the_user_says_is_positive_and_the_rest_is_background():
    void = np.where(RING, 255, CRACK).astype(np.uint8)
    assert np.array_equal(read(saved(void), positive=1), CRACK)
    with_ignored = read(saved(void), positive=1, ignore=255)
    assert np.array_equal(with_ignored == IGNORED, RING)
    assert np.array_equal(with_ignored == 1, CRACK == 1)
    grey_ring = np.where(RING, 127, CRACK * 255).astype(np.uint8)
    assert np.array_equal(read(saved(grey_ring), ignore=127), np.where(RING, IGNORED, CRACK))
    assert np.array_equal(read(saved(paletted(CRACK + 2 * RING)), positive=2), RING)
    two = coloured((CRACK, RED), (RING, GREEN))
    for picture in (two, transparent(two, (CRACK | RING) * np.uint8(255))):
        assert np.array_equal(read(saved(picture), positive=[255, 0, 0]), CRACK)
        assert np.array_equal(read(saved(picture), positive=[255, 0, 0], ignore=[0, 255, 0]),
                              np.where(RING, IGNORED, CRACK))
    assert np.array_equal(read(saved(paletted(CRACK)), positive=[128, 0, 0]), CRACK)
    with pytest.raises(MaskValuesError, match="holds colours, and positive: 1 is a number"):
        read(saved(two), positive=1)
    wide = np.kron(CRACK, np.ones((4, 4), np.uint8))
    red = Image.fromarray(np.dstack([wide * 255, 0 * wide, 0 * wide]))
    found = read(saved(red, "jpeg"), positive=[255, 0, 0])
    assert (found != wide).mean() < 0.03  # JPEG halves the resolution of colours


def folder_of(tmp_path, picture, kind: str = "png", count: int = 8) -> Path:
    for index in range(count):
        miniatures.save(tmp_path / "walls" / "images" / f"p{index}.png",
                        miniatures.pixels(index, SIZE))
        path = tmp_path / "walls" / "masks" / f"p{index}.{kind.replace('jpeg', 'jpg')}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(saved(picture, kind))
    return tmp_path / "walls"


@pytest.mark.parametrize("picture, kind, parts", [
    (REFUSED["255 around class 1"], "png",
     ["level 1 in 8 masks", "level 255 in 8", "positive: 1}"]),
    (REFUSED["palette with void"], "png", ["index 1 (colour [128, 0, 0])", "positive: 1}"]),
    (REFUSED["red and green"], "png", ["colour [0, 255, 0] in 8 masks", "positive: ["]),
    (CRACK, "jpeg", ["No mask has a positive pixel.", "level 1 in 8 masks", "originals"]),
], ids=["void", "palette", "colours", "jpeg"])
def test_a_set_is_refused_once_with_what_it_holds_and_what_to_add(tmp_path, picture, kind, parts):
    folder = folder_of(tmp_path, picture, kind)
    with pytest.raises(DataError) as error:
        datasets.load(folder, preset("smoke"), tmp_path / "runs")
    errors = [str(finding) for finding in examine(folder) if finding.level == "error"]
    assert len(errors) == 1
    for part in [*parts, "-y 'overrides: {", "Expected: 0 for background and 255 for crack"]:
        assert part in str(error.value) and part in errors[0]


def test_a_set_is_read_as_the_user_says(tmp_path):
    folder = folder_of(tmp_path, REFUSED["255 around class 1"])
    protocol = preset("smoke", overrides={"positive": 1, "ignore": 255})
    dataset = datasets.load(folder, protocol, tmp_path / "runs")
    assert np.array_equal(dataset.test[0].mask, np.where(RING, IGNORED, CRACK))
    assert not [finding for finding in examine(folder, protocol) if finding.level == "error"]
    with pytest.raises(DataError, match="No mask has a positive pixel"):
        datasets.load(folder, preset("smoke", overrides={"positive": 7}), tmp_path / "runs")
    synthetic = datasets.load("synthetic", protocol, tmp_path / "runs")
    assert set(np.unique(synthetic.test.arrays["masks"])) == {0, 1}


@pytest.mark.parametrize("value", [-1, 65536, 1.0, True, [255, 0], [0, 0, 300], "red"])
def test_the_values_of_a_mask_are_levels_or_colours(value):
    with pytest.raises(ValueError, match="positive must be a whole number from 0 to 65535"):
        preset("smoke", overrides={"positive": value})


def test_what_is_ignored_is_not_positive_too():
    with pytest.raises(ValueError, match="ignore=3 must differ from positive=3"):
        preset("smoke", overrides={"positive": 3, "ignore": 3})


SETTINGS = {"mse": None, "relu": 0.97, "bce": None, "weighted_bce": 3.0, "focal": 2.0, "dice": None,
            "tversky": (0.3, 0.7), "bce_dice": (1.0, 1.0), "jaccard": None, "dice_cldice": 0.5}


@pytest.mark.parametrize("pooling", ["batch", "image"])
@pytest.mark.parametrize("loss", SETTINGS)
def test_ignored_pixels_have_no_part_in_a_loss(loss, pooling):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 6, 7, generator=generator)
    target = (torch.rand(2, 1, 6, 7, generator=generator) < 0.4).float()
    target[:, :, :, 5:] = IGNORED
    leaf = logits.clone().requires_grad_()
    given = dict(weight=SETTINGS[loss], pooling=pooling)
    value = loss_from_logits(loss, leaf, target, ignored=IGNORED, **given)
    value.backward()
    assert not leaf.grad[..., 5:].any() and leaf.grad[..., :5].any()
    logits[..., 5:] += 3  # whatever is predicted there
    assert loss_from_logits(loss, logits, target, ignored=IGNORED, **given) == value
    if loss != "dice_cldice":
        without = loss_from_logits(loss, logits[..., :5], target[..., :5], **given)
        torch.testing.assert_close(value, without)
    nothing = torch.full_like(target, IGNORED)
    assert loss_from_logits(loss, logits, nothing, ignored=IGNORED, **given).isfinite()
    assert set(SETTINGS) <= set(LOSSES)


def test_ignored_pixels_are_not_counted():
    prediction = np.random.default_rng(0).random(SIZE, dtype=np.float32)
    mask = np.where(RING, IGNORED, CRACK).astype(np.uint8)
    counts = evaluation.image_counts(torch.from_numpy(prediction)[None],
                                     Sample("a", None, mask, None))
    index = 49  # threshold .5
    claimed = prediction >= np.float32(evaluation.THRESHOLDS[index])
    assert counts["pixels"] == (~RING).sum()
    assert counts["true_positives"][index] == (claimed & (CRACK == 1)).sum()
    assert counts["false_positives"][index] == (claimed & (CRACK == 0) & ~RING).sum()
    assert counts["false_negatives"][index] == (~claimed & (CRACK == 1)).sum()
    width = evaluation.estimated_width(mask)
    assert np.array_equal(width > 0, CRACK == 1)
    detailed = evaluation.detailed_counts(prediction, Sample("a", None, mask, width), (1,))
    without = evaluation.detailed_counts(np.where(RING, 0, prediction),
                                         Sample("a", None, CRACK, width), (1,))
    assert all(np.array_equal(detailed[name], without[name]) for name in without)


def test_a_crop_of_ignored_pixels_alone_is_not_drawn():
    mask = np.full((200, 200), IGNORED, np.uint8)
    mask[150:, 150:] = 0
    part = Part.of([Sample("a", np.zeros((200, 200, 3), np.uint8), mask, None)])
    protocol = preset("smoke", overrides={"ignore": 255, "positive": 1, "batch": 64})
    sampler = Sampler(part, protocol)
    _, targets = sampler.batch(0)
    share = (targets == IGNORED).flatten(1).all(1).float().mean()
    assert share < 0.25  # most crops see the corner; without the rule two thirds would not
    assert sampler.draws(0) == Sampler(part, protocol).draws(0)


def test_a_named_number_is_the_palettes_index_and_the_stored_level():
    palette = [0, 0, 0, 255, 255, 255, 255, 0, 0]
    for numbers in (CRACK, CRACK + 2 * RING.astype(np.uint8)):  # with and without uncertain pixels
        classes = read(saved(paletted(numbers, palette)), positive=1, ignore=2)
        assert np.array_equal(classes, np.where(numbers == 2, IGNORED, CRACK))
    for void in (False, True):
        deep = np.where(RING & void, 65535, CRACK.astype(np.uint16))
        classes = read(saved(deep), positive=1, ignore=65535)
        assert np.array_equal(classes, np.where(RING & void, IGNORED, CRACK))
    for numbers in (CRACK, CRACK + RING):
        classes = read(saved(numbers.astype(np.float32)), positive=1)
        assert np.array_equal(classes == 1, numbers == 1)


def test_a_picture_of_ignored_pixels_alone_counts_nothing():
    mask = np.full(SIZE, IGNORED, np.uint8)
    counts = evaluation.image_counts(torch.rand(1, *SIZE), Sample("a", None, mask, None))
    assert counts["pixels"] == 0 and not counts["false_positives"].any()


def test_documented_labels_are_not_named_anew(tmp_path):
    miniatures.camvid(tmp_path / "camvid")
    protocol = preset("smoke", "roads", {"positive": 8})
    with pytest.raises(DataError, match="camvid, which documents its labels"):
        datasets.load(tmp_path / "camvid", protocol, tmp_path / "runs")


def test_the_doctor_looks_at_cracks_and_not_at_ignored_pixels(tmp_path):
    folder = folder_of(tmp_path, REFUSED["255 around class 1"])
    protocol = preset("paper", overrides={"positive": 1, "ignore": 255})
    text = " ".join(map(str, examine(folder, protocol)))
    width = float(text.split("cracks are about ")[1].split(" px")[0])
    assert width < 5  # with the ring it would be 9
