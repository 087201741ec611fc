"""How tiles are blended: seam, difference, F1 and cost of overlaps and weights, for one network.

    python benchmarks/blending.py --record runs/cpu/SET/records/RUN --data path/to/SET

takes the weights in a record, predicts the test part in every way, and writes a row for each to
`results/benchmarks/blending.csv` (other networks' rows stay). The reference are tiles that overlap
by seven eighths. `seam` is how much more the prediction changes across the tiles' borders than the
reference does at the same places (1: no seam); `mean_difference` and `best_f1` are over the test
part.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from crackutils import data, evaluation, files, metrics, records
from crackutils.device import decide, fabric_for
from crackutils.models import build
from crackutils.protocol import Protocol

WAYS = [("equal", 0.25), ("gaussian", 0.25), ("equal", 0.5), ("gaussian", 0.5), ("gaussian", 0.75),
        ("gaussian", 0.875)]  # the last is the reference
OUT = files.ROOT / "results" / "benchmarks" / "blending.csv"


def equal_weights(tile: tuple[int, int]) -> torch.Tensor:
    """Every pixel of a tile counts alike."""
    return torch.ones(tile)


def predicted(model, dataset, protocol: Protocol) -> torch.Tensor:
    """The probabilities of all test pictures, which must be of one size."""
    hardware = decide(protocol)
    fabric = fabric_for(hardware)
    indices = range(len(dataset.test))
    return torch.stack([prediction[0] for _, prediction in evaluation.predictions(
        model, dataset.test, indices, protocol, hardware, fabric)])


def best_f1(predictions: torch.Tensor, dataset) -> float:
    """The highest F1 over the thresholds, pooled over the test part."""
    counted = [evaluation.image_counts(prediction[None], sample)
               for prediction, sample in zip(predictions, dataset.test)]
    counts = {f"test_{name}": np.stack([one[name] for one in counted]) for name in counted[0]}
    return float(metrics.scores(counts, "test")["f1_score"].max())


def seam(predictions: torch.Tensor, reference: torch.Tensor, side: int) -> float:
    """The mean change across vertical tile borders, as a multiple of the reference's there."""
    width = predictions.shape[-1]
    borders = {edge for start in evaluation.tile_starts(width, side)
               for edge in (start, start + side) if 0 < edge < width}
    steps, of_reference = ((one[..., 1:] - one[..., :-1]).abs().mean((0, 1))
                           for one in (predictions, reference))
    return float(np.mean([steps[edge - 1] / of_reference[edge - 1] for edge in borders]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=Path, required=True, help="a record with weights")
    parser.add_argument("--data", default="synthetic", help="the data it was trained on")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    protocol = Protocol.from_dict(records.read_json(given.record / "config.json")["protocol"])
    dataset = data.load(given.data, protocol, files.resolve(None, "runs"))
    model = build(protocol)
    model.load_state_dict(load_file(given.record / "model.safetensors"))
    gaussian, results = evaluation.blending_weights, {}
    for weights, overlap in WAYS:
        evaluation.OVERLAP = overlap
        evaluation.blending_weights = gaussian if weights == "gaussian" else equal_weights
        begun = time.monotonic()
        results[weights, overlap] = predicted(model, dataset, protocol), time.monotonic() - begun
    reference = results[WAYS[-1]][0]
    network = f"{protocol.name}, {protocol.loss}, {dataset.name}"
    rows = []
    for (weights, overlap), (predictions, seconds) in results.items():
        evaluation.OVERLAP = overlap
        size = predictions.shape[-2:]
        rows.append({"network": network, "weights": weights, "overlap": overlap,
                     "tiles": len(evaluation.tiles_of(tuple(size), protocol.tile)),
                     "seconds": round(seconds, 1),
                     "seam": round(seam(predictions, reference, protocol.tile[1]), 3),
                     "mean_difference": round(float((predictions - reference).abs().mean()), 5),
                     "best_f1": round(best_f1(predictions, dataset), 4)})
    table = pd.DataFrame(rows)
    if given.out.is_file():
        before = pd.read_csv(given.out)
        table = pd.concat([before[before["network"] != network], table])
    table.to_csv(given.out, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
