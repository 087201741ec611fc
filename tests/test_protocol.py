"""Protocols: validated, replaced, written as plain values and read back."""

import pickle
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from crackutils.losses import NAMES, THREE_CLASS, WEIGHTED
from crackutils.protocol import (
    ParameterError,
    Protocol,
    check_parameters,
    check_values,
    describe,
    preset,
    preset_of_runs,
)

SMOKE = preset("smoke")
FROM_SCRATCH = [field.name for field in fields(Protocol) if field.name != "initial_weights"]
PRESETS = [(task, name) for task in ("cracks", "roads")
           for name in ("smoke", "quick", "cpu", "paper")]


def error_text(call, *args, **kwargs) -> str:
    """The message of the call's `ValueError`, which must be a single sentence."""
    with pytest.raises(ValueError) as error:
        call(*args, **kwargs)
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text and ". " not in text and len(text) > 20
    return text


@pytest.mark.parametrize("field, value", [
    ("steps", 0), ("steps", 2.5), ("steps", 2.0), ("steps", True), ("batch", 0), ("batch", "4"),
    ("first_filters", 0), ("widest", -1), ("seed", -1), ("seed", False), ("subset_seed", 1.0),
    ("mask_threshold", 0), ("validate_every", 0), ("validate_every", "5"),
    ("counts", [6, 3]), ("counts", [6, 0, 3]), ("image_size", 64), ("tile", "32"),
    ("tile", [32, 32.0]), ("tile", [32, 32, 32]), ("subset", [3]), ("subset", [True, 2]),
    ("learning_rate", 0), ("learning_rate", float("nan")), ("learning_rate", float("inf")),
    ("learning_rate", "1e-3"), ("learning_rate", True), ("smoothing", -0.5), ("smoothing", "1"),
    ("smoothing", float("inf")), ("weight", "0.5"), ("weight", [True, 1]), ("weight", [1, 2, 3]),
    ("batch_norm", "no"), ("batch_norm", None), ("synchronised_batch_norm", 1),
    ("levels", 5.0), ("levels", 6), ("kernel", 7.0), ("kernel", 6), ("loss", None),
    *((field, "other") for field in ("loss", "framing", "augmentation", "architecture", "levels",
                                     "kernel", "upsampling", "output", "encoder_weights", "layout",
                                     "schedule", "precision", "memory_format", "pooling"))])
def test_the_error_on_a_bad_value_names_the_field_and_the_value(field, value):
    changes = [lambda: preset("smoke", overrides={field: value}),
               lambda: replace(SMOKE, **{field: value}),
               lambda: Protocol.from_dict(SMOKE.as_dict() | {field: value})]
    for change in changes:
        text = error_text(change)
        assert field in text and repr(value) in text


@pytest.mark.parametrize("field, value, expected", [
    ("steps", 0, "a whole number of at least 1"),
    ("seed", -1, "a whole number of at least 0 and below 2**63"),
    ("tile", [32], "2 whole numbers of at least 1"), ("counts", 3, "3 whole numbers of at least 1"),
    ("output", "relu", "one of sigmoid, clipped"), ("batch_norm", 1, "true or false"),
    ("encoder_weights", "coco", "one of None, imagenet"), ("kernel", 6, "5 or 7"),
    ("learning_rate", "1e-4",
     "a number above 0 (in YAML write 0.0001, since 1e-4 is read as text)"),
    ("weight", "0.3 0.7", "a number, a pair of numbers such as [0.3, 0.7], or None")])
def test_the_error_on_a_bad_value_says_what_was_expected(field, value, expected):
    text = error_text(preset, "smoke", overrides={field: value})
    assert text == f"{field} must be {expected}, got {value!r}."


def test_the_errors_on_unknown_names_list_the_known_ones():
    text = error_text(preset, "huge")
    assert "'huge'" in text and "smoke, quick, study, cpu, paper" in text
    assert "'boats'" in error_text(preset, "smoke", "boats")
    text = error_text(preset, "smoke", overrides={"step": 3, "name": "x", "initial_weights": "a"})
    assert "initial_weights, name, step" in text and "learning_rate" in text
    assert "-y 'overrides: {steps: 100}'" in error_text(preset, "smoke", overrides="steps: 3")
    assert "-y 'overrides: {steps: 100}'" in error_text(preset, "smoke", overrides=["steps"])


@pytest.mark.parametrize("task", ["cracks", "roads"])
@pytest.mark.parametrize("field, value", [("loss", "bce"), ("weight", 0.5), ("seed", 1)])
def test_overrides_without_effect_are_refused_where_runs_have_their_own(task, field, value):
    assert f"overrides can't set {field}: each run" in \
        error_text(preset_of_runs, "smoke", task, {field: value})
    assert preset_of_runs("smoke", task, {"steps": 3}) == preset("smoke", task, {"steps": 3})
    assert preset_of_runs("smoke", task) == preset("smoke", task)


