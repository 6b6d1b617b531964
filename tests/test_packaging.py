"""The wheel alone, in an empty folder, does what the demo does; its metadata say what is true."""

import os
import subprocess
import sys
import tomllib
import zipfile

import pytest
import yaml

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


@pytest.mark.slow
def test_the_wheel_alone_does_the_demo(wheel, tmp_path):
    site, place = tmp_path / "site", tmp_path / "empty"
    place.mkdir()
    options = ["--quiet", "--no-deps", "--no-index", "--target", site]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, wheel], check=True)

    def run(*words):
        done = subprocess.run(
            [sys.executable, *words],
            cwd=place,
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("-c", "import dylora_exp; print(dylora_exp.__file__)").startswith(str(site))
    several = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    words = ["profile=demo", "method=lora,dylora,dylora-frozen", "seed=10", *several, *TINY]
    assert "3 runs: 3 done now" in run("-m", "dylora_exp", "run", "-m", *words)
    assert "DyLoRA" in run("-m", "dylora_exp", "tables", "2", "--profile", "demo")
    run("-m", "dylora_exp", "report", "--html")
    assert {path.name for path in place.iterdir()} == {"results", "outputs"}
    assert len(list((place / "results" / "runs").glob("*.json"))) == 3


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
