"""The story of a run: config in, record out.

Heavy libraries are imported where the work starts, so that a run that is already done, or a wrong
request, is answered at once.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dylora_exp.config import Config, configs_match, identity, outputs, run_id
from dylora_exp.core import (
    LOG,
    RequestError,
    RunLog,
    batch_size_problems,
    check_writable,
    echo,
    failure_reported,
    first_line,
    locks,
    run_distributed,
    run_log,
    start_workers,
    unknown_name,
    write_atomically,
)
from dylora_exp.records import RankScore, Record, RecordStore
from dylora_exp.runner import folder as run_folder

if TYPE_CHECKING:
    from dylora_exp.methods import Method, TrainedModel
    from dylora_exp.objectives import Objective
    from dylora_exp.tasks import TaskData
    from dylora_exp.training import TrainingResult


class RunFailed(Exception):
    """The work of a run failed; its record says so. The message is one sentence."""


class RunBusy(Exception):
    """Another process is doing the run. The message says which, ``locks`` are what it holds."""

    def __init__(self, message: str, locks: list[Path]) -> None:
        super().__init__(message)
        self.locks = locks

    def __reduce__(self) -> tuple[type[RunBusy], tuple[str, list[Path]]]:
        """Let it pass from one process to another."""
        return RunBusy, (str(self), self.locks)


@dataclass(frozen=True)
class Outcome:
    """A run's record, where it lies, whether it was made just now, and what to tell the user."""

    record: Record
    path: Path
    fresh: bool
    warnings: list[str]


def run_if_needed(config: Config, later: bool = False) -> Outcome:
    """Train once, score every rank, leave a record; do nothing where the record is complete.

    Args:
        config: The run.
        later: Whether to leave the run for later when another process is doing it, instead of
            waiting for that one.

    Raises:
        RequestError: When the request is wrong; no file is written then.
        RunFailed: When the work fails, which leaves a record with status ``failed``.
        RunBusy: When another process is doing this run, and it is to be skipped or left for later.
    """
    return run_distributed(
        lambda: _execute(config, later),
        lambda: _take_part(config),
        lambda error: _failure(
            config, RecordStore(config.results_dir), None, error, _folder(config)
        ),
    )


def _folder(config: Config) -> Path:
    return Path(config.outputs_dir).expanduser() / run_id(config)


def _execute(config: Config, later: bool) -> Outcome:
    name = run_id(config)
    store = RecordStore(config.results_dir)
    folder = _folder(config)
    held = run_folder.run_locks(store, folder)
    busy = _when_busy(config, name, held, later)
    with run_log() as log:
        if done := _completed(config, store, name):
            run_folder.clean_up(store, folder)
            return done
        locks.wait(held, busy)  # before anything heavy is loaded
        if done := _completed(config, store, name):
            return done
        data = preflight(config)
        prepared = _prepare(config, data)
        with locks.hold(held, busy):
            if done := _completed(config, store, name):  # by the process that was here before
                return done
            return _do(config, store, data, prepared, folder, log)


def _when_busy(config: Config, name: str, held: list[Path], later: bool) -> Callable[[Path], None]:
    """Return what to do when another process has one of a run's locks; by returning it waits."""
    told = False

    def busy(path: Path) -> None:
        nonlocal told
        sentence = f"run {name} is being done by {locks.owner(path)}"
        if later or config.running == "skip":
            raise RunBusy(sentence, held)
        if not told:
            echo(f"{sentence}; waiting")
            told = True

    return busy


def _completed(config: Config, store: RecordStore, name: str) -> Outcome | None:
    done = store.read(name)
    if done is None or done.status != "completed":
        return None
    if done.seed != config.seed or not configs_match(identity(config), done.config):
        raise RequestError(
            f"{store.path(name)}: its settings are not those of run {name}, somebody changed it; "
            "remove it to run again."
        )
    _check_same_data(config, done, store.path(name))
    return Outcome(done, store.path(name), False, [])


