"""The record of a run: where it lies, what it holds, and how it is written so that none is lost.

`<runs>/<protocol>/<dataset>/records/<run-id>/` holds `config.json` (what decides the run),
`environment.json` (what it was computed with), `history.csv`, `counts.npz`, `samples.npz`
(synthetic data only) and `model.safetensors`. Each file is written to the side and renamed;
`complete.json`, which has the files' checksums, comes last, and a run without it counts as
unfinished. `failed.txt` says why a run failed.
"""

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import time
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save as safetensors_bytes

from crackutils.data.samples import note
from crackutils.device import Hardware
from crackutils.files import PART, write_atomically
from crackutils.losses import weight_text
from crackutils.protocol import Protocol

# Raised whenever the same protocol begins to give other numbers (draws, losses, evaluation) or
# files: a record of another format is not used.
FORMAT = 2
CONFIG, COMPLETE = "config.json", "complete.json"
CHECKPOINT, LOCK, FAILED = "checkpoint.pt", ".lock", "failed.txt"
MODEL = "model.safetensors"  # the one file that a record may lack: `results` has none
CHECKPOINT_SECONDS = 30  # at least, between two checkpoints
CHECKPOINT_SHARE = 0.02  # of the time, at most


class RecordError(ValueError):
    """What is wrong with a record or a checkpoint, and what to do, in a sentence."""


def run_id(protocol: Protocol, fingerprint: str) -> str:
    """`loss-weight-seed-hash8`; the hash is over the format, the protocol and the data.

    `ValueError` if the protocol leaves the precision open: runs in float32 and in bfloat16 differ.
    """
    if protocol.precision == "auto":
        raise ValueError("A run's precision must be decided (float32 or bfloat16), got auto: "
                         "crackutils.device.decide does that.")
    text = json.dumps([FORMAT, protocol.as_dict(), fingerprint], sort_keys=True)
    return f"{run_prefix(protocol)}{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def run_prefix(protocol: Protocol) -> str:
    """What the ids of all runs with this loss, weight and seed begin with."""
    return f"{protocol.loss}-{weight_text(protocol.weight)}-{protocol.seed}-"


def records_folder(root: Path, protocol_name: str, dataset: str) -> Path:
    """Where the records of a protocol and a data set lie below `runs` or `results`."""
    return root / protocol_name / dataset / "records"


def record_folder(root: Path, protocol: Protocol, dataset: str, fingerprint: str) -> Path:
    """Where one run's record lies, whether it is there or not."""
    return records_folder(root, protocol.name, dataset) / run_id(protocol, fingerprint)


def is_complete(record: Path) -> bool:
    """Whether the record's last file is there."""
    return (record / COMPLETE).is_file()


def is_unfinished(record: Path) -> bool:
    """Whether the run was begun, has a checkpoint, and has not come to its end."""
    return (record / CHECKPOINT).is_file() and not is_complete(record)


def find(roots: dict[str, Path], protocol: Protocol, dataset: str,
         fingerprint: str | None = None) -> tuple[str, Path] | None:
    """The complete record of exactly this protocol in the first root that has one, and its source.

    `roots` maps a name ("runs", "results") to a folder; the source is the record's path below it,
    with the name in front and without a machine's own folders. A protocol whose precision is "auto"
    takes a record of either precision, float32 (with a warning) if there are both. The fingerprint
    may be None where the data is not at hand: then a record of any data of that name fits.

    Faults that a record is known to have are printed. If none fits, but another version of the
    program has written records, a warning says so. `RecordError` if several records fit.
    """
    folders = {name: records_folder(root, protocol.name, dataset) for name, root in roots.items()}
    for name, folder in folders.items():
        matching = intact(folder, protocol, fingerprint)
        if matching:
            record = preferred(matching)
            for fault in read_json(record / CONFIG).get("known_faults", []):
                note(f"Known fault of records that are used here: {fault}")
            return (Path(name) / record.relative_to(roots[name])).as_posix(), record
    for folder in folders.values():
        warn_of_other_formats(folder, protocol)
    return None


