"""Every file under ``conf/`` can be composed; a new one is looked at without a line here."""

import importlib
from pathlib import Path

import pytest
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.plugins.launcher import Launcher
from hydra.utils import instantiate
from omegaconf import OmegaConf

from dylora_exp.config.composition import compose
from dylora_exp.config.overrides import CONF_DIR, options
from dylora_exp.config.run_identity import run_id
from dylora_exp.config.schema import Config
from dylora_exp.multirun import executors
from dylora_exp.multirun.executors.settings import make_executor
from dylora_exp.reporting.make_tables import table_runs
from dylora_exp.reporting.specs.tables import profiles_of

FILES = sorted(path.relative_to(CONF_DIR).as_posix() for path in Path(CONF_DIR).rglob("*.yaml"))
# Not choices of a run: tables, what was chosen for their runs, what the paper prints, and what
# belongs to a method of its name.
OTHERS = ("table/", "paper/", "preset/", "tuned/")
CHOICES = [file for file in FILES if file.count("/") == 1 and not file.startswith(OTHERS)]
HYDRAS = [file for file in FILES if file.startswith("hydra/")]
# What a choice needs beside it.
BESIDE = {
    "ranks/custom": ["ranks.weights=[0.5,0.5,0,0,0,0,0,0]"],
    "method/flop": ["method.target_sparsity=0.5"],
    "method/imported": ["method.adapter=old.bin"],
}


def test_every_file_is_of_a_kind_that_is_looked_at():
    tables = [file for file in FILES if file.startswith(OTHERS)]
    assert sorted([*CHOICES, *HYDRAS, *tables, "config.yaml"]) == FILES


@pytest.mark.parametrize("file", CHOICES)
def test_every_choice_passes_the_schema(file):
    group, _, name = file.removesuffix(".yaml").partition("/")
    beside = BESIDE.get(f"{group}/{name}", [])
    config = compose([f"{group}={name}", *beside])
    assert isinstance(config, Config) and run_id(config)
    assert name in options(group)
    text = (Path(CONF_DIR) / file).read_text(encoding="utf-8")
    assert isinstance(yaml.safe_load(text), dict | None)
    if group in ("model", "task", "method", "tracker"):
        assert getattr(config, group).name == name
    if group == "profile":
        assert config.profile == name


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("preset/")])
def test_every_preset_is_of_a_method(file):
    assert Path(file).stem in options("method")


@pytest.mark.parametrize("profile", options("profile"))
def test_a_preset_holds_whatever_the_profile(profile):
    config = compose([f"profile={profile}", "method=qdylora", "model.targets=[query]"])
    assert config.model.quantization == "nf4"
    assert (config.ranks.distribution, config.ranks.r_max) == ("uniform", 64)
    assert config.ranks.values == [1, 2, 4, 8, 16, 32, 64]
    assert config.method.kind == "dylora" and config.method.update == "prefix"


def test_a_preset_gives_way_to_what_is_typed():
    typed = ["ranks.r_max=16", "ranks.values=[1,16]", "model.quantization=int8"]
    config = compose(["method=qdylora", *typed])
    assert (config.ranks.r_max, config.ranks.values) == (16, [1, 16])
    assert config.model.quantization == "int8"
    assert compose(["method=dylora"]).model.quantization == "none"


@pytest.mark.parametrize("model", options("model"))
@pytest.mark.parametrize("method", [pytest.param("lora", marks=pytest.mark.slow), "dylora"])
def test_every_model_goes_with_the_methods_of_adapters(model, method):
    assert compose([f"model={model}", f"method={method}"]).model.name == model


@pytest.mark.slow
@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("table/")])
def test_every_run_of_every_table_can_be_composed(file):
    name = Path(file).stem
    for profile in profiles_of(name):
        for run in table_runs(name, profile):
            assert len(run.run_id) == 12


@pytest.mark.parametrize("file", HYDRAS)
def test_every_launcher_names_an_executor_that_takes_its_settings(file):
    _, kind, name = file.removesuffix(".yaml").split("/")
    assert kind == "launcher"
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        tree = hydra_compose("config", [f"hydra/launcher={name}"], return_hydra_config=True)
    settings = OmegaConf.to_container(tree.hydra.launcher, resolve=True)
    executor = importlib.import_module(f"{executors.__name__}.{settings['executor']}").EXECUTOR
    pytest.importorskip(executor.package or "hydra")
    assert isinstance(make_executor(settings), executor)
    assert isinstance(instantiate(settings), Launcher)
