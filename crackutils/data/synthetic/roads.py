"""Drawn road scenes seen from a car, with drivable-area masks.

Every ground pixel is traced back to metres through a pinhole camera over a bent, hilly road, so
lanes, cracks and shadows get their perspective from the geometry. Street fronts, vehicles, trees
and lamps are painted over it from far to near, hiding what lies behind in picture and mask alike.
Oncoming lane, parking strip and pavement are close to the own lane in colour on purpose.

`draw` is the entrance. The order of the draws from `rng` decides every pixel: to change it makes
another data set.
"""

from dataclasses import dataclass

import cv2
import numpy as np

DIRECT, ALTERNATIVE, BACKGROUND = 0, 1, 2
HORIZON = 400.0  # m: what is this far away is sky
DRIVABLE_TO = 150  # m: lanes farther away count as background

LIGHTS = ("day", "overcast", "dusk", "night", "rain")
LIGHT_SHARES = (.42, .2, .1, .18, .1)
AMBIENT = {"day": (1.1, 1.06, 1), "overcast": (.87, .88, .9), "dusk": (.5, .47, .52),
           "night": (.1, .095, .1), "rain": (.62, .64, .66)}
SKIES = {"day": ((.25, .48, .82), (.75, .86, .95)),  # colour at the zenith and at the horizon
         "overcast": ((.72, .74, .77), (.9, .9, .9)),
         "dusk": ((.32, .38, .55), (.95, .72, .55)),
         "night": ((.1, .1, .14), (.16, .13, .12)),
         "rain": ((.55, .57, .6), (.72, .73, .75))}
SKYLINES = [(.3, .37, .25), (.42, .43, .46), (.2, .27, .2)]
HOUSES, HEDGE, BARRIER, OPEN = range(4)  # kinds of street fronts ...
FRONT_SHARES = [.45, .25, .1, .2]  # ... and how often each stands along a street
FAST_FRONT_SHARES = [.05, .4, .35, .2]  # ... or along a fast road
FRONT_HEIGHTS = [(4, 22), (2, 9), (1, 1.01), (0, .01)]  # m, from and to
BLOCKS = 48  # houses (or stretches of the front) along one side
FACADES = np.float32([(.55, .33, .26), (.72, .65, .54), (.5, .5, .5), (.85, .83, .78)])
PAINTS = np.array([(225, 226, 228), (30, 31, 34), (120, 124, 130), (178, 182, 186), (130, 28, 28),
                   (35, 55, 105), (70, 78, 74), (188, 172, 140), (60, 62, 66), (14, 15, 18)])
WOOD = (62, 52, 44)
# Outlines of a vehicle's flank: (share of the length, share of the height).
CAR_FLANK = [(0, .2), (0, .62), (.03, .67), (.14, 1), (.6, 1), (.77, .68), (1, .58), (1, .2)]
CAR_PANES = [(.1, .7), (.17, .95), (.57, .95), (.72, .7)]
TRUCK_FLANK = [(0, .17), (0, .6), (.04, .97), (.97, .97), (1, .9), (1, .17)]
# Faces of its end: (left, right, low, high, share of the width at the top, metres of slope, tone).
# A tone is a share of the paint (float), a colour, or None for a lamp.
TYRES = [(-.97, -.7, 0, .3, 1, 0, (14, 14, 15)), (.7, .97, 0, .3, 1, 0, (14, 14, 15))]
CAR_END = TYRES + [
    (-.95, .95, .62, 1, .78, .6, .9), (-.86, .86, .67, .95, .81, .55, (52, 60, 70)),
    (-.98, .98, .2, .66, .97, 0, 1.), (-.99, .99, .13, .27, 1, 0, (45, 45, 47)),
    (-.6, .6, .47, .485, 1, 0, .7), (-.17, .17, .36, .43, 1, 0, (205, 205, 195)),
    (-.95, -.68, .46, .6, 1, 0, None), (.68, .95, .46, .6, 1, 0, None)]
TRUCK_END = TYRES + [
    (-1, 1, .14, 1, 1, 0, 1.), (-.94, .94, .2, .97, 1, 0, .9), (-.015, .015, .2, .97, 1, 0, .6),
    (-.99, .99, .11, .2, 1, 0, (45, 45, 47)), (-.95, -.7, .2, .25, 1, 0, None),
    (.7, .95, .2, .25, 1, 0, None), (-.1, .1, .14, .17, 1, 0, (205, 205, 195))]

NOISE_SIDE = 256  # px of the periodic noise fields
_FREQUENCY = np.hypot(np.fft.fftfreq(NOISE_SIDE)[:, None], np.fft.rfftfreq(NOISE_SIDE)[None])
_FREQUENCY[0, 0] = np.inf
COARSE_SPECTRUM, FINE_SPECTRUM = np.float32(_FREQUENCY ** -1.5), np.float32(_FREQUENCY ** -.7)


