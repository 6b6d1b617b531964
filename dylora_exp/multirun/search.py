"""``dylora search``: the best settings on the development set, by trials that Optuna proposes.

Trials are kept in a file that is named by what is searched, so that the same command resumes: the
trials that ended are kept, and the number of trials counts them. A proposal depends on the seed,
its number and the trials before it alone.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from dylora_exp import locks
from dylora_exp.compose import compose
from dylora_exp.errors import RequestError
from dylora_exp.identity import identity
from dylora_exp.logs import tell as echo
from dylora_exp.multirun.executors import load_executor
from dylora_exp.multirun.executors.base import Executor, JobFunction
from dylora_exp.multirun.jobs import Job, JobResult, run_job
from dylora_exp.multirun.scheduling import run_jobs, thread_overrides
from dylora_exp.multirun.search_space import SearchSpace, parse_search_space
from dylora_exp.rank_choice import objective as search_score
from dylora_exp.records import Record

if TYPE_CHECKING:
    import optuna

_SEED = 10
_RANDOM_TRIALS = 5  # drawn at random before proposals follow what was seen
# What is kept with a trial; one without any of them was interrupted.
_PROBLEM, _RUN_ID = "problem", "run_id"


@dataclass(frozen=True)
class SearchRequest:
    """What to search, and how.

    Attributes:
        overrides: Overrides of the runs; those with several values are searched.
        trials: The number of trials, those of earlier calls included.
        jobs: How many trials at a time.
        launcher: A name of ``hydra/launcher``; None: this process, or ``processes`` for several.
    """

    overrides: Sequence[str]
    trials: int = 20
    jobs: int = 1
    launcher: str | None = None


@dataclass(frozen=True)
class Trial:
    """A trial that ended.

    Attributes:
        overrides: The settings that were tried.
        score: The score of its record; None when it failed.
        run_id: The run; empty when it failed.
        problem: Why it failed; empty when it did not.
    """

    overrides: tuple[str, ...]
    score: float | None
    run_id: str = ""
    problem: str = ""


@dataclass(frozen=True)
class SearchResult:
    """The trials of a search in their order, and the file that keeps them."""

    trials: list[Trial]
    path: Path

    @property
    def best(self) -> Trial | None:
        """The trial of the highest score, the first where several are equal; None without any."""
        scored = [trial for trial in self.trials if trial.score is not None]
        return max(scored, key=lambda trial: trial.score or 0.0) if scored else None


def run_search(
    request: SearchRequest,
    score: Callable[[Record], float | None] = search_score,
    job_function: JobFunction = run_job,
) -> SearchResult:
    """Run the trials that are missing and return all of them.

    Args:
        request: What to search.
        score: What to maximise; None for a record that has no score.
        job_function: Runs one trial; importable, as it may be pickled.

    Raises:
        RequestError: When the request is wrong.
    """
    _check_request(request)
    space = parse_search_space(request.overrides)
    config = compose(space.fixed)  # names what is wrong before anything is started
    path = (
        Path(config.outputs_dir).expanduser() / "search" / f"{_digest(identity(config), space)}.log"
    )
    folders = [f"outputs_dir={config.outputs_dir}"]
    executor = load_executor(
        request.launcher, request.jobs if request.jobs > 1 else None, [*folders, *space.launcher]
    )
    with _open_study(path) as study, executor:
        _retry_interrupted(study)
        while (missing := request.trials - len(_ended(study))) > 0:
            _run_batch(study, space, min(missing, request.jobs), executor, score, job_function)
        trials = [_trial(trial) for trial in _ended(study)]
    return SearchResult(trials[: request.trials], path)


def print_search(result: SearchResult) -> None:
    """Print a table of the trials, why trials failed, and the best overrides."""
    table = Table()
    for name in ("trial", "score", "run", "overrides"):
        table.add_column(name, justify="right" if name in ("trial", "score") else "left")
    for number, trial in enumerate(result.trials, start=1):
        shown = "failed" if trial.score is None else f"{trial.score:.4f}"
        table.add_row(str(number), shown, trial.run_id or "-", " ".join(trial.overrides))
    Console().print(table)
    for number, trial in enumerate(result.trials, start=1):
        if trial.problem:
            print(f"dylora: trial {number}: {trial.problem}", file=sys.stderr)
    if result.best is None:
        print("dylora: no trial has a score.", file=sys.stderr)
    else:
        print(f"trials: {result.path}")
        print(f"best: {' '.join(result.best.overrides)}")


def exit_code(result: SearchResult) -> int:
    """Return 0 when every trial has a score, else 1."""
    return int(any(trial.score is None for trial in result.trials))


def _check_request(request: SearchRequest) -> None:
    problems = [
        f"--{name}: found {value}, expected a number at least 1."
        for name, value in (("trials", request.trials), ("jobs", request.jobs))
        if value < 1
    ]
    with contextlib.suppress(ImportError):
        import optuna  # noqa: F401

        if problems:
            raise RequestError(problems)
        return
    raise RequestError([*problems, "dylora search needs pip install 'dylora-exp[search]'."])


def _digest(fixed: dict[str, Any], space: SearchSpace) -> str:
    """Return the name of a search: the same for the same runs, space and seed."""
    from optuna.distributions import distribution_to_json

    searched = {key: distribution_to_json(space.searched[key]) for key in sorted(space.searched)}
    text = json.dumps([fixed, searched, _SEED], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@contextlib.contextmanager
def _open_study(path: Path) -> Iterator[optuna.Study]:
    """Open the study that a file keeps, or a new one; no other process has it then."""
    import optuna
    from optuna.storages import JournalStorage, journal

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with locks.hold([path.with_suffix(".lock")], functools.partial(_echo_busy, path)):
        stale = journal.JournalFileOpenLock(str(path))
        with contextlib.suppress(RuntimeError):  # of a process that was killed while it wrote
            stale.release()
        _cut_unfinished_line(path)
        storage = JournalStorage(journal.JournalFileBackend(str(path)))
        yield optuna.create_study(
            storage=storage, study_name=path.stem, load_if_exists=True, direction="maximize"
        )


def _echo_busy(path: Path, lock: Path) -> None:
    echo(f"search {path.stem} is being done by {locks.owner(lock)}; waiting")


def _cut_unfinished_line(path: Path) -> None:
    """Remove what a process that was killed had begun to write at the end of a study's file."""
    if path.exists():
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            path.write_bytes(whole)


