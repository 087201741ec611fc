"""Train the networks of a study: python benchmarks/study.py cracks --data FOLDER [--device cuda]

`cracks` trains the losses whose recall of fine cracks is compared, each with every seed, the most
important losses first. Each network is also counted on the folders that `--unseen` names. `choices`
trains the squared error once more for each choice that paper A leaves open, with the protocol
`quick`. `roads` trains paper B's losses with every seed, then the added losses and the other values
of the choices that the paper leaves open, with one seed each.

A run that has its record is not trained again, and one that was cut short is resumed: where time on
a machine is limited, start the command again until it prints "open: none". To share a machine's
cores between several calls, give each a part of the runs, such as `--part 1/2`.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for machines without `make setup`
from crackutils import data as datasets
from crackutils import experiment, files, records
from crackutils.device import decide
from crackutils.models import with_available_weights
from crackutils.papers import fine_cracks, road_tables
from crackutils.protocol import Protocol, preset_of_runs


def crack_runs(protocol: Protocol, seeds: list[int]) -> list[Protocol]:
    """Every run, the most important first; a seed's runs follow one another."""
    blocks = (fine_cracks.FIRST_SETTINGS, fine_cracks.OTHER_SETTINGS)
    return [protocol.with_run(loss, weight, seed) for block in blocks for seed in seeds
            for loss, weight in block]


def choice_runs(protocol: Protocol, seeds: list[int]) -> list[Protocol]:
    """The squared error as the protocol has it, then with one open choice made otherwise."""
    return [replace(protocol.with_run("mse", None, seed), **fields) for seed in seeds
            for fields in ({}, *fine_cracks.OPEN_CHOICES.values())]


def road_runs(protocol: Protocol, seeds: list[int]) -> list[Protocol]:
    """Every run, the most important first."""
    rows = road_tables.paper_rows(protocol)
    runs = [protocol.with_run(row.loss, row.weight, seed) for seed in seeds for row in rows]
    runs += [protocol.with_run(loss, weight, 0) for loss, weight in road_tables.ADDED_RUNS]
    for choice in road_tables.OPEN_CHOICES:
        run = protocol.with_run(choice.loss, choice.other_weight, choice.seed)
        runs.append(replace(run, **choice.fields))
    return runs


def arguments() -> argparse.Namespace:
    """The command line, parsed."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("cracks", "choices", "roads"))
    parser.add_argument("--data", default="synthetic", help="synthetic (default), or a folder")
    parser.add_argument("--unseen", nargs="*", default=[], metavar="FOLDER",
                        help="folders on all of whose pictures each network is counted too")
    parser.add_argument("--protocol", default="cpu", help="the preset (default: cpu)")
    parser.add_argument("--runs", help="where the records are written (default: the repository's "
                        "runs/)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--minutes", type=float, default=1e9,
                        help="after so many minutes no further run is started")
    parser.add_argument("--part", default="1/1", help="2/3: every third run from the second on")
    parser.add_argument("-y", "--overrides", default="", metavar="YAML",
                        help="fields of the protocol to replace, such as '{tile: [352, 480]}'")
    return parser.parse_args()


def main() -> None:
    given, begun = arguments(), time.monotonic()
    fields = yaml.safe_load(given.overrides)
    task = "roads" if given.task == "roads" else "cracks"
    protocol = with_available_weights(preset_of_runs(given.protocol, task, fields))
    root = files.resolve(given.runs, "runs")
    dataset = datasets.load(given.data, protocol, root)
    unseen = {Path(folder).name: datasets.load_undivided(folder, protocol, root)
              for folder in given.unseen}
    runs_of = {"cracks": crack_runs, "choices": choice_runs, "roads": road_runs}[given.task]
    runs = runs_of(protocol, given.seeds)
    part, parts = map(int, given.part.split("/"))
    remaining = []
    for run in runs[part - 1::parts]:
        if time.monotonic() - begun > 60 * given.minutes:
            decided = replace(run, precision=decide(run, given.device).precision)
            remaining.append(records.run_id(decided, dataset.fingerprint))
        else:
            print(experiment.complete(run, dataset, root, None, given.device, unseen=unseen))
    print("open:", ", ".join(remaining) or "none")


if __name__ == "__main__":
    main()
