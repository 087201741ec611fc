"""The drawn road scenes are pure, well formed, varied, and no trivial task."""
import cv2
import numpy as np
import pytest

from crackutils.data.synthetic import roads
from crackutils.data.synthetic.roads import ALTERNATIVE, BACKGROUND, DIRECT, draw

SIZE = (88, 160)


@pytest.fixture(scope="module")
def scenes():
    """120 small scenes as (images, masks)."""
    images, masks = zip(*(draw(11, i, SIZE) for i in range(120)))
    return np.stack(images), np.stack(masks)


def _iou(a, b):
    return (a & b).sum() / max((a | b).sum(), 1)


def test_same_arguments_give_the_same_bytes():
    np.random.seed(0)
    first = draw(3, 5, SIZE)
    np.random.seed(1)
    draw(9, 9, SIZE)
    second = draw(3, 5, SIZE)
    assert all(np.array_equal(a, b) for a, b in zip(first, second))


@pytest.mark.parametrize("other", [(4, 5), (3, 6), (5, 3)])
def test_other_seed_or_index_gives_another_scene(other):
    image, mask = draw(3, 5, SIZE)
    image2, mask2 = draw(*other, SIZE)
    assert not np.array_equal(image, image2) and not np.array_equal(mask, mask2)


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (101, 333), (200, 120), (176, 320)])
def test_shapes_types_and_values_at_any_size(size):
    for index in range(3):
        image, mask = draw(1, index, size)
        assert image.shape == (*size, 3) and image.dtype == np.uint8
        assert mask.shape == size and mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {DIRECT, ALTERNATIVE, BACKGROUND}
        assert image.std() > 3


def test_default_size_is_360_by_640():
    image, mask = draw(0, 0)
    assert image.shape == (360, 640, 3) and mask.shape == (360, 640)


def test_the_scene_does_not_depend_on_the_size():
    for index in range(6):
        small, large = draw(2, index, (90, 160))[1] < 2, draw(2, index, (180, 320))[1] < 2
        assert _iou(small, large[::2, ::2]) > .85 or not large.any()


@pytest.mark.parametrize("arguments", [(-1, 0), (0, -1), (0, 0, (63, 96)), (0, 0, (64, 95))])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="at least"):
        draw(*arguments)


def test_share_of_every_class(scenes):
    share = [np.mean(scenes[1] == c) for c in (DIRECT, ALTERNATIVE, BACKGROUND)]
    assert .08 < share[0] < .2 and .03 < share[1] < .15 and .7 < share[2] < .85


def test_some_frames_hold_no_drivable_area():
    empty = [not (draw(5, i, (64, 96))[1] < 2).any() for i in range(200)]
    assert .005 <= np.mean(empty) <= .08


def test_a_vehicle_that_fills_the_view_empties_the_mask(monkeypatch):
    lay_out = roads.lay_out

    def blocked(rng, h, w):
        scene = lay_out(rng, h, w)
        scene.blocked = True
        return scene
    monkeypatch.setattr(roads, "lay_out", blocked)
    assert all((draw(0, i, SIZE)[1] == BACKGROUND).all() for i in range(3))


def test_the_own_lane_is_one_region_that_starts_low_in_the_frame(scenes):
    good, seen = 0, 0
    for mask in scenes[1]:
        own = np.uint8(mask == DIRECT)
        if not own.any():
            continue
        seen += 1
        _, _, boxes, _ = cv2.connectedComponentsWithStats(own)
        largest = boxes[1:][boxes[1:, 4].argmax()]
        bottom = largest[1] + largest[3]
        good += largest[4] > .85 * own.sum() and bottom > .75 * SIZE[0]
    assert good > .85 * seen


def test_own_lane_widens_towards_the_camera(scenes):
    width = (scenes[1] == DIRECT).sum(2).mean(0)
    assert width[int(.8 * SIZE[0])] > 2 * width[int(.55 * SIZE[0])] > 0
    assert width[:int(.2 * SIZE[0])].sum() == 0


def test_the_mean_mask_does_not_solve_the_task(scenes):
    drivable = scenes[1] < BACKGROUND
    prior, rest = drivable[:60].mean(0), drivable[60:]
    best = max(_iou(np.broadcast_to(prior > c, rest.shape), rest) for c in np.arange(.1, .9, .05))
    assert .3 < best <= .75


def test_no_grey_level_cut_solves_the_task(scenes):
    drivable, grey = scenes[1] < BACKGROUND, scenes[0].mean(-1)
    cuts = range(0, 257, 16)
    best = max(_iou((grey >= a) & (grey < b), drivable) for a in cuts for b in cuts if a < b)
    assert best <= .5


def test_light_varies_from_night_to_day(scenes):
    level = scenes[0].mean((1, 2, 3))
    assert np.percentile(level, 5) < 45 and np.percentile(level, 80) > 100


def test_oncoming_lanes_and_pavement_look_like_the_own_lane(scenes):
    images, masks = scenes
    nearer = []
    for image, mask in zip(images.astype(float), masks):
        low = np.zeros(mask.shape, bool)
        low[int(.6 * SIZE[0]):int(.8 * SIZE[0])] = True
        own, other = low & (mask == DIRECT), low & (mask == BACKGROUND)
        if own.sum() > 50 and other.sum() > 50:
            spread = np.abs(image[other] - np.median(image[own], 0)).max(1)
            nearer.append(np.mean(spread < 25))
    assert np.mean(nearer) > .2
