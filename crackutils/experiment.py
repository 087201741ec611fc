"""Train and evaluate what has no complete record yet."""

import functools
import os
import platform
import subprocess
import sys
import time
import warnings
from contextlib import nullcontext, suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning.fabric import Fabric

from crackutils import files, metrics, records
from crackutils.batches import Sampler
from crackutils.data import Dataset
from crackutils.data.picture_cache import Part
from crackutils.device import UNDER_TORCHRUN, Hardware, decide, launch
from crackutils.evaluation import NoProbabilitiesError, evaluate, positive, predictions
from crackutils.models import build
from crackutils.protocol import Protocol
from crackutils.training import Trained, train

PACKAGES = ("torch", "segmentation-models-pytorch", "albumentations", "lightning", "numpy")
KEPT_SAMPLES = 4
ADVICE = ("Likely causes: too few steps or too low a learning_rate, masks that are empty, inverted "
          "or not those of their images (look at 01_data), a class so rare that the loss prefers "
          "to ignore it (try relu, bce or a larger weight), batch norm with tiny batches.")


def current_commit() -> str | None:
    """The commit of the code, `-dirty` if files differ from it; None where there is none."""
    return subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=40"], cwd=files.ROOT,
                          capture_output=True, text=True, check=False).stdout.strip() or None


COMMIT = current_commit()  # at import: what is committed during a training did not make its record


def complete(protocol: Protocol, dataset: Dataset, runs_root: Path, results: Path | None,
             device: str = "auto", devices: int = 1, **shares) -> Path:
    """The complete record of a run: found in `runs_root`, then in `results`, else made now.

    `devices` GPUs (on a CPU: processes) share the run; `shares` are `decide`'s `strategy` and
    `num_nodes`.
    """
    roots = {"runs": runs_root} | ({"results": results} if results else {})
    found = records.find(roots, protocol, dataset.name, dataset.fingerprint)
    if found:
        print(f"{found[0]}: complete, not trained again")
        warn_if_degenerate(records.read_arrays(found[1] / "counts.npz"))
        return found[1]
    record = records.record_folder(runs_root, protocol, dataset.name, dataset.fingerprint)
    hardware = decide(protocol, device, devices, **shares)
    # torchrun's processes can't wait for another program: their patience with each other ends
    with nullcontext() if UNDER_TORCHRUN else records.alone(record):
        if not records.is_complete(record):  # the program that this one waited for may have made it
            launch(hardware, functools.partial(make, protocol=protocol, dataset=dataset,
                                               hardware=hardware, record=record))
    warn_if_degenerate(records.read_arrays(record / "counts.npz"))
    return record


def make(fabric: Fabric, protocol: Protocol, dataset: Dataset, hardware: Hardware,
         record: Path) -> None:
    """Train, evaluate and write the record, in each of the processes that share the run."""
    alone_here = UNDER_TORCHRUN and fabric.is_global_zero
    with records.alone(record, wait=False) if alone_here else nullcontext():
        reset_peak_memory(hardware)
        checkpoints = records.Checkpoints(record, protocol, dataset.fingerprint, hardware)
        model = build(protocol)
        sampler = Sampler(dataset.train, protocol, fabric.device, fabric.global_rank,
                          fabric.world_size)
        now = functools.partial(validation_iou, model, dataset.validation, protocol, hardware,
                                fabric)
        trained = train(fabric, model, sampler, hardware, checkpoints, now)
        if fabric.world_size > 1:  # without synchronised batch norm each process has its own
            model.load_state_dict(fabric.broadcast(model.state_dict()))
        evaluating = time.monotonic()
        parts = {"validation": dataset.validation, "test": dataset.test}
        counts = evaluate(model, parts, protocol, hardware, fabric)
        if fabric.is_global_zero:
            kept = kept_predictions(model, dataset, protocol, hardware, fabric)
            seconds = {"training_seconds": trained.seconds,
                       "checkpoint_seconds": checkpoints.seconds,
                       "evaluation_seconds": time.monotonic() - evaluating}
            records.save(record, protocol, dataset.name, dataset.fingerprint,
                      describe_environment(hardware, model, sampler, seconds), history(trained),
                      counts, kept, model.state_dict())
        fabric.barrier()


def validation_iou(model, part: Part, protocol: Protocol, hardware: Hardware,
                   fabric: Fabric) -> float:
    """Pooled IoU of the positive class on the validation part at threshold .5, for the curve.

    Processes whose batch norm is not synchronised look each with its own statistics.
    """
    try:
        counts = evaluate(model, {"validation": part}, protocol, hardware, fabric)
    except NoProbabilitiesError:
        return float("nan")  # nor will the next loss be a number: told with its batch
    return float(metrics.scores(counts, "validation")["iou"][metrics.at_threshold(counts, 0.5)])


def history(trained: Trained) -> pd.DataFrame:
    """`step`, `loss` and, where the run looked at it, `validation_iou` after the step."""
    table = pd.DataFrame({"step": range(1, len(trained.losses) + 1), "loss": trained.losses})
    if trained.validation:
        table["validation_iou"] = table["step"].map(trained.validation)
    return table


def kept_predictions(model, dataset: Dataset, protocol: Protocol, hardware: Hardware,
                     fabric: Fabric) -> dict[str, np.ndarray] | None:
    """uint8 predictions of the first synthetic test images that show something; None for photos."""
    if dataset.name != "synthetic":
        return None
    chosen = [index for index, sample in enumerate(dataset.test)
              if sample.mask.any()][:KEPT_SAMPLES]
    if not chosen:
        return None
    found = predictions(model, dataset.test, chosen, protocol, hardware, fabric)
    return {"names": np.array([dataset.test.names[index] for index in chosen]),
            "predictions": np.stack([(positive(prediction) * 255).round().byte().cpu().numpy()
                                     for _, prediction in found])}


def warn_if_degenerate(counts: dict[str, np.ndarray]) -> None:
    """The commonest complaint: a prediction that is all black, or all of one grey."""
    kind = metrics.degenerate(counts, "validation")
    if kind:
        warnings.warn(f"The validation prediction is {kind}, whatever the threshold. {ADVICE}",
                      stacklevel=3)


def reset_peak_memory(hardware: Hardware) -> None:
    """Let the peak be this run's own."""
    if hardware.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):  # Linux alone can; elsewhere the peak is the process's
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mib(hardware: Hardware) -> int | None:
    """The most memory this process (or, on CUDA, its tensors) took; None on Windows.

    Pages of memory-mapped pictures count while they are in memory.
    """
    if hardware.device == "cuda":
        return round(torch.cuda.max_memory_allocated() / 2**20)
    if sys.platform == "win32":
        return None
    if (status := Path("/proc/self/status")).is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return round(int(line.split()[1]) / 2**10)
    import resource
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)  # macOS: in bytes


def describe_environment(hardware: Hardware, model, sampler: Sampler, seconds: dict) -> dict:
    """What `environment.json` says: versions, commit, device, seconds, peak memory."""
    cuda = hardware.device == "cuda"
    return {"python": platform.python_version(), "platform": platform.machine(),
            **{package: version(package) for package in PACKAGES}, "commit": COMMIT,
            "device": torch.cuda.get_device_name() if cuda else "cpu",
            "devices": hardware.ranks, "cores": os.cpu_count(), "threads": torch.get_num_threads(),
            "precision": hardware.precision, "memory_format": hardware.memory_format,
            "pixels_on_device": sampler.resident,
            "pretrained_encoder": sampler.protocol.encoder_weights is not None,
            **{name: round(value, 1) for name, value in seconds.items()},
            "peak_memory_mib": peak_memory_mib(hardware)}
