"""The whole pipeline through papermill: `python -m workflow.reproduce --help`.

Each stage executes one notebook, a training notebook once for each family of losses. A stage that
fails is named with its log; the other trainings still run, and no finished run is lost: the next
call goes on where this one stopped.
"""

import argparse
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import torch
import yaml

from crackutils import files
from crackutils.data.layouts import recognise
from crackutils.device import decide
from crackutils.papers import crack_tables
from crackutils.protocol import as_list, preset_of_runs
from workflow import plan as planned
from workflow import report
from workflow.plan import Stage, check_parameters, stages

# the tables of the stages that write them
WRITES = {"05_threshold_sweeps": "table*.csv", "07_drivable_area": "iou_table*.csv"}
# set by the command line or by the plan of stages, so not by -y
OWN_OPTIONS = {"protocol", "data", "roads", "runs", "results", "device", "loss", "weights"}


def checked_place(data: str, layout: str) -> str:
    """"synthetic", or a folder's whole path once it is seen to hold a data set."""
    if data != "synthetic":
        data = str(Path(data).expanduser().resolve())
        recognise(Path(data), layout).parts(Path(data))
    return data


def start(stage: Stage, folder: Path, threads: int) -> subprocess.Popen:
    """Execute a stage's notebook in a process of its own; what it says goes to its log."""
    folder.mkdir(parents=True, exist_ok=True)
    source, executed = planned.NOTEBOOKS / f"{stage.notebook}.ipynb", folder / f"{stage.name}.ipynb"
    command = [sys.executable, "-m", "papermill", str(source), str(executed), "--kernel", "python3",
               "--no-progress-bar", "--stdout-file", "-", "--stderr-file", "-",
               "-y", yaml.safe_dump(stage.parameters)]
    with open(folder / f"{stage.name}.log", "w", encoding="utf-8") as log:
        return subprocess.Popen(command, stdout=log, stderr=log,
                                env=os.environ | {"OMP_NUM_THREADS": str(threads)})


def execute(phase: list[Stage], folder_of: Callable[[Stage], Path],
            jobs: int) -> Iterator[tuple[Stage, float, str | None]]:
    """Run stages, `jobs` at once; yields each that ended: its begin, the last line of its error."""
    threads = max(1, torch.get_num_threads() // jobs)
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
                said = (folder_of(stage) / f"{stage.name}.log").read_text(
                    encoding="utf-8", errors="replace").strip()
                # two kernels that start at once can be given one port: worth one more try
                if process.returncode and "Address already in use" in said and attempt == 1:
                    waiting.insert(0, (stage, 2))
                    continue
                last = said.splitlines()[-1] if said else f"ended with {process.returncode}"
                yield stage, begun, last if process.returncode else None
            time.sleep(0.1)
    finally:
        for process in running:  # interrupted: nothing is left running
            process.terminate()
        for process in running:
            process.wait()


def run(plan: list[Stage], protocol: str, runs_root: Path,
        jobs: int) -> tuple[list[str], pd.DataFrame]:
    """Execute the plan; returns the failures, and when each stage began and how long it took.

    Stages that only read wait for the trainings before them, and are left out if one failed.
    """
    failures, times, started = [], [], time.monotonic()

    def folder_of(stage: Stage) -> Path:
        return runs_root / protocol / stage.dataset / "notebooks"

    for trains, phase in itertools.groupby(plan, key=lambda stage: stage.trainings > 0):
        phase = sorted(phase, key=lambda stage: -stage.trainings)  # the longest first
        if failures and not trains:
            print("\n".join(f"{stage.name}: not run, a stage before it failed" for stage in phase))
            continue
        for stage, begun, error in execute(phase, folder_of, jobs):
            seconds, place = time.monotonic() - begun, folder_of(stage) / stage.name
            times.append((stage.name, round(begun - started, 1), round(seconds, 1)))
            left = time_left(plan, times, time.monotonic() - started)
            print(f"[{len(times):2}/{len(plan)}] {stage.name}: "
                  f"{'FAILED' if error else f'{seconds:.0f} s'}, {left} left", flush=True)
            if error is not None:
                failures.append(f"{stage.name}: {error}\n  log: {place}.log\n"
                                f"  notebook: {place}.ipynb")
    return failures, pd.DataFrame(times, columns=["stage", "begun", "seconds"])


def time_left(plan: list[Stage], times: list[tuple], spent: float) -> str:
    """What the stages that did not end will take: reading costs about a third of a training."""
    weights = {stage.name: stage.trainings + 0.3 for stage in plan}
    done = sum(weights[name] for name, *_ in times)
    minutes = spent * (sum(weights.values()) - done) / done / 60
    return f"about {minutes:.0f} min" if minutes > 1 else "a minute or less"


def conclude(plan: list[Stage], protocol: str, runs_root: Path, times: pd.DataFrame) -> None:
    """Write the report and the stages' times, print the tables, say where everything lies."""
    root = runs_root / protocol
    folders = list(dict.fromkeys(root / stage.dataset for stage in plan))
    notebooks = [root / stage.dataset / "notebooks" / f"{stage.name}.ipynb" for stage in plan]
    # an earlier run may have left tables of the other paper in a data set's folder
    found = [path for stage in plan if stage.name in WRITES
             for path in sorted((root / stage.dataset / "tables").glob(WRITES[stage.name]))]
    figures = [path for folder in folders for path in sorted((folder / "figures").glob("*.png"))]
    index = report.write_report(root / "report", f"Both papers at protocol {protocol}", notebooks,
                                found, figures)
    times.to_csv(index.parent / "stages.csv", index=False)
    for table in found:
        print(f"\n{table.parent.parent.name}: {table.stem}")
        print(crack_tables.beside(pd.read_csv(table)).to_string(index=False, na_rep="",
                                                         float_format="{:.3f}".format))
    print(f"\nreport    {index}")
    for folder in folders:
        for name in ("tables", "figures", "notebooks", "records"):
            print(f"{name:9} {folder / name}")


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workflow.reproduce",
                                     description="Regenerate every table and figure.")
    parser.add_argument("--protocol", default="quick", help="smoke, quick, cpu or paper")
    parser.add_argument("--cracks", default="synthetic", help="a folder of crack photographs")
    parser.add_argument("--roads", default="synthetic", help="a folder of road scenes")
    parser.add_argument("--runs", default="runs", help="where records and tables are written")
    parser.add_argument("--results", default="", help="where finished records may be taken from")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--jobs", type=int, choices=range(1, 65), metavar="N",
                        help="notebooks at once (default: 2 on a CPU of two cores or more, 1 on "
                        "a GPU)")
    parser.add_argument("-y", "--parameters", default="", metavar="YAML",
                        help="more notebook parameters, such as 'seeds: [0, 1, 2]'")
    return parser.parse_args(words)