def _do(
    config: Config,
    store: RecordStore,
    data: TaskData,
    prepared: _Prepared,
    folder: Path,
    log: RunLog,
) -> Outcome:
    """Do the work of a run that is ours alone, and leave a record of how it went."""
    start = time.monotonic()
    warnings = data.warnings + prepared.warnings
    try:
        run_folder.remove_unfinished(store, folder)
        log.open(folder / "run.log")
        LOG.info(
            "run %s begins in process %d on %s", folder.name, os.getpid(), socket.gethostname()
        )
        for warning in warnings:
            LOG.warning(warning)
        before = store.read(folder.name)  # an earlier failure stays to be read until the run ends
        store.write(_record(config, "running", error=before and before.error, data=data.sources))
        record = _work(config, data, prepared, folder)
        path = store.write(record)
    except Exception as error:
        failed = _failure(config, store, data, error, folder)
        LOG.error("failed: %s", failed)
        raise failed from error
    except BaseException as error:
        LOG.info("interrupted (%s) after %.1f s", type(error).__name__, time.monotonic() - start)
        raise
    run_folder.remove_checkpoints(folder)
    LOG.info("completed in %.1f s: %s", time.monotonic() - start, path)
    return Outcome(record, path, True, data.warnings + prepared.warnings)


def _failure(
    config: Config, store: RecordStore, data: TaskData | None, error: Exception, folder: Path
) -> RunFailed:
    """Leave what can be left of a failure and return what to raise."""
    sentence = f"{type(error).__name__}: {first_line(error)}"
    log = folder / "error.log"
    if failure_reported():  # by the one that failed first, which this one then missed
        return RunFailed(sentence)
    try:
        write_atomically(log, traceback.format_exc())
        sources = data.sources if data is not None else []
        store.write(_record(config, "failed", error=sentence, data=sources))
    except RequestError as unwritable:
        return RunFailed(f"{sentence} (and no record of it: {unwritable.problems[0]})")
    return RunFailed(f"{sentence} (traceback: {log})")


def preflight(config: Config) -> TaskData:
    """Check everything that can be checked before training, and read the data.

    Raises:
        RequestError: With all problems at once.
    """
    problems = []
    try:
        data = check(config)
    except RequestError as error:
        problems += error.problems
    for folder in (RecordStore(config.results_dir).folder, Path(config.outputs_dir).expanduser()):
        try:
            check_writable(folder, create=not problems)
        except RequestError as error:
            problems += error.problems
    if problems:
        raise RequestError(problems)
    assert data is not None
    return data


def check(config: Config, fetch: bool = True) -> TaskData | None:
    """Check the model, the tracker and the data without writing anything.

    Args:
        config: A config that passed the schema.
        fetch: Whether data may be fetched from the hub for it.

    Returns:
        The data, unless they would have to be fetched and must not be.

    Raises:
        RequestError: With all problems at once.
    """
    from dylora_exp.adapters import released
    from dylora_exp.methods import method_class, method_kinds
    from dylora_exp.models import backbone
    from dylora_exp.runner import trackers as tracking
    from dylora_exp.tasks import base as tasks

    data = None
    problems = backbone.problems(config) + tracking.problems(config) + released.problems(config)
    problems += batch_size_problems(config.trainer.batch_size)
    if config.method.kind in method_kinds():
        problems += method_class(config.method.kind).problems(config)
    else:
        problems.append(unknown_name("method.kind", config.method.kind, method_kinds()))
    try:
        if fetch or config.hub_cache is not None or not tasks.needs_hub(config.task):
            data = tasks.read(config.task, config.hub_cache)
    except RequestError as error:
        problems += error.problems
    if problems:
        raise RequestError(problems)
    return data


@dataclass(frozen=True)
class _Prepared:
    """A model as its method attaches to it, and what it is trained and scored for."""

    method: Method
    model: TrainedModel
    objective: Objective
    warnings: list[str]


