"""The command `crackutils`: examine a data folder, fetch a data set, train a network, find cracks.

The exit status is 0 if the command did what it says, 1 if it could not (a sentence on standard
error says why and what to do; `doctor` prints the errors that it found instead), 2 if it was called
wrongly, and 130 if it was interrupted.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from crackutils.files import resolve

DEFAULT_MODEL = "bce"  # of models/

# Each command imports what it needs itself: the imports take seconds, and --help should not.


class UsageError(Exception):
    """What is wrong with the command line, in a sentence."""


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn a `ValueError` into a `UsageError`, but no `RecordError`; also a decorator."""
    from crackutils.records import RecordError

    try:
        yield
    except RecordError:
        raise
    except ValueError as error:
        raise UsageError(str(error)) from error


def main(words: list[str] | None = None) -> int:
    """Run one command and return its exit status; `words` are the command line's by default.

    Only errors that a user can mend become a sentence. Any other exception is a fault of the
    program and keeps its traceback.
    """
    arguments = parser().parse_args(words)
    from crackutils.data.samples import DataError
    from crackutils.records import RecordError
    from crackutils.training import TrainingFailedError

    try:
        return arguments.run(arguments)
    except UsageError as error:
        status, sentence = 2, str(error)
    except (DataError, RecordError, TrainingFailedError, OSError) as error:
        status, sentence = 1, str(error)
    except KeyboardInterrupt:
        status, sentence = 130, "interrupted; the same command resumes its work"
    print(f"crackutils {arguments.command}: {' '.join(sentence.split())}", file=sys.stderr)
    return status


def parser() -> argparse.ArgumentParser:
    """The grammar of all commands; a command is described by the docstring of its function."""
    top = argparse.ArgumentParser(prog="crackutils", description=__doc__,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    choice = argparse.ArgumentParser(add_help=False)  # the options that choose a protocol
    choice.add_argument("--task", choices=("cracks", "roads"), default="cracks",
                        help="what the masks mark (default: cracks)")
    choice.add_argument("-y", "--overrides", default=[], action="append", metavar="YAML",
                        help="fields of the protocol to replace, such as "
                        "'{loss: relu, weight: 0.97, seed: 1}'; may be given several times")

    def add(run: Callable, summary: str, *parents) -> argparse.ArgumentParser:
        name = run.__name__.removeprefix("run_")
        command = commands.add_parser(name, help=summary, description=run.__doc__, parents=parents)
        command.set_defaults(run=run)
        return command

    doctor = add(run_doctor, "examine a folder of pictures and masks before training on it", choice)
    doctor.add_argument("folder", help="the data folder; it is not changed")

    download = add(run_download, "fetch a published data set")
    download.add_argument("name", help="name of the data set, such as metu; an unknown name lists "
                          "those that there are")
    download.add_argument("folder", type=Path, nargs="?",
                          help="where to put it (default: data/sets of the repository)")

    train = add(run_train, "train one network and evaluate it", choice)
    train.add_argument("data", nargs="?", default="synthetic",
                       help='"synthetic" (default) or a folder of pictures and masks')
    train.add_argument("--protocol", default="quick",
                       help="the preset: smoke, quick (default), study, cpu or paper")
    train.add_argument("--from", dest="initial", metavar="NAME|FOLDER",
                       help="train a model of models/, or a record, further: its shape is kept, "
                       "and so are its loss, tile and augmentation unless -y replaces them")
    train.add_argument("--runs", metavar="FOLDER",
                       help="where the record is written (default: runs of the repository)")
    device = dict(choices=("auto", "cpu", "cuda"), default="auto",
                  help="where the network computes (default: cuda if there is one)")
    train.add_argument("--device", **device)
    train.add_argument("--strategy", default="auto", help="how several processes share the run: "
                       "one of Lightning Fabric's strategies (default: ddp)")

    predict = add(run_predict, "find and measure the cracks in photographs")
    predict.add_argument("photographs", nargs="+", help="photographs, or folders with photographs")
    predict.add_argument("out", type=Path, help="the folder of the results, made if missing")
    predict.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME|FOLDER",
                         help=f"a model of models/, or a record (default: {DEFAULT_MODEL})")
    cut = predict.add_mutually_exclusive_group()
    cut.add_argument("--threshold", type=float, metavar="T", help="mark a pixel if the "
                     "network's output is at least T, above 0 and below 1 (default: the model's)")
    cut.add_argument("--missed-costs", type=float, metavar="K", help="choose the threshold so "
                        "that a missed crack pixel costs K times a false alarm")
    predict.add_argument("--probabilities", action="store_true",
                         help="write the predictions too, as PNG of 16 bits")
    size = predict.add_mutually_exclusive_group()
    size.add_argument("--mm-per-pixel", type=float, metavar="X",
                      help="size of a pixel on the wall, to measure in mm")
    size.add_argument("--scale", metavar="100mm=842px",
                      help="a known length in mm and in px, to measure in mm")
    predict.add_argument("--device", **device)

    export = add(run_export, "write a network as an ONNX file")
    export.add_argument("model", metavar="NAME|FOLDER", help="a model of models/, or a record")
    export.add_argument("file", type=Path, help="the file to write, such as model.onnx")
    return top


