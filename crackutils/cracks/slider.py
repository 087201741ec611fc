"""A slider for the threshold: the mask, what it finds and misses, precision and recall at once."""

import cv2
import ipywidgets
import numpy as np
from skimage.morphology import disk

from crackutils import metrics
from crackutils.cracks.report import encoded, in_three_colours, reduced

LONGEST = 1024  # px, the longer side of a picture that is shown
GAP = 8  # px, between mask and overlay
STEP = 0.005  # of the slider


def scores(masks: list[np.ndarray], marked: list[np.ndarray],
           tolerance: int = 0) -> dict[str, float]:
    """Precision, recall and F1 of several pictures together. `masks` (uint8 H x W) are 1 where
    there is a crack, 0 where there is none, and other pixels are left out; `marked` are bool H x W.

    With a `tolerance` of r px, a marked pixel is right if a crack pixel lies at most r px from it,
    and a crack pixel is found if a marked one does. The F1 is 2 P R / (P + R).
    """
    shape, cracks, claimed, right, found = disk(tolerance), 0, 0, 0, 0
    for mask, prediction in zip(masks, marked, strict=True):
        label, prediction = mask == 1, prediction & (mask <= 1)
        cracks, claimed = cracks + label.sum(), claimed + prediction.sum()
        right += prediction[cv2.dilate(label.astype(np.uint8), shape) > 0].sum()
        found += label[cv2.dilate(prediction.astype(np.uint8), shape) > 0].sum()
    precision, recall = metrics.ratio(right, claimed), metrics.ratio(found, cracks)
    both = precision + recall  # 0 where all that is marked is wrong and all cracks are missed
    f1_score = metrics.ratio(2 * precision * recall, both) if both > 0 else 0.0
    return {"precision": float(precision), "recall": float(recall), "F1": float(f1_score)}


def view(image: np.ndarray, label: np.ndarray | None, marked: np.ndarray) -> np.ndarray:
    """The prediction `marked` (bool H x W; black on white) beside what is found, missed and wrongly
    marked: uint8, each at most `LONGEST` px. `label` is the mask (uint8 H x W). Without one (None)
    all that is marked has the colour of what was found."""
    overlay = in_three_colours(image, marked if label is None else label, marked)
    mask = np.where(marked, np.uint8(0), np.uint8(255))[..., None].repeat(3, axis=2)
    mask, overlay = reduced(mask, LONGEST), reduced(overlay, LONGEST)
    return np.hstack([mask, np.full((len(mask), GAP, 3), 128, np.uint8), overlay])


def threshold_slider(image: np.ndarray, label: np.ndarray | None,
                     probabilities: dict[str, np.ndarray],
                     thresholds: dict[str, float]) -> ipywidgets.VBox:
    """Buttons that choose a network and a slider that moves its threshold, above the `view` of one
    photograph and its scores.

    `probabilities` (float32 H x W by the network's name) are computed beforehand, so that a move
    only compares and draws. `thresholds` are where the slider stands when a network is chosen; it
    moves from `STEP` to 1 - `STEP`. `label` is the photograph's mask (uint8 H x W, as for
    `scores`); without one (None) there are no scores.
    """
    network = ipywidgets.ToggleButtons(options=list(probabilities), description="network")
    slider = ipywidgets.FloatSlider(
        thresholds[network.value], min=STEP, max=1 - STEP, step=STEP, readout_format=".3f",
        description="threshold", layout={"width": "32rem", "max_width": "98%"})
    text = ipywidgets.HTML()
    picture = ipywidgets.Image(format="jpeg", layout={"max_width": "100%", "object_fit": "contain"})

    def draw(_=None) -> None:
        marked = probabilities[network.value] >= slider.value
        picture.value = encoded(".jpg", view(image, label, marked))
        words = [f"{marked.mean():.2%} of the picture is marked"]
        if label is not None:
            words += [f"{name} {value:.3f}" for name, value in scores([label], [marked]).items()]
        text.value = ", ".join(words)

    def choose(change: dict) -> None:
        before, slider.value = slider.value, thresholds[change["new"]]
        if slider.value == before:  # then the slider does not draw
            draw()

    slider.observe(draw, "value")
    network.observe(choose, "value")
    draw()
    return ipywidgets.VBox([network, slider, text, picture])
