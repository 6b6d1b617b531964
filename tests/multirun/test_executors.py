"""Executors whose workers die, fail or are interrupted: every job comes to its own end."""

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import ClassVar

import joblib
import pytest

from dylora_exp.core import RequestError, locks
from dylora_exp.multirun import scheduling
from dylora_exp.multirun.executors.base import Executor, executor_class, executor_names, lost
from dylora_exp.multirun.executors.processes import ProcessesExecutor
from dylora_exp.multirun.executors.settings import launcher_names, load_executor
from dylora_exp.multirun.executors.slurm import Requeued, SlurmExecutor
from dylora_exp.multirun.jobs import Job, JobResult
from dylora_exp.multirun.scheduling import run_jobs, thread_overrides
from tests.support.job_functions import count, run_job, threads_of_worker, wait_for
from tests.support.tiny_runs import ROOT

# Where workers find this project and the functions of the tests.
IMPORT_PATH = os.pathsep.join([str(ROOT), *sys.path])


@pytest.fixture(autouse=True)
def workers_find_the_functions(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", IMPORT_PATH)


def load(launcher, folder, jobs=2):
    return load_executor(launcher, jobs, [f"outputs_dir={folder}"])


def make_jobs(folder, *actions):
    """Return a job for each action of ``job_functions.run_job``."""
    return [
        Job(("@".join((a, str(folder), str(i))),), label=f"job {i}") for i, a in enumerate(actions)
    ]


def has(package):
    return importlib.util.find_spec(package) is not None


OUT_OF_PROCESS = [
    "processes",
    pytest.param(
        "submitit_local",
        marks=[pytest.mark.slow, pytest.mark.skipif(not has("submitit"), reason="needs submitit")],
    ),
    pytest.param(
        "ray", marks=[pytest.mark.slow, pytest.mark.skipif(not has("ray"), reason="needs ray")]
    ),
]
ALL = [pytest.param("local"), *OUT_OF_PROCESS]


@pytest.mark.parametrize("launcher", ALL)
def test_results_come_in_the_order_of_the_jobs(tmp_path, launcher):
    jobs = make_jobs(tmp_path, *["done"] * 3)
    reported = []
    with load(launcher, tmp_path, None if launcher == "local" else 2) as executor:
        results = run_jobs(jobs, executor, run_job, reported.append)
    assert [result.name for result in results] == ["job 0", "job 1", "job 2"]
    assert not any(result.problems for result in results)
    assert sorted(result.name for result in reported) == ["job 0", "job 1", "job 2"]
    assert [count(tmp_path, f"ended-{i}") for i in range(3)] == [1, 1, 1]
    here = {result.seconds == os.getpid() for result in results}
    assert here == {launcher == "local"}


@pytest.mark.parametrize("launcher", OUT_OF_PROCESS)
def test_a_killed_worker_loses_its_own_job_alone_which_is_retried_once(tmp_path, launcher):
    jobs = make_jobs(tmp_path, "done", "die", "die-once", "done", "done")
    with load(launcher, tmp_path) as executor:
        results = run_jobs(jobs, executor, run_job)
    assert [bool(result.problems) for result in results] == [False, True, False, False, False]
    assert [count(tmp_path, f"began-{i}") for i in range(5)] == [1, 2, 2, 1, 1]
    assert [count(tmp_path, f"ended-{i}") for i in range(5)] == [1, 0, 1, 1, 1]
    assert results[1].worker_lost and not results[1].wrong_request
    assert results[1].problems[0].startswith("its process ended before it did (")


@pytest.mark.parametrize("launcher", ["processes", *OUT_OF_PROCESS[1:]])
def test_a_job_that_raises_stops_no_other(tmp_path, launcher):
    jobs = make_jobs(tmp_path, "done", "raise", "done")
    with load(launcher, tmp_path) as executor:
        results = run_jobs(jobs, executor, run_job)
    assert [bool(result.problems) for result in results] == [False, True, False]
    assert [count(tmp_path, f"ended-{i}") for i in range(3)] == [1, 0, 1]


def test_workers_stay_warm_and_run_at_a_time(tmp_path):
    with load("processes", tmp_path) as executor:
        first = run_jobs(make_jobs(tmp_path, *["done"] * 4), executor, run_job)
        second = run_jobs(make_jobs(tmp_path, *["done"] * 4), executor, run_job)
    workers = {result.seconds for result in (*first, *second)}
    assert len(workers) <= 2


PARENT = """
    import sys
    from tests.support.job_functions import run_job
    from dylora_exp.multirun.executors.settings import load_executor
    from dylora_exp.multirun.jobs import Job
    from dylora_exp.multirun.scheduling import run_jobs
    from dylora_exp.core import raise_on_sigterm

    if __name__ == "__main__":
        folder, launcher = sys.argv[1:]
        jobs = [Job((f"hang@{folder}@{number}",)) for number in range(2)]
        with raise_on_sigterm(), load_executor(launcher, 2, [f"outputs_dir={folder}"]) as executor:
            run_jobs(jobs, executor, run_job)
"""


@pytest.fixture
def parent(tmp_path):
    """Start a process whose jobs hang, in a process group of its own."""
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(PARENT))
    started = []

    def start(launcher):
        process = subprocess.Popen(
            [sys.executable, str(script), str(tmp_path), launcher],
            start_new_session=True,
            # A job of a shell in the background ignores it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        wait_for(lambda: count(tmp_path, "began") == 2 or process.poll() is not None, 120)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def worker_pids(folder):
    return {int(path.name.split("-")[2]) for path in folder.glob("began-*")}


def gone(pids):
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize("launcher", OUT_OF_PROCESS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_stops_the_workers_which_release_what_they_hold(
    tmp_path, parent, launcher, number
):
    process = parent(launcher)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    raised = "TerminationRequested" if number == signal.SIGTERM else "KeyboardInterrupt"
    assert re.search(rf"^(\S+\.)?{raised}$", err, re.MULTILINE), err
    wait_for(lambda: gone(worker_pids(tmp_path)))
    assert count(tmp_path, "stopped") == 2


def test_workers_end_with_a_parent_that_is_killed(tmp_path, parent):
    process = parent("processes")
    process.kill()
    process.wait()
    wait_for(lambda: gone(worker_pids(tmp_path)))
    assert count(tmp_path, "stopped") == 2


class Scripted(Executor):
    """Yields given results, and notes what it was asked for."""

    def __init__(self, *rounds):
        self.rounds = list(rounds)
        self.asked = []

    def start(self):
        pass

    def run(self, function, jobs):
        self.asked.append([job.name for job in jobs])
        for number, result in enumerate(self.rounds.pop(0)):
            if isinstance(result, Exception):
                raise result
            yield number, result

    def release(self, interrupted):
        pass


def good(name):
    return JobResult(name)


def test_a_job_that_is_lost_twice_is_reported_once():
    a, b = Job(("a",)), Job(("b",))
    executor = Scripted([lost(a, "gone"), good("b")], [lost(a, "gone again")])
    reported = []
    results = run_jobs([a, b], executor, report=reported.append)
    assert executor.asked == [["a", "b"], ["a"]]
    assert results[0].problems == ("its process ended before it did (gone again)",)
    assert [result.name for result in reported] == ["b", "a"]


def test_an_executor_that_cannot_be_reached_is_a_wrong_request():
    with pytest.raises(RequestError, match=r"launching failed: OSError: no cluster here"):
        run_jobs([Job(("a",))], Scripted([OSError("no cluster here")]))


def test_an_executor_that_cannot_be_reached_any_more_is_not_asked_for_ever():
    a, b, c = (Job((name,)) for name in "abc")
    executor = Scripted(
        [good("a"), lost(b, "gone"), OSError("no cluster")], [OSError("no cluster")]
    )
    results = run_jobs([a, b, c], executor)
    assert executor.asked == [["a", "b", "c"]]
    assert [bool(result.problems) for result in results] == [False, True, True]
    assert all("it could not be launched (OSError: no cluster)" in r.problems for r in results[1:])


@pytest.mark.skipif(bool(shutil.which("srun")), reason="this machine has Slurm")
def test_a_machine_without_slurm_is_a_sentence(tmp_path):
    pytest.importorskip("submitit")
    message = "launching failed: RuntimeError: Could not detect"
    with pytest.raises(RequestError, match=message), load("slurm", tmp_path):
        pass


def test_busy_runs_are_waited_for_at_the_end(tmp_path, monkeypatch, capsys):
    held = {tmp_path / "one", tmp_path / "two"}
    monkeypatch.setattr(locks, "is_held", lambda path: path in held)
    monkeypatch.setattr(scheduling.time, "sleep", lambda seconds: held.discard(tmp_path / "one"))

    def busy(name, lock):
        return JobResult(name, busy_locks=(tmp_path / lock,))

    class Freeing(Scripted):
        def run(self, function, jobs):
            if len(self.asked) == 1:
                held.discard(tmp_path / "two")
            yield from super().run(function, jobs)

    executor = Freeing([busy("a", "one"), good("b"), busy("c", "two")], [good("a")], [good("c")])
    reported = []
    results = run_jobs([Job((n,)) for n in "abc"], executor, report=reported.append)
    assert executor.asked == [["a", "b", "c"], ["a"], ["c"]]
    assert [result.name for result in results] == ["a", "b", "c"]
    assert not any(result.busy_locks for result in results)
    assert [result.name for result in reported] == ["b", "a", "c"]
    assert capsys.readouterr().out.count("waiting for 2 runs that other processes are doing") == 1


def test_cores_are_shared_among_the_jobs_of_this_machine(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    assert thread_overrides(load_executor()) == []
    assert thread_overrides(load_executor("processes", 3)) == ["trainer.threads=2"]
    assert thread_overrides(load_executor("processes", 30)) == ["trainer.threads=1"]
    assert thread_overrides(load_executor("slurm", 3)) == []


def test_several_jobs_without_a_launcher_are_processes():
    assert type(load_executor()).__name__ == "LocalExecutor"
    assert type(load_executor(jobs=2)).__name__ == "ProcessesExecutor"


@pytest.mark.parametrize(
    ("launcher", "jobs", "overrides", "problem"),
    [
        ("jobslib", None, [], "did you mean 'joblib'?"),
        ("processes", 0, [], "--jobs: found 0, expected a number at least 1."),
        ("local", 2, [], "launcher 'local' runs one job at a time."),
        ("joblib", None, ["hydra.launcher.n_jobs=-3"], "hydra.launcher.n_jobs: found -3"),
        ("processes", None, ["hydra.launcher.njobs=3"], "njobs"),
        ("slurm", None, ["hydra.launcher.array_parallelism=0"], "array_parallelism: found 0"),
    ],
)
def test_a_wrong_launcher_is_a_sentence(launcher, jobs, overrides, problem):
    with pytest.raises(RequestError) as error:
        load_executor(launcher, jobs, overrides)
    assert problem in str(error.value)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(executor_class("slurm"), "package", "no_such_package")
    with pytest.raises(
        RequestError, match=r"'slurm' needs no_such_package, .* install it with: pip install"
    ):
        load_executor("submitit_slurm")


def test_every_executor_has_a_launcher_and_every_launcher_an_executor():
    used = {type(load_executor(name)).__module__.rpartition(".")[2] for name in launcher_names()}
    assert used == set(executor_names()) == {"local", "processes", "ray", "slurm"}


def test_slurm_gets_one_array_with_the_usual_settings(tmp_path, monkeypatch):
    """Submitit writes the sbatch file that its settings make; sbatch itself is played."""
    submitit = pytest.importorskip("submitit")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "srun").write_text("#!/bin/sh\n")
    (tools / "sbatch").write_text(
        f'#!/bin/sh\ncp "$1" {tmp_path}/sent; echo "Submitted batch job 7"\n'
    )
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    monkeypatch.setattr(submitit.SlurmJob, "done", lambda self, force_check=False: True)
    results = iter(["a", "b", "c"])
    monkeypatch.setattr(submitit.SlurmJob, "results", lambda self: [JobResult(next(results))])
    overrides = [
        *(f"outputs_dir={tmp_path}", "hydra.launcher.partition=gpu", "hydra.launcher.qos=high"),
        *("+hydra.launcher.additional_parameters.requeue=true", "hydra.launcher.timeout_min=90"),
    ]
    monkeypatch.setattr("dylora_exp.multirun.executors.slurm._POLL_SECONDS", {"slurm": 0})
    with load_executor("gpu_slurm", 2, overrides) as executor:
        ended = run_jobs(make_jobs(tmp_path, "done", "done", "done"), executor, run_job)
    assert sorted(result.name for result in ended) == ["a", "b", "c"]
    sent = (tmp_path / "sent").read_text()
    for line in (
        *("--array=0-2%2", "--partition=gpu", "--qos=high", "--time=90", "--mem=32GB"),
        *("--gpus-per-node=1", "--cpus-per-task=4", "--job-name=dylora", "--requeue"),
    ):
        assert f"#SBATCH {line}\n" in sent, sent


def test_processes_of_this_machine_are_started_as_others_end(tmp_path):
    class Played:
        """Stands in for submitit: every task is done as soon as it is asked."""

        batches: ClassVar[list] = []

        def map_array(self, function, jobs):
            self.batches.append([job.name for job in jobs])
            return [Task(job) for job in jobs]

    class Task:
        def __init__(self, job):
            self.results = lambda: [JobResult(job.name)]

        def done(self):
            return True

    executor = SlurmExecutor("local", str(tmp_path), array_parallelism=2)
    executor._submitit = Played()
    jobs = [Job((name,)) for name in "abcde"]
    assert [jobs[i].name for i, _ in executor.run(run_job, jobs)] == list("abcde")
    assert Played.batches == [["a", "b"], ["c", "d"], ["e"]]


def test_a_job_that_is_out_of_time_is_queued_again_as_it_is(tmp_path):
    pytest.importorskip("submitit")
    (job,) = make_jobs(tmp_path, "done")
    again = Requeued(run_job).checkpoint(job)
    assert (again.function(*again.args).name, count(tmp_path, "ended-0")) == ("job 0", 1)
    assert hasattr(again.function, "checkpoint")  # it may run out of time once more


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_workers_share_the_cores(n_jobs, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with ProcessesExecutor(n_jobs) as executor:
        ((_, result),) = executor.run(threads_of_worker, [Job(())])
    assert result.seconds == max(1, joblib.cpu_count() // n_jobs)