@usage_errors()
def protocol_of(arguments: argparse.Namespace, preset_name: str, initial: Path | None = None):
    """The protocol that the options ask for, of a training that starts from the model `initial` if
    there is one; `UsageError` if there is no such protocol."""
    import yaml

    from crackutils.experiment import fine_tuning
    from crackutils.protocol import preset

    fields = {}
    for text in arguments.overrides:
        refusal = UsageError(f"--overrides must be YAML like '{{loss: relu}}', got {text!r}.")
        try:
            given = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise refusal from error
        if isinstance(given, dict) and given.keys() == {"overrides"}:  # as notebooks take it
            given = given["overrides"]
        if not isinstance(given, dict):
            raise refusal
        fields |= given
    if initial is not None:
        return fine_tuning(initial, preset_name, arguments.task, fields)
    return preset(preset_name, arguments.task, fields)


def run_doctor(arguments: argparse.Namespace) -> int:
    """Examine a folder of pictures and masks.

    Errors would stop a training, warnings make its results doubtful, notes are facts worth knowing.
    The exit status is 1 if there is an error.
    """
    from crackutils.data.doctor import examine

    findings = examine(arguments.folder, protocol_of(arguments, "paper"))
    for finding in findings:
        print(finding)
    return int(any(finding.level == "error" for finding in findings))


def run_download(arguments: argparse.Namespace) -> int:
    """Fetch and unpack a published data set, and print its folder.

    For a data set that needs a login or has no lasting address, the command says what to fetch by
    hand and where to put it.
    """
    from crackutils.data.download import SOURCES, fetch

    if arguments.name not in SOURCES:
        raise UsageError(f"Unknown data set {arguments.name!r}: expected one of "
                         f"{', '.join(SOURCES)}.")
    print(fetch(arguments.name, resolve(arguments.folder, "data/sets")))
    return 0


def run_train(arguments: argparse.Namespace) -> int:
    """Train one network, evaluate it, and print its scores on the validation and the test part and
    the folder of its record.

    A run that has a complete record is not trained again; an interrupted one is resumed. With
    --from a trained network is trained further, for which few masks are enough. To share
    one run between several processes or machines, start it with torchrun: torchrun
    --nproc-per-node 2 -m crackutils.cli train ...
    """
    from crackutils import metrics, records
    from crackutils.data import load
    from crackutils.device import decide, fabric_for
    from crackutils.experiment import complete, model_folder
    from crackutils.models import with_available_weights

    initial = model_folder(arguments.initial) if arguments.initial is not None else None
    protocol = protocol_of(arguments, arguments.protocol, initial)
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's, on this machine
    machines = int(os.environ.get("WORLD_SIZE", "1")) // processes
    hardware = arguments.device, processes, arguments.strategy, machines
    with usage_errors():
        fabric_for(decide(protocol, *hardware))  # refuses a strategy that Fabric does not have
    protocol, runs = with_available_weights(protocol), resolve(arguments.runs, "runs")
    record = complete(protocol, load(arguments.data, protocol, runs), runs, None, *hardware,
                      initial=initial)
    if os.environ.get("RANK", "0") == "0":  # once, where several processes share the training
        counts = records.read_arrays(record / "counts.npz")
        threshold, scores = metrics.at_validation_threshold(counts)
        if reason := metrics.undefined(counts):
            print(f"no F1 and no IoU: {reason}")
        else:
            best = metrics.scores(counts, "validation")["f1_score"].max()
            print(f"validation part: F1 {best:.3f} at threshold {threshold:g}, the best one\n"
                  f"test part: F1 {scores['f1_score']:.3f}, IoU {scores['iou']:.3f}, precision "
                  f"{scores['precision']:.3f}, recall {scores['recall']:.3f} at the same threshold")
    print(record)
    return 0


def run_predict(arguments: argparse.Namespace) -> int:
    """Find the cracks in photographs, measure them, and print the path of the page that shows them.

    For each photograph there is a mask (PNG) and an overlay (JPEG), for all of them cracks.csv,
    cracks.geojson and index.html. Photographs that are finished are not done again, unless the
    model, the threshold or the scale changed. A photograph that can't be read is named, and the
    others go on; the exit status is then 1.
    """
    from crackutils.cracks.measurement import Scale
    from crackutils.cracks.photographs import PAGE, Settings, predict_photographs
    from crackutils.cracks.prediction import checked_threshold

    scale = None
    with usage_errors():
        if arguments.threshold is not None:
            checked_threshold(arguments.threshold)  # before the network is loaded
        if arguments.mm_per_pixel is not None:
            scale = Scale.of_pixel(arguments.mm_per_pixel)
        if arguments.scale is not None:
            scale = Scale.parse(arguments.scale)
    model = opened(arguments.model, arguments.device)
    threshold = arguments.threshold or model.default_threshold()
    if arguments.missed_costs is not None:
        with usage_errors():
            threshold = model.threshold_for(arguments.missed_costs)
    out = resolve(arguments.out)
    failures = predict_photographs(
        arguments.photographs, out, Settings(model, threshold, scale, arguments.probabilities))
    print(out / PAGE)
    return int(failures > 0)


@usage_errors()
def opened(model: str, device: str):
    """The `CrackModel` of this name or folder; `UsageError` for a device that is not there."""
    from crackutils.cracks.prediction import CrackModel
    from crackutils.experiment import model_folder

    return CrackModel(model_folder(model), device)


def run_export(arguments: argparse.Namespace) -> int:
    """Write a network as an ONNX file, which runs without PyTorch on pictures of any size.

    The file is checked: its probabilities differ by less than 1e-4 from PyTorch's.
    """
    from crackutils.cracks.export import export

    path = resolve(arguments.file)
    difference = export(opened(arguments.model, "cpu"), path)
    print(f"{path}: differs by at most {difference:.1g} from PyTorch")
    return 0


if __name__ == "__main__":
    sys.exit(main())
