"""What every executor offers, and the choice of one by its name."""

from __future__ import annotations

import importlib
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Self

from dylora_exp.core import (
    RequestError,
    first_line,
    install_command,
    is_installed,
    unknown_name,
)
from dylora_exp.multirun.jobs import Job, JobResult

JobFunction = Callable[[Job], JobResult]


class Executor(ABC):
    """Runs jobs; a context manager that holds its workers as long as the context lasts.

    A subclass takes the settings of its file in ``conf/hydra/launcher`` as keyword arguments. Its
    module's ``EXECUTOR`` is the class.

    Attributes:
        package: The package it needs, if that is not one of the project's own.
        extra: The project's extra that installs the package.
        jobs_setting: Its setting for the number of jobs at a time; None where it has none.
    """

    package: ClassVar[str] = ""
    extra: ClassVar[str] = ""
    jobs_setting: ClassVar[str | None] = None

    @abstractmethod
    def run(self, function: JobFunction, jobs: Sequence[Job]) -> Iterator[tuple[int, JobResult]]:
        """Run jobs and yield the index and the result of each as it ends.

        A job whose process dies yields a result with ``worker_lost``; the others are not affected.

        Args:
            function: Runs one job; importable, as it may be pickled.
            jobs: What to run.
        """

    @property
    def jobs_on_this_machine(self) -> int:
        """The number of jobs that share the cores of this machine at a time."""
        return 1

    @property
    def threads_per_job(self) -> int:
        """A job's share of the cores of this machine."""
        from joblib import cpu_count  # Hydra imports this module in every command

        return max(1, cpu_count() // self.jobs_on_this_machine)

    @abstractmethod
    def start(self) -> None:
        """Start or reach what runs the jobs; called when the context is entered."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise RequestError(f"launching failed: {reason}") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.release(interrupted=kind is not None)

    @abstractmethod
    def release(self, interrupted: bool) -> None:
        """Release the workers; stop them at once when an exception has ended the context."""


def executor_names() -> list[str]:
    """Return the names of all executors, without importing them."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return [file.stem for file in files if "\nEXECUTOR = " in file.read_text("utf-8")]


def executor_class(name: str) -> type[Executor]:
    """Return the class of an executor.

    Raises:
        RequestError: When there is no such executor, or its package is missing.
    """
    if name not in executor_names():
        raise RequestError(unknown_name("hydra.launcher.executor", name, executor_names()))
    kind: type[Executor] = importlib.import_module(f"{__package__}.{name}").EXECUTOR
    if kind.package and not is_installed(kind.package):
        raise RequestError(
            f"hydra/launcher: '{name}' needs {kind.package}, which is not installed; install it "
            f"with: {install_command(kind.extra)}"
        )
    return kind


def check_count(setting: str, value: int | None) -> None:
    """Raise ``RequestError`` unless a setting is a number of jobs, or None for no limit."""
    if value is not None and (not isinstance(value, int) or value < 1):
        raise RequestError(
            f"hydra.launcher.{setting}: found {value}, expected a number at least 1."
        )


def lost(job: Job, reason: str) -> JobResult:
    """Return the result of a job whose process ended before the job did."""
    problem = f"its process ended before it did ({reason})"
    return JobResult(job.name, problems=(problem,), worker_lost=True)


def failed(job: Job, error: BaseException) -> JobResult:
    """Return the result of a job that, or whose result, could not pass between processes."""
    problem = f"run failed: {type(error).__name__}: {first_line(error)}"
    return JobResult(job.name, problems=(problem,))


def exit_reason(code: int | None) -> str:
    """Return how a process ended, as a phrase."""
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
