"""Checkouts of this repository whose notebooks do next to nothing, to test the Snakefile with."""

import json
import os
import shutil
import subprocess
import sys
import time

import psutil
from nbformat import write
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from crackutils.files import ROOT

COMMON = "protocol = 'smoke'\nruns = ''\nresults = ''\nseeds = [0]\noverrides = {}\ndata = ''\n"
TRAINS = COMMON + "device = ''\ndevices = 1\nloss = ''\nweights = []"
PARAMETERS = {"01_data": "protocol = ''\ndata = ''\nroads = ''\nruns = ''\noverrides = {}",
              "02_losses_by_hand": "weight = 0.5", "03_audit": "best_f1 = 0.91",
              "04_train_cracks": TRAINS, "05_threshold_sweeps": COMMON,
              "07_drivable_area": TRAINS, "08_figures": COMMON + "roads = ''"}
# What each notebook's code needs besides: an import that tells its sources from the others'.
CODE = {"01_data": "from crackutils.papers import baselines",
        "04_train_cracks": "from crackutils import training",
        "05_threshold_sweeps": "from crackutils.papers import published"}
# In place of papermill: writes what the notebook would, without a kernel. FAILING names notebooks
# that fail.
PAPERMILL = '''
import os, re
from pathlib import Path
import nbformat

def inspect_notebook(path):
    cells = nbformat.read(path, as_version=4).cells
    return re.findall(r"^(\\w+) =", cells[1].source, re.M)

def execute_notebook(source, output, parameters, **_):
    name = Path(output).name.removesuffix(".failed.ipynb")
    nbformat.write(nbformat.read(source, as_version=4), output)
    if name in os.environ.get("FAILING", "").split():
        raise RuntimeError(f"{name} fails as ordered")
    dataset = Path(output).parents[1]
    for folder in ("tables", "figures"):
        (dataset / folder).mkdir(exist_ok=True)
    if name == "05_threshold_sweeps":
        for number in (1, 4, 5, 6, 7, 8):
            table = dataset / "tables" / f"table{number}.csv"
            table.write_text("loss,weight,threshold,seeds\\nmse,,0.4,1\\n")
    if name == "07_drivable_area":
        (dataset / "tables" / "iou_table.csv").write_text("label,iou\\nDice,0.5\\n")
'''


def make(folder, papermill=None):
    """A checkout with small notebooks in a folder.

    `papermill` is the code of a module that is imported in place of papermill's. It makes no
    records, but none is missed.
    """
    shutil.copytree(ROOT / "crackutils", folder / "crackutils",
                    ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "workflow", folder / "workflow",
                    ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "data" / "published", folder / "data" / "published")
    shutil.copy(ROOT / "Snakefile", folder)
    (folder / "notebooks").mkdir()
    for name in PARAMETERS:
        write_notebook(folder, name, CODE.get(name, "pass"))
    if papermill:
        (folder / "papermill.py").write_text(papermill)
        with open(folder / "crackutils" / "records.py", "a") as module:
            module.write("\n\ndef intact(*_):\n    return [True]\n")
    return folder


def write_notebook(checkout, name: str, code: str) -> None:
    """A notebook of a title, a cell of parameters, and a cell of code."""
    cells = [new_markdown_cell(f"# {name}"),
             new_code_cell(PARAMETERS[name], metadata={"tags": ["parameters"]}),
             new_code_cell(code)]
    write(new_notebook(cells=cells, metadata={"kernelspec": {
        "name": "python3", "display_name": "Python 3", "language": "python"}}),
        checkout / "notebooks" / f"{name}.ipynb")


def start(checkout, *words: str, **given: str) -> subprocess.Popen:
    """Snakemake in a checkout, with these variables of the environment."""
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--quiet", "host", *words], cwd=checkout, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(checkout, **given))


# answers each line of words with what `snakemake -n` says to them, and the exit status
DRY_RUNS = """
import json, os, sys
from snakemake import cli
for line in sys.stdin:
    os.chdir(sys.argv[1])
    try:
        cli.main(["-n", "--quiet", "host", *json.loads(line)])
    except SystemExit as end:
        print(f"\\nended with {end.code}", flush=True)
"""


class DryRuns:
    """`snakemake -n` in a checkout, several times in one process: its start takes seconds."""

    def __init__(self, checkout):
        self.process = subprocess.Popen([sys.executable, "-c", DRY_RUNS, str(checkout)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, env=environment(checkout))

    def __call__(self, *words: str) -> tuple[int, str]:
        """The exit status and what was printed."""
        print(json.dumps(words), file=self.process.stdin, flush=True)
        said = []
        while not said or not said[-1].startswith("ended with "):
            said.append(self.process.stdout.readline())
            assert said[-1], said
        return int(said.pop().split()[-1]), "".join(said).rstrip("\n")


def environment(checkout, **given: str) -> dict[str, str]:
    """The environment for Snakemake in a checkout: protocol smoke, the runs in its folder r."""
    clean = {name: value for name, value in os.environ.items() if name not in (
        "CRACKS", "ROADS", "DEVICE", "PARAMETERS", "FAILED_JOBS")}
    return clean | {"PYTHONPATH": str(checkout), "PROTOCOL": "smoke", "RUNS": "r"} | given


def run(checkout, *words: str, **given: str) -> tuple[int, str]:
    """The exit status of Snakemake, and all that it printed."""
    process = start(checkout, *words, **given)
    said = "".join(process.communicate(timeout=600))
    return process.returncode, said


def is_alive(pid: int) -> bool:
    """Whether a process runs: one that has ended and was not waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition, seconds: float) -> bool:
    """Whether a condition comes true within so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
