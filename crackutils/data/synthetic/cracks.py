"""Synthetic photographs of cracked concrete with known masks and local crack widths.

Surfaces carry what confuses a detector on real concrete (aggregate, pores, stains, shadows,
joints, board marks, scratches, wires, efflorescence). Cracks are branching, tortuous walks from
under 1 px to 8 px wide whose contrast falls with their width: the finest get lost in the grain.
"""

import cv2
import numpy as np

WIDTH_RANGE = (0.4, 8.0)  # px, limits of the local crack width
FINE_SHARE = 0.016  # upper limit of the crack-pixel share in a "fine" image
_CYCLE = ("mixed", "fine", "mixed", "mixed", "fine", "mixed", "none", "mixed", "fine", "mixed")


def kind(index: int) -> str:
    """Kind of image `index` (an integer >= 0): "none" (no crack), "fine" or "mixed".

    The kinds repeat with period 10: any 10 consecutive images hold 1 "none", 3 "fine" (narrow
    cracks on at most 1.6 % of the pixels) and 6 "mixed" (all widths, about 6 % of the pixels).
    """
    return _CYCLE[index % len(_CYCLE)]


def draw(seed: int, index: int, size: tuple[int, int] = (256, 256)) -> tuple[np.ndarray, ...]:
    """Draw image `index` of the set `seed` (integers >= 0), `size` = (height, width) in px.

    Returns (image, mask, width): uint8 H x W x 3 RGB; uint8 H x W in {0, 1}; float32 H x W, the
    local crack width in px (0.4 to 8) at mask pixels and 0 elsewhere. A pixel belongs to the
    mask if its centre lies within half the local width of a centreline, or if a centreline runs
    through it. Equal arguments give equal bytes. The crack density is made for sides of 128 to
    512 px. Raises ValueError for a negative seed or index or a side below 32 px.
    """
    if seed < 0 or index < 0 or min(size) < 32:
        raise ValueError(f"need seed, index >= 0 and sides >= 32 px, got {seed}, {index}, {size}")
    shape = int(size[0]), int(size[1])
    rng = np.random.default_rng([seed, index])
    surface = _surface(rng, shape)
    factor = _patches(rng, shape) * _marks(rng, shape)
    dark, width = _cracks(rng, shape, kind(index))
    lit = (surface * (factor * (1 - dark))[..., None]).astype(np.float32)
    lit = cv2.GaussianBlur(lit, (0, 0), rng.uniform(0.4, 0.8))  # slight defocus
    noise = rng.standard_normal(lit.shape, dtype=np.float32)  # shot noise over a read-out floor
    noise *= rng.uniform(0.8, 2.5) * np.sqrt(0.3 + np.maximum(lit, 0) / 128)
    image = np.clip(np.round(lit + noise), 0, 255).astype(np.uint8)
    return image, (width > 0).astype(np.uint8), width


