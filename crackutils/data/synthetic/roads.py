"""Drawn road scenes seen from a car, with drivable-area masks.

Every ground pixel is traced back to metres through a pinhole camera over a bent, hilly road, so
lanes, cracks and shadows get their perspective from the geometry. Street fronts, vehicles, trees
and lamps are painted over it from far to near, hiding what lies behind in picture and mask alike.
Oncoming lane, parking strip and pavement are close to the own lane in colour on purpose.
"""

from types import SimpleNamespace

import cv2
import numpy as np

DIRECT, ALTERNATIVE, BACKGROUND = 0, 1, 2


def noise_field(rng, amplitude):
    """Periodic 256 x 256 field of the given amplitude spectrum, mean 0, deviation 1."""
    real, imaginary = rng.standard_normal((2, 256, 129), dtype=np.float32)
    tile = np.fft.irfft2((real + np.complex64(1j) * imaginary) * amplitude)
    return (tile / tile.std()).astype(np.float32)


def lookup(tile, x, y):
    """Values of a periodic field at the given coordinates."""
    return cv2.remap(tile, np.float32(x), np.float32(y), cv2.INTER_LINEAR, None, cv2.BORDER_WRAP)


def _band(x, low, high, soft):
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
    flat, part = image.reshape(-1, 3), alpha.reshape(-1)[hit, None]
    flat[hit] += part * (colour - flat[hit])


def draw_ground(s, rng, image):
    """Paint the ground into `image`; returns the mask before anything hides it."""
    s.top = int(np.argmax((s.v > s.row[-1]).any(1)))
    u, v = s.u[s.top:], s.v[s.top:]
    z = np.interp(v, s.row[::-1], s.z[::-1]).astype(np.float32)
    x = u * z / s.f - np.interp(z, s.z, s.bend).astype(np.float32)
    seen, soft = v > s.row[-1], np.maximum(z / s.f, .01)
    s.wobble = lookup(s.coarse, x * 2, z * 2)
    clear = ~((z > s.crossing[0]) & (z < s.crossing[1]))
    road = _asphalt(s, rng, x, z)
    _verge(s, rng, road, x, z, soft, clear)
    _markings(s, rng, road, x, z, soft, clear)
    if s.light in ("day", "dusk"):
        road *= _shadow(s, rng, x, z)[..., None]
    blend(image[s.top:], seen, road)
    s.depth[s.top:][seen], s.solid[s.top:][seen] = z[seen], 0
    mask = np.full((s.h, s.w), BACKGROUND, np.uint8)
    mask[s.top:][seen & (z < 150) & (x > s.inner[0]) & (x < s.inner[1])] = ALTERNATIVE
    mask[s.top:][seen & (z < 150) & (np.abs(x) < s.lane / 2)] = DIRECT
    return mask


def _asphalt(s, rng, x, z):
    """Road surface: grain, stains, worn wheel tracks, patches, tar lines and a manhole cover."""
    shade = 1 + rng.uniform(.02, .1) * lookup(s.coarse, x * 9 + 70, z * .8) + .05 * s.wobble
    shade += rng.uniform(.02, .07) * lookup(s.fine, x * 14, z * 5) * np.exp(-z / 18)
    shade += rng.uniform(-.06, .08) * np.cos(np.abs((x / s.lane + .5) % 1 - .5) * 12.6 - np.pi)
    for _ in range(rng.integers(0, 5)):
        left, near = rng.uniform(*s.kerb), rng.uniform(3, 40)
        patch = (x > left) & (x < left + rng.uniform(.5, 4)) & (z > near)
        shade[patch & (z < near + rng.uniform(1, 14))] *= rng.uniform(.72, 1.2)
    tar = rng.choice([0, .02, .05]) * np.exp(-z / 25)
    shade[np.abs(lookup(s.coarse, x * 5, z * 4 + 90)) < tar] *= .6
    shade[(x - rng.uniform(-4, 4)) ** 2 + (z - rng.uniform(5, 25)) ** 2 < .12] *= .55
    return shade[..., None] * np.float32(rng.uniform(.2, .52) * (1 + rng.normal(0, .03, 3)))


