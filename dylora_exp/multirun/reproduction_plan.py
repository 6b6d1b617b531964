"""The runs that tables need: which are done, which are not, and how long those will take.

What is done is read from the records alone; so it does not matter where an executor has put a run,
or how a process of it ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dylora_exp.config import check_overrides, compose, is_identity, options, quote_value
from dylora_exp.core import (
    RequestError,
    check_writable,
    counted,
    locks,
    process_count,
    unknown_name,
)
from dylora_exp.multirun.executors.base import Executor
from dylora_exp.multirun.executors.settings import load_executor
from dylora_exp.multirun.run_times import expected_seconds
from dylora_exp.records import Record, RecordStore
from dylora_exp.reporting import (
    PlannedRun,
    asks_for_tuning,
    has_diverged,
    missing_runs,
    profiles_of,
    records_of,
    table_names,
    table_runs,
    table_trainings,
    tuned_path,
    untuned,
)
from dylora_exp.runner import run_locks

# What is set by an option, not by an override.
_OPTIONS = {
    "results_dir": "--results DIR",
    "outputs_dir": "--outputs DIR",
    "hydra/launcher": "--launcher NAME",
}


@dataclass(frozen=True)
class ReproduceRequest:
    """What to reproduce, and how.

    Attributes:
        table: A table, or ``all``.
        profile: The profile whose runs fill it.
        results: Where records and tables are.
        outputs: Where run folders are.
        jobs: How many runs at a time; None for what the launcher's settings say.
        launcher: A name of ``hydra/launcher``; None: this process, or ``processes`` for several.
        overrides: Further overrides for all runs, which must not make other runs of them.
        select: ``last`` or ``best`` epoch; None: as each table says.
        optional: Whether to do the runs too that a table is complete without.
        tune: Whether to do the trials that choose values for a table's trainings, not its runs.
    """

    table: str
    profile: str
    results: Path
    outputs: Path
    jobs: int | None = None
    launcher: str | None = None
    overrides: Sequence[str] = ()
    select: str | None = None
    optional: bool = False
    tune: bool = False

    def run_overrides(self) -> list[str]:
        """Return the overrides that all runs have, folders included."""
        # Absolute: a worker process may be in another folder.
        folders = (("results_dir", self.results), ("outputs_dir", self.outputs))
        own = [each for each in self.overrides if not _is_for_launcher(each)]
        return [*(f"{key}={folder.absolute()}" for key, folder in folders), *own]

    def load_executor(self) -> Executor:
        """Return what runs the jobs.

        Raises:
            RequestError: When the launcher, a setting of it or the number of jobs is wrong.
        """
        overrides = [f"outputs_dir={self.outputs.absolute()}"]
        overrides += filter(_is_for_launcher, self.overrides)
        return load_executor(self.launcher, self.jobs, overrides)


def _is_for_launcher(override: str) -> bool:
    return override.lstrip("+").startswith("hydra.")


@dataclass(frozen=True)
class PlanItem:
    """A run of a plan.

    Attributes:
        run: The run.
        state: ``done``, ``missing``, ``failed`` or ``running``.
        seconds: What it is expected to take; None where no record is comparable.
    """

    run: PlannedRun
    state: str
    seconds: float | None

    @property
    def name(self) -> str:
        """What a reader calls the run."""
        return f"{self.run.setup.name()} on {self.run.task}, seed {self.run.seed}"


@dataclass(frozen=True)
class Plan:
    """The runs of some tables, each once.

    Attributes:
        tables: The tables.
        skipped: The tables that do not have the profile.
        items: The runs.
        warnings: On files among the records that are none.
        runs: The ids of the runs of each table.
        untuned: A sentence for each table for whose runs values are still to be chosen. Of one that
            was asked for by its name the items are the trials that choose them; of ``all``, it is
            not among the tables.
    """

    tables: list[str]
    skipped: list[str]
    items: list[PlanItem]
    warnings: list[str]
    runs: dict[str, list[str]]
    untuned: list[str] = field(default_factory=list)

    def missing(self) -> list[PlanItem]:
        """Return the runs that are not done, those last that another process is doing."""
        items = [item for item in self.items if item.state != "done"]
        return sorted(items, key=lambda item: item.state == "running")

    def skipped_lines(self) -> list[str]:
        """Return a line about the tables without the profile, and one for each that is untuned."""
        names = ", ".join(self.skipped)
        return [*([f"without this profile, skipped: {names}"] if names else []), *self.untuned]


def make_plan(request: ReproduceRequest) -> Plan:
    """Return the runs that tables need and how far they are, without doing any.

    Raises:
        RequestError: When the request is wrong, with every problem of it.
    """
    problems = _problems(request)
    try:
        tables, skipped = _tables(request)
    except RequestError as error:
        problems = error.problems + problems
    if problems:
        raise RequestError(problems)
    of_table, untuned_ones = _runs(request, tables)
    runs = list({run.run_id: run for found in of_table.values() for run in found}.values())
    if runs:  # a value of a wrong type shows in any of them
        overrides = [*runs[0].overrides(), *request.run_overrides()]
        compose(overrides, shared=overrides)
    records, warnings = RecordStore(request.results).read_all()
    states = run_states(runs, records, request)
    items = [PlanItem(run, states[run.run_id], expected_seconds(run, records)) for run in runs]
    ids = {name: [run.run_id for run in found] for name, found in of_table.items()}
    return Plan(list(of_table), skipped, items, warnings, ids, untuned_ones)


def _runs(
    request: ReproduceRequest, tables: Sequence[str]
) -> tuple[dict[str, list[PlannedRun]], list[str]]:
    """Return the runs of each table to make, and the sentences on untuned tables."""
    sentences: list[str] = []
    runs: dict[str, list[PlannedRun]] = {}
    for name in tables:
        found = [] if request.tune else untuned(name, request.profile, request.optional)
        sentences += found
        if found and request.table == "all":
            continue
        is_tuned = request.tune or found
        runs[name] = _trials(request, name) if is_tuned else _table_runs(request, name)
    return runs, sentences


def _table_runs(request: ReproduceRequest, name: str) -> list[PlannedRun]:
    runs = table_runs(name, request.profile, request.select, request.optional)
    return [replace(run, optional=False) for run in runs]  # what is asked for is to be done


def _trials(request: ReproduceRequest, name: str) -> list[PlannedRun]:
    trainings = table_trainings(name, request.profile)
    wanted = [each for each in trainings if request.optional or not each.optional]
    return [trial for training in wanted for trial in training.trials]


def run_states(
    runs: Sequence[PlannedRun], records: Sequence[Record], request: ReproduceRequest
) -> dict[str, str]:
    """Return ``done``, ``missing``, ``failed`` or ``running`` for each run by its id."""
    by_id = {record.run_id: record for record in records}
    states = {run.run_id: "done" for run in runs}
    for item in missing_runs(runs, by_id, records_of(runs, by_id)):
        name = item.run.run_id
        if item.run.is_trial and has_diverged(by_id.get(name)):
            continue  # that is what the trial was to find out
        held = run_locks(RecordStore(request.results), request.outputs / name)
        if any(map(locks.is_held, held)):
            states[name] = "running"
        else:  # one that its record calls running was interrupted
            states[name] = "failed" if item.reason == "failed" else "missing"
    return states


def plan_text(plan: Plan, jobs: int | None = None) -> str:
    """Return a plan as text: a line for each run, and what is to be done in all.

    Args:
        plan: The plan.
        jobs: How many runs at a time.
    """
    jobs = jobs or 1
    width = max((len(item.name) for item in plan.items), default=0)
    lines = []
    for item in plan.items:
        expected = "" if item.state == "done" else _duration(item.seconds)
        line = f"{item.state:<8} {item.run.run_id}  {item.name:<{width}}  {expected}"
        lines.append(line.rstrip())
    missing = plan.missing()
    known = [item.seconds for item in missing if item.seconds is not None]
    total = f"{counted(len(plan.items), 'run')}, {len(plan.items) - len(missing)} of them done"
    if missing:
        total += f"; the other {len(missing)}: {_duration(sum(known) / jobs if known else None)}"
        if 0 < len(known) < len(missing):
            total += f" and {len(missing) - len(known)} unknown"
        total += f", {jobs} at a time" if jobs > 1 else ""
    return "\n".join([*lines, *plan.skipped_lines(), f"{total}."])


def _tables(request: ReproduceRequest) -> tuple[list[str], list[str]]:
    """Return the tables to make, and those that do not have the profile."""
    table, profile = request.table, request.profile
    if profile not in options("profile"):
        raise RequestError(unknown_name("profile", profile, options("profile")))
    if table != "all":
        if table not in table_names():
            raise RequestError(unknown_name("table", table, [*table_names(), "all"]))
        if profile not in (allowed := profiles_of(table)):
            raise RequestError(unknown_name(f"profile of table {table}", profile, allowed))
        return _tuned_tables(request, [table]), []
    tables = [name for name in table_names() if profile in profiles_of(name)]
    if not tables:
        raise RequestError(f"profile: no table has '{profile}'.")
    return (
        _tuned_tables(request, tables),
        [name for name in table_names() if name not in tables],
    )


def _tuned_tables(request: ReproduceRequest, tables: list[str]) -> list[str]:
    """Return the tables that are to be tuned, or all where none is."""
    if not request.tune:
        return tables
    found = [name for name in tables if asks_for_tuning(name, request.profile)]
    if not found:
        raise RequestError(
            f"--tune: table '{request.table}' asks for no tuning in profile '{request.profile}'."
        )
    for name in found:
        check_writable(tuned_path(name, request.profile).parent, create=False)
    return found


def _problems(request: ReproduceRequest) -> list[str]:
    """Return what is wrong with a request but for its table and profile."""
    problems, good = check_overrides(map(quote_value, request.overrides))
    if request.tune and request.select is not None:
        problems.append("--select: found with --tune, which takes the epochs that a table says.")
    if process_count() > 1:
        problems.append("reproduce: found several processes, expected one; --jobs runs several.")
    for override in good:
        key = override.lstrip("+").partition("=")[0]
        if key in _OPTIONS:
            problems.append(f"{key}: found '{override}', expected {_OPTIONS[key]} instead.")
        elif is_identity(key) and not key.startswith(("hydra.", "tracker.")):
            problems.append(f"{key}: '{override}' would make other runs than the table's.")
    try:
        request.load_executor()
    except RequestError as error:
        problems += error.problems
    return problems


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "time unknown"
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
