"""``dylora reproduce``: what is planned, what is run, and what is said when something fails."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dylora_exp.cli.entry import main
from dylora_exp.multirun import jobs, reproduction
from dylora_exp.multirun.executors.base import Executor
from dylora_exp.multirun.jobs import JobResult
from dylora_exp.multirun.reproduction import run_missing
from dylora_exp.multirun.reproduction_plan import ReproduceRequest, make_plan
from dylora_exp.records.record import RankScore
from dylora_exp.records.store import RecordStore
from dylora_exp.reporting.specs import tables as spec
from dylora_exp.runner.run import Outcome, RunFailed
from tests.support.records import make_record
from tests.support.tables import use_own_files

SETTINGS = (
    *("trainer.max_steps=2", "ranks.r_max=2"),
    *("task.max_train_samples=64", "task.max_eval_samples=16"),
)
TABLE = """
title: T
caption: C
rows:
  - {{label: LoRA, method: lora, truncation: leading, scale: alpha/b}}
  - {{label: {label}, method: {method}, truncation: leading, scale: alpha/b}}
blocks:
  - {{heading: "Rank = {{rank}}", ranks: [1, 2]}}
  - {{heading: None, rows: [{{label: Fine-tune, method: finetune, optional: [{profile}]}}]}}
profiles:
  {profile}:
    seeds: [10, 42]
    set: [trainer.max_steps=2, ranks.r_max=2, task.max_train_samples=64, task.max_eval_samples=16]
    columns:
      - {{heading: Demo task, task: demo, metric: accuracy}}