def _verge(s, rng, road, x, z, soft, clear):
    """Median, kerbs, pavements and whatever ground lies beyond them."""
    green = np.float32([.26, .36, .15]) * rng.uniform(.7, 1.3)
    kinds = np.float32([[.88, .9, .93]] * 3 if s.snow else [green, [.45, .4, .32], [.4, .4, .4]])
    texture = 1 + .13 * lookup(s.fine, x * 4, z * 2.5) * np.exp(-z / 40) + .1 * s.wobble
    joint = ((x % 1.5 < .06) | (z % 1.5 < .06)) & (z < 15)
    slabs = texture * rng.uniform(.3, .62) * (1 - .1 * joint)
    for side in (0, 1):
        out = (x - s.kerb[side]) * (2 * side - 1) + .25 * s.snow * s.wobble
        blend(road, _band(out, 0, s.walk[side] + .01, soft) * clear, slabs[..., None])
        blend(road, _band(out, s.walk[side], 1e5, soft) * clear,
             texture[..., None] * kinds[rng.integers(3)])
        kerb, gutter = clear * (rng.random() < .85), rng.uniform(.15, .5)
        blend(road, _band(out, -.05, .12, soft) * kerb, rng.uniform(.35, .75))
        blend(road, _band(out, -.5, -.05, soft) * kerb * .35, gutter)
    blend(road, _band(x, s.inner[0] - s.median, s.inner[0] - .3, soft) * (s.median > .5),
         texture[..., None] * kinds[rng.integers(3)])


def _markings(s, rng, road, x, z, soft, clear):
    """Dashed and solid lines, worn and at times absent, and zebra crossings."""
    wear = np.clip(rng.uniform(.6, 1.7) + .5 * lookup(s.fine, x * 9, z * 6), 0, 1)
    wear *= clear * rng.uniform(.6, 1) * np.exp(-z / 120)
    white, half, period = rng.uniform(.75, 1), rng.uniform(.05, .09), rng.uniform(7, 13)
    dash = (z + rng.uniform(0, 10)) % period < period * rng.uniform(.28, .5)
    bare = rng.random() < .12
    for i in range(1 - s.left - s.oncoming, s.right + 2):
        line = (i - .5) * s.lane - s.median * (i < -s.left)
        middle, outer = i == -s.left and (s.oncoming or s.fast), i in (-s.left, s.right + 1)
        if bare or rng.random() < (.3 if i == s.right + 1 else .08):
            continue
        style = wear if outer or rng.random() < .1 else wear * dash
        colour = [.8, .6, .16] if middle else white
        blend(road, _band(x, line - half, line + half, soft) * style, colour)
        if middle and not s.fast and rng.random() < .7:
            blend(road, _band(x, line - .3, line - .18, soft) * wear, colour)
    if s.crossing[0] < 1e3 and rng.random() < .6:
        bars = (x % 1.1 < .55) & (x > s.kerb[0]) & (x < s.kerb[1])
        blend(road, bars * _band(z, s.crossing[0] - 3.5, s.crossing[0] - .5, soft) * wear, white)


def _shadow(s, rng, x, z):
    """Cast shadows of sunny hours: leafy patches, and bars of houses and poles."""
    lumps = s.wobble + .5 * lookup(s.fine, x * 5, z * 3) + rng.uniform(-1.2, .8)
    shade = 1 - (rng.random() < .5) * np.clip(lumps * 1.2, 0, .5) * (rng.uniform(-1, 1) * x + 6 > 0)
    for _ in range(rng.integers(0, 4)):
        along = z - rng.uniform(4, 45) + rng.normal(0, .6) * x + .3 * s.wobble
        shade *= 1 - np.clip(np.minimum(along, rng.choice([.4, 4, 10]) - along) * 2, 0, .45)
    return np.maximum(shade, .35)


_FACADES = np.float32([(.55, .33, .26), (.72, .65, .54), (.5, .5, .5), (.85, .83, .78)])
PAINTS = np.array([(225, 226, 228), (30, 31, 34), (120, 124, 130), (178, 182, 186), (130, 28, 28),
                    (35, 55, 105), (70, 78, 74), (188, 172, 140), (60, 62, 66), (14, 15, 18)])
