"""The command behind `make reproduce`: execute the notebooks of both papers and write a report.

    python -m workflow.reproduce --help

A stage is one execution of a notebook by papermill. Each training notebook is executed once for
each loss, before the notebooks that read the records of the trained networks. If a stage fails,
the command names it and its log, and the other trainings still run. Finished records are kept: the
same command, started again, trains only what is missing.
"""

import argparse
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pandas as pd
import papermill
import psutil
import torch
import yaml

from crackutils import data as datasets
from crackutils import files
from crackutils.data.layouts import recognise
from crackutils.data.samples import DataError, file_errors, printable
from crackutils.device import decide, usable_cores
from crackutils.papers import crack_tables, road_tables
from crackutils.protocol import (
    ParameterError,
    Protocol,
    check_values,
    preset,
    preset_of_runs,
    unknown_parameters,
)
from workflow import report

NOTEBOOKS = files.ROOT / "notebooks"
CRACK_LOSSES = ("mse", "bce", "balanced_step", "squared_balanced_step", "step", "relu")
# the networks that Fig. 8 of paper A compares
FIGURE_8 = [{"levels": levels, "kernel": kernel} for levels in (4, 5) for kernel in (5, 7)]
# the tables that a notebook writes
TABLES = {"05_threshold_sweeps": "table*.csv", "07_drivable_area": "iou_table*.csv"}
# parameters that other options of the command line set, so -y must not
RESERVED = {"protocol", "data", "roads", "runs", "results", "device", "loss", "weights"}
STOP_SECONDS = 10  # how long a process that was asked to end may take, before it is killed
ROOM = 2**20  # bytes: a disk with less is full
# Papermill; on Linux it is sent SIGTERM when this command dies, however that happens.
PAPERMILL = """import ctypes, os, signal, sys
if sys.platform == "linux":
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
    if os.getppid() != {parent}:
        sys.exit("the command that started papermill has died")
from papermill.cli import papermill
papermill()"""


@dataclass(frozen=True)
class Stage:
    """One execution of a notebook.

    `name` is the name of the executed notebook and of its log, `dataset` the folder below
    `<runs>/<protocol>/` that they are written to. `trainings` is the number of networks that the
    stage trains; a stage that trains none reads the records of those before it.
    """

    name: str
    notebook: str
    parameters: dict
    dataset: str
    trainings: int = 0


def stages(protocol: str, cracks: str, roads: str, shared: dict,
           names: tuple[str, str] = ("synthetic", "synthetic")) -> list[Stage]:
    """All stages in their order. `cracks` and `roads` are "synthetic" or a data folder, `names` are
    those of the two data sets.

    A notebook gets those of the `shared` parameters that it has. `ValueError` if a stage sets a
    parameter that its notebook does not have: papermill itself would only warn.
    """
    both = {"data": cracks, "roads": roads}
    crack_dataset, road_dataset = names
    planned = [Stage("01_data", "01_data", both, crack_dataset),
               Stage("02_losses_by_hand", "02_losses_by_hand", {}, crack_dataset),
               Stage("03_audit", "03_audit", {}, crack_dataset),
               *crack_trainings(protocol, cracks, shared, crack_dataset),
               Stage("05_threshold_sweeps", "05_threshold_sweeps", {"data": cracks}, crack_dataset),
               *road_trainings(protocol, roads, shared, road_dataset),
               Stage("07_drivable_area", "07_drivable_area", {"data": roads}, road_dataset),
               Stage("08_figures", "08_figures", both, crack_dataset)]
    result = []
    for stage in planned:
        known = parameter_names(NOTEBOOKS / f"{stage.notebook}.ipynb")
        if unknown := set(stage.parameters) - known:
            raise ValueError(f"{stage.notebook} has no parameter {', '.join(sorted(unknown))}: "
                             f"it has {', '.join(sorted(known))}.")
        given = {"protocol": protocol, **shared, **stage.parameters}
        parameters = {name: value for name, value in given.items() if name in known}
        result.append(replace(stage, parameters=parameters))
    return result


