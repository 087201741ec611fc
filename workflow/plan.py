"""What the Snakefile executes: the notebooks of both papers, each with its parameters.

A job is one execution of a notebook by papermill. Notebooks 04 and 07 train networks: one job for
each loss, or several of at most `runs_per_job` runs. The other notebooks read the records of the
trained networks.
"""

import ast
import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import papermill
import torch
import yaml

from crackutils import data as datasets
from crackutils import files, records
from crackutils.data.layouts import recognise
from crackutils.data.samples import DataError
from crackutils.device import decide
from crackutils.losses import weight_text
from crackutils.papers import crack_tables, published, road_tables
from crackutils.protocol import (
    Protocol,
    check_values,
    preset,
    preset_of_runs,
    unknown_parameters,
)

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS, PACKAGE = ROOT / "notebooks", ROOT / "crackutils"
# the networks that Fig. 8 of paper A compares, and that the grid trains
NETWORKS = [{"levels": levels, "kernel": kernel} for levels in (4, 5) for kernel in (5, 7)]
# what a user may set, by `--config name=value` or by an environment variable of that name in
# capitals, and what it is otherwise
DEFAULTS = {"protocol": "quick", "cracks": "synthetic", "roads": "synthetic", "device": "auto",
            "runs": "", "parameters": "", "runs_per_job": "", "machines": 0}
# parameters of notebooks that these settings decide, so `parameters` must not
RESERVED = {"protocol", "data", "roads", "runs", "results", "device", "loss", "weights"}
# the jobs that have failed in this call: what reads their records is executed without them
FAILED = json.loads(os.environ.get("FAILED_JOBS", "[]"))
LOCKS = contextlib.ExitStack()  # held until this process ends


@dataclass(frozen=True)
class Settings:
    """What a user chose, checked. A data set is "synthetic" or the full path of a folder."""

    protocol: str
    cracks: list[str]  # data sets
    roads: str  # a data set
    names: dict[str, str]  # of the data sets, as folders below `<runs>/<protocol>/`
    runs: Path
    shared: dict  # the parameters of all notebooks that have them
    gpus: int  # that a training asks for on each machine
    runs_per_job: int  # 0: all runs of a loss
    machines: int  # that share a training by torchrun; 0: no torchrun

    @property
    def overrides(self) -> dict:
        """The fields of the protocol that the user replaced."""
        return self.shared.get("overrides") or {}


@dataclass(frozen=True)
class Job:
    """One execution of a notebook, which is written to `<runs>/<protocol>/<dataset>/notebooks/`."""

    part: str  # "data", "theory", "cracks", "added", "figure 8", "grid", "roads" or "results"
    name: str  # of the executed notebook: the notebook's, and what distinguishes the job
    dataset: str
    parameters: dict
    trains: tuple[Protocol, ...] = ()

    @property
    def notebook(self) -> str:
        """The name of the notebook that is executed."""
        return self.name.split("-")[0]


def settings(config: Mapping, environment: Mapping, here: bool = True) -> Settings:
    """What a user chose. `ValueError` or `OSError` for what can't be right.

    `here` says whether the jobs run on this machine, so that a missing GPU is an error.
    """
    refuse_unknown("setting", config, DEFAULTS)
    given = {name: config.get(name, environment.get(name.upper(), default))
             for name, default in DEFAULTS.items()}
    if given["runs_per_job"] == "":  # a kernel's start is paid once for a loss; a cluster has room
        given["runs_per_job"] = 0 if here else 1
    extra, device = notebook_parameters(given["parameters"]), str(given["device"])
    protocols, runs = {}, files.resolve(str(given["runs"]) or None, "runs")
    for task in ("cracks", "roads"):
        protocol = preset_of_runs(str(given["protocol"]), task, extra.get("overrides"))
        hardware = decide(protocol, device if here or device != "cuda" else "auto")
        protocols[task] = protocol
    cracks = given["cracks"] if isinstance(given["cracks"], list) else [given["cracks"]]
    for name in ("runs_per_job", "machines"):
        if not str(given[name]).isdecimal():
            raise ValueError(f"{name} must be a whole number, got {given[name]!r}.")
    uses_gpu = device == "cuda" or here and hardware.device == "cuda"
    cracks, roads = [full_path(data) for data in cracks], full_path(given["roads"])
    names = {data: folder_name(data, protocols["cracks"], runs) for data in cracks}
    names[roads] = folder_name(roads, protocols["roads"], runs)
    return Settings(protocol.name, cracks, roads, names, runs,
                    {"runs": str(runs), "results": "", "device": device, **extra},
                    extra.get("devices", 1) if uses_gpu else 0,
                    int(given["runs_per_job"]), int(given["machines"]))


def refuse_unknown(kind: str, given, known) -> None:
    """`ValueError` if a name is not known."""
    if unknown := sorted(map(str, set(given) - set(known))):
        raise ValueError(f"Unknown {kind} {', '.join(unknown)}: expected some of "
                         f"{', '.join(sorted(known))}.")