# Flank outlines as (share of length, share of height); ends as (left, right, low, high, width at
# the top, metres of slope, tone): a tone is a share of the paint, a colour, or None for a lamp.
_FLANK = [(0, .2), (0, .62), (.03, .67), (.14, 1), (.6, 1), (.77, .68), (1, .58), (1, .2)]
_PANES = [(.1, .7), (.17, .95), (.57, .95), (.72, .7)]
_BOX = [(0, .17), (0, .6), (.04, .97), (.97, .97), (1, .9), (1, .17)]
_TYRES = [(-.97, -.7, 0, .3, 1, 0, (14, 14, 15)), (.7, .97, 0, .3, 1, 0, (14, 14, 15))]
_CAR_END = _TYRES + [
    (-.95, .95, .62, 1, .78, .6, .9), (-.86, .86, .67, .95, .81, .55, (52, 60, 70)),
    (-.98, .98, .2, .66, .97, 0, 1.), (-.99, .99, .13, .27, 1, 0, (45, 45, 47)),
    (-.6, .6, .47, .485, 1, 0, .7), (-.17, .17, .36, .43, 1, 0, (205, 205, 195)),
    (-.95, -.68, .46, .6, 1, 0, None), (.68, .95, .46, .6, 1, 0, None)]
_BOX_END = _TYRES + [
    (-1, 1, .14, 1, 1, 0, 1.), (-.94, .94, .2, .97, 1, 0, .9), (-.015, .015, .2, .97, 1, 0, .6),
    (-.99, .99, .11, .2, 1, 0, (45, 45, 47)), (-.95, -.7, .2, .25, 1, 0, None),
    (.7, .95, .2, .25, 1, 0, None), (-.1, .1, .14, .17, 1, 0, (205, 205, 195))]


def draw_front(s, rng, image, side):
    """Street front along one side (houses, hedge, barrier or nothing), bent with the road."""
    kind = rng.choice(4, p=[.05, .4, .35, .2] if s.fast else [.45, .25, .1, .2])
    lateral = s.kerb[side > 0] + side * (s.walk[int(side > 0)] + rng.uniform(.2, 3))
    tall = rng.uniform((4, 2, 1, 0)[kind], (22, 9, 1.01, .01)[kind], 48)
    tall[rng.random(48) < (.15 if kind < 2 else 0)] = 0
    paint = _FACADES[rng.integers(4, size=48)] * rng.uniform(.5, 1.1, (48, 1)).astype(np.float32)
    edge = np.minimum.accumulate(side * s.f * (lateral + s.bend) / s.z)
    column = side * (np.arange(s.w) - s.u0)
    z = np.interp(column, edge[::-1], s.z[::-1]).astype(np.float32)
    z[(z > s.crossing[0] - 2) & (z < s.crossing[1] + 2)] = 400
    base = s.v0 + s.f * (s.eye - np.interp(z, s.z, s.rise)) / z
    y = (np.float32(base) - s.v) * (z / s.f)
    block = np.clip(np.searchsorted(np.cumsum(rng.uniform(6, 18, 48)) - 9, z), 0, 47)
    # Arc length scaled by depth keeps leaves as wide as high on a front seen at a grazing angle.
    along = np.broadcast_to(np.float32(np.cumsum(np.minimum(z, 200)) / s.f), y.shape)
    rough, row = lookup(s.fine, along * 3, y * 3)[..., None], np.int32(along[0] * 4) % 256
    height = tall[block] * (1 + .25 * s.coarse[0, row] * (kind == 1))
    green = np.float32([.2, .28, .12]) * rng.uniform(.6, 1.3) * (1 + .4 * rough)
    colour = green if kind == 1 else (paint[block] if kind == 0 else .55) * (1 + .07 * rough)
    colour = np.broadcast_to(colour, image.shape)
    hit = (column > edge[-1]) & (z < 300) & (y > 0) & (y < height)
    image[hit], s.solid[hit] = colour[hit], 1
    s.depth[hit] = np.broadcast_to(z, y.shape)[hit]
    if kind == 0:
        _windows(s, rng, image, hit, z, y)


def _windows(s, rng, image, hit, z, y):
    """Window grid on the house fronts; some are lit after dark."""
    wide, storey = z / rng.uniform(1.6, 3.2), y / rng.uniform(2.8, 3.6)
    pane = hit & (np.abs(wide % 1 - .5) < .24) & (np.abs(storey % 1 - .55) < .25)
    key = (np.floor(wide) * 37 + np.floor(storey) * 61) % 17 / 17
    glass = (.16 + .2 * key)[..., None] * np.float32([.9, 1, 1.2])
    blend(image, .85 * pane * np.exp(-z / 60), glass)
    lit = pane & (key > rng.uniform(.55, 1)) & (z < 90) & (s.light in ("night", "dusk"))
    s.glow[lit] = rng.uniform(90, 170) * np.array([1, .8, .5])


