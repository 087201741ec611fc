"""Synthetic road scenes seen from a car, with drivable-area masks.

They let an experiment on road scenes run anywhere, without data; they do not replace photographs.
The ground is made of strips and everything on it of boxes, in metres: x to the right of the middle
of the own lane, y upwards from the road, z forwards from a pinhole camera, which gives perspective.
What is nearer is painted later and hides the road in the picture and in the mask.
Oncoming lanes, parking strips and pavements look like the own lane but are background.
"""
from dataclasses import dataclass

import cv2
import numpy as np

DIRECT, ALTERNATIVE, BACKGROUND = 0, 1, 2
NEAREST, FARTHEST = 1.0, 400.0  # m: the ground is painted between these distances
DRIVABLE_TO = 150.0  # m: lanes farther away count as background
# Ambient light and headlights as factors on the colours of surfaces, the colours of the sky at the
# zenith and at the horizon, and the distance in metres at which haze hides 63 % of a surface.
LIGHTS = {
    "sun": ((1.1, 1.06, 1.0), 0, (64, 122, 209), (191, 219, 242), 500),
    "overcast": ((0.87, 0.88, 0.9), 0, (184, 189, 196), (230, 230, 230), 400),
    "dusk": ((0.5, 0.47, 0.52), 0.4, (82, 97, 140), (235, 184, 140), 500),
    "night": ((0.11, 0.1, 0.11), 1.1, (10, 10, 16), (24, 20, 20), 500),
    "fog": ((0.62, 0.64, 0.66), 0.1, (140, 146, 153), (178, 181, 183), 90),
}
LIGHT_SHARES = (0.42, 0.2, 0.1, 0.18, 0.1)
GROUNDS = np.array([(66, 92, 38), (115, 102, 82), (105, 105, 105)])  # grass, sand, paving
PAINTS = np.array([(226, 226, 228), (30, 31, 34), (124, 126, 130), (140, 28, 28), (35, 55, 110)])
GLASS, BLACK, WOOD, LEAVES = np.array([(40, 46, 54), (20, 20, 22), (62, 52, 44), (54, 76, 34)])


@dataclass
class Scene:
    """Light, road and camera of a scene, and its picture and mask. Lengths are in metres."""

    light: str  # a key of LIGHTS
    blocked: bool  # whether a vehicle fills the view
    lane: float  # width of a lane
    ahead: np.ndarray  # x of the lines of the own direction, from left to right
    facing: np.ndarray  # x of the lines of the oncoming lanes, from left to right
    kerbs: np.ndarray  # x of the edges (left, right) of the roadway
    edges: np.ndarray  # x of the outer edges (left, right) of the pavements
    curve: np.ndarray  # (a, b, c): the camera sees x = 0 at a + b z + c z^2
    focal: float  # focal length in pixels
    eye: float  # height of the camera
    column: float  # the column in the middle of the view and ...
    horizon: float  # ... the row of the horizon, in pixels
    image: np.ndarray  # uint8 height x width x 3
    mask: np.ndarray  # uint8 height x width

    def bend(self, z):
        return self.curve[0] + self.curve[1] * z + self.curve[2] * z**2


def draw(seed: int, index: int, size: tuple[int, int] = (360, 640)) -> tuple[np.ndarray, ...]:
    """Draw scene `index` of the series `seed`; a pure function of its arguments.

    seed, index: integers >= 0. size: (height, width) in pixels, at least (64, 96).
    Returns (image, mask): uint8 height x width x 3, RGB, and uint8 height x width with 0 own lane,
    1 further lanes of the same direction, 2 everything else (in about 4 % of the scenes all of it).
    Raises ValueError for a smaller size or a negative seed or index.
    """
    if min(seed, index) < 0 or size[0] < 64 or size[1] < 96:
        raise ValueError(f"need seed, index >= 0, size at least (64, 96), got {seed, index, size}")
    rng = np.random.default_rng([seed, index])
    scene = lay_out(rng, *size)
    paint_ground(scene, rng)
    light_ground(scene, rng)
    paint_objects(scene, rng)
    if scene.blocked:
        scene.mask[:] = BACKGROUND  # slivers beside the vehicle are no area to drive on
    return photograph(scene, rng), scene.mask


