"""Hydra's own flags do on ``dylora run`` what Hydra's documentation says of them."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from dylora_exp.cli.entry import main
from dylora_exp.config.choices import CONF_DIR
from tests.support.tiny_runs import TINY


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(capsys, *words):
    code = main(["run", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def exit_code_and_output(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main(["run", *words])
    return end.value.code, capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected", "not_expected"),
    [
        (["--cfg", "job", "method.alpha=3"], "alpha: 3", "hydra:"),
        (["-c", "hydra"], "job_logging:", "\nmethod:"),
        (["--cfg=all"], "hydra:", None),
        (["--cfg", "job", "debug=default"], "results_dir: ${outputs_dir}/debug", None),
        (["--cfg", "job", "--resolve", "debug=default"], "results_dir: outputs/debug", None),
        (["--cfg", "job", "--package", "task"], "reader:", "alpha:"),
        (["--info", "defaults"], "| ranks/uniform", None),
        (["-i", "defaults-tree"], "model: tiny-roberta", None),
        (["--info", "searchpath"], "structured://", None),
        (["--info"], "Defaults List", None),
    ],
)
def test_what_is_shown_instead_of_running(words, expected, not_expected, capsys, tmp_path):
    code, out, _ = run(capsys, *words)
    assert code == 0 and expected in out
    assert not_expected is None or not_expected not in out
    assert list(tmp_path.iterdir()) == []


def test_hydras_help(capsys):
    code, out = exit_code_and_output(capsys, "--hydra-help")
    assert code == 0 and "https://hydra.cc" in out


@pytest.fixture
def own_conf(tmp_path):
    """A folder with a task of one's own, and a config to begin with."""
    folder = tmp_path / "own conf"
    (folder / "task").mkdir(parents=True)
    text = (CONF_DIR / "task" / "demo.yaml").read_text()
    (folder / "task" / "mine.yaml").write_text(text)
    (folder / "start.yaml").write_text("defaults: [config, _self_]\nseed: 42\n")
    return str(folder)


@pytest.mark.parametrize("flag", ["--config-dir", "-cd"])
def test_config_dir_adds_choices_to_run(flag, own_conf, capsys, tmp_path):
    code, _, err = run(capsys, flag, own_conf, "task=mine", *TINY, "ranks.score=[1]")
    assert code == 0, err
    assert len(list((tmp_path / "results" / "runs").glob("*.json"))) == 1
    code, _, err = run(capsys, flag, own_conf, "task=min")
    assert code == 2 and "did you mean 'mine'?" in err


def test_config_name_begins_with_another_config(own_conf, capsys):
    code, out, _ = run(capsys, "--config-dir", own_conf, "--config-name", "start", "--cfg", "job")
    assert code == 0 and "seed: 42" in out and "reader: demo" in out


def test_config_path_replaces_the_conf_folder(capsys, tmp_path):
    shutil.copytree(CONF_DIR, tmp_path / "conf")
    file = tmp_path / "conf" / "config.yaml"
    file.write_text(file.read_text().replace("seed: 10", "seed: 77"))
    code, out, _ = run(capsys, "--config-path", str(tmp_path / "conf"), "--cfg", "job")
    assert code == 0 and "seed: 77" in out


def test_a_folder_that_is_not_there_is_one_sentence(capsys):
    code, _, err = run(capsys, "--config-dir", "gone", "--cfg", "job")
    assert code == 2 and len(err.splitlines()) == 1 and "gone' not found" in err


def test_a_multirun_can_be_asked_for_by_hydras_mode(capsys, tmp_path):
    code, _, _ = run(capsys, "hydra.mode=MULTIRUN", "seed=1,2", *TINY, "ranks.score=[1]")
    assert code == 0
    records = (tmp_path / "results" / "runs").glob("*.json")
    assert sorted(json.loads(record.read_text())["seed"] for record in records) == [1, 2]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_is_installed_for_the_program(shell, capsys):
    code, out, _ = run(capsys, "--shell-completion", f"install={shell}")
    assert code == 0 and "dylora" in out and "dylora run" not in out
    assert run(capsys, "-sc", f"uninstall={shell}")[0] == 0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "dylora run task=de",
            ["task=demo", "task=demo-choice", "task=demo-e2e", "task=demo-webnlg"],
        ),
        ("dylora validate trainer.warm", ["trainer.warmup_ratio=", "trainer.warmup_steps="]),
        ("dylora re", ["report", "reproduce", "resize"]),
        ("dylora -q re", ["report", "reproduce", "resize"]),
        ("dylora run -m method=lora,dylora-f", ["method=lora,dylora-frozen"]),
        ("dylora validate --config-dir own task=mi", ["task=mine"]),
        ("dylora validate hydra.searchpath=[own] task=mi", ["task=mine"]),
        ("dylora show 3", ["3fa9", "3fb0"]),
        ("dylora export --rank 2 3fa", ["3fa9"]),
        ("dylora export 3fa9 --rank ", ["all", "best", "recommended"]),
        ("dylora show --results other ", ["77"]),
        ("dylora list r", ["ranks", "runs"]),
        ("dylora tables 2 A", ["A"]),
        ("dylora reproduce al", ["all"]),
        ("dylora reproduce 2 --profile mini", ["mini", "mini-nlg"]),
        ("dylora reproduce 2 --pl", ["--plan"]),
        ("dylora data fetch mr", ["mrpc"]),
        ("dylora init m", ["method", "model"]),
        ("dylora show 3fa9 ", []),
        ("dylora export 3fa9 --to ", []),  # the shell completes files
        ("dylora nonsense x", []),
    ],
)
def test_a_shell_is_answered(line, expected, capsys, monkeypatch, tmp_path):
    for path in ("results/runs/3fa9", "results/runs/3fb0", "other/runs/77", "own/task/mine"):
        file = tmp_path / f"{path}{'.yaml' if path.startswith('own') else '.json'}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    assert main(["-sc", "query=bash"]) == 0
    assert capsys.readouterr().out.split() == expected
    monkeypatch.setenv("COMP_LINE", line)
    assert main(["-sc", "query=fish"]) == 0
    assert capsys.readouterr().out.split() == expected


def test_bash_completes_a_line(tmp_path):
    """With the installed script in a real bash."""
    program = tmp_path / "bin" / "dylora"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m dylora_exp "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(dylora run -sc install=bash)"\n'
        'COMP_LINE="dylora run ranks=u"; COMP_POINT=18; COMP_CWORD=2\n'
        'hydra_bash_completion; echo "${COMPREPLY[@]}"\n'
    )
    path = f"{program.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["ranks=uniform"], done.stderr
