"""Execute a notebook by papermill: the script of the Snakefile's rules.

The notebook is renamed to its place when it has been executed whole. If it fails, it is left beside
that as `<name>.failed.ipynb`, and the log ends with the error.
"""

import contextlib
import getpass
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import filelock
import papermill
import psutil
import yaml

from crackutils import files

job = snakemake  # noqa: F821 (Snakemake provides it)
ROOT = Path(__file__).resolve().parent.parent


def end_all(*_) -> None:
    """End this process and all that it started, at once.

    A signal to the process group would not reach a kernel, which leads a session of its own, nor
    the processes that share a training with it.
    """
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    os._exit(1)


def end_with(pid: int) -> None:
    """Wait until the process has ended, however that happened, then end all."""
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait()
    end_all()


def take_gpus(number: int) -> list[filelock.FileLock]:
    """Wait for so many GPUs that no other job of this user on this machine has, and use no others.

    Slurm does this itself. A lock ends with its process.
    """
    visible = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
    while True:
        taken = {}
        for gpu in visible:
            name = f"crackutils-{getpass.getuser()}-gpu-{gpu}.lock"
            lock = filelock.FileLock(Path(tempfile.gettempdir()) / name)
            with contextlib.suppress(filelock.Timeout):
                lock.acquire(timeout=0)
                taken[gpu] = lock
            if len(taken) == number:
                os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)
                return list(taken.values())
        for lock in taken.values():
            lock.release()
        time.sleep(1)


def train_by_torchrun() -> None:
    """Train the job's runs by torchrun, on one machine or several.

    The notebook then finds the records complete.
    """
    given, machines = job.params.call["parameters"], job.params.call["machines"]
    launch = [sys.executable, "-m", "torch.distributed.run", f"--nnodes={machines}",
              f"--nproc-per-node={given['devices']}"]
    if machines == 1:
        launch += ["--standalone"]
    else:
        number = int(os.environ["SLURM_JOB_ID"])
        launch = ["srun", f"--nodes={machines}", f"--ntasks={machines}", *launch,
                  f"--rdzv-id={number}", "--rdzv-backend=c10d",
                  f"--rdzv-endpoint={socket.gethostname()}:{20_000 + number % 10_000}"]
    for run in job.params.call["runs"]:
        fields = {name: value for name, value in run.items() if name not in ("name", "task")}
        subprocess.run([*launch, "-m", "crackutils.cli", "train", given["data"], "--protocol",
                        run["name"], "--task", run["task"], "--runs", given["runs"], "--device",
                        given["device"], "-y", yaml.safe_dump(fields)], check=True, cwd=ROOT)


def main() -> None:
    """Execute the notebook; its output goes to the log."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end_all)
    threading.Thread(target=end_with, args=[int(os.environ["SNAKEMAKE_PID"])], daemon=True).start()
    with open(job.log[0], "w", encoding="utf-8") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    call, gpus = job.params.call, []
    if job.resources.get("gpu") and "SLURM_JOB_ID" not in os.environ:
        gpus = take_gpus(job.resources.gpu)
    if "runs" in call:
        train_by_torchrun()
    executed = Path(job.output[0])
    failed = executed.with_suffix(".failed.ipynb")
    notebook = ROOT / "notebooks" / f"{call['notebook']}.ipynb"
    papermill.execute_notebook(
        files.for_papermill(notebook), files.for_papermill(failed), call["parameters"],
        kernel_name="python3", progress_bar=False, stdout_file=sys.stdout, stderr_file=sys.stderr,
        cwd=ROOT)
    failed.replace(executed)
    del gpus  # until here


main()
