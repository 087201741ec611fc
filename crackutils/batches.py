"""Which pixels make up step n of a run with seed s: a pure function of (seed, step).

Crops, mirrors and right-angle turns are cut where the pixels lie, on a CPU or on a GPU, from draws
that the CPU makes: the same everywhere. albumentations does the rest of the augmentation. Nothing
is carried from step to step, so a run that resumes at step n draws what an uncut run drew.
"""

import os
import random
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import albumentations
import cv2
import numpy as np
import torch
from torch import Tensor

from crackutils.data.picture_cache import Part
from crackutils.protocol import Protocol

# the eight symmetries of a square, in the order in which albumentations' SquareSymmetry draws them:
# exchange rows and columns? then mirror top and bottom? left and right?
SYMMETRIES = ((False, False, False), (True, True, False), (False, True, True), (True, False, True),
              (False, True, False), (True, True, True), (False, False, True), (True, False, False))
UNCHANGED = SYMMETRIES[0]
AHEAD = 4  # batches prepared while the device computes
SHARE_OF_DEVICE = 0.5  # of its free memory that the pixels may take: the rest is the network's


class Draw(NamedTuple):
    """One sample of a step: its index, the crop's first row and column, its symmetry, a seed."""

    index: int
    top: int
    left: int
    symmetry: tuple[bool, bool, bool]
    seed: int  # of the augmentation beyond


def symmetry_of(protocol: Protocol, seed: int, chance: random.Random) -> tuple[bool, bool, bool]:
    """"none": no change; else a road is mirrored only, a crack turned too if its tile is square."""
    if protocol.augmentation == "none":
        return UNCHANGED
    if protocol.task == "cracks" and protocol.tile[0] == protocol.tile[1]:
        return SYMMETRIES[np.random.default_rng(seed).integers(len(SYMMETRIES))]
    mirrored, upside_down = chance.random() < 0.5, chance.random() < 0.5
    return False, upside_down and protocol.task == "cracks", mirrored


def cut(pixels: Tensor, draw: Draw, tile: tuple[int, int]) -> Tensor:
    """The drawn crop of an H x W (x 3) tensor, turned and mirrored; a view where it can be one."""
    height, width = tile
    crop = pixels[draw.top:draw.top + height, draw.left:draw.left + width]
    exchange, top_bottom, left_right = draw.symmetry
    if exchange:
        crop = crop.transpose(0, 1)
    mirrored = [axis for axis, wanted in enumerate((top_bottom, left_right)) if wanted]
    return crop.flip(mirrored) if mirrored else crop


