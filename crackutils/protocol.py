"""Every choice of a run, as one frozen and validated record.

Much of what the papers leave open (normalisation, up-sampling, schedule, augmentation, ...) is a
field of `Protocol`, and its default is what this repository chose. Fixed in the code are the
optimiser, Adam, and the division of the data (`data/split.py`). The protocol, the data and the
versions of the software describe a run completely.
"""

import dataclasses
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, get_args, get_origin

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.functional_validators import AfterValidator

from crackutils.losses import THREE_CLASS, check_weight

# The types of the fields. pydantic checks a value by its type, strictly: 2.0 and True are no whole
# numbers. The text at the end is what an error message says was expected.
AtLeastZero = Annotated[int, Field(ge=0), "a whole number of at least 0"]
Seed = Annotated[int, Field(ge=0, lt=2**63), "a whole number of at least 0 and below 2**63"]
AtLeastOne = Annotated[int, Field(ge=1), "a whole number of at least 1"]
# YAML, JSON and papermill have lists in place of tuples
FromList = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
Pair = Annotated[tuple[AtLeastOne, AtLeastOne], FromList, "2 whole numbers of at least 1"]
Triple = Annotated[tuple[AtLeastOne, AtLeastOne, AtLeastOne], FromList,
                   "3 whole numbers of at least 1"]
Weight = Annotated[float | Annotated[tuple[float, float], FromList] | None,
                   "a number, a pair of numbers such as [0.3, 0.7], or None"]
Smoothing = Annotated[float, Field(ge=0, allow_inf_nan=False), "a number of at least 0"]
LearningRate = Annotated[float, Field(gt=0, allow_inf_nan=False),
                         "a number above 0 (in YAML write 0.0001, since 1e-4 is read as text)"]
Level = Annotated[int, Field(ge=0, le=255)]
MaskLevel = Annotated[int, Field(ge=0, le=65535)]
MaskValue = Annotated[MaskLevel | Annotated[tuple[Level, Level, Level], FromList] | None,
                      "a whole number from 0 to 65535, a colour such as [255, 0, 0], or None"]
TrueOrFalse = Annotated[bool, "true or false"]
Text = Annotated[str, "a text"]
Layout = Literal["auto", "plain", "metu", "crackforest", "deepcrack", "crack500", "bdd100k",
                 "bdd100k_legacy", "camvid"]


