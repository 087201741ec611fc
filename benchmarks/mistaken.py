"""What the shipped networks mistake for cracks: the share of each kind of mark that they mark.

    python benchmarks/mistaken.py

Each kind is drawn forty times on bare grey surfaces of 256 x 256 px, at random places and in random
strengths, by other code than the synthetic pictures that the networks learned from. `marked` is the
share of a mark's pixels that are predicted as crack at the network's default threshold, and
`touched` the share of the pictures in which at least a tenth of the mark is. Drawn cracks stand
beside them, and bare surfaces, of which every pixel counts. The rows go to
`results/benchmarks/mistaken.csv`.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from crackutils import files
from crackutils.cracks.prediction import CrackModel
from crackutils.experiment import model_folder

OUT = files.ROOT / "results" / "benchmarks" / "mistaken.csv"
MODELS = ("balanced_step", "bce", "mse")
SIDE, PICTURES = 256, 40


def surface(rng: np.random.Generator) -> np.ndarray:
    """A bare grey wall, float32 H x W: a tone, slow changes of it, and grain."""
    slow = cv2.resize(rng.standard_normal((8, 8)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    grain = cv2.GaussianBlur(rng.standard_normal((SIDE, SIDE)), (0, 0), 0.8)
    return (rng.uniform(110, 190) + 6 * slow + rng.uniform(4, 10) * grain).astype(np.float32)


def line(rng: np.random.Generator, width: int, crooked: float = 0, bent: float = 0) -> np.ndarray:
    """Coverage, float32 H x W in 0..1, of a line through the picture."""
    along = np.linspace(-SIDE, SIDE, 400)
    across = bent * along**2 / SIDE + crooked * np.cumsum(rng.standard_normal(400))
    angle, centre = rng.uniform(0, np.pi), rng.uniform(0.3, 0.7, 2) * SIDE
    points = np.stack([along * np.cos(angle) - across * np.sin(angle),
                       along * np.sin(angle) + across * np.cos(angle)], axis=1) + centre
    layer = np.zeros((SIDE, SIDE), np.uint8)
    cv2.polylines(layer, [(16 * points).round().astype(np.int32)], False, 255, width,
                  cv2.LINE_AA, 4)  # 4 bits: coordinates are in 1/16 px
    return layer.astype(np.float32) / 255


def lettering(rng: np.random.Generator) -> np.ndarray:
    """Coverage of a line of writing."""
    layer, place = np.zeros((SIDE, SIDE), np.uint8), rng.integers((5, 40), (40, SIDE - 10))
    cv2.putText(layer, "C 25/30  A7", place.tolist(), cv2.FONT_HERSHEY_SIMPLEX,
                rng.uniform(0.7, 1.1), 255, int(rng.integers(1, 4)), cv2.LINE_AA)
    return layer.astype(np.float32) / 255


def spots(rng: np.random.Generator, number: int, radius: tuple[float, float],
          blur: float) -> np.ndarray:
    """Coverage of round spots."""
    layer = np.zeros((SIDE, SIDE), np.float32)
    for centre, size in zip(rng.uniform(0, SIDE, (number, 2)), rng.uniform(*radius, number)):
        cv2.circle(layer, centre.astype(int).tolist(), max(1, round(size)), 1, -1)
    return cv2.GaussianBlur(layer, (0, 0), blur)


def step(rng: np.random.Generator) -> np.ndarray:
    """Coverage of one side of a straight edge through the picture."""
    angle, (top, left) = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.7, 2) * SIDE
    y, x = np.mgrid[:SIDE, :SIDE]
    distance = (y - top) * np.cos(angle) - (x - left) * np.sin(angle)
    return (distance + 0.5).clip(0, 1).astype(np.float32)


# kind: what is drawn, and how much of the light it takes (negative: it is lighter than the wall)
KINDS = {
    "crack, 1 px": (lambda rng: line(rng, 1, crooked=0.5), (0.3, 0.6)),
    "crack, 3 px": (lambda rng: line(rng, 3, crooked=0.5), (0.3, 0.6)),
    "crack, 10 px": (lambda rng: line(rng, 10, crooked=0.5), (0.3, 0.6)),
    "crack, 20 px": (lambda rng: line(rng, 20, crooked=0.5), (0.3, 0.6)),
    "crack, 40 px": (lambda rng: line(rng, 40, crooked=0.5), (0.3, 0.6)),
    "bare wall": (lambda rng: np.ones((SIDE, SIDE), np.float32), (0, 0.1)),
    "joint, 6 px, straight": (lambda rng: line(rng, 6), (0.3, 0.6)),
    "pencil line, 1 px, straight": (lambda rng: line(rng, 1), (0.15, 0.4)),
    "cable, 4 px, bent": (lambda rng: line(rng, 4, bent=0.2), (0.5, 0.8)),
    "shadow of a cable, soft": (
        lambda rng: cv2.GaussianBlur(line(rng, 6, bent=0.2), (0, 0), 3), (0.2, 0.4)),
    "edge of a shadow or a form": (step, (0.1, 0.4)),
    "lettering": (lettering, (0.4, 0.8)),
    "blowholes": (lambda rng: spots(rng, 40, (1, 5), 0.6), (0.3, 0.7)),
    "stains": (lambda rng: spots(rng, 4, (12, 35), 4), (0.1, 0.3)),
    "scratch, lighter": (lambda rng: line(rng, 1), (-0.4, -0.15))}


def drawn(kind: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture `index` of a kind: the photograph, uint8 H x W x 3, and the mark's pixels."""
    rng = np.random.default_rng([list(KINDS).index(kind), index])
    draw, strength = KINDS[kind]
    coverage = draw(rng)
    grey = surface(rng) * (1 - rng.uniform(*strength) * coverage) + rng.normal(0, 2, (SIDE, SIDE))
    mark = coverage > 0.5
    if kind.startswith("edge"):  # only along the edge something can be mistaken for a crack
        mark = cv2.morphologyEx(mark.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((5, 5))) > 0
    return cv2.cvtColor(grey.clip(0, 255).astype(np.uint8), cv2.COLOR_GRAY2RGB), mark


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    rows = []
    for name in MODELS:
        model = CrackModel(model_folder(name), "cpu")
        threshold = model.default_threshold()
        for kind in KINDS:
            pairs = [drawn(kind, index) for index in range(PICTURES)]
            found = [(model.predict(image) >= threshold)[mark] for image, mark in pairs]
            rows.append({"model": name, "mark": kind, "pictures": PICTURES,
                         "marked": round(float(np.concatenate(found).mean()), 4),
                         "touched": float(np.mean([one.mean() >= 0.1 for one in found]))})
    table = pd.DataFrame(rows)
    table.to_csv(given.out, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
