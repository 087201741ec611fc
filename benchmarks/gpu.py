"""All measurements on a CUDA machine: python benchmarks/gpu.py --out FOLDER [--only NAME]

Each measurement adds a line to FOLDER/gpu.jsonl and is not repeated for the same commit: start the
command again until it prints "open: none". With `--device cpu --tiny` every measurement runs, but
its numbers mean nothing.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch.nn.functional import conv2d, mse_loss, unfold
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for machines without `make setup`
from crackutils import experiment, records
from crackutils.batches import Sampler
from crackutils.data import picture_cache, samples
from crackutils.data.synthetic import cracks
from crackutils.device import Hardware, decide, fabric_for
from crackutils.models import build
from crackutils.protocol import preset
from crackutils.training import set_switches, train

NO_CHECKPOINTS = argparse.Namespace(load=lambda: None, due=lambda: False)


def largest_difference(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return torch.dist(first, second, p=torch.inf)


@cache
def pictures(count: int, side: int) -> picture_cache.Part:
    """Synthetic cracks of side x side pixels."""
    return picture_cache.Part.of([
        samples.Sample(str(number), *cracks.draw(0, number, (side, side)))
        for number in range(count)])


def setting(device: str, tiny: bool, **fields) -> tuple:
    """The paper's protocol with these fields, pictures of its size, and how the device computes:
    the `Hardware` and Fabric."""
    if tiny:
        protocol, part = preset("smoke", overrides=fields), pictures(6, 64)
    else:
        protocol, part = preset("paper", overrides=fields), pictures(64, 512)
    hardware = decide(protocol, device)
    return protocol, part, hardware, fabric_for(hardware)


@cache
def matrix_product_rate(device: str, tiny: bool) -> float:
    """Floating-point operations a second of a large bfloat16 matrix product."""
    side = 256 if tiny else 8192
    matrix = torch.randn(side, side, device=device).bfloat16()
    return 2 * side**3 / Timer("matrix @ matrix", globals={"matrix": matrix}).timeit(50).mean


def plain_loop(model, sampler: Sampler, clock) -> None:
    """The loop that a competent user writes: float32, channels first, Adam with its defaults."""
    optimizer = torch.optim.Adam(model.parameters(), lr=sampler.protocol.learning_rate)
    for step, (images, targets) in enumerate(sampler.batches(range(sampler.protocol.steps))):
        loss = mse_loss(torch.sigmoid(model(images.contiguous())), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 9:
            loss.item()  # waits for the device
            clock.due()


def throughput(given, kind: str) -> tuple[Hardware, dict]:
    """Images a second after the warm-up; the operations are those of convolutions and products."""
    warm, steps = (10, 30) if given.tiny else (30, 330)
    fields = {"precision": "float32"} if kind == "float32" else {}
    protocol, part, hardware, fabric = setting(given.device, given.tiny, steps=steps, **fields)
    model = build(protocol).to(given.device)
    with FlopCounterMode(display=False) as counter:
        model(torch.rand(1, 3, *protocol.tile, device=given.device)).sum().backward()
    operations = counter.get_total_flops()
    product_rate = matrix_product_rate(given.device, given.tiny)
    sampler = Sampler(part, protocol, fabric.device, resident=kind != "streaming")
    # both loops ask for a checkpoint after every tenth step, when the device has nothing to do
    stamps = []
    clock = argparse.Namespace(load=lambda: None, due=lambda: stamps.append(time.monotonic()))
    if given.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    if kind == "plain":
        hardware = Hardware(given.device, "float32", "channels_first")
        plain_loop(model, sampler, clock)
    else:
        if kind == "compiled":
            model = torch.compile(model, backend="eager" if given.tiny else "inductor")
        train(fabric, model, sampler, hardware, clock)
    times = pd.Series(stamps).diff()[warm // 10:] / 10  # seconds of a step
    speed = protocol.batch / times.mean()
    return hardware, {
        "steps": steps - warm, "images_per_second": speed, "slowest": protocol.batch / times.max(),
        "extrapolated_seconds_of_10000_steps": 10_000 * protocol.batch / speed,
        "peak_memory_mib": experiment.peak_memory_mib(hardware),
        "gflop_an_image": operations / 1e9, "product_tflops": product_rate / 1e12,
        "share_of_product_rate": speed * operations / product_rate}


def profile(given) -> tuple[Hardware, dict]:
    """Where the time of five steps goes: the 15 most expensive kernels in FOLDER/profile.csv."""
    protocol, part, hardware, fabric = setting(given.device, given.tiny, steps=5)
    sampler = Sampler(part, protocol, fabric.device)
    for _ in range(2):  # the first is to warm up
        seconds = train(fabric, build(protocol), sampler, hardware, NO_CHECKPOINTS).seconds
    with torch.profiler.profile() as profiler:
        train(fabric, build(protocol), sampler, hardware, NO_CHECKPOINTS)
    microseconds = f"self_{'device' if given.device == 'cuda' else 'cpu'}_time_total"
    rows = []
    for event in profiler.key_averages():
        if event.device_type.name.lower() == given.device and not event.is_user_annotation:
            rows.append({"kernel": event.key, "calls_a_step": event.count / 5,
                         "milliseconds_a_step": getattr(event, microseconds) / 5e3})
    table = pd.DataFrame(rows)
    busy = table["milliseconds_a_step"].sum()
    table = table.assign(share=table["milliseconds_a_step"] / busy, **given.where)
    table.nlargest(15, "share").to_csv(given.out / "profile.csv", index=False)
    return hardware, {"milliseconds_a_step": 200 * seconds, "busy_milliseconds_a_step": busy}


def convolve(images: torch.Tensor, weights: torch.Tensor, slopes: torch.Tensor,
             how: str) -> torch.Tensor:
    """A 7 x 7 convolution and its backward pass for the gradient `slopes`; returns the output.

    "unfolded" computes each image's convolution as a matrix product, else PyTorch convolves.
    """
    weights, outputs = weights.detach().requires_grad_(), []
    images_at_once = 1 if how == "unfolded" else len(images)
    for part, slope in zip(images.split(images_at_once), slopes.split(images_at_once)):
        # a photograph, with its three channels, needs no gradient
        part = part.detach().requires_grad_(images.shape[1] > 3)
        if how == "unfolded":
            output = (weights.flatten(1) @ unfold(part, 7, padding=3)[0]).view_as(slope)
        else:
            output = conv2d(part, weights, padding=3)
        output.backward(slope)
        outputs.append(output.detach())
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def first_level(given, channels: int, how: str) -> tuple[Hardware, dict]:
    """A convolution of the first level in bfloat16, against float32 without TF32."""
    count, side = (2, 32) if given.tiny else (40, 512)
    torch.backends.cudnn.allow_tf32 = False
    layout = torch.channels_last if how == "channels_last" else torch.contiguous_format
    shapes = ((count, channels, side, side), (16, channels, 7, 7), (count, 16, side, side))
    values = [torch.randn(shape, device=given.device).bfloat16().contiguous(memory_format=layout)
              for shape in shapes]
    work = partial(convolve, *values, how)
    seconds = Timer("work()", globals={"work": work}).timeit(20).mean  # after two to warm up
    outputs = work().float()
    expected = convolve(*(value.float() for value in values), "whole")
    passes = 3 if channels > 3 else 2  # forward, gradient of the weights, gradient of the images
    rate = 2 * outputs.numel() * channels * 49 * passes / seconds
    return Hardware(given.device, "bfloat16", how), {
        "milliseconds": 1e3 * seconds, "tflops": rate / 1e12,
        "max_difference": largest_difference(outputs, expected),
        "largest_value": expected.abs().max()}


def small_run(device: str, checkpoints=NO_CHECKPOINTS, until: int = 20, **fields) -> tuple:
    """A run of 20 steps, or its beginning: how it was computed, its losses, its weights."""
    protocol, part, hardware, fabric = setting(device, True, steps=20, **fields)
    sampler, model = Sampler(part, protocol, fabric.device), build(protocol)
    sampler.batches = lambda steps: (sampler.batch(step) for step in steps if step < until)
    losses = train(fabric, model, sampler, hardware, checkpoints).losses
    weights = [value.flatten().double().cpu() for value in model.state_dict().values()]
    return hardware, torch.tensor(losses), torch.cat(weights)


def same_as_cpu(given) -> tuple[Hardware, dict]:
    """A small run without TF32 on the device and on the CPU, and the batches of three samplers:
    resident on the device, streamed to it, and on the CPU."""
    torch.backends.cudnn.allow_tf32 = False
    hardware, losses, _ = small_run(given.device, precision="float32")
    _, expected, _ = small_run("cpu", precision="float32")
    protocol, batches = preset("smoke", overrides={"augmentation": "flips"}), []
    for device, resident in ((given.device, True), (given.device, False), ("cpu", True)):
        sampler = Sampler(pictures(6, 64), protocol, device, resident=resident)
        sampler.resident = resident
        # images and targets of a step side by side, along the channels
        steps = [torch.cat(batch, 1) for batch in sampler.batches(range(9))]
        batches.append(torch.cat(steps).cpu())
    resident, streamed, on_cpu = batches
    return hardware, {"loss_difference": largest_difference(losses, expected),
                      "streamed_equals_resident": torch.equal(resident, streamed),
                      "batch_difference_to_cpu": largest_difference(streamed, on_cpu)}


def resume(given) -> tuple[Hardware, dict]:
    """A small run that is cut after 15 steps and resumed, against an uncut one; and two uncut
    runs against each other."""
    hardware, losses, weights = small_run(given.device)
    _, losses_again, weights_again = small_run(given.device)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = records.Checkpoints(Path(folder), preset("smoke"), "", hardware)
        checkpoints.due = lambda: True
        small_run(given.device, checkpoints, until=15)
        steps_before = len(checkpoints.load()["losses"])
        _, losses_resumed, weights_resumed = small_run(given.device, checkpoints)
    loss_difference = largest_difference(losses_resumed, losses)
    return hardware, {"resumed_after": steps_before,
                      "within_tolerance": bool(loss_difference <= 1e-3),
                      "loss_difference": loss_difference,
                      "weight_difference": largest_difference(weights_resumed, weights),
                      "uncut_loss_difference": largest_difference(losses_again, losses),
                      "uncut_weight_difference": largest_difference(weights_again, weights)}


class Measurement(NamedTuple):
    """A function of the command line, and the seconds that it takes at most."""

    seconds: int
    measure: Callable[[argparse.Namespace], tuple[Hardware, dict]]


MEASUREMENTS = {}
for _kind in ("plain", "bfloat16", "float32", "compiled", "streaming"):
    MEASUREMENTS[f"throughput/{_kind}"] = Measurement(200, partial(throughput, kind=_kind))
for _channels in (3, 16, 32):
    for _how in ("channels_last", "channels_first", "unfolded"):
        MEASUREMENTS[f"first_level/{_channels}-16/{_how}"] = Measurement(
            30, partial(first_level, channels=_channels, how=_how))
MEASUREMENTS |= {"profile": Measurement(60, profile), "same_as_cpu": Measurement(60, same_as_cpu),
                 "resume": Measurement(60, resume)}


def arguments() -> argparse.Namespace:
    """The command line, parsed; `where` tells the lines of one machine from another's."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of all results")
    parser.add_argument("--only", default="", help="the measurements whose names begin so")
    parser.add_argument("--minutes", type=float, default=9.0,
                        help="no measurement is started that could end later")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu with --tiny")
    parser.add_argument("--tiny", action="store_true", help="shows that it runs, measures nothing")
    parser.add_argument("--commit", default=experiment.commit() or "",
                        help="of the code that is measured (default: as git says)")
    given = parser.parse_args()
    available = torch.cuda.is_available() if given.device == "cuda" else given.tiny
    if not available:
        parser.exit(2, "This needs a CUDA device; --device cpu --tiny only shows that it runs.\n")
    name = torch.cuda.get_device_name() if given.device == "cuda" else "cpu"
    given.where = {"tiny": given.tiny, "device": name}
    return given


