"""``dylora search``: the best settings on the development set, by trials that Optuna proposes.

Trials are kept in a file that is named by what is searched, so that the same command resumes: the
trials that ended are kept, and the number of trials counts them. A proposal depends on the seed,
its number and the trials before it alone.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dylora_exp import metrics
from dylora_exp.config import compose, identity, quote_value
from dylora_exp.core import RequestError, echo, install_command, is_installed, locks
from dylora_exp.multirun.executors.base import Executor, JobFunction
from dylora_exp.multirun.executors.settings import load_executor
from dylora_exp.multirun.jobs import (
    Job,
    JobResult,
    overridden_keys,
    overrides_without_effect,
    run_job,
)
from dylora_exp.multirun.scheduling import run_jobs, thread_overrides
from dylora_exp.multirun.search_space import SearchSpace, parse_search_space
from dylora_exp.records import Record, search_score

if TYPE_CHECKING:
    import optuna

_SEED = 10
_COMPOSED = 64  # combinations, to see whether every override has an effect in one of them
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
    """The trials of a search.

    Attributes:
        trials: The trials in their order.
        path: The file that keeps them.
        metric: The metric that the scores are means of, negated where less is better.
    """

    trials: list[Trial]
    path: Path
    metric: str

    @property
    def best(self) -> Trial | None:
        """The trial of the highest score, the first where several are equal; None without any."""
        scored = [trial for trial in self.trials if trial.score is not None]
        return max(scored, key=lambda trial: trial.score or 0.0) if scored else None

    @property
    def is_complete(self) -> bool:
        """Whether every trial has a score."""
        return all(trial.score is not None for trial in self.trials)

    def format_score(self, trial: Trial) -> str:
        """Return a trial's score as the metric is printed, or ``failed``."""
        return "failed" if trial.score is None else _format_score(self.metric, trial.score)


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
    space = _check(request)
    # Names what is wrong before anything is started.
    config = compose(space.fixed, shared=space.fixed)
    jobs = list(itertools.islice(_combinations(space), _COMPOSED + 1))
    # Of more combinations, others may have the effect.
    if len(jobs) <= _COMPOSED and (idle := overrides_without_effect(jobs)):
        raise RequestError(itertools.chain.from_iterable(idle.values()))
    name = _digest(identity(config), space)
    path = Path(config.outputs_dir).expanduser() / "search" / f"{name}.log"
    at_a_time = request.jobs if request.jobs > 1 else None
    overrides = [f"outputs_dir={config.outputs_dir}", *space.launcher]
    metric = config.task.headline
    with (
        _open_study(path) as study,
        load_executor(request.launcher, at_a_time, overrides) as executor,
    ):
        search = _Search(study, space, executor, score, job_function, metric)
        search.retry_interrupted()
        while (missing := request.trials - len(search.ended())) > 0:
            search.run_batch(min(missing, request.jobs))
        trials = [_to_trial(trial) for trial in search.ended()[: request.trials]]
    return SearchResult(trials, path, metric)


def _check(request: SearchRequest) -> SearchSpace:
    """Return what a request searches.

    Raises:
        RequestError: With every problem of the request.
    """
    if not is_installed("optuna"):
        install = install_command("search")
        raise RequestError(f"search: optuna is not installed; install it with: {install}")
    problems = [
        f"--{name}: found {value}, expected a number at least 1."
        for name, value in (("trials", request.trials), ("jobs", request.jobs))
        if value < 1
    ]
    try:
        space = parse_search_space(list(map(quote_value, request.overrides)))
    except RequestError as error:
        problems += error.problems
    if problems:
        raise RequestError(problems)
    return space