@dataclass
class Scene:
    """A scene's layout, its camera, and what has been painted so far.

    Lateral positions are in metres, 0 in the middle of the own lane, positive to the right; pairs
    are (left, right). Distances are in metres from the camera.
    """

    light: str  # one of LIGHTS
    snow: bool
    coarse: np.ndarray  # periodic noise fields, NOISE_SIDE x NOISE_SIDE
    fine: np.ndarray

    lane: float  # width of a lane
    left: int  # number of further lanes of the own direction on either side
    right: int
    oncoming: int  # number of oncoming lanes
    fast: bool  # a road with a median, without pavements, parking and crossings
    median: float  # its width
    inner: tuple[float, float]  # edges of the own direction's lanes
    kerb: tuple[float, float]  # edges of the roadway
    walk: np.ndarray  # widths of the pavements
    parking: np.ndarray  # whether cars are parked there
    crossing: tuple[float, float]  # where a crossing road begins and ends
    blocked: bool  # a vehicle fills the view

    h: int  # size of the picture in pixels
    w: int
    focal: float  # focal length in pixels
    eye: float  # height of the camera above the road
    u0: float  # column and row at which the camera looks
    v0: float
    roll: float  # of the camera, in radians
    u: np.ndarray  # h x w: a pixel's column from u0 on, and its row, with the roll taken out
    v: np.ndarray

    z: np.ndarray  # distances at which the road is known, with at each ...
    rise: np.ndarray  # ... its height,
    bend: np.ndarray  # its lateral position (to be subtracted),
    row: np.ndarray  # and its row in the picture

    low: np.ndarray  # colour of the sky at the horizon
    depth: np.ndarray  # float32 h x w: distance of what has been painted
    solid: np.ndarray  # uint8 h x w: 0 where the ground is seen, 1 where something hides it
    glow: np.ndarray  # uint8 h x w x 3: light that a pixel gives off
    top: int = 0  # the first row with ground in it
    wobble: np.ndarray | None = None  # coarse noise on the ground, from row `top` on
    image: np.ndarray | None = None  # uint8 h x w x 3: the picture while objects are painted


def draw(seed: int, index: int, size: tuple[int, int] = (360, 640)):
    """Draw scene `index` of the series `seed`; a pure function of its arguments.

    seed, index: integers >= 0. size: (height, width) in pixels, at least (64, 96).
    Returns (image, mask): image uint8 height x width x 3, RGB; mask uint8 height x width with
    0 the own lane, 1 further lanes of the same direction, 2 everything else. Some 3 % of the
    masks are background alone. The scene does not depend on the size, but for pixel noise.
    Raises ValueError for a smaller size or a negative seed or index.
    """
    if min(seed, index) < 0 or size[0] < 64 or size[1] < 96:
        raise ValueError("seed and index must be >= 0 and size at least (64, 96)")
    rng = np.random.default_rng([seed, index])
    scene = lay_out(rng, *size)
    image = sky(scene, rng)
    mask = paint_ground(scene, rng, image)
    for side in (-1, 1):
        paint_front(scene, rng, image, side)
    scene.image = np.clip(image * 255, 0, 255).astype(np.uint8)
    paint_objects(scene, rng)
    image = illuminate(scene, rng, scene.image * np.float32(1 / 255))
    paint_bonnet(scene, rng, image)
    # Slivers beside a vehicle that fills the view are no area one could drive on.
    mask[(scene.solid > 0) | scene.blocked] = BACKGROUND
    return photograph(scene, rng, image), mask


