"""Gives runs to Hydra: many of them (``-m``), and what only Hydra's own flags ask for."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from dylora_exp.config import (
    CONF_DIR,
    check_overrides,
    from_hydra,
    missing_config,
    quote_value,
)
from dylora_exp.core import RequestError, first_line, is_quiet, print_error, process_count
from dylora_exp.multirun.jobs import JobResult, overridden_keys, run_composed
from dylora_exp.multirun.launcher import RunTask
from dylora_exp.multirun.summary import counts_line, exit_code, print_failures, print_pivot
from dylora_exp.runner import Outcome

_MULTIRUN = ("--multirun", "hydra.mode=MULTIRUN")
_FOLDERS = ("--config-dir", "--config-path")


def launch(overrides: Sequence[str], flags: Sequence[str], show: Callable[[Outcome], None]) -> int:
    """Run one config, or with ``--multirun`` every combination, and return the exit code.

    Args:
        overrides: In Hydra's grammar.
        flags: Hydra's flags and their values, by their long names.
        show: Prints what became of a run that is done.

    Raises:
        RequestError: When the overrides are wrong, before anything has started.
    """
    multirun = any(each in (*flags, *overrides) for each in _MULTIRUN)
    if multirun and process_count() > 1:
        raise RequestError(
            f"-m: found with {process_count()} processes (torchrun), which do one run together; "
            "start a sweep without it."
        )
    overrides = [quote_value(override) for override in overrides]
    folders = [value for flag, value in itertools.pairwise(flags) if flag in _FOLDERS]
    problems, _ = check_overrides(overrides, multirun=multirun, search_path=folders)
    if problems:
        raise RequestError(problems)

    def report(result: JobResult) -> None:
        if result.outcome is not None and not (multirun and is_quiet()):
            show(result.outcome)

    task = RunTask(_run_tree, report)
    failure = ""
    try:
        call_hydra([*flags, *overrides], task)
    except (RequestError, BrokenPipeError):
        raise
    except Exception as error:
        failure = f"launching failed: {type(error).__name__}: {first_line(error)}"
        if not task.results:
            raise RequestError(failure) from error
    if multirun and task.results:
        print_pivot(task.results)
        print_failures(task.results, len(task.results))
        print(counts_line(task.results))
    for result in [] if multirun else task.results:
        report(result)
        for problem in result.problems:
            print_error(problem)
    if failure:
        print_error(failure)
        return 1
    return exit_code(task.results)


def call_hydra(arguments: Sequence[str], task: Callable[[DictConfig], Any]) -> None:
    """Call ``hydra.main`` on a task.

    Args:
        arguments: Hydra's flags, then overrides.
        task: Called with each composed config, unless a flag asks for something else.

    Raises:
        RequestError: When Hydra cannot compose, or cannot make its own folders.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us instead of being printed
    argv, sys.argv = sys.argv, ["dylora", *arguments]
    try:
        hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")(task)()
    except MissingConfigException as error:
        raise RequestError(missing_config(error)) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise RequestError(first_line(error)) from error
    except BrokenPipeError:
        raise
    except OSError as error:  # Hydra's own folders
        raise RequestError(f"{error.filename}: {error.strerror}.") from error
    finally:
        sys.argv = argv


def _run_tree(tree: DictConfig) -> JobResult:
    """Run what Hydra composed, in this process."""
    overrides = HydraConfig.get().overrides.task
    keys = overridden_keys(overrides)
    choices = HydraConfig.get().runtime.choices
    return run_composed(lambda: from_hydra(tree, keys, choices=choices), " ".join(overrides))
