"""What a user gives to `make` reaches the programs as it was written, and nothing in it is run."""

import json
import os
import shutil
import subprocess

import pytest

from crackutils import files

# Run by make or by the shell, these would leave a file named `ran`, or arrive as something else.
HOSTILE = ["a\"b'c `touch ran` $(touch ran) $(shell touch ran) $HOME $(HOME) $$x ${x} \\n # % * 벽",
           '"; touch ran; "', "'; touch ran; '", "a; touch ran", "a\\", "-x", "{seeds: [0, 1]}"]
NAMES = ("PROTOCOL", "CRACKS", "ROADS", "DEVICE", "RUNS", "PARAMETERS")
# stands for a program of .venv: writes down what it is called with
PROGRAM = f"""#!/usr/bin/env python3
import json, os, sys
environment = {{name: os.environ.get(name) for name in {(*NAMES, "KILLS")}}}
with open("called.json", "a") as file:
    print(json.dumps([sys.argv[1:], environment]), file=file)
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def checkout(tmp_path):
    """A checkout that seems to be set up."""
    shutil.copy(files.ROOT / "Makefile", tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in ("requirements.txt", "pyproject.toml", ".venv/installed"):
        (tmp_path / name).touch()
    for name in ("snakemake", "pytest"):
        program = tmp_path / ".venv" / "bin" / name
        program.write_text(PROGRAM)
        program.chmod(0o755)
    return tmp_path


def calls(checkout, *words, **environment) -> list:
    """The arguments and the settings that each program was called with."""
    clean = {name: value for name, value in os.environ.items()
             if name not in (*NAMES, "KILLS", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES")}
    subprocess.run(["make", "--silent", *words], cwd=checkout, check=True, env=clean | environment)
    lines = (checkout / "called.json").read_text().splitlines()
    (checkout / "called.json").unlink()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
def test_values_arrive_as_they_were_written_and_nothing_in_them_runs(checkout, value):
    given = [f"{name}={value}" for name in NAMES]
    for target in ("reproduce", "grid"):
        [[arguments, settings]] = calls(checkout, target, *given)
        assert arguments[0] == target and value not in arguments
        assert [settings[name] for name in NAMES] == [value] * len(NAMES)
        [[_, settings]] = calls(checkout, target, **dict.fromkeys(NAMES, value))
        assert [settings[name] for name in NAMES] == [value] * len(NAMES)
    [[_, settings]] = calls(checkout, "stress", f"KILLS={value}")
    assert settings["KILLS"] == value
    subprocess.run(["make", "-n", "reproduce", "stress", *given, f"KILLS={value}"], cwd=checkout,
                   check=True, stdout=subprocess.DEVNULL)
    assert not (checkout / "ran").exists() and not (checkout / "called.json").exists()


def test_what_is_not_given_has_the_defaults(checkout):
    [[_, settings]] = calls(checkout, "reproduce")
    assert settings == {"PROTOCOL": "quick", "CRACKS": "synthetic", "ROADS": "synthetic",
                        "DEVICE": "auto", "RUNS": "", "PARAMETERS": "", "KILLS": "25"}
