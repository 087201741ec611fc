"""How often the study's 95 % intervals hold the true value: python benchmarks/interval_coverage.py

Two losses are simulated, on pictures and with seeds whose effects are known. The pictures have as
many crack pixels as those of the study. A pixel of picture i is found by the network of seed s with
a chance whose logit is the sum of a mean, the picture's effect (shared by both losses) and the
seed's effect (each loss has its own). The interval of the difference in recall is computed as in
notebook 06, and compared with the difference over infinitely many pictures and seeds.
"""

import argparse

import numpy as np
import pandas as pd
from scipy.special import expit

from crackutils import files, records
from crackutils.papers import fine_cracks

STRATUM = 2  # of `fine_cracks.strata_names()`: 1 to 2 px
MEANS = (-0.6, 0.4)  # logits: about the recall of MSE and of Balanced Step after 200 steps
OF_PICTURES, OF_PIXELS = 1.0, 0.5  # standard deviations of the logit by picture; and by both
CASES = [(pictures, seeds, deviation) for pictures in (60, 300) for seeds in (2, 3, 5)
         for deviation in (0.1, 0.4)]


def present_pixels() -> np.ndarray:
    """The crack pixels 1 to 2 px wide of each test picture of the study."""
    folder = files.ROOT / "results" / "study" / "synthetic" / "records"
    counts = records.read_arrays(sorted(folder.glob("mse-*"))[0] / "counts.npz")
    return fine_cracks.found_at_precision(counts, "test", 0.8).present[:, STRATUM]


def runs_of(mean: float, effects: np.ndarray, present: np.ndarray, seeds: int, deviation: float,
            generator: np.random.Generator) -> list[fine_cracks.Found]:
    """What the networks of one loss find in pictures with these effects."""
    runs = []
    for _ in range(seeds):
        own = OF_PIXELS * generator.standard_normal(len(present))
        logit = mean + effects + own + deviation * generator.standard_normal()
        found = generator.binomial(present, expit(logit))
        runs.append(fine_cracks.Found(0.5, 0.8, found[:, None], present[:, None]))
    return runs


def true_recall(mean: float, deviation: float) -> float:
    """The recall over all pictures and seeds: the mean of a logistic of a normal variable."""
    spread = np.sqrt(OF_PICTURES**2 + OF_PIXELS**2 + deviation**2)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    return float(expit(mean + spread * nodes) @ weights / weights.sum())


def coverage(pictures: int, seeds: int, deviation: float, simulations: int) -> dict:
    """The share of simulations whose interval holds the true difference, and its mean length."""
    generator, all_present = np.random.default_rng(0), present_pixels()
    truth = true_recall(MEANS[1], deviation) - true_recall(MEANS[0], deviation)
    held, lengths = [], []
    for _ in range(simulations):
        present = generator.choice(all_present, pictures)
        effects = OF_PICTURES * generator.standard_normal(pictures)
        first, second = (runs_of(mean, effects, present, seeds, deviation, generator)
                         for mean in MEANS)
        row = fine_cracks.difference(second, first, 0, comparisons=1)
        held.append(row["difference_low"] <= truth <= row["difference_high"])
        lengths.append(row["difference_high"] - row["difference_low"])
    return {"pictures": pictures, "seeds": seeds, "seed_deviation": deviation,
            "simulations": simulations, "coverage": np.mean(held), "length": np.mean(lengths)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=2_000)
    given = parser.parse_args()
    table = pd.DataFrame([coverage(*case, given.simulations) for case in CASES]).round(4)
    print(table.to_string(index=False))
    if given.simulations == parser.get_default("simulations"):
        table.to_csv(files.ROOT / "results" / "benchmarks" / "coverage.csv", index=False)


if __name__ == "__main__":
    main()