def lay_out(rng, h: int, w: int) -> Scene:
    """A scene's layout and camera, and its empty canvases."""
    light = rng.choice(LIGHTS, p=LIGHT_SHARES)
    coarse = noise_field(rng, COARSE_SPECTRUM)
    fine = noise_field(rng, FINE_SPECTRUM)

    lanes = rng.choice(4, p=[.4, .34, .17, .09])  # besides the own one
    right = rng.integers(lanes + 1)
    left = lanes - right
    lane = rng.uniform(2.8, 3.8)
    blocked = rng.random() < .03
    fast = lanes > 0 and rng.random() < .45
    oncoming = rng.choice(4, p=[.22, .5, .2, .08])
    median = rng.uniform(.8, 4) * fast
    parking = rng.random(2) < (0 if fast else .55)
    parked_strip = rng.uniform(2, 2.6, 2)
    empty_strip = rng.uniform(.2, 2.5 if fast else .9, 2)
    strip = np.where(parking, parked_strip, empty_strip)
    inner = -lane * (.5 + left), lane * (.5 + right)
    kerb = inner[0] - median - oncoming * lane - strip[0], inner[1] + strip[1]
    has_walk = rng.random(2) < .75
    walk = np.where(has_walk, rng.uniform(1.2, 4, 2), 0) * (not fast)
    snow = light in ("day", "overcast") and rng.random() < .1
    crossing_from = rng.uniform(9, 50) if not fast and rng.random() < .35 else 1e4
    crossing = crossing_from, crossing_from + rng.uniform(7, 16)

    focal = rng.uniform(.95, 1.45) * float(np.sqrt(h * w))
    eye = rng.uniform(1.15, 1.8)
    u0 = w * rng.uniform(.42, .58)
    v0 = h * float(np.clip(rng.normal(.46, .07), .3, .6))
    roll = rng.normal(0, .014)
    z = np.geomspace(1.5, HORIZON, 400)
    rise = rng.normal(0, .022) * z ** 2 / (z + 60)
    limit = np.minimum(z, 80)
    curve = rng.normal(0, .006) * (.4 if fast else 1) * limit * (z - limit / 2)
    bend = rng.normal(0, .3) + rng.normal(0, .05) * z + curve
    # The running minimum hides what lies beyond the crest of a hill.
    row = np.minimum.accumulate(v0 + focal * (eye - rise) / z)
    v, u = np.mgrid[:h, :w].astype(np.float32)
    return Scene(light=light, snow=snow, coarse=coarse, fine=fine, lane=lane, left=left,
                 right=right, oncoming=oncoming, fast=fast, median=median, inner=inner, kerb=kerb,
                 walk=walk, parking=parking, crossing=crossing, blocked=blocked, h=h, w=w,
                 focal=focal, eye=eye, u0=u0, v0=v0, roll=roll, u=u - u0 + roll * (v - v0),
                 v=v - roll * (u - u0), z=z, rise=rise, bend=bend, row=row,
                 low=np.float32(SKIES[light][1]), depth=np.full((h, w), HORIZON, np.float32),
                 solid=np.ones((h, w), np.uint8), glow=np.zeros((h, w, 3), np.uint8))


def noise_field(rng, amplitude):
    """Periodic noise of the given amplitude spectrum, with mean 0 and standard deviation 1."""
    real, imaginary = rng.standard_normal((2, *amplitude.shape), dtype=np.float32)
    tile = np.fft.irfft2((real + np.complex64(1j) * imaginary) * amplitude)
    return (tile / tile.std()).astype(np.float32)


def lookup(tile, x, y):
    """Values of a periodic field at the given coordinates."""
    return cv2.remap(tile, np.float32(x), np.float32(y), cv2.INTER_LINEAR, None, cv2.BORDER_WRAP)


def band(x, low, high, soft):
    """Share of a pixel of width `soft` covered by low < x < high."""
    return np.clip((np.minimum(x + soft / 2, high) - np.maximum(x - soft / 2, low)) / soft, 0, 1)


def blend(image, alpha, colour):
    """Blend a colour or a picture into `image`, in place, with weights `alpha`."""
    alpha, colour = np.float32(alpha), np.float32(colour)
    if colour.ndim > 1:
        image += alpha[..., None] * (colour - image)
        return
    # Lines and kerbs cover few pixels, so only those are touched.
    hit = np.flatnonzero(alpha)
    flat = image.reshape(-1, 3)
    flat[hit] += alpha.reshape(-1)[hit, None] * (colour - flat[hit])


def sky(scene, rng):
    """Sky with clouds, and the hazy skyline that closes the view."""
    level = float(scene.row[-1])
    offset = rng.uniform(0, 256)
    height = rng.uniform(0, .05)
    image = np.empty((scene.h, scene.w, 3), np.float32)
    image[:] = SKIES[scene.light][0]
    blend(image, np.clip(scene.v / max(level, 1), 0, 1) ** 1.5, scene.low)
    far = 30 * scene.h / np.maximum(level + .12 * scene.h - scene.v, 2)
    cloud = lookup(scene.coarse, scene.u / scene.w * far + offset, far)
    blend(image, np.clip((cloud + rng.uniform(-1.2, .8)) / 2, 0, .8), scene.low * 1.05)
    lumps = lookup(scene.fine, scene.u * (60 / scene.w) + offset, 0 * scene.u)
    ridge = np.clip(.02 + height + .02 * lumps, .004, .2)
    blend(image, scene.v > level - scene.h * ridge, SKYLINES[rng.integers(3)])
    return image


