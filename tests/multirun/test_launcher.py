"""Hydra's multirun with the project's launcher: registered as Hydra documents, nothing patched."""

import inspect
import os
import shutil
import sys

import hydra
import pytest
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher

from dylora_exp.config import CONF_DIR
from dylora_exp.core import RequestError
from dylora_exp.multirun import jobs
from dylora_exp.multirun.jobs import Job, JobResult
from dylora_exp.multirun.launcher import ExecutorLauncher, RunTask
from tests.support.job_functions import (
    count,
    echo_overrides,
    name_method_and_seed,
    run_job_of_key,
)


@pytest.fixture
def multirun(tmp_path, monkeypatch):
    """Run ``hydra.main`` on overrides, with a job function in place of a training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def run(*overrides, job_function=echo_overrides, flags=("-m",)):
        task = RunTask(lambda tree: JobResult("alone"), job_function=job_function)
        monkeypatch.setattr(sys, "argv", ["dylora run", *flags, *overrides])
        hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")(task)()
        return task.results

    return run


def test_the_launcher_is_one_of_hydras_plugins():
    (ours,) = [
        kind
        for kind in Plugins.instance().discover(Launcher)
        if issubclass(kind, ExecutorLauncher) and kind is not ExecutorLauncher
    ]
    assert ours.__module__ == "hydra_plugins.dylora_launcher"


def test_every_combination_is_a_job(multirun):
    results = multirun("method=lora,dylora", "seed=1,2", "hydra.launcher.executor=local")
    assert [result.name for result in results] == [
        *("method=lora seed=1", "method=lora seed=2"),
        *("method=dylora seed=1", "method=dylora seed=2"),
    ]


def test_without_m_the_task_itself_is_called(multirun):
    assert [result.name for result in multirun(flags=())] == ["alone"]


@pytest.mark.parametrize("launcher", ["processes", "joblib"])
def test_the_familiar_spellings_reach_the_processes(multirun, tmp_path, launcher, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    results = multirun(
        "seed=1,2",
        f"hydra/launcher={launcher}",
        "hydra.launcher.n_jobs=2",
        f"outputs_dir={tmp_path}",
    )
    assert [result.name.split()[0] for result in results] == ["seed=1", "seed=2"]
    assert os.getpid() not in {result.seconds for result in results}


@pytest.mark.parametrize("option", ["--config-dir", "hydra.searchpath"])
def test_a_folder_of_the_users_reaches_the_jobs(multirun, tmp_path, option):
    folder = tmp_path / "my conf"
    folder.mkdir()
    if option == "--config-dir":
        results = multirun("seed=1,2", flags=(option, folder.name, "-m"))
    else:
        results = multirun("seed=1,2", f"{option}=['file://{folder}']")
    assert [result.skipped_owner for result in results] == [f"file://{folder}"] * 2


def test_a_job_is_composed_with_a_folder_of_the_users(tmp_path):
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "short.yaml").write_text("defaults: [default]\nmax_grad_norm: 7\n")
    job = Job(("trainer=short",), search_path=(f"file://{tmp_path}",))
    assert job.compose().trainer.max_grad_norm == 7


@pytest.mark.parametrize("option", ["--config-name", "--config-path"])
def test_a_config_of_the_users_reaches_the_jobs(multirun, tmp_path, option):
    folder = tmp_path / "own"
    if option == "--config-name":
        folder.mkdir()
        (folder / "start.yaml").write_text("defaults: [config, _self_]\nseed: 77\n")
        flags = ("--config-dir", str(folder), option, "start", "-m")
    else:
        shutil.copytree(CONF_DIR, folder)
        file = folder / "config.yaml"
        file.write_text(file.read_text().replace("seed: 10", "seed: 77"))
        flags = (option, str(folder), "-m")
    results = multirun("method=lora,dylora", flags=flags, job_function=name_method_and_seed)
    assert [result.name for result in results] == ["lora 77", "dylora 77"]


def test_variables_that_hydra_sets_reach_the_jobs(multirun, monkeypatch):
    seen = []
    monkeypatch.setattr(jobs, "run_if_needed", lambda config, wait: seen.append(dict(os.environ)))
    multirun("seed=1", "+hydra.job.env_set.DYLORA_TEST=x", job_function=jobs.run_job)
    assert seen[0]["DYLORA_TEST"] == "x"
    assert "DYLORA_TEST" not in os.environ


def test_a_wrong_setting_of_a_launcher_is_a_sentence(multirun):
    with pytest.raises(RequestError, match="n_jobs: found 0, expected a number at least 1"):
        multirun("seed=1,2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0")


def test_a_failing_job_stops_no_other(multirun, tmp_path):
    values = ",".join(f"{what}@{tmp_path}@{what}" for what in ("done", "report"))
    results = multirun(f"seed={values}", job_function=run_job_of_key)
    assert [bool(result.problems) for result in results] == [False, True]
    assert count(tmp_path, "ended-done") == 1


def test_no_attribute_of_hydra_is_replaced(multirun):
    multirun("seed=1,2")
    for kind in (Plugins, Launcher, ConfigLoader, GlobalHydra):
        modules = {f.__module__ for f in vars(kind).values() if inspect.isfunction(f)}
        assert modules == {kind.__module__}