def intact(folder: Path, protocol: Protocol, fingerprint: str | None = None) -> list[Path]:
    """The complete records of this protocol in a folder of records, without damaged ones."""
    return [record for record in same_prefix(folder, protocol)
            if is_complete(record) and matches(record, protocol, fingerprint)
            and not damaged(record)]


def has_failed(root: Path, protocol: Protocol, dataset: str) -> bool:
    """Whether this run failed when it was last tried."""
    folder = records_folder(root, protocol.name, dataset)
    return any((record / FAILED).is_file() and matches(record, protocol, None)
               for record in same_prefix(folder, protocol))


def damaged(record: Path) -> list[str]:
    """The files of a complete record that are not as they were written.

    None can be told for a record of an earlier version, which states no checksums.
    """
    try:
        stated = read_json(record / COMPLETE).get("sha256", {})
    except ValueError:
        return [COMPLETE]
    present = {name: record / name for name in stated if (record / name).is_file()}
    missing = [name for name in stated if name not in present and name != MODEL]
    return missing + [name for name, path in present.items()
                      if digest(path, path.stat().st_size, path.stat().st_mtime_ns) != stated[name]]


@functools.cache
def digest(path: Path, size: int, modified: int) -> str:
    """The sha256 of a file; it is read once for as long as its size and time stay the same."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def move_aside(record: Path) -> None:
    """Move a complete record that is damaged out of the way of a new one, and say so."""
    if not (is_complete(record) and (names := damaged(record))):
        return
    place = record.parent.with_name("damaged") / f"{record.name}-{time.time_ns()}"
    place.parent.mkdir(exist_ok=True)
    with contextlib.suppress(FileNotFoundError):  # another program was faster
        record.rename(place)
    warnings.warn(f"{record} is damaged ({', '.join(names)}): it was moved to {place}, and the run "
                  "is made again.", stacklevel=3)


def same_prefix(folder: Path, protocol: Protocol) -> list[Path]:
    """The runs with this loss, weight and seed, complete or not."""
    return sorted(folder.glob(f"{run_prefix(protocol)}*/"))


def matches(record: Path, protocol: Protocol, fingerprint: str | None) -> bool:
    """Whether a run is of this protocol, and of this data if a fingerprint is given.

    A precision of "auto" matches both precisions.
    """
    if not has_this_format(record, protocol):
        return False
    config, wanted = read_json(record / CONFIG), protocol.as_dict()
    if protocol.precision == "auto":
        wanted["precision"] = config["protocol"]["precision"]
    return config["protocol"] == wanted and fingerprint in (None, config["fingerprint"])


def has_this_format(record: Path, protocol: Protocol) -> bool:
    """Whether a run has this program's format, and its protocol the same fields as `protocol`, of
    which only that of a fine-tuned network has `initial_weights`."""
    if not (record / CONFIG).is_file():
        return False
    config = read_json(record / CONFIG)
    return config.get("format") == FORMAT \
        and config["protocol"].keys() ^ protocol.as_dict().keys() <= {"initial_weights"}


def preferred(matching: list[Path]) -> Path:
    """The record to use, of the complete records that match a protocol; see `find`."""
    configs = {record: read_json(record / CONFIG) for record in matching}
    precisions = {config["protocol"]["precision"] for config in configs.values()}
    fingerprints = {config["fingerprint"] for config in configs.values()}
    folder, names = matching[0].parent, ", ".join(record.name for record in matching)
    if len(fingerprints) > 1 or len(matching) > len(precisions):
        raise RecordError(f"{folder} holds {len(matching)} records of one run: {names}. They are "
                          "copies, or made from different data of the same name. Keep one.")
    if len(matching) == 1:
        return matching[0]
    warnings.warn(f"{folder} holds records of one run in float32 and in bfloat16 ({names}): the "
                  "one in float32 is used. State precision in overrides to choose.", stacklevel=3)
    return next(record for record, config in configs.items()
                if config["protocol"]["precision"] == "float32")


def warn_of_other_formats(folder: Path, protocol: Protocol) -> None:
    """Warn if a run with this loss, weight and seed was written by another version of the program.

    The numbers are those of the whole folder, so that one warning serves for all of its runs.
    """
    if all(has_this_format(run, protocol) for run in same_prefix(folder, protocol)):
        return
    others = [run for run in folder.iterdir()
              if run.is_dir() and not has_this_format(run, protocol)]
    complete = sum(is_complete(run) for run in others)
    unfinished = sum(is_unfinished(run) for run in others)
    if complete or unfinished:
        warnings.warn(f"{complete} complete records and {unfinished} unfinished runs in {folder} "
                      "were written by another version of this program (this one writes format "
                      f"{FORMAT}): they are neither used nor resumed. Use that version, or move "
                      "them away and train again.", stacklevel=3)


def warn_of_other_precision(record: Path, protocol: Protocol, fingerprint: str) -> None:
    """Warn if this run was begun in another precision than the one decided for `record`.

    `protocol` is the one that a user asked for: if it states a precision, no other is meant.
    """
    for run in same_prefix(record.parent, protocol):
        if run != record and is_unfinished(run) and matches(run, protocol, fingerprint):
            precision = read_json(run / CONFIG)["protocol"]["precision"]
            warnings.warn(f"{run} is this run, unfinished, in {precision}: it is not resumed, "
                          "since another precision was decided here. State precision in overrides "
                          "to resume it.", stacklevel=3)


def note_other_steps(record: Path, protocol: Protocol, fingerprint: str) -> None:
    """Say that a run is trained from its beginning though there is one with other `steps`."""
    for run in same_prefix(record.parent, protocol):
        if not (is_complete(run) or is_unfinished(run)) or not has_this_format(run, protocol):
            continue
        steps = read_json(run / CONFIG)["protocol"]["steps"]
        if run != record and matches(run, dataclasses.replace(protocol, steps=steps), fingerprint):
            note(f"{run} is the same run of {steps} steps. This one of {protocol.steps} begins at "
                 "step 0: a run's schedule depends on its number of steps, so none is continued.")


def environments_differ(folders: Iterable[Path]) -> str | None:
    """A sentence that says how the environments of some records differ, or None if they do not.

    The precision, the version of PyTorch and the device are compared: the numbers of records that
    differ in one of them are not strictly comparable.
    """
    environments = [read_json(folder / "environment.json") for folder in folders]
    titles = {"precision": "precision", "torch": "version of PyTorch", "device": "device"}
    differences = []
    for field, title in titles.items():
        values = sorted({str(environment.get(field, "unknown")) for environment in environments})
        if len(values) > 1:
            differences.append(f"{title} ({', '.join(values)})")
    if not differences:
        return None
    return f"These records were not made alike: they differ in {', '.join(differences)}."


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file, whole or not at all."""
    write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())


