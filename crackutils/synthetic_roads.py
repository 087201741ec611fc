"""Drawn road scenes seen from a car, with drivable-area masks.

Every ground pixel is traced back to metres through a pinhole camera over a bent, hilly road, so
lanes, cracks and shadows get their perspective from the geometry. Street fronts, vehicles, trees
and lamps are painted over it from far to near, hiding what lies behind in picture and mask alike.
Oncoming lane, parking strip and pavement are close to the own lane in colour on purpose.
"""
from types import SimpleNamespace

import cv2
import numpy as np

from crackutils.road_ground import BACKGROUND, blend, draw_ground, lookup, noise_field
from crackutils.road_objects import PAINTS, draw_front, draw_objects

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