@dataclass(frozen=True)
class Protocol:
    """Every choice of one run. Sizes are (height, width) in pixels.

    `ValueError` names the field, what was expected and what was got. Lists become tuples, and whole
    numbers become floats where the field is a float.
    """

    name: Text  # name of the preset, and of the folder that holds the records of its runs
    task: Literal["cracks", "roads"]  # fine cracks (paper A) or drivable area (paper B)
    loss: Text = "mse"  # name of the loss, a key of `losses.NAMES`
    weight: Weight = None  # weight of the loss; `losses.check_weight` has the range for each loss
    seed: Seed = 0  # seed of the network's first weights and of every random draw

    counts: Triple = (120, 30, 60)  # number of synthetic images for training, validation and test
    image_size: Pair = (256, 256)  # size of a synthetic image
    framing: Literal["tiles", "resize"] = "tiles"  # trained on crops or on whole images
    tile: Pair = (96, 96)  # size of a crop, or the size to which a whole image is resized
    augmentation: Literal["none", "flips", "full"] = "none"  # "full" adds rotation and brightness
    mask_threshold: AtLeastOne = 128  # lowest level of a grey mask that counts as crack
    # which level, index of a palette, or colour [red, green, blue] of a mask is positive, and which
    # one is left out of the loss and the scores; None: masks are 0 and 255 (`data/masks.py`)
    positive: MaskValue = None
    ignore: MaskValue = None
    # which road area is positive: direct and alternative area together, direct area alone, or
    # direct and alternative area as two classes beside the background
    classes: Literal["binary", "direct", "three"] = "binary"
    layout: Layout = "auto"  # layout of the data folder; needed only if it matches two layouts
    subset: Annotated[Pair | None, "2 whole numbers of at least 1, or None"] = None  # largest
    # number of training images and of test images to use; None: all of them
    subset_seed: AtLeastZero = 0  # seed of the subset, and of what is held out for validation

    architecture: Literal["unet", "fpn"] = "unet"  # paper A's or paper B's network
    levels: Annotated[int, Field(ge=4, le=5), "4 or 5"] = 5  # U-Net: resolutions, with bottleneck
    kernel: Annotated[int, Field(ge=5, le=7), "5 or 7"] = 7  # U-Net: side of the convolutions
    first_filters: AtLeastOne = 16  # U-Net: filters of the first level, doubled at each level ...
    widest: AtLeastOne = 256  # U-Net: ... up to this number
    batch_norm: TrueOrFalse = True  # U-Net: batch norm after each convolution
    synchronised_batch_norm: TrueOrFalse = True  # on several GPUs: statistics of the whole batch
    upsampling: Literal["transposed", "bilinear"] = "transposed"  # U-Net: how it enlarges features
    output: Literal["sigmoid", "clipped"] = "sigmoid"  # how logits become probabilities
    encoder_weights: Literal[None, "imagenet"] = None  # FPN: None starts from random weights

    smoothing: Smoothing = 0.0  # added to the soft counts of Dice, Jaccard and Tversky
    pooling: Literal["batch", "image"] = "batch"  # loss of the whole batch, or mean over its images

    steps: AtLeastOne = 10_000  # number of training steps
    batch: AtLeastOne = 40  # number of images in a step
    learning_rate: LearningRate = 1e-3  # of the first step
    schedule: Literal["constant", "cosine"] = "constant"  # "cosine" lowers the rate to 0
    # "auto" is decided by the network and the device (`device.decide`)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    memory_format: Literal["auto", "channels_first", "channels_last"] = "auto"
    # number of steps between two evaluations on the validation part; None: no evaluations
    validate_every: Annotated[AtLeastOne | None, "a whole number of at least 1, or None"] = None
    # the sha256 of the `model.safetensors` that training starts from, as `experiment.fine_tuning`
    # sets it; None: the first weights are drawn
    initial_weights: Annotated[str | None, "a text or None"] = None

    def __post_init__(self):
        for field, validator in VALIDATORS.items():
            value = getattr(self, field)
            try:
                valid = validator.validate_python(value)
            except ValidationError:
                raise ValueError(f"{field} must be {_expected(field)}, got {value!r}.") from None
            object.__setattr__(self, field, valid)
        if self.kernel == 6:  # only an odd kernel keeps the size of an image
            raise ValueError("kernel must be 5 or 7, got 6.")
        check_weight(self.loss, self.weight)
        if self.ignore is not None and (self.ignore == self.positive or self.classes == "three"):
            raise ValueError(f"ignore={self.ignore} must differ from positive={self.positive}, and "
                             "is for one class.")
        if self.classes != "binary" and self.task != "roads":
            raise ValueError(f"classes={self.classes} is for roads: cracks are binary.")
        if self.classes != "three":
            if self.loss == "cross_entropy":
                raise ValueError("cross_entropy is for classes=three: of two classes it is bce.")
            return
        if self.architecture != "fpn":
            raise ValueError("classes=three needs architecture=fpn: the U-Net has one output.")
        if self.loss not in THREE_CLASS:
            raise ValueError(f"{self.loss} is no loss of three classes: expected one of "
                             f"{', '.join(THREE_CLASS)}.")
        if self.output != "sigmoid":
            raise ValueError(f"output={self.output} is for one class: three need a softmax.")

    def as_dict(self) -> dict:
        """The fields as plain JSON values, in the order of their definition.

        Without `initial_weights` if it is None, so that the ids of records from before there was
        this field stay what they are.
        """
        values = json.loads(json.dumps(dataclasses.asdict(self)))
        if self.initial_weights is None:
            del values["initial_weights"]
        return values

    @classmethod
    def from_dict(cls, values: dict) -> "Protocol":
        """The inverse of `as_dict`.

        `ValueError` if a field is missing or unknown: today's default for a missing field may
        differ from what was used when the values were written.
        """
        missing = [field for field in VALIDATORS if field not in {*values, "initial_weights"}]
        unknown = [field for field in values if field not in VALIDATORS]
        if missing or unknown:
            raise ValueError("The protocol is of another version of this program: missing fields: "
                             f"{', '.join(missing) or 'none'}; unknown fields: "
                             f"{', '.join(unknown) or 'none'}.")
        return cls(**values)

    def with_run(self, loss: str, weight, seed: int) -> "Protocol":
        """The same protocol with another loss, weight and seed."""
        return dataclasses.replace(self, loss=loss, weight=weight, seed=seed)


VALIDATORS = {field.name: TypeAdapter(field.type, config=ConfigDict(strict=True))
              for field in dataclasses.fields(Protocol)}