def paint_ground(scene, rng, image):
    """Paint the ground into `image`; returns the mask before anything hides it."""
    scene.top = int(np.argmax((scene.v > scene.row[-1]).any(1)))
    u, v = scene.u[scene.top:], scene.v[scene.top:]
    z = np.interp(v, scene.row[::-1], scene.z[::-1]).astype(np.float32)
    x = u * z / scene.focal - np.interp(z, scene.z, scene.bend).astype(np.float32)
    seen = v > scene.row[-1]
    soft = np.maximum(z / scene.focal, .01)  # m that a pixel covers
    scene.wobble = lookup(scene.coarse, x * 2, z * 2)
    clear = ~((z > scene.crossing[0]) & (z < scene.crossing[1]))
    road = asphalt(scene, rng, x, z)
    paint_verges(scene, rng, road, x, z, soft, clear)
    paint_markings(scene, rng, road, x, z, soft, clear)
    if scene.light in ("day", "dusk"):
        road *= shadow(scene, rng, x, z)[..., None]
    blend(image[scene.top:], seen, road)
    scene.depth[scene.top:][seen] = z[seen]
    scene.solid[scene.top:][seen] = 0
    mask = np.full((scene.h, scene.w), BACKGROUND, np.uint8)
    near = seen & (z < DRIVABLE_TO)
    mask[scene.top:][near & (x > scene.inner[0]) & (x < scene.inner[1])] = ALTERNATIVE
    mask[scene.top:][near & (np.abs(x) < scene.lane / 2)] = DIRECT
    return mask


def asphalt(scene, rng, x, z):
    """Road surface: grain, stains, worn wheel tracks, patches, tar lines and a manhole cover."""
    stains = lookup(scene.coarse, x * 9 + 70, z * .8)
    shade = 1 + rng.uniform(.02, .1) * stains + .05 * scene.wobble
    shade += rng.uniform(.02, .07) * lookup(scene.fine, x * 14, z * 5) * np.exp(-z / 18)
    from_line = np.abs((x / scene.lane + .5) % 1 - .5)  # in lanes
    shade += rng.uniform(-.06, .08) * np.cos(from_line * 12.6 - np.pi)
    for _ in range(rng.integers(0, 5)):
        left = rng.uniform(*scene.kerb)
        near = rng.uniform(3, 40)
        patch = (x > left) & (x < left + rng.uniform(.5, 4)) & (z > near)
        shade[patch & (z < near + rng.uniform(1, 14))] *= rng.uniform(.72, 1.2)
    tar = rng.choice([0, .02, .05]) * np.exp(-z / 25)
    shade[np.abs(lookup(scene.coarse, x * 5, z * 4 + 90)) < tar] *= .6
    shade[(x - rng.uniform(-4, 4)) ** 2 + (z - rng.uniform(5, 25)) ** 2 < .12] *= .55
    return shade[..., None] * np.float32(rng.uniform(.2, .52) * (1 + rng.normal(0, .03, 3)))


def paint_verges(scene, rng, road, x, z, soft, clear):
    """Median, kerbs, pavements and whatever ground lies beyond them."""
    green = np.float32([.26, .36, .15]) * rng.uniform(.7, 1.3)
    grounds = [[.88, .9, .93]] * 3 if scene.snow else [green, [.45, .4, .32], [.4, .4, .4]]
    grounds = np.float32(grounds)
    grain = lookup(scene.fine, x * 4, z * 2.5) * np.exp(-z / 40)
    texture = 1 + .13 * grain + .1 * scene.wobble
    joint = ((x % 1.5 < .06) | (z % 1.5 < .06)) & (z < 15)
    slabs = texture * rng.uniform(.3, .62) * (1 - .1 * joint)
    for side in (0, 1):
        # m beyond the kerb, whose edge snow makes uneven
        beyond = (x - scene.kerb[side]) * (2 * side - 1) + .25 * scene.snow * scene.wobble
        walk = scene.walk[side]
        blend(road, band(beyond, 0, walk + .01, soft) * clear, slabs[..., None])
        blend(road, band(beyond, walk, 1e5, soft) * clear,
              texture[..., None] * grounds[rng.integers(3)])
        kerb = clear * (rng.random() < .85)
        gutter = rng.uniform(.15, .5)
        blend(road, band(beyond, -.05, .12, soft) * kerb, rng.uniform(.35, .75))
        blend(road, band(beyond, -.5, -.05, soft) * kerb * .35, gutter)
    median = band(x, scene.inner[0] - scene.median, scene.inner[0] - .3, soft)
    blend(road, median * (scene.median > .5), texture[..., None] * grounds[rng.integers(3)])


