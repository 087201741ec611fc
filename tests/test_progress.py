"""The estimate of the time that is left, and what is printed while Snakemake works."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from crackutils import files, records
from crackutils.protocol import preset
from workflow import plan, progress

OWN = 10.0  # seconds that a notebook of the replay below takes beside its trainings


@pytest.fixture
def clock(monkeypatch):
    """The time that `progress` reads; the look for records in the background is left out."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.Progress, "look_for_records", lambda self: None)
    return now


def record(folder, protocol: dict, seconds: float) -> None:
    """A record that says how long its run took."""
    place = folder / "synthetic" / "records" / str(abs(hash(progress.key(protocol))))
    place.mkdir(parents=True, exist_ok=True)
    measured = {"training_seconds": 0.9 * seconds, "evaluation_seconds": 0.1 * seconds,
                "peak_memory_mib": 512}
    for name, content in (("config.json", {"format": records.FORMAT, "protocol": protocol}),
                          ("environment.json", measured), ("complete.json", {})):
        (place / name).write_text(json.dumps(content))


def event(kind: LogEvent, name: str) -> SimpleNamespace:
    """What Snakemake logs about the job of a notebook."""
    return SimpleNamespace(event=kind, jobid=name, job_id=name,
                           output=[f"quick/synthetic/notebooks/{name}.ipynb"])


def follow(folder, jobs: dict[str, list[dict]]) -> progress.Progress:
    """A `Progress` that follows all of some jobs."""
    watch = progress.Progress({f"synthetic/{name}": runs for name, runs in jobs.items()}, folder, 2)
    watch.begin([SimpleNamespace(output=event(LogEvent.JOB_INFO, name).output) for name in jobs],
                None)
    return watch


def test_after_a_tenth_of_the_way_the_estimate_is_right_within_a_third(tmp_path, clock):
    """A real call's notebooks, two at a time on two cores, with the times that they took."""
    stages = pd.read_csv(files.ROOT / "results" / "quick" / "stages.csv")
    stages = stages[stages["precision"] == "float32"].set_index("stage")
    planned = plan.jobs(plan.settings({"runs": str(tmp_path)}, {}))
    jobs = {job.name: [run.as_dict() for run in job.trains] for job in planned.values()
            if job.name in stages.index}
    assert set(jobs) == set(stages.index) and sum(map(len, jobs.values())) == 30
    events = []
    for name, stage in stages.iterrows():
        events.append((stage["begun"], event(LogEvent.JOB_INFO, name)))
        for number, run in enumerate(jobs[name], start=1):
            seconds = (stage["seconds"] - OWN) / len(jobs[name])
            events.append((stage["begun"] + OWN / 2 + number * seconds, (run, seconds)))
        events.append((stage["begun"] + stage["seconds"], event(LogEvent.JOB_FINISHED, name)))
    total = max(time for time, _ in events)
    watch, estimates = follow(tmp_path, jobs), []
    for clock[0], what in sorted(events, key=lambda item: item[0]):
        if isinstance(what, tuple):
            record(tmp_path, *what)
            watch.cost.look()
        else:
            watch.handle(what)
        estimates += [(now, now + watch.left(now)) for now in (clock[0], clock[0] + 5)]
    late = [estimate for now, estimate in estimates if total / 10 < now < total]
    assert len(late) > 50 and all(2 / 3 * total < estimate < 4 / 3 * total for estimate in late)


def test_a_failed_job_is_still_to_be_done(tmp_path, clock, capsys):
    smoke = [preset("smoke").as_dict()]
    watch = follow(tmp_path, {"04_train_cracks-mse": smoke, "03_audit": []})
    assert "2 notebooks with 1 trainings to do: " in capsys.readouterr().out
    watch.handle(event(LogEvent.JOB_INFO, "04_train_cracks-mse"))
    watch.handle(event(LogEvent.JOB_ERROR, "04_train_cracks-mse"))
    watch.handle(event(LogEvent.JOB_INFO, "all"))  # no notebook: nothing is said
    assert capsys.readouterr().out == "[ 0/2] 04_train_cracks-mse: FAILED, a minute or less left\n"


def test_what_trainings_cost_is_taken_from_the_nearest_that_there_is(tmp_path):
    """Of the same network, else of the same architecture by steps x images x pixels, else a
    guess."""
    small = preset("smoke")  # 4 steps of 4 images of 32 x 32
    large = replace(small, kernel=7, steps=40)
    cost = progress.Cost(tmp_path)
    assert cost.seconds(small.as_dict()) == pytest.approx(4 * 4 * 32 * 32 * 5e-6)
    record(tmp_path, small.as_dict(), 3)
    assert cost.look() and not cost.look()
    assert cost.seconds(small.with_run("relu", 0.97, 5).as_dict()) == pytest.approx(3)
    assert cost.seconds(large.as_dict()) == pytest.approx(30)
    record(tmp_path, large.as_dict(), 60)
    record(tmp_path, replace(large, seed=1).as_dict(), 80)
    cost.look()
    assert cost.seconds(replace(large, seed=2).as_dict()) == pytest.approx(70)
    assert cost.seconds(small.as_dict()) == pytest.approx(3) and cost.memory == 512


def test_on_a_cluster_the_time_left_follows_from_what_was_done(tmp_path, clock):
    """All jobs are submitted at once, and wait: two of eight take 100 s, so six take 300 s."""
    runs = [replace(preset("quick"), seed=seed).as_dict() for seed in range(8)]
    jobs = {f"synthetic/04_train_cracks-mse-none-{seed}": [run] for seed, run in enumerate(runs)}
    watch = progress.Progress(jobs, tmp_path, 100, cluster=True)
    events = [event(LogEvent.JOB_INFO, name.split("/")[1]) for name in jobs]
    watch.begin([SimpleNamespace(output=submitted.output) for submitted in events], None)
    for submitted in events:
        watch.handle(submitted)
    clock[0] = 100
    for run, submitted in list(zip(runs, events))[:2]:
        record(tmp_path, run, 20)
        watch.handle(event(LogEvent.JOB_FINISHED, submitted.jobid))
    assert watch.left(100) == pytest.approx(300)


def test_finished_runs_cost_nothing(tmp_path, clock, capsys):
    runs = [replace(preset("quick"), seed=seed).as_dict() for seed in range(4)]
    for run in runs[:3]:
        record(tmp_path, run | {"precision": "bfloat16"}, 1000)
    follow(tmp_path, {"04_train_cracks-mse": runs})
    assert capsys.readouterr().out == (
        "1 notebooks with 1 trainings to do: about 17 min with 1 at a time, as 3 finished "
        "trainings took; 0.5 GiB of memory each\n")


@pytest.mark.parametrize("seconds, text", [(0, "a minute or less"), (80, "about a minute"),
                                           (600, "about 10 min"), (7200, "about 2.0 h")])
def test_times_are_for_readers(seconds, text):
    assert progress.about(seconds) == text