def test_overrides_replace_fields_and_lists_become_tuples():
    protocol = preset("smoke", overrides={"steps": 7, "tile": [16, 24], "loss": "tversky",
                                          "weight": [0.3, 0.7]})
    assert (protocol.steps, protocol.tile, protocol.weight) == (7, (16, 24), (0.3, 0.7))
    assert (protocol.batch, protocol.name, protocol.task) == (4, "smoke", "cracks")


def test_one_mapping_of_overrides_serves_both_tasks():
    both = {"levels": 5, "kernel": 5, "classes": "three", "steps": 3}
    assert preset("smoke", "cracks", both) == replace(SMOKE, levels=5, kernel=5, steps=3)
    assert preset("smoke", "roads", both) == \
        replace(preset("smoke", "roads"), classes="three", loss="cross_entropy", steps=3)
    assert preset("smoke", "roads", both | {"loss": "dice"}).loss == "dice"


def test_whole_numbers_become_floats_where_the_field_is_a_float():
    whole = preset("smoke", overrides={"loss": "relu", "weight": 1, "smoothing": 1,
                                       "learning_rate": 1})
    exact = preset("smoke", overrides={"loss": "relu", "weight": 1.0, "smoothing": 1.0,
                                       "learning_rate": 1.0})
    assert whole.as_dict() == exact.as_dict() and isinstance(whole.weight, float)
    assert SMOKE.with_run("bce_dice", [1, 0], 0).as_dict() == \
        SMOKE.with_run("bce_dice", (1.0, 0.0), 0).as_dict()


@pytest.mark.parametrize("task, name", PRESETS)
def test_a_protocol_comes_back_from_its_plain_values(task, name):
    protocol = preset(name, task)
    assert Protocol.from_dict(protocol.as_dict()) == protocol
    assert pickle.loads(pickle.dumps(protocol)) == protocol
    assert hash(preset(name, task)) == hash(protocol)
    assert list(protocol.as_dict()) == FROM_SCRATCH
    tuned = replace(protocol, initial_weights="a" * 64)
    assert Protocol.from_dict(tuned.as_dict()) == tuned
    assert list(tuned.as_dict()) == [*FROM_SCRATCH, "initial_weights"]


@pytest.mark.parametrize("field", FROM_SCRATCH)
def test_a_missing_field_is_an_error_and_never_its_default(field):
    values = SMOKE.as_dict()
    del values[field]
    text = error_text(Protocol.from_dict, values)
    assert f"missing fields: {field}; unknown fields: none." in text


def test_an_unknown_field_is_an_error():
    text = error_text(Protocol.from_dict, SMOKE.as_dict() | {"dropped": 1, "old": 2})
    assert "missing fields: none; unknown fields: dropped, old." in text
    with pytest.raises(TypeError, match="dropped"):
        Protocol("smoke", "cracks", dropped=1)


def test_a_protocol_can_not_be_changed():
    with pytest.raises(FrozenInstanceError):
        SMOKE.steps = 3


def test_a_protocol_is_described_by_one_field_a_line():
    lines = describe(SMOKE).splitlines()
    assert len(lines) == len(FROM_SCRATCH) and lines[0].split() == ["name", "smoke"]


@pytest.mark.parametrize("name, value, expected", [
    ("data", 20240601, "data must be text, got 20240601: write -r data ..., since papermill's -p "
     "reads 2024_06_01 as a number."),
    ("data", None, "must be text, got None"), ("runs", 2023, "runs must be text, got 2023"),
    ("results", ["a"], "must be text, got ['a']"), ("roads", True, "must be text, got True"),
    ("protocol", 1, "must be text"), ("loss", 0.5, "must be text"), ("device", 0, "must be text"),
    ("weights", "[0.97]", "weights must be a list of weights, got '[0.97]': write -y 'weights: "
     "[0.97]'."), ("weights", ["0.97"], "got ['0.97']"), ("weights", {"a": 1}, "got {'a': 1}"),
    ("seeds", 1, "seeds must be a list of different whole numbers of at least 0, got 1: write "
     "-y 'seeds: [0, 1]'."), ("seeds", ["0"], "got ['0']"), ("seeds", [-1], "got [-1]"),
    ("seeds", [], "got []"), ("seeds", [1.5], "got [1.5]"), ("seeds", [True], "got [True]"),
    ("seeds", [0, 1, 0], "got [0, 1, 0]"), ("seeds", [2**63], "got [9223372036854775808]"),
    ("devices", "two", "devices must be a whole number of at least 1, got 'two'"),
    ("devices", 0, "got 0"), ("overrides", "{steps: 40}", "overrides must be a mapping"),
    ("weight", "abc", "weight must be a number of at least 0, got 'abc'"),
    ("best_f1", 91, "best_f1 must be a number from 0 to 1, got 91")])
