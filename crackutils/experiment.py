"""Train a network, evaluate it and record the run, unless it has a complete record already.

`open_record` gives the trained network of a record, or of a model in `models/`.
"""

import dataclasses
import functools
import hashlib
import platform
import subprocess
import time
import traceback
import warnings
from contextlib import nullcontext, suppress
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from lightning.fabric import Fabric
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from crackutils import files, metrics, records
from crackutils.batches import Sampler
from crackutils.data import Dataset
from crackutils.data.picture_cache import Part
from crackutils.device import UNDER_TORCHRUN, Hardware, decide, launch, usable_cores
from crackutils.evaluation import NoProbabilitiesError, evaluate, positive, predictions
from crackutils.losses import label
from crackutils.models import build
from crackutils.protocol import UNET_FIELDS, Protocol, preset
from crackutils.records import COMPLETE, CONFIG, MODEL, RecordError
from crackutils.training import Trained, train

PACKAGES = ("torch", "segmentation-models-pytorch", "lightning", "numpy", "pillow")
KEPT_SAMPLES = 4
# what a network that is trained further keeps: what it is, and how its logits become probabilities
SHAPE = ("task", "architecture", "classes", *UNET_FIELDS, "output")
ADVICE = ("Likely causes: too few steps or too low a learning_rate; masks that are empty, inverted "
          "or not those of their images (look at 01_data); a class so rare that the loss prefers "
          "to ignore it (try relu, bce or a larger weight); batch norm with tiny batches.")


def complete(protocol: Protocol, dataset: Dataset, runs: Path, results: Path | None,
             device: str = "auto", devices: int = 1, strategy: str = "auto",
             num_nodes: int = 1, unseen: dict[str, Part] | None = None,
             initial: Path | None = None) -> Path:
    """The folder of a run's complete record: found in `runs`, then in `results`, else made now.

    An unfinished run is resumed. A run that is made now is also counted on `unseen`, parts of other
    data sets by name. `initial` is the folder of the model that a protocol of `fine_tuning` starts
    from. `device`, `devices` (GPUs, or processes on a CPU), `strategy` and `num_nodes`
    are those of `crackutils.device.decide`, whose errors are raised; `RecordError` if there are
    several records of the run, or a checkpoint that is not its own.
    """
    roots = {"runs": runs} | ({"results": results} if results else {})
    existing = records.find(roots, protocol, dataset.name, dataset.fingerprint)
    if existing is not None:
        source, record = existing
        print(f"{source}: complete, not trained again")
        warn_if_degenerate(records.read_arrays(record / "counts.npz"))
        return record
    hardware = decide(protocol, device, devices, strategy, num_nodes)
    decided = dataclasses.replace(protocol, precision=hardware.precision)
    record = records.record_folder(runs, decided, dataset.name, dataset.fingerprint)
    records.warn_of_other_precision(record, protocol, dataset.fingerprint)
    records.move_aside(record)
    if not records.is_unfinished(record):
        records.note_other_steps(record, decided, dataset.fingerprint)
    share = functools.partial(make, protocol=decided, dataset=dataset, hardware=hardware,
                              record=record, unseen=unseen or {}, initial=initial)
    if UNDER_TORCHRUN:  # its processes give up if one of them waits long: `make` takes the lock
        launch(hardware, share)
    else:
        with files.locked(record / records.LOCK):
            if not records.is_complete(record):  # a program that held the lock may have made it
                try:
                    launch(hardware, share)
                except Exception as error:
                    with suppress(OSError):  # of a full disk
                        (record / records.FAILED).write_text(f"{type(error).__name__}: {error}\n")
                    raise
    warn_if_degenerate(records.read_arrays(record / "counts.npz"))
    return record


def complete_all(runs: list[Protocol], *args, **kwargs) -> list[Path]:
    """`complete` for each run. One that fails keeps none of the others from being made.

    `RuntimeError`, when all were tried, that names those that failed.
    """
    made, failures = [], []
    for run in runs:
        try:
            made.append(complete(run, *args, **kwargs))
        except Exception as error:
            traceback.print_exc()
            failures.append(f"{label(run.loss, run.weight)} seed {run.seed} "
                            f"({type(error).__name__}: {error})")
    if failures:
        raise RuntimeError(f"{len(failures)} of {len(runs)} runs failed: {'; '.join(failures)}")
    return made


