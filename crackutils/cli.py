"""The command `crackutils`: examine a data folder, fetch a data set, train a network.

Every command ends with exit status 0 if it did what it says, 1 if it could not (one sentence on
standard error says why and what to do), and 2 if it was called wrongly.
"""

import argparse
import os
import sys
from pathlib import Path

from crackutils.data.samples import DataError


def main(words: list[str] | None = None) -> int:
    """Run one command; `words` are the command line's arguments."""
    given = parser().parse_args(words)
    try:
        return given.run(given)
    except (DataError, ValueError, RuntimeError, OSError) as error:
        print(f"crackutils {given.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"crackutils {given.command}: interrupted; the same command resumes it",
              file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """The grammar of all commands."""
    top = argparse.ArgumentParser(prog="crackutils", description=__doc__,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_doctor(commands)
    add_download(commands)
    add_train(commands)
    return top


def add_doctor(commands) -> None:
    """`crackutils doctor FOLDER`."""
    doctor = commands.add_parser(
        "doctor", help="examine a folder of pictures and masks before training on it",
        description="Examine a folder of pictures and masks. Errors would stop a training, "
        "warnings make its results doubtful, notes are facts worth knowing. The exit status is 1 "
        "if there is an error.")
    doctor.add_argument("folder", help="the data folder; it is not changed")
    doctor.add_argument("--task", choices=("cracks", "roads"), default="cracks",
                        help="what the masks mark (default: cracks)")
    add_overrides(doctor)
    doctor.set_defaults(run=run_doctor)


def add_download(commands) -> None:
    """`crackutils download NAME [FOLDER]`."""
    from crackutils.data.download import SOURCES

    download = commands.add_parser(
        "download", help="fetch a published data set",
        description="Fetch and unpack a published data set, and print its folder. An interrupted "
        "download is resumed. For a data set that needs a login or has no lasting address, the "
        "command says what to fetch by hand and where to put it.")
    download.add_argument("name", choices=SOURCES, help="which data set: %(choices)s",
                          metavar="NAME")
    download.add_argument("folder", type=Path, nargs="?", default=Path("data/sets"),
                          help="where to put it (default: data/sets)")
    download.set_defaults(run=run_download)


def add_train(commands) -> None:
    """`crackutils train [DATA]`."""
    train = commands.add_parser(
        "train", help="train one network and evaluate it",
        description="Train one network, evaluate it, and print the folder of its record. A run "
        "that has a complete record is not trained again; an interrupted one is resumed. To share "
        "one run between several processes or machines, start it with torchrun: "
        "torchrun --nproc-per-node 2 -m crackutils.cli train ...")
    train.add_argument("data", nargs="?", default="synthetic",
                       help='"synthetic" (default) or a folder of pictures and masks')
    train.add_argument("--protocol", default="quick",
                       help="the preset: smoke, quick (default), cpu or paper")
    train.add_argument("--task", choices=("cracks", "roads"), default="cracks")
    train.add_argument("--runs", default="runs", help="where the record is written")
    train.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    train.add_argument("--strategy", default="auto",
                       help="how several processes share the run: one of Fabric's strategies")
    add_overrides(train)
    train.set_defaults(run=run_train)


def add_overrides(command: argparse.ArgumentParser) -> None:
    """The option that replaces fields of the protocol."""
    command.add_argument("-y", "--overrides", default="", metavar="YAML",
                         help="fields of the protocol to replace, such as "
                         "'{loss: relu, weight: 0.97, seed: 1}'")


def overrides_of(given: argparse.Namespace) -> dict | None:
    """The replaced fields as a mapping; `ValueError` if the text is no YAML."""
    import yaml

    try:
        return yaml.safe_load(given.overrides)
    except yaml.YAMLError as error:
        raise ValueError(f"--overrides must be YAML like '{{loss: relu}}', got "
                         f"{given.overrides!r}.") from error


def run_doctor(given: argparse.Namespace) -> int:
    """Print the findings of a folder, the most severe first."""
    from crackutils.data.doctor import examine
    from crackutils.protocol import preset

    findings = examine(given.folder, preset("paper", given.task, overrides_of(given)))
    for finding in findings:
        print(finding)
    return int(any(finding.level == "error" for finding in findings))


def run_download(given: argparse.Namespace) -> int:
    """Fetch a data set and print its folder."""
    from crackutils.data.download import fetch

    print(fetch(given.name, given.folder))
    return 0


def run_train(given: argparse.Namespace) -> int:
    """Train one network, or find its complete record, and print the record's folder."""
    from crackutils.data import load
    from crackutils.experiment import complete
    from crackutils.files import resolve
    from crackutils.models import with_available_weights
    from crackutils.protocol import preset

    protocol = with_available_weights(preset(given.protocol, given.task, overrides_of(given)))
    runs = resolve(given.runs, "runs")
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's, on this machine
    machines = int(os.environ.get("WORLD_SIZE", "1")) // processes
    print(complete(protocol, load(given.data, protocol, runs), runs, None, given.device, processes,
                   strategy=given.strategy, num_nodes=machines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
