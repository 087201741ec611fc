"""Train on pictures that, decoded, do not fit into the memory this process may have.

Usage: larger_than_memory.py PICTURES RUNS all|mapped. The limit is on the process's own memory
(RLIMIT_DATA: what is allocated, not what is mapped from files). "all" is the control: it reads the
decoded pictures into an array, which the limit has to prevent.
"""

import resource
import sys
from pathlib import Path

import numpy as np

from crackutils import data as datasets
from crackutils import experiment
from crackutils.protocol import preset

# a pass over one picture was measured to need 345 to 400 MiB, however many pictures there are
ROOM = 600 * 2**20
PROTOCOL = preset("smoke", overrides={"tile": [64, 64], "batch": 4, "steps": 30,
                                      "precision": "float32"})


def allocated() -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmData:")[1].split()[0]) * 1024


def main() -> None:
    pictures, root, how = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    # the first run loads what is loaded once a process
    small = datasets.load("synthetic", PROTOCOL, root)
    experiment.complete(PROTOCOL, small, root, None, "cpu")
    limit = allocated() + ROOM
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    dataset = datasets.load(pictures, PROTOCOL, root)
    arrays = [array for part in (dataset.train, dataset.validation, dataset.test)
              for array in part.arrays.values()]
    decoded = sum(array.nbytes for array in arrays) / 2**20
    print(f"decoded: {decoded:.0f} MiB, room: {ROOM / 2**20:.0f} MiB")
    if how == "all":
        np.concatenate([array.reshape(-1) for array in arrays])
    record = experiment.complete(PROTOCOL, dataset, root, None, "cpu")
    print(f"complete: {(record / 'complete.json').exists()}")


if __name__ == "__main__":
    main()