def _digest(fixed: dict[str, Any], space: SearchSpace) -> str:
    """Return the name of a search: the same for the same runs, space and seed."""
    from optuna.distributions import distribution_to_json

    searched = {key: distribution_to_json(space.searched[key]) for key in sorted(space.searched)}
    # What has an effect in some of the trials alone is none of the settings of all.
    apart = list(overrides_without_effect([Job(tuple(space.fixed))]))
    partly = [each for each in space.fixed if overridden_keys([each])[0] in apart]
    text = json.dumps([fixed, searched, _SEED, *partly], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _combinations(space: SearchSpace) -> Iterator[Job]:
    """Yield jobs of a search with all combinations of choices and of the ends of intervals."""
    from optuna.distributions import CategoricalDistribution

    def values(of: Any) -> Collection[Any]:
        is_choice = isinstance(of, CategoricalDistribution)
        return of.choices if is_choice else dict.fromkeys((of.low, of.high))

    for chosen in itertools.product(*map(values, space.searched.values())):
        searched = _to_overrides(dict(zip(space.searched, chosen, strict=True)))
        yield Job((*space.fixed, *searched))


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


@dataclass(frozen=True)
class _Search:
    """An open study, and what its trials are run with."""

    study: optuna.Study
    space: SearchSpace
    executor: Executor
    score: Callable[[Record], float | None]
    job_function: JobFunction
    metric: str

    def ended(self) -> list[optuna.trial.FrozenTrial]:
        """Return the trials that ended; those that were interrupted do not count."""
        kept = {_PROBLEM, _RUN_ID}
        return [trial for trial in self.study.trials if kept & trial.user_attrs.keys()]

    def retry_interrupted(self) -> None:
        """Propose the trials again that a process was running when it was killed."""
        from optuna.trial import TrialState

        for trial in self.study.get_trials(states=[TrialState.RUNNING]):
            self.study.tell(trial.number, state=TrialState.FAIL)
            if trial.params:
                self.study.enqueue_trial(trial.params)

    def run_batch(self, count: int) -> None:
        """Run new trials at a time, and keep how each ended.

        Raises:
            RequestError: When the request of a run is wrong.
        """
        first = len(self.ended())
        trials = [self._propose(first + number) for number in range(count)]
        fixed = [*thread_overrides(self.executor), *self.space.fixed]
        jobs = [
            Job((*fixed, *searched), " ".join(searched))
            for searched in (_to_overrides(trial.params) for trial in trials)
        ]
        results = run_jobs(jobs, self.executor, self.job_function)
        # In their order, not in that in which they ended: what is proposed next depends on it.
        for trial, result in zip(trials, results, strict=True):
            self._keep(trial, result)
        if wrong := [problem for r in results if r.wrong_request for problem in r.problems]:
            raise RequestError(dict.fromkeys(wrong))

    def _propose(self, number: int) -> optuna.Trial:
        from optuna.samplers import TPESampler

        # A seed of its own for each, as a sampler does not survive the process.
        self.study.sampler = TPESampler(seed=_SEED + number, n_startup_trials=_RANDOM_TRIALS)
        return self.study.ask(self.space.searched)

    def _keep(self, trial: optuna.Trial, result: JobResult) -> None:
        """Keep how a trial ended; a wrong request leaves it to be proposed again."""
        from optuna.trial import TrialState

        value = None if result.outcome is None else self.score(result.outcome.record)
        if value is not None and result.outcome is not None:
            run_id = result.outcome.record.run_id
            trial.set_user_attr(_RUN_ID, run_id)
            self.study.tell(trial, value)
            done = "done" if result.fresh else "done before"
            echo(f"{result.name}: {_format_score(self.metric, value)} (run {run_id}, {done})")
            return
        if not result.wrong_request:
            problem = " ".join(result.problems) or result.skipped_owner
            problem = problem or "its record has no score."
            trial.set_user_attr(_PROBLEM, problem)
            echo(f"{result.name}: {problem}")
        self.study.tell(trial, state=TrialState.FAIL)


def _to_overrides(params: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"{key}={value}" for key, value in params.items())


def _to_trial(trial: optuna.trial.FrozenTrial) -> Trial:
    kept = trial.user_attrs
    overrides = _to_overrides(trial.params)
    return Trial(overrides, trial.value, kept.get(_RUN_ID, ""), kept.get(_PROBLEM, ""))


def _format_score(metric: str, score: float) -> str:
    """Return a score, which is higher where better, as its metric is printed."""
    return metrics.format_value(metric, metrics.sign(metric) * score)