def _expected(field: str) -> str:
    """What the values of a field must be, for an error message."""
    annotation = Protocol.__annotations__[field]
    if get_origin(annotation) is Literal:
        return f"one of {', '.join(map(str, get_args(annotation)))}"
    return annotation.__metadata__[-1]


CRACKS = {
    # runs every step of the pipeline in seconds; its results mean nothing
    "smoke": dict(counts=(6, 3, 3), image_size=(64, 64), tile=(32, 32), levels=4, kernel=5,
                  first_filters=2, steps=4, batch=4),
    # shows the papers' effects on synthetic images with two cores, in minutes
    "quick": dict(counts=(120, 30, 60), image_size=(256, 256), tile=(64, 64), levels=4, kernel=5,
                  first_filters=8, steps=350, batch=8, learning_rate=4e-3, schedule="cosine"),
    # which loss finds the fine cracks: `quick`'s network, trained longer, with a test part large
    # enough to see differences of .03 in the recall of cracks 1 to 2 px wide
    "study": dict(counts=(120, 30, 300), image_size=(256, 256), tile=(96, 96), levels=4, kernel=5,
                  first_filters=8, steps=1_600, batch=16, learning_rate=4e-3, schedule="cosine"),
    # paper A's depth and kernel on photographs, with as many filters and steps as a CPU can train
    "cpu": dict(tile=(128, 128), first_filters=8, steps=2_000, batch=16, augmentation="flips",
                schedule="cosine"),
    # paper A's protocol; where the paper is silent, the defaults
    "paper": dict(counts=(2_000, 400, 524), image_size=(512, 512), tile=(512, 512)),
}
ROADS = {
    "smoke": dict(counts=(7, 1, 2), image_size=(64, 96), tile=(64, 96), steps=2, batch=2,
                  validate_every=1),
    "quick": dict(counts=(176, 24, 60), image_size=(96, 128), tile=(96, 128), steps=50, batch=8,
                  schedule="cosine", validate_every=10),
    "cpu": dict(counts=(352, 48, 230), image_size=(128, 160), tile=(128, 160), steps=700,
                batch=8, schedule="cosine", validate_every=50),
    "paper": dict(counts=(2_200, 300, 600), image_size=(352, 640), tile=(352, 640), steps=65_625,
                  batch=16, learning_rate=1e-4, encoder_weights="imagenet",
                  subset=(21_000, 3_000), validate_every=1_312),
}
PRESETS = {"cracks": CRACKS, "roads": ROADS}
ALL_ROADS = dict(architecture="fpn", framing="resize", loss="bce")  # in each preset of roads
OF_A_RUN = {"loss", "weight", "seed"}  # what notebooks and programs set for each run
NO_OVERRIDES = {"name", "task", "initial_weights"}  # other arguments decide these
UNET_FIELDS = ("levels", "kernel", "first_filters", "widest", "batch_norm", "upsampling")


def preset(name: str, task: str = "cracks", overrides: dict | None = None) -> Protocol:
    """The preset "smoke", "quick", "study", "cpu" or "paper" of a task, with some fields replaced.

    `overrides` maps names of `Protocol` fields to values. One mapping may serve both tasks: the
    fields of a U-Net are ignored for an FPN, and `classes` is ignored for cracks. Three classes
    are trained with cross entropy unless `overrides` has a loss. Raises `ValueError` for an
    unknown preset, task or field.
    """
    if task not in PRESETS:
        raise ValueError(f"Unknown task {task!r}: expected cracks or roads.")
    if name not in PRESETS[task]:
        raise ValueError(f"Unknown protocol {name!r}: expected one of {', '.join(PRESETS[task])}.")
    overrides = {} if overrides is None else overrides
    if not isinstance(overrides, dict):
        raise ValueError(f"overrides must map Protocol fields to values, got {overrides!r}; with "
                         "papermill write -y 'overrides: {steps: 100}'.")
    allowed = sorted(VALIDATORS.keys() - NO_OVERRIDES)
    unknown = sorted(map(str, overrides.keys() - set(allowed)))
    if unknown:
        raise ValueError(f"Unknown protocol field {', '.join(unknown)}: expected one of "
                         f"{', '.join(allowed)}.")
    values = {"name": name, "task": task, **PRESETS[task][name]}
    ignored = {"classes"}
    if task == "roads":
        ignored = set()
        values |= ALL_ROADS
        if overrides.get("classes") == "three":
            values["loss"] = "cross_entropy"
    values |= overrides
    if values.get("architecture") == "fpn":
        ignored.update(UNET_FIELDS)
    return Protocol(**{field: value for field, value in values.items() if field not in ignored})


