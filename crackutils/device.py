"""Device, precision, memory layout and processes of a run: decided here, applied by Fabric."""

import ctypes
import logging
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch
from joblib import cpu_count as usable_cores  # a job or a container often gets only a few
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.lightning import find_free_network_port

from crackutils.protocol import Protocol

# Fabric prints the precision at each set-up; the notebooks print it once themselves
for package in ("lightning.fabric", "lightning.pytorch"):
    logging.getLogger(package).setLevel(logging.WARNING)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's numbers for these options
UNDER_TORCHRUN = "TORCHELASTIC_RUN_ID" in os.environ


@dataclass(frozen=True)
class Hardware:
    """What a run computes with, as decided by `decide`."""

    device: str  # "cpu" or "cuda"
    precision: str  # "float32" or "bfloat16"
    memory_format: str  # "channels_first" or "channels_last"
    devices: int = 1  # number of GPUs (on a CPU: of processes) on each machine
    strategy: str = "auto"  # Fabric's strategy; "auto" is "ddp" for several processes
    num_nodes: int = 1  # number of machines

    @property
    def tensor_format(self) -> torch.memory_format:
        """The memory layout as PyTorch names it."""
        if self.memory_format == "channels_last":
            return torch.channels_last
        return torch.contiguous_format

    @property
    def ranks(self) -> int:
        """Number of processes that share the run."""
        return self.devices * self.num_nodes


def decide(protocol: Protocol, device: str = "auto", devices: int = 1, strategy: str = "auto",
           num_nodes: int = 1) -> Hardware:
    """Device, precision and memory layout of a run.

    `device` is "cpu", "cuda" or "auto" (CUDA if PyTorch sees a GPU). If the protocol leaves
    precision or layout to "auto", the fastest is taken. Nothing is timed, so a machine always
    decides the same. Raises `ValueError` if CUDA is asked for but not available, and if the
    processes can't share the run.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {device!r}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda, but PyTorch sees no CUDA device here: use device=auto (or "
                         "cpu), or install a driver that matches PyTorch's CUDA.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    precision, memory_format = protocol.precision, protocol.memory_format
    if precision == "auto":
        precision = fastest_precision(protocol, device)
    if memory_format == "auto":
        memory_format = fastest_layout(protocol, device, precision)
    hardware = Hardware(device, precision, memory_format, devices, strategy, num_nodes)
    check_processes(protocol, hardware)
    return hardware


def fastest_precision(protocol: Protocol, device: str) -> str:
    """The precision in which this device trains fastest, as measured by `benchmarks/training.py`.

    bfloat16 needs a device that computes in it; on a CPU the FPN also needs matrix units (AMX).
    """
    if device == "cuda":
        computes = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # every CPU computes in float32: used if this version of PyTorch reports no capabilities
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()
        computes = capabilities.get("amx_bf16", False) or (
            protocol.architecture == "unet" and capabilities.get("avx512_bf16", False))
    return "bfloat16" if computes else "float32"


def fastest_layout(protocol: Protocol, device: str, precision: str) -> str:
    """The memory layout in which this device trains fastest, as measured like the precision.

    On a GPU channels last needs bfloat16. On a CPU it needs oneDNN's convolutions, and in bfloat16
    it is the slower layout for a U-Net of fewer than 16 filters with batch norm.
    """
    if device == "cuda":
        last = precision == "bfloat16"
    else:
        narrow = (protocol.architecture == "unet" and protocol.batch_norm
                  and protocol.first_filters < 16)
        last = torch.backends.mkldnn.is_available() and not (precision == "bfloat16" and narrow)
    return "channels_last" if last else "channels_first"


def check_processes(protocol: Protocol, hardware: Hardware) -> None:
    """Raise `ValueError` if the processes of `hardware` can't share a run of the protocol."""
    for name in ("devices", "num_nodes"):
        value = getattr(hardware, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}.")
    if hardware.num_nodes > 1 and not UNDER_TORCHRUN:
        raise ValueError(f"num_nodes={hardware.num_nodes} needs a process on each machine: start "
                         "crackutils train there by torchrun.")
    available = torch.cuda.device_count() if hardware.device == "cuda" else usable_cores()
    if hardware.devices > available:
        raise ValueError(f"devices={hardware.devices}, but this process may use {available}: "
                         f"choose at most {available}.")
    if protocol.batch % hardware.ranks:
        raise ValueError(f"A batch of {protocol.batch} can't be divided evenly among "
                         f"{hardware.ranks} processes: choose another batch or other devices.")
    if hardware.ranks > 1 and hardware.device == "cpu" and synchronises_batch_norm(protocol):
        raise ValueError("PyTorch synchronises batch norm between processes on CUDA only: on a CPU "
                         "use one process, or override synchronised_batch_norm or batch_norm with "
                         "false.")


def synchronises_batch_norm(protocol: Protocol) -> bool:
    """Whether the network has batch norm with statistics over the batches of all processes."""
    has_batch_norm = protocol.batch_norm or protocol.architecture == "fpn"
    return has_batch_norm and protocol.synchronised_batch_norm


def keep_freed_memory() -> None:
    """Let glibc keep the memory that PyTorch frees, as far as it manages the memory.

    Each step of a training needs the same memory again. If it were given back to the system, every
    4 KiB of it would cost a page fault: about a tenth of a step's time for a small U-Net.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2**25)  # the largest that glibc accepts
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def fabric_for(hardware: Hardware) -> Fabric:
    """Lightning Fabric for the decided device, precision and processes."""
    keep_freed_memory()
    precision = "bf16-mixed" if hardware.precision == "bfloat16" else "32-true"
    # PyTorch starts a thread for each core of the machine, also where a container gets fewer
    torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))
    strategy = hardware.strategy
    if strategy == "auto" and hardware.ranks > 1:
        strategy = "ddp"
    return Fabric(accelerator=hardware.device, devices=hardware.devices, strategy=strategy,
                  num_nodes=hardware.num_nodes, precision=precision)


def launch(hardware: Hardware, work: Callable[[Fabric], None]) -> None:
    """Call `work(fabric)` in each process of a run.

    Under torchrun the processes exist, and this is one of them. Otherwise, if there are several,
    they are started here, also from a notebook; `work` must then be picklable.
    """
    if hardware.ranks == 1 or UNDER_TORCHRUN:
        fabric_for(hardware).launch(work)
        return
    arguments = hardware, work, find_free_network_port()
    torch.multiprocessing.spawn(_start, arguments, nprocs=hardware.devices)


def _start(rank: int, hardware: Hardware, work: Callable[[Fabric], None], port: int) -> None:
    """Do the work of process number `rank` of several on this machine."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    # Fabric reads the process's place from here
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port), "WORLD_SIZE": str(hardware.devices)}
    if hardware.device == "cpu":
        torch.set_num_threads(max(1, usable_cores() // hardware.devices))
    fabric_for(hardware).launch(work)


def _exit_with_parent() -> None:
    """End this process when its parent ends, for whatever reason.

    PyTorch only sends it an interrupt then, which processes in background jobs ignore.
    """
    multiprocessing.parent_process().join()
    os._exit(1)
