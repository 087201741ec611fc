"""The networks: sizes, parameters, receptive field, precision, first weights, probabilities."""

import dataclasses

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn
from torchvision.transforms.v2 import Normalize

from crackutils import models
from crackutils.models import UNet, build, parameter_count, receptive_field
from crackutils.protocol import preset

PRETRAINED = {"encoder_weights": "imagenet"}


def protocol(architecture: str, **overrides):
    task = "cracks" if architecture == "unet" else "roads"
    return preset("smoke", task, overrides)


@pytest.fixture(scope="module")
def networks():
    """Both networks in evaluation mode, since batch norm can't be trained on a single pixel."""
    return {name: build(protocol(name)).eval() for name in ("unet", "fpn")}


@pytest.mark.parametrize("architecture", ["unet", "fpn"])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (33, 47), (64, 31), (40, 64)])
@torch.inference_mode()
def test_any_size_gives_logits_of_that_size(networks, architecture, size):
    logits = networks[architecture](torch.rand(2, 3, *size))
    assert logits.shape == (2, 1, *size) and logits.dtype == torch.float32
    assert logits.isfinite().all()


@pytest.mark.parametrize("architecture, size", [("unet", (24, 8)), ("fpn", (64, 32))])
@torch.inference_mode()
def test_a_size_that_is_a_multiple_is_not_padded(networks, architecture, size):
    images = torch.rand(1, 3, *size)
    wrapped = networks[architecture]
    assert torch.equal(wrapped(images), wrapped.network(images))


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 9)])
def test_padding_repeats_the_edge_and_is_cut_off_again(size):
    wrapped = models.AnySize(nn.Identity(), multiple=8)
    images = torch.rand(2, 3, *size)
    assert torch.equal(wrapped(images), images)
    seen = []
    wrapped.network.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    wrapped(images)
    padded = seen[0]
    assert padded.shape[-2:] == tuple((side + 7) // 8 * 8 for side in size)
    assert torch.equal(padded[..., -1, -1], images[..., -1, -1])


def block(before: int, after: int, kernel: int) -> int:
    """Weights of two convolutions without bias, each with batch norm's scale and shift."""
    return kernel**2 * before * after + 2 * after + kernel**2 * after**2 + 2 * after


def test_parameters_of_a_small_unet_by_hand():
    # filters 2, 4, 8; kernels 5 x 5: encoder, transposed 2 x 2 with bias, decoder, 1 x 1 head
    encoder = block(3, 2, 5) + block(2, 4, 5) + block(4, 8, 5)
    upsampling = 2 * 2 * 8 * 4 + 4 + 2 * 2 * 4 * 2 + 2
    decoder = block(8, 4, 5) + block(4, 2, 5)
    assert parameter_count(UNet(levels=3, kernel=5, first_filters=2)) \
        == encoder + upsampling + decoder + 2 + 1


def test_parameters_of_the_papers_unet_by_hand():
    filters = [16, 32, 64, 128, 256]
    total = sum(block(a, b, 7) for a, b in zip([3, *filters], filters))
    total += sum(4 * b * a + a for a, b in zip(filters, filters[1:]))
    total += sum(block(2 * a, a, 7) for a in filters[:-1]) + 16 + 1
    assert parameter_count(build(preset("paper"))) == total


@pytest.mark.parametrize("changed", [{"levels": 5}, {"kernel": 7}, {"widest": 8},
                                     {"first_filters": 3}, {"upsampling": "bilinear"},
                                     {"batch_norm": False}])
def test_each_field_of_the_protocol_reaches_the_unet(changed):
    assert parameter_count(build(protocol("unet"))) != \
        parameter_count(build(protocol("unet", **changed)))


@pytest.mark.parametrize("changed, removed, added", [
    ({"batch_norm": False}, 2, 1),  # a channel's scale and shift, its bias
    ({"upsampling": "bilinear"}, 0, 0)])
def test_norm_and_upsampling_change_the_count_as_they_should(changed, removed, added):
    plain = parameter_count(UNet(levels=2, kernel=5, first_filters=2))
    other = parameter_count(UNet(levels=2, kernel=5, first_filters=2, **changed))
    channels = 2 * 2 + 2 * 4 + 2 * 2  # two convolutions in each of three blocks
    smaller = 4 * 2 * 3 if "upsampling" in changed else 0  # 1 x 1 in place of 2 x 2, 4 to 2
    assert other == plain + channels * (added - removed) - smaller


def reach(levels: int, kernel: int) -> int:
    """The receptive field by gradients: every weight positive, means in place of maxima."""
    network = UNet(levels, kernel, first_filters=1, batch_norm=False).double()
    network.head.float()  # its input is converted to float32
    for name, parameter in network.named_parameters():
        nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 0.3)
    side, sides = 32 * levels, []
    for pixel in range(side // 2, side // 2 + 2 ** (levels - 1)):
        image = torch.ones(1, 3, side, side, dtype=torch.float64, requires_grad=True)
        network(image)[0, 0, pixel, pixel].backward()
        touched = image.grad[0, 0].any(dim=0).nonzero()
        assert touched.min() > 0 and touched.max() < side - 1, "the image is too small"
        sides.append(int(touched.max() - touched.min()) + 1)
    return max(sides)


@pytest.mark.parametrize("levels, kernel", [(1, 3), (1, 7), (2, 3), (2, 5), (3, 3), (3, 5), (4, 3)])
def test_the_receptive_field_is_where_gradients_are_not_zero(monkeypatch, levels, kernel):
    monkeypatch.setattr(models.functional, "max_pool2d", nn.functional.avg_pool2d)
    assert receptive_field(levels, kernel) == reach(levels, kernel)


@pytest.mark.parametrize("architecture", ["unet", "fpn"])
def test_first_weights_depend_on_the_seed_and_nothing_else(architecture):
    before = torch.get_rng_state()
    first = build(protocol(architecture, seed=3)).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(7)
    again = build(protocol(architecture, seed=3)).state_dict()
    other = build(protocol(architecture, seed=4)).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = [name for name in first if name.endswith("weight") and first[name].dim() == 4]
    assert drawn and not any(torch.equal(first[name], other[name]) for name in drawn)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("architecture, overrides", [
    ("unet", {}), ("fpn", {"classes": "binary"}), ("fpn", {"classes": "three"})])
def test_the_last_layers_compute_in_float32_under_bfloat16_autocast(architecture, overrides,
                                                                    training, memory_format):
    network = build(protocol(architecture, **overrides)).train(training)
    network.to(memory_format=memory_format)
    head = network.network.head if architecture == "unet" else network.network[1].segmentation_head
    inputs = []
    head.register_forward_pre_hook(lambda _, features: inputs.append(features[0].detach()))
    images = torch.rand(2, 3, 64, 64).contiguous(memory_format=memory_format)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(images)
    assert inputs[0].dtype == torch.bfloat16 and logits.dtype == torch.float32
    exact = head[0].double()(inputs[0].double())  # the 1 x 1 convolution
    if architecture == "fpn":
        exact = nn.functional.interpolate(exact, scale_factor=4, mode="bilinear",
                                          align_corners=True)
    torch.testing.assert_close(logits.double(), exact, rtol=1e-5, atol=1e-5)
    # bfloat16 could represent one float32 number in 65,536
    assert (logits != logits.bfloat16().float()).float().mean() > 0.9


def test_normalizing_is_that_of_torchvision():
    images = torch.rand(2, 3, 5, 4)
    values = models.IMAGENET_MEAN, models.IMAGENET_STD
    assert torch.equal(models.Normalize(*values)(images), Normalize(*values)(images))
    assert not models.Normalize(*values).state_dict()  # saved models have the weights alone


def no_hub(name, weights):
    torch.rand(7)  # a library may draw random numbers before it fails
    raise OSError("We couldn't connect to the hub")


def test_without_imagenet_weights_a_warning_and_the_protocol_say_so(monkeypatch):
    wanted = protocol("fpn", seed=5, **PRETRAINED)
    monkeypatch.setattr(smp.encoders, "get_encoder", no_hub)
    state = torch.get_rng_state()
    with pytest.warns(UserWarning, match=r"No ImageNet weights.*\(OSError\).*random weights"):
        available = models.with_available_weights(wanted)
    assert available == dataclasses.replace(wanted, encoder_weights=None)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_protocol_whose_weights_are_available_is_not_changed(monkeypatch, recwarn):
    wanted = protocol("fpn", **PRETRAINED)
    monkeypatch.setattr(smp.encoders, "get_encoder", lambda name, weights: nn.Identity())
    assert models.with_available_weights(wanted) is wanted and not len(recwarn)
    random = protocol("fpn")
    monkeypatch.setattr(smp.encoders, "get_encoder", no_hub)
    assert models.with_available_weights(random) is random, "no weights are wanted"


def test_the_network_itself_does_not_fall_back(monkeypatch):
    def refuse(*args, encoder_weights, **options):
        assert encoder_weights == "imagenet"
        raise OSError("no hub")
    monkeypatch.setattr(smp, "FPN", refuse)
    with pytest.raises(OSError, match="no hub"):
        build(protocol("fpn", **PRETRAINED))


def test_for_three_classes_the_fpn_has_three_logits_whose_softmax_is_taken():
    logits = build(protocol("fpn", classes="three"))(torch.rand(2, 3, 40, 50))
    assert logits.shape == (2, 3, 40, 50)
    result = models.probability(logits.bfloat16(), "sigmoid")
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, torch.softmax(logits.bfloat16().float(), 1))


@pytest.mark.parametrize("output, expected", [("clipped", [0.0, 0.25, 1.0]),
                                              ("sigmoid", [0.11920292, 0.5621765, 0.95257413])])
def test_probabilities_are_clipped_or_the_sigmoid_in_float32(output, expected):
    logits = torch.tensor([-2.0, 0.25, 3.0], dtype=torch.bfloat16)
    result = models.probability(logits.view(1, 1, 3), output)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.flatten(), torch.tensor(expected))