def open_record(folder: Path) -> tuple[nn.Module, Protocol]:
    """The trained network of a record, or of a model in `models/`, and its protocol.

    Both folders hold `config.json` and `model.safetensors`, which holds numbers and no code. The
    network is on the CPU and in evaluation mode. `RecordError` unless the folder is a complete
    record of this format whose files are as they were written and whose weights are finite numbers
    of the shapes that its protocol needs.
    """
    retrain = "Train it again, or choose another record or model."
    if not (folder / CONFIG).is_file():
        raise RecordError(f"{folder} is no record and no model: expected a folder with {CONFIG} "
                          f"and {MODEL}, as crackutils train prints it.")
    if not records.is_complete(folder):
        raise RecordError(f"{folder} has no {COMPLETE}: its training has not come to its end. "
                          "Start the same training again; it is resumed.")
    if names := records.damaged(folder):
        raise RecordError(f"{folder} is damaged ({', '.join(names)} missing or not as written). "
                          f"{retrain}")
    try:
        config = records.read_json(folder / CONFIG)
        if config["format"] != records.FORMAT:
            raise ValueError(f"it has format {config['format']}, expected {records.FORMAT}")
        protocol = Protocol.from_dict(config["protocol"])
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{folder / CONFIG} can't be used ({error}). {retrain}") from error
    if not (folder / MODEL).is_file():
        raise RecordError(f"{folder} has no {MODEL}: the committed records of results/ are kept "
                          f"without weights. {retrain}")
    model = build(dataclasses.replace(protocol, encoder_weights=None))  # all weights are replaced
    try:
        weights = load((folder / MODEL).read_bytes())
        model.load_state_dict(weights)
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise RecordError(f"{folder / MODEL} does not hold the network that {CONFIG} describes "
                          f"({reason}). {retrain}") from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
        raise RecordError(f"{folder / MODEL} holds weights that are no finite numbers. {retrain}")
    return model.eval(), protocol


def model_folder(name: str | Path) -> Path:
    """The folder of a model: that of `models/<name>` if there is one, else the folder `name`.

    `RecordError` if there is neither, with the models that there are.
    """
    models = files.ROOT / "models"
    if str(name) == Path(name).name and (models / name / CONFIG).is_file():
        return models / name
    folder = files.resolve(name)
    if not folder.is_dir():
        shipped = sorted(path.parent.name for path in models.glob(f"*/{MODEL}"))
        raise RecordError(f"There is no model {name}: expected one of "
                          f"{', '.join(shipped) or 'none that ship'}, or the folder of a record "
                          f"({folder} is no folder).")
    return folder


def fine_tuning(folder: Path, name: str, task: str, overrides: dict) -> Protocol:
    """The protocol of a training that starts from the weights of a record or a model.

    The network's shape is the model's. So are the loss with its weight, the framing with its tile
    and the augmentation, unless `overrides` replaces them; everything else is the preset's `name`.
    `RecordError` if the model can't be used; `ValueError` if task or `overrides` contradict the
    network's shape, or for what `preset` refuses.
    """
    _, trained = open_record(folder)
    wanted = {"task": task, **overrides}
    differing = [f"{field}={getattr(trained, field)} (not {wanted[field]})" for field in SHAPE
                 if field in wanted and wanted[field] != getattr(trained, field)]
    if differing:
        raise ValueError(f"{folder.name} has {', '.join(differing)}: a network that is trained "
                         "further keeps its shape.")
    if overrides.get("encoder_weights") is not None:
        raise ValueError(f"encoder_weights={overrides['encoder_weights']} would have no effect: "
                         f"the training starts from {folder.name}.")
    kept = ["augmentation", *SHAPE[1:]]
    for pair in (("loss", "weight"), ("framing", "tile")):
        if pair[0] not in overrides:  # the second one depends on it
            kept += pair
    fields = {field: getattr(trained, field) for field in kept}
    weights = (folder / MODEL).read_bytes()
    protocol = preset(name, task, fields | overrides | {"encoder_weights": None})
    return dataclasses.replace(protocol, initial_weights=hashlib.sha256(weights).hexdigest())


def first_network(protocol: Protocol, initial: Path | None) -> nn.Module:
    """The network before its first step: with the weights of the model `initial`, or drawn ones.

    `RecordError` unless `initial` is the model that the protocol names, or both are None.
    """
    network = build(protocol)
    weights = (initial / MODEL).read_bytes() if initial is not None else None
    if protocol.initial_weights != (weights and hashlib.sha256(weights).hexdigest()):
        raise RecordError(f"{initial} is not the model with which this training starts: expected "
                          f"weights of sha256 {protocol.initial_weights}.")
    if weights is not None:
        network.load_state_dict(load(weights))
    return network


def make(fabric: Fabric, protocol: Protocol, dataset: Dataset, hardware: Hardware,
         record: Path, unseen: dict[str, Part], initial: Path | None) -> None:
    """Train, evaluate and write the record, in each of the processes that share the run."""
    takes_lock = UNDER_TORCHRUN and fabric.is_global_zero
    with files.locked(record / records.LOCK, wait=False) if takes_lock else nullcontext():
        if hardware.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        with suppress(OSError):  # Linux only: the peak is then this run's and not the process's
            Path("/proc/self/clear_refs").write_text("5")
        code = commit()  # before the training: a commit made meanwhile is not the code that trained
        if fabric.is_global_zero:
            records.write_config(record, protocol, dataset.name, dataset.fingerprint)
        checkpoints = records.Checkpoints(record, protocol, dataset.fingerprint, hardware)
        model = first_network(protocol, initial)
        sampler = Sampler(dataset.train, protocol, fabric.device, fabric.global_rank,
                          fabric.world_size)
        validate = functools.partial(validation_iou, model, dataset.validation, protocol, hardware,
                                     fabric)
        trained = train(fabric, model, sampler, hardware, checkpoints, validate)
        if fabric.world_size > 1:  # batch norm that is not synchronised differs by process
            model.load_state_dict(fabric.broadcast(model.state_dict()))
        evaluation_start = time.monotonic()
        parts = {"validation": dataset.validation, "test": dataset.test, **unseen}
        counts = evaluate(model, parts, protocol, hardware, fabric)
        if fabric.is_global_zero:
            samples = sample_predictions(model, dataset, protocol, hardware, fabric)
            seconds = {"training_seconds": trained.seconds,
                       "checkpoint_seconds": checkpoints.seconds,
                       "evaluation_seconds": time.monotonic() - evaluation_start}
            records.save(record, protocol, dataset.name, dataset.fingerprint,
                         environment(hardware, sampler, code, seconds), history(trained), counts,
                         samples, model.state_dict())
        fabric.barrier()


