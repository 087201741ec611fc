"""Where the numbers of a table or figure come from: which records of which runs."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from crackutils import files, metrics, records
from crackutils.data import folder_fingerprint, given_name, name_of_results
from crackutils.protocol import Protocol, preset_of_runs

REFERENCE = "quick"  # the preset shown in place of `smoke`, whose numbers mean nothing
Counts = dict[str, np.ndarray]  # the content of a record's `counts.npz`


@dataclass(frozen=True)
class Source:
    """The records of one protocol on one data set, for several seeds. `roots` maps "runs" and
    "results" to folders; a record is looked for in their order."""

    protocol: Protocol
    dataset: str
    roots: dict[str, Path]
    seeds: tuple[int, ...] = (0,)
    fingerprint: str | None = None  # of the data set, if that is available
    undefined: set[str] = field(default_factory=set, compare=False)  # why records have no F1

    def records(self, loss: str, weight) -> dict[int, tuple[str, Path]]:
        """For each seed that has a record: the record's place below its root, and its folder."""
        records_of_seeds = {
            seed: records.find(self.roots, self.protocol.with_run(loss, weight, seed),
                               self.dataset, self.fingerprint) for seed in self.seeds}
        return {seed: record for seed, record in records_of_seeds.items() if record is not None}

    def counts(self, loss: str, weight) -> dict[int, Counts]:
        """For each seed that has a record: its counts. Records without F1 and IoU are left out, and
        `undefined` gets the reason."""
        result = {}
        for seed, (_, folder) in self.records(loss, weight).items():
            counts = records.read_arrays(folder / "counts.npz")
            reason = metrics.undefined(counts)
            if reason is None:
                result[seed] = counts
            else:
                self.undefined.add(reason)
        return result

    def failed(self, loss: str, weight) -> set[int]:
        """The seeds whose run failed when it was last tried."""
        return {seed for seed in self.seeds for root in self.roots.values()
                if records.has_failed(root, self.protocol.with_run(loss, weight, seed),
                                      self.dataset)}

    def trained(self) -> list[tuple]:
        """(loss, weight) of every record of this protocol, data set and these seeds, sorted."""
        runs = set()
        for root in self.roots.values():
            folder = records.records_folder(root, self.protocol.name, self.dataset)
            for path in folder.glob(f"*/{records.COMPLETE}"):
                config = records.read_json(path.with_name("config.json"))["protocol"]
                weight = config["weight"]
                run = config["loss"], tuple(weight) if isinstance(weight, list) else weight
                try:
                    self.protocol.with_run(*run, 0)
                except ValueError:  # for three classes, not every loss can be trained
                    continue
                if run not in runs and self.records(*run):
                    runs.add(run)
        return sorted(runs, key=str)

    def folders(self, runs: Iterable[tuple]) -> list[Path]:
        """The folders of all records of these (loss, weight)."""
        return [folder for run in runs for _, folder in self.records(*run).values()]

    def known_faults(self) -> list[str]:
        """What is known to be wrong with the records: each sentence once, sorted."""
        configs = [records.read_json(folder / "config.json")
                   for folder in self.folders(self.trained())]
        return sorted({fault for config in configs for fault in config.get("known_faults", [])})


def warn_of_mixed_environments(folders: list[Path]) -> None:
    """Warn if the records in one table differ in precision, device or version of PyTorch.
    Differences between its rows may then come from the machines instead of the losses."""
    sentence = records.environments_differ(folders)
    if sentence is not None:
        warnings.warn(sentence, stacklevel=3)


def reading_source(protocol: str, task: str, data: str, runs: str | None, results: str | None,
                   seeds: list[int], overrides: dict | None = None) -> Source:
    """The source of a notebook that only reads records, from the notebook's parameters.

    Records are looked for in `runs`, then in `results`. None stands for the repository's folder,
    `results=""` for no second folder; other paths are relative to the working directory. `smoke`
    only proves that the code runs: with synthetic data the reference runs in `results` are shown
    instead. What was chosen is printed.
    """
    roots, reference = {"runs": files.resolve(runs, "runs")}, files.optional(results, "results")
    if reference is not None:
        roots["results"] = reference
    if protocol == "smoke" and data == "synthetic" and reference is not None:
        print(f"The protocol smoke only proves that the code runs. Shown instead: the reference "
              f"runs in results/, protocol {REFERENCE} on synthetic data.")
        protocol, overrides, roots = REFERENCE, None, {"results": reference}
    elif protocol == "smoke":
        print("The protocol smoke only proves that the code runs: its numbers mean nothing.")
    chosen, name, fingerprint = preset_of_runs(protocol, task, overrides), given_name(data), None
    if data != "synthetic" and files.resolve(data).is_dir():
        fingerprint = folder_fingerprint(files.resolve(data), chosen, roots["runs"])
        name = name_of_results(data, fingerprint, chosen, roots["runs"])
    return Source(chosen, name, roots, tuple(seeds), fingerprint)
