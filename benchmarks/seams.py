"""What larger tiles than in training do to a network's predictions: F1, and the seams.

    python benchmarks/seams.py --model RECORD_OR_NAME ... --data FOLDER ...

Each network predicts all pictures of each folder twice: in tiles of its training's size, blended,
and in larger tiles whose margins are left out, as `crackutils predict` does for networks with a
narrow receptive field (`crackutils.cracks.prediction`). `f1_training_tiles` and `f1_larger_tiles`
are at the network's default threshold; `largest_difference` is between the prediction in larger
tiles and that of the whole picture at once. A picture that is smaller than a tile with its margins
(768 px for 5 levels and 7x7 kernels) is predicted at once. The rows go to
`results/benchmarks/seams.csv`.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from crackutils import data, files
from crackutils.cracks import prediction
from crackutils.cracks.prediction import CrackModel
from crackutils.cracks.slider import scores
from crackutils.experiment import model_folder
from crackutils.models import probability, receptive_field

OUT = files.ROOT / "results" / "benchmarks" / "seams.csv"
INTERIOR = 160  # px, so that there are seams in pictures of a few hundred pixels


@torch.inference_mode()
def whole(model: CrackModel, image: np.ndarray) -> np.ndarray:
    """The prediction of a picture in one pass of the network."""
    images = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
    return probability(model.model(images), model.protocol.output)[0, 0].numpy()


def row(name: str, folder: str, pictures: int | None) -> dict:
    """One network on one folder's pictures, or on as many of them, evenly spread."""
    model = CrackModel(model_folder(name), "cpu")
    protocol = model.protocol
    field = receptive_field(protocol.levels, protocol.kernel)
    ways = {"training": prediction.blended_tiles(protocol),
            "larger": prediction.larger_tiles(protocol, INTERIOR)}
    part = data.load_undivided(folder, protocol, files.resolve(None, "runs"))
    chosen = np.linspace(0, len(part) - 1, min(len(part), pictures or len(part))).round()
    masks, marked, differences = [], {"training": [], "larger": []}, []
    for sample in (part[int(index)] for index in chosen):
        masks.append(sample.mask)
        found = {}
        for way, model.tiling in ways.items():
            found[way] = model.predict(sample.image)
            marked[way].append(found[way] >= model.default_threshold())
        differences.append(np.abs(found["larger"] - whole(model, sample.image)).max())
    shipped = model.folder.parent == files.ROOT / "models"
    made = "shipped" if shipped else f"`{protocol.name}`, seed {protocol.seed}"
    return {"network": f"{protocol.loss} ({made}), {protocol.levels} levels, {protocol.kernel}×"
            f"{protocol.kernel}", "receptive_field": field, "training_tile": protocol.tile[0],
            "larger_by_default": bool(prediction.tiling(protocol).margin),
            "pictures": f"{len(chosen)} of {Path(folder).name}",
            "f1_training_tiles": round(scores(masks, marked["training"])["F1"], 3),
            "f1_larger_tiles": round(scores(masks, marked["larger"])["F1"], 3),
            "largest_difference": float(f"{max(differences):.1e}")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", required=True, help="records, or shipped models")
    parser.add_argument("--data", nargs="+", required=True, help="folders of pictures and masks")
    parser.add_argument("--pictures", type=int, help="this many of each folder (default: all)")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    rows = []
    for name in given.model:
        for folder in given.data:
            rows.append(row(name, folder, given.pictures))
            print(rows[-1], flush=True)
    pd.DataFrame(rows).to_csv(given.out, index=False)


if __name__ == "__main__":
    main()
