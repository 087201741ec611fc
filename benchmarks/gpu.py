"""All measurements on a CUDA machine: python benchmarks/gpu.py --out FOLDER [--only NAME]

What has its line in FOLDER/gpu.jsonl is not measured again: call until none is open; take another
FOLDER for other code. With `--device cpu --tiny` all are only seen to run, the numbers say nothing.
"""
import argparse
import json
import sys
import tempfile
import time
from functools import cache, partial
from pathlib import Path

import pandas as pd
import torch
from torch.nn.functional import conv2d, mse_loss, unfold
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where nothing is installed
from crackutils import experiment, records
from crackutils.batches import Sampler
from crackutils.data import picture_cache, samples
from crackutils.data.synthetic import cracks
from crackutils.device import Hardware, decide, fabric_for
from crackutils.models import build
from crackutils.protocol import preset
from crackutils.training import set_switches, train

NONE_KEPT = argparse.Namespace(load=lambda: None, due=lambda: False)  # in place of checkpoints
farthest = partial(torch.dist, p=torch.inf)  # the largest difference
pictures = cache(lambda count, side: picture_cache.Part.of([
    samples.Sample(str(one), *cracks.draw(0, one, (side, side))) for one in range(count)]))


def setting(device: str, tiny: bool, **fields) -> tuple:
    """The paper's protocol, pictures of its size, how the device computes it, Fabric on it."""
    protocol = preset("smoke" if tiny else "paper", overrides=fields)
    decided = decide(protocol, device)
    return protocol, pictures(*(6, 64) if tiny else (64, 512)), decided, fabric_for(decided)


@cache
def product_rate(device: str, tiny: bool) -> float:
    """Floating-point operations a second of a large bfloat16 matrix product on random numbers."""
    side = 256 if tiny else 8192
    matrix = torch.randn(side, side, device=device).bfloat16()
    return 2 * side**3 / Timer("matrix @ matrix", globals={"matrix": matrix}).timeit(50).mean


