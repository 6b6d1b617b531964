"""The jobs of a sweep, given to one of Hydra's launchers in such a way that each comes to an end.

A launcher gives up when a process of it dies, and with it all that it has not done. Here the jobs
that were not begun go on without the one that took its process along; that one is tried once more,
by itself. A job whose run another process is doing lets the others go first.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import math
import os
import shutil
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from dylora_exp.config import CONF_DIR, from_hydra
from dylora_exp.core import RequestError, echo, first_line, locks, tolerant_output, write_atomically
from dylora_exp.records import search_score
from dylora_exp.runner import Outcome, RunBusy, RunFailed, run_if_needed

# Beside the jobs' own folders, on the file system that they share; gone when the sweep ends. Sweeps
# that start in the same second have the same folder, so each has notes of its own.
_NOTES = ".jobs"
_LOCK = ".lock"
_PAUSE = 1.0
_WRONG_WORDS = (HydraException, OmegaConfBaseException)


@dataclass(frozen=True)
class Ended:
    """How a job ended.

    Attributes:
        job: Its words.
        problems: A sentence for each; none when it is done.
        request: Whether they are about the request, so that trying again is of no use.
        lost: Whether its process ended before it did, twice.
        fresh: Whether the run was done just now.
        skipped: Who is doing the run, where it was skipped for that.
        locks: What that one holds, where the run was left for later.
        objective: What a search is to make as high as it can.
    """

    job: str
    problems: list[str]
    request: bool = False
    lost: bool = False
    fresh: bool = False
    skipped: str = ""
    locks: list[str] = field(default_factory=list)
    objective: float | None = None


def attempt(tree: DictConfig, show: Callable[[Outcome], None], later: bool = False) -> Ended:
    """Do one run and return how it ended; a failure must not stop the other jobs of a sweep.

    Args:
        tree: What Hydra composed for it.
        show: Shows what became of a run that is done.
        later: As for ``execute``.
    """
    overrides = list(HydraConfig.get().overrides.task)
    job = " ".join(overrides)
    keys = [each.lstrip("+~").partition("=")[0] for each in overrides]
    try:
        outcome = run_if_needed(from_hydra(tree, keys), wait=not later)
        with tolerant_output():  # the run is done, whether or not it can be shown
            show(outcome)
    except RequestError as error:
        return Ended(job, error.problems, request=True)
    except RunBusy as busy:
        if str(tree.running) == "skip":
            echo(f"{busy}; skipped")
            return Ended(job, [], skipped=str(busy))
        echo(f"{busy}; other runs go first")
        return Ended(job, [], locks=[str(path.absolute()) for path in busy.locks])
    except RunFailed as error:
        return Ended(job, [f"run failed: {error}"])
    except Exception as error:  # before the run could leave a record of it
        traceback.print_exc()
        return Ended(job, [f"run failed: {type(error).__name__}: {first_line(error)}"])
    return Ended(job, [], fresh=outcome.fresh, objective=search_score(outcome.record))


def launch_jobs(
    jobs: Sequence[Sequence[str]],
    words: Sequence[str],
    task: Callable[[DictConfig], Ended],
    at_once: int,
) -> list[Ended]:
    """Give Hydra's launcher a list of jobs, which need not be the combinations of anything.

    Args:
        jobs: The words of each.
        words: What they have in common and what is about the launcher.
        task: What to do with each composed tree.
        at_once: How many jobs the launcher gets at a time.

    Returns:
        How each job ended.

    Raises:
        RequestError: When the words are wrong.
    """
    ended: list[Ended] = []
    try:
        with initialize_config_dir(str(CONF_DIR), job_name="dylora", version_base="1.3"):
            hydra_ = GlobalHydra.instance().hydra
            assert hydra_ is not None
            tree = hydra_.compose_config("config", list(words), run_mode=RunMode.MULTIRUN)
            context = HydraContext(hydra_.config_loader, Callbacks(tree))
            with enduring_launchers(ended):
                launcher = Plugins.instance().instantiate_launcher(context, task, tree)
                while len(ended) < len(jobs):
                    launcher.launch(jobs[len(ended) :][:at_once], len(ended))
    except _WRONG_WORDS as error:
        raise RequestError(first_line(error)) from error
    except Exception as error:  # of a launcher that cannot be made from these words
        if ended:
            raise
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise RequestError(f"launching failed: {reason}") from error
    return ended


@contextlib.contextmanager
def enduring_launchers(ended: list[Ended]) -> Iterator[None]:
    """Put an ``Enduring`` around each launcher that Hydra makes as long as the context lasts.

    Args:
        ended: Gets how each of their jobs ended.
    """
    make = Plugins.instantiate_launcher
    made: list[Enduring] = []

    def instantiate_launcher(
        self: Plugins, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> Launcher:
        if "optuna" in sys.modules:  # what it says of each trial, the runs say
            sys.modules["optuna"].logging.set_verbosity(logging.WARNING)
        place = _Place()
        task = functools.partial(_noted, task_function, place)
        launcher = make(self, hydra_context, task, config)
        made.append(Enduring(launcher, Path(str(config.hydra.sweep.dir)), place, ended))
        return made[-1]

    Plugins.instantiate_launcher = instantiate_launcher  # type: ignore[method-assign]
    try:
        yield
    finally:
        Plugins.instantiate_launcher = make  # type: ignore[method-assign]
        for launcher in made:
            launcher.clean_up()


@dataclass
class _Place:
    """Where the jobs of a round leave their notes; it reaches other processes as it is then."""

    folder: Path = Path()


class Enduring(Launcher):
    """A launcher that sees every job to its end.

    Args:
        launcher: Does the launching.
        folder: The sweep's folder.
        place: Tells the jobs where to leave their notes.
        ended: Gets how each job ended.
    """

    def __init__(self, launcher: Launcher, folder: Path, place: _Place, ended: list[Ended]) -> None:
        self.launcher = launcher
        self.folder = folder.absolute()
        self.notes = self.folder / f"{_NOTES}-{socket.gethostname()}-{os.getpid()}"
        self.place = place
        self.all_ended = ended
        self.rounds = 0
        self.alive = contextlib.ExitStack()

    def setup(self, **_: object) -> None:
        """Do nothing: the launcher inside is set up already."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Do all jobs, and return for each what a search is to make as high as it can.

        A job without a score is the worst there is: a search goes on elsewhere.
        """
        jobs = [list(job) for job in job_overrides]
        if not self.rounds:
            lock = self.notes / _LOCK
            self.alive.enter_context(locks.hold([lock], lambda path: None))
        ended = self._in_turn(jobs, initial_job_idx)
        self.all_ended += ended
        return [
            JobReturn(job, status=JobStatus.COMPLETED, _return_value=_height(end))
            for job, end in zip(jobs, ended, strict=True)
        ]

    def _in_turn(self, jobs: list[list[str]], first: int) -> list[Ended]:
        """Do all jobs, those last whose runs other processes are doing."""
        ended = self._do(jobs, list(range(len(jobs))), first)
        told = False
        while waiting := {place: end for place, end in ended.items() if end.locks}:
            if free := [place for place, end in waiting.items() if not _held(end.locks)]:
                ended |= self._do(jobs, free, first)
                continue
            if not told:
                echo(f"waiting for {len(waiting)} runs that other processes are doing")
                told = True
            time.sleep(_PAUSE)
        return [ended[place] for place in range(len(jobs))]

    def _do(self, jobs: list[list[str]], places: list[int], first: int) -> dict[int, Ended]:
        """Do the jobs in some places, whatever happens to the processes that do them."""
        ended: dict[int, Ended] = {}
        fruitless = ""
        while left := [place for place in places if place not in ended]:
            done, begun, error = self._round([jobs[place] for place in left], first)
            ended |= {left[number]: end for number, end in done.items()}
            if error is None:
                break
            alone = [left[number] for number in begun if number not in done]
            if not done and not alone:  # nothing has come of it: find out with which job
                alone = left if isinstance(error, _WRONG_WORDS) else left[:1]
                before, fruitless = fruitless, f"{type(error).__name__}: {error}"
                if before == fruitless:
                    ended |= {place: _lost(jobs[place], error, False) for place in left}
                    break
            for place in alone:
                done, begun, again = self._round([jobs[place]], first + place)
                ended[place] = done.get(0) or _lost(jobs[place], again or error, bool(begun))
        return ended

    def _round(
        self, jobs: list[list[str]], first: int
    ) -> tuple[dict[int, Ended], list[int], Exception | None]:
        """Launch jobs; return by number those that ended, those that began, and what went wrong."""
        self.rounds += 1
        self.place.folder = self.notes / str(self.rounds)
        try:
            returned = self.launcher.launch(jobs, first)
            return {n: job.return_value for n, job in enumerate(returned)}, [], None
        except Exception as error:
            notes = [_read(self.place.folder / f"{first + n}.json") for n in range(len(jobs))]
            begun = [number for number, note in enumerate(notes) if note is not None]
            done = {n: Ended(**note) for n, note in enumerate(notes) if note}
            return done, begun, error

    def clean_up(self) -> None:
        """Remove the notes and what is empty, of this sweep and of those that were killed."""
        self.alive.close()
        _remove(self.notes)
        for notes in self.folder.parent.glob(f"*/{_NOTES}-*"):
            if not locks.is_held(notes / _LOCK):
                _remove(notes)


def print_failures(failed: Sequence[tuple[str, Ended]], total: int) -> None:
    """Print why jobs failed, those of one reason together.

    Args:
        failed: The name of each and how it ended.
        total: How many jobs there were.
    """
    reasons: dict[str, list[str]] = {}
    for name, ended in failed:
        for problem in ended.problems:
            reasons.setdefault(problem, []).append(name or "the run without overrides")
    if failed:
        print(f"dylora: {len(failed)} of {total} runs did not complete:", file=sys.stderr)
    for reason, names in reasons.items():
        print(f"dylora: {'; '.join(names)}: {reason}", file=sys.stderr)


def _remove(notes: Path) -> None:
    """Remove a sweep's notes, and its folders where nothing was put into them."""
    sweep = notes.parent
    shutil.rmtree(notes, ignore_errors=True)
    numbered = [folder for folder in sweep.glob("*") if folder.name.isdecimal()]
    for folder in [*numbered, sweep]:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _noted(task: Callable[[DictConfig], Ended], place: _Place, tree: DictConfig) -> Ended:
    """Do a job, noting that it has begun and how it ended, for when its launcher cannot say."""
    note = place.folder / f"{HydraConfig.get().job.num}.json"
    _write(note, {})
    ended = task(tree)
    _write(note, dataclasses.asdict(ended))
    return ended


def _write(note: Path, tree: dict) -> None:
    with contextlib.suppress(RequestError):  # a full disk is for the run to say
        write_atomically(note, json.dumps(tree))


def _read(note: Path) -> dict | None:
    try:
        tree: dict = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return tree


def _height(ended: Ended) -> float:
    return -math.inf if ended.objective is None else ended.objective


def _lost(job: Sequence[str], error: Exception, begun: bool) -> Ended:
    reason = f"{type(error).__name__}: {first_line(error)}"
    request = isinstance(error, _WRONG_WORDS)
    how = "its process ended before it did" if begun else "it could not be launched"
    problem = reason if request else f"{how} ({reason})"
    return Ended(" ".join(job), [problem], request=request, lost=True)


def _held(paths: Sequence[str]) -> bool:
    return any(locks.is_held(Path(path)) for path in paths)