def preset_of_runs(name: str, task: str, overrides: dict | None = None) -> Protocol:
    """`preset` for a notebook or program that sets loss, weight and seed of each run itself.

    `ValueError` if `overrides` has one of the three, since it would have no effect.
    """
    if isinstance(overrides, dict):
        without_effect = sorted(OF_A_RUN & overrides.keys())
        if without_effect:
            raise ValueError(f"overrides can't set {', '.join(without_effect)}: each run has its "
                             "own (use the parameters loss, weights and seeds).")
    return preset(name, task, overrides)


class ParameterError(ValueError):
    """What is wrong with a notebook's parameters, in a sentence; shown without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"ParameterError: {self}"]


def without_repetition(seeds: list[int]) -> list[int]:
    """The seeds; `ValueError` if one comes twice, since its run would count as two."""
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed comes twice")
    return seeds


# The types of the notebooks' parameters; the texts say what was expected, and what to do.
RAW_TEXT = "text", "write -r NAME ..., since papermill's -p reads 2024_06_01 as a number"
PARAMETERS = {
    **dict.fromkeys(("protocol", "data", "roads", "loss", "device"), Annotated[str, *RAW_TEXT]),
    **dict.fromkeys(("runs", "results"), Annotated[str | None, *RAW_TEXT]),
    "weights": Annotated[list[Weight], "a list of weights", "write -y 'weights: [0.97]'"],
    "seeds": Annotated[list[Seed], Field(min_length=1), AfterValidator(without_repetition),
                       "a list of different whole numbers of at least 0",
                       "write -y 'seeds: [0, 1]'"],
    "devices": Annotated[AtLeastOne, "a whole number of at least 1", "write -y 'devices: 2'"],
    "overrides": Annotated[dict | None, "a mapping of protocol fields",
                           "write -y 'overrides: {steps: 100}'"],
    "weight": Annotated[Smoothing, "a number of at least 0", "write -p weight 0.5"],
    "best_f1": Annotated[float, Field(ge=0, le=1), "a number from 0 to 1", "write -p best_f1 0.9"]}


def check_parameters(namespace: dict) -> None:
    """Refuse a notebook's parameters that can't be right; `namespace` is its `globals()`.

    Papermill writes what it is given into a cell of its own, behind the notebook's parameters, and
    only warns of what the notebook does not have. IPython keeps the executed cells in `In`. Raises
    `ParameterError`.
    """
    known, given = [], []
    for cell in namespace.get("In", [])[:-1]:  # the last one is the cell that calls this
        names = re.findall(r"^(\w+) = ", cell, re.MULTILINE)
        if cell.startswith("# Parameters\n"):
            given = names
        else:
            known = known or names  # the first that a notebook sets are its parameters
    unknown = {name: namespace[name] for name in given if name not in known}
    if unknown:
        raise ParameterError(unknown_parameters(unknown, known))
    check_values({name: namespace[name] for name in known})


def unknown_parameters(unknown: dict, known: Iterable[str]) -> str:
    """A sentence about parameters, mapped to their values, that are not among the known ones."""
    sentence = f"Unknown parameter {', '.join(map(str, unknown))}: expected {', '.join(known)}"
    fields = [name for name in unknown if name in VALIDATORS.keys() - OF_A_RUN - NO_OVERRIDES]
    if fields and "overrides" in known:
        values = ", ".join(f"{name}: {json.dumps(unknown[name], default=str)}" for name in fields)
        sentence += f"; for a field of the protocol write -y 'overrides: {{{values}}}'"
    return f"{sentence}."


def check_values(parameters: dict) -> None:
    """`ParameterError` if a notebook's parameter has a value of another type than its own."""
    for name in PARAMETERS.keys() & parameters.keys():
        kind = PARAMETERS[name]
        try:
            TypeAdapter(kind, config=ConfigDict(strict=True)).validate_python(parameters[name])
        except ValidationError:
            *_, expected, advice = kind.__metadata__
            raise ParameterError(f"{name} must be {expected}, got {parameters[name]!r}: "
                                 f"{advice.replace('NAME', name)}.") from None


def describe(protocol: Protocol) -> str:
    """The protocol with one field a line, as the notebooks print it."""
    return "\n".join(f"{field:15} {value}" for field, value in protocol.as_dict().items())
