"""The record of a run: where it lies, what is in it, and how it is written so that none is lost.

`<runs>/<protocol>/<dataset>/records/<run-id>/` holds `config.json`, `environment.json`,
`history.csv`, `counts.npz`, `samples.npz` (synthetic data only) and `model.safetensors`. Each file
is written to the side and renamed; `complete.json` comes last and makes the record count.
"""

import contextlib
import io
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout
from safetensors.torch import save as safetensors_bytes

from crackutils.device import Hardware
from crackutils.files import PART, write_atomically
from crackutils.protocol import Protocol

COMPLETE = "complete.json"
CHECKPOINT, LOCK = "checkpoint.pt", ".lock"
CHECKPOINT_SECONDS = 30  # at least, between two checkpoints
CHECKPOINT_SHARE = 0.02  # of the time, at most






def records_folder(root: Path, protocol_name: str, dataset: str) -> Path:
    """Where the records of a protocol and a data set lie below `runs` or `results`."""
    return root / protocol_name / dataset / "records"


def record_folder(root: Path, protocol: Protocol, dataset: str, fingerprint: str) -> Path:
    """Where one run's record lies, whether it is there or not."""
    return records_folder(root, protocol.name, dataset) / protocol.run_id(fingerprint)


def is_complete(record: Path) -> bool:
    """Whether the record's last file is there."""
    return (record / COMPLETE).is_file()


def find(roots: dict[str, Path], protocol: Protocol, dataset: str,
         fingerprint: str | None = None) -> tuple[str, Path] | None:
    """The complete record of exactly this protocol in the first root that has one, and its source.

    `roots` maps a name ("runs", "results") to a folder; the source is the record's path below it,
    the name in front, without a machine's own folders. Tables are made where the data is not at
    hand, without its fingerprint: then two records of one protocol on different data of one name
    are refused with `ValueError`.
    """
    for name, root in roots.items():
        folder = records_folder(root, protocol.name, dataset)
        pattern = protocol.run_id("")[:-8] + "*"  # all but the hash
        found = [record for record in sorted(folder.glob(pattern)) if is_complete(record)
                 and matches(record, protocol, fingerprint)]
        if len(found) > 1:
            raise ValueError(f"{folder} holds {len(found)} records of one run, made from "
                             "different data of the same name: "
                             f"{', '.join(record.name for record in found)}. Keep one.")
        if found:
            return (Path(name) / found[0].relative_to(root)).as_posix(), found[0]
    return None


def matches(record: Path, protocol: Protocol, fingerprint: str | None) -> bool:
    """Whether a record is of this protocol, and of this data if a fingerprint is given."""
    config = read_json(record / "config.json")
    known = config["protocol"].keys() <= protocol.as_dict().keys()
    return known and Protocol.from_dict(config["protocol"]) == protocol \
        and fingerprint in (None, config["fingerprint"])




def environments_differ(folders: Iterable[Path]) -> str | None:
    """One sentence if these records differ in precision, device or PyTorch version, else None."""
    environments = [read_json(folder / "environment.json") for folder in folders]
    differing = []
    for field in ("precision", "device", "torch"):
        values = {str(environment[field]) for environment in environments if field in environment}
        if len(values) > 1:
            differing.append(f"{field} ({', '.join(sorted(values))})")
    if not differing:
        return None
    return f"These {len(environments)} records differ in {' and '.join(differing)}."


def write_json(path: Path, content: dict) -> None:
    write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def save(record: Path, protocol: Protocol, dataset: str, fingerprint: str, environment: dict,
         history: pd.DataFrame, counts: dict, samples: dict | None, model: dict) -> None:
    """Write a whole record, `complete.json` last, and drop the checkpoint."""
    record.mkdir(parents=True, exist_ok=True)
    write_json(record / "config.json", {"protocol": protocol.as_dict(), "dataset": dataset,
                                        "fingerprint": fingerprint})
    write_json(record / "environment.json", environment)
    write_atomically(record / "history.csv", history.to_csv(index=False).encode())
    write_arrays(record / "counts.npz", counts)
    if samples is not None:
        write_arrays(record / "samples.npz", samples)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.items()}
    write_atomically(record / "model.safetensors", safetensors_bytes(weights))
    write_json(record / COMPLETE, {"run": record.name})
    (record / CHECKPOINT).unlink(missing_ok=True)