def notebook_parameters(given) -> dict:
    """The notebook parameters that a user gave as a mapping, or as YAML for one."""
    try:
        extra = typed(given)
    except yaml.YAMLError as error:
        raise ValueError(f"PARAMETERS must be YAML like 'seeds: [0, 1]', got {given!r}: "
                         f"{error}") from error
    if not isinstance(extra or {}, dict):
        raise ValueError(f"PARAMETERS must be a mapping like 'seeds: [0, 1]', got {given!r}.")
    if reserved := RESERVED & set(extra or {}):
        raise ValueError(f"PARAMETERS can't set {', '.join(sorted(reserved))}: use the variables "
                         f"{', '.join(DEFAULTS).upper()}.")
    extra = extra or {}
    known = set().union(*(parameter_names(path.stem) for path in NOTEBOOKS.glob("*.ipynb")))
    if unknown := {name: value for name, value in extra.items() if name not in known}:
        raise ValueError(unknown_parameters(unknown, sorted(known)))
    check_values(extra)
    return extra


def typed(given):
    """What a text means in YAML; in a mapping or list --config leaves every number a text."""
    if isinstance(given, dict):
        return {name: typed(value) for name, value in given.items()}
    if isinstance(given, list):
        return [typed(value) for value in given]
    return yaml.safe_load(given) if isinstance(given, str) else given


@cache
def parameter_names(notebook: str) -> set[str]:
    """The names in a notebook's `parameters` cell."""
    return set(papermill.inspect_notebook(files.for_papermill(NOTEBOOKS / f"{notebook}.ipynb")))


def full_path(data) -> str:
    """"synthetic", or the full path of a folder, in which a link keeps its name."""
    return data if data == "synthetic" else str(files.absolute(str(data)))


def folder_name(data: str, protocol: Protocol, runs: Path) -> str:
    """The name of a data set's folder below `<runs>/<protocol>/`; `DataError` if a folder's data
    can't be read."""
    if data == "synthetic":
        return data
    if not Path(data).name.isprintable():
        raise DataError(f"The name of {data} must be printable text: rename the folder.")
    return datasets.load(data, protocol, runs).name


def jobs(chosen: Settings) -> dict[str, Job]:
    """All jobs by `<dataset>/<name>`; a notebook gets those shared parameters that it has."""
    planned = list(road_jobs(chosen))
    for data in chosen.cracks:
        planned += crack_jobs(chosen, data)
    result = {}
    for job in planned:
        known = parameter_names(job.notebook)
        given = {"protocol": chosen.protocol, **chosen.shared, **job.parameters}
        parameters = {name: value for name, value in given.items() if name in known}
        result[f"{job.dataset}/{job.name}"] = replace(job, parameters=parameters)
    return result


def crack_jobs(chosen: Settings, data: str) -> Iterator[Job]:
    """The jobs on a set of crack pictures: notebook 04 for each loss of paper A, for the networks
    of Fig. 8, and for the other networks of the grid; then what reads their records."""
    dataset, both = chosen.names[data], {"data": data, "roads": chosen.roads}
    yield Job("data", "01_data", dataset, both)
    yield Job("theory", "02_losses_by_hand", dataset, {})
    yield Job("theory", "03_audit", dataset, {})
    for loss in crack_tables.CRACK_LOSSES:
        part = "added" if loss == "bce" else "cracks"
        weights = crack_tables.published_weights(loss)
        yield from trainings(chosen, part, loss, data, loss, weights, {})
    protocol = preset(chosen.protocol, "cracks", chosen.overrides)
    for network in NETWORKS:
        if replace(protocol, **network) == protocol:
            continue  # trained above
        size = f"{network['levels']}x{network['kernel']}"
        if data == "synthetic":  # Fig. 8 shows predictions, which are recorded for these alone
            yield from trainings(chosen, "figure 8", f"figure8-{size}", data, "relu", [0.97],
                                 network)
        for loss in published.distinct_rows()["loss"].unique():
            weights = crack_tables.published_weights(loss)
            yield from trainings(chosen, "grid", f"{loss}-{size}", data, loss, weights, network)
    yield Job("results", "05_threshold_sweeps", dataset, {"data": data})
    yield Job("results", "08_figures", dataset, both)


def road_jobs(chosen: Settings) -> Iterator[Job]:
    """Notebook 07 for each loss of paper B, then for the table.

    If the labels distinguish direct from alternative area, BCE for direct area alone and cross
    entropy for three classes are trained too.
    """
    data = chosen.roads
    rows = road_tables.paper_rows(preset(chosen.protocol, "roads", chosen.overrides))
    for loss in dict.fromkeys(row.loss for row in rows):
        weights = [row.weight for row in rows if row.loss == loss]
        yield from trainings(chosen, "roads", loss, data, loss, weights, {})
    layout = chosen.overrides.get("layout", "auto")
    two_areas = data == "synthetic" or len(recognise(Path(data), layout).positive) == 2
    if two_areas and "classes" not in chosen.overrides:
        for classes, loss, fields in (
                ("direct", "bce", {"classes": "direct"}),
                ("three", "cross_entropy", {"classes": "three", "output": "sigmoid"})):
            yield from trainings(chosen, "roads", classes, data, loss, [None], fields)
    yield Job("results", "07_drivable_area", chosen.names[data], {"data": data})