def lay_out(rng, height: int, width: int) -> Scene:
    """A random road and camera, with an empty picture."""
    lanes = rng.choice([1, 2, 3, 4], p=[0.4, 0.34, 0.17, 0.09])
    fast = lanes > 1 and rng.random() < 0.4  # a median, no parking, no pavements, gentle curves
    lane = rng.uniform(2.8, 3.8)
    ahead = lane * (np.arange(lanes + 1) - rng.integers(lanes) - 0.5)
    oncoming = rng.choice(4, p=[0.22, 0.5, 0.2, 0.08])
    facing = ahead[0] - fast * rng.uniform(1, 4) - lane * np.arange(oncoming, -1, -1)
    parking = rng.uniform(2, 2.6, 2) * (rng.random(2) < 0.5) * (not fast)
    pavement = rng.uniform(1.2, 4, 2) * (rng.random(2) < 0.75) * (not fast)
    kerbs = np.array([facing[0] - parking[0], ahead[-1] + parking[1]])
    return Scene(
        rng.choice(list(LIGHTS), p=LIGHT_SHARES), rng.random() < 0.04, lane, ahead, facing, kerbs,
        edges=kerbs + pavement * (-1, 1),
        curve=rng.normal(0, (0.35, 0.06, 0.0007 if fast else 0.002)),
        focal=rng.uniform(0.95, 1.45) * np.sqrt(height * width), eye=rng.uniform(1.15, 1.8),
        column=rng.uniform(0.42, 0.58) * width,
        horizon=np.clip(rng.normal(0.48, 0.07), 0.3, 0.62) * height,
        image=np.zeros((height, width, 3), np.uint8),
        mask=np.full((height, width), BACKGROUND, np.uint8))


def illuminate(scene, colour, x, z):
    """`colour` in the scene's light and haze, at the distance z and x beside the camera's axis."""
    ambient, headlights, _, haze, sight = LIGHTS[scene.light]
    beam = headlights * np.exp(-z / 18 - (x / (2 + 0.2 * z)) ** 2)
    clear = np.exp(-z / sight)[..., None]
    lit = colour * (np.float32(ambient) + beam[..., None])
    return np.clip(lit * clear + np.float32(haze) * (1 - clear), 0, 255)


def project(scene, points):
    """Points (an array ... x 3, in metres) to (column, row), in the 1/16 px of cv2.fillPoly."""
    z = np.maximum(points[..., 2], NEAREST)
    column = scene.column + scene.focal * (points[..., 0] + scene.bend(z)) / z
    row = scene.horizon + scene.focal * (scene.eye - points[..., 1]) / z
    return np.int32(16 * (np.stack([column, row], -1) - 0.5))


def paint_strip(scene, canvas, left, right, value, near=NEAREST, far=FARTHEST):
    """Fill the ground from x = left to right between two distances, in the picture or the mask."""
    z = np.geomspace(near, far, 30)
    outline = [(left, 0, d) for d in z] + [(right, 0, d) for d in z[::-1]]
    smooth = cv2.LINE_AA if canvas is scene.image else cv2.LINE_8
    cv2.fillPoly(canvas, [project(scene, np.array(outline))], value, smooth, 4)


