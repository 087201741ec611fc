"""From a mask to its cracks: length, width, orientation and branches of each, in px and in mm.

The centre line of a crack is the skeleton of its mask, divided into branches by skan. A skeleton
runs from pixel to pixel, horizontally, vertically or diagonally, which makes its path up to 8 % too
long; its branches are smoothed before they are measured.
"""

import dataclasses
import math
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import scipy.ndimage
from scipy.spatial import cKDTree
from skan import Skeleton
from skimage.morphology import skeletonize

LEAST_LENGTH = 10  # px: shorter ones are specks, which are not listed as cracks
SMOOTHED_OVER = 5  # px of the centre line to each side of a point, in its smoothing
WIDTH_OVER = 8  # px of the centre line to each side, over which a local width is the mean
SPUR = 1.5  # half widths; the corner of a square end is sqrt(2) of them from the centre line
ROUNDS_OF_PRUNING = 3  # a branch that forks has lost its two ends before it is an end itself
# The largest errors on synthetic cracks of known length and width (tests/test_measurement.py)
LENGTH_ERROR = 0.05  # of the length
WIDTH_ERROR, LEAST_WIDTH_ERROR = 0.1, 0.5  # of the width, and in px: the larger one holds
SMALLEST_WIDTH = 1.0  # px: in a mask, a finer crack is as wide as this
PIXELS_OFF = math.sqrt(2)  # two ends of a known length, each one marked to 1 px


class ScaleError(ValueError):
    """What is wrong with a scale, in a sentence."""


class Scale(NamedTuple):
    """How large a pixel is, in mm, and the relative standard uncertainty of that number."""

    mm_per_pixel: float
    uncertainty: float = 0.0

    @classmethod
    def of_pixel(cls, mm_per_pixel: float) -> "Scale":
        """The scale of a pixel of this size, taken as exact; `ScaleError` unless it is above 0."""
        if not 0 < mm_per_pixel < math.inf:
            raise ScaleError(f"A pixel's size must be a finite number of mm above 0, got "
                             f"{mm_per_pixel:g}: write --mm-per-pixel 0.12.")
        return cls(mm_per_pixel)

    @classmethod
    def parse(cls, text: str) -> "Scale":
        """The scale of a known length, such as `100mm=842px`, each of whose ends was marked to 1
        px. `ScaleError` for another form, and unless both numbers are finite and above 0."""
        match = re.fullmatch(r"\s*([\d.eE+-]+)\s*mm\s*=\s*([\d.eE+-]+)\s*px\s*", text)
        try:
            millimetres, pixels = map(float, match.groups() if match else ())
        except ValueError:
            millimetres = pixels = 0
        if not (0 < millimetres < math.inf and 0 < pixels < math.inf):
            raise ScaleError(f"A scale is a known length in mm and in px, both above 0, such as "
                             f"100mm=842px, got {text!r}.")
        return cls(millimetres / pixels, PIXELS_OFF / pixels)


@dataclass(frozen=True)
class Crack:
    """A connected crack of a mask. Lengths are in px; a pixel's corner, not its centre, has whole
    coordinates, and the picture's upper left corner is (0, 0)."""

    number: int  # from 1, the crack of the largest area first
    length: float  # of its centre lines, all branches together
    mean_width: float  # its area divided by its length
    greatest_width: float  # mean over about 17 px of the centre line
    orientation: float  # degrees from 0 to below 180: 0 is horizontal, 90 vertical, 45 rises right
    branches: int
    area: int  # pixels
    left: int
    top: int
    right: int  # the first column that is not part of it
    bottom: int  # the first row that is not part of it
    lines: list[np.ndarray]  # the centre line of each branch, N x 2 (x, y)

    def row(self, scale: Scale | None) -> dict[str, float]:
        """The columns of a table, rounded; with a scale also in mm, with uncertainties.

        The uncertainty of a length in mm is that of the measurement in px (its largest error on
        synthetic cracks) and that of the scale, added as squares. It is that of measuring the mask:
        how well the mask follows the crack depends on the network.
        """
        values = {"crack": self.number, "length_px": round(self.length, 1),
                  "mean_width_px": round(self.mean_width, 2),
                  "greatest_width_px": round(self.greatest_width, 2),
                  "orientation_degrees": round(self.orientation, 1) % 180,
                  "branches": self.branches, "area_px": self.area, "left": self.left,
                  "top": self.top, "right": self.right, "bottom": self.bottom}
        if scale is not None:
            for name in ("length", "mean_width", "greatest_width"):
                size = getattr(self, name)
                error = LENGTH_ERROR * size
                if name != "length":
                    error = max(WIDTH_ERROR * size, LEAST_WIDTH_ERROR)
                in_mm = scale.mm_per_pixel * size
                uncertainty = math.hypot(scale.mm_per_pixel * error, scale.uncertainty * in_mm)
                values[f"{name}_mm"] = significant(in_mm)
                values[f"{name}_uncertainty_mm"] = significant(uncertainty, 2)
            values["area_mm2"] = significant(self.area * scale.mm_per_pixel**2)
            values["smallest_width_mm"] = significant(SMALLEST_WIDTH * scale.mm_per_pixel)
        return values