def crack_trainings(protocol: str, cracks: str, shared: dict, dataset: str) -> list[Stage]:
    """Notebook 04 for each loss of paper A, and for the networks of Fig. 8.

    Fig. 8 shows predictions, which are recorded for synthetic data only.
    """
    seeds = shared.get("seeds", [0])
    result = []
    for loss in CRACK_LOSSES:
        parameters = {"data": cracks, "loss": loss, "weights": []}
        trainings = len(seeds) * len(crack_tables.published_weights(loss))
        result.append(Stage(f"04_train_cracks-{loss}", "04_train_cracks", parameters, dataset,
                            trainings))
    if cracks != "synthetic":
        return result
    overrides = shared.get("overrides") or {}
    for fields in FIGURE_8:
        replaced = overrides | fields
        if preset(protocol, "cracks", replaced) == preset(protocol, "cracks", overrides):
            continue  # the stage of ReLU weighting trains this network
        parameters = {"data": cracks, "loss": "relu", "weights": [0.97], "seeds": seeds[:1],
                      "overrides": replaced}
        result.append(Stage(f"04_train_cracks-figure8-{fields['levels']}x{fields['kernel']}",
                            "04_train_cracks", parameters, dataset, 1))
    return result


def road_trainings(protocol: str, roads: str, shared: dict, dataset: str) -> list[Stage]:
    """Notebook 07 for each loss of paper B.

    If the labels distinguish direct from alternative area, two more stages follow: BCE for direct
    area alone, and cross entropy for three classes.
    """
    seeds = shared.get("seeds", [0])
    overrides = shared.get("overrides") or {}
    losses = [row.loss for row in road_tables.paper_rows(preset(protocol, "roads", overrides))]
    result = []
    for loss in dict.fromkeys(losses):
        result.append(Stage(f"07_drivable_area-{loss}", "07_drivable_area",
                            {"data": roads, "loss": loss}, dataset,
                            len(seeds) * losses.count(loss)))
    layout = overrides.get("layout", "auto")
    if roads != "synthetic" and len(recognise(Path(roads), layout).positive) != 2:
        return result
    if "classes" in overrides:
        return result
    for classes, loss, fields in (
            ("direct", "bce", {"classes": "direct"}),
            ("three", "cross_entropy", {"classes": "three", "output": "sigmoid"})):
        parameters = {"data": roads, "loss": loss, "overrides": overrides | fields}
        result.append(Stage(f"07_drivable_area-{classes}", "07_drivable_area", parameters, dataset,
                            len(seeds)))
    return result


@cache
def parameter_names(notebook: Path) -> set[str]:
    """The names in a notebook's `parameters` cell."""
    return set(papermill.inspect_notebook(for_papermill(notebook)))


