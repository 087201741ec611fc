"""How many cracks the shipped networks find, counted as an inspector does: cracks, not pixels.

    python benchmarks/whole_cracks.py CFD_FOLDER METU_PREVIEW_FOLDER

A crack is a connected region of the mask whose skeleton has at least 10 pixels. It is found if at
least half of its skeleton lies within 2 px of a predicted pixel; a predicted crack is right if at
least half of its skeleton lies within 2 px of the mask. The `width_error` is the predicted width
minus that of the mask, in px, at the points of the masks' skeletons that are predicted as crack:
its median, and the limits of the middle 80 %. The networks have seen none of these photographs. All
of a folder's photographs are counted, at each network's default threshold. The rows go to
`results/benchmarks/whole_cracks.csv`.
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

OUT = files.ROOT / "results" / "benchmarks" / "whole_cracks.csv"
MODELS = ("balanced_step", "bce", "mse")
SHORTEST = 10  # px of a crack's centre line
TOLERANCE = 2  # px
SHARE = 0.5  # of a centre line that has to be near


def near_cracks(mask: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """The number of cracks in a mask (bool H x W), and how many of them the other mask has too."""
    near = cv2.dilate(other.astype(np.uint8), disk(TOLERANCE)) > 0
    regions = label(mask, connectivity=2)[centre := skeletonize(mask)]
    lengths = np.bincount(regions, minlength=1)
    shared = np.bincount(regions, weights=near[centre], minlength=1)
    long = lengths >= SHORTEST
    return int(long.sum()), int((shared[long] >= SHARE * lengths[long]).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="folders of photographs and masks")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    rows = []
    for name in MODELS:
        model = CrackModel(model_folder(name), "cpu")
        threshold = model.default_threshold()
        for folder in given.folders:
            part = data.load_undivided(folder, model.protocol, files.resolve(None, "runs"))
            counts, errors = np.zeros(4, int), []
            for index in range(len(part)):
                sample = part[index]
                mask, marked = sample.mask == 1, model.predict(sample.image) >= threshold
                counts += [*near_cracks(mask, marked), *near_cracks(marked, mask)]
                points = skeletonize(mask) & marked
                errors.append((estimated_width(marked) - estimated_width(mask))[points])
            low, median, high = np.quantile(np.concatenate(errors), (0.1, 0.5, 0.9)).round(2)
            rows.append({"model": name, "pictures": Path(folder).name, "photographs": len(part)}
                        | dict(zip(("cracks", "found", "claimed", "right"), counts.tolist()))
                        | {"width_error": median, "width_error_10": low, "width_error_90": high})
            print(rows[-1], flush=True)
    pd.DataFrame(rows).to_csv(given.out, index=False)


if __name__ == "__main__":
    main()
