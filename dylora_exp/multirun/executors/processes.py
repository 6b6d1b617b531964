"""Jobs in a pool of worker processes on this machine, in which a dying one fails its job alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, as_completed
from typing import Any

import joblib
from pebble import ProcessExpired, ProcessPool

from dylora_exp.core import TerminationRequested, raise_on_sigterm
from dylora_exp.multirun.executors.base import (
    Executor,
    JobFunction,
    check_count,
    exit_reason,
    failed,
    lost,
)
from dylora_exp.multirun.jobs import Job, JobResult

_ALL_CORES = -1


class ProcessesExecutor(Executor):
    """Runs jobs in warm worker processes.

    Args:
        n_jobs: The number of workers; None or -1 for one a core.
    """

    jobs_setting = "n_jobs"

    def __init__(self, n_jobs: int | None = None) -> None:
        if n_jobs == _ALL_CORES:
            n_jobs = None
        check_count("n_jobs", n_jobs)
        self.n_jobs: int = n_jobs or joblib.cpu_count()

    @property
    def jobs_on_this_machine(self) -> int:
        """The number of workers."""
        return self.n_jobs

    def start(self) -> None:
        """Start the pool; its workers start with the first jobs."""
        # Spawned: a fork of a process that has threads, or has used the GPU, may hang.
        context = multiprocessing.get_context("spawn")
        self._pool: Any = ProcessPool(
            self.n_jobs,
            initializer=_prepare_worker,
            initargs=(self.threads_per_job,),
            context=context,
        )

    def run(self, function: JobFunction, jobs: Sequence[Job]) -> Iterator[tuple[int, JobResult]]:
        """Run the jobs in the pool and yield the index and the result of each as it ends."""
        futures: dict[Future[JobResult], int] = {
            self._pool.schedule(_run_stoppable, args=[function, job]): index
            for index, job in enumerate(jobs)
        }
        for future in as_completed(futures):
            index = futures[future]
            try:
                yield index, future.result()
            except ProcessExpired as error:
                yield index, lost(jobs[index], exit_reason(error.exitcode))
            except Exception as error:
                yield index, failed(jobs[index], error)

    def release(self, interrupted: bool) -> None:
        """Let the workers end; send them SIGTERM when an exception has ended the context."""
        if interrupted:
            self._pool.stop()
        else:
            self._pool.close()
        self._pool.join()


def _run_stoppable(function: JobFunction, job: Job) -> JobResult:
    """Run a job in a worker, which releases what it holds and exits when SIGTERM comes."""
    try:
        with raise_on_sigterm():
            return function(job)
    except TerminationRequested:
        os.kill(os.getpid(), signal.SIGTERM)  # the pool's own handler ends the worker
        raise


def _prepare_worker(threads: int) -> None:
    """Share the cores among the workers, and end this one with the process that started it.

    Args:
        threads: The number of threads that this worker computes with, unless the environment says.
    """
    # Read when torch is imported, which comes later: threads that outnumber the cores wait by
    # spinning, and jobs take many times as long.
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    _end_with_parent()


def _end_with_parent() -> None:
    """End this worker when the process that started it is killed, as Ctrl-C does."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


EXECUTOR = ProcessesExecutor
