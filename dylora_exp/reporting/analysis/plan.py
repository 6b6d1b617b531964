"""Which runs a table needs, which records are theirs, and which runs have none.

A record belongs to a planned run when both have the same settings but for paths, logging and
hardware. So a run with any other setting never counts, and a record from before an option existed
still does.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dylora_exp.config import (
    Config,
    Ranks,
    compose,
    distinguishing_settings,
    has_ranks,
    identity,
    run_id,
    setup_id,
)
from dylora_exp.core import RequestError, unknown_name
from dylora_exp.records import Record
from dylora_exp.reporting.analysis.groups import SAME_SETUP, Group, SetupKey, settings_of, setup_key
from dylora_exp.reporting.specs.layout import ProfileSpec, RowSpec, TableSpec
from dylora_exp.reporting.specs.select import OVERRIDES, selected


@dataclass(frozen=True)
class Setup:
    """The settings of a run but for its seed.

    Attributes:
        key: Its name, whatever the seed; setups are equal when these are.
        task: The task's name.
        method: The method's name.
        row_overrides: The overrides of the row of a table or the side of a claim.
        overrides: All overrides that compose it, without a seed.
        config: The whole config, with some seed.
        group_key: The key that groups of its records have.
    """

    key: str
    task: str = field(compare=False)
    method: str = field(compare=False)
    row_overrides: tuple[str, ...] = field(compare=False)
    overrides: tuple[str, ...] = field(compare=False)
    config: Config = field(compare=False, repr=False)
    group_key: SetupKey = field(compare=False, repr=False)

    def name(self) -> str:
        """Return the method with the row's own settings."""
        own = ", ".join(self.row_overrides)
        return f"{self.method} ({own})" if own else self.method

    def ranks(self) -> tuple[int | None, ...]:
        """Return the ranks that its runs score, ascending; a None alone without ranks."""
        if not has_ranks(self.config.method):
            return (None,)
        return Ranks.from_config(self.config.ranks).score


@dataclass(frozen=True)
class PlannedRun:
    """A run that a table shows; the table is complete without an optional one."""

    run_id: str
    setup: Setup
    seed: int
    optional: bool

    @property
    def task(self) -> str:
        """The task's name."""
        return self.setup.task

    @property
    def method(self) -> str:
        """The method's name."""
        return self.setup.method

    def overrides(self) -> list[str]:
        """Return the overrides that compose this run."""
        return [*self.setup.overrides, f"seed={self.seed}"]


OPTIONAL = "optional"


@dataclass(frozen=True)
class MissingRun:
    """A planned run without a completed record.

    ``reason``: ``no record``, ``failed``, ``running``; ``other settings`` where the record of its
    name is not of its settings; ``optional`` for a run that the table is complete without.
    """

    run: PlannedRun
    reason: str


Used = Mapping[Setup, Mapping[int, Record]]


def planned_runs(spec: TableSpec, part: ProfileSpec, profile: str) -> list[PlannedRun]:
    """Return the runs of a table in one profile, each once.

    Raises:
        RequestError: When a run cannot be composed, or does not have what the table shows.
    """
    optional: dict[Setup, bool] = {}
    for block in spec.blocks_in(profile):
        for row in block.rows:
            for task in part.tasks():
                setups = setups_by_rank(row, base_overrides(part, profile), task)
                if block.show == "rank" and not block.ranks:
                    _check_rank(row, setups)
                for setup in setups.values():
                    optional[setup] = optional.get(setup, True) and profile in row.optional
    _check_metrics(part, optional)
    return [
        PlannedRun(
            run_id(setup.config.model_copy(update={"seed": seed})), setup, seed, optional[setup]
        )
        for setup in optional
        for seed in part.seeds
    ]


def base_overrides(part: ProfileSpec, profile: str) -> tuple[str, ...]:
    """Return the overrides that all runs of a table have in common."""
    return (f"profile={part.runs or profile}", *part.set, *OVERRIDES[part.select])


