"""Jobs of a Slurm array, or in processes of their own on this machine as a trial of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from dylora_exp.core import echo, first_line
from dylora_exp.multirun.executors.base import Executor, JobFunction, check_count, lost
from dylora_exp.multirun.jobs import Job, JobResult

_POLL_SECONDS = {"local": 0.2, "slurm": 5.0}
# Settings of submitit for all clusters; the others carry the cluster's name.
_SHARED = frozenset(
    (
        *("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node"),
        *("mem_gb", "nodes", "name", "stderr_to_stdout"),
    )
)


class Requeued:
    """A function that submitit submits again when its time is up or it is preempted."""

    def __init__(self, function: JobFunction) -> None:
        self.function = function

    def __call__(self, job: Job) -> JobResult:
        """Run the job."""
        return self.function(job)

    def checkpoint(self, job: Job) -> Any:
        """Return what to submit: the same again, as a run resumes from its own checkpoints."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, job)


class SlurmExecutor(Executor):
    """Runs jobs with submitit, on Slurm as one array.

    A job that runs out of time is queued again and resumes from its checkpoint.

    Args:
        cluster: ``slurm``, or ``local`` for this machine.
        submitit_folder: Where submitit keeps its files and what the jobs print.
        array_parallelism: The number of jobs at a time; None for no limit.
        max_num_timeout: How often a job that runs out of time is queued again.
        settings: Further settings of submitit's ``AutoExecutor``, without the cluster's name.
    """

    package = "submitit"
    extra = "cluster"
    jobs_setting = "array_parallelism"

    def __init__(
        self,
        cluster: str,
        submitit_folder: str,
        array_parallelism: int | None = None,
        max_num_timeout: int = 5,
        **settings: Any,
    ) -> None:
        check_count("array_parallelism", array_parallelism)
        self.cluster = cluster
        self.folder = submitit_folder
        self.limit = array_parallelism
        self.max_num_timeout = max_num_timeout
        self.settings = {
            key if key in _SHARED else f"{cluster}_{key}": value for key, value in settings.items()
        }
        if cluster == "slurm" and array_parallelism is not None:
            self.settings["slurm_array_parallelism"] = array_parallelism
        self._running: dict[Any, int] = {}

    def start(self) -> None:
        """Find the cluster and check the settings."""
        import submitit

        self._submitit = submitit.AutoExecutor(
            folder=self.folder,
            cluster=self.cluster,
            **{f"{self.cluster}_max_num_timeout": self.max_num_timeout},
        )
        self._submitit.update_parameters(**self.settings)

    def run(self, function: JobFunction, jobs: Sequence[Job]) -> Iterator[tuple[int, JobResult]]:
        """Submit the jobs and yield the index and the result of each as it ends."""
        # An array counts its jobs itself; processes on this machine are counted here.
        at_a_time = len(jobs) if self.cluster == "slurm" else self.limit or len(jobs)
        waiting = list(enumerate(jobs))
        self._running = {}
        while waiting or self._running:
            free = at_a_time - len(self._running)
            batch, waiting = waiting[:free], waiting[free:]
            if batch:
                array = [job for _, job in batch]
                submitted = self._submitit.map_array(Requeued(function), array)
                self._running |= dict(zip(submitted, (i for i, _ in batch), strict=True))
            for task in [task for task in self._running if task.done()]:
                index = self._running.pop(task)
                yield index, _result(task, jobs[index])
            if self._running:
                time.sleep(_POLL_SECONDS[self.cluster])

    def release(self, interrupted: bool) -> None:
        """Leave the jobs of a cluster running; interrupt those of this machine."""
        if not interrupted or not self._running:
            return
        if self.cluster == "slurm":
            names = sorted({task.job_id.partition("_")[0] for task in self._running})
            echo(f"the jobs are still running; to cancel them: scancel {' '.join(names)}")
            return
        for task in self._running:
            task.cancel(check=False)


def _result(task: Any, job: Job) -> JobResult:
    try:
        result: JobResult = task.results()[0]
    except Exception as error:  # jobs raise nothing themselves
        return lost(job, f"{first_line(error)}; see {task.paths.stderr}")
    return result


EXECUTOR = SlurmExecutor
