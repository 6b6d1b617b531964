"""Gives runs to Hydra: many of them (``-m``), and what only Hydra's own flags ask for."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from dylora_exp.config import CONF_DIR, check_overrides, quote_path
from dylora_exp.core import RequestError, first_line, is_quiet, process_count
from dylora_exp.multirun.jobs import Ended, attempt, enduring_launchers, print_failures
from dylora_exp.runner import Outcome

_MULTIRUN = "--multirun"
_MULTIRUN_MODE = "hydra.mode=MULTIRUN"
_CONFIG_DIR = "--config-dir"


def launch(overrides: Sequence[str], flags: Sequence[str], show: Callable[[Outcome], None]) -> int:
    """Run one config, or with ``--multirun`` every combination, and return the exit code.

    Args:
        overrides: In Hydra's grammar.
        flags: Hydra's flags and their values, by their long names.
        show: Prints what became of a run that is done.

    Raises:
        RequestError: When the overrides are wrong, before anything has started.
    """
    multirun = _MULTIRUN in flags or _MULTIRUN_MODE in overrides
    if multirun and process_count() > 1:
        raise RequestError(
            f"-m: found with {process_count()} processes (torchrun), which do one run together; "
            "start a sweep without it."
        )
    overrides = [quote_path(override) for override in overrides]
    folders = [value for flag, value in itertools.pairwise(flags) if flag == _CONFIG_DIR]
    problems, _ = check_overrides(overrides, multirun=multirun, search_path=folders)
    if problems:
        raise RequestError(problems)
    alone: list[Ended] = []
    together: list[Ended] = []
    shown = _show_nothing if multirun and is_quiet() else show

    def job(tree: DictConfig) -> Ended:
        ended = attempt(tree, shown, later=multirun)
        alone.append(ended)
        return ended

    try:
        with enduring_launchers(together):
            call_hydra([*flags, *overrides], job)
    except (RequestError, BrokenPipeError):
        raise
    except Exception as error:
        reason = f"launching failed: {type(error).__name__}: {first_line(error)}"
        if not (alone or together):  # of nothing but what launcher and sweeper were given
            raise RequestError(reason) from error
        _report(together, multirun)
        print(f"dylora: {reason}", file=sys.stderr)
        return 1
    return _report(together if multirun else alone, multirun)


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
    except (HydraException, OmegaConfBaseException) as error:
        raise RequestError(first_line(error)) from error
    except BrokenPipeError:
        raise
    except OSError as error:  # Hydra's own folders
        raise RequestError(f"{error.filename}: {error.strerror}.") from error
    finally:
        sys.argv = argv


def _report(ended: Sequence[Ended], multirun: bool) -> int:
    """Say how jobs ended and return the exit code: 2 when nothing but wrong requests was made."""
    failed = [job for job in ended if job.problems]
    if multirun and ended:
        print_failures([(job.job, job) for job in failed], len(ended))
        print(_counts(ended))
    elif not multirun:
        for problem in [problem for job in failed for problem in job.problems]:
            print(f"dylora: {problem}", file=sys.stderr)
    if not failed:
        return 0
    return 2 if all(job.request for job in ended) else 1


def _counts(ended: Sequence[Ended]) -> str:
    """Return how many jobs ended in which way."""
    good = [job for job in ended if not job.problems]
    counts = {
        "done now": sum(job.fresh for job in good),
        "done before": sum(not job.fresh and not job.skipped for job in good),
        "skipped, another process is doing them": sum(bool(job.skipped) for job in good),
        "not completed": len(ended) - len(good),
    }
    parts = [f"{count} {what}" for what, count in counts.items() if count]
    return f"{len(ended)} runs: {', '.join(parts)}"


def _show_nothing(outcome: Outcome) -> None:
    """Leave it to the line about all runs."""
