"""Hydra's launcher: it gives the jobs of ``-m`` to an executor."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from dylora_exp.config import CONF_DIR
from dylora_exp.core import RequestError
from dylora_exp.multirun.executors.settings import make_executor
from dylora_exp.multirun.jobs import Job, JobResult, overrides_without_effect, run_job
from dylora_exp.multirun.scheduling import run_jobs


class RunTask:
    """What ``hydra.main`` gets: it does a single run, and collects the results of a multirun.

    Attributes:
        results: How each job ended, in the order of the jobs.

    Args:
        run: Does a single run of a composed tree.
        report: Called with the result of each job of a multirun as it comes in.
        job_function: Does a job of a multirun, in whatever process; it must be importable.
    """

    def __init__(
        self,
        run: Callable[[DictConfig], JobResult],
        report: Callable[[JobResult], None] | None = None,
        job_function: Callable[[Job], JobResult] = run_job,
    ) -> None:
        self.run = run
        self.report = report
        self.job_function = job_function
        self.results: list[JobResult] = []

    def __call__(self, tree: DictConfig) -> None:
        """Do a single run and keep its result."""
        self.results.append(self.run(tree))


class ExecutorLauncher(Launcher):
    """A launcher whose jobs an executor runs; its task must be a ``RunTask``.

    Args:
        settings: The executor's name and settings, as a file of ``conf/hydra/launcher`` has them.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra hands over."""
        assert isinstance(task_function, RunTask)
        self.task = task_function
        self.loader, self.config = hydra_context.config_loader, config
        sources = config.hydra.runtime.config_sources
        # What the jobs' overrides do not say: --config-dir and hydra.searchpath=[...], ...
        self.search_path = tuple(
            f"{source.schema}://{source.path}"
            for source in sources
            if "command-line" in source.provider
        )
        # ... --config-name and --config-path.
        folders = [source.path for source in sources if source.provider == "main"]
        self.own_config = (config.hydra.job.config_name, folders) != ("config", [str(CONF_DIR)])

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run all jobs and return the score of each; a job without a score has the worst there is.

        Raises:
            RequestError: When a setting of the launcher is wrong, or an override changes nothing in
                any job.
        """
        jobs = [self._make_job(overrides) for overrides in job_overrides]
        in_batches = self.config.hydra.sweeper.get("max_batch_size") is not None
        if not in_batches and (idle := overrides_without_effect(jobs)):
            raise RequestError(itertools.chain.from_iterable(idle.values()))
        with make_executor(self.settings) as executor:
            results = run_jobs(jobs, executor, self.task.job_function, self.task.report)
        self.task.results += results
        return [
            JobReturn(
                overrides=job.overrides,
                status=JobStatus.COMPLETED,
                _return_value=-math.inf if result.score is None else result.score,
            )
            for job, result in zip(jobs, results, strict=True)
        ]

    def _make_job(self, overrides: Sequence[str]) -> Job:
        tree = None
        if self.own_config:
            tree = self.loader.load_sweep_config(self.config, list(overrides))
        return Job(
            tuple(overrides),
            search_path=self.search_path,
            environment={str(k): str(v) for k, v in self.config.hydra.job.env_set.items()},
            tree=tree,
        )