def read_json(path: Path) -> dict:
    """The content of a JSON file."""
    return json.loads(path.read_text())


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays into a compressed .npz file, whole or not at all."""
    write_atomically(path, functools.partial(np.savez_compressed, **arrays))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz file; `ValueError` if it holds Python objects, which could be code."""
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def write_config(record: Path, protocol: Protocol, dataset: str, fingerprint: str) -> None:
    """Write what decides a run. This is done first, so that an unfinished run is recognised."""
    record.mkdir(parents=True, exist_ok=True)
    write_json(record / CONFIG, {"format": FORMAT, "protocol": protocol.as_dict(),
                                 "dataset": dataset, "fingerprint": fingerprint})


def save(record: Path, protocol: Protocol, dataset: str, fingerprint: str, environment: dict,
         history: pd.DataFrame, counts: dict, samples: dict | None, model: dict) -> None:
    """Write a whole record, `complete.json` last, and drop the checkpoint."""
    write_config(record, protocol, dataset, fingerprint)
    write_json(record / "environment.json", environment)
    write_atomically(record / "history.csv", history.to_csv(index=False).encode())
    write_arrays(record / "counts.npz", counts)
    if samples is not None:
        write_arrays(record / "samples.npz", samples)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.items()}
    write_atomically(record / MODEL, safetensors_bytes(weights))
    # without config.json, to which a fault that becomes known later is added
    names = ["counts.npz", "environment.json", "history.csv", MODEL, "samples.npz"]
    checksums = {name: hashlib.sha256((record / name).read_bytes()).hexdigest()
                 for name in names if (record / name).is_file()}
    write_json(record / COMPLETE, {"run": record.name, "sha256": checksums})
    for name in (CHECKPOINT, FAILED):
        (record / name).unlink(missing_ok=True)


