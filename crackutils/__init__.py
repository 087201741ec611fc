"""Two papers on segmentation losses, reproduced: the code that the notebooks call.

The modules of a run, in the order of its steps: `protocol` (every choice of a run), `device`,
`losses`, `models`, `batches` (which pixels make up a step), `training`, `evaluation` (tiles, counts
at all thresholds), `metrics`, `records`; `experiment` calls them, and `files` writes files safely.
The package `data` reads, checks and divides data sets, `papers` makes the papers' tables and
figures, `cracks` measures the cracks in photographs, and `cli` is the command line. To train one
network and read its scores:

    protocol = preset("quick").with_run("relu", 0.97, seed=0)
    record = complete(protocol, load("synthetic", protocol, runs), runs, results=None)
    threshold, scores = at_validation_threshold(read_arrays(record / "counts.npz"))
"""

import logging
import os
import sys

# Threads of OpenMP that wait for one another soon sleep instead of keeping their cores busy, which
# makes training faster beside other programs (docs/benchmarks.md). Read when PyTorch is loaded.
OPENMP = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"}
for _name, _value in OPENMP.items():
    os.environ.setdefault(_name, _value)
# matplotlib warns where HOME can't be written, and then does without
logging.getLogger("matplotlib").setLevel(logging.ERROR)
if hasattr(sys.stdout, "reconfigure"):  # a letter that a terminal's encoding lacks ends no program
    sys.stdout.reconfigure(errors="backslashreplace")
