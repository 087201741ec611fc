"""Ground of the drawn road scenes: noise fields, asphalt, verges, markings, cast shadows."""
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
