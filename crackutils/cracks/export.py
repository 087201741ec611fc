"""A trained network as an ONNX file, which runs without PyTorch."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional

from crackutils.cracks.prediction import CrackModel
from crackutils.files import write_atomically
from crackutils.models import probability
from crackutils.records import RecordError

OPSET = 18
LARGEST_DIFFERENCE = 1e-4  # between the probabilities of PyTorch and onnxruntime
CHECKED_SIZES = ((1, 64, 96), (2, 133, 75))  # images, height, width


class Probabilities(nn.Module):
    """Images, float32 N x 3 x H x W in [0, 1], to crack probabilities, float32 N x 1 x H x W."""

    def __init__(self, model: CrackModel):
        super().__init__()
        self.network, self.multiple = model.model.network, model.model.multiple
        self.output = model.protocol.output

    def forward(self, images: Tensor) -> Tensor:
        # as in `AnySize`, but always with a padding: ONNX knows the size only when it runs
        height, width = images.shape[-2:]
        padding = (0, -width % self.multiple, 0, -height % self.multiple)
        padded = functional.pad(images, padding, mode="replicate")
        return probability(self.network(padded)[..., :height, :width], self.output)


def export(model: CrackModel, path: Path) -> float:
    """Write a network as ONNX, and return its largest difference from PyTorch.

    The input `images` is float32 N x 3 x H x W in [0, 1] (RGB), the output `probabilities` float32
    N x 1 x H x W; N, H and W are free. As metadata the file states `loss`, `threshold` and
    `margin`. A prediction is exact from `margin` pixels inside the edges of a tile, if the tile
    begins at a multiple of 16. Where `margin` is 0, the network should see tiles of the size it was
    trained on, `tile_height` and `tile_width`, and they have to be blended.
    `RecordError`, and no file, if onnxruntime's probabilities differ by more than 1e-4.
    """
    network = Probabilities(model).cpu().eval()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # PyTorch warns of each `if`; those of this network depend on its fixed numbers of channels
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        side = Path(folder) / "model.onnx"
        free = {0: "images", 2: "height", 3: "width"}
        torch.onnx.export(network, (torch.zeros(2, 3, 72, 88),), side, dynamo=False,
                          input_names=["images"], output_names=["probabilities"],
                          dynamic_axes={"images": free, "probabilities": free}, opset_version=OPSET)
        graph = onnx.load(side)
    facts = {"tile_height": model.protocol.tile[0], "tile_width": model.protocol.tile[1],
             "margin": model.tiling.margin, "threshold": model.default_threshold(),
             "loss": model.protocol.loss}
    onnx.helper.set_model_props(graph, {name: str(value) for name, value in facts.items()})
    content = graph.SerializeToString()
    difference = largest_difference(network, content)
    if not difference <= LARGEST_DIFFERENCE:
        raise RecordError(f"The probabilities of the ONNX file differ by {difference:.2g} from "
                          f"PyTorch's, expected at most {LARGEST_DIFFERENCE:g}: nothing was "
                          "written. Install the versions of requirements.txt.")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    return difference


@torch.inference_mode()
def largest_difference(network: nn.Module, content: bytes) -> float:
    """The largest difference between PyTorch and onnxruntime, on noise of two sizes."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    generator, differences = np.random.default_rng(0), []
    for count, height, width in CHECKED_SIZES:
        images = generator.random((count, 3, height, width), dtype=np.float32)
        found, = session.run(None, {"images": images})
        expected = network(torch.from_numpy(images)).numpy()
        differences.append(float(np.abs(found - expected).max()))
    return max(differences)
