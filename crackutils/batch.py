"""The whole pipeline through papermill: `python -m crackutils.batch --help`.

Each stage executes one notebook, a training notebook once for each family of losses. A stage that
fails is named with its log; the other trainings still run, and no finished run is lost: the next
call goes on where this one stopped.
"""

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path

import pandas as pd
import papermill
import yaml

from crackutils import plan as planned
from crackutils import report, runs, tables
from crackutils.datasets import parts_of
from crackutils.hardware import decide
from crackutils.plan import Stage, check_parameters, stages
from crackutils.protocol import as_list, preset

# set by the command line or by the plan of stages, so not by -y
OWN_OPTIONS = {"protocol", "data", "roads", "runs", "results", "device", "loss", "weights"}


def checked_place(data: str) -> str:
    """"synthetic", or a folder's whole path once it is seen to hold a data set."""
    if data != "synthetic":
        data = str(Path(data).expanduser().resolve())
        parts_of(Path(data))
    return data


@contextlib.contextmanager
def kernels_stderr_to(descriptor: int):
    """What a kernel says outside its cells goes to the log: it inherits this process's stderr."""
    kept = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def execute(stage: Stage, folder: Path) -> str | None:
    """Run one stage; returns None, or the error in a line."""
    folder.mkdir(parents=True, exist_ok=True)
    source, executed = planned.NOTEBOOKS / f"{stage.notebook}.ipynb", folder / f"{stage.name}.ipynb"
    with (open(folder / f"{stage.name}.log", "w", encoding="utf-8") as log,
          kernels_stderr_to(log.fileno())):
        for attempt in (1, 2):
            try:
                papermill.execute_notebook(
                    str(source), str(executed), parameters=stage.parameters,
                    kernel_name="python3", progress_bar=False, stdout_file=log, stderr_file=log)
                return None
            except Exception as error:  # whatever a cell raises is reported, with its log
                log.write(f"\n{error}\n")
                # two kernels that start at once can be given one port: worth one more try
                if attempt == 2 or "Address already in use" not in str(error):
                    return (str(error).strip() or repr(error)).splitlines()[-1]


def run(plan: list[Stage], protocol: str, runs_root: Path) -> tuple[list[str], dict]:
    """Execute the plan; returns the failures, and the seconds of each stage.

    Reading stages wait for all trainings to be whole.
    """
    failures, seconds, started = [], {}, time.monotonic()
    for number, stage in enumerate(plan, 1):
        if failures and not stage.trainings:
            print(f"[{number:2}/{len(plan)}] {stage.name}: not run, a stage before it failed")
            continue
        folder = runs_root / protocol / stage.dataset / "notebooks"
        begun = time.monotonic()
        print(f"[{number:2}/{len(plan)}] {stage.name} ...", end="", flush=True)
        error = execute(stage, folder)
        spent = time.monotonic() - begun
        # reading a notebook's records costs about a third of training one
        done, rest = (sum(one.trainings + 0.3 for one in part)
                      for part in (plan[:number], plan[number:]))
        left = (time.monotonic() - started) * rest / done / 60
        print(f" {spent:.0f} s, about {left:.0f} min left" if error is None else " FAILED")
        seconds[stage.name] = round(spent, 1)
        if error is not None:
            failures.append(f"{stage.name}: {error}\n  log: {folder / stage.name}.log\n"
                            f"  notebook: {folder / stage.name}.ipynb")
    return failures, seconds


def conclude(plan: list[Stage], protocol: str, runs_root: Path, seconds: dict) -> None:
    """Write the report and the stages' seconds, print the tables, say where everything lies."""
    root = runs_root / protocol
    folders = list(dict.fromkeys(root / stage.dataset for stage in plan))
    notebooks = [root / stage.dataset / "notebooks" / f"{stage.name}.ipynb" for stage in plan]
    found = [path for folder in folders for path in sorted((folder / "tables").glob("*.csv"))]
    found.sort(key=lambda path: path.stem == "iou_table")  # paper A's first
    figures = [path for folder in folders for path in sorted((folder / "figures").glob("*.png"))]
    index = report.write_report(root / "report", f"Both papers at protocol {protocol}", notebooks,
                                found, figures)
    stage_table = pd.DataFrame(list(seconds.items()), columns=["stage", "seconds"])
    stage_table.to_csv(index.parent / "stages.csv", index=False)
    for table in found:
        print(f"\n{table.stem}")
        print(tables.beside(pd.read_csv(table)).to_string(index=False, na_rep="",
                                                         float_format="{:.3f}".format))
    print(f"\nreport    {index}")
    for folder in folders:
        for name in ("tables", "figures", "notebooks", "records"):
            print(f"{name:9} {folder / name}")


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m crackutils.batch",
                                     description="Regenerate every table and figure.")
    parser.add_argument("--protocol", default="quick", help="smoke, quick, cpu or paper")
    parser.add_argument("--cracks", default="synthetic", help="a folder of crack photographs")
    parser.add_argument("--roads", default="synthetic", help="a folder of road scenes")
    parser.add_argument("--runs", default="runs", help="where records and tables are written")
    parser.add_argument("--results", default="", help="where finished records may be taken from")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("-y", "--parameters", default="", metavar="YAML",
                        help="more notebook parameters, such as 'seeds: [0, 1, 2]'")
    return parser.parse_args(words)


def checked(given: argparse.Namespace) -> list[Stage]:
    """The plan of a command line, after every check that needs no training: `ValueError`s."""
    extra = yaml.safe_load(given.parameters) or {}
    if not isinstance(extra, dict):
        raise ValueError(f"-y must be a mapping like 'seeds: [0, 1]', got {given.parameters}")
    if own := OWN_OPTIONS & set(extra):
        raise ValueError(f"{', '.join(sorted(own))} can't be set by -y: the command decides, "
                         "see --help.")
    for task in ("cracks", "roads"):
        decide(preset(given.protocol, task, extra.get("overrides")), given.device)
    as_list("seeds", extra.get("seeds", [0]))
    shared = {"runs": str(runs.resolve(given.runs, "runs")), "results": given.results,
              "device": given.device, **extra}
    plan = stages(given.protocol, checked_place(given.cracks), checked_place(given.roads), shared)
    check_parameters(plan, shared)
    return plan


def main(words: list[str] | None = None) -> int:
    """The command: 0 if all went well, 1 if a stage failed, 2 for arguments that can't be right."""
    given = arguments(words)
    runs_root, started = runs.resolve(given.runs, "runs"), time.monotonic()
    try:
        plan = checked(given)
        failures, seconds = run(plan, given.protocol, runs_root)
    except (ValueError, FileNotFoundError, yaml.YAMLError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on from here", file=sys.stderr)
        return 130
    if failures:
        print("\n" + "\n".join(failures), file=sys.stderr)
        return 1
    conclude(plan, given.protocol, runs_root, seconds)
    print(f"total     {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
