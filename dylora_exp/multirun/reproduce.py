"""``dylora reproduce``: the runs of tables, which of them have no record, and the doing of those.

What is done is read from the records alone, before and after; so it does not matter where a
launcher has put a run, or how a process of it ended.
"""

from __future__ import annotations

import functools
import importlib.util
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
from omegaconf import DictConfig

from dylora_exp.config import check_overrides, compose, is_identity, options, quote_path
from dylora_exp.core import (
    RequestError,
    check_writable,
    echo,
    is_quiet,
    locks,
    process_count,
    unknown_name,
)
from dylora_exp.multirun.jobs import Ended, attempt, launch_jobs, print_failures
from dylora_exp.records import Record, RecordStore
from dylora_exp.reporting import (
    PlannedRun,
    missing_runs,
    profiles_of,
    records_of,
    table_names,
    table_runs,
)
from dylora_exp.runner import Outcome, run_locks


@dataclass(frozen=True)
class _Launcher:
    """A launcher: the file of ``hydra/launcher``, its package, and this project's extra for it.

    ``limit`` is its setting for the number of jobs at a time, where it has one.
    """

    config: str
    package: str
    extra: str
    limit: str | None


# Submitit's own names would be taken for schemas of the project's files, about which Hydra warns.
_LAUNCHERS = {
    "joblib": _Launcher("joblib", "hydra_joblib_launcher", "parallel", "n_jobs"),
    "submitit_local": _Launcher("gpu_local", "hydra_submitit_launcher", "cluster", None),
    "submitit_slurm": _Launcher(
        "gpu_slurm", "hydra_submitit_launcher", "cluster", "array_parallelism"
    ),
}
_NO_RECORD = "no record of it was left."
# What is said by an option, not by an override.
_OPTIONS = {
    "results_dir": "--results DIR",
    "outputs_dir": "--outputs DIR",
    "hydra/launcher": "--launcher NAME",
}
# A run that is said to be running without anyone doing it was interrupted.
_STATES = {"failed": "failed"} | dict.fromkeys(
    ("no record", "other settings", "running"), "missing"
)


@dataclass(frozen=True)
class Request:
    """What to reproduce, and how.

    Attributes:
        table: A table, or ``all``.
        profile: The profile whose runs fill it.
        results: Where records and tables are.
        outputs: Where run folders are.
        jobs: How many runs at a time; None: as many as the launcher likes, one without a launcher.
        launcher: A launcher of Hydra's; None: this process, or joblib for several jobs.
        overrides: Further words for all runs, which must not make other runs of them.
        select: ``last`` or ``best`` epoch; None: as each table says.
    """

    table: str
    profile: str
    results: Path
    outputs: Path
    jobs: int | None = None
    launcher: str | None = None
    overrides: Sequence[str] = ()
    select: str | None = None


@dataclass(frozen=True)
class Item:
    """A run of a plan.

    Attributes:
        run: The run.
        state: ``done``, ``missing``, ``failed`` or ``running``.
        seconds: What it is expected to take; None where nothing like it has a record.
    """

    run: PlannedRun
    state: str
    seconds: float | None

    def name(self) -> str:
        """Return what a reader calls the run."""
        return f"{self.run.setup.name()} on {self.run.task}, seed {self.run.seed}"


@dataclass(frozen=True)
class Plan:
    """The runs of some tables, each once.

    ``skipped``: tables without the profile. ``warnings``: on files among the records that are none.
    """

    tables: list[str]
    skipped: list[str]
    items: list[Item]
    warnings: list[str]

    def open(self) -> list[Item]:
        """Return what is not done, what another process is doing last."""
        return sorted(
            (item for item in self.items if item.state != "done"),
            key=lambda item: item.state == "running",
        )


def make_plan(request: Request) -> Plan:
    """Find out which runs the tables need and how far they are, without doing any.

    Raises:
        RequestError: When the request is wrong.
    """
    problems = _problems(request)
    try:
        tables, skipped = _tables(request)
    except RequestError as error:
        problems = error.problems + problems
    if problems:
        raise RequestError(problems)
    which = (request.profile, request.select)
    by_id = {run.run_id: run for name in tables for run in table_runs(name, *which)}
    runs = list(by_id.values())
    if runs:  # a value of a wrong type shows in any of them
        compose([*runs[0].words(), *_split(request)[0]])
    records, warnings = RecordStore(request.results).read_all()
    states = _states(runs, records, request.results, request.outputs)
    items = [Item(run, states[run.run_id], _estimate(run, records)) for run in runs]
    return Plan(tables, skipped, items, warnings)


