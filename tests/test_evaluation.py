"""Pictures larger and smaller than a tile: which tiles are predicted, and how they are blended."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from crackutils import evaluation
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
    monkeypatch.setattr(evaluation, "PIXELS_PER_PASS", 3 * 32 * 32)
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
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    ours = predict(network, images, protocol, HERE, fabric_for(HERE))
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


def test_scenes_that_were_resized_are_predicted_whole_in_one_pass():
    protocol, network = preset("smoke", "roads"), RedChannel()
    predicted(network, protocol, *[sample(*protocol.tile)] * 5)
    assert network.shapes == [(5, 3, *protocol.tile)]