def paint_markings(scene, rng, road, x, z, soft, clear):
    """Dashed and solid lines, worn and at times absent, and zebra crossings."""
    wear = np.clip(rng.uniform(.6, 1.7) + .5 * lookup(scene.fine, x * 9, z * 6), 0, 1)
    wear *= clear * rng.uniform(.6, 1) * np.exp(-z / 120)
    white = rng.uniform(.75, 1)
    half = rng.uniform(.05, .09)  # of a line's width
    period = rng.uniform(7, 13)  # of the dashes
    dash = (z + rng.uniform(0, 10)) % period < period * rng.uniform(.28, .5)
    bare = rng.random() < .12
    first, last = -scene.left, scene.right + 1  # the lines at the edges of the own direction
    for number in range(first + 1 - scene.oncoming, last + 1):
        if bare or rng.random() < (.3 if number == last else .08):
            continue
        line = (number - .5) * scene.lane - scene.median * (number < first)
        middle = number == first and (scene.oncoming or scene.fast)
        solid = number in (first, last) or rng.random() < .1
        style = wear if solid else wear * dash
        colour = [.8, .6, .16] if middle else white
        blend(road, band(x, line - half, line + half, soft) * style, colour)
        if middle and not scene.fast and rng.random() < .7:
            blend(road, band(x, line - .3, line - .18, soft) * wear, colour)
    start = scene.crossing[0]
    if start < 1e3 and rng.random() < .6:
        bars = (x % 1.1 < .55) & (x > scene.kerb[0]) & (x < scene.kerb[1])
        blend(road, bars * band(z, start - 3.5, start - .5, soft) * wear, white)


def shadow(scene, rng, x, z):
    """Factor of the shadows of sunny hours: leafy patches, and bars of houses and poles."""
    lumps = scene.wobble + .5 * lookup(scene.fine, x * 5, z * 3) + rng.uniform(-1.2, .8)
    leafy = rng.random() < .5
    shade = 1 - leafy * np.clip(lumps * 1.2, 0, .5) * (rng.uniform(-1, 1) * x + 6 > 0)
    for _ in range(rng.integers(0, 4)):
        along = z - rng.uniform(4, 45) + rng.normal(0, .6) * x + .3 * scene.wobble
        length = rng.choice([.4, 4, 10])
        shade *= 1 - np.clip(np.minimum(along, length - along) * 2, 0, .45)
    return np.maximum(shade, .35)


def paint_front(scene, rng, image, side):
    """Street front along one side (houses, hedge, barrier or nothing), bent with the road."""
    kind = rng.choice(4, p=FAST_FRONT_SHARES if scene.fast else FRONT_SHARES)
    right = int(side > 0)
    lateral = scene.kerb[right] + side * (scene.walk[right] + rng.uniform(.2, 3))
    heights = rng.uniform(*FRONT_HEIGHTS[kind], BLOCKS)
    gap_share = .15 if kind in (HOUSES, HEDGE) else 0
    heights[rng.random(BLOCKS) < gap_share] = 0
    tones = FACADES[rng.integers(4, size=BLOCKS)]
    tones = tones * rng.uniform(.5, 1.1, (BLOCKS, 1)).astype(np.float32)
    edge = np.minimum.accumulate(side * scene.focal * (lateral + scene.bend) / scene.z)
    column = side * (np.arange(scene.w) - scene.u0)
    z = np.interp(column, edge[::-1], scene.z[::-1]).astype(np.float32)
    z[(z > scene.crossing[0] - 2) & (z < scene.crossing[1] + 2)] = HORIZON
    base = scene.v0 + scene.focal * (scene.eye - np.interp(z, scene.z, scene.rise)) / z
    y = (np.float32(base) - scene.v) * (z / scene.focal)
    ends = np.cumsum(rng.uniform(6, 18, BLOCKS)) - 9
    block = np.clip(np.searchsorted(ends, z), 0, BLOCKS - 1)
    # Arc length scaled by depth keeps leaves as wide as high on a front seen at a grazing angle.
    along = np.broadcast_to(np.float32(np.cumsum(np.minimum(z, 200)) / scene.focal), y.shape)
    rough = lookup(scene.fine, along * 3, y * 3)[..., None]
    ripple = scene.coarse[0, np.int32(along[0] * 4) % NOISE_SIDE]
    height = heights[block] * (1 + .25 * ripple * (kind == HEDGE))
    green = np.float32([.2, .28, .12]) * rng.uniform(.6, 1.3) * (1 + .4 * rough)
    if kind == HEDGE:
        colour = green
    elif kind == HOUSES:
        colour = tones[block] * (1 + .07 * rough)
    else:
        colour = .55 * (1 + .07 * rough)
    hit = (column > edge[-1]) & (z < 300) & (y > 0) & (y < height)
    image[hit] = np.broadcast_to(colour, image.shape)[hit]
    scene.solid[hit] = 1
    scene.depth[hit] = np.broadcast_to(z, y.shape)[hit]
    if kind == HOUSES:
        paint_windows(scene, rng, image, hit, z, y)


