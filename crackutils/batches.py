"""Which pixels make up step n of a run with seed s: a pure function of (seed, step).

The CPU draws the samples, their crops and their augmentation. Crops are cut and mirrored where the
pixels lie, on a CPU or on a GPU; rotation and brightness are computed on the CPU. Nothing is
carried from step to step, so a resumed run draws what an uninterrupted run would have drawn.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from crackutils.data.masks import IGNORED
from crackutils.data.picture_cache import Part
from crackutils.device import usable_cores
from crackutils.protocol import Protocol

MAX_ANGLE = 15.0  # degrees
MAX_CHANGE = 0.2  # of contrast (relative) and of brightness (as a share of white)
BATCHES_AHEAD = 4  # prepared while the device computes
PLACES_TRIED = 20  # of a crop, until it has a pixel that isn't ignored
MEMORY_SHARE = 0.5  # of a GPU's free memory, for the pixels; the rest is left to the network


class Draw(NamedTuple):
    """What is drawn for one sample of a step.

    Three independent choices, each with probability 1/2, give the eight symmetries of a square with
    equal probability: exchange rows and columns, mirror the rows, mirror the columns.
    """

    index: int  # of the sample in its part
    top: int  # first row of the crop
    left: int  # first column of the crop
    transpose: bool  # exchange rows and columns
    flip_rows: bool  # then mirror top and bottom
    flip_columns: bool  # and left and right
    angle: float  # then rotate about the centre, in degrees counter-clockwise; 0: not rotated
    contrast: float  # multiply the grey levels by this ...
    brightness: float  # ... and add this share of white


def crop(pixels: Tensor, draw: Draw, tile: tuple[int, int]) -> Tensor:
    """The drawn crop of an H x W (x 3) tensor, mirrored as drawn; a view where that is possible."""
    height, width = tile
    pixels = pixels[draw.top:draw.top + height, draw.left:draw.left + width]
    if draw.transpose:
        pixels = pixels.transpose(0, 1)
    if draw.flip_rows:
        pixels = pixels.flip(0)
    if draw.flip_columns:
        pixels = pixels.flip(1)
    return pixels


def rotate_and_recolour(image: Tensor, mask: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """A crop (uint8 h x w x 3) and its mask (uint8 h x w), rotated, with other grey levels.

    Beyond its border the crop is continued by its mirror image.
    """
    image, mask = image.contiguous().numpy(), mask.contiguous().numpy()
    if draw.angle != 0:
        height, width = mask.shape
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), draw.angle, 1)
        image = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR,
                               borderMode=cv2.BORDER_REFLECT_101)
        mask = cv2.warpAffine(mask, matrix, (width, height), flags=cv2.INTER_NEAREST,
                              borderMode=cv2.BORDER_REFLECT_101)
    levels = np.arange(256) * draw.contrast + 255 * draw.brightness
    image = cv2.LUT(image, levels.round().clip(0, 255).astype(np.uint8))
    return torch.from_numpy(image), torch.from_numpy(mask)


class Sampler:
    """The batches of a run: `sampler.batch(step)` -> images N x 3 x h x w, targets N x 1 x h x w.

    Images are float32 in [0, 1], targets float32 class numbers. Samples are drawn with replacement.
    If several processes share a run, each gets its part of every step's draws. `resident` says
    whether the pixels lie on the device that computes: on a CPU always; on a GPU never with
    `augmentation="full"`, which the CPU computes, else as given (None: if its memory is enough).
    """

    def __init__(self, part: Part, protocol: Protocol, device: str | torch.device = "cpu",
                 rank: int = 0, ranks: int = 1, resident: bool | None = None):
        self.part, self.protocol, self.device = part, protocol, torch.device(device)
        self.rank, self.ranks = rank, ranks
        self.images, self.masks = part.tensors()
        if self.device.type == "cpu":
            resident = True
        elif protocol.augmentation == "full":
            resident = False
        elif resident is None:
            free, _ = torch.cuda.mem_get_info(self.device)
            resident = self.images.numel() * 4 / 3 <= MEMORY_SHARE * free  # masks included
        self.resident = resident
        if resident:
            self.images, self.masks = self.images.to(self.device), self.masks.to(self.device)
        self.padded = {}  # the few pictures smaller than a tile

    def draws(self, step: int) -> list[Draw]:
        """The draws of a whole step, whatever the number of processes."""
        generator = np.random.default_rng([self.protocol.seed, step])
        return [self.draw(generator) for _ in range(self.protocol.batch)]

    def draw(self, generator: np.random.Generator) -> Draw:
        """The draws of one sample.

        Each property takes its own random numbers, so all are independent. They are drawn even if
        the augmentation ignores them: runs that differ only in augmentation see the same crops.
        """
        protocol = self.protocol
        index = int(generator.integers(len(self.part)))
        height, width = self.part.sizes[index]
        for _ in range(PLACES_TRIED):
            top = int(generator.integers(max(0, height - protocol.tile[0]) + 1))
            left = int(generator.integers(max(0, width - protocol.tile[1]) + 1))
            if protocol.ignore is None or self.counts_in(index, top, left):
                break
        transpose, flip_rows, flip_columns, rotate, recolour = generator.random(5) < 0.5
        angle = generator.uniform(-MAX_ANGLE, MAX_ANGLE)
        contrast, brightness = generator.uniform(-MAX_CHANGE, MAX_CHANGE, size=2)
        if protocol.augmentation == "none":
            transpose = flip_rows = flip_columns = False
        if protocol.task == "roads":  # the sky stays above
            transpose = flip_rows = False
        if protocol.tile[0] != protocol.tile[1]:
            transpose = False
        if protocol.augmentation != "full" or not rotate:
            angle = 0.0
        if protocol.augmentation != "full" or not recolour:
            contrast = brightness = 0.0
        return Draw(index, top, left, bool(transpose), bool(flip_rows), bool(flip_columns),
                    angle, 1 + contrast, brightness)

    def counts_in(self, index: int, top: int, left: int) -> bool:
        """Whether the crop at this place has a pixel that isn't ignored."""
        mask = self.masks[self.part.place(index)].view(self.part.sizes[index])
        height, width = self.protocol.tile
        return bool((mask[top:top + height, left:left + width] != IGNORED).any())

    def names(self, step: int) -> list[str]:
        """The names of the samples of a step, for messages."""
        return [self.part.names[draw.index] for draw in self.draws(step)]

    def sample_pixels(self, index: int) -> tuple[Tensor, Tensor]:
        """A sample's image and mask; if smaller than the tile, continued by its mirror image."""
        if index in self.padded:
            return self.padded[index]
        place, size = self.part.place(index), self.part.sizes[index]
        image, mask = self.images[place].view(*size, 3), self.masks[place].view(size)
        missing = [max(0, side - length) for length, side in zip(size, self.protocol.tile)]
        if any(missing):
            edges = [(count // 2, count - count // 2) for count in missing]
            image_array = np.pad(image.cpu().numpy(), [*edges, (0, 0)], mode="reflect")
            mask_array = np.pad(mask.cpu().numpy(), edges, mode="reflect")
            image = torch.from_numpy(image_array).to(image.device)
            mask = torch.from_numpy(mask_array).to(mask.device)
            self.padded[index] = image, mask
        return image, mask

    def step_pixels(self, step: int) -> tuple[Tensor, Tensor]:
        """This process's part of a step as uint8: images N x h x w x 3, masks N x h x w."""
        images, masks = [], []
        for draw in self.draws(step)[self.rank::self.ranks]:
            image, mask = (crop(pixels, draw, self.protocol.tile)
                           for pixels in self.sample_pixels(draw.index))
            if self.protocol.augmentation == "full":
                image, mask = rotate_and_recolour(image, mask, draw)
            images.append(image)
            masks.append(mask)
        images, masks = torch.stack(images), torch.stack(masks)
        if self.device.type == "cuda" and not self.resident:
            # into memory that the GPU reads without the CPU's help
            images, masks = images.pin_memory(), masks.pin_memory()
        return images, masks

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """This process's part of a step on the device, as the network takes it."""
        return as_tensors(*self.step_pixels(step), self.device)

    def batches(self, steps: range) -> Iterator[tuple[Tensor, Tensor]]:
        """`batch(step)` of each step; pixels that are not resident are prepared ahead."""
        if self.resident:
            for step in steps:
                yield self.batch(step)
            return
        with ThreadPoolExecutor(min(BATCHES_AHEAD, usable_cores())) as pool:
            waiting = deque()
            for step in steps:
                waiting.append(pool.submit(self.step_pixels, step))
                if len(waiting) > BATCHES_AHEAD:
                    yield as_tensors(*waiting.popleft().result(), self.device)
            while waiting:
                yield as_tensors(*waiting.popleft().result(), self.device)


def as_tensors(images: Tensor, masks: Tensor,
               device: str | torch.device = "cpu") -> tuple[Tensor, Tensor]:
    """uint8 N x H x W x 3, N x H x W as float32 N x 3 x H x W in [0, 1] and N x 1 x H x W."""
    images, masks = (pixels.to(device, non_blocking=True) for pixels in (images, masks))
    return images.permute(0, 3, 1, 2).float() / 255, masks.unsqueeze(1).float()
