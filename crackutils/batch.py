"""The whole pipeline through papermill: `python -m crackutils.batch --help`.

Each stage executes one notebook, a training notebook once for each family of losses. A stage that
fails is named with its log; the other trainings still run, and no finished run is lost: the next
call goes on where this one stopped.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import papermill
import yaml

from crackutils import report, runs, tables
from crackutils.datasets import parts_of
from crackutils.protocol import as_list, preset
from crackutils.training import decide

CRACK_LOSSES = ("mse", "bce", "balanced_step", "squared_balanced_step", "step", "relu")
ROAD_LOSSES = ("tversky", "dice", "bce", "bce_dice")
FIGURE_8 = [{"levels": levels, "kernel": kernel} for levels in (4, 5) for kernel in (5, 7)]
# set by the command line or by the plan of stages, so not by -y
OWN_OPTIONS = {"protocol", "data", "roads", "runs", "results", "device", "loss", "weights"}
NOTEBOOKS = runs.ROOT / "notebooks"


@dataclass(frozen=True)
class Stage:
    """A notebook with its parameters; `name` is the executed notebook's."""

    name: str
    notebook: str
    parameters: dict
    dataset: str
    trains: bool = False  # the stages that only read wait for these


def stages(protocol: str, cracks: str, roads: str, shared: dict) -> list[Stage]:
    """All stages in order; `shared` goes to every notebook that has such a parameter."""
    crack_data, road_data = dataset_name(cracks), dataset_name(roads)
    both = {"data": cracks, "roads": roads}
    training = [Stage(f"03_train_cracks-{loss}", "03_train_cracks",
                      {"data": cracks, "loss": loss, "weights": []}, crack_data, trains=True)
                for loss in CRACK_LOSSES]
    kernels = [Stage(f"03_train_cracks-figure8-{fields['levels']}x{fields['kernel']}",
                     "03_train_cracks", {"data": cracks, "loss": "relu", "weights": [0.97],
                                         "seeds": shared.get("seeds", [0])[:1],
                                         "overrides": (shared.get("overrides") or {}) | fields},
                     crack_data, trains=True)
               for fields in FIGURE_8 if cracks == "synthetic" and beyond(protocol, shared, fields)]
    road_training = [Stage(f"05_drivable_area-{loss}", "05_drivable_area",
                           {"data": roads, "loss": loss}, road_data, trains=True)
                     for loss in ROAD_LOSSES]
    chosen = [Stage("01_data", "01_data", both, crack_data),
              Stage("02_losses_by_hand", "02_losses_by_hand", {}, crack_data),
              *training, *kernels,
              Stage("04_threshold_sweeps", "04_threshold_sweeps", {"data": cracks}, crack_data),
              *road_training,
              Stage("05_drivable_area", "05_drivable_area", {"data": roads}, road_data),
              Stage("06_figures", "06_figures", both, crack_data)]
    given = {"protocol": protocol, **shared}
    return [Stage(stage.name, stage.notebook, known(stage.notebook, given) | stage.parameters,
                  stage.dataset, stage.trains) for stage in chosen]


def beyond(protocol: str, shared: dict, fields: dict) -> bool:
    """Whether these fields are other than the protocol's own: its own runs are made anyway."""
    overrides = shared.get("overrides") or {}
    return preset(protocol, "cracks", overrides | fields) != preset(protocol, "cracks", overrides)


def known(notebook: str, given: dict) -> dict:
    """Those of the given parameters that the notebook has."""
    names = parameter_names(notebook)
    return {name: value for name, value in given.items() if name in names}


def parameter_names(notebook: str) -> set[str]:
    """The names in a notebook's `parameters` cell."""
    return set(papermill.inspect_notebook(str(NOTEBOOKS / f"{notebook}.ipynb")))


def check_parameters(plan: list[Stage], shared: dict) -> None:
    """Refuse a parameter that no notebook has: papermill itself would only warn."""
    names = {notebook: parameter_names(notebook) for notebook in {s.notebook for s in plan}}
    for stage in plan:
        unknown = set(stage.parameters) - names[stage.notebook]
        if unknown:
            raise ValueError(f"{stage.notebook} has no parameter {', '.join(sorted(unknown))}: "
                             f"it knows {', '.join(sorted(names[stage.notebook]))}.")
    unknown = set(shared) - set().union(*names.values())
    if unknown:
        raise ValueError(f"No notebook has a parameter {', '.join(sorted(unknown))}: they know "
                         f"{', '.join(sorted(set().union(*names.values())))}.")