def line_of(name: str, given: argparse.Namespace) -> str:
    """Make one measurement; returns its line of gpu.jsonl."""
    begun = time.monotonic()
    set_switches(given)
    torch.backends.cudnn.allow_tf32 = True  # PyTorch's default
    hardware, results = MEASUREMENTS[name].measure(given)
    return json.dumps({"measurement": name, **given.where, "torch": torch.__version__,
                       "commit": given.commit, "precision": hardware.precision,
                       "layout": hardware.memory_format, "tf32": torch.backends.cudnn.allow_tf32,
                       "seconds": time.monotonic() - begun, **results}, default=float)


def main() -> int:
    """The exit status: the number of measurements that failed."""
    given, begun, failed = arguments(), time.monotonic(), []
    given.out.mkdir(parents=True, exist_ok=True)
    done = {}
    with open(given.out / "gpu.jsonl", "a+") as file:
        file.seek(0)
        for line in map(json.loads, file):
            if {**given.where, "commit": given.commit}.items() <= line.items():
                done[line["measurement"]] = line
        for name, measurement in MEASUREMENTS.items():
            end = time.monotonic() - begun + measurement.seconds
            if name in done or not name.startswith(given.only) or end > 60 * given.minutes:
                continue
            try:
                line = line_of(name, given)
            except Exception:  # the other measurements may still work
                sys.excepthook(*sys.exc_info())
                failed.append(name)
                continue
            print(line, file=file, flush=True)
            print(line, flush=True)
            done[name] = json.loads(line)
    table = pd.DataFrame(done.values())
    if "throughput/plain" in done:
        table["ratio_to_plain"] = (table["images_per_second"]
                                   / done["throughput/plain"]["images_per_second"])
    table.to_csv(given.out / "gpu.csv", index=False)
    print("open:", ", ".join(name for name in MEASUREMENTS if name not in done) or "none")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