def paint_windows(scene, rng, image, hit, z, y):
    """Window grid on the house fronts; some are lit after dark."""
    column = z / rng.uniform(1.6, 3.2)
    storey = y / rng.uniform(2.8, 3.6)
    pane = hit & (np.abs(column % 1 - .5) < .24) & (np.abs(storey % 1 - .55) < .25)
    key = (np.floor(column) * 37 + np.floor(storey) * 61) % 17 / 17  # one number a window
    glass = (.16 + .2 * key)[..., None] * np.float32([.9, 1, 1.2])
    blend(image, .85 * pane * np.exp(-z / 60), glass)
    lit = pane & (key > rng.uniform(.55, 1)) & (z < 90) & is_dark(scene)
    scene.glow[lit] = rng.uniform(90, 170) * np.array([1, .8, .5])


def is_dark(scene) -> bool:
    return scene.light in ("night", "dusk")


def project(scene, points):
    """Road coordinates (lateral, height above the road, distance) in metres to pixels."""
    x, y, z = np.maximum(np.array(points, float).T, [[-1e4], [-1e4], [1.5]])
    u = x + np.interp(z, scene.z, scene.bend)
    v = scene.eye - y - np.interp(z, scene.z, scene.rise)
    return np.stack([scene.u0 + scene.focal * (u - scene.roll * v) / z,
                     scene.v0 + scene.focal * (v + scene.roll * u) / z], 1)


def paint_face(scene, points, colour, shine=0.):
    """Fill a polygon given in road coordinates in picture, depth and occlusion; it may shine."""
    fixed = [np.int32(np.clip(project(scene, points), -9e3, 9e3) * 16)]  # 4 bits: 1/16 px
    tone = tuple(float(min(level, 255)) for level in colour)
    cv2.fillPoly(scene.image, fixed, tone, cv2.LINE_AA, 4)
    cv2.fillPoly(scene.solid, fixed, 1, cv2.LINE_8, 4)
    cv2.fillPoly(scene.depth, fixed, float(points[0][2]), cv2.LINE_8, 4)
    cv2.fillPoly(scene.glow, fixed, [shine * level for level in tone], cv2.LINE_8, 4)


def paint_objects(scene, rng):
    """Vehicles, trees, lamps and people, painted from far to near."""
    objects = []  # (distance, function that paints it, lateral position, its last argument)
    busy = rng.uniform(.1, .75)
    for side, sign in enumerate((-1, 1)):
        kerb = scene.kerb[side]
        first_lamp = rng.uniform(6, 25)
        parked = np.cumsum(rng.uniform(5.5, 7.5, 14)) + rng.uniform(-2, 8)
        parked = parked[rng.random(14) < rng.uniform(.1, 1) * scene.parking[side]]
        for z in parked:
            away = side == 1 or rng.random() < .3
            objects.append((z, paint_vehicle, kerb - sign * 1.1, away))
        for z in rng.uniform(7, 90, rng.integers(0, 10)):
            x = kerb + sign * (scene.walk[side] + rng.uniform(1, 9))
            objects.append((z, paint_tree, x, None))
        last_lamp = 90 if rng.random() < .7 else first_lamp
        for z in np.arange(first_lamp, last_lamp, rng.uniform(18, 35)):
            objects.append((z, paint_lamp, kerb + sign * .6, sign))
        for z in rng.uniform(8, 40, rng.integers(0, 4) * (scene.walk[side] > 0)):
            objects.append((z, paint_person, kerb + sign * rng.uniform(.4, 1.2), None))
    objects = [item for item in objects
               if not scene.crossing[0] - 6 < item[0] < scene.crossing[1]]
    for number in range(-scene.left - scene.oncoming, scene.right + 1):
        own_direction = number >= -scene.left
        x = number * scene.lane - scene.median * (not own_direction) + rng.normal(0, .15)
        spots = np.cumsum(rng.uniform(6, 36, 6))
        for z in spots[rng.random(6) < busy]:
            objects.append((z, paint_vehicle, x, own_direction))
    if scene.blocked:
        objects = [item for item in objects if item[0] > 9]
        objects.append((rng.uniform(2.6, 3.6), paint_vehicle, 0, True))
    for z, paint, x, argument in sorted(objects, key=lambda item: -item[0]):
        paint(scene, rng, x, z, argument)


