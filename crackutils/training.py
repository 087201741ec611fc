"""One readable training loop on Lightning Fabric."""

import math
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from tqdm import tqdm

from crackutils.batches import Sampler
from crackutils.data.masks import IGNORED
from crackutils.device import Hardware, synchronises_batch_norm
from crackutils.losses import loss_from_logits
from crackutils.protocol import Protocol
from crackutils.records import Checkpoints

FETCH_EVERY = 10  # steps after which their losses are fetched: that waits for the device


class TrainingFailedError(RuntimeError):
    """The loss is NaN or infinite."""


class Trained(NamedTuple):
    """What a training gives besides the trained network."""

    losses: list[float]  # of each step
    validation: dict[int, float]  # the validation part's IoU after some of the steps
    seconds: float  # of all sessions together


def learning_rate(protocol: Protocol, step: int) -> float:
    """The rate of a step: constant, or half a cosine from the first rate down to 0."""
    if protocol.schedule == "constant":
        return protocol.learning_rate
    return protocol.learning_rate * (1 + math.cos(math.pi * step / protocol.steps)) / 2


def train(fabric: Fabric, model: nn.Module, sampler: Sampler, hardware: Hardware,
          checkpoints: Checkpoints, validate: Callable[[], float] | None = None) -> Trained:
    """Train `model` in place; `validate` is called after every `protocol.validate_every` steps.

    Adam on batches that are a pure function of (seed, step); Fabric's processes share them. A run
    that was cut short is resumed from its last checkpoint. On a CPU a repeated run ends bit for bit
    the same on the same machine; on CUDA some operations have no deterministic form. Raises
    `TrainingFailedError` if the loss is NaN or infinite.
    """
    protocol = sampler.protocol
    set_switches(hardware)
    network, optimizer, fabric_optimizer = set_up(fabric, model, protocol, hardware)
    # the checkpoint comes after `set_up`: Adam's state has to lie where Fabric has put the weights
    checkpoint = fabric.broadcast(checkpoints.load() if fabric.is_global_zero else None)
    losses, validation, earlier_seconds = restore(model, optimizer, checkpoint)
    network.train()
    new_losses, start = [], time.monotonic()
    steps = range(len(losses), protocol.steps)
    bar = progress_bar(zip(steps, sampler.batches(steps)), len(losses), protocol, fabric)
    for step, batch in bar:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(protocol, step)
        seed_dropout(protocol, step, fabric.global_rank)
        new_losses.append(one_step(fabric, network, fabric_optimizer, batch, protocol, hardware))
        last = step + 1 == protocol.steps
        validate_now = validate is not None and protocol.validate_every is not None \
            and (step + 1) % protocol.validate_every == 0
        if not (validate_now or last or len(new_losses) == FETCH_EVERY):
            continue  # the device computes ahead
        losses += fetch(new_losses, len(losses), sampler)
        new_losses = []
        bar.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
        if validate_now:
            validation[step + 1] = validate()
            network.train()
        if fabric.is_global_zero and checkpoints.due():
            checkpoints.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                              "losses": losses, "validation": validation,
                              "seconds": earlier_seconds + time.monotonic() - start})
    return Trained(losses, validation, earlier_seconds + time.monotonic() - start)


def progress_bar(batches, done: int, protocol: Protocol, fabric: Fabric) -> tqdm:
    """The batches with a progress bar, which one of several processes shows."""
    hidden = {} if fabric.is_global_zero else {"disable": True}  # False would overrule TQDM_DISABLE
    return tqdm(batches, initial=done, total=protocol.steps,
                desc=f"{protocol.loss} {protocol.weight or ''} seed {protocol.seed}",
                unit="step", file=sys.stdout, mininterval=2, **hidden)


def set_switches(hardware: Hardware) -> None:
    """Set PyTorch's global switches: repeatable on a CPU, the fastest algorithms on CUDA."""
    torch.use_deterministic_algorithms(hardware.device == "cpu")
    # deterministic mode would also fill each new tensor, which costs time and changes nothing here
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = hardware.device == "cuda"


def set_up(fabric: Fabric, model: nn.Module, protocol: Protocol, hardware: Hardware) -> tuple:
    """The network as Fabric runs it, its optimizer, and the optimizer as Fabric runs it."""
    model.to(memory_format=hardware.tensor_format)
    if hardware.ranks > 1 and synchronises_batch_norm(protocol):
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=protocol.learning_rate, fused=True)
    network, fabric_optimizer = fabric.setup(model, optimizer)
    return network, optimizer, fabric_optimizer


def restore(model: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: dict | None) -> Trained:
    """Load a checkpoint, if there is one, and return what the steps until then have given."""
    if checkpoint is None:
        return Trained([], {}, 0.0)
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    print(f"resumed after step {len(checkpoint['losses'])}")
    return Trained(checkpoint["losses"], checkpoint["validation"], checkpoint["seconds"])


def seed_dropout(protocol: Protocol, step: int, rank: int) -> None:
    """Let dropout (the FPN has some) depend on seed and step alone, and differ by process."""
    numbers = [protocol.seed, step]
    if rank > 0:
        numbers.append(rank)
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))


def one_step(fabric: Fabric, network, optimizer, batch: tuple[Tensor, Tensor], protocol: Protocol,
             hardware: Hardware) -> Tensor:
    """Predict, compute the loss, improve the weights; returns the loss without waiting for it."""
    images, targets = batch
    logits = network(images.contiguous(memory_format=hardware.tensor_format))
    if hardware.ranks > 1:
        # Some losses pool over the batch, so each process computes the loss of the whole batch.
        # Fabric averages the processes' gradients; the average is the gradient of one process.
        logits = fabric.all_gather(logits, sync_grads=True).flatten(0, 1)
        targets = fabric.all_gather(targets).flatten(0, 1)
    loss = loss_from_logits(protocol.loss, logits, targets, weight=protocol.weight,
                            smoothing=protocol.smoothing, output=protocol.output,
                            pooling=protocol.pooling,
                            ignored=None if protocol.ignore is None else IGNORED)
    optimizer.zero_grad()
    fabric.backward(loss)
    optimizer.step()
    return loss.detach()


def fetch(losses: list[Tensor], first_step: int, sampler: Sampler) -> list[float]:
    """The losses of the last steps as numbers; `TrainingFailedError` if one is not finite."""
    values = torch.stack(losses).tolist()
    for step, loss in enumerate(values, start=first_step):
        if not math.isfinite(loss):
            protocol, names = sampler.protocol, ", ".join(sampler.names(step))
            raise TrainingFailedError(
                f"The loss is {loss} at step {step + 1} of {protocol.steps} ({protocol.loss}, "
                f"weight {protocol.weight}, seed {protocol.seed}); its batch: {names}. Try a lower "
                f"learning_rate (now {protocol.learning_rate:g}) or precision=float32, and look "
                "at the batch's images and masks.")
    return values
