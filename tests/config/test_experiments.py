"""``conf/experiment`` and ``conf/debug``: runs as files of differences from the defaults."""

import json
import re
import shlex
from pathlib import Path

import pytest

from dylora_exp.cli.entry import main
from dylora_exp.config.choices import CONF_DIR, options
from dylora_exp.config.composition import compose
from dylora_exp.config.run_identity import run_id
from tests.support.tiny_runs import ROOT

EXPERIMENTS = options("experiment")


def header(name):
    text = (Path(CONF_DIR) / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    return [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ")][1:]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_the_run_that_its_name_and_header_say(name):
    config = compose([f"experiment={name}"])
    profile, *rest = name.split("-", 1)
    assert config.profile.startswith(profile)
    for part in (config.task.name, config.method.name):
        assert part in rest[0] or config.profile == "demo"
    (command,) = [line for line in header(name) if line.startswith("dylora ")]
    assert shlex.split(command)[:3] == ["dylora", "run", f"experiment={name}"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_expected_score_is_that_of_the_committed_record(name):
    pattern = r"Expected: (\w+) ([\d.]+) at rank (\d+) \(record (\w+)\)\."
    expected = re.findall(pattern, " ".join(header(name)))
    path = ROOT / "results" / "runs" / f"{run_id(compose([f'experiment={name}']))}.json"
    assert bool(expected) == path.exists()
    for metric, score, rank, record in expected:
        assert record == path.stem
        ranks = json.loads(path.read_text(encoding="utf-8"))["ranks"]
        scores = {
            f"{entry['metrics'][metric]:.4f}" for entry in ranks if entry["rank"] == int(rank)
        }
        assert score in scores


def test_single_settings_and_choices_win_over_an_experiment():
    config = compose(["experiment=mini-sst2-dylora", "task=mrpc", "trainer.epochs=1", "seed=3"])
    assert (config.task.name, config.trainer.epochs, config.seed) == ("mrpc", 1, 3)
    assert (config.profile, config.model.name) == ("mini", "minilm")


@pytest.mark.parametrize("name", options("debug"))
def test_debug_shortens_any_run_and_keeps_its_record_apart(name):
    plain, debug = (
        compose(["experiment=mini-sst2-dylora", *more]) for more in ([], [f"debug={name}"])
    )
    assert debug.trainer.max_steps < 8000 / 32 * plain.trainer.epochs
    assert debug.task.max_train_samples < plain.task.max_train_samples
    assert Path(debug.results_dir) == Path(debug.outputs_dir) / "debug"
    assert (debug.task.name, debug.method.name) == ("sst2", "dylora")
    assert run_id(debug) != run_id(plain)


def test_a_debug_run_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "experiment=demo-sandwich", "debug=default"]) == 0
    (record,) = (tmp_path / "outputs" / "debug" / "runs").glob("*.json")
    assert json.loads(record.read_text())["config"]["ranks"]["sandwich"] == 0.5


@pytest.mark.parametrize("group", ["experiment", "debug"])
def test_a_wrong_name_is_said_with_those_there_are(group, capsys):
    assert main(["validate", f"{group}=x"]) == 2
    assert f"{group}: 'x' is not one of {options(group)[0]}" in capsys.readouterr().err
