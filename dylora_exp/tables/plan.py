"""Which runs a table needs, which records are theirs, and which runs have none.

A record belongs to a planned run when its config says nothing else: whatever setting both name, in
paths, logging and hardware apart, they name alike. So a run with any other setting never slips in,
and a record made before an option existed still counts.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dylora_exp.compose import compose
from dylora_exp.config import Config
from dylora_exp.errors import RequestError, unknown
from dylora_exp.identity import identity, run_id
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
    settings: Mapping[str, Any] = field(compare=False, repr=False)

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
        _planned(dataclasses.replace(config, seed=seed), optional)
        for method, optional in _methods(spec, profile).items()
        for _, config in _configs(part, profile, method)
        for seed in part.seeds
    ]


def records_of(
    runs: Sequence[PlannedRun], records: Mapping[str, Record]
) -> dict[PlannedRun, Record]:
    """Return the completed record of each planned run that has one.

    Further seeds of a planned run count too: more seeds make a better mean.
    """
    candidates: dict[tuple[str, str, str], list[Record]] = {}
    for record in sorted(records.values(), key=lambda record: (record.seed, record.created_at)):
        if record.status == "completed":
            candidates.setdefault((record.profile, record.task, record.method), []).append(record)
    found = {}
    for run in runs:
        for record in candidates.get((run.profile, run.task, run.method), []):
            if _agree(run.settings, record.config):
                same = dataclasses.replace(run, seed=record.seed, run_id=record.run_id)
                found[run if record.seed == run.seed else same] = record
    return _one_for_each_seed(found)


def missing_runs(runs: Sequence[PlannedRun], records: Mapping[str, Record]) -> list[MissingRun]:
    """Return the required runs that have no completed record."""
    there = {(run.task, run.method, run.seed) for run in records_of(runs, records)}
    missing = []
    for run in runs:
        if not run.optional and (run.task, run.method, run.seed) not in there:
            record = records.get(run.run_id)
            reason = "no record" if record is None else record.status
            missing.append(MissingRun(run, reason))
    return missing


def _planned(config: Config, optional: bool) -> PlannedRun:
    names = (config.profile, config.task.name, config.method.name)
    return PlannedRun(run_id(config), *names, config.seed, optional, identity(config))


def _agree(settings: Any, others: Any, name: str = "") -> bool:
    """Whether two config trees name no setting differently; the seed is looked at elsewhere."""
    if isinstance(settings, Mapping) and isinstance(others, Mapping):
        return all(
            _agree(value, others[key], f"{name}.{key}")
            for key, value in settings.items()
            if key in others
        )
    return bool(settings == others) or name == ".seed"


def _one_for_each_seed(found: Mapping[PlannedRun, Record]) -> dict[PlannedRun, Record]:
    """Drop what several planned seeds of one run have found in common."""
    seeds: dict[tuple[str, str, int], tuple[PlannedRun, Record]] = {}
    for run, record in found.items():
        seeds[run.task, run.method, run.seed] = (run, record)
    return dict(seeds.values())


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
