"""A slider for the threshold: the mask, what it finds and misses, precision and recall at once."""

import ipywidgets
import numpy as np

from crackutils import metrics
from crackutils.cracks.report import encoded, in_three_colours, reduced

LONGEST = 1024  # px, the longer side of a picture that is shown
GAP = 8  # px, between mask and overlay
STEP = 0.005  # of the slider


def scores(cracks: list[np.ndarray], marked: list[np.ndarray]) -> dict[str, float]:
    """Precision, recall and F1 of several pictures together: masks and predictions, bool H x W."""
    pairs = list(zip(cracks, marked, strict=True))
    right = sum(np.count_nonzero(crack & prediction) for crack, prediction in pairs)
    wrong = sum(np.count_nonzero(~crack & prediction) for crack, prediction in pairs)
    missed = sum(np.count_nonzero(crack & ~prediction) for crack, prediction in pairs)
    return {"precision": float(metrics.precision(right, wrong)),
            "recall": float(metrics.recall(right, missed)),
            "F1": float(metrics.f1_score(right, wrong, missed))}


def view(image: np.ndarray, crack: np.ndarray | None, marked: np.ndarray) -> np.ndarray:
    """The mask `marked` (black on white) beside what is found, missed and wrongly marked: uint8,
    each at most `LONGEST` px. `marked` and the mask `crack` are bool H x W. Without a mask (None)
    all that is marked has the colour of what was found."""
    overlay = in_three_colours(image, marked if crack is None else crack, marked)
    mask = np.where(marked, np.uint8(0), np.uint8(255))[..., None].repeat(3, axis=2)
    mask, overlay = reduced(mask, LONGEST), reduced(overlay, LONGEST)
    return np.hstack([mask, np.full((len(mask), GAP, 3), 128, np.uint8), overlay])


def threshold_slider(image: np.ndarray, crack: np.ndarray | None,
                     probabilities: dict[str, np.ndarray],
                     thresholds: dict[str, float]) -> ipywidgets.VBox:
    """Buttons that choose a network and a slider that moves its threshold, above the `view` of one
    photograph and its scores.

    `probabilities` (float32 H x W by the network's name) are computed beforehand, so that a move
    only compares and draws. `thresholds` are where the slider stands when a network is chosen.
    Without a mask (`crack` is None) there are no scores.
    """
    network = ipywidgets.ToggleButtons(options=list(probabilities), description="network")
    slider = ipywidgets.FloatSlider(
        thresholds[network.value], min=STEP, max=1 - STEP, step=STEP, readout_format=".3f",
        description="threshold", layout={"width": "32rem", "max_width": "98%"})
    text = ipywidgets.HTML()
    picture = ipywidgets.Image(format="png", layout={"max_width": "100%", "object_fit": "contain"})

    def draw(_=None) -> None:
        marked = probabilities[network.value] >= slider.value
        picture.value = encoded(".png", view(image, crack, marked))
        words = [f"{marked.mean():.2%} of the picture is marked"]
        if crack is not None:
            words += [f"{name} {value:.3f}" for name, value in scores([crack], [marked]).items()]
        text.value = ", ".join(words)

    def choose(change: dict) -> None:
        slider.value = thresholds[change["new"]]
        draw()  # the threshold may be the same

    slider.observe(draw, "value")
    network.observe(choose, "value")
    draw()
    return ipywidgets.VBox([network, slider, text, picture])