def plan_text(plan: Plan, jobs: int | None = None) -> str:
    """Return a plan as text: a line for each run, and what is to be done in all."""
    jobs = jobs or 1
    width = max((len(item.name()) for item in plan.items), default=0)
    times = ["" if item.state == "done" else _duration(item.seconds) for item in plan.items]
    lines = [
        f"{item.state:<8} {item.run.run_id}  {item.name():<{width}}  {expected}".rstrip()
        for item, expected in zip(plan.items, times, strict=True)
    ]
    to_do = plan.open()
    known = [item.seconds for item in to_do if item.seconds is not None]
    total = f"{len(plan.items)} runs, {len(plan.items) - len(to_do)} of them done"
    if to_do:
        together = _duration(sum(known) / jobs if known else None)
        rest = len(to_do) - len(known) if known else 0
        total += f"; the other {len(to_do)}: {together}" + (f" and {rest} unknown" if rest else "")
        total += f", {jobs} at a time" if jobs > 1 else ""
    return "\n".join([*lines, *_skipped(plan), total + "."])


def run_missing(request: Request, plan: Plan) -> list[tuple[Item, Ended]]:
    """Do the runs of a plan that are not done, and those that fail once more.

    Returns:
        The runs that still have no record, and why.

    Raises:
        RequestError: When the request is wrong; nothing was started then.
    """
    for line in _skipped(plan):
        echo(line)
    items = plan.open()
    if not items:
        print(f"all {len(plan.items)} runs are done, nothing to train")
        return []
    for folder in (RecordStore(request.results).folder, request.outputs):
        check_writable(folder)
    if (request.launcher or "").startswith("submitit"):
        echo(
            f"what the jobs print lies in {request.outputs}/multirun; --plan tells how far they are"
        )
    left = _round(request, items)
    again = [item for item, ended in left if _may_do_better(ended)]
    if not again:
        return left
    echo(f"once more: {len(again)} of {len(items)}")
    return [pair for pair in left if not _may_do_better(pair[1])] + _round(request, again)


def _may_do_better(ended: Ended) -> bool:
    """Whether there is any sense in trying a run again at once."""
    return not (ended.request or ended.lost or ended.skipped)


def exit_code(plan: Plan, left: Sequence[tuple[Item, Ended]]) -> int:
    """Return 0 when no run failed, 2 when all that were to do were wrong requests, else 1."""
    failed = [ended for _, ended in left if ended.problems]
    if not failed:
        return 0
    nothing_else = len(failed) == len(plan.open()) and all(ended.request for ended in failed)
    return 2 if nothing_else else 1


def print_summary(plan: Plan, left: Sequence[tuple[Item, Ended]]) -> None:
    """Print why runs are not done, those of one reason together, and how many are."""
    failed = [(item.name(), ended) for item, ended in left if ended.problems]
    print_failures(failed, len(plan.items))
    done = len(plan.items) - len(left)
    told = [f"{len(plan.items)} runs: {done} done"]
    told += [f"{len(failed)} not completed"] if failed else []
    skipped = len(left) - len(failed)
    told += [f"{skipped} skipped, another process is doing them"] if skipped else []
    print(", ".join(told))


def _tables(request: Request) -> tuple[list[str], list[str]]:
    """Return the tables to make, and those that do not have the profile."""
    if request.profile not in options("profile"):
        raise RequestError(unknown_name("profile", request.profile, options("profile")))
    if request.table != "all":
        if request.table not in table_names():
            raise RequestError(unknown_name("table", request.table, [*table_names(), "all"]))
        if request.profile not in profiles_of(request.table):
            allowed = profiles_of(request.table)
            raise RequestError(
                unknown_name(f"profile of table {request.table}", request.profile, allowed)
            )
        return [request.table], []
    having = [name for name in table_names() if request.profile in profiles_of(name)]
    if not having:
        raise RequestError(f"profile: no table has '{request.profile}'.")
    return having, [name for name in table_names() if name not in having]


def _problems(request: Request) -> list[str]:
    """Return what is wrong with a request but for its table and profile."""
    problems, good = check_overrides(map(quote_path, request.overrides))
    if process_count() > 1:
        problems.append("reproduce: found several processes, expected one; --jobs runs several.")
    for word in good:
        key = word.lstrip("+").partition("=")[0]
        if key in _OPTIONS:
            problems.append(f"{key}: found '{word}', expected {_OPTIONS[key]} in its place.")
        elif is_identity(key) and not key.startswith(("hydra.", "tracker.")):
            problems.append(f"{key}: '{word}' would make other runs than the table's.")
    if request.jobs is not None and request.jobs < 1:
        problems.append(f"--jobs: found {request.jobs}, expected a number at least 1.")
    launcher = _launcher(request)
    if launcher is not None and launcher not in _LAUNCHERS:
        problems.append(unknown_name("--launcher", launcher, _LAUNCHERS))
    elif launcher is not None:
        needed = _LAUNCHERS[launcher]
        if importlib.util.find_spec(f"hydra_plugins.{needed.package}") is None:
            install = f"pip install 'dylora-exp[{needed.extra}]'"
            problems.append(f"--launcher: '{launcher}' needs {install}.")
    return problems