def paint_ground(scene, rng):
    """Verges, pavements, lanes and markings in their own colours, and the lanes in the mask."""
    image, ahead, facing = scene.image, scene.ahead, scene.facing
    asphalt = rng.uniform(50, 130) * (1 + rng.normal(0, 0.03, 3))
    verges = GROUNDS[rng.integers(3, size=3)] * rng.uniform(0.7, 1.3)
    paint_strip(scene, image, -300, 0, verges[0])
    paint_strip(scene, image, 0, 300, verges[1])
    paint_strip(scene, image, *scene.edges, asphalt * rng.uniform(0.85, 1.3))
    paint_strip(scene, image, *(scene.kerbs + (-0.15, 0.15)), asphalt * rng.uniform(0.7, 1.6))
    paint_strip(scene, image, *scene.kerbs, asphalt)
    paint_strip(scene, image, facing[-1], ahead[0], verges[2])
    white = asphalt + rng.uniform(0.2, 1) * (225 - asphalt)  # the paint may be worn
    for line in np.concatenate([ahead, facing]):
        if line in (ahead[0], ahead[-1], facing[0], facing[-1]):
            paint_strip(scene, image, line - 0.07, line + 0.07, white)
        else:
            for near in np.arange(rng.uniform(1, 8), 100, 10):
                paint_strip(scene, image, line - 0.07, line + 0.07, white, near, near + 4)
    paint_strip(scene, scene.mask, ahead[0], ahead[-1], ALTERNATIVE, far=DRIVABLE_TO)
    paint_strip(scene, scene.mask, -scene.lane / 2, scene.lane / 2, DIRECT, far=DRIVABLE_TO)


def light_ground(scene, rng):
    """Paint the sky, and give the ground its texture, shadows and light."""
    top = int(scene.horizon) + 1
    scene.image[:top] = np.linspace(*LIGHTS[scene.light][2:4], top)[:, None]
    row, column = np.indices(scene.mask.shape, np.float32)[:, top:] + 0.5
    z = np.minimum(scene.focal * scene.eye / (row - scene.horizon), FARTHEST)
    beside = (column - scene.column) * z / scene.focal
    x = np.clip(beside - scene.bend(z), -100, 100)
    noise = cv2.GaussianBlur(rng.standard_normal((256, 256), dtype=np.float32), (0, 0), 2)
    spot = np.stack([100 + 10 * x, 2 * z], -1).astype(np.float32)  # where to look up the noise
    grain = cv2.remap(noise, spot, None, cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT)
    shade = 1 + rng.uniform(0.3, 0.8) * grain * np.exp(-z / 40)
    if scene.light in ("sun", "dusk"):
        for length in rng.choice([0.4, 4, 10], rng.integers(4)):  # poles and houses
            along = z - rng.uniform(4, 45) + rng.normal(0, 0.6) * x
            shade[(along > 0) & (along < length)] *= 0.6
    scene.image[top:] = illuminate(scene, scene.image[top:] * shade[..., None], beside, z)


def paint_objects(scene, rng):
    """Street fronts, trees and vehicles, painted from far to near."""
    objects = []  # (distance, function that paints it, lateral position, its last argument)
    for side, sign in enumerate((-1, 1)):
        front = rng.choice(["houses", "hedge", "trees"], p=[0.4, 0.25, 0.35])
        for far in np.arange(5, 130, 12) + rng.uniform(0, 10):
            objects.append((far, paint_front, scene.edges[side] + sign * 6, front))
        if scene.kerbs[side] not in (scene.facing[0], scene.ahead[-1]):  # a parking strip
            for z in np.cumsum(rng.uniform(6, 14, 8)):
                objects.append((z, paint_vehicle, scene.kerbs[side] - sign * 1.1, side == 1))
    sparse = rng.uniform(1, 4)
    for lines, away in ((scene.ahead, True), (scene.facing, False)):
        for x in lines[:-1] + scene.lane / 2:
            for z in np.cumsum(rng.uniform(7, 25, 5)) * sparse:
                objects.append((z, paint_vehicle, x + rng.normal(0, 0.15), away))
    if scene.blocked:
        objects.append((rng.uniform(2.2, 3), paint_vehicle, 0, True))
    for z, paint_object, x, argument in sorted(objects, key=lambda item: -item[0]):
        paint_object(scene, rng, x, z, argument)


