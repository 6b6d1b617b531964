"""``dylora reproduce TABLE --tune``: trials, resumed and failing, the file, and the table after."""

import json
import re

import pytest
import yaml

from dylora_exp import reporting
from dylora_exp.cli.entry import main
from dylora_exp.multirun import jobs
from dylora_exp.records.record import RankScore
from dylora_exp.records.store import RecordStore
from dylora_exp.reporting.make_report import WrittenReport
from dylora_exp.reporting.specs import tables as spec
from dylora_exp.reporting.specs import tuning
from dylora_exp.runner.run import Outcome, RunFailed
from tests.support.records import make_record
from tests.support.tables import use_own_files

TABLE = """
title: T
caption: C
rows:
  - {label: LoRA, method: lora, truncation: leading, scale: alpha/b}
  - {label: DyLoRA, method: dylora, truncation: leading, scale: alpha/b}
  - {label: Sorted, method: sorted-lora, truncation: leading, scale: alpha/r, optional: [demo]}
blocks:
  - {heading: "Rank = {rank}", ranks: [1, 2]}
tuning:
  values: {trainer.learning_rate: [1.0e-3, 2.0e-2]}
  seed: 7
  held_out: 0.1
  set: [task.max_eval_samples=32]
profiles:
  demo:
    seeds: [10]
    set: [trainer.max_steps=2, ranks.r_max=2, task.max_train_samples=320, task.max_eval_samples=16]
    columns:
      - {heading: Demo task, task: demo, metric: accuracy}
"""
PLAIN = TABLE.partition("tuning:")[0] + TABLE[TABLE.index("profiles:") :]
COMMAND = "dylora reproduce one --profile demo --tune"


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """A folder with table 'one', which asks for tuning, and 'plain', which does not; no others."""
    folder = tmp_path / "conf"
    (folder / "table").mkdir(parents=True)
    (folder / "table" / "one.yaml").write_text(TABLE)
    (folder / "table" / "plain.yaml").write_text(PLAIN)
    use_own_files(folder, monkeypatch, spec, tuning)
    monkeypatch.chdir(tmp_path)
    return folder


class Worker:
    """Stands in for ``run_if_needed``: a run's score is what is said for its learning rate."""

    def __init__(self):
        self.done = []
        self.problems = {}

    def __call__(self, config, wait=True):
        rate = config.trainer.learning_rate
        name = f"{config.method.name} {rate:g} {config.seed}"
        self.done.append(name)
        store = RecordStore(config.results_dir)
        if problem := self.problems.get(name):
            store.write(make_record(config, status="failed", error=problem, ranks=[]))
            raise RunFailed(problem)
        best = 0.001 if config.method.name == "lora" else 0.02
        ranks = [
            RankScore(rank, cut.truncation, cut.scale, {"accuracy": 0.9 - abs(rate - best)}, 0.1)
            for rank in (1, 2)
            for cut in config.method.score
        ]
        record = make_record(config, ranks=ranks, timing={"train_seconds": 1.0})
        return Outcome(record, store.write(record), True, [])


@pytest.fixture
def worker(monkeypatch):
    worker = Worker()
    monkeypatch.setattr(jobs, "run_if_needed", worker)
    # The figures of a report take seconds, and say nothing here.
    monkeypatch.setattr(reporting, "write_report", lambda *_, **__: WrittenReport((), ()))
    return worker


