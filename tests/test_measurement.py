"""Lengths and widths of drawn cracks, against those that they were drawn with."""

import math

import numpy as np
import pytest
from skimage.measure import label, regionprops

from crackutils.cracks.measurement import (
    LEAST_LENGTH,
    LEAST_WIDTH_ERROR,
    LENGTH_ERROR,
    WIDTH_ERROR,
    Crack,
    Scale,
    ScaleError,
    measure,
)

SIDE, FINER = 320, 4  # px; places in a pixel, along each side, that are tried when it is drawn
RADIUS = 150  # px, of a curved crack


def drawn(curve: str, angle: float, length: float, width: float) -> np.ndarray:
    """How much of each pixel a crack covers: float, SIDE x SIDE. It goes through the middle in the
    direction `angle` (degrees, counter-clockwise), straight or as an arc; its ends are square."""
    places = (np.arange(SIDE * FINER) + 0.5) / FINER - SIDE / 2 - 0.3
    x, y = np.meshgrid(places, places)
    turn = math.radians(angle)
    along, across = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
    if curve == "curved":
        along, across = (RADIUS * np.arctan2(along, across + RADIUS),
                         np.hypot(along, across + RADIUS) - RADIUS)
    inside = (np.abs(along) <= length / 2) & (np.abs(across) <= width / 2)
    return inside.reshape(SIDE, FINER, SIDE, FINER).mean(axis=(1, 3))


@pytest.mark.parametrize("width", [1, 1.5, 2, 3, 4, 4.5, 8, 15])
@pytest.mark.parametrize("angle", [0, 22.5, 30, 45, 90, 120])
@pytest.mark.parametrize("curve", ["straight", "curved"])
def test_length_width_and_orientation_of_a_drawn_crack(curve, angle, width):
    """A mask has whole pixels, so half a pixel is allowed also where that is more than 10 %."""
    length = 200.0
    crack, = measure(drawn(curve, angle, length, width) >= 0.5)
    assert crack.length == pytest.approx(length, rel=LENGTH_ERROR)
    allowed = max(WIDTH_ERROR * width, LEAST_WIDTH_ERROR) + 1e-6
    assert crack.mean_width == pytest.approx(width, abs=allowed)
    assert crack.greatest_width == pytest.approx(width, abs=allowed)
    if width >= 3 and width % 1 == 0:
        assert crack.mean_width == pytest.approx(width, rel=WIDTH_ERROR)
    assert crack.branches == 1
    assert abs((crack.orientation - angle + 90) % 180 - 90) < 3


def test_the_greatest_width_is_that_of_the_widest_place():
    """A crack 3 px wide, of which 40 px are 9 px wide."""
    mask = drawn("straight", 30, 250, 3) + drawn("straight", 30, 40, 9) >= 0.5
    crack, = measure(mask)
    assert crack.greatest_width == pytest.approx(9, rel=WIDTH_ERROR)
    assert crack.mean_width == pytest.approx((210 * 3 + 40 * 9) / 250, rel=WIDTH_ERROR)


def test_a_cross_has_four_branches_and_the_length_of_both_lines():
    mask = drawn("straight", 20, 200, 5) + drawn("straight", 110, 100, 5) >= 0.5
    crack, = measure(mask)
    assert crack.branches == 4
    assert crack.length == pytest.approx(300, rel=LENGTH_ERROR)
    assert crack.mean_width == pytest.approx(5, rel=WIDTH_ERROR)
    assert crack.greatest_width == pytest.approx(5, rel=2 * WIDTH_ERROR)


def test_a_ring_has_no_ends():
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    mask = np.abs(np.hypot(rows, columns) - 100) <= 2
    crack, = measure(mask)
    assert crack.length == pytest.approx(2 * math.pi * 100, rel=LENGTH_ERROR)
    assert crack.mean_width == pytest.approx(4, rel=WIDTH_ERROR)


