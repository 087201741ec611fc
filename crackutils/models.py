"""The paper's U-Net, and segmentation-models-pytorch's FPN, behind one call: `build(protocol)`.

Both map float32 images N x 3 x H x W in [0, 1] to logits N x 1 x H x W, for any H and W; the FPN
of three classes to N x 3 x H x W.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from crackutils.protocol import Protocol

OUTPUTS = {"binary": 1, "direct": 1, "three": 3}  # channels of the logits
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class UNet(nn.Module):
    """The U-Net of paper A (section III.1, Table 2), the figures it leaves open as parameters.

    `levels` counts resolutions, the bottleneck included; filters double from `first_filters` at
    each level up to `widest` (paper: 16-32-64-128 and, at 5 levels, 256). Two convolutions a level,
    each followed by batch norm and ReLU; 2 x 2 max pooling; skip connections; logits out.
    H and W must be multiples of `2 ** (levels - 1)` (`AnySize` sees to it).
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
        self.head = nn.Conv2d(filters[0], 1, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        skips, features = [], images
        for level, block in enumerate(self.encoder):
            features = block(functional.max_pool2d(features, 2) if level else features)
            skips.append(features)
        skips.pop()  # the bottleneck is no skip connection
        for upsampling, block in zip(self.upsampling, self.decoder):
            features = block(torch.cat([skips.pop(), upsampling(features)], dim=1))
        # a bfloat16 logit has 8 bits: the sweep wants a last layer in float32
        with torch.autocast(images.device.type, enabled=False):
            return self.head(features.float())


def double_convolution(before: int, after: int, kernel: int, batch_norm: bool) -> nn.Sequential:
    """Twice: convolution of the same size, batch norm (if wanted), ReLU."""
    layers = []
    for channels in (before, after):
        # a bias in front of batch norm would be taken off again
        layers.append(nn.Conv2d(channels, after, kernel, padding=kernel // 2, bias=not batch_norm))
        layers += [nn.BatchNorm2d(after)] if batch_norm else []
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def upsample(before: int, after: int, kind: str) -> nn.Module:
    """Twice the resolution: a transposed 2 x 2 convolution, or bilinear and a 1 x 1 convolution."""
    if kind == "transposed":
        return nn.ConvTranspose2d(before, after, kernel_size=2, stride=2)
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"),
                         nn.Conv2d(before, after, kernel_size=1))


class Normalize(nn.Module):
    """Images less the mean, divided by the deviation of each channel.

    torchvision's transform would copy its numbers to the device, and wait for it, at each step.
    """

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]):
        super().__init__()
        for name, values in (("mean", mean), ("deviation", deviation)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.deviation


class AnySize(nn.Module):
    """A network that needs multiples of `multiple`: pads at the right and bottom, crops back."""

    def __init__(self, network: nn.Module, multiple: int):
        super().__init__()
        self.network, self.multiple = network, multiple

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        padding = (0, -width % self.multiple, 0, -height % self.multiple)
        padded = functional.pad(images, padding, mode="replicate") if any(padding) else images
        return self.network(padded)[..., :height, :width]


def build(protocol: Protocol) -> AnySize:
    """The protocol's network, its first weights a function of the protocol's seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(protocol.seed)
        if protocol.architecture == "fpn":
            return AnySize(fpn(protocol.encoder_weights, OUTPUTS[protocol.classes]), multiple=32)
        network = UNet(protocol.levels, protocol.kernel, protocol.first_filters, protocol.widest,
                       protocol.batch_norm, protocol.upsampling)
        return AnySize(network, multiple=2 ** (protocol.levels - 1))


def fpn(encoder_weights: str | None, outputs: int = 1) -> nn.Sequential:
    """segmentation-models-pytorch's FPN with a ResNet-50 encoder (paper B).

    ImageNet weights come from a hub; whatever a hub that can't be reached raises passes through
    (`with_encoder_at_hand` asks beforehand).
    """
    # imported where needed: the U-Net's notebooks start seconds sooner without
    import segmentation_models_pytorch as smp

    network = smp.FPN("resnet50", encoder_weights=encoder_weights, classes=outputs)
    return nn.Sequential(Normalize(IMAGENET_MEAN, IMAGENET_STD), network)


def with_encoder_at_hand(protocol: Protocol) -> Protocol:
    """The protocol, or, where its ImageNet weights can't be had, the same with random ones, and a
    warning that says so: then the runs' records say it too."""
    if protocol.encoder_weights is None:
        return protocol
    import segmentation_models_pytorch as smp

    state = torch.get_rng_state()
    try:
        smp.encoders.get_encoder("resnet50", weights=protocol.encoder_weights)
        return protocol
    except Exception as error:  # a hub fails in many ways; each of them means: no weights
        warnings.warn("No ImageNet weights could be had, the encoder starts from random weights: "
                      f"{type(error).__name__}. Results will be lower than with them.",
                      stacklevel=2)
        return replace(protocol, encoder_weights=None)
    finally:
        torch.set_rng_state(state)


def probability(logits: Tensor, output: str) -> Tensor:
    """Logits to float32 probabilities: of several classes the softmax, else the sigmoid or
    (`"clipped"`) the value cut to [0, 1]."""
    if logits.shape[1] > 1:
        return torch.softmax(logits.float(), dim=1)
    return logits.float().clamp(0, 1) if output == "clipped" else torch.sigmoid(logits.float())


def parameter_count(model: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def receptive_field(levels: int, kernel: int) -> int:
    """Side in pixels of the square of input that an output pixel of the U-Net can depend on.

    The largest over the output pixel's place in the pooling grid, with transposed 2 x 2 up-sampling
    (bilinear reaches a little further). Followed backwards along the longest path: down to the
    bottleneck's pixels and up again to the image's, each pair of convolutions widening the
    interval by `kernel - 1` to both sides.
    """
    widen = kernel - 1

    def side(pixel: int) -> int:
        low = high = pixel
        for _ in range(levels - 1):
            low, high = (low - widen) // 2, (high + widen) // 2
        for _ in range(levels - 1):
            low, high = (low - widen) * 2, (high + widen) * 2 + 1
        return high + widen - (low - widen) + 1

    return max(side(pixel) for pixel in range(2 ** (levels - 1)))
