"""What the shipped networks find and mistake: whole cracks of photographs, and drawn marks.

    python benchmarks/shipped_models.py CFD_FOLDER METU_PREVIEW_FOLDER

Both are measured at each network's default threshold.

`whole_cracks.csv` counts as an inspector does: cracks, not pixels, on all of a folder's
photographs, none of which the networks have seen. A crack is a connected region of the mask whose
skeleton has at least 10 pixels. It is found if at least half of its skeleton lies within 2 px of a
predicted pixel; a predicted crack is right if at least half of its skeleton lies within 2 px of the
mask. The `width_error` is the predicted width minus that of the mask, in px, at the points of the
masks' skeletons that are predicted as crack: its median, and the limits of the middle 80 %.

`mistaken.csv` says which marks are taken for cracks. Each kind is drawn forty times on bare grey
surfaces of 256 x 256 px, at random places and in random strengths, by other code than the synthetic
pictures that the networks learned from. `marked` is the share of a mark's pixels that are predicted
as crack, and `touched` the share of the pictures in which at least a tenth of the mark is. Drawn
cracks stand beside them, and bare surfaces, of which every pixel counts.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from skimage.measure import label
from skimage.morphology import disk, skeletonize

from crackutils import data, files
from crackutils.cracks.prediction import CrackModel
from crackutils.evaluation import estimated_width
from crackutils.experiment import model_folder

MODELS = ("balanced_step", "bce", "mse", "weighted_bce")
SHORTEST = 10  # px of a crack's skeleton
TOLERANCE = 2  # px
SHARE = 0.5  # of a skeleton that has to be near
SIDE, PICTURES = 256, 40  # of the drawn marks


# Whole cracks

def near_cracks(mask: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """The number of cracks in a mask (bool H x W), and how many of them the other mask has too."""
    near = cv2.dilate(other.astype(np.uint8), disk(TOLERANCE)) > 0
    regions = label(mask, connectivity=2)[centre := skeletonize(mask)]
    lengths = np.bincount(regions, minlength=1)
    shared = np.bincount(regions, weights=near[centre], minlength=1)
    long = lengths >= SHORTEST
    return int(long.sum()), int((shared[long] >= SHARE * lengths[long]).sum())


def whole_cracks(model: CrackModel, folder: str) -> dict:
    """The cracks and the widths on all photographs of a folder."""
    part = data.load_undivided(folder, model.protocol, files.resolve(None, "runs"))
    counts, errors = np.zeros(4, int), []
    for index in range(len(part)):
        sample = part[index]
        mask = sample.mask == 1
        marked = model.predict(sample.image) >= model.default_threshold()
        counts += [*near_cracks(mask, marked), *near_cracks(marked, mask)]
        points = skeletonize(mask) & marked
        errors.append((estimated_width(marked) - estimated_width(mask))[points])
    low, median, high = np.quantile(np.concatenate(errors), (0.1, 0.5, 0.9)).round(2)
    return {"pictures": Path(folder).name, "photographs": len(part)} \
        | dict(zip(("cracks", "found", "claimed", "right"), counts.tolist())) \
        | {"width_error": median, "width_error_10": low, "width_error_90": high}


# Marks that are no cracks

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


def mistaken(model: CrackModel, kind: str) -> dict:
    """How much of a kind of mark is predicted as crack."""
    pairs = [drawn(kind, index) for index in range(PICTURES)]
    found = [(model.predict(image) >= model.default_threshold())[mark] for image, mark in pairs]
    return {"mark": kind, "pictures": PICTURES,
            "marked": round(float(np.concatenate(found).mean()), 4),
            "touched": float(np.mean([one.mean() >= 0.1 for one in found]))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="folders of photographs and masks")
    parser.add_argument("--out", type=Path, default=files.ROOT / "results" / "benchmarks")
    given = parser.parse_args()
    models = {name: CrackModel(model_folder(name), "cpu") for name in MODELS}
    for name, measure, subjects in (("mistaken", mistaken, KINDS),
                                    ("whole_cracks", whole_cracks, given.folders)):
        table = pd.DataFrame([{"model": shipped} | measure(model, subject)
                              for shipped, model in models.items() for subject in subjects])
        table.to_csv(given.out / f"{name}.csv", index=False)
        print(table.to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