def trainings(chosen: Settings, part: str, name: str, data: str, loss: str, weights: list,
              fields: dict) -> Iterator[Job]:
    """The jobs that train a loss with each weight and seed and these fields of the protocol."""
    task, notebook = ("roads", "07_drivable_area") if part == "roads" \
        else ("cracks", "04_train_cracks")
    overrides, seeds = chosen.overrides | fields, chosen.shared.get("seeds", [0])
    protocol = preset(chosen.protocol, task, overrides)
    size = chosen.runs_per_job
    for some_weights, some_seeds in shares(weights, seeds[:1] if part == "figure 8" else seeds,
                                           size):
        runs = tuple(protocol.with_run(loss, weight, seed)
                     for weight in some_weights for seed in some_seeds)
        share = f"-{weight_text(some_weights[0])}-{some_seeds[0]}" if size else ""
        yield Job(part, f"{notebook}-{name}{share}", chosen.names[data],
                  {"data": data, "loss": loss, "weights": json.loads(json.dumps(some_weights)),
                   "seeds": some_seeds, "overrides": overrides}, runs)


def shares(weights: list, seeds: list, size: int) -> Iterator[tuple[list, list]]:
    """Weights and seeds in parts of at most `size` runs; 0 stands for all in one part."""
    size = size or len(weights) * len(seeds)
    weights_of_part, seeds_of_part = max(1, size // len(seeds)), min(size, len(seeds))
    for start in range(0, len(weights), weights_of_part):
        for first in range(0, len(seeds), seeds_of_part):
            yield weights[start:start + weights_of_part], seeds[first:first + seeds_of_part]


def call(job: Job, chosen: Settings) -> dict:
    """What a job's script is called with. The job is run again when any of it changes."""
    parameters = job.parameters
    result = {"notebook": job.notebook, "parameters": parameters,
              "data": [state(parameters[name]) for name in ("data", "roads") if name in parameters]}
    if chosen.machines and job.trains:
        result |= {"machines": chosen.machines, "runs": [run.as_dict() for run in job.trains]}
    return result


@cache
def state(data: str) -> str:
    """What changes when a file of a data folder is added, removed or written."""
    found = []
    for folder, _, names in os.walk(data) if data != "synthetic" else []:
        for path in (os.path.join(folder, name) for name in names):
            found.append((path, os.stat(path).st_size, os.stat(path).st_mtime_ns))
    return hashlib.sha256(ascii(sorted(found)).encode()).hexdigest()[:16]


@cache
def sources(path: Path) -> list[Path]:
    """The files that decide what a notebook or script computes: itself, the modules of this
    repository that it imports, those that they import, and the published tables if one of them
    reads these."""
    found, waiting = set(), [path]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += imported(path)
    if Path(published.__file__) in found:
        found |= set(published.PUBLISHED.glob("*.csv"))
    return sorted(found)


def imported(path: Path) -> list[Path]:
    """The files of this repository that a module, or the code of a notebook, imports."""
    code = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        code = "\n".join("".join(cell["source"]) for cell in json.loads(code)["cells"]
                         if cell["cell_type"] == "code")
    places = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = [node.module] if isinstance(node, ast.ImportFrom) else []
            for alias in node.names:
                place = files.ROOT.joinpath(*".".join([*module, alias.name]).split("."))
                places |= {place, *place.parents}
    return [file for place in places if files.ROOT in place.parents
            for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()]


def count_gpus() -> int:
    """The number of GPUs that trainings on this machine may use, one or more each."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") \
        or ",".join(map(str, range(torch.cuda.device_count())))
    os.environ["CUDA_VISIBLE_DEVICES"] = visible  # of which each job takes its own
    return len(visible.split(","))


def several_machines(chosen: Settings) -> dict[str, int | str]:
    """What a training that several machines share asks Slurm for."""
    if chosen.machines < 2:
        return {}
    return {"mpi": "srun", "nodes": chosen.machines, "tasks": chosen.machines}


def prepare(chosen: Settings, planned: dict[str, Job]) -> None:
    """Make sure that no other program works on these runs, and that lost records are made again.

    `TimeoutError` if one does. The lock ends with this process, so Snakemake's own lock, which a
    killed process leaves behind, is not needed. The executed notebook of a training is deleted if
    the record of a run is missing or damaged, so that it is executed again.
    """
    folder = chosen.runs / chosen.protocol
    if not FAILED:  # else the program that has the lock has started this one
        LOCKS.enter_context(files.locked(folder / records.LOCK, wait=False))
    shutil.rmtree(chosen.runs / ".snakemake" / "locks", ignore_errors=True)
    for job in planned.values():
        notebook = folder / job.dataset / "notebooks" / f"{job.name}.ipynb"
        places = records.records_folder(chosen.runs, chosen.protocol, job.dataset)
        if notebook.exists() and not all(records.intact(places, run) for run in job.trains):
            notebook.unlink()
