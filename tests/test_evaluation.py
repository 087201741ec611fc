"""Pictures larger and smaller than a tile: which tiles are predicted, and how they are blended."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch import nn

from crackutils import evaluation
from crackutils.data import load
from crackutils.data.picture_cache import Part
from crackutils.data.samples import Sample
from crackutils.device import Hardware, fabric_for
from crackutils.evaluation import OVERLAP, blending_weights, predict, predictions, tile_starts
from crackutils.models import build
from crackutils.protocol import preset

HERE = Hardware("cpu", "float32", "channels_first")


@given(length=st.integers(1, 5000), side=st.integers(4, 600))
def test_tiles_cover_the_picture_inside_it_and_overlap(length, side):
    starts = tile_starts(length, side)
    assert starts[0] == 0 and starts[-1] == max(0, length - side)
    steps = np.diff(starts)
    assert (steps > 0).all() and (steps <= (1 - OVERLAP) * side + 1).all()
    assert len(starts) <= length / ((1 - OVERLAP) * side) + 2  # and there are no more than needed


def sample(height: int, width: int, name: str = "a") -> Sample:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Sample(name, image, np.zeros((height, width), np.uint8), None)


def predicted(network, protocol, *samples: Sample) -> list[torch.Tensor]:
    results = predictions(network, Part.of(samples), range(len(samples)), protocol, HERE,
                          fabric_for(HERE))
    return [prediction for _, prediction in results]


class RedChannel(nn.Module):
    """A network whose logit is the red channel: the place of every pixel can be followed."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.shapes = []

    def forward(self, images):
        self.shapes.append(tuple(images.shape))
        return images[:, :1] * self.scale


