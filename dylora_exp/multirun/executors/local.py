"""Jobs in this process, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dylora_exp.multirun.executors.base import Executor, JobFunction
from dylora_exp.multirun.jobs import Job, JobResult


class LocalExecutor(Executor):
    """Runs jobs in this process, one after the other."""

    def start(self) -> None:
        """Do nothing: there are no workers."""

    def run(self, function: JobFunction, jobs: Sequence[Job]) -> Iterator[tuple[int, JobResult]]:
        """Run each job and yield its result before the next one begins."""
        for index, job in enumerate(jobs):
            yield index, function(job)

    def release(self, interrupted: bool) -> None:
        """Do nothing: there are no workers."""


EXECUTOR = LocalExecutor