def _prepare(config: Config, data: TaskData) -> _Prepared:
    from transformers import set_seed

    from dylora_exp.adapters import released
    from dylora_exp.methods import make_method
    from dylora_exp.models import load, longest_input
    from dylora_exp.objectives import ObjectiveContext, make_objective
    from dylora_exp.runner.environment import quiet_libraries, reset_peak_memory, use_threads

    quiet_libraries()
    use_threads(config.trainer.threads)
    reset_peak_memory()
    set_seed(config.seed)
    backbone, tokenizer = load(config.model, outputs(config.task), config.hub_cache)
    objective = make_objective(ObjectiveContext(config, tokenizer, longest_input(backbone), data))
    method = make_method(config)
    model = method.attach(backbone)
    warnings = released.put_into(model, config) if config.method.adapter is not None else []
    return _Prepared(method, model, objective, warnings)


def _take_part(config: Config) -> None:
    """Do what every process does, once the main one has begun its work."""
    data = check(config)
    assert data is not None
    prepared = _prepare(config, data)
    with contextlib.closing(prepared.objective):
        _train_and_score(config, prepared, _folder(config))


def _train_and_score(
    config: Config, prepared: _Prepared, folder: Path
) -> tuple[TrainedModel, TrainingResult, list[RankScore]]:
    from dylora_exp.training import EpochSweep, TrainingResult, score_all_ranks, train

    model, method, objective = prepared.model, prepared.method, prepared.objective
    trained = TrainingResult()
    if config.method.adapter is None:
        every_epoch = config.trainer.score_every == "epoch"
        untimed = EpochSweep(model, objective, method, folder) if every_epoch else None
        trained = train(model, objective, method, folder, untimed)
    model = method.finish(model)
    return model, trained, score_all_ranks(model, objective, method, folder)


def _work(config: Config, data: TaskData, prepared: _Prepared, folder: Path) -> Record:
    from dylora_exp.adapters import released
    from dylora_exp.methods import count_parameters
    from dylora_exp.models import revision
    from dylora_exp.records import summarise
    from dylora_exp.runner.environment import environment, peak_memory
    from dylora_exp.runner.trackers import tracking
    from dylora_exp.training import epoch_scores

    made_with = environment() | revision(prepared.model)
    run_folder.prepare(folder, config, data.sources)
    start_workers()
    method, objective = prepared.method, prepared.objective
    imported = {"imported": released.source(config)} if config.method.adapter is not None else {}
    with contextlib.closing(objective), tracking(config, folder) as tracker:
        model, trained, scores = _train_and_score(config, prepared, folder)
        prepared.warnings.extend(trained.warnings)
        epochs = epoch_scores(folder) if config.trainer.score_every == "epoch" else []
        sweeps = [scores, *(epoch.ranks for epoch in epochs)]
        method.save(model, folder / "model")
        record = _record(
            config,
            "completed",
            data=data.sources,
            ranks=scores,
            epochs=epochs,
            summary=summarise(scores, config.task.headline, config.ranks.tolerance),
            parameters=count_parameters(model),
            training=method.training_stats(model) | imported,
            scoring=objective.scoring(),
            timing={
                "train_seconds": trained.seconds,
                "sweep_seconds": sum(entry.seconds for ranks in sweeps for entry in ranks),
                "steps": trained.steps,
            },
            memory=peak_memory(),
            environment=made_with,
        )
        tracker.log(record)
    return record


def _record(config: Config, status: str, **parts: Any) -> Record:
    return Record(
        run_id=run_id(config),
        status=status,
        config=identity(config),
        model=config.model.name,
        task=config.task.name,
        method=config.method.name,
        profile=config.profile,
        seed=config.seed,
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **parts,
    )


def _check_same_data(config: Config, record: Record, path: Path) -> None:
    """A record made from other files is not this run's, though their configs are the same."""
    if config.task.data_dir is None and config.hub_cache is None:
        return
    from dylora_exp.tasks import checksums

    before = {source["file"]: source.get("sha256") for source in record.data if "file" in source}
    for file, digest in checksums(config.task, config.hub_cache).items():
        if before and before.get(file) != digest:
            raise RequestError(
                f"task.data_dir: '{file}' in '{config.task.data_dir or config.hub_cache}' is not "
                f"the file that {path} was made from; choose another results_dir or remove that "
                "record."
            )