def significant(number: float, digits: int = 4) -> float:
    """The number, rounded to so many significant digits."""
    return float(f"{number:.{digits}g}")


def measure(mask: np.ndarray) -> list[Crack]:
    """The cracks of a mask (H x W, crack where it is not 0), that of the largest area first.

    Pixels that touch, diagonally too, belong to one crack. Specks shorter than `LEAST_LENGTH` px
    are left out. Length is that of the centre lines, which go on to the crack's ends; the mean
    width is area / length, exact for a band of constant width, straight or curved.
    """
    mask = (mask != 0).astype(np.uint8)
    found = pruned_paths(mask)  # before the labels take memory
    _, labels = cv2.connectedComponents(mask, connectivity=8)
    paths_of = defaultdict(list)
    for points, free in found:
        paths_of[labels[tuple(points[0])]].append((points, free))
    cracks = []
    for label, (rows, columns) in enumerate(scipy.ndimage.find_objects(labels), 1):
        if max(rows.stop - rows.start, columns.stop - columns.start) >= LEAST_LENGTH:
            pixels = np.argwhere(labels[rows, columns] == label) + (rows.start, columns.start)
            cracks.append(crack_of(pixels, paths_of[label], rows, columns))
    cracks.sort(key=lambda crack: (-crack.area, crack.top, crack.left))
    return [dataclasses.replace(crack, number=number) for number, crack in enumerate(cracks, 1)]


def pruned_paths(mask: np.ndarray) -> list[tuple[np.ndarray, tuple[bool, bool]]]:
    """The `paths` of a mask's skeleton without the short branches that lead to a corner of a
    crack's end, or to a bump of its edge: those shorter than `SPUR` half widths."""
    thin = skeletonize(mask > 0)
    if not (cv2.filter2D(thin.astype(np.uint8), -1, np.ones((3, 3), np.uint8),
                         borderType=cv2.BORDER_CONSTANT)[thin] > 1).any():
        return []  # no two pixels touch, and skan needs a path
    skeleton = Skeleton(thin)
    half_width = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    for _ in range(ROUNDS_OF_PRUNING):
        spurs = []
        for index, (points, free) in enumerate(paths(skeleton)):
            if free[0] != free[1]:
                junction = points[-1] if free[0] else points[0]
                if len(points) - 1 <= SPUR * half_width[tuple(junction)] + 1:
                    spurs.append(index)
        if not spurs:
            break
        skeleton = skeleton.prune_paths(spurs)
    return paths(skeleton)


def paths(skeleton: Skeleton) -> list[tuple[np.ndarray, tuple[bool, bool]]]:
    """The pixels of each branch, N x 2 (row, column), and whether its first and its last pixel are
    free ends rather than junctions."""
    found = []
    for index in range(skeleton.n_paths):
        nodes = skeleton.path(index)
        free = skeleton.degrees[nodes[0]] == 1, skeleton.degrees[nodes[-1]] == 1
        found.append((skeleton.coordinates[nodes].astype(int), free))
    return found


def smoothed(points: np.ndarray) -> np.ndarray:
    """A path (N x 2), each point replaced by the mean over `SMOOTHED_OVER` points to each side; the
    path is continued point-symmetrically beyond its ends, so that they and straight paths stay."""
    reach = min(SMOOTHED_OVER, len(points) - 1)
    continued = np.pad(points.astype(float), ((reach, reach), (0, 0)), mode="reflect",
                       reflect_type="odd")
    window = np.full(2 * reach + 1, 1 / (2 * reach + 1))
    return scipy.ndimage.convolve1d(continued, window, axis=0)[reach:len(points) + reach]


