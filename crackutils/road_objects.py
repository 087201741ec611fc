"""Street fronts, vehicles, trees, lamps and people of the drawn road scenes."""
import cv2
import numpy as np

from crackutils.road_ground import blend, lookup

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
