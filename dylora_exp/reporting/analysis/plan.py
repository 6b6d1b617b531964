"""Which runs a table needs, which records are theirs, and which runs have none.

A record belongs to a planned run when both have the same settings but for paths, logging and
hardware. So a run with any other setting never counts, and a record from before an option existed
still does.

Where a table asks for tuning, a run has the values that were chosen for its training. A training
that nothing was chosen for yet is *open*: no record is its.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dylora_exp.config import (
    Config,
    Ranks,
    compose,
    digest,
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
from dylora_exp.reporting.specs.tuning import chosen_overrides, load_tuned


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
        settings_digest: A digest of the settings that its records have in common.
        tuning_seed: The seed of the trials that values were chosen by, whose records do not count:
            they would flatter. None where nothing was chosen.
        is_open: Whether values are still to be chosen, so that these are not those of its runs.
    """

    key: str
    task: str = field(compare=False)
    method: str = field(compare=False)
    row_overrides: tuple[str, ...] = field(compare=False)
    overrides: tuple[str, ...] = field(compare=False)
    config: Config = field(compare=False, repr=False)
    group_key: SetupKey = field(compare=False, repr=False)
    settings_digest: str = field(compare=False)
    tuning_seed: int | None = field(default=None, compare=False)
    is_open: bool = field(default=False, compare=False)

    def name(self) -> str:
        """Return the method with the row's own settings."""
        own = ", ".join(map(_shortened, self.row_overrides))
        return f"{self.method} ({own})" if own else self.method

    def ranks(self) -> tuple[int | None, ...]:
        """Return the ranks that its runs score, ascending; a None alone without ranks."""
        if not has_ranks(self.config.method):
            return (None,)
        return Ranks.from_config(self.config.ranks).score


@dataclass(frozen=True)
class PlannedRun:
    """A run that a table shows, or a trial; the table is complete without an optional one.

    While values are still to be chosen for its setup, ``run_id`` is that of the run without them.
    """

    run_id: str
    setup: Setup
    seed: int
    optional: bool
    is_trial: bool = False

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
# A list of cuts would hide the rest of a name.
_LONGEST = 60


@dataclass(frozen=True)
class MissingRun:
    """A planned run without a completed record.

    ``reason``: ``no record``, ``failed``, ``running``; ``other settings`` where the record of its
    name is not of its settings; ``optional`` for a run that the table is complete without.
    """

    run: PlannedRun
    reason: str


Used = Mapping[Setup, Mapping[int, Record]]


@dataclass(frozen=True)
class Tuned:
    """What was chosen for the trainings of a table.

    Attributes:
        seed: That of the trials.
        overrides: The chosen values of each training, by the digest of its settings before.
    """

    seed: int
    overrides: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Base:
    """What all runs of a table or a claim have in common.

    Attributes:
        overrides: Their overrides.
        tuned: What was chosen for each training; None where nothing is tuned.
    """

    overrides: tuple[str, ...]
    tuned: Tuned | None = None


def planned_runs(spec: TableSpec, part: ProfileSpec, profile: str, base: Base) -> list[PlannedRun]:
    """Return the runs of a table in one profile, each once.

    Args:
        spec: The table.
        part: The profile's part of it.
        profile: The profile.
        base: As ``base_of`` returns it.

    Raises:
        RequestError: When a run cannot be composed, or does not have what the table shows.
    """
    optional: dict[Setup, bool] = {}
    for block in spec.blocks_in(profile):
        for row in block.rows:
            for task in part.tasks():
                setups = setups_by_rank(row, base, task)
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


def base_of(name: str, part: ProfileSpec, profile: str) -> Base:
    """Return what all runs of a table have in common.

    Args:
        name: The table.
        part: The profile's part of it.
        profile: The profile.

    Raises:
        RequestError: When the file of its choices is wrong.
    """
    if part.tuning is None:
        return Base(base_overrides(part, profile))
    found = load_tuned(name, profile, part.tuning)
    chosen = chosen_overrides(found.trainings if found else ())
    return Base(base_overrides(part, profile), Tuned(part.tuning.seed, chosen))


def base_overrides(part: ProfileSpec, profile: str) -> tuple[str, ...]:
    """Return the overrides that all runs of a table have in common."""
    return (f"profile={part.runs or profile}", *part.set, *OVERRIDES[part.select])


def setups_by_rank(row: RowSpec, base: Base, task: str) -> dict[int | None, Setup]:
    """Return where a row's ranks come from: one setup for all, or one for each when it searches.

    Raises:
        RequestError: When a run cannot be composed, or does not have the row's cut.
    """
    setups: dict[int | None, Setup] = {}
    try:
        if row.search:
            for rank in sorted(row.search):
                overrides = (*row.set, f"ranks.r_max={rank}")
                setups[rank] = _tuned_setup(base, task, row.method, overrides)
        else:
            setup = _tuned_setup(base, task, row.method, tuple(row.set))
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
            for record in ([] if setup.is_open else by_key.get(setup.group_key, []))
            if record.seed != setup.tuning_seed
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


def _shortened(override: str) -> str:
    return override if len(override) <= _LONGEST else f"{override[: _LONGEST // 2]}..."


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


def _tuned_setup(base: Base, task: str, method: str, row_overrides: tuple[str, ...]) -> Setup:
    """Return a setup with the values that were chosen for it, or an open one."""
    setup = compose_setup(base.overrides, task, method, row_overrides)
    if base.tuned is None:
        return setup
    chosen = base.tuned.overrides.get(setup.settings_digest)
    if chosen is None:
        return replace(setup, is_open=True)
    tuned = compose_setup(base.overrides, task, method, row_overrides, chosen)
    return replace(tuned, tuning_seed=base.tuned.seed)


# Composing takes 0.15 s, and neighbouring tables share most of their runs.
@functools.cache
def compose_setup(
    base: tuple[str, ...],
    task: str,
    method: str,
    row_overrides: tuple[str, ...],
    further: tuple[str, ...] = (),
    shared: tuple[str, ...] = (),
) -> Setup:
    """Return the setup of a row's runs on a task.

    Args:
        base: What all runs have in common.
        task: The task.
        method: The method.
        row_overrides: The overrides of the row.
        further: Overrides that are not named in its name.
        shared: Those of them that need have no effect.

    Raises:
        RequestError: When it cannot be composed.
    """
    overrides = (*base, f"task={task}", f"method={method}", *row_overrides, *further)
    config = compose(overrides, shared=(*base, *shared))
    names = config.profile, config.task.name, config.method.name
    settings = distinguishing_settings(identity(config), SAME_SETUP)
    key = setup_key(*names, settings)
    names_and_settings = digest([names, settings])
    return Setup(
        setup_id(config), task, method, row_overrides, overrides, config, key, names_and_settings
    )
