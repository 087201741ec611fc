"""Windows over images larger than what the network was trained on."""

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
from crackutils.evaluation import predictions, window_starts
from crackutils.models import build
from crackutils.protocol import preset

HERE = Hardware("cpu", "float32", "channels_first")


@given(length=st.integers(1, 5000), side=st.integers(4, 600))
def test_windows_cover_everything_inside_and_overlap_by_a_quarter(length, side):
    starts = window_starts(length, side)
    assert starts[0] == 0 and starts[-1] == max(0, length - side)
    steps = np.diff(starts)
    assert (steps > 0).all() and (steps <= 0.75 * side + 1).all()
    assert len(starts) <= length / (0.75 * side) + 2  # and no more of them than that takes


def sample(height: int, width: int) -> Sample:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Sample("a", image, np.zeros((height, width), np.uint8), None)


def predicted(network, protocol, *samples: Sample) -> list[torch.Tensor]:
    found = predictions(network, Part.of(samples), range(len(samples)), protocol, HERE,
                        fabric_for(HERE))
    return [prediction for _, prediction in found]


def logits_of(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).float()[..., 0] / 255


class Red(nn.Module):
    """Its logit is the red channel, whatever the window: a pixel's place can be followed."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.shapes = []

    def forward(self, images):
        self.shapes.append(tuple(images.shape))
        return images[:, :1] * self.scale


@pytest.mark.parametrize("size", [(32, 32), (33, 70), (20, 90), (7, 5)])
def test_every_pixel_gets_its_own_prediction(size, monkeypatch):
    monkeypatch.setattr(evaluation, "PIXELS_AT_ONCE", 3 * 32 * 32)
    protocol, network, photograph = preset("smoke"), Red(), sample(*size)
    prediction, = predicted(network, protocol, photograph)
    torch.testing.assert_close(prediction[0], torch.sigmoid(logits_of(photograph.image)))
    assert all(shape[0] <= 3 for shape in network.shapes)
    assert {shape[2:] for shape in network.shapes} == {(min(32, size[0]), min(32, size[1]))}


def test_a_network_sees_no_more_than_a_tile():
    protocol = preset("smoke")
    network = build(protocol)
    network.network.head[0].weight.data *= 1e4  # first weights hardly let a far pixel through
    large = sample(32, 56)  # windows start at 0 and 24: columns below 24 lie in the first alone
    left = Sample("b", large.image[:, :32], large.mask[:, :32], None)
    of_large, of_left = predicted(network, protocol, large, left)
    torch.testing.assert_close(of_large[..., :24], of_left[..., :24])
    whole = network.eval()(torch.from_numpy(large.image).permute(2, 0, 1)[None].float() / 255)
    assert not torch.allclose(torch.sigmoid(whole)[0, :, :, :24], of_left[..., :24], atol=1e-3)


def test_scenes_that_were_resized_are_predicted_whole():
    protocol, network = preset("smoke", "roads"), Red()
    predicted(network, protocol, *[sample(*protocol.tile)] * 5)
    assert network.shapes == [(5, 3, *protocol.tile)]  # and all in one pass