def _project(s, points):
    """Road coordinates (lateral, height above the road, distance) in metres to pixels."""
    x, y, z = np.maximum(np.array(points, float).T, [[-1e4], [-1e4], [1.5]])
    u, v = x + np.interp(z, s.z, s.bend), s.eye - y - np.interp(z, s.z, s.rise)
    return np.stack([s.u0 + s.f * (u - s.roll * v) / z, s.v0 + s.f * (v + s.roll * u) / z], 1)


def _face(s, points, colour, shine=0.):
    """Fill a polygon given in road coordinates in picture, depth and occlusion; it may shine."""
    fixed = [np.int32(np.clip(_project(s, points), -9e3, 9e3) * 16)]
    tone, far = tuple(float(min(c, 255)) for c in colour), float(points[0][2])
    cv2.fillPoly(s.image, fixed, tone, cv2.LINE_AA, 4)
    for canvas, value in ((s.solid, 1), (s.depth, far), (s.glow, [shine * c for c in tone])):
        cv2.fillPoly(canvas, fixed, value, cv2.LINE_8, 4)


def draw_objects(s, rng):
    """Vehicles, trees, lamps and people, painted from far to near."""
    todo, busy = [], rng.uniform(.1, .75)
    for side, sign in enumerate((-1, 1)):
        kerb, near = s.kerb[side], rng.uniform(6, 25)
        parked = np.cumsum(rng.uniform(5.5, 7.5, 14)) + rng.uniform(-2, 8)
        parked = parked[rng.random(14) < rng.uniform(.1, 1) * s.parking[side]]
        todo += [(z, _car, kerb - sign * 1.1, side or rng.random() < .3) for z in parked]
        todo += [(z, _tree, kerb + sign * (s.walk[side] + rng.uniform(1, 9)), 0)
                 for z in rng.uniform(7, 90, rng.integers(0, 10))]
        todo += [(z, _lamp, kerb + sign * .6, sign) for z in
                 np.arange(near, 90 if rng.random() < .7 else near, rng.uniform(18, 35))]
        todo += [(z, _person, kerb + sign * rng.uniform(.4, 1.2), 0)
                 for z in rng.uniform(8, 40, rng.integers(0, 4) * (s.walk[side] > 0))]
    todo = [t for t in todo if not s.crossing[0] - 6 < t[0] < s.crossing[1]]
    for i in range(-s.left - s.oncoming, s.right + 1):
        x = i * s.lane - s.median * (i < -s.left) + rng.normal(0, .15)
        spots = np.cumsum(rng.uniform(6, 36, 6))
        todo += [(z, _car, x, i >= -s.left) for z in spots[rng.random(6) < busy]]
    if s.blocked:
        todo = [t for t in todo if t[0] > 9] + [(rng.uniform(2.6, 3.6), _car, 0, True)]
    for z, paint, x, flag in sorted(todo, key=lambda t: -t[0]):
        paint(s, rng, x, z, flag)


def _car(s, rng, x, z, away):
    """A car or, at times, a box truck: near flank first, then the end that faces us."""
    truck = rng.random() < .1 or z < 4
    wide, tall, long = (1.22, rng.uniform(2.6, 3.6), 7) if truck else (
        rng.uniform(.86, .97), rng.uniform(1.4, 1.85), 4.5)
    paint = PAINTS[0 if truck and rng.random() < .6 else rng.integers(10)] * rng.uniform(.8, 1.1)
    flank = x - wide if x + np.interp(z, s.z, s.bend) > 0 else x + wide
    foot = ((-1.05, -.2), (1.05, -.2), (1.05, long), (-1.05, long))
    _face(s, [(x + a * wide, 0, z + b) for a, b in foot], (22, 22, 24))
    panes = () if truck else ((_PANES, (38, 44, 52)),)
    for outline, tone in ((_BOX if truck else _FLANK, .75 * paint),) + panes:
        _face(s, [(flank, b * tall, z + (a if away else 1 - a) * long) for a, b in outline], tone)
    turn, wheels = np.linspace(0, 5.7, 12), ((.33, 16), (.19, 105)) if z < 40 else ()
    for hub, (r, tone) in [(a, b) for a in (.18, .8) for b in wheels]:
        _face(s, [(flank, .33 + r * np.sin(t), z + hub * long + r * np.cos(t)) for t in turn],
              (tone,) * 3)
    lamp = (190, 22, 20) if away else (240, 240, 225)
    shine = (s.light not in ("day", "overcast")) + .4 * (away and rng.random() < .3)
    for left, right, low, high, taper, slope, tone in _BOX_END if truck else _CAR_END:
        tint = lamp if tone is None else tone * paint if isinstance(tone, float) else tone
        _face(s, [(x + wide * a, b * tall, z + c * (1 if away else 2)) for a, b, c in (
            (left, low, 0), (right, low, 0), (right * taper, high, slope),
            (left * taper, high, slope))], tint, shine * (tone is None))