def paint_box(scene, x, half, low, high, near, far, colour, slope=0):
    """Paint a box from x - half to x + half; its top is smaller by `slope` m on every side."""
    left, right = x - half, x + half
    base = np.array([(left, low, near), (right, low, near), (right, low, far), (left, low, far)])
    inset = slope * np.array([(1, 0, 1), (-1, 0, 1), (-1, 0, -1), (1, 0, -1)])
    corners = project(scene, np.concatenate([base, base + inset + (0, high - low, 0)]))
    beside = x + scene.bend(near)
    flank = [1, 2, 6, 5] if beside < 0 else [0, 3, 7, 4]  # the one that the camera sees
    tones = illuminate(scene, np.array([[1.1], [0.75], [0.9]]) * colour, beside, near)
    for face, tone in zip(([4, 5, 6, 7], flank, [0, 1, 5, 4]), tones.tolist()):
        cv2.fillPoly(scene.image, [corners[face]], tone, cv2.LINE_AA, 4)
        cv2.fillPoly(scene.mask, [corners[face]], BACKGROUND, cv2.LINE_8, 4)


def paint_vehicle(scene, rng, x, z, away):
    """A car or, at times, a box truck, seen from behind (`away`) or from the front."""
    truck = rng.random() < 0.12 or z < 4
    half = 1.2 if truck else rng.uniform(0.85, 0.95)
    tall = rng.uniform(2.6, 3.6) if truck else rng.uniform(1.4, 1.8)
    waist, far = (tall, z + 7) if truck else (0.6 * tall, z + 4.4)
    colour = rng.choice(PAINTS) * rng.uniform(0.8, 1.1)
    paint_box(scene, x, half, 0, 0.02, z, far, BLACK)  # the shade under it
    for axle in (far - 1.3, z + 0.5):
        paint_box(scene, x, half, 0, 0.6, axle, axle + 0.65, BLACK)
    paint_box(scene, x, half, 0.25, waist, z, far, colour)
    if not truck:
        start = z + (0.2 if away else 1.1)
        paint_box(scene, x, half - 0.03, waist, tall - 0.07, start, start + 3, GLASS, 0.2)
        paint_box(scene, x, half - 0.2, tall - 0.07, tall, start + 0.2, start + 2.8, colour)
    lamp = np.array((190, 22, 20) if away else (240, 240, 225))
    power = 10 if scene.light == "night" else 1
    for side in (-0.83, 0.83):
        paint_box(scene, x + side * half, 0.13, 0.6, 0.8, z, z + 0.1, power * lamp)


def paint_front(scene, rng, x, far, kind):
    """12 m of houses or hedge, or one tree, along a side of the road, up to the distance `far`."""
    near, leaves = max(far - 12, NEAREST), LEAVES * rng.uniform(0.7, 1.3)
    if kind == "hedge":
        paint_box(scene, x, 5, 0, rng.uniform(1, 3), near, far, leaves)
    elif kind == "trees":
        x, size = x + rng.uniform(-4, 4), rng.uniform(1, 2)
        paint_box(scene, x, 0.15, 0, size, far - size, far - size + 0.3, WOOD)
        paint_box(scene, x, size, size, 4 * size, far - 2 * size, far, leaves, 0.8 * size)
    elif rng.random() < 0.9:
        storeys, colour = rng.integers(2, 7), rng.uniform(80, 200) * (1 + rng.normal(0, 0.12, 3))
        paint_box(scene, x, 5, 0, 3 * storeys + 1, near, far, colour)
        for y in 1 + 3 * np.arange(storeys):  # bands of windows
            paint_box(scene, x, 5, y, y + 1.5, near, far, 0.5 * colour + 0.5 * GLASS)


def photograph(scene, rng):
    """Exposure, white balance, blur and sensor noise."""
    image = scene.image * np.float32(rng.uniform(0.75, 1.2) * (1 + rng.normal(0, 0.03, 3)))
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.9) * max(1, image.shape[1] / 480))
    image += rng.uniform(1, 5) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image, 0, 255).astype(np.uint8)
