"""Sweeps that are killed, run twice at a time, or poisoned: nothing is lost, nothing done twice."""

import contextlib
import io
import os
import random
import resource
import signal
import subprocess
import sys
import time

import pytest

from dylora_exp.cli.entry import main
from dylora_exp.records.store import RecordStore
from tests.support.compared_records import without_times
from tests.support.tiny_runs import TINY

METHODS = "method=lora,dylora,dylora-frozen"


class Sweep:
    """A multirun in a folder, in processes of its own or in this one."""

    def __init__(self, folder, *words, jobs=2):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        launcher = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}"] if jobs else []
        self.words = [
            *("run", "-m", *TINY, "trainer.save_steps=1", "trainer.threads=1"),
            *("ranks.score=[1,8]", *words),
        ]
        self.command = [sys.executable, "-m", "dylora_exp", *self.words, *launcher]

    def start(self, **options):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            self.command,
            cwd=self.folder,
            env=environment,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )

    def finish(self):
        process = self.start()
        out, _ = process.communicate(timeout=900)
        return process.returncode, out

    def here(self):
        """Do the sweep in this process, one run after the other."""
        out = io.StringIO()
        with (
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(out),
        ):
            code = main(self.words)
        return code, out.getvalue()

    def records(self):
        return {r.run_id: r for r in RecordStore(self.folder / "results").read_all()[0]}

    def completed(self):
        return {name: r for name, r in self.records().items() if r.status == "completed"}

    def strays(self):
        """Return the files that a sweep should not leave."""
        results = {path for path in (self.folder / "results").rglob("*") if path.is_file()}
        results -= set((self.folder / "results" / "runs").glob("[0-9a-f]*.json"))
        outputs = (self.folder / "outputs").rglob("*")
        odd = {path for path in outputs if path.name.startswith((".", "checkpoint-"))}
        return sorted(results | odd | set((self.folder / "outputs" / "multirun").glob("*/.*")))


def kill(process):
    """Kill a sweep with all its workers, at once."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.communicate()


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, record in ours.items():
        assert without_times(record) == without_times(theirs[name])


def survives(tmp_path, words, runs, kills, window, seed):
    whole = Sweep(tmp_path / "whole", *words)
    code, out = whole.here()
    assert code == 0, out
    assert len(whole.completed()) == runs
    cut = Sweep(tmp_path / "cut", *words)
    moments = random.Random(seed)
    for _ in range(kills):
        process = cut.start()
        time.sleep(moments.uniform(*window))
        kill(process)
    code, out = cut.finish()
    assert code == 0, out
    same(cut.records(), whole.records())
    assert cut.strays() == whole.strays() == []


@pytest.mark.slow
def test_a_sweep_survives_kills(tmp_path):
    survives(tmp_path, [METHODS], runs=3, kills=1, window=(6, 10), seed=1)


@pytest.mark.slow
def test_twenty_four_runs_survive_twenty_kills(tmp_path):
    words = [METHODS, "seed=0,1,2,3,4,5,6,7"]
    survives(tmp_path, words, runs=24, kills=20, window=(3, 25), seed=2)


def together(tmp_path, words, runs):
    """Start a sweep twice at the same moment; return how often each run was begun."""
    first, second = Sweep(tmp_path / "s", *words, jobs=0), Sweep(tmp_path / "s", *words, jobs=0)
    processes = [first.start(), second.start()]
    for process in processes:
        out, _ = process.communicate(timeout=900)
        assert process.returncode == 0, out
    assert len(first.completed()) == runs
    assert first.strays() == []
    logs = (tmp_path / "s" / "outputs").glob("*/run.log")
    return [log.read_text().count(" begins in process ") for log in logs]


@pytest.mark.slow
def test_two_sweeps_share_their_runs(tmp_path):
    assert together(tmp_path, [METHODS], runs=3) == [1] * 3


@pytest.mark.slow
def test_two_sweeps_over_twelve_runs(tmp_path):
    assert together(tmp_path, [METHODS, "seed=0,1,2,3"], runs=12) == [1] * 12


def one_poisoned(tmp_path, good):
    """Run a learning rate that diverges among others, then the same sweep with it mended."""

    def sweep(rate):
        rates = [*good[:1], rate, *good[1:]]
        words = [f"trainer.learning_rate={','.join(rates)}", "trainer.max_steps=12"]
        return Sweep(tmp_path / "s", *words, jobs=0)

    poisoned = sweep("1e30")
    code, out = poisoned.here()
    assert code == 1, out
    assert len(poisoned.completed()) == len(good)
    (failed,) = [r for r in poisoned.records().values() if r.status == "failed"]
    assert "Try a lower trainer.learning_rate." in failed.error
    assert f"1 of {len(good) + 1} runs did not complete" in out
    assert out.count("run failed") == 1 and failed.error in out
    before = {path: path.read_bytes() for path in (tmp_path / "s").rglob("runs/*.json")}
    mended = sweep("4e-3")
    code, out = mended.here()
    assert code == 0, out
    assert f"{len(good)} done before" in out and "1 done now" in out
    assert len(mended.completed()) == len(good) + 1
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.slow
def test_one_poisoned_run_stops_no_other(tmp_path):
    one_poisoned(tmp_path, ["1e-3", "2e-3"])


@pytest.mark.slow
def test_one_poisoned_run_of_ten(tmp_path):
    one_poisoned(tmp_path, [f"{number}e-3" for number in range(5, 14)])


@pytest.mark.slow
def test_a_full_disk_is_a_sentence_and_earlier_records_stay(tmp_path):
    """A limit on the size of files plays the full disk: adapters of 100 kB do not fit."""
    done = Sweep(tmp_path / "s", "method=lora", jobs=0)
    assert done.here()[0] == 0
    (path,) = (tmp_path / "s" / "results" / "runs").glob("*.json")
    before = path.read_bytes()

    def small_disk():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    full = Sweep(tmp_path / "s", "method=lora,dylora", jobs=0)
    process = full.start(preexec_fn=small_disk)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 1, out
    assert path.read_bytes() == before
    told = [line for line in out.splitlines() if "run failed" in line]
    assert len(told) == 1, out
    assert "Traceback" not in out
    code, out = full.here()
    assert code == 0 and "1 done before" in out and "1 done now" in out, out


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGTERM, 143, "stopped"), (signal.SIGINT, 130, "interrupted")],
)
@pytest.mark.slow
def test_a_signal_ends_a_run_cleanly(number, code, word, tmp_path):
    words = ["trainer.max_steps=4000", "trainer.save_steps=5"]
    sweep = Sweep(tmp_path / "s", *words, jobs=0)
    # A job of a shell in the background ignores SIGINT.
    process = sweep.start(preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    deadline = time.monotonic() + 120
    while not list((tmp_path / "s").glob("outputs/*/checkpoint-*/complete.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == code, out
    stopped = f"dylora: {word}; the same command resumes from the last checkpoint."
    assert stopped in out.splitlines()
    (record,) = sweep.records().values()
    assert record.status == "running"
    listed = subprocess.run(
        [sys.executable, "-m", "dylora_exp", "list", "runs"],
        cwd=tmp_path / "s", capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "interrupted" in listed
    assert not list((tmp_path / "s" / "results").rglob(".*"))