def _tree(s, rng, x, z, _):
    """Trunk and a lumpy crown, in leaf or bare."""
    tall, r, tone = rng.uniform(3, 9), rng.uniform(1.4, 4), rng.uniform(.5, 1.3)
    bare, a, b = s.snow or rng.random() < .2, *rng.integers(0, 128, 2)
    trunk = (x - .16, 0, z), (x + .16, 0, z), (x + .09, tall, z), (x - .09, tall, z)
    _face(s, trunk, (62, 52, 44))
    half = int(np.clip(s.f * r / z, 3, s.w // 2))
    u, v = _project(s, [(x, tall, z)])[0].astype(int)
    top, left = max(v - half, 0), max(u - half, 0)
    spot = np.s_[top:max(v + half, top), left:max(u + half, left)]
    i, j = np.ogrid[top - v:min(v + half, s.h) - v, left - u:min(u + half, s.w) - u]
    if min(i.size, j.size) == 0:
        return
    grid = np.broadcast_arrays(j / half, i / half)
    lump, leaf = (lookup(n, grid[0] * 48 + a, grid[1] * 48 + b) for n in (s.coarse, s.fine))
    ball = grid[0] ** 2 + grid[1] ** 2
    alpha = np.clip((.72 - ball + .35 * lump + .16 * leaf) * 5, 0, 1)
    if bare:
        # The contour lines of a smooth field wind and fork like twigs.
        twig = lookup(s.coarse, grid[0] * 130 + a, grid[1] * 130 + b)
        alpha *= .75 * (np.abs(twig) < .22)
    crown = np.array([62, 52, 44] if bare else [54, 76, 34]) * tone * np.clip(
        .85 + .3 * leaf - .4 * grid[1], .2, 2)[..., None]
    s.image[spot] = s.image[spot] + alpha[..., None] * (np.minimum(crown, 255) - s.image[spot])
    s.solid[spot][alpha > .5], s.depth[spot][alpha > .5] = 1, z


def _lamp(s, rng, x, z, sign):
    """Street lamp on an arm over the road."""
    lit = s.light in ("night", "dusk")
    for a, b, low, high in ((0, .12, 0, 6.5), (0, 2.2, 6.4, 6.5), (1.5, 2.2, 6.5, 6.7)):
        tone, shine = ((255, 225, 170), 1.5) if lit and a > 1 else ((88,) * 3, 0)
        left, right = x - sign * a, x - sign * b
        _face(s, [(left, low, z), (right, low, z), (right, high, z), (left, high, z)], tone, shine)


def _person(s, rng, x, z, _):
    """Somebody on the pavement: legs, coat, head."""
    for low, high, half, tone in ((0, .85, .17, 60), (.8, 1.45, .24, 180), (1.47, 1.74, .1, 190)):
        tone = tone * rng.uniform(.4, 1) * np.array((1, .9, .8))
        _face(s, [(x - half, low, z), (x + half, low, z), (x + half * .8, high, z),
                  (x - half * .8, high, z)], tone)


LIGHTS = ("day", "overcast", "dusk", "night", "rain")
_FREQ = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None])
_FREQ[0, 0] = np.inf
_COARSE, _FINE = np.float32(_FREQ ** -1.5), np.float32(_FREQ ** -.7)
_AMBIENT = {"day": (1.1, 1.06, 1), "overcast": (.87, .88, .9), "dusk": (.5, .47, .52),
            "night": (.1, .095, .1), "rain": (.62, .64, .66)}
