"""One job of many: what it needs to run in any process, and how it ended."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from dylora_exp.compose import compose
from dylora_exp.config import Config
from dylora_exp.errors import RequestError, first_line
from dylora_exp.logs import tell as echo
from dylora_exp.rank_choice import objective as search_score
from dylora_exp.run import Outcome, RunBusy, RunFailed, execute


@dataclass(frozen=True)
class Job:
    """A run to do, in this process or in another one.

    Attributes:
        overrides: The overrides that it is composed of.
        label: What to call it in messages; empty for the overrides.
        search_path: Further places of config files, as ``hydra.searchpath`` has them; those of
            ``--config-dir``, for example ``file:///home/me/conf``.
    """

    overrides: tuple[str, ...]
    label: str = ""
    search_path: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What to call the job in messages."""
        return self.label or " ".join(self.overrides) or "the run without overrides"

    def compose(self) -> Config:
        """Return the checked config of the run.

        Raises:
            RequestError: With every problem of the overrides and of the composed config.
        """
        paths = ",".join(f"'{path}'" for path in self.search_path)
        further = [f"hydra.searchpath=[{paths}]"] if paths else []
        return compose([*self.overrides, *further])


@dataclass(frozen=True)
class JobResult:
    """How a job ended.

    Attributes:
        name: The name of the job.
        outcome: The record, where it lies, and whether it was made just now; None without one.
        problems: A sentence for each thing that went wrong; none when the run is done.
        wrong_request: Whether the problems are about the request, so that a retry is of no use.
        worker_lost: Whether the process of the job ended before the job did.
        skipped_owner: Who is doing the run, where it was skipped for that.
        busy_locks: The locks of the process that is doing the run, where the run was deferred.
        seconds: How long it took.
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
    start = time.monotonic()
    try:
        config = job.compose()
    except RequestError as error:
        return JobResult(job.name, problems=tuple(error.problems), wrong_request=True)
    except Exception as error:
        return _unexpected(job.name, error)
    return run_config(config, job.name, defer_busy=True, start=start)


def run_config(
    config: Config, name: str, defer_busy: bool = False, start: float | None = None
) -> JobResult:
    """Run a composed config and return how it ended; nothing but an interruption is raised.

    Args:
        config: The run.
        name: What to call it in messages.
        defer_busy: Whether to defer a run that another process is doing instead of waiting.
        start: When the job began, by ``time.monotonic``; None for now.
    """
    start = time.monotonic() if start is None else start
    try:
        outcome = execute(config, later=defer_busy)
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
        return _unexpected(name, error)
    return JobResult(name, outcome, seconds=time.monotonic() - start)


def _unexpected(name: str, error: Exception) -> JobResult:
    traceback.print_exc()
    return JobResult(name, problems=(f"run failed: {type(error).__name__}: {first_line(error)}",))
