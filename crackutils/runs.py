"""The record of a run: where it lies, what is in it, and how it is written so that none is lost.

`<runs>/<protocol>/<dataset>/records/<run-id>/` holds `config.json`, `environment.json`,
`history.csv`, `counts.npz`, `samples.npz` (synthetic data only) and `model.safetensors`. Each file
is written to the side and renamed; `complete.json` comes last and makes the record count.
"""

import io
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save as safetensors_bytes

from crackutils.protocol import Protocol

ROOT = Path(__file__).resolve().parent.parent
COMPLETE = "complete.json"
CHECKPOINT = "checkpoint.pt"


def resolve(folder: str | Path, default: str) -> Path:
    """A folder a user gave, against the working directory; `default` against the repository."""
    return (ROOT / default if str(folder) == default else Path(folder).expanduser()).resolve()


def optional(folder: str, default: str) -> Path | None:
    """`resolve`, or None for an empty name."""
    return resolve(folder, default) if folder else None


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


def write_atomically(path: Path, content: bytes) -> None:
    """Write to the side, force to disk, rename: the file is whole or the old one."""
    side = path.with_name(f".{path.name}.part")
    with open(side, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    side.replace(path)


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
         losses: list[float], counts: dict, samples: dict | None, model: dict) -> None:
    """Write a whole record, `complete.json` last, and drop the checkpoint."""
    record.mkdir(parents=True, exist_ok=True)
    write_json(record / "config.json", {"protocol": protocol.as_dict(), "dataset": dataset,
                                        "fingerprint": fingerprint})
    write_json(record / "environment.json", environment)
    history = pd.DataFrame({"step": range(1, len(losses) + 1), "loss": losses})
    write_atomically(record / "history.csv", history.to_csv(index=False).encode())
    write_arrays(record / "counts.npz", counts)
    if samples is not None:
        write_arrays(record / "samples.npz", samples)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.items()}
    write_atomically(record / "model.safetensors", safetensors_bytes(weights))
    write_json(record / COMPLETE, {"run": record.name})
    (record / CHECKPOINT).unlink(missing_ok=True)


def save_checkpoint(record: Path, state: dict) -> None:
    """Tensors and plain numbers of a run under way."""
    record.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(record / CHECKPOINT, buffer.getvalue())


def load_checkpoint(record: Path) -> dict | None:
    """The last checkpoint, or None; nothing executable in it is run."""
    path = record / CHECKPOINT
    return torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None