_SKIES = {"day": ((.25, .48, .82), (.75, .86, .95)), "overcast": ((.72, .74, .77), (.9, .9, .9)),
          "dusk": ((.32, .38, .55), (.95, .72, .55)), "night": ((.1, .1, .14), (.16, .13, .12)),
          "rain": ((.55, .57, .6), (.72, .73, .75))}


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
    s = _scene(rng, *size)
    image = _sky(s, rng)
    mask = draw_ground(s, rng, image)
    for side in (-1, 1):
        draw_front(s, rng, image, side)
    s.image = np.clip(image * 255, 0, 255).astype(np.uint8)
    draw_objects(s, rng)
    image = _illuminate(s, rng, s.image * np.float32(1 / 255))
    _bonnet(s, rng, image)
    # Slivers beside a vehicle that fills the view are no area one could drive on.
    mask[(s.solid > 0) | s.blocked] = BACKGROUND
    return _photograph(s, rng, image), mask


def _scene(rng, h, w):
    """Layout in metres (0 = middle of the own lane), camera, and the empty canvases."""
    s = SimpleNamespace(h=h, w=w, light=rng.choice(LIGHTS, p=[.42, .2, .1, .18, .1]))
    s.coarse, s.fine = noise_field(rng, _COARSE), noise_field(rng, _FINE)
    lanes = rng.choice(4, p=[.4, .34, .17, .09])
    s.right, s.lane, s.blocked = rng.integers(lanes + 1), rng.uniform(2.8, 3.8), rng.random() < .03
    s.left, s.fast = lanes - s.right, lanes > 0 and rng.random() < .45
    s.oncoming, s.median = rng.choice(4, p=[.22, .5, .2, .08]), rng.uniform(.8, 4) * s.fast
    s.parking = rng.random(2) < (0 if s.fast else .55)
    strip = np.where(s.parking, rng.uniform(2, 2.6, 2), rng.uniform(.2, 2.5 if s.fast else .9, 2))
    s.inner = -s.lane * (.5 + s.left), s.lane * (.5 + s.right)
    s.kerb = s.inner[0] - s.median - s.oncoming * s.lane - strip[0], s.inner[1] + strip[1]
    s.walk = np.where(rng.random(2) < .75, rng.uniform(1.2, 4, 2), 0) * (not s.fast)
    s.snow = s.light in ("day", "overcast") and rng.random() < .1
    near = rng.uniform(9, 50) if not s.fast and rng.random() < .35 else 1e4
    s.crossing = near, near + rng.uniform(7, 16)
    s.f, s.eye = rng.uniform(.95, 1.45) * float(np.sqrt(h * w)), rng.uniform(1.15, 1.8)
    s.u0, s.v0 = w * rng.uniform(.42, .58), h * float(np.clip(rng.normal(.46, .07), .3, .6))
    s.z, roll = np.geomspace(1.5, 400, 400), rng.normal(0, .014)
    s.rise, limit = rng.normal(0, .022) * s.z ** 2 / (s.z + 60), np.minimum(s.z, 80)
    curve = rng.normal(0, .006) * (.4 if s.fast else 1) * limit * (s.z - limit / 2)
    s.bend = rng.normal(0, .3) + rng.normal(0, .05) * s.z + curve
    # The running minimum hides what lies beyond the crest of a hill.
    s.row = np.minimum.accumulate(s.v0 + s.f * (s.eye - s.rise) / s.z)
    v, u = np.mgrid[:h, :w].astype(np.float32)
    s.roll, s.u, s.v = roll, u - s.u0 + roll * (v - s.v0), v - roll * (u - s.u0)
    s.depth, s.low = np.full((h, w), 400, np.float32), np.float32(_SKIES[s.light][1])
    s.solid, s.glow = np.ones((h, w), np.uint8), np.zeros((h, w, 3), np.uint8)
    return s


def _sky(s, rng):
    """Sky with clouds, and the hazy skyline that closes the view."""
    level, a, b = float(s.row[-1]), rng.uniform(0, 256), rng.uniform(0, .05)
    image = np.empty((s.h, s.w, 3), np.float32)
    image[:] = _SKIES[s.light][0]
    blend(image, np.clip(s.v / max(level, 1), 0, 1) ** 1.5, s.low)
    far = 30 * s.h / np.maximum(level + .12 * s.h - s.v, 2)
    cloud = lookup(s.coarse, s.u / s.w * far + a, far)
    blend(image, np.clip((cloud + rng.uniform(-1.2, .8)) / 2, 0, .8), s.low * 1.05)
    ridge = np.clip(.02 + b + .02 * lookup(s.fine, s.u * (60 / s.w) + a, 0 * s.u), .004, .2)
    tone = [(.3, .37, .25), (.42, .43, .46), (.2, .27, .2)][rng.integers(3)]
    blend(image, s.v > level - s.h * ridge, tone)
    return image


