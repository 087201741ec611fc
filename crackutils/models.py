"""Paper A's U-Net and, for paper B, the FPN of segmentation-models-pytorch.

`build(protocol)` returns either. Both take float32 images N x 3 x H x W in [0, 1] of any size and
return float32 logits N x 1 x H x W, or N x 3 x H x W for three classes (FPN only).
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from crackutils.protocol import Protocol

OUTPUTS = {"binary": 1, "direct": 1, "three": 3}  # channels of the logits, by protocol.classes
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Float32Sequential(nn.Sequential):
    """Layers that compute in float32 where autocast would choose bfloat16.

    Both networks end in them: bfloat16 has 8 significant bits, too few for predictions near 1,
    where the thresholds are close to each other.
    """

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.float())


class UNet(nn.Module):
    """The U-Net of paper A (section III.1, Table 2); what the paper leaves open is a parameter.

    `levels` is the number of resolutions, the bottleneck included. The number of filters doubles
    at each level from `first_filters` up to `widest` (paper: 16, 32, 64, 128 and, with 5 levels,
    256). Each level has two convolutions, each followed by batch norm and ReLU. Between levels are
    2 x 2 max pooling, up-sampling and skip connections. H and W must be multiples of
    `2 ** (levels - 1)`; `AnySize` pads other sizes.
    """

    def __init__(self, levels: int, kernel: int, first_filters: int, widest: int = 256,
                 batch_norm: bool = True, upsampling: str = "transposed"):
        super().__init__()
        filters = [min(first_filters * 2**level, widest) for level in range(levels)]
        down = zip([3, *filters], filters)
        up = list(zip(filters[1:], filters))[::-1]
        self.encoder = nn.ModuleList(
            double_convolution(before, after, kernel, batch_norm) for before, after in down)
        self.upsampling = nn.ModuleList(upsample(before, after, upsampling) for before, after in up)
        self.decoder = nn.ModuleList(
            double_convolution(2 * after, after, kernel, batch_norm) for _, after in up)
        self.head = Float32Sequential(nn.Conv2d(filters[0], 1, kernel_size=1))

    def forward(self, images: Tensor) -> Tensor:
        skips, features = [], images
        for level, block in enumerate(self.encoder):
            features = block(functional.max_pool2d(features, 2) if level else features)
            skips.append(features)
        skips.pop()  # the bottleneck has no skip connection
        for upsampling, block in zip(self.upsampling, self.decoder):
            features = block(torch.cat([skips.pop(), upsampling(features)], dim=1))
        return self.head(features)


def double_convolution(before: int, after: int, kernel: int, batch_norm: bool) -> nn.Sequential:
    """Two convolutions that keep the size, each followed by batch norm (if wanted) and ReLU."""
    layers = []
    for channels in (before, after):
        # batch norm subtracts the mean, so a bias before it would have no effect
        layers.append(nn.Conv2d(channels, after, kernel, padding=kernel // 2, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm2d(after))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def upsample(before: int, after: int, kind: str) -> nn.Module:
    """Double height and width, by a transposed 2 x 2 convolution or by bilinear interpolation."""
    if kind == "transposed":
        return nn.ConvTranspose2d(before, after, kernel_size=2, stride=2)
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"),
                         nn.Conv2d(before, after, kernel_size=1))


class Normalize(nn.Module):
    """Subtract each channel's mean and divide by its standard deviation.

    torchvision's transform would copy the numbers to the device at each step, and wait for it.
    """

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]):
        super().__init__()
        for name, values in (("mean", mean), ("deviation", deviation)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.deviation


class AnySize(nn.Module):
    """A network that needs sizes that are multiples of `multiple`, made to take any size.

    Images are padded at the right and bottom by repeating the edge; the logits are cropped.
    """

    def __init__(self, network: nn.Module, multiple: int):
        super().__init__()
        self.network, self.multiple = network, multiple

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        padding = (0, -width % self.multiple, 0, -height % self.multiple)
        padded = functional.pad(images, padding, mode="replicate") if any(padding) else images
        return self.network(padded)[..., :height, :width]


def build(protocol: Protocol) -> AnySize:
    """The protocol's network; its first weights depend on the protocol's seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(protocol.seed)
        if protocol.architecture == "fpn":
            return AnySize(fpn(protocol.encoder_weights, OUTPUTS[protocol.classes]), multiple=32)
        network = UNet(protocol.levels, protocol.kernel, protocol.first_filters, protocol.widest,
                       protocol.batch_norm, protocol.upsampling)
        return AnySize(network, multiple=2 ** (protocol.levels - 1))


def fpn(encoder_weights: str | None, outputs: int = 1) -> nn.Sequential:
    """segmentation-models-pytorch's FPN with a ResNet-50 encoder (paper B). ImageNet weights are
    downloaded from a hub. If that fails, its error is raised; `with_available_weights` finds out
    beforehand."""
    # imported here because it takes seconds, and the U-Net does not need it
    import segmentation_models_pytorch as smp

    network = smp.FPN("resnet50", encoder_weights=encoder_weights, classes=outputs)
    # the head is a 1 x 1 convolution and the up-sampling of its logits
    network.segmentation_head = Float32Sequential(*network.segmentation_head)
    return nn.Sequential(Normalize(IMAGENET_MEAN, IMAGENET_STD), network)


def with_available_weights(protocol: Protocol) -> Protocol:
    """The protocol, or one with random weights if its ImageNet weights can't be downloaded. In the
    second case a warning says so, and the records have `encoder_weights: null`."""
    if protocol.encoder_weights is None:
        return protocol
    import segmentation_models_pytorch as smp

    state = torch.get_rng_state()
    try:
        smp.encoders.get_encoder("resnet50", weights=protocol.encoder_weights)
        return protocol
    except Exception as error:  # a download fails in many ways, and none of them gives weights
        warnings.warn(f"No ImageNet weights could be downloaded ({type(error).__name__}): the "
                      "encoder starts from random weights, which gives lower results.",
                      stacklevel=2)
        return replace(protocol, encoder_weights=None)
    finally:
        torch.set_rng_state(state)


def probability(logits: Tensor, output: str) -> Tensor:
    """Float32 probabilities of logits N x classes x H x W. Several classes have the softmax; one
    has the sigmoid, or if "clipped" the logits cut to [0, 1]."""
    logits = logits.float()
    if logits.shape[1] > 1:
        return torch.softmax(logits, dim=1)
    return logits.clamp(0, 1) if output == "clipped" else torch.sigmoid(logits)


def parameter_count(model: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def receptive_field(levels: int, kernel: int) -> int:
    """Side in pixels of the square of the input that one output pixel of the U-Net depends on.

    It differs with the pixel's place in the pooling grid; this is the largest, for transposed 2 x 2
    up-sampling. Two convolutions widen the side by `kernel - 1` at each end, at every level on the
    way from the output down to the bottleneck and up again to the input.
    """
    side, widening = 1, 2 * (kernel - 1)
    for _ in range(levels - 1):  # n pixels lie in at most n // 2 + 1 of the next coarser level
        side = (side + widening) // 2 + 1
    side += widening
    for _ in range(levels - 1):
        side = 2 * side + widening
    return side