def crack_of(pixels: np.ndarray, found: list[tuple[np.ndarray, tuple[bool, bool]]],
             rows: slice, columns: slice) -> Crack:
    """Measure one crack from its pixels (N x 2), the paths of its skeleton, and the rows and
    columns of its bounding box."""
    place = dict(number=0, area=len(pixels), left=columns.start, top=rows.start,
                 right=columns.stop, bottom=rows.stop)
    if not found:  # a round blob, whose skeleton is one pixel
        across = max(rows.stop - rows.start, columns.stop - columns.start)
        middle = pixels.mean(axis=0)[::-1][None] + 0.5
        return Crack(length=across, mean_width=len(pixels) / across, greatest_width=across,
                     orientation=0.0, branches=1, lines=[np.repeat(middle, 2, axis=0)], **place)
    lines = [smoothed(points) for points, _ in found]
    starts = np.cumsum([0] + [len(points) for points in lines])
    _, nearest = cKDTree(np.concatenate(lines)).query(pixels)
    area = np.bincount(nearest, minlength=starts[-1])  # pixels that are nearest to each point
    steps = []  # the length of centre line that belongs to each point: they add up to the length
    for points, (_, free), start in zip(lines, found, starts):
        between = np.linalg.norm(np.diff(points, axis=0), axis=1)
        steps.append((np.append(between, 0) + np.append(0, between)) / 2)
        for end, inner in ((0, SMOOTHED_OVER), (-1, -1 - SMOOTHED_OVER)):
            if free[end]:  # the crack goes on beyond the last pixel of its skeleton
                inner = points[inner] if len(points) > SMOOTHED_OVER else points[-1 - end]
                own = pixels[nearest == start + end % len(points)]
                steps[-1][end] += reach_beyond(points[end], inner, own)
    length = float(sum(step.sum() for step in steps))
    mean_width = len(pixels) / length
    widths = [local_widths(area[start:start + len(step)], step, mean_width)
              for start, step in zip(starts, steps)]
    long_ones = sum(step.sum() > 2 for step in steps)  # skan has steps between junction pixels too
    return Crack(length=length, mean_width=mean_width,
                 greatest_width=float(max(mean_width, np.concatenate(widths).max(initial=0))),
                 orientation=orientation(lines), branches=max(1, int(long_ones)),
                 lines=[points[:, ::-1] + 0.5 for points in lines], **place)


def reach_beyond(end: np.ndarray, inner: np.ndarray, pixels: np.ndarray) -> float:
    """How far a crack goes on beyond the end of its centre line, px, in the direction from a point
    `inner` to `end`. `pixels` are those that are nearest to the end; 0 if there are none."""
    if not len(pixels):
        return 0.0
    direction = (end - inner) / max(np.linalg.norm(end - inner), 1e-9)
    return max(0.0, float(((pixels - end) @ direction).max()) + 0.5)  # a pixel ends at its edge


def local_widths(area: np.ndarray, steps: np.ndarray, mean_width: float) -> np.ndarray:
    """The width along a branch: the area that belongs to the points around each one, divided by the
    centre line there. It is left out near the branch's ends, where cracks run into each other, or
    the centre line bends into a corner."""
    window = np.ones(2 * WIDTH_OVER + 1)
    widths = (scipy.ndimage.convolve1d(area.astype(float), window, mode="constant")
              / scipy.ndimage.convolve1d(steps, window, mode="constant").clip(1e-9))
    left_out = WIDTH_OVER + round(mean_width)
    return widths[left_out:len(widths) - left_out]


def orientation(lines: list[np.ndarray]) -> float:
    """The mean direction of lines (N x 2, row and column) in degrees, 0 to below 180, weighted by
    length. Directions that differ by 180 degrees are equal, so the doubled angles are averaged."""
    steps = np.concatenate([np.diff(points, axis=0) for points in lines])
    length = np.linalg.norm(steps, axis=1)
    doubled = 2 * np.arctan2(-steps[:, 0], steps[:, 1])  # rows are counted downwards
    mean = math.atan2((length * np.sin(doubled)).sum(), (length * np.cos(doubled)).sum())
    return math.degrees(mean) / 2 % 180