def plain_loop(model, sampler: Sampler, clock) -> None:
    """The loop a competent user writes: float32, channels first, Adam as it comes."""
    optimizer = torch.optim.Adam(model.parameters(), lr=sampler.protocol.learning_rate)
    for step, (images, targets) in enumerate(sampler.batches(range(sampler.protocol.steps))):
        loss = mse_loss(torch.sigmoid(model(images.contiguous())), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 9:
            loss.item()  # waits for the device
            clock.due()


def throughput(given, kind: str) -> tuple:
    """Steady images a second; of the operations, those of convolutions and products count."""
    warm, steps = (10, 30) if given.tiny else (30, 330)
    fields = {"precision": "float32"} if kind == "float32" else {}
    protocol, part, decided, fabric = setting(given.device, given.tiny, steps=steps, **fields)
    model = build(protocol).to(given.device)
    with FlopCounterMode(display=False) as counter:
        model(torch.rand(1, 3, *protocol.tile, device=given.device)).sum().backward()
    each, rate = counter.get_total_flops(), product_rate(given.device, given.tiny)
    sampler, stamps = Sampler(part, protocol, fabric.device, resident=kind != "streaming"), []
    # both loops ask for a checkpoint after every tenth step, with the device idle
    clock = argparse.Namespace(load=lambda: None, due=lambda: stamps.append(time.monotonic()))
    experiment.reset_peak_memory(decided)
    if kind == "plain":
        decided = Hardware(given.device, "float32", "channels_first")
        plain_loop(model, sampler, clock)
    else:
        if kind == "compiled":
            model = torch.compile(model, backend="eager" if given.tiny else "inductor")
        train(fabric, model, sampler, decided, clock)
    times = pd.Series(stamps).diff()[warm // 10:] / 10  # seconds of a step
    speed = protocol.batch / times.mean()
    return decided, {
        "steps": steps - warm, "images_per_second": speed, "slowest": protocol.batch / times.max(),
        "extrapolated_seconds_of_10000_steps": 10_000 * protocol.batch / speed,
        "peak_memory_mib": experiment.peak_memory_mib(decided), "gflop_an_image": each / 1e9,
        "product_tflops": rate / 1e12, "share_of_product_rate": speed * each / rate}


def profile(given) -> tuple:
    """Where the time of five steps goes: the 15 most expensive kernels in FOLDER/profile.csv."""
    protocol, part, decided, fabric = setting(given.device, given.tiny, steps=5)
    sampler = Sampler(part, protocol, fabric.device)
    for _ in range(2):  # the first is to warm up
        seconds = train(fabric, build(protocol), sampler, decided, NONE_KEPT).seconds
    with torch.profiler.profile() as profiler:
        train(fabric, build(protocol), sampler, decided, NONE_KEPT)
    own = f"self_{'device' if given.device == 'cuda' else 'cpu'}_time_total"  # microseconds
    table = pd.DataFrame([
        {"kernel": event.key, "calls_a_step": event.count / 5,
         "milliseconds_a_step": getattr(event, own) / 5e3} for event in profiler.key_averages()
        if event.device_type.name.lower() == given.device and not event.is_user_annotation])
    busy = table["milliseconds_a_step"].sum()
    table = table.assign(share=table["milliseconds_a_step"] / busy, **given.where)
    table.nlargest(15, "share").to_csv(given.out / "profile.csv", index=False)
    return decided, {"milliseconds_a_step": 200 * seconds, "busy_milliseconds_a_step": busy}


def first_level(given, before: int, how: str) -> tuple:
    """A convolution of the first level, in bfloat16; the difference is to float32 without TF32."""
    count, side = (2, 32) if given.tiny else (40, 512)
    def there_and_back(images, weights, slopes, some: int = count) -> torch.Tensor:
        weights, answers = weights.detach().requires_grad_(), []
        for part, slope in zip(images.split(some), slopes.split(some)):
            part = part.detach().requires_grad_(before > 3)  # a photograph wants no gradient
            answers.append(conv2d(part, weights, padding=3) if some > 1 else
                           (weights.flatten(1) @ unfold(part, 7, padding=3)[0]).view_as(slope))
            answers[-1].backward(slope)
        return answers[0].detach() if some > 1 else torch.cat(answers).detach()
    torch.backends.cudnn.allow_tf32 = False
    layout = torch.channels_last if how == "channels_last" else torch.contiguous_format
    values = [torch.randn(one, device=given.device).bfloat16().contiguous(memory_format=layout)
              for one in ((count, before, side, side), (16, before, 7, 7), (count, 16, side, side))]
    work = partial(there_and_back, *values, 1 if how == "unfolded" else count)  # images at once
    seconds = Timer("work()", globals={"work": work}).timeit(20).mean  # after two to warm up
    answers, expected = work().float(), there_and_back(*(value.float() for value in values))
    rate = 2 * answers.numel() * before * 49 * (3 if before > 3 else 2) / seconds
    return Hardware(given.device, "bfloat16", how), {
        "milliseconds": 1e3 * seconds, "tflops": rate / 1e12,
        "max_difference": farthest(answers, expected), "largest_value": expected.abs().max()}


def toy(device: str, checkpoints=NONE_KEPT, until: int = 20, **fields) -> tuple:
    """A run of 20 steps, or its beginning: how it was computed, its losses, its weights."""
    protocol, part, decided, fabric = setting(device, True, steps=20, **fields)
    sampler, model = Sampler(part, protocol, fabric.device), build(protocol)
    sampler.batches = lambda steps: (sampler.batch(step) for step in steps if step < until)
    losses = train(fabric, model, sampler, decided, checkpoints).losses
    weights = [value.flatten().double().cpu() for value in model.state_dict().values()]
    return decided, torch.tensor(losses), torch.cat(weights)


def same_as_cpu(given) -> tuple:
    """A toy run without TF32 here and on the CPU; batches that lie here, stream here, or there."""
    torch.backends.cudnn.allow_tf32 = False
    decided, losses, _ = toy(given.device, precision="float32")
    _, expected, _ = toy("cpu", precision="float32")
    protocol, batches = preset("smoke", overrides={"augmentation": "flips"}), []
    for device, resident in ((given.device, True), (given.device, False), ("cpu", True)):
        sampler = Sampler(pictures(6, 64), protocol, device, resident=resident)
        sampler.resident = resident
        batches.append(torch.cat([torch.cat(some, 1) for some in sampler.batches(range(9))]).cpu())
    return decided, {"loss_difference": farthest(losses, expected),
                     "streamed_equals_resident": torch.equal(*batches[:2]),
                     "batch_difference_to_cpu": farthest(*batches[1:])}


def resume(given) -> tuple:
    """A toy run cut after 15 steps and resumed, against an uncut one; and two uncut ones."""
    (decided, *whole), (_, *again) = toy(given.device), toy(given.device)
    with tempfile.TemporaryDirectory() as folder:
        kept = records.Checkpoints(Path(folder), preset("smoke"), "", decided)
        kept.due = lambda: True
        toy(given.device, kept, until=15)
        after = len(kept.load()["losses"])
        _, *resumed = toy(given.device, kept)
    loss, weight, loss_uncut, weight_uncut = map(farthest, resumed + again, whole + whole)
    return decided, {"resumed_after": after, "within_tolerance": bool(loss <= 1e-3),
                     "loss_difference": loss, "weight_difference": weight,
                     "uncut_loss_difference": loss_uncut, "uncut_weight_difference": weight_uncut}


MEASUREMENTS = {f"throughput/{kind}": (200, partial(throughput, kind=kind))  # seconds, at most
                for kind in ("plain", "bfloat16", "float32", "compiled", "streaming")} | {
    f"first_level/{before}-16/{how}": (30, partial(first_level, before=before, how=how))
    for before in (3, 16, 32) for how in ("channels_last", "channels_first", "unfolded")} | {
    "profile": (60, profile), "same_as_cpu": (60, same_as_cpu), "resume": (60, resume)}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true")
    for name, default in (("minutes", 9.0), ("only", ""), ("device", "cuda"),
                          ("commit", experiment.commit() or "")):
        parser.add_argument(f"--{name}", type=type(default), default=default)
    given = parser.parse_args()
    if not (torch.cuda.is_available() if given.device == "cuda" else given.tiny):
        parser.exit(2, "This needs a CUDA device; --device cpu --tiny only shows that it runs.\n")
    given.where = {"tiny": given.tiny, "device":
                   torch.cuda.get_device_name() if given.device == "cuda" else "cpu"}
    return given


def main() -> int:
    given, begun, failed = arguments(), time.monotonic(), []
    given.out.mkdir(parents=True, exist_ok=True)
    with open(given.out / "gpu.jsonl", "a+") as file:
        file.seek(0)
        done = {line["measurement"]: line for line in map(json.loads, file)
                if {**given.where, "commit": given.commit}.items() <= line.items()}
        for name in [name for name in MEASUREMENTS if name.startswith(given.only)]:
            (seconds, measurement), start = MEASUREMENTS[name], time.monotonic()
            if name in done or start - begun + seconds > 60 * given.minutes:
                continue
            set_switches(given)
            torch.backends.cudnn.allow_tf32 = True  # as it comes
            try:
                decided, found = measurement(given)
            except Exception:  # the others may still work
                sys.excepthook(*sys.exc_info())
                failed.append(name)
                continue
            line = json.dumps({"measurement": name, **given.where, "torch": torch.__version__,
                               "commit": given.commit, "precision": decided.precision,
                               "layout": decided.memory_format,
                               "tf32": torch.backends.cudnn.allow_tf32,
                               "seconds": time.monotonic() - start, **found}, default=float)
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
