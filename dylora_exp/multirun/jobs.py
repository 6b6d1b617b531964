"""One job of many: what it needs to run in any process, and how it ended."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.utils import env_override
from omegaconf import DictConfig, OmegaConf

from dylora_exp.config import Config, compose, from_hydra
from dylora_exp.core import RequestError, config_folders, echo, first_line
from dylora_exp.records import search_score
from dylora_exp.runner import Outcome, RunBusy, RunFailed, run_if_needed


@dataclass(frozen=True)
class Job:
    """A run to do, in this process or in another one.

    Attributes:
        overrides: The overrides that it is composed of.
        label: What to call it in messages; empty for the overrides.
        search_path: Further folders of config files, as ``hydra.searchpath`` has them; those of
            ``--config-dir``, for example ``file:///home/me/conf``; by default the command's.
        environment: Variables that are set while it runs, as ``hydra.job.env_set`` has them.
        tree: What Hydra composed for it, if that began with a config of the user's own.
    """

    overrides: tuple[str, ...]
    label: str = ""
    search_path: tuple[str, ...] = field(default_factory=config_folders)
    environment: Mapping[str, str] = field(default_factory=dict)
    tree: DictConfig | None = None

    @property
    def name(self) -> str:
        """What to call the job in messages."""
        return self.label or " ".join(self.overrides) or "the run without overrides"

    def compose(self, required: str | None = None) -> Config:
        """Return the checked config of the run.

        Args:
            required: The override that must have an effect here. All others are left out where
                they have none: other jobs have them as well.

        Raises:
            RequestError: With every problem of the overrides and of the composed config.
        """
        shared = [each for each in self.overrides if each != required]
        if self.tree is None:
            return compose(self.overrides, self.search_path, shared)
        own = [] if required is None else overridden_keys([required])
        choices = OmegaConf.select(self.tree, "hydra.runtime.choices")
        return from_hydra(self.tree, own, overridden_keys(shared), choices, self.search_path)


def overridden_keys(overrides: Sequence[str]) -> list[str]:
    """Return the keys that overrides set."""
    return [override.lstrip("+~").partition("=")[0] for override in overrides]


def overrides_without_effect(jobs: Iterable[Job]) -> dict[str, list[str]]:
    """Return the keys of the overrides that change nothing in any job, with the reasons.

    A job that cannot be composed says so when it runs. No more jobs are composed than it takes.
    """
    idle: dict[str, list[str]] | None = None
    for job in jobs:
        found = {}
        try:
            job.compose()
            for key, override in zip(overridden_keys(job.overrides), job.overrides, strict=True):
                if idle is None or key in idle:
                    try:
                        job.compose(required=override)
                    except RequestError as error:
                        found[key] = error.problems
        except RequestError:
            continue
        idle = found
        if not idle:
            break
    return idle or {}


@dataclass(frozen=True)
class JobResult:
    """How a job ended.

    Attributes:
        name: The name of the job.
        outcome: The completed run; None without one.
        problems: A sentence for each thing that went wrong; none when the run is done.
        wrong_request: Whether the problems are about the request, so that a retry is of no use.
        worker_lost: Whether the process of the job ended before the job did.
        skipped_owner: Who is doing the run, where it was skipped for that.
        busy_locks: The locks of the process that is doing the run, where the run was deferred.
        seconds: How long the job took.
    """

    name: str
    outcome: Outcome | None = None
    problems: tuple[str, ...] = ()
    wrong_request: bool = False
    worker_lost: bool = False
    skipped_owner: str = ""
    busy_locks: tuple[Path, ...] = ()
    seconds: float = 0.0

    @property
    def fresh(self) -> bool:
        """Whether the run was done just now."""
        return self.outcome is not None and self.outcome.fresh

    @property
    def score(self) -> float | None:
        """What a search over settings maximises."""
        return None if self.outcome is None else search_score(self.outcome.record)


def run_job(job: Job) -> JobResult:
    """Run one job and return how it ended; nothing but an interruption is raised.

    A run that another process is doing is deferred (``busy_locks``), or skipped if the job's
    config says so.
    """
    with env_override(dict(job.environment)):
        return run_composed(job.compose, job.name, defer_busy=True)


def run_composed(
    compose_config: Callable[[], Config], name: str, defer_busy: bool = False
) -> JobResult:
    """Compose a config, run it and return how that ended; only an interruption is raised.

    Args:
        compose_config: Returns the config of the run.
        name: What to call it in messages.
        defer_busy: Whether to defer a run that another process is doing instead of waiting.
    """
    start = time.monotonic()
    try:
        config = compose_config()
        outcome = run_if_needed(config, wait=not defer_busy)
    except RequestError as error:
        return JobResult(name, problems=tuple(error.problems), wrong_request=True)
    except RunBusy as busy:
        if config.running == "skip":
            echo(f"{busy}; skipped")
            return JobResult(name, skipped_owner=str(busy))
        echo(f"{busy}; other runs go first")
        return JobResult(name, busy_locks=tuple(path.absolute() for path in busy.locks))
    except RunFailed as error:
        return JobResult(name, problems=(f"run failed: {error}",))
    except Exception as error:  # before the run could leave a record of it
        traceback.print_exc()
        reason = f"{type(error).__name__}: {first_line(error)}"
        return JobResult(name, problems=(f"run failed: {reason}",))
    return JobResult(name, outcome, seconds=time.monotonic() - start)