def _launcher(request: Request) -> str | None:
    if request.launcher is not None:
        return request.launcher
    return "joblib" if (request.jobs or 1) > 1 else None


def _skipped(plan: Plan) -> list[str]:
    if not plan.skipped:
        return []
    return [f"without this profile, skipped: {', '.join(plan.skipped)}"]


def _states(
    runs: Sequence[PlannedRun], records: Iterable[Record], results: Path, outputs: Path
) -> dict[str, str]:
    by_id = {record.run_id: record for record in records}
    missing = missing_runs(runs, by_id, records_of(runs, by_id))
    states = {run.run_id: "done" for run in runs}
    for item in missing:
        held = run_locks(RecordStore(results), outputs / item.run.run_id)
        busy = any(locks.is_held(path) for path in held)
        states[item.run.run_id] = "running" if busy else _STATES[item.reason]
    return states


def _estimate(run: PlannedRun, records: Iterable[Record]) -> float | None:
    """Return the mean seconds of like runs, else of any of the profile; None where there is none.

    Runs are alike when profile, task and method are.
    """
    profile, *about = run.setup.names()
    times: dict[bool, list[float]] = {True: [], False: []}
    for record in records:
        train, sweep = (record.timing.get(f"{part}_seconds") for part in ("train", "sweep"))
        if record.status == "completed" and record.profile == profile and train and sweep:
            times[[record.task, record.method] == about].append(train + sweep)
    known = times[True] or times[False]
    return statistics.fmean(known) if known else None


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "time unknown"
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def _round(request: Request, items: Sequence[Item]) -> list[tuple[Item, Ended]]:
    """Do runs, and return those that have no completed record afterwards with the reason."""
    jobs = [_words(request, item.run) for item in items]
    counted = zip(jobs, items, strict=True)
    names = {
        " ".join(job): f"{number}/{len(items)} {item.name()}"
        for number, (job, item) in enumerate(counted, start=1)
    }
    task = functools.partial(_job, names=names)
    ended = launch_jobs(jobs, _launcher_words(request), task, _at_once(request, len(jobs)))
    runs = [item.run for item in items]
    records = RecordStore(request.results).read_all()[0]
    states = _states(runs, records, request.results, request.outputs)
    return [
        (item, end if end.problems or end.skipped else Ended(item.name(), [_NO_RECORD]))
        for item, end in zip(items, ended, strict=True)
        if states[item.run.run_id] != "done"
    ]


def _job(tree: DictConfig, names: Mapping[str, str]) -> Ended:
    """Do one run, in whatever process, and say in a line how it ended."""
    begin = time.monotonic()
    ended = attempt(tree, _warn, later=True)
    how = " ".join(ended.problems) or f"done in {time.monotonic() - begin:.0f} s"
    if not ended.locks and not ended.skipped:
        echo(f"{names.get(ended.job, ended.job)}: {how}")
    return ended


def _warn(outcome: Outcome) -> None:
    for warning in [] if is_quiet() else outcome.warnings:
        print(f"dylora: warning: {warning}", file=sys.stderr)


def _words(request: Request, run: PlannedRun) -> list[str]:
    words = [*run.words(), *_threads(request), *_folders(request), *_split(request)[0]]
    return [quote_path(word) for word in words]


def _split(request: Request) -> tuple[list[str], list[str]]:
    """Return the overrides that are about runs, and those that are about Hydra's launcher."""
    ours = [word for word in request.overrides if not word.lstrip("+").startswith("hydra.")]
    return ours, [word for word in request.overrides if word not in ours]


def _folders(request: Request) -> list[str]:
    # Absolute: a worker process that is used again may be in another folder.
    results, outputs = request.results.absolute(), request.outputs.absolute()
    return [f"results_dir={results}", f"outputs_dir={outputs}"]


def _threads(request: Request) -> list[str]:
    """Share this machine's cores among the jobs that run on it at a time."""
    if _launcher(request) != "joblib":
        return []
    cores = joblib.cpu_count()
    return [f"trainer.threads={max(1, cores // (request.jobs or cores))}"]


def _launcher_words(request: Request) -> list[str]:
    launcher = _launcher(request)
    words = [quote_path(word) for word in _folders(request)]
    if launcher is not None:
        words.append(f"hydra/launcher={_LAUNCHERS[launcher].config}")
        limit = _LAUNCHERS[launcher].limit
        if limit and request.jobs:
            words.append(f"hydra.launcher.{limit}={request.jobs}")
    return [*words, *_split(request)[1]]


def _at_once(request: Request, count: int) -> int:
    """Return how many jobs the launcher gets at a time: one that cannot count gets no more."""
    launcher = _launcher(request)
    cannot_count = launcher is not None and _LAUNCHERS[launcher].limit is None
    return (request.jobs or 1) if cannot_count else count
