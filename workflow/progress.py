"""What a call of the Snakefile says while it works and at its end, and the time that is left.

A training is expected to take as long as the finished ones of the same network with as many steps.
Until there is one, its steps x images x pixels are multiplied by the seconds that these take other
networks of the architecture, and until there is one of those, by `GUESSED`.
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import psutil
from snakemake.logging import logger
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.common import LogEvent

from crackutils.data.samples import printable
from crackutils.records import COMPLETE, CONFIG, FORMAT, read_json

# seconds of a training for a pixel of one image in one step, with one core of a server's processor
GUESSED = {"unet": 5e-6, "fpn": 1e-5}
NOTEBOOK_SECONDS = 15  # a notebook's own time, until one has ended
FULL_DISK = 2**20  # bytes that are left when a disk is called full
LOOK_EVERY = 20  # seconds between two looks for new records
RUN = ("loss", "weight", "seed")


def key(protocol: dict, without: tuple = ()) -> str:
    """What tells runs apart, whatever precision was decided for them; or without some fields."""
    return json.dumps([value for name, value in protocol.items()
                       if name not in ("precision", *without)])


def pixels(protocol: dict) -> int:
    """The pixels of all images of all steps of a training."""
    height, width = protocol["tile"]
    return protocol["steps"] * protocol["batch"] * height * width


@dataclass
class Cost:
    """How long trainings take, from the records below a folder.

    `finished` has the seconds of each run by its `key`, `memory` the largest peak in MiB.
    """

    folder: Path
    memory: int = 0
    finished: dict[str, float] = field(default_factory=dict)
    of_network: dict[str, list[float]] = field(default_factory=dict)
    of_pixel: dict[str, list[float]] = field(default_factory=dict)
    seen: set[Path] = field(default_factory=set)

    def look(self) -> bool:
        """Read the records that are new; whether there are any."""
        new = set(self.folder.glob(f"*/records/*/{COMPLETE}")) - self.seen
        for path in new:
            config = read_json(path.with_name(CONFIG))
            if config.get("format") != FORMAT:
                continue
            protocol, measured = config["protocol"], read_json(path.with_name("environment.json"))
            seconds = measured["training_seconds"] + measured["evaluation_seconds"]
            self.memory = max(self.memory, measured["peak_memory_mib"] or 0)
            self.finished[key(protocol)] = seconds
            self.of_network.setdefault(key(protocol, RUN), []).append(seconds)
            self.of_pixel.setdefault(protocol["architecture"], []).append(
                seconds / pixels(protocol))
        self.seen |= new
        return bool(new)

    def seconds(self, protocol: dict) -> float:
        """How long a run is expected to take."""
        if known := self.of_network.get(key(protocol, RUN)):
            return sum(known) / len(known)
        architecture = protocol["architecture"]
        rates = self.of_pixel.get(architecture, [GUESSED[architecture]])
        return pixels(protocol) * sum(rates) / len(rates)


class Progress(logging.Handler):
    """Prints a line for each notebook that has ended and, between them, for new records.

    `plan` has, for each job of the plan, the protocols of its runs as dictionaries; `jobs` is what
    of it is executed in this call. `slots` is how many jobs run at a time, as far as is known. On a
    cluster nobody knows: jobs wait in its queue, and the time that is left follows from what was
    done since the call began.
    """

    def __init__(self, plan: dict[str, list[dict]], folder: Path, slots: int,
                 cluster: bool = False):
        super().__init__()
        self.plan, self.cost, self.slots, self.cluster = plan, Cost(folder), slots, cluster
        self.jobs, self.running, self.names = {}, {}, {}
        self.times, self.notebook_seconds = [], []
        self.interrupted = 0  # the number of the signal

    def begin(self, needed: Iterable, quiet: Iterable) -> None:
        """Say what there is to do and what it will cost, and follow Snakemake's log from now on.

        With --quiet rules, Snakemake's own lines are not printed beside these.
        """
        names = [name_of(job.output) for job in needed if job.output]
        self.jobs = {name: self.plan[name] for name in names if name in self.plan}
        self.slots = max(1, min(self.slots, len(self.jobs)))
        self.begun = time.monotonic()
        self.cost.look()
        self.before = set(self.cost.finished)
        self.trainings = sum(run not in self.before for run in self.runs(self.jobs))
        basis = f"as {len(self.before)} finished trainings took" if self.before \
            else "a guess until a training has ended"
        memory = f"; {self.cost.memory / 1024:.1f} GiB of memory each" if self.before else ""
        at_a_time = f"at most {self.slots}" if self.cluster else self.slots
        print(f"{len(self.jobs)} notebooks with {self.trainings} trainings to do: "
              f"{about(self.left(self.begun))} with {at_a_time} at a time, {basis}{memory}",
              flush=True)
        if Quietness.RULES in (quiet or ()):
            for handler in logger.handlers:
                handler.setLevel(logging.WARNING)
        logger.addHandler(self)
        threading.Thread(target=self.look_for_records, daemon=True).start()

    def runs(self, names: Iterable[str]) -> list[str]:
        """The keys of these jobs' runs."""
        return [key(protocol) for name in names for protocol in self.jobs[name]]

    def look_for_records(self) -> None:
        """Print a line whenever trainings have ended while their notebook goes on."""
        while True:
            time.sleep(LOOK_EVERY)
            with self.lock:
                if self.cost.look():
                    done = sum(run in self.cost.finished and run not in self.before
                               for run in self.runs(self.jobs))
                    self.say(f"{done} of {self.trainings} trainings")

    def say(self, what: str) -> None:
        """Print what has happened, and the time that is left."""
        print(f"[{len(self.times):2}/{len(self.jobs)}] {printable(what)}, "
              f"{about(self.left(time.monotonic()))} left", flush=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of what Snakemake logs about a job; its lock is held meanwhile."""
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_INFO and record.output and name_of(record.output) in self.jobs:
            self.names[record.jobid] = name_of(record.output)
            self.running[name_of(record.output)] = time.monotonic()
            self.slots = max(self.slots, len(self.running))
        elif event == LogEvent.JOB_FINISHED and record.job_id in self.names:
            self.ended(self.names[record.job_id], time.monotonic())
        elif event == LogEvent.JOB_ERROR and record.jobid in self.names:
            name = self.names[record.jobid]
            self.running.pop(name, None)
            self.say(f"{Path(name).name}: FAILED")

    def ended(self, name: str, now: float) -> None:
        """A job has ended well."""
        begun = self.running.pop(name)
        self.cost.look()
        self.times.append((name, round(begun - self.begun, 1), round(now - begun, 1)))
        self.notebook_seconds.append(now - begun - self.trained(name))
        self.say(f"{Path(name).name}: {now - begun:.0f} s")

    def trained(self, name: str) -> float:
        """The seconds of the runs of a job that have ended since this call began."""
        return sum(self.cost.finished[run] for run in self.runs([name])
                   if run in self.cost.finished and run not in self.before)

    def left(self, now: float) -> float:
        """An estimate of the seconds that are left."""
        if self.cluster and self.times:
            return self.left_on_cluster(now)
        own = self.notebook_seconds or [NOTEBOOK_SECONDS]
        ended, left = {name for name, *_ in self.times}, [0.0]
        for name in self.jobs.keys() - ended:
            expected = sum(own) / len(own)
            expected += sum(self.cost.seconds(protocol) for protocol in self.jobs[name]
                            if key(protocol) not in self.cost.finished)
            if name in self.running:
                expected -= now - self.running[name] - self.trained(name)
            left.append(max(expected, 0.0))
        return max(sum(left) / self.slots, *left)

    def left_on_cluster(self, now: float) -> float:
        """The same from the work that was done since the call began, jobs of one kind alike."""
        ended, done, open_work = {name for name, *_ in self.times}, 0.0, 0.0
        for name, protocols in self.jobs.items():
            work = {key(protocol): self.cost.seconds(protocol) for protocol in protocols
                    if key(protocol) not in self.before}
            finished = sum(seconds for run, seconds in work.items() if run in self.cost.finished)
            own = NOTEBOOK_SECONDS if name in ended else 0.0
            done += finished + own
            open_work += sum(work.values()) - finished + NOTEBOOK_SECONDS - own
        return open_work * (now - self.begun) / done

    def conclude(self, report: Path) -> None:
        """Write when each notebook began and how long it took, and say how long all took."""
        rows = [(Path(name).name, begun, seconds) for name, begun, seconds in self.times]
        report.mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame(rows, columns=["stage", "begun", "seconds"])
        table.to_csv(report / "stages.csv", index=False)
        print(f"total     {time.monotonic() - self.begun:.0f} s")

    def end_on_signals(self, here: bool) -> None:
        """Let signals end the jobs on this machine, then Snakemake, which would wait for the jobs.

        On a cluster only Ctrl-C does so: it makes Snakemake cancel the jobs.
        """
        names = ("SIGINT", "SIGTERM", "SIGHUP") if here else ("SIGINT",)
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]

        def interrupt(number, _):
            self.interrupted = number
            for other in numbers:
                signal.signal(other, signal.SIG_IGN)
            for process in psutil.Process().children():
                process.terminate()
            raise KeyboardInterrupt

        for number in numbers:
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, interrupt)

    def fail(self, scheduler, before: list[str], folder: str) -> None:
        """Execute what can be executed without the jobs that failed, then name them.

        `before` are those that had failed already when this call was started by another, `folder`
        is where it was started.
        """
        if self.interrupted:
            print("\ninterrupted: the same command resumes the work", file=sys.stderr)
            sys.exit(128 + self.interrupted)
        jobs = {name_of(job.output): job for job in scheduler.failed}
        new = [name for name in jobs if name in self.jobs and name not in before]
        if new and any(job.output for job in scheduler.remaining_jobs):
            words = [word for word in sys.argv[1:] if word not in ("-F", "--forceall")]
            subprocess.run([sys.executable, "-m", "snakemake", *words], check=False, cwd=folder,
                           env=os.environ | {"FAILED_JOBS": json.dumps(before + new)})
        for name, job in jobs.items():
            if not job.log:
                print(f"{Path(name).name} failed: its error stands above", file=sys.stderr)
                continue
            log = Path(job.log[0]).resolve()
            text = log.read_text(errors="replace") if log.is_file() else ""
            last = ([""] + [line for line in text.split("\n") if line.strip()])[-1]
            print(f"{Path(name).name} failed: {printable(last)}\n  log: {printable(str(log))}",
                  file=sys.stderr)
        if shutil.disk_usage(self.cost.folder).free < FULL_DISK:
            print(f"No space left on the disk of {self.cost.folder}, and logs may be cut short: "
                  "make room, then the same command resumes the work.", file=sys.stderr)


def name_of(output: list[str]) -> str:
    """`<dataset>/<name>` of the job that writes an executed notebook."""
    path = Path(output[0])
    return f"{path.parent.parent.name}/{path.stem}"


def about(seconds: float) -> str:
    """A time as a reader wants it."""
    if seconds < 90:
        return "a minute or less" if seconds < 60 else "about a minute"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
