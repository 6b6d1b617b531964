"""Which runs a table needs, and which of them have no completed record.

A run is known by the id of its composed config, so a run with any other setting is another run.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dylora_exp.compose import compose
from dylora_exp.config import Config, run_id
from dylora_exp.errors import RequestError, unknown
from dylora_exp.records import Record
from dylora_exp.tables.spec import ProfileSpec, TableSpec


@dataclass(frozen=True)
class PlannedRun:
    """A run that a table is made of; the table is complete without an optional one."""

    run_id: str
    profile: str
    task: str
    method: str
    seed: int
    optional: bool

    def words(self) -> list[str]:
        """Return the overrides that compose this run."""
        return [*_words(self.profile, self.task, self.method), f"seed={self.seed}"]


@dataclass(frozen=True)
class MissingRun:
    """A planned run without a completed record; reason: ``no record``, ``failed``, ``running``."""

    run: PlannedRun
    reason: str


def planned_runs(spec: TableSpec, part: ProfileSpec, profile: str) -> list[PlannedRun]:
    """Return the runs of a table in one profile, each once.

    Raises:
        RequestError: When a run cannot be composed or does not measure what a column shows.
    """
    return [
        PlannedRun(
            run_id(dataclasses.replace(config, seed=seed)), profile, task, method, seed, optional
        )
        for method, optional in _methods(spec, profile).items()
        for task, config in _configs(part, profile, method)
        for seed in part.seeds
    ]


def missing_runs(runs: list[PlannedRun], records: Mapping[str, Record]) -> list[MissingRun]:
    """Return the required runs that have no completed record."""
    missing = []
    for run in runs:
        record = records.get(run.run_id)
        reason = "no record" if record is None else record.status
        if reason != "completed" and not run.optional:
            missing.append(MissingRun(run, reason))
    return missing


def _methods(spec: TableSpec, profile: str) -> dict[str, bool]:
    """Return each method and whether all its rows are optional."""
    methods: dict[str, bool] = {}
    for row in [*spec.rows, *spec.full_rank]:
        methods[row.method] = methods.get(row.method, True) and profile in row.optional
    return methods


def _configs(part: ProfileSpec, profile: str, method: str) -> Iterator[tuple[str, Config]]:
    for task in dict.fromkeys(column.task for column in part.columns):
        config = _composed(profile, task, method)
        for column in part.columns:
            if column.task == task and column.metric not in config.task.metrics:
                field = f"metric of column '{column.heading}'"
                raise RequestError(unknown(field, column.metric, config.task.metrics))
        yield task, config


# Composing takes 0.15 s, and neighbouring tables share most of their runs.
@functools.cache
def _composed(profile: str, task: str, method: str) -> Config:
    return compose(_words(profile, task, method))


def _words(profile: str, task: str, method: str) -> list[str]:
    return [f"profile={profile}", f"task={task}", f"method={method}"]
