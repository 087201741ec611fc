"""Why some runs of the road study predict road everywhere: the first training steps, one by one.

    python benchmarks/collapse.py --data FOLDER [--starts N]

For each step of some runs on CamVid's roads: the loss, the length of the gradient over all weights,
and quantiles of the logits. If every logit is above 8, the sigmoid is 1 to three digits and the
gradient of a loss of soft counts has almost vanished; that of cross entropy has not. The table is
`collapse.csv`.

With `--starts N` the runs are those of N seeds, and the table, `collapse_starts.csv`, has only the
last step of each: how often the gradient vanishes, by loss and learning rate.
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

# loss, weight, seed, replaced fields of the protocol
CASES = [("dice", None, 0, {}), ("dice", None, 1, {}), ("dice", None, 1, {"precision": "float32"}),
         ("dice", None, 1, {"learning_rate": 1e-4}), ("bce_dice", (0.25, 1), 1, {}),
         ("bce", None, 1, {})]
STARTS = [("dice", None, {}), ("bce_dice", (0.25, 1), {}), ("dice", None, {"learning_rate": 1e-4})]
VANISHED = 0.01  # the length of a gradient; at the first step it is 70 to 250


def first_steps(protocol: Protocol, part, steps: int) -> list[dict]:
    """A row for each of the first steps of a run, computed before the step changes the weights."""
    hardware = decide(protocol, "cpu")
    set_switches(hardware)
    fabric, model, sampler = fabric_for(hardware), build(protocol), Sampler(part, protocol)
    network, optimizer, fabric_optimizer = set_up(fabric, model, protocol, hardware)
    network.train()
    rows = []
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
        squares = sum(float((weight.grad.float() ** 2).sum()) for weight in model.parameters())
        low, median, high = logits.detach().float().flatten().quantile(
            torch.tensor([0.01, 0.5, 0.99])).tolist()
        rows.append({"step": step, "loss_value": loss.item(), "gradient": squares**0.5,
                     "logit_1_percent": low, "logit_median": median, "logit_99_percent": high})
        fabric_optimizer.step()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the folder of CamVid's roads, or synthetic")
    parser.add_argument("--protocol", default="cpu", help="the preset: smoke, quick or cpu")
    parser.add_argument("--steps", type=int, default=6, help="how many steps of each run")
    parser.add_argument("--starts", type=int, default=0, metavar="N",
                        help="the last step of the runs of N seeds instead")
    parser.add_argument("--out", type=Path, default=files.ROOT / "results" / "benchmarks",
                        help="folder of the table")
    given = parser.parse_args()
    cases = CASES
    if given.starts:
        cases = [(loss, weight, seed, fields) for seed in range(given.starts)
                 for loss, weight, fields in STARTS]
    dataset = datasets.load(given.data, preset(given.protocol, "roads"), files.ROOT / "runs")
    table = []
    for loss, weight, seed, fields in cases:
        protocol = preset(given.protocol, "roads", fields).with_run(loss, weight, seed)
        run = {"loss": loss, "weight": json.dumps(weight) if weight else None, "seed": seed,
               "precision": decide(protocol, "cpu").precision,
               "learning_rate": protocol.learning_rate}
        rows = [run | row for row in first_steps(protocol, dataset.train, given.steps)]
        if given.starts:
            rows = [rows[-1] | {"dead": rows[-1]["gradient"] < VANISHED}]
        table += rows
        print(pd.DataFrame(rows).to_string(index=False), "\n", flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    name = "collapse_starts" if given.starts else "collapse"
    pd.DataFrame(table).to_csv(given.out / f"{name}.csv", index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
