"""How often the study's 95 % intervals hold the true value: python benchmarks/interval_coverage.py

Two losses are simulated, on pictures and with seeds whose effects are known. The network of seed s
gives a crack pixel of picture i a score from a normal distribution. Its mean is the sum of the
loss's mean, the picture's effect (shared by both losses), an effect of both, and the seed's effect
(each loss has its own); the scores of the background have the mean 0. As in notebook 06, each
network gets the lowest threshold at which its precision on the validation pictures is at least .8,
and the interval is that of the difference in recall on the test pictures. It is compared with the
difference over all pictures and seeds. The pictures have as many crack pixels as the study's.
"""

import argparse

import numpy as np
import pandas as pd
from scipy.stats import norm

from crackutils import files, records
from crackutils.evaluation import WIDTH_EDGES
from crackutils.papers import fine_cracks

FINE = "1-2 px"  # the width class of all simulated cracks
MEANS = (2.6, 3.0)  # of the two losses' scores of crack pixels: recalls of about .47 and .64
OF_PICTURES, OF_PIXELS = 0.5, 0.2  # standard deviations of the effects of a picture, and of both
BACKGROUND = 30  # background pixels that could be taken for a crack, for each crack pixel
LEVELS = np.linspace(0.5, 4.5, 81)  # of the scores, where the thresholds lie
CASES = [(*pictures, seeds, deviation) for pictures in ((30, 300), (16, 26)) for seeds in (3, 5)
         for deviation in (0.1, 0.3)]


def present_pixels() -> np.ndarray:
    """The crack pixels 1 to 2 px wide of each test picture of the study that has some."""
    folder = files.ROOT / "results" / "study" / "synthetic" / "records"
    counts = records.read_arrays(sorted(folder.glob("mse-*"))[0] / "counts.npz")
    present = counts["test_positives_by_width"][:, fine_cracks.strata_names().index(FINE) - 1]
    return present[present > 0].astype(int)


def reached(number: np.ndarray, mean: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """How many of each picture's pixels have a score of at least each level: pictures x levels."""
    below = norm.cdf(LEVELS - mean[:, None])
    shares = np.diff(below, axis=1, prepend=0, append=1)
    return generator.multinomial(number, shares)[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]


def run_of(mean: float, effects: dict, present: dict, deviation: float,
           generator: np.random.Generator) -> fine_cracks.Found:
    """What the network of one seed finds in pictures with these effects."""
    seed = deviation * generator.standard_normal()
    counts = {"thresholds": LEVELS}
    for part, pixels in present.items():
        own = OF_PIXELS * generator.standard_normal(len(pixels))
        found = reached(pixels, mean + seed + effects[part] + own, generator)
        false = reached(BACKGROUND * pixels, np.zeros(len(pixels)), generator)
        by_width = np.zeros((len(pixels), len(WIDTH_EDGES) + 1, len(LEVELS)), int)
        place = fine_cracks.strata_names().index(FINE) - 1
        by_width[:, place] = found
        positives = np.zeros(by_width.shape[:2], int)
        positives[:, place] = pixels
        counts |= {f"{part}_names": np.arange(len(pixels)), f"{part}_true_positives": found,
                   f"{part}_false_positives": false,
                   f"{part}_false_negatives": pixels[:, None] - found,
                   f"{part}_true_positives_by_width": by_width,
                   f"{part}_positives_by_width": positives}
    return fine_cracks.found_at_precision(counts, "test", 0.8)


def true_recall(mean: float, deviation: float) -> float:
    """The recall at this precision over all pictures, averaged over all seeds."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    spread = np.sqrt(1 + OF_PICTURES**2 + OF_PIXELS**2)  # of the scores of all pictures' pixels
    right = norm.sf((LEVELS - mean - deviation * nodes[:, None]) / spread)
    precise = right / (right + BACKGROUND * norm.sf(LEVELS)) >= 0.8
    recalls = right[np.arange(len(nodes)), precise.argmax(axis=1)]
    return float(recalls @ weights / weights.sum())


def coverage(validation: int, test: int, seeds: int, deviation: float, simulations: int) -> dict:
    """The share of simulations whose interval holds the true difference, and its mean length."""
    generator, pixels = np.random.default_rng(0), present_pixels()
    truth = np.subtract(*(true_recall(mean, deviation) for mean in reversed(MEANS)))
    held, lengths = [], []
    for _ in range(simulations):
        sizes = {"validation": validation, "test": test}
        present = {part: generator.choice(pixels, size) for part, size in sizes.items()}
        effects = {part: OF_PICTURES * generator.standard_normal(size)
                   for part, size in sizes.items()}
        first, second = ([run_of(mean, effects, present, deviation, generator)
                          for _ in range(seeds)] for mean in MEANS)
        row = fine_cracks.difference(second, first, fine_cracks.strata_names().index(FINE), 1)
        held.append(row["difference_low"] <= truth <= row["difference_high"])
        lengths.append(row["difference_high"] - row["difference_low"])
    return {"validation": validation, "test": test, "seeds": seeds, "seed_deviation": deviation,
            "simulations": simulations, "true_difference": truth, "coverage": np.mean(held),
            "length": np.mean(lengths)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1_000)
    given = parser.parse_args()
    table = pd.DataFrame([coverage(*case, given.simulations) for case in CASES]).round(4)
    print(table.to_string(index=False))
    if given.simulations == parser.get_default("simulations"):
        table.to_csv(files.ROOT / "results" / "benchmarks" / "coverage.csv", index=False)


if __name__ == "__main__":
    main()
