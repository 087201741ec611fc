"""One readable training loop on Lightning Fabric."""

import logging
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import nn
from tqdm import tqdm

from crackutils.losses import LOSSES, loss_from_logits
from crackutils.models import probability
from crackutils.protocol import Protocol
from crackutils.runs import load_checkpoint, save_checkpoint
from crackutils.sampling import Sampler

# Fabric reports its precision at each set-up; the notebooks print it once themselves
logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
CHECKPOINT_SECONDS = 30
FETCH_EVERY = 10  # steps between two looks at the losses: each look waits for the device


class TrainingFailedError(RuntimeError):
    """The loss is no number any more."""


@dataclass(frozen=True)
class Hardware:
    """Where and how a network computes: "cpu" or "cuda", precision, memory layout."""

    device: str
    precision: str
    memory_format: str


def decide(protocol: Protocol, device: str = "auto") -> Hardware:
    """Device, precision and layout of a run: what the protocol says, else by network and device.

    By capability, never by timing, so that the same machine always decides alike. bfloat16 needs
    hardware for it; the U-Net then computes channels last. The FPN on a CPU stays in float32 and
    channels first: its bfloat16 convolutions are several times slower there.
    `ValueError` for "cuda" where there is none.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {device!r}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda, but PyTorch sees no CUDA device here: use device=auto (or "
                         "cpu), or install a driver that matches PyTorch's CUDA.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = protocol.architecture == "unet" and torch.cpu._is_avx512_bf16_supported()
    precision = protocol.precision if protocol.precision != "auto" else \
        ("bfloat16" if fast else "float32")
    layout = protocol.memory_format if protocol.memory_format != "auto" else \
        ("channels_last" if fast else "channels_first")
    return Hardware(device, precision, layout)


def fabric_for(hardware: Hardware) -> Fabric:
    """Fabric on one device in the decided precision."""
    precision = "bf16-mixed" if hardware.precision == "bfloat16" else "32-true"
    return Fabric(accelerator=hardware.device, devices=1, precision=precision)


def tensor_format(hardware: Hardware) -> torch.memory_format:
    return torch.channels_last if hardware.memory_format == "channels_last" \
        else torch.contiguous_format


def learning_rate(protocol: Protocol, step: int) -> float:
    """The rate of a step: constant, or half a cosine from the first rate down to 0."""
    if protocol.schedule == "constant":
        return protocol.learning_rate
    return protocol.learning_rate * (1 + math.cos(math.pi * step / protocol.steps)) / 2


def train(model: nn.Module, sampler: Sampler, protocol: Protocol, hardware: Hardware,
          record: Path) -> tuple[list[float], float]:
    """Train `model` in place; returns the loss of each step and the seconds spent, all sessions.

    Adam on batches that are a pure function of (seed, step). A checkpoint lies in `record` every
    30 s; a run that was cut short goes on from it. `TrainingFailedError` where the loss is not a
    finite number. Bit for bit the same on the same machine on a CPU; on CUDA some of the operations
    have no deterministic form.
    """
    fabric = fabric_for(hardware)
    torch.use_deterministic_algorithms(hardware.device == "cpu")
    optimizer = torch.optim.Adam(model.parameters(), lr=protocol.learning_rate)
    model.to(memory_format=tensor_format(hardware))
    network, fabric_optimizer = fabric.setup(model, optimizer)
    # after set-up: Adam's state has to lie where Fabric has put the weights
    losses, earlier = restore(model, optimizer, load_checkpoint(record))
    network.train()
    pending, started = [], time.monotonic()
    saved = started
    bar = tqdm(range(len(losses), protocol.steps), initial=len(losses), total=protocol.steps,
               desc=f"{protocol.loss} {protocol.weight or ''} seed {protocol.seed}",
               unit="step", file=sys.stdout, mininterval=2)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(protocol, step)
        pending.append(one_step(fabric, network, fabric_optimizer, sampler, protocol, hardware,
                                step))
        if len(pending) == FETCH_EVERY or step + 1 == protocol.steps:
            losses += fetch(pending, len(losses), sampler, protocol)
            pending.clear()
            bar.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                saved = time.monotonic()
                save_checkpoint(record, {"model": model.state_dict(), "losses": losses,
                                         "optimizer": optimizer.state_dict(),
                                         "seconds": earlier + saved - started})
    return losses, earlier + time.monotonic() - started


def one_step(fabric: Fabric, network, optimizer, sampler: Sampler, protocol: Protocol,
             hardware: Hardware, step: int) -> torch.Tensor:
    """Draw, predict, charge, improve; returns the loss without waiting for it."""
    # dropout (the FPN has some) must draw by (seed, step) too
    torch.manual_seed(int(np.random.SeedSequence([protocol.seed, step]).generate_state(1)[0]))
    images, targets = (fabric.to_device(tensor) for tensor in sampler.batch(step))
    logits = network(images.contiguous(memory_format=tensor_format(hardware)))
    if protocol.output == "clipped":
        loss = LOSSES[protocol.loss](probability(logits, "clipped"), targets,
                                     weight=protocol.weight)
    else:
        loss = loss_from_logits(protocol.loss, logits, targets, weight=protocol.weight)
    optimizer.zero_grad()
    fabric.backward(loss)
    optimizer.step()
    return loss.detach()


def restore(model: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: dict | None) -> tuple:
    """Put a checkpoint back, if there is one; returns the losses of the steps done, the seconds."""
    if checkpoint is None:
        return [], 0.0
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    print(f"resumed after step {len(checkpoint['losses'])}")
    return list(checkpoint["losses"]), checkpoint["seconds"]


def fetch(pending: list[torch.Tensor], first: int, sampler: Sampler,
          protocol: Protocol) -> list[float]:
    """The losses of the last steps as numbers; stops at the first that is none."""
    losses = torch.stack(pending).tolist()
    for step, loss in enumerate(losses, start=first):
        if not math.isfinite(loss):
            names = ", ".join(sampler.names(step))
            raise TrainingFailedError(
                f"The loss is {loss} at step {step + 1} of {protocol.steps} ({protocol.loss}, "
                f"weight {protocol.weight}, seed {protocol.seed}); its batch: {names}. Try a lower "
                f"learning_rate (now {protocol.learning_rate:g}) or precision=float32, and look "
                "at the batch's images and masks.")
    return losses
