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
from crackutils.device import Hardware, synchronises_batch_norm
from crackutils.losses import loss_from_logits
from crackutils.protocol import Protocol
from crackutils.records import Checkpoints

FETCH_EVERY = 10  # steps between two looks at the losses: each look waits for the device


class TrainingFailedError(RuntimeError):
    """The loss is no number any more."""


class Trained(NamedTuple):
    """The loss of each step, the validation part's IoU after some, the seconds of all sessions."""

    losses: list[float]
    validation: dict[int, float]
    seconds: float


def learning_rate(protocol: Protocol, step: int) -> float:
    """The rate of a step: constant, or half a cosine from the first rate down to 0."""
    if protocol.schedule == "constant":
        return protocol.learning_rate
    return protocol.learning_rate * (1 + math.cos(math.pi * step / protocol.steps)) / 2


def train(fabric: Fabric, model: nn.Module, sampler: Sampler, hardware: Hardware,
          checkpoints: Checkpoints, validate: Callable[[], float] | None = None) -> Trained:
    """Train `model` in place; `validate` is called after every `protocol.validate_every` steps.

    Adam on batches that are a pure function of (seed, step), shared out over Fabric's processes. A
    run that was cut short goes on from its last checkpoint. `TrainingFailedError` where the loss is
    not a finite number. Bit for bit the same on the same machine on a CPU; on CUDA some of the
    operations have no deterministic form.
    """
    protocol = sampler.protocol
    set_switches(hardware)
    network, optimizer, fabric_optimizer = set_up(fabric, model, protocol, hardware)
    # after set-up: Adam's state has to lie where Fabric has put the weights
    state = fabric.broadcast(checkpoints.load() if fabric.is_global_zero else None)
    trained = restore(model, optimizer, state)
    losses, validation, earlier = trained
    network.train()
    pending, started = [], time.monotonic()
    steps = range(len(losses), protocol.steps)
    bar = progress(zip(steps, sampler.batches(steps)), len(losses), protocol, fabric)
    for step, batch in bar:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(protocol, step)
        seed_dropout(protocol, step, fabric.global_rank)
        pending.append(one_step(fabric, network, fabric_optimizer, batch, protocol, hardware))
        look = validate and protocol.validate_every and (step + 1) % protocol.validate_every == 0
        if not (look or len(pending) == FETCH_EVERY or step + 1 == protocol.steps):
            continue
        losses += fetch(pending, len(losses), sampler, protocol)
        pending.clear()
        bar.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
        if look:
            validation[step + 1] = validate()
            network.train()
        if fabric.is_global_zero and checkpoints.due():
            checkpoints.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                              "losses": losses, "validation": validation,
                              "seconds": earlier + time.monotonic() - started})
    return trained._replace(seconds=earlier + time.monotonic() - started)


def progress(batches, done: int, protocol: Protocol, fabric: Fabric) -> tqdm:
    """The batches with a progress bar, in one of several processes."""
    return tqdm(batches, initial=done, total=protocol.steps,
                desc=f"{protocol.loss} {protocol.weight or ''} seed {protocol.seed}",
                unit="step", file=sys.stdout, mininterval=2, disable=not fabric.is_global_zero)


def set_switches(hardware: Hardware) -> None:
    """PyTorch's global switches: repeatable on a CPU, the fastest algorithms on CUDA."""
    torch.use_deterministic_algorithms(hardware.device == "cpu")
    # else every new tensor is filled first, in case somebody reads what nobody wrote
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = hardware.device == "cuda"


def set_up(fabric: Fabric, model: nn.Module, protocol: Protocol, hardware: Hardware) -> tuple:
    """The network as Fabric runs it, its optimiser, and the optimiser as Fabric runs it."""
    model.to(memory_format=hardware.tensor_format)
    if hardware.ranks > 1 and synchronises_batch_norm(protocol):
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=protocol.learning_rate, fused=True)
    network, fabric_optimizer = fabric.setup(model, optimizer)
    return network, optimizer, fabric_optimizer


def seed_dropout(protocol: Protocol, step: int, rank: int) -> None:
    """Dropout (the FPN has some) draws by (seed, step) too, and in each process something else."""
    entropy = [protocol.seed, step] + [rank] * (rank > 0)
    torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))


def one_step(fabric: Fabric, network, optimizer, batch: tuple[Tensor, Tensor], protocol: Protocol,
             hardware: Hardware) -> Tensor:
    """Predict, charge, improve; returns the loss without waiting for it."""
    images, targets = batch
    logits = network(images.contiguous(memory_format=hardware.tensor_format))
    if hardware.ranks > 1:
        # some losses pool over the batch: each process charges the whole of it, and the average of
        # the gradients, which Fabric makes, is then the gradient of one process
        logits, targets = (fabric.all_gather(one, sync_grads=one.requires_grad).flatten(0, 1)
                           for one in (logits, targets))
    loss = loss_from_logits(protocol.loss, logits, targets, weight=protocol.weight,
                            smoothing=protocol.smoothing, output=protocol.output,
                            pooling=protocol.pooling)
    optimizer.zero_grad()
    fabric.backward(loss)
    optimizer.step()
    return loss.detach()


def restore(model: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: dict | None) -> Trained:
    """Put a checkpoint back, if there is one; returns what the steps done have given."""
    if checkpoint is None:
        return Trained([], {}, 0.0)
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    print(f"resumed after step {len(checkpoint['losses'])}")
    return Trained(list(checkpoint["losses"]), dict(checkpoint["validation"]),
                   checkpoint["seconds"])


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