class Checkpoints:
    """A run's `checkpoint.pt`: tensors and plain numbers, and the run that they belong to.

    Each one is written to the side, forced to the disk and renamed: the one before stays until the
    new one is whole. A checkpoint is written every 30 s, or less often if writing is slow: at most
    2 % of the training time goes into checkpoints. `seconds` is the time that writing took, in all
    sessions together.
    """

    def __init__(self, record: Path, protocol: Protocol, fingerprint: str, hardware: Hardware):
        self.record, self.path = record, record / CHECKPOINT
        # precision and memory format as decided: the protocol may leave them open
        self.identity = {"format": FORMAT, **protocol.as_dict(), "fingerprint": fingerprint,
                         "device": hardware.device, "precision": hardware.precision,
                         "memory_format": hardware.memory_format}
        self.last, self.cost, self.seconds = time.monotonic(), 0.0, 0.0

    def due(self) -> bool:
        """Whether it is time for the next checkpoint."""
        pause = max(CHECKPOINT_SECONDS, self.cost / CHECKPOINT_SHARE)
        return time.monotonic() - self.last >= pause

    def save(self, state: dict) -> None:
        """Write the state of a training; `OSError` with what to do if the disk is full."""
        begun = time.monotonic()
        self.record.mkdir(parents=True, exist_ok=True)
        content = {"belongs": self.identity, "cost": (self.cost, self.seconds), **state}
        try:
            write_atomically(self.path, functools.partial(torch.save, content))
        except (OSError, RuntimeError) as error:  # PyTorch wraps an OSError
            raise OSError(f"The checkpoint after step {len(state['losses'])} could not be written "
                          f"to {self.record} ({error}). Make room and start again: the run is "
                          "resumed from the checkpoint before.") from error
        self.last = time.monotonic()
        self.cost = self.last - begun
        self.seconds += self.cost

    def load(self) -> dict | None:
        """The last checkpoint, or None; code in it is never run.

        Files that a killed process left half-written are deleted. `RecordError` for a checkpoint
        that can't be read or that is another run's, with the fields that differ.
        """
        for unfinished in self.record.glob(f".*{PART}"):
            unfinished.unlink()
        if not self.path.is_file():
            return None
        content = self.path.read_bytes()  # before the try: a failing disk is no damaged file
        try:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            saved, (cost, seconds) = dict(state["belongs"]), state["cost"]
        except MemoryError:
            raise
        except Exception as error:  # a damaged file fails in many ways
            raise RecordError(f"{self.path} is no checkpoint of this program, or damaged "
                              f"({type(error).__name__}): delete it to begin the run anew.") \
                from error
        differing = [f"{field} ({saved.get(field)!r} there, {value!r} here)"
                     for field, value in self.identity.items() if saved.get(field) != value]
        if differing:
            raise RecordError(f"{self.path} belongs to another run: {', '.join(differing)}. Delete "
                              "it or move it away.")
        self.cost, self.seconds = cost, seconds
        return state