def test_cracks_are_the_connected_pixels_by_area_as_scikit_image_finds_them():
    generator = np.random.default_rng(3)
    mask = np.zeros((SIDE, SIDE), bool)
    for _ in range(12):
        line = drawn("straight", generator.uniform(0, 180), generator.uniform(5, 80),
                     generator.uniform(1, 6)) >= 0.5
        mask |= np.roll(line, generator.integers(-120, 120, 2), axis=(0, 1))
    expected = {(region.bbox, int(region.area)) for region in regionprops(label(mask))
                if max(region.bbox[2] - region.bbox[0],
                       region.bbox[3] - region.bbox[1]) >= LEAST_LENGTH}
    cracks = measure(mask)
    assert {((crack.top, crack.left, crack.bottom, crack.right), crack.area)
            for crack in cracks} == expected
    assert [crack.number for crack in cracks] == list(range(1, len(cracks) + 1))
    areas = [crack.area for crack in cracks]
    assert areas == sorted(areas, reverse=True)


def test_the_lines_lie_in_the_middle_of_the_crack():
    """A line of rows 10 to 14, whose middle is y = 12.5 where the first row begins at 0; near its
    ends the skeleton may bend into a corner."""
    mask = np.zeros((30, 100), np.uint8)
    mask[10:15, 5:95] = 255
    crack, = measure(mask)
    line, = crack.lines
    assert line[10:-10, 1] == pytest.approx(12.5)
    assert sorted(line[:, 0]) == pytest.approx(np.arange(len(line)) + line[:, 0].min(), abs=0.1)
    assert (crack.left, crack.top, crack.right, crack.bottom) == (5, 10, 95, 15)
    assert crack.length == pytest.approx(90, abs=1)


@pytest.mark.parametrize("mask", [np.zeros((20, 20)), np.eye(5), np.ones((1, 1)),
                                  np.zeros((1, 50)), np.pad(np.ones((4, 4)), 8)])
def test_masks_without_a_crack(mask):
    assert measure(mask) == []


@pytest.mark.parametrize("mask, length", [(np.ones((1, 40)), 40), (np.ones((40, 1)), 40),
                                          (np.ones((40, 2)), 40), (np.ones((2, 2_000)), 2_000)])
def test_a_picture_that_is_all_crack(mask, length):
    crack, = measure(mask)
    assert crack.length == pytest.approx(length, abs=2)
    assert crack.mean_width == pytest.approx(min(mask.shape), rel=0.06)


def test_a_round_blob_has_its_diameter_as_its_width():
    rows, columns = np.mgrid[:41, :41] - 20
    crack, = measure(np.hypot(rows, columns) <= 12)
    assert crack.greatest_width == pytest.approx(25, rel=0.3)
    assert crack.mean_width * crack.length == pytest.approx(crack.area)


# Scale

def a_crack(length=200.0, width=2.0) -> Crack:
    return Crack(1, length, width, width, 30.0, 1, 400, 0, 0, 100, 100, [])


def test_millimetres_and_their_uncertainty():
    """200 px of .5 mm are 100 mm; 5 % of it and 1 % of the scale are sqrt(5^2 + 1^2) = 5.1 mm. A
    width of 2 px is 1 mm, .5 px of it .25 mm, and with 1 % of 1 mm .25 mm."""
    row = a_crack().row(Scale(0.5, 0.01))
    assert (row["length_mm"], row["length_uncertainty_mm"]) == (100, 5.1)
    assert (row["mean_width_mm"], row["mean_width_uncertainty_mm"]) == (1, 0.25)
    assert (row["area_mm2"], row["smallest_width_mm"]) == (100, 0.5)
    assert not [name for name in a_crack().row(None) if "mm" in name]


def test_a_known_length_is_the_scale():
    scale = Scale.parse("100mm=842px")
    assert scale.mm_per_pixel == pytest.approx(100 / 842)
    assert scale.uncertainty == pytest.approx(math.sqrt(2) / 842)
    assert Scale.parse(" 1e2 mm = 842.0 px ") == scale


@pytest.mark.parametrize("text", ["", "100mm", "100=842", "0mm=842px", "100mm=0px", "nanmm=1px",
                                  "-1mm=5px", "1e999mm=5px", "100px=842mm", "1..2mm=5px",
                                  "--mm=5px"])
def test_a_scale_in_another_form_is_refused(text):
    with pytest.raises(ScaleError, match="such as 100mm=842px, got"):
        Scale.parse(text)


@pytest.mark.parametrize("size", [0, -1, math.nan, math.inf])
def test_a_pixel_has_a_size(size):
    with pytest.raises(ScaleError, match="above 0"):
        Scale.of_pixel(size)