class Sampler:
    """The batches of a run: `sampler.batch(step)` -> images N x 3 x h x w, targets N x 1 x h x w.

    Images are float32 in [0, 1], targets float32 class numbers. Samples are drawn with replacement.
    Of several processes that share a run, each gets its part of every step's draws. On a GPU the
    pixels are `resident` if they fit there (None: decided by its free memory).
    """

    def __init__(self, part: Part, protocol: Protocol, device: str | torch.device = "cpu",
                 rank: int = 0, ranks: int = 1, resident: bool | None = None):
        self.part, self.protocol, self.device = part, protocol, torch.device(device)
        self.rank, self.ranks = rank, ranks
        self.further = further_augmentation(protocol)
        images, masks = part.tensors()
        self.resident = self.device.type == "cpu" or (self.further is None and (
            fits(images, self.device) if resident is None else resident))
        if self.resident:
            images, masks = images.to(self.device), masks.to(self.device)
        self.images, self.masks = images, masks
        self.padded = {}  # the few photographs smaller than a tile

    def draws(self, step: int) -> list[Draw]:
        """The whole step's draws, whatever the number of processes.

        Each sample's crop and symmetry are those that albumentations' RandomCrop and
        SquareSymmetry draw from the same seed.
        """
        generator = np.random.default_rng([self.protocol.seed, step])
        indices = generator.integers(len(self.part), size=self.protocol.batch)
        seeds = generator.integers(2**31, size=self.protocol.batch)
        return [self.draw(index, seed) for index, seed in zip(indices.tolist(), seeds.tolist())]

    def draw(self, index: int, seed: int) -> Draw:
        chance = random.Random(seed)
        spare = [max(0, length - side)
                 for length, side in zip(self.part.sizes[index], self.protocol.tile)]
        top, left = (int((room + 1) * chance.random()) for room in spare)
        return Draw(index, top, left, symmetry_of(self.protocol, seed, chance), seed)

    def names(self, step: int) -> list[str]:
        """The names of the samples of a step, for messages."""
        return [self.part.names[draw.index] for draw in self.draws(step)]

    def pixels(self, index: int) -> tuple[Tensor, Tensor]:
        """A sample's image and mask; a photograph smaller than the tile goes on as its mirror."""
        if index in self.padded:
            return self.padded[index]
        place, size = self.part.place(index), self.part.sizes[index]
        image, mask = self.images[place].view(*size, 3), self.masks[place].view(size)
        missing = [max(0, side - length) for length, side in zip(size, self.protocol.tile)]
        if any(missing):
            edges = [(lack // 2, lack - lack // 2) for lack in missing]
            image, mask = (
                torch.from_numpy(np.pad(pixels.cpu().numpy(), edges + [(0, 0)] * (pixels.dim() - 2),
                                        mode="reflect")).to(pixels.device)
                for pixels in (image, mask))
            self.padded[index] = image, mask
        return image, mask

    def cuts(self, step: int) -> tuple[Tensor, Tensor]:
        """This process's part of a step as uint8: images N x h x w x 3, masks N x h x w."""
        images, masks = [], []
        for draw in self.draws(step)[self.rank::self.ranks]:
            image, mask = (cut(pixels, draw, self.protocol.tile)
                           for pixels in self.pixels(draw.index))
            if self.further is not None:
                self.further.set_random_seed(draw.seed)
                drawn = self.further(image=image.contiguous().numpy(),
                                     mask=mask.contiguous().numpy())
                image, mask = torch.from_numpy(drawn["image"]), torch.from_numpy(drawn["mask"])
            images.append(image)
            masks.append(mask)
        return torch.stack(images), torch.stack(masks)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        return as_tensors(*(pixels.to(self.device) for pixels in self.cuts(step)))

    def batches(self, steps: range) -> Iterator[tuple[Tensor, Tensor]]:
        """`batch(step)` of each step; pixels that are not resident are prepared ahead."""
        if self.resident:
            yield from map(self.batch, steps)
            return
        # albumentations keeps a state between seeding and drawing: one thread for it
        with ThreadPoolExecutor(1 if self.further else min(AHEAD, os.cpu_count())) as pool:
            waiting = deque()
            for step in steps:
                waiting.append(pool.submit(self.pinned, step))
                if len(waiting) > AHEAD:
                    yield self.sent(waiting.popleft().result())
            while waiting:
                yield self.sent(waiting.popleft().result())

    def pinned(self, step: int) -> tuple[Tensor, Tensor]:
        """A step's pixels in memory from which a GPU fetches them by itself."""
        pixels = self.cuts(step)
        return tuple(one.pin_memory() for one in pixels) if self.device.type == "cuda" else pixels

    def sent(self, pixels: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return as_tensors(*(one.to(self.device, non_blocking=True) for one in pixels))


def fits(images: Tensor, device: torch.device) -> bool:
    """Whether all pixels, masks included, may live on a GPU."""
    free, _ = torch.cuda.mem_get_info(device)
    return images.numel() * 4 / 3 <= SHARE_OF_DEVICE * free


def further_augmentation(protocol: Protocol) -> albumentations.Compose | None:
    """"full": small rotations, brightness and contrast, after the crop and its symmetry."""
    if protocol.augmentation != "full":
        return None
    return albumentations.Compose([
        albumentations.Rotate(limit=15, border_mode=cv2.BORDER_REFLECT_101, p=0.5),
        albumentations.RandomBrightnessContrast(p=0.5)])


def as_tensors(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """uint8 N x H x W x 3 and N x H x W to float32 N x 3 x H x W in [0, 1] and N x 1 x H x W."""
    return images.permute(0, 3, 1, 2).float() / 255, masks.unsqueeze(1).float()
