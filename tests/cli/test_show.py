"""``dylora show`` and ``dylora list runs``: what records say of runs, old and failed ones too."""

import json
import re
import sys
from pathlib import Path

import pytest

from dylora_exp.cli.entry import main
from dylora_exp.config import CONF_DIR, profile_differences
from dylora_exp.config.composition import compose
from dylora_exp.config.run_identity import identity
from tests.support.records import LEADING, Results

COMMITTED = CONF_DIR.parent / "results"
SCORES = {(rank, *LEADING): {"accuracy": 0.5 + rank / 20} for rank in range(1, 9)}
DEMO = "profile=demo task=demo"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / "results")


def shown(capsys, *words):
    assert main(list(words)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("path", sorted((COMMITTED / "runs").glob("*.json"))[:2])
def test_an_old_record_is_shown_with_its_scores_and_rank(path, capsys):
    record = json.loads(path.read_text())
    out = shown(capsys, "show", path.stem[:6], "--results", str(COMMITTED))
    assert f"run {path.stem}: completed, " in out and f"seed {record['seed']}" in out
    last = record["ranks"][-1]
    assert re.search(rf"{last['rank']} │\s+{100 * last['metrics']['accuracy']:.2f} │", out)
    assert "deploy rank" in out and f"settings: as in profile {record['profile']}" in out
    assert f"data: {record['data'][0]['file']}, " in out
    assert f"record: {path}" in out and "there is no folder outputs/" in out


def test_settings_that_differ_are_overrides_with_the_profiles_value(results, capsys):
    words = f"{DEMO} method=dylora trainer.max_steps=40 ranks.score=[1,2] method.alpha=8"
    record = results.add(words, 7, SCORES)
    out = shown(capsys, "show", record.run_id)
    lines = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]
    assert ["trainer.max_steps=40", "(profile: 800)"] in lines
    assert ["method.alpha=8", "(profile: 16)"] in lines
    assert ["ranks.score=[1,2]", "(profile: null)"] in lines
    # They are the overrides that compose the run again.
    chosen = [line[0] for line in lines if line[0] and line[0].partition("=")[0] in words]
    again = compose([*DEMO.split(), "method=dylora", "seed=7", *chosen])
    assert identity(again) == record.config


def test_a_setting_of_the_profile_that_a_run_has_not_is_a_difference():
    config = compose(["profile=mini", "trainer.order=random", "trainer.max_steps=3"])
    names = {"profile": "mini", "model": "minilm", "task": "mrpc", "method": "dylora"}
    found = {each.key: (each.value, each.in_profile)
             for each in profile_differences(identity(config), names)}  # fmt: skip
    assert found == {
        "trainer.order": ("random", "length_grouped"),
        "trainer.max_steps": (3, None),
    }
    assert profile_differences(identity(config), names | {"profile": "gone"}) is None
    # Of a model whose file is not here, nothing is compared.
    assert {each.key for each in profile_differences(identity(config), names | {"model": "x"})} == {
        "trainer.order",
        "trainer.max_steps",
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"status": "failed", "error": "ValueError: no good"}, ["failed", "ValueError: no good"]),
        ({"status": "running"}, ["interrupted"]),
        ({"profile": "gone"}, ["no profile 'gone' is here"]),
        ({"config": {"seed": 1}}, ["deploy rank", "settings: as in profile demo"]),
        ({"created_at": "yesterday"}, [", yesterday"]),
        ({"data": [{"dataset": "x"}]}, ["data: x"]),
    ],
)
def test_failed_running_and_odd_records_are_shown(fields, expected, results, capsys):
    scores = {} if fields.get("status") else SCORES
    record = results.add(f"{DEMO} method=dylora", 1, scores, **fields)
    out = shown(capsys, "show", record.run_id)
    assert all(each in out for each in expected), out


def test_files_are_named_where_they_are(results, capsys):
    record = results.add(f"{DEMO} method=lora", 1, SCORES)
    folder = Path("there") / record.run_id
    (folder / "checkpoint-900").mkdir(parents=True)
    (folder / "checkpoint-1000").mkdir()
    (folder / "model").mkdir()
    (folder / "run.log").touch()
    out = shown(capsys, "show", record.run_id, "--outputs", "there")
    assert f"model: {folder}/model" in out and f"run.log: {folder}/run.log" in out
    assert f"last checkpoint: {folder}/checkpoint-1000" in out and "error.log" not in out


@pytest.mark.parametrize("run", ["nothing", "", "a-b"])
def test_a_run_that_is_not_there_is_a_sentence(run, results, capsys):
    results.add(f"{DEMO} method=lora", 1, SCORES)
    assert main(["show", run]) == 2
    assert "is not in" in capsys.readouterr().err


def test_runs_are_listed_newest_first_with_verdict_and_settings(results, capsys):
    dates = ["2026-01-02T10:00:00+00:00", "2026-03-01T10:00:00+00:00", "2025-12-31T10:00:00+00:00"]
    made = [
        results.add(f"{DEMO} method=dylora trainer.max_steps={n + 1}", n, SCORES, created_at=date)
        for n, date in enumerate(dates)
    ]
    whole = results.add(
        f"{DEMO} method=finetune", 1, {(None, None, None): {"accuracy": 0.75}},
        created_at="2024-01-01T00:00:00+00:00",
    )  # fmt: skip
    _, heading, *lines = shown(capsys, "list", "runs").splitlines()
    assert heading.split()[:3] == ["run", "date", "status"]
    expected = [made[1].run_id, made[0].run_id, made[2].run_id, whole.run_id]
    assert [line.split()[0] for line in lines] == expected
    assert "2026-03-01" in lines[0] and "deploy rank 8 (leading): Accuracy 90.00" in lines[0]
    assert lines[0].endswith("trainer.max_steps=2") and "Accuracy 75.00" in lines[3]


def test_a_narrow_terminal_has_the_details_below_each_run(results, capsys, monkeypatch):
    record = results.add(f"{DEMO} method=dylora trainer.max_steps=2", 1, SCORES)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    out = shown(capsys, "list", "runs").splitlines()
    assert out[2].startswith(record.run_id) and len(out[2]) <= 80
    assert out[3].startswith("  deploy rank 8") and out[4] == "  trainer.max_steps=2"


def test_an_unknown_metric_of_another_version_is_shown(results, capsys):
    scores = {(1, *LEADING): {"accuracy": 0.5, "sparkle": 0.25}}
    record = results.add(f"{DEMO} method=dylora", 1, scores)
    assert "25.00" in shown(capsys, "show", record.run_id)