class Checkpoints:
    """A run's `checkpoint.pt`: tensors and plain numbers, beside the run they belong to.

    Each is written to the side, forced to disk and renamed: the one before stays until the new one
    is whole. They come every 30 s, or so seldom that, from what the last one cost, writing them
    takes at most 2 % of the time. `seconds` is what writing took, in all sessions.
    """

    def __init__(self, record: Path, protocol: Protocol, fingerprint: str, hardware: Hardware):
        self.record, self.path = record, record / CHECKPOINT
        # precision and layout as they were decided: the protocol may say "auto"
        self.belongs = {**protocol.as_dict(), "fingerprint": fingerprint,
                        "device": hardware.device, "precision": hardware.precision,
                        "memory_format": hardware.memory_format}
        self.last, self.cost, self.seconds = time.monotonic(), 0.0, 0.0

    def due(self) -> bool:
        return time.monotonic() - self.last >= max(CHECKPOINT_SECONDS, self.cost / CHECKPOINT_SHARE)

    def save(self, state: dict) -> None:
        """Write the state; `OSError` with what to do where the disk is full."""
        begun = time.monotonic()
        self.record.mkdir(parents=True, exist_ok=True)
        try:
            write_atomically(self.path, lambda file: torch.save(
                {"belongs": self.belongs, "cost": (self.cost, self.seconds)} | state, file))
        except (OSError, RuntimeError) as error:  # PyTorch's writer wraps what the disk says
            raise OSError(f"The checkpoint after step {len(state['losses'])} could not be written "
                          f"to {self.record} ({error}). Make room and start again: the run goes on "
                          "from the checkpoint before.") from error
        self.last = time.monotonic()
        self.cost = self.last - begun
        self.seconds += self.cost

    def load(self) -> dict | None:
        """The last checkpoint, or None; nothing executable in it is run.

        `ValueError` for one that can't be read, or is another run's, with the fields that differ.
        """
        if not self.path.is_file():
            return None
        content = self.path.read_bytes()  # what the disk says is no damage
        try:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            theirs, (cost, seconds) = dict(state["belongs"]), state["cost"]
        except MemoryError:
            raise
        except Exception as error:  # a damaged file fails in many ways
            raise ValueError(f"{self.path} is no checkpoint of this program, or damaged "
                             f"({type(error).__name__}): delete it to begin the run anew.") \
                from error
        differing = [f"{field} ({theirs.get(field)!r} there, {value!r} here)"
                     for field, value in self.belongs.items() if theirs.get(field) != value]
        if differing:
            raise ValueError(f"{self.path} is another run's: {', '.join(differing)}. Delete or "
                             "move it.")
        self.cost, self.seconds = cost, seconds
        return state


@contextlib.contextmanager
def alone(record: Path, wait: bool = True) -> Iterator[None]:
    """Let one program at a time work on a run: a second waits, and says so, or is refused.

    The lock is the operating system's: it ends with the process, however that ends.
    """
    record.mkdir(parents=True, exist_ok=True)
    lock = FileLock(record / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        if not wait:
            raise RuntimeError(f"{record.name}: another program is at this run. Start again when "
                               "it has ended.") from error
        print(f"{record.name}: another program is at this run, waiting for it to end", flush=True)
        lock.acquire()
    for left in record.glob(f".*{PART}"):  # of a process that was killed
        left.unlink()
    try:
        yield
    finally:
        if is_complete(record):  # who still waits for the lock will find the run complete
            (record / LOCK).unlink(missing_ok=True)
        lock.release()
