"""Train and evaluate what has no complete record yet."""

import os
import platform
import subprocess
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from crackutils import metrics, runs
from crackutils.datasets import Dataset
from crackutils.evaluation import evaluate, predictor
from crackutils.models import build
from crackutils.protocol import Protocol
from crackutils.sampling import Sampler, framed
from crackutils.training import Hardware, decide, train

PACKAGES = ("torch", "segmentation-models-pytorch", "albumentations", "lightning", "numpy")
KEPT_SAMPLES = 4
ADVICE = ("Likely causes: too few steps or too low a learning_rate, masks that are empty, inverted "
          "or not those of their images (look at 01_data), a class so rare that the loss prefers "
          "to ignore it (try relu, bce or a larger weight), batch norm with tiny batches.")


def current_commit() -> str | None:
    """The commit of the code, `-dirty` if files differ from it; None where there is none."""
    return subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=40"], cwd=runs.ROOT,
                          capture_output=True, text=True, check=False).stdout.strip() or None


COMMIT = current_commit()  # at import: what is committed during a training did not make its record


def complete(protocol: Protocol, dataset: Dataset, runs_root: Path, results: Path | None,
             device: str = "auto") -> Path:
    """The complete record of a run: found in `runs_root`, then in `results`, else made now."""
    roots = {"runs": runs_root} | ({"results": results} if results else {})
    found = runs.find(roots, protocol, dataset.name, dataset.fingerprint)
    if found:
        print(f"{found[0]}: complete, not trained again")
        return found[1]
    record = runs.record_folder(runs_root, protocol, dataset.name, dataset.fingerprint)
    hardware = decide(protocol, device)
    model = build(protocol)
    losses, trained = train(model, Sampler(dataset.train, protocol), protocol, hardware, record)
    evaluating = time.monotonic()
    parts = {"validation": dataset.validation, "test": dataset.test}
    counts = evaluate(model, parts, protocol, hardware)
    kept = kept_predictions(model, dataset, protocol, hardware)
    environment = describe_environment(hardware, model, trained, time.monotonic() - evaluating)
    runs.save(record, protocol, dataset.name, dataset.fingerprint, environment, losses, counts,
              kept, model.state_dict())
    warn_if_degenerate(counts)
    return record


def kept_predictions(model, dataset: Dataset, protocol: Protocol,
                     hardware: Hardware) -> dict[str, np.ndarray] | None:
    """uint8 predictions of the first synthetic test images that show something; None for photos."""
    if dataset.name != "synthetic":
        return None
    chosen = [sample for sample in dataset.test if sample.mask.any()][:KEPT_SAMPLES]
    if not chosen:
        return None
    predict = predictor(model, protocol, hardware)
    predictions = [predict(sample) for sample in framed(chosen, protocol)]
    return {"names": np.array([sample.name for sample in chosen]),
            "predictions": np.stack([(prediction * 255).round().byte().cpu().numpy()
                                     for prediction in predictions])}


def warn_if_degenerate(counts: dict[str, np.ndarray]) -> None:
    """The commonest complaint: a prediction that is all black, or all of one grey."""
    kind = metrics.degenerate(counts, "validation")
    if kind:
        warnings.warn(f"The validation prediction is {kind}, whatever the threshold. {ADVICE}",
                      stacklevel=3)


def peak_memory_mib(hardware: Hardware) -> int | None:
    """The most memory this process (or, on CUDA, its tensors) ever took; None on Windows."""
    if hardware.device == "cuda":
        return round(torch.cuda.max_memory_allocated() / 2**20)
    if sys.platform == "win32":
        return None
    import resource
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss counts bytes there, else KiB
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)


def describe_environment(hardware: Hardware, model, training_seconds: float,
                         evaluation_seconds: float) -> dict:
    """What `environment.json` says: versions, commit, device, seconds, peak memory."""
    cuda = hardware.device == "cuda"
    return {"python": platform.python_version(), "platform": platform.machine(),
            **{package: version(package) for package in PACKAGES}, "commit": COMMIT,
            "device": torch.cuda.get_device_name() if cuda else "cpu",
            "cores": os.cpu_count(), "threads": torch.get_num_threads(),
            "precision": hardware.precision, "memory_format": hardware.memory_format,
            "pretrained_encoder": getattr(model.network, "pretrained_encoder", None),
            "training_seconds": round(training_seconds, 1),
            "evaluation_seconds": round(evaluation_seconds, 1),
            "peak_memory_mib": peak_memory_mib(hardware)}
