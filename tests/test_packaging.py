"""The wheel alone, in an empty folder, does what the demo does; its metadata say what is true."""

import os
import subprocess
import sys
import tomllib
import zipfile

import pytest
import yaml

from tests.support.own_conf import READER, as_installed, write_data
from tests.support.tiny_runs import ROOT, TINY

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling", reason="make install brings it")
    folder = tmp_path_factory.mktemp("dist")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", folder, ROOT]
    subprocess.run(command, check=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package_and_of_conf(wheel):
    packed = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(
        ["git", "ls-files", "dylora_exp", "conf", "hydra_plugins"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    if not listed:
        pytest.skip("needs a checkout with git")
    wanted = {f"dylora_exp/{name}" if name.startswith("conf/") else name for name in listed}
    there = {name for name in packed if ".dist-info/" not in name}
    assert wanted <= there
    assert not {name for name in there if name.startswith(("tests/", "docs/", "results/"))}


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """A folder with nothing but the wheel's files, before which others are not looked at."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--no-deps", "--no-index", "--target", folder]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, wheel], check=True)
    return folder


@pytest.fixture
def run(site, tmp_path):
    """Return a function that runs Python in an empty folder, where only the wheel is."""
    place = tmp_path / "empty"
    place.mkdir()

    def call(*words, path=()):
        done = subprocess.run(
            [sys.executable, *words],
            cwd=place,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [site, *path]))},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    found = call("-c", "import dylora_exp; print(dylora_exp.__file__)")
    assert found.startswith(str(site))
    return call


@pytest.mark.slow
def test_the_wheel_alone_does_the_demo(run, tmp_path):
    place = tmp_path / "empty"
    several = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    words = ["profile=demo", "method=lora,dylora,dylora-frozen", "seed=10", *several, *TINY]
    assert "3 runs: 3 done now" in run("-m", "dylora_exp", "run", "-m", *words)
    assert "DyLoRA" in run("-m", "dylora_exp", "tables", "2", "--profile", "demo")
    run("-m", "dylora_exp", "report", "--html")
    assert {path.name for path in place.iterdir()} == {"results", "outputs"}
    assert len(list((place / "results" / "runs").glob("*.json"))) == 3


@pytest.mark.slow
def test_the_wheel_finds_what_is_the_users_own(run, tmp_path):
    place = tmp_path / "empty"
    for what, name in (("task", "mine"), ("model", "small"), ("method", "soft-lora")):
        run("-m", "dylora_exp", "init", what, name)
    plugin = place / "plugins" / "soft-lora"
    (plugin / "lines_reader.py").write_text(READER)
    points = {
        "dylora_exp.methods": "soft-lora = soft_lora:SoftLoraMethod",
        "dylora_exp.readers": "lines = lines_reader:Lines",
    }
    as_installed(plugin, "soft-lora", points)
    write_data(place / "data")
    own = ["--config-dir", "conf"]
    words = ["model=small", "task=mine", "method=soft-lora", "task.reader=lines"]
    words += ["task.data_dir=data", "ranks.r_max=2", "trainer.max_steps=2"]
    checked = run("-m", "dylora_exp", "validate", *own, *words, path=[plugin])
    run_id = checked.split()[-1]
    assert "deploy rank" in run("-m", "dylora_exp", "run", *own, *words, path=[plugin])
    assert run_id in run("-m", "dylora_exp", "list", "runs", *own, path=[plugin])
    for group, name in (("tasks", "mine"), ("models", "small"), ("methods", "soft-lora")):
        assert name in run("-m", "dylora_exp", "list", group, *own, path=[plugin])


def test_the_metadata_say_what_is_there():
    assert all((ROOT / name).is_file() for name in (PROJECT["readme"], *PROJECT["license-files"]))
    named = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if "3.1" in c]
    assert PROJECT["requires-python"] == f">={min(named)}"
    # The licence is an SPDX expression, beside which no classifier may name one.
    assert not any(each.startswith("License") for each in PROJECT["classifiers"])


def test_every_extra_can_be_pinned():
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in pins.splitlines()}
    extras = PROJECT["optional-dependencies"].values()
    named = [*PROJECT["dependencies"], *(each for extra in extras for each in extra)]
    for requirement in named:
        name = requirement.replace("=", ">").replace("<", ">").split(">")[0]
        assert name.lower().replace("_", "-") in pinned, requirement


def test_the_workflow_calls_what_is_run_here_and_nothing_secret():
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert "strategy" not in job and "secrets" not in text
    assert workflow["permissions"] == {"contents": "read"}