def _ended(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Return the trials that ended; those that were interrupted do not count."""
    return [trial for trial in study.trials if {_PROBLEM, _RUN_ID} & trial.user_attrs.keys()]


def _retry_interrupted(study: optuna.Study) -> None:
    """Propose the trials again that a process was running when it was killed."""
    from optuna.trial import TrialState

    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
        if trial.params:
            study.enqueue_trial(trial.params)


def _run_batch(
    study: optuna.Study,
    space: SearchSpace,
    count: int,
    executor: Executor,
    score: Callable[[Record], float | None],
    job_function: JobFunction,
) -> None:
    """Ask for trials, run them at a time, and tell the study how each ended."""
    trials = [_ask(study, space, len(_ended(study)) + number) for number in range(count)]
    further = thread_overrides(executor)
    jobs = [
        Job((*further, *space.fixed, *_overrides(trial.params)), " ".join(_overrides(trial.params)))
        for trial in trials
    ]
    results = run_jobs(jobs, executor, job_function)
    # In their order, not in that in which they ended: what is proposed next depends on it.
    for trial, result in zip(trials, results, strict=True):
        _tell(study, trial, result, score)
    if wrong := [problem for r in results if r.wrong_request for problem in r.problems]:
        raise RequestError(list(dict.fromkeys(wrong)))


def _ask(study: optuna.Study, space: SearchSpace, number: int) -> optuna.Trial:
    import optuna

    # A seed of its own for each, as a sampler does not survive the process.
    study.sampler = optuna.samplers.TPESampler(seed=_SEED + number, n_startup_trials=_RANDOM_TRIALS)
    return study.ask(space.searched)


def _tell(
    study: optuna.Study,
    trial: optuna.Trial,
    result: JobResult,
    score: Callable[[Record], float | None],
) -> None:
    """Keep how a trial ended; a wrong request leaves it to be tried again."""
    from optuna.trial import TrialState

    value = None if result.outcome is None else score(result.outcome.record)
    if value is not None and result.outcome is not None:
        run_id = result.outcome.record.run_id
        trial.set_user_attr(_RUN_ID, run_id)
        study.tell(trial, value)
        done = "done" if result.fresh else "done before"
        echo(f"{result.name}: {value:.4f} (run {run_id}, {done})")
        return
    if not result.wrong_request:
        problem = " ".join(result.problems) or result.skipped_owner or "its record has no score."
        trial.set_user_attr(_PROBLEM, problem)
        echo(f"{result.name}: {problem}")
    study.tell(trial, state=TrialState.FAIL)


def _overrides(params: dict[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in params.items()]


def _trial(trial: optuna.trial.FrozenTrial) -> Trial:
    attributes = trial.user_attrs
    return Trial(
        tuple(_overrides(trial.params)),
        trial.value,
        attributes.get(_RUN_ID, ""),
        attributes.get(_PROBLEM, ""),
    )
