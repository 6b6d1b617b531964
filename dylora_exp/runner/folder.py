"""A run's folder, the locks of a run, and the removal of what a kill has left."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dylora_exp.config import Config, configs_match, identity, run_id
from dylora_exp.core import LOG, RequestError, locks, reading, unfinished, write_atomically
from dylora_exp.records import RecordStore

_CHECKPOINTS = "checkpoint-*"
# What a run writes into its folder, beside what a tracker does.
_WRITTEN = (_CHECKPOINTS, "continued", "epochs", "model", "predictions", "*.json", "*.log")
_MOST_PROBLEMS = 5


def run_folder(config: Config) -> Path:
    """Return the folder of a run, whose name is the run id."""
    return Path(config.outputs_dir).expanduser() / run_id(config)


def run_locks(store: RecordStore, folder: Path) -> list[Path]:
    """Return the lock files of a run: one of its record and one of its folder."""
    return [store.lock_path(folder.name), folder / ".lock"]


@contextlib.contextmanager
def hold_run(store: RecordStore, folder: Path, busy: Callable[[Path], None]) -> Iterator[None]:
    """Hold the locks of a run; afterwards remove its folder if nothing was written into it.

    ``busy`` is that of ``locks.hold``.
    """
    try:
        with locks.hold(run_locks(store, folder), busy):
            yield
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()


@contextlib.contextmanager
def no_empty_folders(*folders: Path) -> Iterator[None]:
    """Remove folders that were made for a request that turns out to be wrong, if empty."""
    made = [each for folder in folders for each in [folder, *folder.parents] if not each.exists()]
    try:
        yield
    except RequestError:
        for folder in sorted(made, reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def refuse_links(folder: Path) -> None:
    """Refuse a run's folder that is a symbolic link or has one among what the run would write.

    What lies behind a link may be another run's, or no run's; it would be overwritten or removed.
    The folder of all runs may be a link.

    Raises:
        RequestError: With a sentence for each link, and for a checkpoint that is no folder.
    """
    own = [path for name in _WRITTEN for path in sorted(folder.glob(name))]
    below = [
        Path(parent, name)
        for each in own
        for parent, folders, files in os.walk(each)
        for name in sorted([*folders, *files])
    ]
    problems = [
        f"{path}: a symbolic link to '{os.readlink(path)}', expected what the run itself wrote; "
        "remove the link, or put there what it leads to."
        for path in [folder, *own, *below]
        if path.is_symlink()
    ]
    for path in folder.glob(_CHECKPOINTS):
        if re.fullmatch(r"checkpoint-\d+", path.name) and path.is_file() and not path.is_symlink():
            problems.append(f"{path}: a file, expected a folder; remove it.")
    if problems:
        raise RequestError(problems[:_MOST_PROBLEMS])


def prepare_folder(folder: Path, config: Config, sources: list[dict[str, Any]]) -> None:
    """Write a run's config and data sources, and remove checkpoints made from other data."""
    from dylora_exp.models import local_folders

    file = folder / "run.json"
    text = json.dumps({"config": identity(config), "data": sources}, indent=2, sort_keys=True)
    if any(folder.glob(_CHECKPOINTS)) and not _is_of(file, config, sources):
        LOG.warning("checkpoints of %s were made from other data: training starts anew", folder)
        remove_checkpoints(folder)
    write_atomically(file, text)
    # In another file: where the model's files are is no part of the run.
    if folders := local_folders(config.model, config.hub_cache):
        write_atomically(folder / "folders.json", json.dumps(folders, indent=2))


def _is_of(file: Path, config: Config, sources: list[dict[str, Any]]) -> bool:
    """Return whether ``run.json`` lists the settings of a run and these data."""
    try:
        with reading(file):
            tree = json.loads(file.read_text(encoding="utf-8"))
        same = configs_match(tree["config"], identity(config))
        return same and bool(tree["data"] == json.loads(json.dumps(sources)))
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a run."""
    for checkpoint in folder.glob(_CHECKPOINTS):
        shutil.rmtree(checkpoint, ignore_errors=True)  # which leaves links and files alone


def remove_unfinished(store: RecordStore, folder: Path) -> None:
    """Remove half-written files that a kill left; the run's locks must be held."""
    for path in [*store.unfinished(folder.name), *unfinished(folder)]:
        path.unlink(missing_ok=True)


def clean_up(store: RecordStore, folder: Path) -> None:
    """Remove what a process left that was killed after it had written the record."""
    if folder.is_symlink():  # it leads to a folder that is not the run's
        return
    files = run_locks(store, folder)
    waste = [*files, *folder.glob(_CHECKPOINTS), *unfinished(folder)]
    if any(path.exists() for path in [*waste, *store.unfinished(folder.name)]):
        present = [path for path in files if path.parent.is_dir()]
        # Another process may hold a lock, or the folder be read-only by now.
        with contextlib.suppress(RequestError, OSError), locks.hold(present, _no_wait):
            remove_unfinished(store, folder)
            remove_checkpoints(folder)


def _no_wait(path: Path) -> None:
    raise BlockingIOError(f"another process holds {path}")
