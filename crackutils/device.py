"""Where and how a network computes, decided once for a run; Lightning Fabric does the rest."""

import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

import torch
from lightning.fabric import Fabric

from crackutils.protocol import Protocol

# Fabric reports its precision at each set-up; the notebooks print it once themselves
for package in ("lightning.fabric", "lightning.pytorch"):
    logging.getLogger(package).setLevel(logging.WARNING)
UNDER_TORCHRUN = "TORCHELASTIC_RUN_ID" in os.environ


@dataclass(frozen=True)
class Hardware:
    """"cpu" or "cuda", precision, memory layout; how many devices (on a CPU: processes) a node."""

    device: str
    precision: str
    memory_format: str
    devices: int = 1
    strategy: str = "auto"
    num_nodes: int = 1

    @property
    def tensor_format(self) -> torch.memory_format:
        return torch.channels_last if self.memory_format == "channels_last" \
            else torch.contiguous_format

    @property
    def ranks(self) -> int:
        """How many processes share a run."""
        return self.devices * self.num_nodes


def decide(protocol: Protocol, device: str = "auto", devices: int = 1, strategy: str = "auto",
           num_nodes: int = 1) -> Hardware:
    """Device, precision and layout of a run: what the protocol says, else by network and device.

    By capability, never by timing, so that the same machine always decides alike: see `fastest`.
    `ValueError` for "cuda" where there is none, and for devices that can't share the run.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {device!r}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda, but PyTorch sees no CUDA device here: use device=auto (or "
                         "cpu), or install a driver that matches PyTorch's CUDA.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    precision, layout = fastest(protocol, device)
    if protocol.precision != "auto":
        precision = protocol.precision
    if protocol.memory_format != "auto":
        layout = protocol.memory_format
    hardware = Hardware(device, precision, layout, devices, strategy, num_nodes)
    check_shares(protocol, hardware)
    return hardware


def fastest(protocol: Protocol, device: str) -> tuple[str, str]:
    """Precision and layout, as measured (`benchmarks/layouts.py`).

    bfloat16 needs hardware for it, and then the U-Net computes channels last; but on a CPU the
    backward pass of PyTorch's batch norm is several times slower channels last than channels
    first at 8 channels. The FPN computes in bfloat16 on a CPU with matrix units only.
    """
    unet = protocol.architecture == "unet"
    if device == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("bfloat16", "channels_last") if fast else ("float32", "channels_first")
    units = torch.cpu._is_amx_tile_supported()
    if not (units or (unet and torch.cpu._is_avx512_bf16_supported())):
        return "float32", "channels_first"
    narrow = unet and protocol.batch_norm and protocol.first_filters < 16
    return "bfloat16", "channels_first" if narrow else "channels_last"


def check_shares(protocol: Protocol, hardware: Hardware) -> None:
    """Refuse devices that can't share the protocol's runs."""
    for name in ("devices", "num_nodes"):
        value = getattr(hardware, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}.")
    if hardware.num_nodes > 1 and not UNDER_TORCHRUN:
        raise ValueError(f"num_nodes={hardware.num_nodes} needs a process on each machine: start "
                         "crackutils train there by torchrun.")
    available = torch.cuda.device_count() if hardware.device == "cuda" else os.cpu_count()
    if hardware.devices > available:
        raise ValueError(f"devices={hardware.devices}, but this machine has {available}.")
    if protocol.batch % hardware.ranks:
        raise ValueError(f"A batch of {protocol.batch} can't be shared out evenly over "
                         f"{hardware.ranks} processes: choose another batch or other devices.")
    if hardware.ranks > 1 and hardware.device == "cpu" and synchronised(protocol):
        raise ValueError("PyTorch synchronises batch norm between processes on CUDA only: on a CPU "
                         "use one process, or override synchronised_batch_norm or batch_norm with "
                         "false.")


def synchronised(protocol: Protocol) -> bool:
    """Whether the protocol's network has batch norm whose statistics are the whole batch's."""
    has_any = protocol.batch_norm or protocol.architecture == "fpn"
    return has_any and protocol.synchronised_batch_norm


def fabric_for(hardware: Hardware) -> Fabric:
    """Fabric on the decided devices in the decided precision."""
    precision = "bf16-mixed" if hardware.precision == "bfloat16" else "32-true"
    strategy = hardware.strategy
    if strategy == "auto" and hardware.ranks > 1:
        strategy = "ddp"
    return Fabric(accelerator=hardware.device, devices=hardware.devices, strategy=strategy,
                  num_nodes=hardware.num_nodes, precision=precision)


def launch(hardware: Hardware, share: Callable[[Fabric], None]) -> None:
    """Call `share(fabric)` in each process of a run; under torchrun this is one of them.

    Else several are started anew, from a notebook too: `share` must then be picklable.
    """
    if hardware.ranks == 1 or UNDER_TORCHRUN:
        fabric = fabric_for(hardware)
        fabric.launch()
        share(fabric)
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(start, (hardware, share, port), nprocs=hardware.devices)


def start(rank: int, hardware: Hardware, share: Callable[[Fabric], None], port: int) -> None:
    """One of several processes on this machine: tell Fabric which, and take its share."""
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port), "WORLD_SIZE": str(hardware.devices)}
    if hardware.device == "cpu":
        torch.set_num_threads(max(1, os.cpu_count() // hardware.devices))
    fabric = fabric_for(hardware)
    fabric.launch()
    share(fabric)
