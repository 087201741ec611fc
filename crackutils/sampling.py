"""Which pixels make up step n of a run with seed s: a pure function of (seed, step).

albumentations does resizing, cropping and the optional augmentation, image and mask together.
Nothing is carried from step to step, so a run that resumes at step n draws what an uncut run drew.
"""

import albumentations
import cv2
import numpy as np
import torch
from torch import Tensor

from crackutils.datasets import Sample
from crackutils.protocol import Protocol


def framed(samples: list[Sample], protocol: Protocol) -> list[Sample]:
    """The samples as a network sees them whole: reduced to `tile` once if `framing` is "resize".

    Images are averaged over areas, labels take the nearest pixel's.
    """
    if protocol.framing == "tiles":
        return samples
    resize = albumentations.Resize(*protocol.tile, interpolation=cv2.INTER_AREA,
                                   mask_interpolation=cv2.INTER_NEAREST)
    resized = ((sample, resize(image=sample.image, mask=sample.mask)) for sample in samples)
    return [Sample(sample.name, result["image"], result["mask"], None)
            for sample, result in resized]


def augmentation(protocol: Protocol) -> albumentations.Compose:
    """What happens to each drawn sample: a crop ("tiles"), then the protocol's augmentation.

    "none"; "flips": both mirrors and right-angle turns; "full": also small rotations and
    brightness and contrast. A road is never turned upside down: it is only mirrored.
    """
    # a photograph smaller than the tile is continued by reflection, its mask alike
    crop = albumentations.RandomCrop(*protocol.tile, pad_if_needed=True,
                                     border_mode=cv2.BORDER_REFLECT_101)
    steps = [crop] if protocol.framing == "tiles" else []
    if protocol.augmentation != "none":
        height, width = protocol.tile
        if protocol.task == "cracks" and height == width:
            steps.append(albumentations.SquareSymmetry(p=1))
        else:  # a quarter turn would change the shape of a tile that is not square
            steps.append(albumentations.HorizontalFlip(p=0.5))
            if protocol.task == "cracks":
                steps.append(albumentations.VerticalFlip(p=0.5))
    if protocol.augmentation == "full":
        steps.append(albumentations.Rotate(limit=15, border_mode=cv2.BORDER_REFLECT_101, p=0.5))
        steps.append(albumentations.RandomBrightnessContrast(p=0.5))
    return albumentations.Compose(steps)


class Sampler:
    """The batches of a run: `sampler.batch(step)` -> images N x 3 x h x w, targets N x 1 x h x w.

    Images are float32 in [0, 1], targets float32 0 or 1. Samples are drawn with replacement.
    """

    def __init__(self, samples: list[Sample], protocol: Protocol):
        self.samples = framed(samples, protocol)
        self.protocol = protocol
        self.transform = augmentation(protocol)

    def draws(self, step: int) -> list[tuple[int, int]]:
        """For each of the step's samples: its index and the seed of its crop and augmentation."""
        generator = np.random.default_rng([self.protocol.seed, step])
        indices = generator.integers(len(self.samples), size=self.protocol.batch)
        seeds = generator.integers(2**31, size=self.protocol.batch)
        return list(zip(indices.tolist(), seeds.tolist()))

    def names(self, step: int) -> list[str]:
        """The names of the samples of a step, for messages."""
        return [self.samples[index].name for index, _ in self.draws(step)]

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        images, masks = [], []
        for index, seed in self.draws(step):
            self.transform.set_random_seed(seed)
            drawn = self.transform(image=self.samples[index].image, mask=self.samples[index].mask)
            images.append(drawn["image"])
            masks.append(drawn["mask"])
        return as_tensors(np.stack(images), np.stack(masks))


def as_tensors(images: np.ndarray, masks: np.ndarray) -> tuple[Tensor, Tensor]:
    """uint8 N x H x W x 3 and N x H x W to float32 N x 3 x H x W in [0, 1] and N x 1 x H x W."""
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255,
            torch.from_numpy(masks).unsqueeze(1).float())