def _field(rng, shape, scale):
    """Smooth random field of about unit variance, `scale` px between its knots (y, x or both)."""
    sy, sx = np.broadcast_to(scale, 2).astype(int)
    knots = rng.standard_normal((shape[0] // sy + 4, shape[1] // sx + 4), dtype=np.float32)
    full = cv2.resize(knots, None, fx=float(sx), fy=float(sy), interpolation=cv2.INTER_CUBIC)
    top = rng.integers(sy, 2 * sy + 1)
    left = rng.integers(sx, 2 * sx + 1)
    return 1.25 * full[top : top + shape[0], left : left + shape[1]]


def _log_uniform(rng, low, high, n=None):
    """`n` numbers between `low` and `high` whose logarithms are uniformly distributed."""
    return low * (high / low) ** rng.random(n)


def _coverage(distance, width):
    """Share of a 1 px aperture, `distance` px from the axis, covered by a band of `width` px."""
    half = width / 2
    return np.clip(np.minimum(distance + 0.5, half) - np.maximum(distance - 0.5, -half), 0, 1)


def _blobs(rng, shape, radius, value):
    """Layer of random ellipses with the radii `radius` in px and `value` in -128..127, else 0."""
    layer = np.full(shape, 128, np.uint8)
    count = len(radius)
    centre = (rng.random((count, 2)) * (shape[1], shape[0]) * 16).astype(int).tolist()
    axes = np.maximum(radius[:, None] * rng.uniform(0.6, 1.2, (count, 2)) * 16, 6).astype(int)
    turn = rng.uniform(0, 180, count)
    level = np.clip(value + 128, 0, 255)
    for blob_centre, blob_axes, angle, grey in zip(centre, axes.tolist(), turn, level):
        cv2.ellipse(layer, blob_centre, blob_axes, angle, 0, 360, float(grey), -1, cv2.LINE_AA,
                    4)  # 4 bits: coordinates are in 1/16 px
    return cv2.GaussianBlur(layer.astype(np.float32) - 128, (0, 0), 0.55)


def _surface(rng, shape):
    """Bare concrete, float32 H x W x 3 on the grey scale 0..255: tone, relief, aggregate, tint."""
    grey = np.ones(shape, np.float32)
    for scale, amount in ((90, 0.04), (30, 0.035), (10, 0.025), (4, 0.03)):
        grey += amount * rng.uniform(0.3, 1.5) * _field(rng, shape, scale)
    sigma = rng.uniform(0.5, 1.2)
    bump = rng.standard_normal((shape[0] + 1, shape[1] + 1), dtype=np.float32)
    bump = cv2.GaussianBlur(bump, (0, 0), sigma) * sigma * 3.5
    relief = bump[1:, 1:] - bump[:-1, :-1]  # oblique light: one flank bright, the other dark
    grey += _log_uniform(rng, 0.02, 0.065) * relief + rng.uniform(0, 0.04) * bump[1:, 1:]
    count = int(shape[0] * shape[1] * _log_uniform(rng, 0.001, 0.016))
    tones = _log_uniform(rng, 10, 55) * rng.normal(-0.4, 1, count)
    stones = _blobs(rng, shape, _log_uniform(rng, 0.7, 4.0, count), tones)
    grey = rng.uniform(90, 200) * np.maximum(grey, 0.2) + stones
    tint = 1 + rng.normal(0, 0.025) * np.array([1, 0.1, -1.1]) + rng.normal(0, 0.008, 3)
    drift = 0.01 * _field(rng, shape, 40) + 0.0022 * stones * rng.uniform(0, 1)
    return grey[..., None] * (tint + drift[..., None] * np.array([1, 0.3, -1])).astype(np.float32)


def _patches(rng, shape):
    """Factor of uneven light, a cast shadow, stains (dark or light, soft or sharp), blowholes."""
    factor = 1 + rng.uniform(0, 0.3) * _axis(rng, shape)[0] / max(shape)
    if rng.random() < 0.55:
        across = _axis(rng, shape, bend=0.5)[0] + rng.uniform(0, 8) * _field(rng, shape, 40)
        edge = np.tanh(across / _log_uniform(rng, 1.2, 80))
        factor *= 1 - rng.uniform(0.12, 0.3) * (1 + edge)
    for _ in range(rng.integers(0, 5)):
        scale = _log_uniform(rng, 8, 70)
        form = _field(rng, shape, scale) + 0.35 * _field(rng, shape, max(scale / 5, 2))
        edge = np.tanh((form - rng.uniform(1.2, 2.2)) * _log_uniform(rng, 1, 6))
        factor *= 1 - rng.uniform(-0.08, 0.28) * (1 + edge)
    radius = _log_uniform(rng, 0.6, 5.0, int(factor.size * _log_uniform(rng, 0.0005, 0.005)))
    depth = rng.uniform(0.3, 0.85, len(radius)) * np.minimum(1, radius / 1.2)
    hole = _blobs(rng, shape, radius, -128 * depth) / -128
    return factor * (1 - hole)


def _axis(rng, shape, bend=0.0):
    """Distance in px from, and place in px along, a random nearly straight axis in the frame."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    y -= np.float32(rng.uniform(0.1, 0.9) * shape[0])
    x -= np.float32(rng.uniform(0.1, 0.9) * shape[1])
    # Most joints and form edges run along the frame: photographs are taken square to them.
    square = rng.choice([0, np.pi / 2]) + rng.normal(0, 0.05)
    angle = square if rng.random() < 0.5 else rng.uniform(0, np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    return across + rng.normal(0, bend) * along**2 / max(shape), along


def _marks(rng, shape):
    """Factor of lines that are no cracks: boards, joints, scratches, wires, efflorescence."""
    factor = np.ones(shape, np.float32)
    if rng.random() < 0.25:
        factor += _boards(rng, shape)
    if rng.random() < 0.2:
        across = _axis(rng, shape)[0]
        width = rng.uniform(2, 9)
        factor *= 1 - rng.uniform(0.25, 0.65) * _coverage(np.abs(across), width)
        factor += rng.uniform(0.1, 0.25) * np.exp(-(((across - width / 2 - 1.5) / 1.5) ** 2))
    for _ in range(rng.poisson(1.0)):
        across, along = _axis(rng, shape, bend=rng.choice([0.0, 0.25]))
        band = _coverage(np.abs(across), rng.uniform(0.5, 2.6))
        band *= np.abs(along) < rng.uniform(0.1, 0.6) * max(shape)
        factor *= 1 - rng.uniform(-0.3, 0.5) * band  # wires and pencil dark, scratches light
    if rng.random() < 0.2:
        across = _axis(rng, shape, bend=0.3)[0] + 3 * _field(rng, shape, 20)
        crust = np.exp(-((across / rng.uniform(1.5, 5)) ** 2)) * (0.6 + 0.4 * _field(rng, shape, 5))
        factor += rng.uniform(0.15, 0.45) * np.clip(crust, 0, 1)
    return np.clip(factor, 0.1, 1.6)


def _boards(rng, shape):
    """Relief left by timber formwork: streaks along the grain, a tone and a seam per board."""
    upright = rng.random() < 0.5
    frame = shape[::-1] if upright else shape
    relief = _field(rng, frame, (2, 90))
    pitch = rng.uniform(35, 100)  # px, width of a board
    row = np.arange(frame[0], dtype=np.float32) + rng.uniform(0, pitch)
    tone = rng.normal(0, 0.04, frame[0])[(row / pitch).astype(int)]
    seam = _coverage(np.abs(row % pitch - 3), rng.uniform(0.8, 2.5)) * rng.uniform(-0.15, 0.4)
    relief = rng.uniform(0.01, 0.05) * relief + (tone - seam)[:, None]
    return relief.T if upright else relief


def _walk(rng, shape, start, heading, length, width):
    """Tortuous path: n x 2 points (y, x) about 0.5 px apart and their n widths, in px."""
    s = np.arange(max(int(length), 8) * 2) / 2
    turn = np.full(len(s), float(heading))
    swell = np.zeros(len(s))  # logarithm of the width's factor
    for scale, bend, breath in ((60, 0.3, 0.3), (15, 0.4, 0.2), (5, 0.5, 0.25), (2, 0.25, 0.2)):
        # Cracks run straight from grain to grain and turn there, hence knots at random places.
        knots = np.cumsum(rng.exponential(scale, len(s) // scale + 8) + 1)
        turn += bend * rng.standard_normal(len(knots) + 1)[np.searchsorted(knots, s)]
        swell += breath * np.interp(s, knots, rng.standard_normal(len(knots)))
    points = start + 0.5 * np.cumsum(np.stack([np.sin(turn), np.cos(turn)], 1), 0)
    outside = np.any((points < -12) | (points > np.array(shape) + 12), 1)
    end = max(int(np.argmax(outside)), 8) if outside.any() else len(s)
    return points[:end], (width * np.exp(swell))[:end]


def _next_path(rng, shape, paths, widest):
    """Points and widths of a branch of one of `paths`, or of a new crack in the frame."""
    reach = float(np.mean(shape))
    if paths and rng.random() < 0.5:
        points, widths = paths[rng.integers(len(paths))]
        at = rng.integers(len(points) // 10 + 1, len(points) * 9 // 10 + 1)
        fork = rng.choice([-1, 1]) * rng.uniform(0.4, 1.4)
        heading = np.arctan2(*(points[min(at + 9, len(points) - 1)] - points[at - 1])) + fork
        width = max(widths[at] * rng.uniform(0.45, 0.95), 1.1)
        length = reach * rng.uniform(0.15, 0.8)
        return _walk(rng, shape, points[at], heading, length, width)
    start = rng.random(2) * shape
    aim = rng.uniform(0.2, 0.8, 2) * shape
    side = rng.integers(2)
    within = rng.random() < 0.25  # the crack begins in the frame, not beyond its border
    if not within:
        start[side] = rng.choice([-4, shape[side] + 4])
    heading = np.arctan2(*(aim - start))
    width = _log_uniform(rng, *widest)
    points, widths = _walk(rng, shape, start, heading, reach * rng.uniform(0.4, 1.6), width)
    opening = np.minimum(1, np.linspace(0.05, 5, len(widths))) if within else 1
    return points, widths * opening**0.7


def _lay(points, widths, shape):
    """Pixels near a path (flat indices), their distance to it, the width there, and if on it."""
    cell = np.round(points).astype(int)
    seen = np.flatnonzero(np.all((cell >= 0) & (cell < shape), 1))
    flat = np.ravel_multi_index(cell[seen].T, shape)
    off_line = np.ones(shape, np.uint8)
    off_line.flat[flat] = 0
    rough, label = cv2.distanceTransformWithLabels(off_line, 2, 5, labelType=1)  # L2, per pixel
    owner = np.zeros(label.max() + 1, int)
    owner[label.flat[flat]] = seen
    near = np.flatnonzero(rough < WIDTH_RANGE[1] / 2 + 3)
    nearest = owner[label.flat[near]]
    tangent = np.gradient(points, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9
    gap = np.stack(np.unravel_index(near, shape), 1) - points[nearest]
    (dy, dx), (ty, tx) = gap.T, tangent[nearest].T
    # One path point stands for its pixel: only what exceeds that pixel counts along the path.
    beyond = np.maximum(np.abs(dy * ty + dx * tx) - 0.75, 0)
    return near, np.hypot(dy * tx - dx * ty, beyond), widths[nearest], off_line.flat[near] == 0


def _paths(rng, shape, fine):
    """Yield laid paths (see _lay) until the share of crack pixels drawn for the image is met."""
    share, widest = ((0.006, 0.0145), (1.0, 2.5)) if fine else ((0.048, 0.08), (2.0, 7.5))
    mask = np.zeros(shape[0] * shape[1], bool)
    paths = []
    goal = mask.size * rng.uniform(*share)
    for _ in range(80):
        room = goal - np.count_nonzero(mask)
        if room < 16:
            return
        points, widths = _next_path(rng, shape, paths, widest)
        end = max(int(np.searchsorted(np.cumsum(np.maximum(widths, 1) + 0.3) / 2, room)), 8)
        tip = np.minimum(1, np.linspace(3, 0, len(widths[:end]))) ** 0.6
        points, widths = points[:end], np.clip(widths[:end] * tip, *WIDTH_RANGE)
        near, distance, local, on_line = laid = _lay(points, widths, shape)
        new = near[(distance <= local / 2) | on_line]
        if fine and np.count_nonzero(mask) + len(new) > FINE_SHARE * mask.size:
            continue
        mask[new] = True
        paths.append((points, widths))
        yield laid


def _cracks(rng, shape, what):
    """Darkening (share of the light lost) and width map (px; 0 off the cracks), float32 H x W."""
    dark = np.zeros(shape, np.float32)
    width = np.zeros(shape, np.float32)
    depth = np.full(shape, -1.0, np.float32)  # px from the edge of the crack that a pixel is in
    gain = rng.uniform(0.75, 1.0)
    fade = np.clip(0.9 + 0.35 * _field(rng, shape, 14), 0.12, 1.2)  # dust, wear, healing
    laid = () if what == "none" else _paths(rng, shape, what == "fine")
    for near, distance, local, on_line in laid:
        inside = local / 2 - distance
        deeper = ((inside >= 0) | on_line) & (inside > depth.flat[near])
        width.flat[near[deeper]] = local[deeper]
        depth.flat[near[deeper]] = inside[deeper]
        # Light still reaches the bottom of a narrow, shallow crack: contrast falls with width.
        loss = gain * (0.9 - 0.35 * np.exp(-local / 2.5))
        lost = loss * fade.flat[near] ** (1.5 / (0.5 + local)) * _coverage(distance, local)
        dark.flat[near] = np.maximum(dark.flat[near], lost)
    return np.minimum(dark, 0.92), width