def _illuminate(s, rng, image):
    """Daylight, or night with headlights and lamps; haze; reflections on a wet road."""
    ambient = np.float32(_AMBIENT[s.light])
    image *= ambient * rng.uniform(.8, 1.2)
    if s.light in ("night", "dusk"):
        reach = ((s.u * s.depth / s.f) / (2 + .2 * s.depth)) ** 2
        gain = np.exp(-s.depth / 16 - reach) * rng.uniform(.5, 1.1)
        gain += np.exp(-((s.depth % 27 - 13) / 8) ** 2) * (s.depth < 120) * rng.uniform(0, .25)
        image *= 1 + gain[..., None] * np.float32([11, 10, 8]) * (1 if s.light == "night" else .07)
    clarity = rng.uniform(70, 200) if s.light == "rain" else 500
    blend(image, (1 - np.exp(-s.depth / clarity)) * (s.depth < 399), s.low * ambient)
    light = s.glow * np.float32(1 / 255)
    small = cv2.resize(light, (s.w // 4, s.h // 4), interpolation=cv2.INTER_AREA)
    halo = sum(k * cv2.GaussianBlur(small, (0, 0), s.w * r) for k, r in ((1.5, .003), (4, .012)))
    image += light + cv2.resize(halo, (s.w, s.h))
    if s.light == "rain" or rng.random() < (.4 if s.light == "night" else .06):
        rows = np.clip(2 * int(s.row[-1]) - np.arange(s.top, s.h), 0, s.h - 1)
        mirror = cv2.blur(image, (3, s.h // 12 * 2 + 1))[rows]
        wet = np.clip(.35 + .2 * s.wobble, .05, .8) * (s.solid[s.top:] == 0) * rng.uniform(.4, 1.2)
        blend(image[s.top:], wet, mirror)
    return image


def _bonnet(s, rng, image):
    """Bonnet or dashboard along the lower edge of most frames."""
    u = np.linspace(-1, 1, s.w, dtype=np.float32)
    v = np.arange(s.h, dtype=np.float32)[:, None] / s.h
    crest = 1 - rng.uniform(.03, .18) + rng.uniform(-.01, .09) * (u - rng.normal(0, .2)) ** 2
    paint = PAINTS[rng.integers(10)] / 255 if rng.random() < .5 else np.full(3, .1)
    gloss = np.exp(-(v - crest) * rng.uniform(8, 30))[..., None] * image[:s.h // 2].mean((0, 1))
    body = paint * {"night": .1, "dusk": .4}.get(s.light, .65) + gloss * rng.uniform(.1, .6)
    body *= (1 - .6 * (np.abs(v - crest - .025) < .008))[..., None]
    cover = np.clip((v - crest) * s.h + .5, 0, 1) * (rng.random() < .7)
    blend(image, cover, body)
    s.solid[cover > .5] = 1


def _photograph(s, rng, image):
    """Exposure, veil and vignette, lens blur, sensor noise and compression."""
    image = image * np.float32(rng.uniform(.8, 1.25) * (1 + rng.normal(0, .03, 3)))
    image += (rng.uniform(0, .08) * (s.light != "night") / s.h) * s.v[..., None]
    corner = (s.u ** 2 + (s.v - s.h / 2) ** 2)[..., None] / s.w ** 2
    image = np.maximum(image, 0) * (1 - rng.uniform(0, .9) * corner)
    image = 1 - np.exp(-1.6 * image) if rng.random() < .5 else image
    blur, grain = rng.uniform(.45, .9) * max(1, s.w / 480), rng.uniform(.004, .022)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(55, 95))]
    image = cv2.GaussianBlur(np.minimum(image, 1.6), (0, 0), blur)
    image += grain * rng.standard_normal(image.shape, dtype=np.float32)
    image = np.clip(image * 255, 0, 255).astype(np.uint8)
    return cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR)
