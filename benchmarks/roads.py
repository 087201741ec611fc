"""The runs of the road study: python benchmarks/roads.py --data FOLDER [--device cuda]

Paper B's seven losses with every seed, then the other losses and the register's other choices with
one. What has its record is not trained again, and a run that was cut short goes on: where time on a
machine is limited, call until none is open. Several calls at once, each with a part of the runs
(`--part 1/2`), share a machine's cores. `make readme` makes the tables of the committed records.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where nothing is installed
from crackutils import data as datasets
from crackutils import experiment, files, records
from crackutils.models import with_available_weights
from crackutils.papers import road_tables
from crackutils.protocol import Protocol, preset_of_runs


def study(protocol: Protocol, seeds: int) -> list[Protocol]:
    """Every run, in order of importance."""
    rows = [(row.loss, row.weight) for row in road_tables.paper_rows(protocol)]
    papers = [protocol.with_run(*row, seed) for seed in range(seeds) for row in rows]
    added = [protocol.with_run(*run, 0) for run in road_tables.ADDED]
    choices = [replace(protocol.with_run(one.loss, one.other_weight, one.seed), **one.fields)
               for one in road_tables.OPEN]
    return papers + added + choices


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder of road scenes, or synthetic")
    parser.add_argument("--protocol", default="cpu", help="smoke, quick, cpu or paper")
    parser.add_argument("--runs", help="where the records are written (default: runs/)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--seeds", type=int, default=5, help="of the paper's losses")
    parser.add_argument("--minutes", type=float, default=1e9, help="no run is begun after these")
    parser.add_argument("--part", default="1/1", help="2/3: every third run from the second on")
    parser.add_argument("-y", "--overrides", default="", metavar="YAML",
                        help="Protocol fields, such as '{tile: [352, 480]}'")
    return parser.parse_args()


def main() -> None:
    given, begun = arguments(), time.monotonic()
    fields = yaml.safe_load(given.overrides)
    protocol = with_available_weights(preset_of_runs(given.protocol, "roads", fields))
    root = files.resolve(given.runs, "runs")
    dataset = datasets.load(given.data, protocol, root)
    part, parts = map(int, given.part.split("/"))
    planned, left = study(protocol, given.seeds)[part - 1::parts], []
    for run in planned:
        if time.monotonic() - begun > 60 * given.minutes:
            left.append(records.run_prefix(run)[:-1])
        else:
            print(experiment.complete(run, dataset, root, None, given.device))
    print("open:", ", ".join(left) or "none")


if __name__ == "__main__":
    main()