def setups_by_rank(row: RowSpec, base: Sequence[str], task: str) -> dict[int | None, Setup]:
    """Return where a row's ranks come from: one setup for all, or one for each when it searches.

    Raises:
        RequestError: When a run cannot be composed, or does not have the row's cut.
    """
    setups: dict[int | None, Setup] = {}
    try:
        if row.search:
            for rank in sorted(row.search):
                overrides = (*row.set, f"ranks.r_max={rank}")
                setups[rank] = _setup(tuple(base), task, row.method, overrides)
        else:
            setup = _setup(tuple(base), task, row.method, tuple(row.set))
            setups.update(dict.fromkeys(setup.ranks(), setup))
        _check_cut(row, next(iter(setups.values())))
    except RequestError as error:
        raise RequestError(f"row '{row.label}': {problem}" for problem in error.problems) from None
    return setups


def records_of(runs: Iterable[PlannedRun], records: Mapping[str, Record]) -> Used:
    """Return the completed records of each planned setup by seed, the seeds ascending.

    Their scores are those of the epochs that the table takes. Further seeds count too: more seeds
    make a better mean. Of several records the last counts.
    """
    setups = dict.fromkeys(run.setup for run in runs)
    names = {setup.group_key[:3] for setup in setups}
    by_key: dict[SetupKey, list[Record]] = {}
    for record in sorted(records.values(), key=lambda record: (record.seed, record.created_at)):
        own = (record.profile, record.task, record.method)
        if record.status == "completed" and own in names:
            by_key.setdefault(setup_key(*own, settings_of(record)), []).append(record)
    return {
        setup: {
            record.seed: scores
            for record in by_key.get(setup.group_key, [])
            if (scores := selected(record, setup.config)) is not None
        }
        for setup in setups
    }


def records_of_groups(setups: Iterable[Setup], groups: Iterable[Group]) -> Used:
    """Return the records of each planned setup by seed, as ``records_of``, from groups of them."""
    by_key: dict[SetupKey, dict[int, Record]] = {}
    for group in groups:
        by_key.setdefault(group.key, {}).update((one.seed, one) for one in group.records)
    return {setup: by_key.get(setup.group_key, {}) for setup in setups}


def missing_runs(
    runs: Sequence[PlannedRun], records: Mapping[str, Record], used: Used | None = None
) -> list[MissingRun]:
    """Return the required runs that have no completed record.

    Args:
        runs: The planned runs.
        records: All records by run id.
        used: What ``records_of`` returned for them, where that is known already.
    """
    used = records_of(runs, records) if used is None else used
    missing = []
    for run in runs:
        if not run.optional and run.seed not in used[run.setup]:
            missing.append(MissingRun(run, _reason(records.get(run.run_id))))
    return missing


def _reason(record: Record | None) -> str:
    if record is None:
        return "no record"
    return "other settings" if record.status == "completed" else record.status


def left_out(runs: Sequence[PlannedRun], used: Used) -> list[MissingRun]:
    """Return the runs that a table is complete without, where nothing of theirs has a record."""
    return [MissingRun(run, OPTIONAL) for run in runs if run.optional and not used[run.setup]]


def _check_cut(row: RowSpec, setup: Setup) -> None:
    cuts = [f"{cut.truncation} {cut.scale}" for cut in setup.config.method.cuts] or ["none"]
    found = f"{row.truncation} {row.scale}" if row.truncation or row.scale else "none"
    if found not in cuts:
        raise RequestError(unknown_name("truncation and scale", found, cuts))


def _check_rank(row: RowSpec, setups: Mapping[int | None, Setup]) -> None:
    if row.rank not in setups:
        allowed = ", ".join("null" if rank is None else str(rank) for rank in setups)
        found = "null" if row.rank is None else row.rank
        raise RequestError(f"row '{row.label}': rank: found {found}, expected one of {allowed}.")


def _check_metrics(part: ProfileSpec, setups: Iterable[Setup]) -> None:
    metrics = {setup.task: setup.config.task.metrics for setup in setups}
    for column in part.columns:
        if column.measure == "score" and column.metric not in metrics.get(column.task, []):
            field = f"metric of column '{column.heading}'"
            raise RequestError(unknown_name(field, column.metric, metrics.get(column.task, [])))


# Composing takes 0.15 s, and neighbouring tables share most of their runs.
@functools.cache
def _setup(base: tuple[str, ...], task: str, method: str, row_overrides: tuple[str, ...]) -> Setup:
    overrides = (*base, f"task={task}", f"method={method}", *row_overrides)
    config = compose(overrides, shared=base)
    names = config.profile, config.task.name, config.method.name
    key = setup_key(*names, distinguishing_settings(identity(config), SAME_SETUP))
    return Setup(setup_id(config), task, method, row_overrides, overrides, config, key)