def checked(given: argparse.Namespace) -> tuple[list[Stage], int]:
    """Plan and jobs of a command line, after every check that needs no training: `ValueError`s."""
    extra = yaml.safe_load(given.parameters) or {}
    if not isinstance(extra, dict):
        raise ValueError(f"-y must be a mapping like 'seeds: [0, 1]', got {given.parameters}")
    if own := OWN_OPTIONS & set(extra):
        raise ValueError(f"{', '.join(sorted(own))} can't be set by -y: the command decides, "
                         "see --help.")
    for task in ("cracks", "roads"):
        protocol = preset_of_runs(given.protocol, task, extra.get("overrides"))
        device = decide(protocol, given.device).device
    as_list("seeds", extra.get("seeds", [0]))
    shared = {"runs": str(files.resolve(given.runs, "runs")), "results": given.results,
              "device": given.device, **extra}
    places = [checked_place(data, protocol.layout) for data in (given.cracks, given.roads)]
    plan = stages(given.protocol, *places, shared)
    check_parameters(plan, shared)
    # two small networks, a core each, train faster than one after the other on both cores: the
    # whole of `quick` took 9.6 minutes, and 13.4 one at a time
    shares = device == "cuda" or extra.get("devices", 1) != 1
    return plan, given.jobs or (1 if shares else min(2, torch.get_num_threads()))


def main(words: list[str] | None = None) -> int:
    """The command: 0 if all went well, 1 if a stage failed, 2 for arguments that can't be right."""
    given = arguments(words)
    runs_root, started = files.resolve(given.runs, "runs"), time.monotonic()
    try:
        plan, jobs = checked(given)
        failures, times = run(plan, given.protocol, runs_root, jobs)
    except (ValueError, FileNotFoundError, yaml.YAMLError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on from here", file=sys.stderr)
        return 130
    if failures:
        print("\n" + "\n".join(failures), file=sys.stderr)
        return 1
    conclude(plan, given.protocol, runs_root, times)
    print(f"total     {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