def validation_iou(model, part: Part, protocol: Protocol, hardware: Hardware,
                   fabric: Fabric) -> float:
    """Pooled IoU of the positive class on the validation part at threshold .5, for the curve.

    Several processes share out the images. If batch norm is not synchronised, each predicts its
    images with statistics of its own.
    """
    try:
        counts = evaluate(model, {"validation": part}, protocol, hardware, fabric, details=False)
    except NoProbabilitiesError:
        # the predictions are NaN, so the next training loss will be too; that error names the batch
        return float("nan")
    return float(metrics.scores(counts, "validation")["iou"][metrics.at_threshold(counts, 0.5)])


def history(trained: Trained) -> pd.DataFrame:
    """`step`, `loss` and, after the steps where it was measured, `validation_iou`."""
    table = pd.DataFrame({"step": range(1, len(trained.losses) + 1), "loss": trained.losses})
    if trained.validation:
        table["validation_iou"] = table["step"].map(trained.validation)
    return table


def sample_predictions(model, dataset: Dataset, protocol: Protocol, hardware: Hardware,
                       fabric: Fabric) -> dict[str, np.ndarray] | None:
    """The arrays of `samples.npz`: `names`, and `predictions` as uint8 N x H x W (255 means 1).

    The samples are the first test images with a positive pixel. None for photographs, whose
    predictions are not kept, and None if no image has a positive pixel.
    """
    if dataset.name != "synthetic":
        return None
    chosen = [index for index, sample in enumerate(dataset.test) if sample.mask.any()]
    chosen = chosen[:KEPT_SAMPLES]
    if not chosen:
        return None
    levels = [(positive(prediction) * 255).round().byte().cpu().numpy() for _, prediction
              in predictions(model, dataset.test, chosen, protocol, hardware, fabric)]
    return {"names": np.array([dataset.test.names[index] for index in chosen]),
            "predictions": np.stack(levels)}


def warn_if_degenerate(counts: dict[str, np.ndarray]) -> None:
    """Warn if the validation prediction is `degenerate`, and name the likely causes."""
    kind = metrics.degenerate(counts, "validation")
    if kind:
        warnings.warn(f"The validation prediction is {kind}, whatever the threshold. {ADVICE}",
                      stacklevel=3)


@functools.cache
def commit() -> str | None:
    """The commit of the code, with `-dirty` behind it if files differ from it. None where the code
    is no git checkout, or where there is no program git. The answer stays the same while the
    process lives, as does the code that it has imported."""
    if not (files.ROOT / ".git").exists():
        return None
    with suppress(FileNotFoundError):
        answer = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=40"],
                                cwd=files.ROOT, capture_output=True, text=True, check=False)
        return answer.stdout.strip() or None
    return None


def peak_memory_mib(hardware: Hardware) -> int | None:
    """The peak memory of this process in MiB (on CUDA: of its tensors); None if not measurable. On
    a CPU it is measured on Linux only. Pictures in mapped files count while they are in memory."""
    if hardware.device == "cuda":
        return round(torch.cuda.max_memory_allocated() / 2**20)
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return round(peaks[0] / 2**10) if peaks else None


def environment(hardware: Hardware, sampler: Sampler, code: str | None, seconds: dict) -> dict:
    """The content of `environment.json`: versions, commit, hardware, seconds, peak memory."""
    cuda = hardware.device == "cuda"
    return {"format": records.FORMAT, "python": platform.python_version(),
            "platform": platform.machine(), **{package: version(package) for package in PACKAGES},
            "opencv": cv2.__version__, "commit": code,
            "device": torch.cuda.get_device_name() if cuda else "cpu",
            "devices": hardware.ranks, "cores": usable_cores(), "threads": torch.get_num_threads(),
            "precision": hardware.precision, "memory_format": hardware.memory_format,
            "pixels_on_device": sampler.resident,
            "pretrained_encoder": sampler.protocol.encoder_weights is not None,
            **{name: round(value, 1) for name, value in seconds.items()},
            "peak_memory_mib": peak_memory_mib(hardware)}