def dataset_name(data: str) -> str:
    return "synthetic" if data == "synthetic" else Path(data).expanduser().resolve().name


def execute(stage: Stage, folder: Path) -> str | None:
    """Run one stage; returns None, or the error in a line."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{stage.name}.log", "w", encoding="utf-8") as log:
        for attempt in (1, 2):
            try:
                papermill.execute_notebook(
                    str(NOTEBOOKS / f"{stage.notebook}.ipynb"), str(folder / f"{stage.name}.ipynb"),
                    parameters=stage.parameters, kernel_name="python3", progress_bar=False,
                    stdout_file=log, stderr_file=log)
                return None
            except Exception as error:  # whatever a cell raises is reported, with its log
                log.write(f"\n{error}\n")
                # two kernels that start at once can be given one port: worth one more try
                if attempt == 2 or "Address already in use" not in str(error):
                    return (str(error).strip() or repr(error)).splitlines()[-1]
    return None


def run(plan: list[Stage], protocol: str, runs_root: Path) -> tuple[list[str], dict]:
    """Execute the plan; returns the failures, and the seconds of each stage.

    Reading stages wait for all trainings to be whole.
    """
    failures, seconds, started = [], {}, time.monotonic()
    for number, stage in enumerate(plan, 1):
        if failures and not stage.trains:
            print(f"[{number:2}/{len(plan)}] {stage.name}: not run, a stage before it failed")
            continue
        folder = runs_root / protocol / stage.dataset / "notebooks"
        begun = time.monotonic()
        print(f"[{number:2}/{len(plan)}] {stage.name} ...", end="", flush=True)
        error = execute(stage, folder)
        spent = time.monotonic() - begun
        left = (time.monotonic() - started) / number * (len(plan) - number) / 60
        print(f" {spent:.0f} s, about {left:.0f} min left" if error is None else " FAILED")
        seconds[stage.name] = round(spent, 1)
        if error is not None:
            failures.append(f"{stage.name}: {error}\n  log: {folder / stage.name}.log\n"
                            f"  notebook: {folder / stage.name}.ipynb")
    return failures, seconds


def conclude(plan: list[Stage], protocol: str, runs_root: Path, seconds: dict) -> None:
    """Write the report and the stages' seconds, print the tables, say where everything lies."""
    folders = list(dict.fromkeys(runs_root / protocol / stage.dataset for stage in plan))
    notebooks = [runs_root / protocol / stage.dataset / "notebooks" / f"{stage.name}.ipynb"
                 for stage in plan]
    found = [path for folder in folders for path in sorted((folder / "tables").glob("*.csv"))]
    found.sort(key=lambda path: path.stem == "iou_table")  # paper A's first
    figures = [path for folder in folders for path in sorted((folder / "figures").glob("*.png"))]
    index = report.write_report(runs_root / protocol / "report",
                                f"Both papers at protocol {protocol}", notebooks, found, figures)
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


def main(words: list[str] | None = None) -> int:
    """The command: 0 if all went well, 1 if a stage failed, 2 for arguments that can't be right."""
    given = arguments(words)
    runs_root = runs.resolve(given.runs, "runs")
    try:
        extra = yaml.safe_load(given.parameters) or {}
        if not isinstance(extra, dict):
            raise ValueError(f"-y must be a mapping like 'seeds: [0, 1]', got {given.parameters}")
        own = OWN_OPTIONS & set(extra)
        if own:
            raise ValueError(f"{', '.join(sorted(own))} can't be set by -y: the command decides, "
                             "see --help.")
        for task in ("cracks", "roads"):
            decide(preset(given.protocol, task, extra.get("overrides")), given.device)
        as_list("seeds", extra.get("seeds", [0]))
        shared = {"runs": str(runs_root), "results": given.results, "device": given.device, **extra}
        places = [name if name == "synthetic" else str(Path(name).expanduser().resolve())
                  for name in (given.cracks, given.roads)]
        for place in places:
            if place != "synthetic":
                parts_of(Path(place))
        plan = stages(given.protocol, *places, shared)
        check_parameters(plan, shared)
    except (ValueError, FileNotFoundError, yaml.YAMLError) as error:
        print(error, file=sys.stderr)
        return 2
    started = time.monotonic()
    try:
        failures, seconds = run(plan, given.protocol, runs_root)
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
