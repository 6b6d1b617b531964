"""One run: look for its record, hold its locks, do it, and record how it ended.

The pipeline, and with it the heavy libraries, is imported when there is work to do: a finished run
or a wrong request is answered at once.
"""

from __future__ import annotations

import functools
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dylora_exp.config import Config, configs_match, identity, run_id
from dylora_exp.core import (
    LOG,
    RequestError,
    RunLog,
    echo,
    failure_reported,
    first_line,
    locks,
    one_line,
    run_distributed,
    run_log,
    tolerant_output,
    write_atomically,
)
from dylora_exp.records import Record, RecordStore, changed_file
from dylora_exp.runner.folder import (
    clean_up,
    hold_run,
    no_empty_folders,
    refuse_links,
    remove_checkpoints,
    remove_unfinished,
    run_folder,
    run_locks,
)
from dylora_exp.runner.preflight import check_all
from dylora_exp.training import newest_step

if TYPE_CHECKING:
    from dylora_exp.tasks import TaskData


class RunFailed(Exception):
    """A run failed, and its record says so. The message is one sentence."""


class RunBusy(Exception):
    """Another process is doing the run. The message says which; ``locks`` are the run's locks."""

    def __init__(self, message: str, locks: list[Path]) -> None:
        super().__init__(message)
        self.locks = locks

    def __reduce__(self) -> tuple[type[RunBusy], tuple[str, list[Path]]]:
        """Return how to pickle the exception with its locks."""
        return RunBusy, (str(self), self.locks)


@dataclass(frozen=True)
class Outcome:
    """A completed run, the file of its record, whether it was done just now, and warnings."""

    record: Record
    path: Path
    fresh: bool
    warnings: list[str]


def run_if_needed(config: Config, wait: bool = True) -> Outcome:
    """Do a run unless its record is complete, and return its record.

    Args:
        config: The run.
        wait: Whether to wait when another process is doing the run. ``running=skip`` never waits.

    Raises:
        RequestError: When the request is wrong; no file is written then.
        RunFailed: When the run fails; its record has the status ``failed`` then.
        RunBusy: When another process is doing the run, and it is not to be waited for.
    """
    with tolerant_output():  # in a launcher's process as well
        return run_distributed(
            main=lambda: _run_in_main_process(config, wait),
            worker=lambda: _run_in_worker(config),
            record_failure=lambda error: record_failure(config, error),
        )


def _run_in_main_process(config: Config, wait: bool) -> Outcome:
    store, folder = RecordStore(config.results_dir), run_folder(config)
    busy = _busy_handler(folder.name, run_locks(store, folder), wait and config.running == "wait")
    with run_log() as log:
        if outcome := find_completed(config, store):
            clean_up(store, folder)
            return outcome
        locks.wait(run_locks(store, folder), busy)  # before data are read
        # Reading data takes seconds, importing torch more. A person is told at once; what else
        # reads the output gets nothing of a request that turns out to be wrong.
        says_at_once = sys.stdout.isatty()
        if says_at_once:
            echo(_first_line(config, folder))
        with no_empty_folders(store.folder, folder.parent):
            data = check_all(config)
            if not says_at_once:
                echo(_first_line(config, folder))
            refuse_links(folder)
            with hold_run(store, folder, busy):
                return find_completed(config, store) or run_locked(config, store, data, log)


def _first_line(config: Config, folder: Path) -> str:
    """Return what a run says before it begins."""
    step = newest_step(folder)
    resuming = "" if step is None else f"resuming from step {step}, "
    return one_line(f"run {folder.name}: {resuming}loading {config.model.name} ...")


def _run_in_worker(config: Config) -> None:
    from dylora_exp.runner import pipeline

    pipeline.run_in_worker(config)


def run_locked(config: Config, store: RecordStore, data: TaskData, log: RunLog) -> Outcome:
    """Do a run whose locks are held, and write the record of how it went.

    Raises:
        RequestError: When the model cannot be loaded or does not match; nothing is written then.
        RunFailed: When the run fails.
    """
    from dylora_exp.runner import pipeline

    run = pipeline.load_run(config, data)
    folder, start = run_folder(config), time.monotonic()
    try:
        remove_unfinished(store, folder)
        log.open(folder / "run.log")
        LOG.info(
            "run %s begins in process %d on %s", folder.name, os.getpid(), socket.gethostname()
        )
        for warning in run.warnings:
            LOG.warning(warning)
        before = store.read(folder.name)
        earlier = before.error if before else None  # to be read until this run ends
        store.write(pipeline.new_record(config, "running", error=earlier, data=data.sources))
        record, warnings = pipeline.train_and_record(run)
        path = store.write(record)
    except Exception as error:
        failure = record_failure(config, error, data.sources)
        LOG.error("failed: %s", failure)
        raise failure from error
    except BaseException as error:
        LOG.info("interrupted (%s) after %.1f s", type(error).__name__, time.monotonic() - start)
        raise
    remove_checkpoints(folder)
    LOG.info("completed in %.1f s: %s", time.monotonic() - start, path)
    return Outcome(record, path, True, run.warnings + warnings)


def record_failure(
    config: Config, error: Exception, sources: list[dict[str, Any]] | None = None
) -> RunFailed:
    """Record the failure of a run as far as possible; return the exception to raise.

    The traceback is written into the run's folder; ``sources`` are the data of the record.
    """
    from dylora_exp.runner import pipeline

    sentence = f"{type(error).__name__}: {first_line(error)}"
    if failure_reported():  # by the process that failed first; this error is a consequence
        return RunFailed(sentence)
    file = run_folder(config) / "error.log"
    try:
        write_atomically(file, "".join(traceback.format_exception(error)))
        record = pipeline.new_record(config, "failed", error=sentence, data=sources or [])
        RecordStore(config.results_dir).write(record)
    except RequestError as unwritable:
        return RunFailed(f"{sentence} (and no record of it: {unwritable.problems[0]})")
    return RunFailed(f"{sentence} (traceback: {file})")


def _busy_handler(name: str, held: list[Path], wait: bool) -> Callable[[Path], None]:
    """Return what to do when another process holds a lock: echo it once and wait, or raise."""
    echo_once = functools.cache(echo)

    def busy(path: Path) -> None:
        sentence = f"run {name} is being done by {locks.owner(path)}"
        if not wait:
            raise RunBusy(sentence, held)
        echo_once(f"{sentence}; waiting")

    return busy


def find_completed(config: Config, store: RecordStore) -> Outcome | None:
    """Return the outcome of a run that is completed already, None otherwise.

    Raises:
        RequestError: When its record has other settings, or was made from other data.
    """
    name = run_id(config)
    record, path = store.read(name), store.path(name)
    if record is None or record.status != "completed":
        return None
    if record.seed != config.seed or not configs_match(identity(config), record.config):
        raise RequestError(
            f"{path}: its settings are not those of run {name}, somebody changed it; "
            "remove it to run again."
        )
    _check_same_data(config, record, path)
    _check_same_files(run_folder(config) / "model", record, path)
    return Outcome(record, path, False, [])


def _check_same_files(folder: Path, record: Record, path: Path) -> None:
    """Refuse a run's folder with other files than those that the record's scores are of."""
    if not record.files or not folder.is_dir():
        return
    if changed := changed_file(folder, record):
        raise RequestError(
            f"{changed}: not the file that {path} was made with; remove that record to run again, "
            f"or {folder} to keep the record without its files."
        )


def _check_same_data(config: Config, record: Record, path: Path) -> None:
    """Refuse a record that was made from other files, though its config is the same."""
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
