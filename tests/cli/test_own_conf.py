"""A conf folder, a method and a reader of the user's own, from an empty folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dylora_exp.cli.entry import main
from dylora_exp.config import CONF_DIR
from tests.support.own_conf import READER, as_installed, write_data

TINY = ["trainer.max_steps=2", "ranks.r_max=2"]
TABLE = """
title: Mine
caption: Mine
rows: [{label: Mine, method: soft-lora, truncation: svd, scale: alpha/r}]
blocks: [{heading: Ranks, ranks: [1, 2]}]
profiles:
  quick:
    seeds: [1]
    set: [ranks.r_max=2]
    columns: [{heading: Mine, task: mine, metric: accuracy}]
"""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def dylora(*words, path=""):
    """Run a command in a process of its own, other packages' folder on its path."""
    found = os.environ.get("PYTHONPATH", "")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([path, str(CONF_DIR.parent), found])}
    done = subprocess.run(
        [sys.executable, "-m", "dylora_exp", *words],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_task_model_method_and_reader_are_validated_run_listed_shown_and_reproduced(tmp_path):
    for what, name in (("task", "mine"), ("model", "small"), ("method", "soft-lora")):
        assert main(["init", what, name]) == 0
    plugin = tmp_path / "plugins" / "soft-lora"
    project = (plugin / "pyproject.toml").read_text()
    assert 'soft-lora = "soft_lora:SoftLoraMethod"' in project
    (plugin / "lines_reader.py").write_text(READER)
    points = {
        "dylora_exp.methods": "soft-lora = soft_lora:SoftLoraMethod",
        "dylora_exp.readers": "lines = lines_reader:Lines",
    }
    as_installed(plugin, "soft-lora", points)
    write_data("data")
    conf = Path("conf")
    for group, name, text in (
        ("profile", "quick", "# @package _global_\nprofile: quick\ntrainer: {max_steps: 2}\n"),
        ("table", "mine", TABLE),
    ):
        (conf / group).mkdir()
        (conf / group / f"{name}.yaml").write_text(text)
    chosen = ["model=small", "task=mine", "method=soft-lora", "profile=quick"]
    own = ["--config-dir", "conf"]
    words = [*chosen, "task.data_dir=data", "task.reader=lines", "ranks.r_max=2"]
    path = str(plugin)
    code, out, err = dylora("validate", *own, *words, path=path)
    assert code == 0, err
    run_id = out.split()[-1]
    searched = f"hydra.searchpath=[{tmp_path}/conf]"
    assert dylora("validate", searched, *words, path=path)[1] == out
    code, _, err = dylora("run", searched, *words, path=path)
    assert code == 0, err
    record = json.loads(Path("results", "runs", f"{run_id}.json").read_text())
    assert (record["method"], record["task"], record["model"]) == ("soft-lora", "mine", "small")
    assert record["config"]["method"]["strength"] == 1.0
    assert record["data"][0]["rows"] == 16
    code, out, _ = dylora("list", "runs", *own, path=path)
    assert code == 0 and run_id in out and "task.reader=lines" in out
    assert "max_steps" not in out  # that is its own profile's
    # Without the method installed, its record can be shown all the same.
    code, out, err = dylora("show", run_id[:5], *own)
    assert code == 0 and "task.reader=lines" in out and "deploy rank" in out, err

    further = ["task.data_dir=data"]
    code, out, err = dylora(
        *("reproduce", "mine", "--profile", "quick", "--plan", *own, *further), path=path
    )
    assert code == 0 and "soft-lora on mine, seed 1" in out, err


def test_what_is_listed(capsys):
    assert main(["init", "task", "mine"]) == 0
    assert main(["list", "tasks", "--config-dir", "conf"]) == 0
    out = capsys.readouterr().out
    assert "mine" in out and "mrpc" in out
    assert main(["list", "tasks"]) == 0  # a folder is of one command alone
    assert "\nmine" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["validate", "--config-dir", "gone"], "--config-dir: there is no folder 'gone'."),
        (["list", "--config-dir", "gone"], "--config-dir: there is no folder 'gone'."),
        (["validate", "hydra.searchpath=[gone]"], "hydra.searchpath: there is no folder 'gone'."),
        (["run", "hydra.searchpath=[gone]"], "hydra.searchpath: there is no folder 'gone'."),
        (["validate", "task.reader=linse"], "task.reader: 'linse' is not one of dart, demo,"),
    ],
)
def test_a_wrong_folder_or_reader_is_one_sentence(words, expected, capsys):
    assert main(words) == 2
    assert expected in capsys.readouterr().err


def test_a_plugin_that_cannot_be_loaded_is_named(tmp_path):
    as_installed(tmp_path / "site", "their-lora", {"dylora_exp.methods": "theirs = gone:Theirs"})
    code, _, err = dylora("validate", path=str(tmp_path / "site"))
    assert code == 2 and err.startswith("dylora: their-lora: its entry point dylora_exp.methods: ")
    assert "Traceback" not in err


@pytest.mark.parametrize("what", ["task", "model"])
def test_an_unchanged_file_is_a_valid_config(what, capsys):
    assert main(["init", what, "mine"]) == 0
    write_data("data")
    data = ["task.data_dir=data"] if what == "task" else []
    assert main(["validate", "--config-dir", "conf", f"{what}=mine", *data]) == 0
    settings = yaml.safe_load(Path("conf", what, "mine.yaml").read_text())
    assert settings["name"] == "mine"
    text = Path("conf", what, "mine.yaml").read_text()
    assert "NAME" not in text and "CONF" not in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["task", "mrpc"], "there is a task 'mrpc' already"),
        (["tsk", "mine"], "did you mean 'task'?"),
        (["task", "a b"], "'a b' cannot be the name of a task"),
        (["task", "../x"], "'../x' cannot be the name of a task"),
        (["task", "x=1"], "cannot be the name of a task"),
        (["method", "json"], "'json' is the name of a Python module"),
        (["method", "class"], "'class' is the name of a Python module"),
    ],
)
def test_a_name_that_cannot_be_is_refused(words, expected, tmp_path, capsys):
    assert main(["init", *words]) == 2
    assert expected in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_and_nothing_is_half_written(tmp_path, capsys):
    module = tmp_path / "plugins" / "mine" / "mine.py"
    module.parent.mkdir(parents=True)
    module.write_text("precious")
    assert main(["init", "method", "mine"]) == 2
    assert "plugins/mine/mine.py: is there already" in capsys.readouterr().err
    assert module.read_text() == "precious" and not (tmp_path / "conf").exists()