"""


@pytest.fixture(autouse=True)
def tables(tmp_path, monkeypatch):
    """Tables of runs in seconds: 'one' and 'two' share the LoRAs, 'big' is for another profile."""
    folder = tmp_path / "table"
    folder.mkdir()
    use_own_files(tmp_path, monkeypatch, spec)
    monkeypatch.chdir(tmp_path)
    rows = {"one": ("dylora", "demo"), "two": ("dylora-frozen", "demo"), "big": ("dylora", "mini")}
    for name, (method, profile) in rows.items():
        text = TABLE.format(label=method, method=method, profile=profile)
        (folder / f"{name}.yaml").write_text(text)
    return folder


class Worker:
    """Stands in for ``run_if_needed``: writes a record at once, or fails as often as asked."""

    def __init__(self):
        self.done = []
        self.failures = {}

    def __call__(self, config, wait=True):
        name = f"{config.method.name} {config.seed}"
        self.done.append(name)
        store = RecordStore(config.results_dir)
        if self.failures.get(name, 0) > 0:
            self.failures[name] -= 1
            store.write(record_of(config, status="failed", error="ValueError: poisoned"))
            raise RunFailed("ValueError: poisoned")
        record = record_of(config)
        return Outcome(record, store.write(record), True, [])


def record_of(config, **changes):
    ranks = [
        RankScore(rank, cut.truncation, cut.scale, {"accuracy": 0.5}, 0.1)
        for rank in (1, 2)
        for cut in config.method.score
    ]
    timing = {"train_seconds": 30.0, "sweep_seconds": 10.0}
    return make_record(config, **{"ranks": ranks, "timing": timing, **changes})


@pytest.fixture
def worker(monkeypatch):
    worker = Worker()
    monkeypatch.setattr(jobs, "run_if_needed", worker)
    return worker


def dylora(capsys, *words):
    code = main(["reproduce", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def states(plan_output):
    """Return state and name of each run that a plan lists."""
    rows = [line.split(maxsplit=2) for line in plan_output.splitlines()]
    return {
        row[2].split("  ")[0]: row[0] for row in rows if row[0] in ("done", "missing", "failed")
    }


def test_a_table_runs_what_is_missing_once_and_is_rendered(capsys, worker, tmp_path):
    code, out, err = dylora(capsys, "one")
    assert (code, err) == (0, "")
    assert worker.done == ["lora 10", "lora 42", "dylora 10", "dylora 42"]
    assert "1/4 lora on demo, seed 10: done in 0 s" in out.splitlines()
    assert "results/tables/demo/one.md" in out
    assert "50.00±0.00 (2)" in (tmp_path / "results/tables/demo/one.md").read_text()
    rendered = (tmp_path / "results/tables/demo/one.md").read_bytes()
    code, out, _ = dylora(capsys, "one")
    assert (code, len(worker.done)) == (0, 4)
    assert out.startswith("all 4 runs are done, nothing to train\n")
    assert (tmp_path / "results/tables/demo/one.md").read_bytes() == rendered


def test_the_plan_names_what_is_missing_and_runs_nothing(capsys, worker, tmp_path):
    dylora(capsys, "one")
    first = next((tmp_path / "results/runs").glob("*.json"))
    gone = json.loads(first.read_text())
    first.unlink()
    code, out, _ = dylora(capsys, "one", "--plan")
    found = states(out)
    name = f"{gone['method']} on demo, seed {gone['seed']}"
    assert (code, len(worker.done), len(found)) == (0, 4, 4)
    assert [run for run, state in found.items() if state != "done"] == [name]
    assert first.stem in next(line for line in out.splitlines() if line.startswith("missing"))
    assert not first.exists()
    dylora(capsys, "one")
    assert worker.done[4:] == [f"{gone['method']} {gone['seed']}"]


def test_the_time_is_that_of_like_runs_else_of_the_profile(capsys, worker, tmp_path):
    assert "time unknown" in dylora(capsys, "one", "--plan")[1]
    dylora(capsys, "one")
    for path in (tmp_path / "results/runs").glob("*.json"):
        tree = json.loads(path.read_text())
        if tree["method"] == "dylora":
            path.write_text(json.dumps(tree | {"timing": {"train_seconds": 7, "sweep_seconds": 3}}))
        elif tree["seed"] == 42:
            path.unlink()
    out = dylora(capsys, "two", "--plan", "--jobs", "2")[1]
    times = {line.split("seed ")[0].split()[2]: line for line in out.splitlines() if "seed" in line}
    assert times["lora"].endswith("lora on demo, seed 42           about 40 s")
    assert times["dylora-frozen"].endswith(
        "about 18 s"
    )  # (30 + 10 / 3 + 10 + 10) / 3: a third of the cuts
    assert out.splitlines()[-1] == (
        "4 runs, 1 of them done; the other 3: about 38 s, 2 at a time."  # (40 + 18 + 18) / 2
    )


def test_the_time_grows_with_steps_and_ranks_and_is_unknown_for_another_model(
    capsys, worker, tables
):
    """Runs of 2 steps that took 30 s to train and 10 s to score 2 ranks on 16 examples."""
    dylora(capsys, "one")
    text = (tables / "one.yaml").read_text()
    for change, expected in (
        ("trainer.max_steps=6", "about 100 s"),  # 90 + 10
        ("ranks.r_max=4", "about 50 s"),  # 30 + 20
        ("task.max_eval_samples=48", "about 60 s"),  # 30 + 30
        ("model=tiny-gpt2", "time unknown"),
    ):
        key = change.partition("=")[0]
        known = [each for each in SETTINGS if not each.startswith(f"{key}=")]
        (tables / "one.yaml").write_text(
            text.replace(f"[{', '.join(SETTINGS)}]", f"[{', '.join([*known, change])}]")
        )
        lines = dylora(capsys, "one", "--plan")[1].splitlines()
        assert next(line for line in lines if " dylora " in line).endswith(
            expected.replace("100 s", "2 min")
        ), (change, lines)


def test_a_run_that_another_process_does_is_running(capsys, worker):
    dylora(capsys, "one", "--plan")
    request = ReproduceRequest("one", "demo", Path("results"), Path("outputs"))
    item = make_plan(request).items[0]
    lock = Path("results") / "runs" / f".{item.run.run_id}.lock"
    lock.parent.mkdir(parents=True)
    handle = os.open(lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    plan = make_plan(request)
    assert [item.state for item in plan.items] == ["running", "missing", "missing", "missing"]
    assert plan.missing()[-1].run == item.run  # it may be done until its turn comes
    os.close(handle)
    assert {item.state for item in make_plan(request).items} == {"missing"}


def test_runs_that_tables_share_are_run_once_and_other_profiles_are_skipped(capsys, worker):
    code, out, _ = dylora(capsys, "all", "--plan")
    assert (code, len(states(out))) == (0, 6)
    assert "without this profile, skipped: big" in out
    code, out, _ = dylora(capsys, "all")
    assert code == 0
    assert sorted(worker.done) == sorted(
        f"{method} {seed}" for method in ("lora", "dylora", "dylora-frozen") for seed in (10, 42)
    )
    assert "one.md" in out and "two.md" in out and "big.md" not in out


def test_what_fails_is_tried_once_more_and_the_others_are_done(capsys, worker, tmp_path):
    worker.failures = {"dylora 10": 9, "lora 42": 1}
    code, out, err = dylora(capsys, "one")
    assert code == 1
    assert worker.done == ["lora 10", "lora 42", "dylora 10", "dylora 42", "lora 42", "dylora 10"]
    assert "once more: 2 of 4" in out
    assert err.splitlines()[-2:] == [
        "dylora: 1 of 4 runs did not complete:",
        "dylora: dylora on demo, seed 10: run failed: ValueError: poisoned",
    ]
    assert "50.00±0.00 (2)" in (tmp_path / "results/tables/demo/one.md").read_text()
    assert states(dylora(capsys, "one", "--plan")[1])["dylora on demo, seed 10"] == "failed"
    assert dylora(capsys, "one")[0] == 1 and len(worker.done) == 8


def test_a_run_that_says_it_is_done_and_has_no_record_is_a_failure(capsys, monkeypatch):
    monkeypatch.setattr(
        reproduction, "run_jobs", lambda jobs, *_, **__: [JobResult(job.name) for job in jobs]
    )
    code, _, err = dylora(capsys, "one")
    assert code == 1
    assert err.splitlines()[-1].endswith("dylora on demo, seed 42: no record of it was left.")


def test_all_that_is_wrong_is_said_at_once(capsys, worker):
    code, _, err = dylora(capsys, "oen", "seed=1", "--jobs", "0")
    assert (code, [line.split(":")[1] for line in err.splitlines()]) == (
        *(2, [" table", " seed", " --jobs"]),
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["oen"], "table: 'oen' is not one of all, big, one, two; did you mean 'one'?"),
        (
            ["one", "--profile", "dem"],
            "profile: 'dem' is not one of demo, demo-choice, demo-nlg, llm",
        ),
        (["big"], "profile of table big: 'demo' is not one of mini."),
        (["all", "--profile", "paper"], "profile: no table has 'paper'."),
        (["one", "method.alpha=3"], "method.alpha: 'method.alpha=3' would make other runs than"),
        (["one", "seed=1"], "seed: 'seed=1' would make other runs than the table's."),
        (["one", "model=minilm"], "model: 'model=minilm' would make other runs than"),
        (["one", "trainer.thread=1"], "did you mean 'trainer.threads'?"),
        (["one", "trainer.threads=x"], "trainer.threads: found 'x', expected a whole number."),
        (["one", "results_dir=x"], "results_dir: found 'results_dir=x', expected --results DIR"),
        (["one", "hydra/launcher=joblib"], "expected --launcher NAME instead."),
        (["one", "--jobs", "0"], "--jobs: found 0, expected a number at least 1."),
        (["one", "--launcher", "jobslib"], "did you mean 'joblib'?"),
        (["one", "--jbos", "2"], "did you mean '--jobs'?"),
        (["one", "--outputs", "/dev/null/x"], "/dev/null/x: cannot be written to"),
    ],
)
def test_a_wrong_request_is_one_sentence(words, expected, capsys, worker, tmp_path):
    code, out, err = dylora(capsys, *words)
    assert (code, out, worker.done) == (2, "", [])
    assert len(err.splitlines()) == 1 and expected in err
    assert not list(tmp_path.rglob("*.json"))


def test_overrides_reach_every_run_and_make_no_other_run(monkeypatch, capsys):
    seen = []

    def see(config, wait=True):
        seen.append((config.trainer.threads, config.outputs_dir, config.task.data_dir))
        return Worker()(config)

    monkeypatch.setattr(jobs, "run_if_needed", see)
    words = ["--results", "there", "trainer.threads=3", "task.data_dir=all my data"]
    assert dylora(capsys, "one", *words, "--outputs", "an outlet")[0] == 0
    assert seen == [(3, os.path.abspath("an outlet"), "all my data")] * 4
    assert set(states(dylora(capsys, "one", "--plan", "--results", "there")[1]).values()) == {
        "done"
    }


def test_missing_data_are_a_wrong_request_and_not_tried_again(capsys, tables):
    text = (tables / "one.yaml").read_text().replace("task: demo", "task: sst2")
    (tables / "one.yaml").write_text(text)
    code, out, err = dylora(capsys, "one", "task.data_dir=gone")
    assert code == 2
    assert "once more" not in out
    assert err.splitlines()[-1].endswith("task.data_dir: there is no folder 'gone'.")


def test_the_plan_needs_no_torch():
    code = (
        "import sys\n"
        "from dylora_exp.cli.entry import main\n"
        "assert main(['reproduce', '1', '--plan']) == 0\n"
        "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Processes(Executor):
    """Stands in for an executor of several jobs on this machine; notes what it gets."""

    jobs_on_this_machine = 4

    def __init__(self):
        self.rounds = []

    def start(self):
        pass

    def run(self, function, jobs):
        self.rounds.append(list(jobs))
        yield from ((index, function(job)) for index, job in enumerate(jobs))

    def release(self, interrupted):
        pass


def test_jobs_share_the_cores_of_this_machine_unless_an_override_says_otherwise(
    monkeypatch, worker
):
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    threads = []
    for further in ([], ["trainer.threads=3"]):
        executor = Processes()
        monkeypatch.setattr(ReproduceRequest, "load_executor", lambda self, e=executor: e)
        folder = Path("threads" if further else "shared")
        request = ReproduceRequest("one", "demo", folder, folder, 4, overrides=further)
        assert run_missing(request, make_plan(request)) == []
        threads.append({job.compose().trainer.threads for job in executor.rounds[0]})
    assert threads == [{2}, {3}]


@pytest.mark.parametrize(
    ("launcher", "jobs", "overrides", "kind", "limit"),
    [
        (None, None, [], "LocalExecutor", None),
        (None, 3, [], "ProcessesExecutor", 3),
        ("joblib", 3, [], "ProcessesExecutor", 3),
        ("joblib", None, ["hydra.launcher.n_jobs=5"], "ProcessesExecutor", 5),
        ("submitit_local", None, ["hydra.launcher.name=mine"], "SlurmExecutor", 1),
        ("submitit_slurm", None, [], "SlurmExecutor", 16),
        ("submitit_slurm", 3, ["hydra.launcher.partition=gpu"], "SlurmExecutor", 3),
        ("ray", 3, [], "RayExecutor", 3),
    ],
)
def test_every_launcher_is_configured(launcher, jobs, overrides, kind, limit):
    pytest.importorskip({"SlurmExecutor": "submitit", "RayExecutor": "ray"}.get(kind, "pebble"))
    request = ReproduceRequest("one", "demo", Path("r"), Path("o o"), jobs, launcher, overrides)
    executor = request.load_executor()
    assert type(executor).__name__ == kind
    assert getattr(executor, "n_jobs", getattr(executor, "limit", None)) == limit
    for value in (each.partition("=")[2] for each in overrides):
        assert value in str(vars(executor))


@pytest.mark.slow
def test_two_at_a_time_in_other_processes(capfd, tmp_path):
    """Real runs by worker processes; what they print is seen here."""
    code = main(["reproduce", "one", "--jobs", "2", "trainer.threads=1"])
    out = capfd.readouterr().out
    assert code == 0
    assert sorted(line[:4] for line in out.splitlines() if ": done in" in line) == [
        *("1/4 ", "2/4 ", "3/4 ", "4/4 ")
    ]
    records = RecordStore(tmp_path / "results").read_all()[0]
    assert {record.status for record in records} == {"completed"} and len(records) == 4


def test_tables_without_names_are_those_that_have_the_profile(capsys, tmp_path):
    (tmp_path / "results").mkdir()
    assert main(["tables", "--profile", "demo"]) == 0
    out = capsys.readouterr().out
    assert "one.md" in out and "two.md" in out and "big.md" not in out
