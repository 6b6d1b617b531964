"""A run's folder, and the files beside its record: their locks, and how they are kept clean."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

from dylora_exp.config import Config, identity
from dylora_exp.core import LOG, RequestError, locks, unfinished, write_atomically
from dylora_exp.records import RecordStore


def run_locks(store: RecordStore, folder: Path) -> list[Path]:
    """Return the locks of a run: no record is made twice, no run folder is used by two."""
    return [store.lock_path(folder.name), folder / ".lock"]


def prepare(folder: Path, config: Config, sources: list[dict[str, Any]]) -> None:
    """Note what the folder's checkpoints are made from, dropping those made from other data."""
    from dylora_exp.models import local_folders

    note = folder / "run.json"
    text = json.dumps({"config": identity(config), "data": sources}, indent=2, sort_keys=True)
    if note.exists() and not _is_about(note, sources) and any(folder.glob("checkpoint-*")):
        LOG.warning("checkpoints of %s were made from other data: training starts anew", folder)
        remove_checkpoints(folder)
    write_atomically(note, text)
    # A file of its own: the same model in another place is still the same run.
    if folders := local_folders(config.model, config.hub_cache):
        write_atomically(folder / "folders.json", json.dumps(folders, indent=2))


def _is_about(note: Path, sources: list[dict[str, Any]]) -> bool:
    """Whether a note names these data; the folder's name stands for the config."""
    try:
        told = json.loads(note.read_text(encoding="utf-8"))["data"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(told == json.loads(json.dumps(sources)))


def remove_checkpoints(folder: Path) -> None:
    """Remove what training goes on from."""
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint, ignore_errors=True)


def remove_unfinished(store: RecordStore, folder: Path) -> None:
    """Remove half-written files that a kill left; the run's locks must be held."""
    for path in [*store.unfinished(folder.name), *unfinished(folder)]:
        path.unlink(missing_ok=True)


def clean_up(store: RecordStore, folder: Path) -> None:
    """Remove what a process that was killed after it had written the record left behind."""
    held = run_locks(store, folder)
    waste = [*held, *folder.glob("checkpoint-*"), *unfinished(folder)]
    if any(path.exists() for path in [*waste, *store.unfinished(folder.name)]):
        there = [path for path in held if path.parent.is_dir()]
        # Another process may be at it, or the folder be read-only by now.
        with contextlib.suppress(RequestError, OSError, _Busy), locks.hold(there, _no_wait):
            remove_unfinished(store, folder)
            remove_checkpoints(folder)


class _Busy(Exception):
    """Another process has the run."""


def _no_wait(_: Path) -> None:
    raise _Busy
