"""Jobs as tasks of Ray, on this machine or on a cluster that Ray serves."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from dylora_exp.core import first_line, raise_on_sigterm
from dylora_exp.multirun.executors.base import Executor, JobFunction, check_count, failed, lost
from dylora_exp.multirun.jobs import Job, JobResult

# What workers on other machines must know of this process's environment.
_ENVIRONMENT = ("DYLORA_", "HF_", "TOKENIZERS_", "WANDB_")
_SECONDS_TO_STOP = 10


class RayExecutor(Executor):
    """Runs jobs as tasks of Ray.

    Args:
        address: The cluster, as ``ray.init`` takes it; None for a Ray of its own on this machine.
        n_jobs: The number of jobs at a time, on this machine; None for as many as fit.
        cpus_per_job: The cores that a job occupies.
        gpus_per_job: The GPUs that a job occupies; a fraction shares one.
    """

    package = "ray"
    extra = "ray"
    jobs_setting = "n_jobs"

    def __init__(
        self,
        address: str | None = None,
        n_jobs: int | None = None,
        cpus_per_job: float = 1,
        gpus_per_job: float = 0,
    ) -> None:
        check_count("n_jobs", n_jobs)
        self.address = address
        self.n_jobs = n_jobs
        self.cpus_per_job = cpus_per_job
        self.gpus_per_job = gpus_per_job
        self._running: dict[Future[JobResult], tuple[int, Any]] = {}

    def start(self) -> None:
        """Connect to the cluster, or start a Ray of our own."""
        import ray

        local: dict[str, Any] = {"include_dashboard": False} if self.address is None else {}
        if self.address is None and self.n_jobs is not None:
            local["num_cpus"] = max(1, round(self.n_jobs * self.cpus_per_job))
        before = signal.getsignal(signal.SIGTERM)
        ray.init(self.address, log_to_driver=True, logging_level=logging.ERROR, **local)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray sets its own, which exits

    def run(self, function: JobFunction, jobs: Sequence[Job]) -> Iterator[tuple[int, JobResult]]:
        """Run the jobs and yield the index and the result of each as it ends."""
        import ray

        # No retries of Ray's: a lost job is retried by itself, by whoever called this.
        remote: Any = ray.remote(
            max_retries=0, num_cpus=self.cpus_per_job, num_gpus=self.gpus_per_job
        )(_run_like_here)
        environment = {k: v for k, v in os.environ.items() if k.startswith(_ENVIRONMENT)}
        waiting = list(enumerate(jobs))
        self._running = {}
        while waiting or self._running:
            free = (self.n_jobs or len(jobs)) - len(self._running)
            batch, waiting = waiting[:free], waiting[free:]
            for index, job in batch:
                reference = remote.remote(function, job, os.getcwd(), environment)
                self._running[reference.future()] = (index, reference)
            # Waited for by Python, as ray.wait takes every signal for Ctrl-C.
            for future in wait(self._running, return_when=FIRST_COMPLETED).done:
                index, reference = self._running.pop(future)
                yield index, _result(reference, jobs[index])

    def release(self, interrupted: bool) -> None:
        """Leave Ray; interrupt the jobs when an exception has ended the context."""
        import ray

        references = [reference for _, reference in self._running.values()]
        for reference in references:
            ray.cancel(reference)
        if references:
            ray.wait(references, num_returns=len(references), timeout=_SECONDS_TO_STOP)
        ray.shutdown()


def _run_like_here(
    function: JobFunction, job: Job, folder: str, environment: dict[str, str]
) -> JobResult:
    """Run a job in a worker, in the folder and with the settings of the process that asked."""
    os.environ.update(environment)
    os.chdir(folder)
    with raise_on_sigterm():
        return function(job)


def _result(reference: Any, job: Job) -> JobResult:
    import ray

    try:
        result: JobResult = ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # what was raised is not a lost worker's fault
        return failed(job, error)
    except ray.exceptions.RayError as error:
        return lost(job, f"{type(error).__name__}: {first_line(error)}")
    return result


EXECUTOR = RayExecutor
