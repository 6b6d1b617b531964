"""What the tests of executors run instead of a training: importable by any worker."""

import math
import os
import signal
import time
from pathlib import Path

from dylora_exp.multirun.jobs import Job, JobResult
from dylora_exp.records import RankScore
from dylora_exp.runner import Outcome
from tests.support.records import make_record


def note(folder, what):
    """Leave a file that says that something has happened, once for each time."""
    (Path(folder) / f"{what}-{os.getpid()}-{time.monotonic_ns()}").touch()


def count(folder, what):
    return len(list(Path(folder).glob(f"{what}-*")))


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def run_job(job):
    """Do what a job's override says (ACTION@FOLDER@NAME), and note that it began and ended."""
    action, folder, name = job.overrides[0].split("@")
    note(folder, f"began-{name}")
    actions = {"die": die, "die-once": die_once, "raise": fail, "hang": hang}
    if action in actions:
        actions[action](folder, name)
    note(folder, f"ended-{name}")
    return JobResult(job.name, seconds=float(os.getpid()))


def die(folder, name):
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(folder, name):
    if count(folder, f"began-{name}") == 1:
        die(folder, name)


def fail(folder, name):
    raise RuntimeError(f"{name} is poisoned")


def hang(folder, name):
    """Wait to be stopped, and leave a note when that was done properly."""
    try:
        for _ in range(1200):  # as a training does, in many steps
            time.sleep(0.1)
    finally:
        note(folder, f"stopped-{name}")


def echo_overrides(job):
    """Return the overrides as the name, and where the job looks for files as the owner."""
    return JobResult(job.name, skipped_owner=" ".join(job.search_path), seconds=float(os.getpid()))


def name_method_and_seed(job):
    config = job.compose()
    return JobResult(f"{config.method.name} {config.seed}")


def run_job_of_key(job):
    """Do what the value of the job's first override says; ``report`` ends with a problem."""
    value = job.overrides[0].partition("=")[2]
    result = run_job(Job((value,)))
    problems = ("it is poisoned.",) if value.startswith("report") else ()
    return JobResult(result.name, problems=problems)


def record_of(job, height):
    """Return the result of a job whose curve has a height, of its only rank."""
    config = job.compose()
    scores = [RankScore(1, "leading", "alpha/b", {config.task.headline: height}, 0.1)]
    record = make_record(config, ranks=scores, summary=[{"aurac": height}])
    return JobResult(job.name, Outcome(record, Path(), True, []))


def score(record):
    return record.summary[0]["aurac"]


def run_quadratic(job):
    """Return a score that is highest at a learning rate of 1e-3."""
    note(".", "trial")
    result = record_of(job, -abs(math.log10(job.compose().trainer.learning_rate) + 3))
    note(".", "ended")
    return result


def run_quadratic_slowly(job):
    """The same, each trial but the first two slow enough to be killed meanwhile."""
    if count(".", "trial") >= 2:
        note(".", "trial")
        time.sleep(60)
    return run_quadratic(job)


def poisoned_record(job):
    """Return a score that is the seed; the seed 2 fails."""
    seed = job.compose().seed
    if seed == 2:
        return JobResult(job.name, problems=("run failed: it is poisoned",))
    return record_of(job, float(seed))


def record_of_seed(job):
    """Return a record whose curve is as high as its seed."""
    return record_of(job, float(job.compose().seed))


def threads_of_worker(job):
    """Return how many threads torch computes with, as the seconds of the result."""
    import torch

    return JobResult(job.name, seconds=float(torch.get_num_threads()))