def paint_vehicle(scene, rng, x, z, away):
    """A car or, at times, a box truck: near flank first, then the end that faces us."""
    truck = rng.random() < .1 or z < 4
    if truck:
        half, tall, long = 1.22, rng.uniform(2.6, 3.6), 7
    else:
        half, tall, long = rng.uniform(.86, .97), rng.uniform(1.4, 1.85), 4.5
    white = truck and rng.random() < .6
    paint = PAINTS[0 if white else rng.integers(10)] * rng.uniform(.8, 1.1)
    foot = ((-1.05, -.2), (1.05, -.2), (1.05, long), (-1.05, long))  # shade under it
    paint_face(scene, [(x + a * half, 0, z + b) for a, b in foot], (22, 22, 24))
    flank = x - half if x + np.interp(z, scene.z, scene.bend) > 0 else x + half
    outlines = [(TRUCK_FLANK if truck else CAR_FLANK, .75 * paint)]
    if not truck:
        outlines.append((CAR_PANES, (38, 44, 52)))
    for outline, tone in outlines:
        paint_face(scene, [(flank, b * tall, z + (a if away else 1 - a) * long)
                           for a, b in outline], tone)
    if z < 40:
        turn = np.linspace(0, 5.7, 12)
        for hub in (.18, .8):
            for radius, grey in ((.33, 16), (.19, 105)):  # tyre, rim
                paint_face(scene, [(flank, .33 + radius * np.sin(t),
                                    z + hub * long + radius * np.cos(t)) for t in turn],
                           (grey,) * 3)
    lamp = (190, 22, 20) if away else (240, 240, 225)
    braking = away and rng.random() < .3
    shine = (scene.light not in ("day", "overcast")) + .4 * braking
    for left, right, low, high, taper, slope, tone in TRUCK_END if truck else CAR_END:
        is_lamp = tone is None
        colour = lamp if is_lamp else tone
        if isinstance(tone, float):
            colour = tone * paint
        corners = ((left, low, 0), (right, low, 0), (right * taper, high, slope),
                   (left * taper, high, slope))
        paint_face(scene, [(x + half * a, b * tall, z + c * (1 if away else 2))
                           for a, b, c in corners], colour, shine * is_lamp)