def dylora(capsys, conf, *words):
    code = main([*words, "--config-dir", str(conf)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def chosen(conf):
    tree = yaml.safe_load((conf / "tuned" / "one-demo.yaml").read_text())
    return {each["method"]: each["chosen"]["trainer.learning_rate"] for each in tree["trainings"]}


TRIALS = ["lora 0.001 7", "lora 0.02 7", "dylora 0.001 7", "dylora 0.02 7"]


def test_first_the_trials_then_the_runs(capsys, conf, worker, tmp_path):
    code, out, err = dylora(capsys, conf, "reproduce", "one")
    assert (code, worker.done) == (2, [])
    assert COMMAND in err and err.count("\n") == 1
    code, out, _ = dylora(capsys, conf, "reproduce", "one", "--plan")
    assert (code, worker.done) == (0, [])
    assert out.count("missing ") == 4 and COMMAND in out
    assert "dylora (trainer.learning_rate=0.02) on demo, seed 7" in out
    assert dylora(capsys, conf, "reproduce", "one", "--tune", "--plan")[1].count("missing ") == 4

    code, out, err = dylora(capsys, conf, "reproduce", "one", "--tune")
    assert (code, worker.done) == (0, TRIALS)
    assert chosen(conf) == {"lora": 0.001, "dylora": 0.02}
    assert f"{conf / 'tuned' / 'one-demo.yaml'}: what was chosen for 2 of 3 trainings" in out
    assert "DyLoRA on demo: trainer.learning_rate=0.02 (accuracy 0.8810 at 0.001, 0.9000" in out
    assert "DyLoRA on demo: the best trainer.learning_rate is the largest tried." in err
    assert not (tmp_path / "results" / "tables").exists()

    code, out, _ = dylora(capsys, conf, "reproduce", "one")
    assert (code, worker.done[4:]) == (0, ["lora 0.001 10", "dylora 0.02 10"])
    text = (tmp_path / "results/tables/demo/one.md").read_text()
    assert text.count("90.00") == 4 and "demo: LoRA 0.001, DyLoRA 0.02." in text
    records = RecordStore(tmp_path / "results").read_all()[0]
    rates = {record.method: record.config["trainer"]["learning_rate"] for record in records[-2:]}
    assert all(rate in (0.001, 0.02) for rate in rates.values())
    code, out, _ = dylora(capsys, conf, "reproduce", "one")
    assert (code, len(worker.done)) == (0, 6) and "nothing to train" in out


def test_what_is_done_is_not_done_again(capsys, conf, worker, tmp_path):
    dylora(capsys, conf, "reproduce", "one", "--tune")
    before = (conf / "tuned" / "one-demo.yaml").read_bytes()
    (conf / "tuned" / "one-demo.yaml").unlink()
    gone = next(
        path
        for path in (tmp_path / "results/runs").glob("*.json")
        if json.loads(path.read_text())["method"] == "lora"
    )
    gone.unlink()
    assert dylora(capsys, conf, "reproduce", "one", "--tune")[0] == 0
    assert len(worker.done) == 5 and worker.done[4].startswith("lora ")
    assert (conf / "tuned" / "one-demo.yaml").read_bytes() == before


def test_optional_rows_are_done_on_request(capsys, conf, worker):
    assert dylora(capsys, conf, "reproduce", "one", "--tune")[0] == 0
    assert dylora(capsys, conf, "reproduce", "one", "--optional")[0] == 2
    assert dylora(capsys, conf, "reproduce", "one", "--tune", "--optional")[0] == 0
    assert worker.done[4:] == ["sorted-lora 0.001 7", "sorted-lora 0.02 7"]
    assert set(chosen(conf)) == {"lora", "dylora", "sorted-lora"}
    assert dylora(capsys, conf, "reproduce", "one", "--optional")[0] == 0
    assert worker.done[-1] == "sorted-lora 0.02 10"
    assert dylora(capsys, conf, "reproduce", "plain", "--optional")[0] == 0
    assert worker.done[-1] == "sorted-lora 0.005 10"


def test_a_trial_that_diverged_has_said_what_it_could(capsys, conf, worker):
    worker.problems = {"dylora 0.02 7": "TrainingDiverged: the training loss became nan by step 1"}
    code, out, _ = dylora(capsys, conf, "reproduce", "one", "--tune")
    assert (code, worker.done) == (0, TRIALS)  # it is not tried once more
    assert chosen(conf) == {"lora": 0.001, "dylora": 0.001}
    assert "0.9000 at 0.001, 0.8810 at 0.02" in out and "none at 0.02" in out


def test_a_trial_that_failed_leaves_its_training_open(capsys, conf, worker):
    worker.problems = {"dylora 0.02 7": "OSError: disk full"}
    code, _, err = dylora(capsys, conf, "reproduce", "one", "--tune")
    assert code == 1 and "OSError: disk full" in err
    assert worker.done[4:] == ["dylora 0.02 7"]  # once more
    assert chosen(conf) == {"lora": 0.001}
    code, _, err = dylora(capsys, conf, "reproduce", "one")
    assert code == 2 and "1 of its 2 trainings in profile 'demo', such as dylora on demo" in err
    worker.problems = {}
    assert dylora(capsys, conf, "reproduce", "one", "--tune")[0] == 0
    assert chosen(conf) == {"lora": 0.001, "dylora": 0.02}


def test_a_training_without_any_finite_score_is_named(capsys, conf, worker):
    diverged = "TrainingDiverged: the training loss became nan by step 1"
    worker.problems = {"dylora 0.02 7": diverged, "dylora 0.001 7": diverged}
    code, _, err = dylora(capsys, conf, "reproduce", "one", "--tune")
    assert code == 2 and "dylora on demo: none of its 2 trials has a finite score" in err
    assert chosen(conf) == {"lora": 0.001}


def test_among_all_tables_one_without_choices_is_left_out(capsys, conf, worker):
    code, out, _ = dylora(capsys, conf, "reproduce", "all")
    assert code == 0 and COMMAND in out and "plain.md" in out and "one.md" not in out
    code, out, err = dylora(capsys, conf, "tables")
    assert code == 0 and COMMAND in err and "plain.md" in out and "one.md" not in out
    code, _, err = dylora(capsys, conf, "tables", "one")
    assert code == 2 and COMMAND in err
    worker.done.clear()
    assert dylora(capsys, conf, "reproduce", "all", "--tune")[0] == 0
    assert worker.done == TRIALS
    assert "one.md" in dylora(capsys, conf, "tables")[1]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["plain", "--tune"], "--tune: table 'plain' asks for no tuning in profile 'demo'."),
        (["one", "--tune", "--select", "best"], "--select: found with --tune"),
        (["one", "--tune", "seed=3"], "seed: 'seed=3' would make other runs"),
    ],
)
def test_a_wrong_request_is_a_sentence(capsys, conf, worker, words, expected):
    code, _, err = dylora(capsys, conf, "reproduce", *words)
    assert (code, worker.done) == (2, []) and expected in err


