"""Why some runs of the road study call everything road: python benchmarks/collapse.py --data FOLDER

The first steps of runs on CamVid's roads, step by step: the loss, the length of the gradient over
all weights, and the logits' quantiles. Where every logit lies above 8 the sigmoid is 1 to three
digits, and a loss of soft counts has hardly a gradient left; cross entropy keeps its own.
Written to `collapse.csv`. With `--starts N` instead the same look at so many seeds, to
`collapse_starts.csv`, a line a run: how often that happens, by loss and learning rate.
"""

import argparse
import json
from pathlib import Path

import pandas as pd
import torch

from crackutils import data as datasets
from crackutils import files
from crackutils.batches import Sampler
from crackutils.device import decide, fabric_for
from crackutils.losses import loss_from_logits
from crackutils.models import build
from crackutils.protocol import Protocol, preset
from crackutils.training import learning_rate, seed_dropout, set_switches, set_up

CASES = [("dice", None, 0, {}), ("dice", None, 1, {}), ("dice", None, 1, {"precision": "float32"}),
         ("dice", None, 1, {"learning_rate": 1e-4}), ("bce_dice", (0.25, 1), 1, {}),
         ("bce", None, 1, {})]
STARTS = [("dice", None, {}), ("bce_dice", (0.25, 1), {}), ("dice", None, {"learning_rate": 1e-4})]
DEAD = 0.01  # of gradients that began at 70 to 250 where they were looked at: hardly any is left


def first_steps(protocol: Protocol, part, steps: int) -> list[dict]:
    """What each of the first steps of a run sees, before it changes the weights."""
    hardware = decide(protocol, "cpu")
    set_switches(hardware)
    fabric, model, sampler = fabric_for(hardware), build(protocol), Sampler(part, protocol)
    network, optimizer, fabric_optimizer = set_up(fabric, model, protocol, hardware)
    network.train()
    lines = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate(protocol, step)
        seed_dropout(protocol, step, 0)
        images, targets = sampler.batch(step)
        logits = network(images.contiguous(memory_format=hardware.tensor_format))
        loss = loss_from_logits(protocol.loss, logits, targets, weight=protocol.weight,
                                smoothing=protocol.smoothing, output=protocol.output,
                                pooling=protocol.pooling)
        fabric_optimizer.zero_grad()
        fabric.backward(loss)
        squares = sum(float((one.grad.float() ** 2).sum()) for one in model.parameters())
        low, middle, high = logits.detach().float().flatten().quantile(
            torch.tensor([0.01, 0.5, 0.99])).tolist()
        lines.append({"step": step, "loss_value": loss.item(), "gradient": squares**0.5,
                      "logit_1_percent": low, "logit_median": middle, "logit_99_percent": high})
        fabric_optimizer.step()
    return lines


def cases(starts: int) -> list[tuple]:
    """(loss, weight, seed, fields) of the runs to look at."""
    return [(loss, weight, seed, fields) for seed in range(starts)
            for loss, weight, fields in STARTS] or CASES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="the folder of CamVid's roads, or synthetic")
    parser.add_argument("--protocol", default="cpu", help="smoke, quick or cpu")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--starts", type=int, default=0,
                        help="look at the last step of this many seeds instead")
    parser.add_argument("--out", type=Path, default=files.ROOT / "results" / "benchmarks")
    given = parser.parse_args()
    dataset = datasets.load(given.data, preset(given.protocol, "roads"), files.ROOT / "runs")
    lines = []
    for loss, weight, seed, fields in cases(given.starts):
        protocol = preset(given.protocol, "roads", fields).with_run(loss, weight, seed)
        facts = {"loss": loss, "weight": weight and json.dumps(weight), "seed": seed, "precision":
                 decide(protocol, "cpu").precision, "learning_rate": protocol.learning_rate}
        seen = [facts | line for line in first_steps(protocol, dataset.train, given.steps)]
        if given.starts:
            seen = [seen[-1] | {"dead": seen[-1]["gradient"] < DEAD}]
        lines += seen
        print(pd.DataFrame(seen).to_string(index=False), "\n", flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    name = "collapse_starts" if given.starts else "collapse"
    pd.DataFrame(lines).to_csv(given.out / f"{name}.csv", index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
