"""The synthetic cracks: pure, well-formed, of known width, and not solvable by a threshold."""

import cv2
import numpy as np
import pytest
from skimage.morphology import skeletonize

from crackutils.data.synthetic.cracks import FINE_SHARE, WIDTH_RANGE, draw, kind

COUNT = 60


@pytest.fixture(scope="module")
def image_set():
    """60 drawn images as arrays: grey images, masks (bool), widths."""
    images, masks, widths = zip(*(draw(5, index) for index in range(COUNT)))
    grey = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images])
    return grey, np.stack(masks) > 0, np.stack(widths)


def pooled_f1(predicted, mask):
    return 2 * np.count_nonzero(predicted & mask) / (predicted.sum() + mask.sum())


def best_cut_f1(score, mask):
    """Best pooled F1 of `score >= t` over all t, for 8-bit scores: tuned on the answers."""
    hits = np.bincount(score[mask], minlength=256)[::-1].cumsum()
    called = np.bincount(score.ravel(), minlength=256)[::-1].cumsum()
    return (2 * hits / (called + mask.sum())).max()


def black_hat(grey, side):
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.stack([cv2.morphologyEx(image, cv2.MORPH_BLACKHAT, element) for image in grey])


@pytest.mark.parametrize("index", [0, 1, 6])
def test_equal_arguments_give_equal_bytes(index):
    first = draw(3, index, (96, 128))
    np.random.seed(1)  # noqa: NPY002 - the global state must not matter
    draw(4, 2, (64, 64))
    again = draw(3, index, (96, 128))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again))


@pytest.mark.parametrize("other", [(4, 0), (3, 10), (0, 3)])
def test_other_seed_or_index_gives_another_image_and_mask(other):
    image, mask, _ = draw(3, 0)
    other_image, other_mask, _ = draw(*other)
    assert np.mean(image != other_image) > 0.5
    assert np.any(mask != other_mask)


@pytest.mark.parametrize("size", [(128, 128), (131, 257), (257, 131), (33, 64), (512, 128)])
@pytest.mark.parametrize("index", [0, 1, 6])
def test_types_shapes_and_values(size, index):
    image, mask, width = draw(0, index, size)
    assert (image.dtype, mask.dtype, width.dtype) == (np.uint8, np.uint8, np.float32)
    assert image.shape == (*size, 3) and mask.shape == width.shape == size
    assert set(np.unique(mask)) <= {0, 1}
    assert np.array_equal(width > 0, mask == 1)
    low, high = WIDTH_RANGE
    inside = width[mask == 1]
    assert np.all((inside >= np.float32(low)) & (inside <= np.float32(high)))
    assert (mask.sum() == 0) == (kind(index) == "none")
    assert image.std() > 3


@pytest.mark.parametrize("arguments", [(-1, 0), (0, -1), (0, 0, (31, 256)), (0, 0, (256, 0))])
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match="sides >= 32"):
        draw(*arguments)


@pytest.mark.parametrize("start", [0, 3, 117])
def test_every_ten_consecutive_images_have_the_same_mix(start):
    kinds = [kind(index) for index in range(start, start + 10)]
    assert {name: kinds.count(name) for name in kinds} == {"none": 1, "fine": 3, "mixed": 6}


def test_shares_of_crack_pixels(image_set):
    _, masks, _ = image_set
    share = {name: [m.mean() for i, m in enumerate(masks) if kind(i) == name]
             for name in ("none", "fine", "mixed")}
    assert max(share["none"]) == 0
    assert min(share["fine"]) > 0 and max(share["fine"]) <= FINE_SHARE
    assert min(share["mixed"]) > FINE_SHARE
    assert 0.036 <= masks.mean() <= 0.045


@pytest.mark.parametrize("size", [(128, 128), (128, 512), (200, 131), (512, 512)])
def test_fine_images_stay_fine_at_other_sizes(size):
    shares = [draw(9, index, size)[1].mean() for index in (1, 4, 8, 11, 14)]
    assert min(shares) > 0.002 and max(shares) <= FINE_SHARE


def test_widths_span_the_range(image_set):
    _, masks, widths = image_set
    found = widths[masks]
    assert found.min() < 1 and found.max() > 7.5
    for low, high in ((0, 2), (2, 4), (4, 8)):
        assert np.mean((found >= low) & (found < high)) > 0.1


def test_width_map_agrees_with_the_width_of_the_mask(image_set):
    _, masks, widths = image_set
    mapped, measured = [], []
    for mask, width in zip(masks, widths):
        padded = np.pad(mask, 1, mode="edge").astype(np.uint8)  # cracks go on beyond the frame
        distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
        ridge = skeletonize(mask) & (width > 3)
        mapped.append(width[ridge])
        measured.append(2 * distance[ridge] - 1)  # distances run to the next pixel's centre
    mapped, measured = np.concatenate(mapped), np.concatenate(measured)
    assert np.median(np.abs(mapped - measured)) < 1.5
    assert np.corrcoef(mapped, measured)[0, 1] > 0.6


def test_fine_cracks_are_connected_lines():
    for index in (1, 4, 8):
        _, mask, _ = draw(2, index)
        parts, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        sizes = stats[1:, cv2.CC_STAT_AREA]
        assert parts > 1 and sizes.max() > 40 and len(sizes) < 12


def test_contrast_falls_with_width(image_set):
    grey, masks, widths = image_set
    near = np.stack([cv2.dilate(m.astype(np.uint8), np.ones((5, 5))) for m in masks]) > 0
    free = (~near).astype(np.float32)
    darkening = np.full(grey.shape, np.nan, np.float32)
    for out, image, weight, mask in zip(darkening, grey.astype(np.float32), free, masks):
        mean = cv2.blur(image * weight, (31, 31)) / np.maximum(cv2.blur(weight, (31, 31)), 1e-3)
        at = skeletonize(mask)
        out[at] = 1 - image[at] / np.maximum(mean[at], 1)
    on = ~np.isnan(darkening)
    fine = darkening[on & (widths < 1.5)].mean()
    medium = darkening[on & (widths >= 1.5) & (widths < 4)].mean()
    wide = darkening[on & (widths > 4)].mean()
    assert 0.02 < fine < medium < wide
    assert fine < 0.6 * wide


def test_no_grey_level_cut_solves_the_task(image_set):
    grey, masks, _ = image_set
    assert best_cut_f1(255 - grey, masks) <= 0.55


def test_black_hat_does_not_solve_the_task(image_set):
    grey, masks, _ = image_set
    scores = []
    for side in (5, 9, 13, 17, 25):
        hat = black_hat(grey, side)
        cut = np.stack([cv2.threshold(h, 0, 1, cv2.THRESH_OTSU)[1] for h in hat]) > 0
        scores += [pooled_f1(cut, masks), best_cut_f1(hat, masks)]
    assert 0.15 < max(scores) <= 0.55
