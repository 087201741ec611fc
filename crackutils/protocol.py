"""Every choice of a run, as one frozen and validated record.

Much of what the papers leave open (bottleneck, norm, up-sampling, rate, schedule, framing,
augmentation, ...) is a field here, with the default this repository takes. Fixed in the code are
Adam and the split (`datasets`). A run is completely described by its `Protocol`, its data and the
software's versions.
"""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass

from crackutils.losses import LOSS_NAMES, THREE_CLASS, check_weight, is_number, weight_text

CHOICES = {
    "task": ("cracks", "roads"),
    "loss": LOSS_NAMES,
    "framing": ("tiles", "resize"),
    "augmentation": ("none", "flips", "full"),
    "architecture": ("unet", "fpn"),
    "levels": (4, 5),
    "kernel": (5, 7),
    "upsampling": ("transposed", "bilinear"),
    "output": ("sigmoid", "clipped"),
    "classes": ("binary", "direct", "three"),
    "pooling": ("batch", "image"),
    "encoder_weights": (None, "imagenet"),
    "schedule": ("constant", "cosine"),
    "precision": ("auto", "float32", "bfloat16"),
    "layout": ("auto", "plain", "metu", "crackforest", "deepcrack", "crack500", "bdd100k",
               "bdd100k_legacy", "camvid"),
    "memory_format": ("auto", "channels_first", "channels_last"),
}
UNET_FIELDS = ("levels", "kernel", "first_filters", "widest", "batch_norm", "upsampling")
AT_LEAST_ONE = ("levels", "kernel", "steps", "batch", "first_filters", "widest")