@pytest.mark.slow
def test_real_runs_choose_by_held_out_examples(capsys, conf, tmp_path):
    """Two methods, two values, two steps each: the scores of the file are those of the records."""
    assert dylora(capsys, conf, "reproduce", "one", "--tune", "trainer.threads=1")[0] == 0
    tree = yaml.safe_load((conf / "tuned" / "one-demo.yaml").read_text())
    records = {each.run_id: each for each in RecordStore(tmp_path / "results").read_all()[0]}
    assert len(records) == 4
    for training in tree["trainings"]:
        assert training["examples"] == 32
        for trial in training["trials"]:
            record = records[trial["run"]]
            assert record.seed == 7 and record.config["task"]["held_out"] == 0.1
            assert record.data[1]["dataset"] == record.data[0]["dataset"]  # of the training data
            cut = [one for one in record.ranks if f"{one.truncation} {one.scale}" == trial["cut"]]
            mean = sum(one.metrics["accuracy"] for one in cut) / 2
            assert trial["score"] == pytest.approx(mean) and len(cut) == 2
    assert dylora(capsys, conf, "reproduce", "one", "trainer.threads=1")[0] == 0
    text = (tmp_path / "results/tables/demo/one.md").read_text()
    assert "(32 of demo), seed 7" in text and re.search(r"DyLoRA +\| +\*?\*?[\d.]+ \(1\)", text)