class FirstColumnIsWrong(nn.Module):
    """A network that is wrong at the left edge of whatever it sees, and right elsewhere."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, images):
        logits = torch.zeros_like(images[:, :1]) + self.bias
        logits[..., 0] = 20
        return logits


@pytest.mark.parametrize("size", [(32, 32), (33, 70), (20, 90), (7, 5)])
def test_every_pixel_gets_the_prediction_of_its_own_place(size, monkeypatch):
    monkeypatch.setattr(evaluation, "PIXELS_PER_PASS", {"cpu": 3 * 32 * 32})
    protocol, network, photograph = preset("smoke"), RedChannel(), sample(*size)
    prediction, = predicted(network, protocol, photograph)
    red = torch.from_numpy(photograph.image).float()[..., 0] / 255
    torch.testing.assert_close(prediction[0], torch.sigmoid(red))
    assert all(shape[0] <= 3 for shape in network.shapes)
    assert {shape[2:] for shape in network.shapes} == {(min(32, size[0]), min(32, size[1]))}


@pytest.mark.parametrize("size", [(32, 64), (64, 64), (48, 80)])
def test_blending_is_that_of_monai(size):
    from monai.inferers import sliding_window_inference

    protocol = preset("smoke")
    network = build(protocol).eval()
    network.network.head[0].weight.data *= 1e4  # so that tiles disagree
    pixels = torch.randint(256, (2, *size, 3), generator=torch.Generator().manual_seed(0))
    images = pixels.permute(0, 3, 1, 2).float() / 255
    ours = predict(network, pixels.byte(), protocol, HERE, fabric_for(HERE))
    with torch.inference_mode():
        theirs = sliding_window_inference(
            images, protocol.tile, sw_batch_size=4, overlap=OVERLAP, mode="gaussian",
            sigma_scale=0.125, predictor=lambda tiles: torch.sigmoid(network(tiles)))
    assert theirs.std() > 0.01
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_the_edge_of_a_tile_hardly_counts_where_another_tile_covers_it():
    prediction, = predicted(FirstColumnIsWrong(), preset("smoke"), sample(32, 64))
    middle = prediction[0, 16]
    assert middle[0] > 0.99  # no other tile covers the first column
    assert (middle[1:] < 0.51).all()  # equal weights would give .75 at column 16


def test_blending_weights_are_a_gaussian_around_the_centre():
    weights = blending_weights((9, 17))
    assert weights.argmax() == 4 * 17 + 8 and weights[4, 8] == 1
    # 4 rows off the centre at a deviation of 9 / 8: exp(-4^2 / (2 * 1.125^2)) = .0018
    assert weights[0, 8] == pytest.approx(np.exp(-16 / (2 * 1.125**2)))
    assert weights[0, 0] == pytest.approx(1e-3)  # .0018 * .0001 is raised to the least weight


def test_a_network_sees_no_more_than_a_tile():
    protocol = preset("smoke")
    network = build(protocol)
    network.network.head[0].weight.data *= 1e4  # the first weights hardly let a far pixel through
    large = sample(32, 64)  # tiles start at 0, 16 and 32: columns 0 to 15 lie in the first alone
    changed = Sample("b", large.image.copy(), large.mask, None)
    changed.image[:, 32:] = 255 - changed.image[:, 32:]
    of_large, of_changed = predicted(network, protocol, large, changed)
    assert torch.equal(of_large[..., :16], of_changed[..., :16])
    assert not torch.allclose(of_large[..., 16:], of_changed[..., 16:])


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("angle, tolerance", [(0, 0.5), (30, 0.9), (45, 0.9), (90, 0.5)])
def test_the_estimated_width_of_a_straight_crack_is_within_a_pixel(width, angle, tolerance):
    rows, columns = np.mgrid[:120, :120] - 59.5
    across = rows * np.cos(np.radians(angle)) + columns * np.sin(np.radians(angle))
    mask = (np.abs(across + 0.25) < width / 2).astype(np.uint8)  # .25: no edge lies on a pixel
    estimate = evaluation.estimated_width(mask)
    assert ((estimate > 0) == (mask > 0)).all()
    assert abs(np.median(estimate[mask > 0]) - width) <= tolerance


def test_the_estimated_width_of_synthetic_cracks_is_within_half_a_pixel(tmp_path):
    dataset = load("synthetic", preset("quick", overrides={"counts": (2, 1, 24)}), tmp_path)
    known = np.concatenate([sample.width[sample.mask > 0] for sample in dataset.test])
    estimate = np.concatenate([evaluation.estimated_width(sample.mask)[sample.mask > 0]
                               for sample in dataset.test])
    for low, high in ((1, 2), (2, 3), (3, 5), (5, 8)):
        inside = (known >= low) & (known < high)
        assert inside.sum() > 500
        assert abs(np.median(estimate[inside] - known[inside])) <= 0.5
    assert evaluation.estimated_width(np.zeros((9, 9), np.uint8)).max() == 0


def test_detailed_counts_are_brute_force():
    generator = np.random.default_rng(3)
    mask = np.zeros((24, 30), np.uint8)
    mask[5:9, 3:20], mask[:, 25] = 1, 1
    prediction = ndimage.gaussian_filter(mask + 0.6 * generator.random(mask.shape), 1)
    prediction = np.clip(prediction, 0, 1).astype(np.float32)
    width = evaluation.estimated_width(mask)
    counts = evaluation.detailed_counts(prediction, Sample("a", None, mask, width), (1, 2))
    cracks = np.argwhere(mask)
    stratum = np.digitize(width, evaluation.WIDTH_EDGES)
    assert len(set(stratum[mask > 0].tolist())) > 1
    for index in (0, 7, 12, 16):
        claimed = prediction >= np.float32(evaluation.DETAIL_THRESHOLDS[index])
        claims = np.argwhere(claimed)
        apart = np.sqrt(((claims[:, None] - cracks[None]) ** 2).sum(axis=2))
        for number, tolerance in enumerate((1, 2)):
            assert counts["claimed_near"][number, index] == \
                (apart.min(axis=1) <= tolerance).sum()
            found = apart.min(axis=0) <= tolerance
            assert counts["found_near_by_width"][number, :, index].tolist() == \
                np.bincount(stratum[tuple(cracks[found].T)], minlength=5).tolist()
        skeleton = claimed if claimed.mean() > 0.5 else evaluation.skeleton_of(claimed)
        assert counts["claimed_skeleton"][index] == skeleton.sum() > 0
        assert counts["claimed_skeleton_right"][index] == (skeleton & (mask > 0)).sum()
        assert counts["skeleton_found"][index] == (evaluation.skeleton_of(mask > 0) & claimed).sum()


def test_a_huge_picture_is_compared_in_blocks(monkeypatch):
    generator = np.random.default_rng(5)
    mask = np.zeros((70, 90), np.uint8)
    mask[20:24] = 1
    prediction = ndimage.gaussian_filter(mask + 0.6 * generator.random(mask.shape), 1)
    prediction = np.clip(prediction, 0, 1).astype(np.float32)
    whole_width = evaluation.estimated_width(mask)
    whole = evaluation.detailed_counts(prediction, Sample("a", None, mask, whole_width), (1, 2))
    monkeypatch.setattr(evaluation, "BLOCK_SIDE", 40)
    assert np.array_equal(evaluation.estimated_width(mask), whole_width)
    counts = evaluation.detailed_counts(prediction, Sample("a", None, mask, whole_width), (1, 2))
    assert counts.keys() == whole.keys() and counts["skeleton"] == whole["skeleton"]
    for name in ("skeleton_found", "claimed_near", "found_near_by_width"):
        assert np.abs(counts[name] - whole[name]).max() <= 0.03 * whole[name].max()


def test_cracks_in_photographs_are_counted_by_estimated_width_and_with_a_tolerance():
    protocol = preset("smoke")
    photograph = sample(32, 40)
    photograph.mask[10:13] = 1
    parts = {"test": Part.of([photograph, photograph]), "elsewhere": Part.of([photograph])}
    arrays = evaluation.evaluate(build(protocol), parts, protocol, HERE, fabric_for(HERE))
    assert arrays["test_positives_by_width"].tolist() == [[0, 0, 0, 120, 0]] * 2
    assert arrays["test_claimed_near"].shape == (2, 3, len(evaluation.DETAIL_THRESHOLDS))
    assert arrays["elsewhere_found_near_by_width"].shape == \
        (1, 3, 5, len(evaluation.DETAIL_THRESHOLDS))
    plain = evaluation.evaluate(build(protocol), parts, protocol, HERE, fabric_for(HERE), False)
    assert not any(word in name for word in ("by_width", "skeleton", "near") for name in plain)


def test_scenes_that_were_resized_are_predicted_whole_in_one_pass():
    protocol, network = preset("smoke", "roads"), RedChannel()
    predicted(network, protocol, *[sample(*protocol.tile)] * 5)
    assert network.shapes == [(5, 3, *protocol.tile)]
