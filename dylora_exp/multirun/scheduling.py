"""What holds for every executor: lost jobs are retried once, busy runs wait until the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from dylora_exp.core import RequestError, counted, echo, first_line, locks
from dylora_exp.multirun.executors.base import Executor
from dylora_exp.multirun.jobs import Job, JobResult, run_job

_POLL_SECONDS = 1.0


def run_jobs(
    jobs: Sequence[Job],
    executor: Executor,
    function: Callable[[Job], JobResult] = run_job,
    report: Callable[[JobResult], None] | None = None,
) -> list[JobResult]:
    """Run all jobs and return how each ended, in the order of the jobs.

    A job whose process died is retried once, by itself. A job whose run another process is doing
    is put last and waited for.

    Args:
        jobs: What to run.
        executor: What runs them; it must have been entered.
        function: Runs one job. It is pickled, so it must be importable.
        report: Called with each result as it comes in.

    Raises:
        RequestError: When nothing could be launched.
    """
    results: dict[int, JobResult] = {}
    retried: set[int] = set()

    def run_round(indices: Sequence[int]) -> list[int]:
        """Run some jobs; return those whose process died and that were not retried before."""
        lost = []
        try:
            for number, result in executor.run(function, [jobs[index] for index in indices]):
                index = indices[number]
                results[index] = result
                if result.worker_lost and index not in retried:
                    lost.append(index)
                elif report is not None and not result.busy_locks:
                    report(result)
        except (RequestError, BrokenPipeError):  # the latter of what reports
            raise
        except Exception as error:  # of an executor that cannot be reached, or not any more
            reason = f"{type(error).__name__}: {first_line(error)}"
            if not results:
                raise RequestError(f"launching failed: {reason}") from error
            problem = f"it could not be launched ({reason})"
            for index in indices:
                if index not in results or results[index].worker_lost or results[index].busy_locks:
                    name = jobs[index].name
                    results[index] = JobResult(name, problems=(problem,), worker_lost=True)
            return []
        return sorted(lost)

    ready = list(range(len(jobs)))
    waiting_echoed = False
    while ready:
        for index in run_round(ready):
            echo(f"{jobs[index].name}: {results[index].problems[0]}; retrying it by itself")
            retried.add(index)
            run_round([index])
        ready = []
        while not ready and (busy := [i for i in range(len(jobs)) if results[i].busy_locks]):
            ready = [i for i in busy if not any(map(locks.is_held, results[i].busy_locks))]
            if ready:
                break
            if not waiting_echoed:
                echo(f"waiting for {counted(len(busy), 'run')} that other processes are doing")
                waiting_echoed = True
            time.sleep(_POLL_SECONDS)
    return [results[index] for index in range(len(jobs))]


def thread_overrides(executor: Executor) -> list[str]:
    """Return the override that shares this machine's cores among the jobs that run on it."""
    if executor.jobs_on_this_machine <= 1:
        return []
    return [f"trainer.threads={executor.threads_per_job}"]