def test_a_parameter_of_another_type_is_refused_with_what_to_write(name, value, expected):
    assert expected in error_text(check_values, {name: value})


def test_parameters_that_may_be_right_are_accepted():
    check_values({"runs": None, "results": "", "data": "2023", "seeds": [0, 3], "devices": 2,
                  "weights": [None, 1, 0.97, [0.3, 0.7]], "overrides": None, "weight": 1})
    check_values({"steps": "a name that no notebook has is the affair of `check_parameters`"})


def notebook(*cells: str) -> dict:
    """The names of a notebook after some cells, which are kept in `In` as IPython does."""
    imports = "import math\n\nmath.tau = 6.28"
    namespace = {"In": ["", imports, *cells, "check_parameters(globals())"]}
    for cell in namespace["In"][:-1]:
        exec(cell, namespace)
    return namespace


OWN = "data = 'synthetic'  # a folder\noverrides = {}\n"


@pytest.mark.parametrize("injected, expected", [
    ("steps = 40", "Unknown parameter steps: expected data, overrides; for a field of the protocol "
     "write -y 'overrides: {steps: 40}'."),
    ("wieghts = [0.97]", "Unknown parameter wieghts: expected data, overrides."),
    ("seed = 1\nlevels = 4", "Unknown parameter seed, levels: expected data, overrides; for a "
     "field of the protocol write -y 'overrides: {levels: 4}'."),
    ("upsampling = 'bilinear'", "write -y 'overrides: {upsampling: \"bilinear\"}'."),
    ("tile = [\n    96,\n    96,\n]", "write -y 'overrides: {tile: [96, 96]}'."),
    ("data = 2023", "data must be text, got 2023"),
    ("data = 'a'\noverrides = [1]", "overrides must be a mapping of protocol fields, got [1]")])
def test_what_papermill_adds_to_a_notebook_is_checked(injected, expected):
    namespace = notebook(OWN, f"# Parameters\n{injected}\n")
    with pytest.raises(ParameterError) as error:
        check_parameters(namespace)
    assert str(error.value).endswith(expected) or expected in str(error.value)
    assert error.value._render_traceback_() == [f"ParameterError: {error.value}"]


def test_parameters_are_checked_without_papermill_and_when_cells_are_executed_again():
    check_parameters(notebook(OWN))
    check_parameters(notebook(OWN, "# Parameters\ndata = 'a = b'\n", "steps = 3\nseeds = 3"))
    check_parameters(notebook(OWN, "# Parameters\nsteps = 3", "# Parameters\ndata = 'a'\n"))
    check_parameters({"data": 3})  # outside IPython nothing is known of what was given
    with pytest.raises(ParameterError, match="data must be text, got 3"):
        check_parameters(notebook(OWN, "data = 3"))
    with pytest.raises(ParameterError, match="expected weight."):  # a notebook without overrides
        check_parameters(notebook("weight = 0.5", "# Parameters\nsteps = 3"))


@pytest.mark.parametrize("loss", sorted(set(NAMES) - set(THREE_CLASS)))
def test_binary_losses_are_refused_for_three_classes(loss):
    weight = 0.5 if loss in (*WEIGHTED, "weighted_bce", "dice_cldice") else None
    overrides = {"classes": "three", "loss": loss, "weight": weight}
    assert f"{loss} is no loss of three classes" in error_text(preset, "smoke", "roads", overrides)


def test_three_classes_and_cross_entropy_belong_together():
    assert preset("smoke", "roads", {"classes": "three"}).loss == "cross_entropy"
    with pytest.raises(ValueError, match="of two classes it is bce"):
        preset("smoke", "roads", {"loss": "cross_entropy"})
    with pytest.raises(ValueError, match="three need a softmax"):
        preset("smoke", "roads", {"classes": "three", "output": "clipped"})
    with pytest.raises(ValueError, match="cracks are binary"):
        replace(preset("smoke"), classes="direct")
    assert preset("smoke", "cracks", {"classes": "three"}) == preset("smoke"), "for roads alone"
    with pytest.raises(ValueError, match="the U-Net has one output"):
        preset("smoke", "roads", {"classes": "three", "architecture": "unet"})


@pytest.mark.parametrize("overrides", [{"tile": {96, 97}},
                                       {"loss": "tversky", "weight": {0.3, 0.7}}])
def test_a_set_has_no_order_and_is_refused(overrides):
    with pytest.raises(ValueError, match="expected|must be"):
        preset("quick", overrides=overrides)


def test_a_field_that_is_no_text_is_named():
    with pytest.raises(ValueError, match="Unknown protocol field 1"):
        preset("quick", overrides={1: 2})
