"""The settings of executors: the files of ``conf/hydra/launcher``, with overrides on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dylora_exp.config import CONF_DIR, options, quote_value, quoted_folder
from dylora_exp.core import RequestError, config_folders, first_line, unknown_name
from dylora_exp.multirun.executors.base import Executor, executor_class


def launcher_names() -> list[str]:
    """Return the names that ``hydra/launcher`` and ``--launcher`` take."""
    return options("hydra/launcher")


def make_executor(settings: Mapping[str, Any], jobs: int | None = None) -> Executor:
    """Return the executor that the settings of a launcher describe.

    Args:
        settings: What a file of ``conf/hydra/launcher`` says: the executor's name and its settings.
        jobs: How many jobs at a time; None for what the settings say.

    Raises:
        RequestError: When the executor or a setting is wrong.
    """
    name = settings["executor"]
    own = {key: value for key, value in settings.items() if key not in ("_target_", "executor")}
    kind = executor_class(name)
    if jobs is not None and kind.jobs_setting is not None:
        own[kind.jobs_setting] = jobs
    elif (jobs or 1) > 1:
        raise RequestError(f"--jobs: found {jobs}, but launcher '{name}' runs one job at a time.")
    return kind(**own)


def load_executor(
    launcher: str | None = None, jobs: int | None = None, overrides: Sequence[str] = ()
) -> Executor:
    """Return the executor that a launcher's file describes.

    Args:
        launcher: A name of ``conf/hydra/launcher``; None for this process, or for ``processes``
            when there are several jobs at a time.
        jobs: How many jobs at a time; None for what the file says.
        overrides: Overrides of ``hydra.launcher.*`` and ``outputs_dir``.

    Raises:
        RequestError: When the launcher, a setting or the number of jobs is wrong.
    """
    problems = []
    if jobs is not None and jobs < 1:
        problems.append(f"--jobs: found {jobs}, expected a number at least 1.")
    name = ("processes" if (jobs or 1) > 1 else "local") if launcher is None else launcher
    if name not in launcher_names():
        problems.append(unknown_name("--launcher", name, launcher_names()))
    if problems:
        raise RequestError(problems)
    folders = ",".join(map(quoted_folder, config_folders()))
    try:
        with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            tree = hydra.compose(
                "config",
                [
                    f"hydra.searchpath=[{folders}]",
                    f"hydra/launcher={name}",
                    *map(quote_value, overrides),
                ],
                return_hydra_config=True,
            )
        settings = OmegaConf.to_container(tree.hydra.launcher, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise RequestError(first_line(error)) from error
    assert isinstance(settings, dict)
    return make_executor({str(key): value for key, value in settings.items()}, jobs)