def for_papermill(path: Path) -> str:
    """A path as papermill is given it: it puts parameters in place of names in braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def start(stage: Stage, folder: Path, threads: int) -> subprocess.Popen:
    """Execute a stage's notebook in a process of its own, whose output goes to the stage's log."""
    folder.mkdir(parents=True, exist_ok=True)
    source = for_papermill(NOTEBOOKS / f"{stage.notebook}.ipynb")
    executed = for_papermill(folder / f"{stage.name}.ipynb")
    command = [sys.executable, "-c", PAPERMILL.format(parent=os.getpid()), source, executed,
               "--kernel", "python3", "--no-progress-bar",
               "--stdout-file", "-", "--stderr-file", "-", "-y", yaml.safe_dump(stage.parameters)]
    with open(folder / f"{stage.name}.log", "w", encoding="utf-8") as log:
        # in a session of its own: Ctrl-C reaches this command alone, which then ends papermill
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True,
                                env=os.environ | {"OMP_NUM_THREADS": str(threads),
                                                  "PYTHONIOENCODING": "utf-8"})


def stop(processes: Iterable[subprocess.Popen]) -> None:
    """End processes with all that they started.

    A signal to papermill or its process group would not reach a kernel, which is the leader of a
    session of its own, nor the processes that share a training with it.
    """
    tree = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            papermill_process = psutil.Process(process.pid)
            tree += [*papermill_process.children(recursive=True), papermill_process]
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(tree, timeout=STOP_SECONDS)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=STOP_SECONDS)


def execute(phase: list[Stage], folder_of: Callable[[Stage], Path],
            jobs: int) -> Iterator[tuple[Stage, float, str | None]]:
    """Run stages, `jobs` at a time. Yields each stage when it has ended, with the time it began
    and, if it failed, the last line of its log."""
    threads = max(1, min(torch.get_num_threads(), usable_cores()) // jobs)
    waiting, running = [(stage, 1) for stage in phase], {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                stage, attempt = waiting.pop(0)
                print(f"{stage.name} ...", flush=True)
                process = start(stage, folder_of(stage), threads)
                running[process] = stage, attempt, time.monotonic()
            for process in [process for process in running if process.poll() is not None]:
                stage, attempt, begun = running.pop(process)
                if process.returncode == 0:
                    yield stage, begun, None
                    continue
                log = (folder_of(stage) / f"{stage.name}.log").read_text(
                    encoding="utf-8", errors="replace").strip()
                # two kernels that start at the same moment can be given the same port
                if "Address already in use" in log and attempt == 1:
                    waiting.insert(0, (stage, 2))
                    continue
                yield stage, begun, reason(log, process.returncode, folder_of(stage))
            time.sleep(0.1)
    finally:
        stop(running)


def reason(log: str, status: int, folder: Path) -> str:
    """Why a stage failed: the last line of its log, and what to do if the stage is not at fault."""
    last = log.splitlines()[-1] if log else f"ended with {status}"
    if "DeadKernelError" in last or status == -9:
        last += " (killed, probably because memory ran out: the same command resumes the work)"
    elif shutil.disk_usage(folder).free < ROOM:  # the log may have found no room either
        last += f" (the disk is full: make room for {folder}, the same command resumes the work)"
    return last


def run(plan: list[Stage], protocol: str, runs: Path,
        jobs: int) -> tuple[list[str], pd.DataFrame]:
    """Execute the plan. Returns the failures, and when each stage began and how long it took.

    Stages that only read wait for the trainings before them, and are not run if one of those
    failed.
    """
    failures, times, started = [], [], time.monotonic()

    def folder_of(stage: Stage) -> Path:
        return runs / protocol / stage.dataset / "notebooks"

    for trains, phase in itertools.groupby(plan, key=lambda stage: stage.trainings > 0):
        phase = sorted(phase, key=lambda stage: -stage.trainings)  # the longest first
        if failures and not trains:
            for stage in phase:
                print(f"{stage.name}: not run, a stage before it failed")
            continue
        with contextlib.closing(execute(phase, folder_of, jobs)) as ended:
            for stage, begun, error in ended:
                seconds, place = time.monotonic() - begun, folder_of(stage) / stage.name
                times.append((stage.name, round(begun - started, 1), round(seconds, 1)))
                left = time_left(plan, times, time.monotonic() - started)
                print(f"[{len(times):2}/{len(plan)}] {stage.name}: "
                      f"{'FAILED' if error else f'{seconds:.0f} s'}, {left} left", flush=True)
                if error is not None:
                    where = printable(str(place))
                    failures.append(f"{stage.name}: {printable(error)}\n  log: {where}.log\n"
                                    f"  notebook: {where}.ipynb")
    return failures, pd.DataFrame(times, columns=["stage", "begun", "seconds"])


def time_left(plan: list[Stage], times: list[tuple], spent: float) -> str:
    """An estimate of the time that the remaining stages take, from the time `spent` so far.

    A stage costs as much as its trainings, and a third of a training for the notebook itself.
    """
    weights = {stage.name: stage.trainings + 0.3 for stage in plan}
    done = sum(weights[name] for name, *_ in times)
    minutes = spent * (sum(weights.values()) - done) / done / 60
    return f"about {minutes:.0f} min" if minutes > 1 else "a minute or less"


def conclude(plan: list[Stage], protocol: str, runs: Path, times: pd.DataFrame) -> None:
    """Write the report and the stages' times, print the tables, and say where everything lies."""
    root = runs / protocol
    folders = list(dict.fromkeys(root / stage.dataset for stage in plan))
    notebooks, tables, figures = [], [], []
    for stage in plan:
        notebooks.append(root / stage.dataset / "notebooks" / f"{stage.name}.ipynb")
        if stage.name in TABLES:  # an earlier call may have left tables of other stages there
            tables += sorted((root / stage.dataset / "tables").glob(TABLES[stage.name]))
    for folder in folders:
        figures += sorted((folder / "figures").glob("*.png"))
    index = report.write_report(root / "report", f"Both papers at protocol {protocol}", notebooks,
                                tables, figures)
    times.to_csv(index.parent / "stages.csv", index=False)
    for table in tables:
        print(f"\n{printable(table.parent.parent.name)}: {table.stem}")
        print(crack_tables.paper_beside_ours(pd.read_csv(table)).to_string(index=False, na_rep="",
                                                                float_format="{:.3f}".format))
    print(f"\nreport    {printable(str(index))}")
    for folder in folders:
        for name in ("tables", "figures", "notebooks", "records"):
            print(f"{name:9} {printable(str(folder / name))}")


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The command line, parsed."""
    parser = argparse.ArgumentParser(
        prog="python -m workflow.reproduce",
        description="Train every network of both papers and make every table and figure.")
    parser.add_argument("--protocol", default="quick",
                        help="the preset: smoke, quick (default), cpu or paper")
    parser.add_argument("--cracks", default="synthetic", metavar="FOLDER",
                        help="a folder of crack photographs (default: synthetic ones)")
    parser.add_argument("--roads", default="synthetic", metavar="FOLDER",
                        help="a folder of road scenes (default: synthetic ones)")
    parser.add_argument("--runs", metavar="FOLDER",
                        help="where records and tables are written (default: the repository's "
                        "runs/)")
    parser.add_argument("--results", default="", metavar="FOLDER",
                        help="finished records that are used instead of training (default: none)")
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    parser.add_argument("--jobs", type=int, choices=range(1, 65), metavar="N",
                        help="how many notebooks are executed at a time (default: 2 on a CPU of "
                        "two cores or more, 1 on a GPU)")
    parser.add_argument("-y", "--parameters", default="", metavar="YAML",
                        help="more notebook parameters, such as 'seeds: [0, 1, 2]'")
    return parser.parse_args(words)


def checked(given: argparse.Namespace) -> tuple[tuple[str, str], tuple[str, str], dict, int]:
    """The command line's two data sets, each with its name, the parameters that all notebooks
    share, and the jobs.

    `ValueError` or `OSError` for arguments that can't be right.
    """
    try:
        extra = yaml.safe_load(given.parameters) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"-y must be YAML like 'seeds: [0, 1]', got {given.parameters!r}: "
                         f"{error}") from error
    if not isinstance(extra, dict):
        raise ValueError(f"-y must be a mapping like 'seeds: [0, 1]', got {given.parameters!r}.")
    if reserved := RESERVED & set(extra):
        raise ValueError(f"{', '.join(sorted(reserved))} can't be set by -y: the command decides, "
                         "see --help.")
    known = set().union(*map(parameter_names, NOTEBOOKS.glob("*.ipynb")))
    if unknown := {name: extra[name] for name in extra.keys() - known}:
        raise ParameterError(unknown_parameters(unknown, sorted(known)))
    check_values(extra)
    runs, protocols = files.resolve(given.runs, "runs"), []
    for task in ("cracks", "roads"):
        protocols.append(preset_of_runs(given.protocol, task, extra.get("overrides")))
        device = decide(protocols[-1], given.device, extra.get("devices", 1)).device
    cracks, roads = (checked_data(data, protocol, runs) for data, protocol
                     in zip((given.cracks, given.roads), protocols))
    results = str(files.optional(given.results, "results") or "")
    shared = {"runs": str(runs), "results": results,
              "device": given.device, **extra}
    # Two small networks train faster at the same time, on one core each, than one after the other
    # on both cores: all of `quick` took 9.6 minutes instead of 13.4.
    several = device == "cpu" and extra.get("devices", 1) == 1 and torch.get_num_threads() > 1
    return cracks, roads, shared, given.jobs or (2 if several else 1)


def checked_data(data: str, protocol: Protocol, runs: Path) -> tuple[str, str]:
    """"synthetic" or the full path of a folder, whose links keep their names, and what the data set
    is called below `<runs>/<protocol>/`; `DataError` unless it can be read."""
    if data == "synthetic":
        return data, data
    return str(files.absolute(data)), datasets.load(data, protocol, runs).name


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP of a closed terminal, raise `KeyboardInterrupt` as Ctrl-C does.

    The exception's argument is the signal's number. Later signals are ignored: nothing may
    interrupt the ending of what was started.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
        numbers.append(signal.SIGHUP)

    def interrupt(number, _):
        for ignored in numbers:
            signal.signal(ignored, signal.SIG_IGN)
        raise KeyboardInterrupt(number)

    previous = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def reproduce(given: argparse.Namespace) -> int:
    """Check the arguments, execute the plan, write the report; returns the exit status."""
    started = time.monotonic()
    try:
        cracks, roads, shared, jobs = checked(given)
    except (ValueError, OSError) as error:
        print(*map(printable, str(error).splitlines()), sep="\n", file=sys.stderr)
        return 2
    plan = stages(given.protocol, cracks[0], roads[0], shared, (cracks[1], roads[1]))
    runs = Path(shared["runs"])
    failures, times = run(plan, given.protocol, runs, jobs)
    if failures:
        print("", *failures, sep="\n", file=sys.stderr)
        return 1
    conclude(plan, given.protocol, runs, times)
    print(f"total     {time.monotonic() - started:.0f} s")
    return 0


def main(words: list[str] | None = None) -> int:
    """The exit status: 0 if all went well, 1 if a stage failed or a file can't be written, 2 for
    arguments that can't be right, 128 and the signal's number if the command was interrupted."""
    given = arguments(words)
    try:
        with ended_by_signals(), file_errors():
            return reproduce(given)
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt as interruption:
        print("\ninterrupted: the same command resumes the work", file=sys.stderr)
        return 128 + (interruption.args[0] if interruption.args else signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())