def paint_tree(scene, rng, x, z, _):
    """Trunk and a lumpy crown, in leaf or bare."""
    tall = rng.uniform(3, 9)
    radius = rng.uniform(1.4, 4)
    tone = rng.uniform(.5, 1.3)
    bare = scene.snow or rng.random() < .2
    a, b = rng.integers(0, 128, 2)  # where this crown lies in the noise fields
    trunk = (x - .16, 0, z), (x + .16, 0, z), (x + .09, tall, z), (x - .09, tall, z)
    paint_face(scene, trunk, WOOD)
    half = int(np.clip(scene.focal * radius / z, 3, scene.w // 2))  # px
    u, v = project(scene, [(x, tall, z)])[0].astype(int)
    top, left = max(v - half, 0), max(u - half, 0)
    spot = np.s_[top:max(v + half, top), left:max(u + half, left)]
    i, j = np.ogrid[top - v:min(v + half, scene.h) - v, left - u:min(u + half, scene.w) - u]
    if min(i.size, j.size) == 0:
        return
    across, down = np.broadcast_arrays(j / half, i / half)  # -1 to 1
    lump = lookup(scene.coarse, across * 48 + a, down * 48 + b)
    leaf = lookup(scene.fine, across * 48 + a, down * 48 + b)
    ball = across ** 2 + down ** 2
    alpha = np.clip((.72 - ball + .35 * lump + .16 * leaf) * 5, 0, 1)
    if bare:
        # The contour lines of a smooth field wind and fork like twigs.
        twig = lookup(scene.coarse, across * 130 + a, down * 130 + b)
        alpha *= .75 * (np.abs(twig) < .22)
    shade = np.clip(.85 + .3 * leaf - .4 * down, .2, 2)[..., None]
    crown = np.array(WOOD if bare else [54, 76, 34]) * tone * shade
    image = scene.image
    image[spot] = image[spot] + alpha[..., None] * (np.minimum(crown, 255) - image[spot])
    scene.solid[spot][alpha > .5] = 1
    scene.depth[spot][alpha > .5] = z


def paint_lamp(scene, rng, x, z, sign):
    """Street lamp on an arm over the road."""
    pole, arm, head = (0, .12, 0, 6.5), (0, 2.2, 6.4, 6.5), (1.5, 2.2, 6.5, 6.7)
    for a, b, low, high in (pole, arm, head):
        lit = is_dark(scene) and a > 1  # the head alone
        tone, shine = ((255, 225, 170), 1.5) if lit else ((88,) * 3, 0)
        left, right = x - sign * a, x - sign * b
        corners = [(left, low, z), (right, low, z), (right, high, z), (left, high, z)]
        paint_face(scene, corners, tone, shine)


def paint_person(scene, rng, x, z, _):
    """Somebody on the pavement: legs, coat, head."""
    for low, high, half, level in ((0, .85, .17, 60), (.8, 1.45, .24, 180), (1.47, 1.74, .1, 190)):
        tone = level * rng.uniform(.4, 1) * np.array((1, .9, .8))
        corners = [(x - half, low, z), (x + half, low, z), (x + half * .8, high, z),
                   (x - half * .8, high, z)]
        paint_face(scene, corners, tone)


def illuminate(scene, rng, image):
    """Daylight, or night with headlights and lamps; haze; reflections on a wet road."""
    ambient = np.float32(AMBIENT[scene.light])
    depth = scene.depth
    image *= ambient * rng.uniform(.8, 1.2)
    if is_dark(scene):
        off_axis = ((scene.u * depth / scene.focal) / (2 + .2 * depth)) ** 2
        gain = np.exp(-depth / 16 - off_axis) * rng.uniform(.5, 1.1)
        under_lamps = np.exp(-((depth % 27 - 13) / 8) ** 2) * (depth < 120)
        gain += under_lamps * rng.uniform(0, .25)
        strength = 1 if scene.light == "night" else .07
        image *= 1 + gain[..., None] * np.float32([11, 10, 8]) * strength
    clarity = rng.uniform(70, 200) if scene.light == "rain" else 500
    blend(image, (1 - np.exp(-depth / clarity)) * (depth < HORIZON - 1), scene.low * ambient)
    light = scene.glow * np.float32(1 / 255)
    small = cv2.resize(light, (scene.w // 4, scene.h // 4), interpolation=cv2.INTER_AREA)
    halo = 1.5 * cv2.GaussianBlur(small, (0, 0), scene.w * .003)
    halo = halo + 4 * cv2.GaussianBlur(small, (0, 0), scene.w * .012)
    image += light + cv2.resize(halo, (scene.w, scene.h))
    if scene.light == "rain" or rng.random() < (.4 if scene.light == "night" else .06):
        top = scene.top
        rows = np.clip(2 * int(scene.row[-1]) - np.arange(top, scene.h), 0, scene.h - 1)
        mirror = cv2.blur(image, (3, scene.h // 12 * 2 + 1))[rows]
        wet = np.clip(.35 + .2 * scene.wobble, .05, .8) * (scene.solid[top:] == 0)
        blend(image[top:], wet * rng.uniform(.4, 1.2), mirror)
    return image


def paint_bonnet(scene, rng, image):
    """Bonnet or dashboard along the lower edge of most frames."""
    u = np.linspace(-1, 1, scene.w, dtype=np.float32)
    v = np.arange(scene.h, dtype=np.float32)[:, None] / scene.h
    height = rng.uniform(.03, .18)
    crest = 1 - height + rng.uniform(-.01, .09) * (u - rng.normal(0, .2)) ** 2
    painted = rng.random() < .5
    paint = PAINTS[rng.integers(10)] / 255 if painted else np.full(3, .1)
    reflected = image[:scene.h // 2].mean((0, 1))
    gloss = np.exp(-(v - crest) * rng.uniform(8, 30))[..., None] * reflected
    daylight = {"night": .1, "dusk": .4}.get(scene.light, .65)
    body = paint * daylight + gloss * rng.uniform(.1, .6)
    body *= (1 - .6 * (np.abs(v - crest - .025) < .008))[..., None]
    cover = np.clip((v - crest) * scene.h + .5, 0, 1) * (rng.random() < .7)
    blend(image, cover, body)
    scene.solid[cover > .5] = 1


def photograph(scene, rng, image):
    """Exposure, veil and vignette, lens blur, sensor noise and compression."""
    image = image * np.float32(rng.uniform(.8, 1.25) * (1 + rng.normal(0, .03, 3)))
    veil = rng.uniform(0, .08) * (scene.light != "night")
    image += (veil / scene.h) * scene.v[..., None]
    corner = (scene.u ** 2 + (scene.v - scene.h / 2) ** 2)[..., None] / scene.w ** 2
    image = np.maximum(image, 0) * (1 - rng.uniform(0, .9) * corner)
    if rng.random() < .5:
        image = 1 - np.exp(-1.6 * image)
    blur = rng.uniform(.45, .9) * max(1, scene.w / 480)
    grain = rng.uniform(.004, .022)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(55, 95))]
    image = cv2.GaussianBlur(np.minimum(image, 1.6), (0, 0), blur)
    image += grain * rng.standard_normal(image.shape, dtype=np.float32)
    image = np.clip(image * 255, 0, 255).astype(np.uint8)
    return cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR)