@dataclass(frozen=True)
class Protocol:
    """One run. Sizes are (height, width) in pixels; the comments say what each field decides."""

    name: str  # the preset it came from: the folder its records lie in
    task: str  # "cracks" (paper A) or "roads" (paper B)
    loss: str = "mse"
    weight: float | tuple[float, float] | None = None
    seed: int = 0  # decides the first weights of the network and every draw

    counts: tuple[int, int, int] = (120, 30, 60)  # synthetic images: train, validation, test
    image_size: tuple[int, int] = (256, 256)  # of a synthetic image
    framing: str = "tiles"  # a step sees crops of this size ...
    tile: tuple[int, int] = (96, 96)  # ... or ("resize") whole images reduced to it
    augmentation: str = "none"
    mask_threshold: int = 128  # a grey mask is crack from this level on
    classes: str = "binary"  # roads: direct + alternative area; "direct" alone; "three" classes
    layout: str = "auto"  # of a data folder; to be said only where two fit
    subset: tuple[int, int] | None = None  # at most so many pictures of train and of test ...
    subset_seed: int = 0  # ... drawn by this seed, which also decides what validation is cut off

    architecture: str = "unet"
    levels: int = 5  # U-Net: resolutions, the bottleneck included
    kernel: int = 7
    first_filters: int = 16  # doubled at each level ...
    widest: int = 256  # ... up to this many
    batch_norm: bool = True
    synchronised_batch_norm: bool = True  # on several GPUs: statistics of the batch, not of each
    upsampling: str = "transposed"
    output: str = "sigmoid"
    encoder_weights: str | None = None  # FPN: "imagenet" or random

    smoothing: float = 0.0  # of Dice, Jaccard and Tversky alone: other losses don't look at it
    pooling: str = "batch"  # soft counts of the whole batch, or ("image") the mean of each image's

    steps: int = 10_000
    batch: int = 40
    learning_rate: float = 1e-3
    schedule: str = "constant"
    precision: str = "auto"  # decided by the network and the device, and recorded
    memory_format: str = "auto"
    validate_every: int | None = None  # steps between two looks at the validation part's IoU

    def __post_init__(self):
        check_weight(self.loss, self.weight)
        for field, allowed in CHOICES.items():
            if getattr(self, field) not in allowed:
                raise ValueError(f"{field} must be one of {', '.join(map(str, allowed))}; "
                                 f"got {getattr(self, field)!r}.")
        for field in ("batch_norm", "synchronised_batch_norm"):
            if not isinstance(getattr(self, field), bool):
                raise ValueError(f"{field} must be true or false, got {getattr(self, field)!r}.")
        for field in AT_LEAST_ONE + ("validate_every",) * (self.validate_every is not None):
            _check_whole(field, getattr(self, field), 1)
        self._check_classes()
        for field in ("seed", "subset_seed"):
            _check_whole(field, getattr(self, field), 0)
        _check_whole("mask_threshold", self.mask_threshold, 1)
        for field, length in (("counts", 3), ("image_size", 2), ("tile", 2), ("subset", 2)):
            value = getattr(self, field)
            if field == "subset" and value is None:
                continue
            if not isinstance(value, tuple) or len(value) != length:
                raise ValueError(f"{field} must be {length} whole numbers, got {value!r}.")
            for number in value:
                _check_whole(field, number, 1)
        if not (is_number(self.smoothing) and 0 <= self.smoothing < math.inf):
            raise ValueError(f"smoothing must be a number from 0 on, got {self.smoothing!r}.")
        if not (is_number(self.learning_rate) and 0 < self.learning_rate < math.inf):
            raise ValueError(f"learning_rate must be a number above 0, got {self.learning_rate!r} "
                             "(in YAML write 0.0001: it reads 1e-4 as text).")

    def _check_classes(self) -> None:
        if self.classes != "binary" and self.task != "roads":
            raise ValueError(f"classes={self.classes} is for roads: cracks are binary.")
        if self.classes == "three" and self.architecture != "fpn":
            raise ValueError("classes=three needs architecture=fpn: the U-Net has one output.")
        if self.classes == "three" and self.loss not in THREE_CLASS:
            raise ValueError(f"{self.loss} is no loss of three classes: expected one of "
                             f"{', '.join(THREE_CLASS)}.")
        if self.classes != "three" and self.loss == "cross_entropy":
            raise ValueError("cross_entropy is for classes=three: of two classes it is bce.")
        if self.classes == "three" and self.output != "sigmoid":
            raise ValueError(f"output={self.output} is for one class: three need a softmax.")

    def as_dict(self) -> dict:
        """The fields as plain JSON values, in the order of their definition."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, values: dict) -> "Protocol":
        """The protocol `as_dict` was made of; a field it does not have yet takes its default."""
        return cls(**{field: tuple(value) if isinstance(value, list) else value
                      for field, value in values.items()})

    def with_run(self, loss: str, weight, seed: int) -> "Protocol":
        """The same protocol with another loss, weight and seed."""
        weight = tuple(weight) if isinstance(weight, list) else weight
        return dataclasses.replace(self, loss=loss, weight=weight, seed=seed)

    def run_id(self, fingerprint: str) -> str:
        """`loss-weight-seed-hash8`, the hash over the whole protocol and the data's fingerprint."""
        text = json.dumps([self.as_dict(), fingerprint], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        return f"{self.loss}-{weight_text(self.weight)}-{self.seed}-{digest}"


def _check_whole(field: str, value, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{field} must be a whole number of at least {least}, got {value!r}.")


CRACKS = {
    # proves the path in seconds; its figures mean nothing
    "smoke": dict(counts=(6, 3, 3), image_size=(64, 64), tile=(32, 32), levels=4, kernel=5,
                  first_filters=2, steps=4, batch=4),
    # shows the papers' effects on synthetic data on two cores: so few steps want a high rate that
    # ends low
    "quick": dict(counts=(120, 30, 60), image_size=(256, 256), tile=(96, 96), levels=4, kernel=5,
                  first_filters=8, steps=200, batch=16, learning_rate=4e-3, schedule="cosine"),
    # the paper's depth and kernel on photographs, as far as a CPU bears it
    "cpu": dict(tile=(128, 128), first_filters=8, steps=2_000, batch=16, augmentation="flips",
                schedule="cosine"),
    # the paper's, with the register's defaults where it is silent
    "paper": dict(counts=(2_000, 400, 524), image_size=(512, 512), tile=(512, 512)),
}
ROADS = {
    "smoke": dict(counts=(7, 1, 2), image_size=(64, 96), tile=(64, 96), steps=2, batch=2,
                  validate_every=1),
    "quick": dict(counts=(176, 24, 60), image_size=(96, 128), tile=(96, 128), steps=50, batch=8,
                  learning_rate=1e-3, schedule="cosine", validate_every=10),
    "cpu": dict(counts=(352, 48, 230), image_size=(128, 160), tile=(128, 160), steps=700,
                batch=8, learning_rate=1e-3, schedule="cosine", validate_every=50),
    "paper": dict(counts=(2_200, 300, 600), image_size=(352, 640), tile=(352, 640), steps=65_625,
                  batch=16, learning_rate=1e-4, encoder_weights="imagenet",
                  subset=(21_000, 3_000), validate_every=1_312),
}
PRESETS = {"cracks": CRACKS, "roads": {name: dict(architecture="fpn", framing="resize", loss="bce",
                                                  **fields) for name, fields in ROADS.items()}}


def preset(name: str, task: str = "cracks", overrides: dict | None = None) -> Protocol:
    """The preset `smoke`, `quick`, `cpu` or `paper` of a task, with some fields replaced.

    `overrides` maps names of `Protocol` fields to values (lists stand for tuples, as YAML and
    papermill give them); the FPN ignores those that only a U-Net has. Raises `ValueError` for an
    unknown preset, task or field.
    """
    if task not in PRESETS:
        raise ValueError(f"Unknown task {task!r}: expected cracks or roads.")
    if name not in PRESETS[task]:
        raise ValueError(f"Unknown protocol {name!r}: expected one of {', '.join(PRESETS[task])}.")
    if not isinstance(overrides or {}, dict):
        raise ValueError(f"overrides must map Protocol fields to values, got {overrides!r}; with "
                         "papermill write -y 'overrides: {steps: 100}'.")
    fields = {field.name for field in dataclasses.fields(Protocol)} - {"name", "task"}
    unknown = set(overrides or {}) - fields
    if unknown:
        raise ValueError(f"Unknown protocol field {', '.join(sorted(unknown))}: expected one of "
                         f"{', '.join(sorted(fields))}.")
    values = {field: tuple(value) if isinstance(value, list) else value
              for field, value in (overrides or {}).items()}
    if task == "cracks":  # one mapping may serve both tasks
        values.pop("classes", None)
    if values.get("classes") == "three":  # what BCE, the preset's, is for two
        values = {"loss": "cross_entropy", **values}
    values = {**PRESETS[task][name], **values}
    if values.get("architecture") == "fpn":  # likewise
        values = {field: value for field, value in values.items() if field not in UNET_FIELDS}
    return Protocol(name=name, task=task, **values)


def preset_of_runs(name: str, task: str, overrides: dict | None = None) -> Protocol:
    """`preset` for runs whose loss, weight and seed are parameters of their own: `ValueError` where
    `overrides` has one of them too, which would be without effect."""
    own = {"loss", "weight", "seed"} & set(overrides if isinstance(overrides, dict) else {})
    if own:
        raise ValueError(f"overrides can't set {', '.join(sorted(own))}: each run has its own "
                         "(the parameters loss, weights and seeds).")
    return preset(name, task, overrides)


def as_list(name: str, value) -> list:
    """A notebook's list parameter, refused where it is none: papermill's -p gives strings."""
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list, got {value!r}: write {name}: [...] (papermill's "
                         f"-p knows only scalars: -y '{name}: [...]').")
    return value


def describe(protocol: Protocol) -> str:
    """The protocol, a line a field, as the notebooks print it."""
    return "\n".join(f"{field:15} {value}" for field, value in protocol.as_dict().items())
