"""What ``dylora show`` prints about a run; all of it is read from its record and its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dylora_exp.cli.listing import date_text
from dylora_exp.cli.run_output import score_lines
from dylora_exp.config import profile_differences
from dylora_exp.core import aligned_lines, counted, locks, one_line
from dylora_exp.records import Record, RecordStore

# Of a run's folder, in the order in which they are of use, and what each holds.
_FILES = {"model": "what was trained", "run.log": "the log", "error.log": "why it failed"}


def run_lines(record: Record, store: RecordStore, outputs: Path) -> list[str]:
    """Return what is known of a run as lines.

    Args:
        record: Of the run.
        store: Where the record is.
        outputs: Where run folders are.
    """
    folder = outputs / record.run_id
    choices = record.choices | {"seed": str(record.seed)}
    lines = [
        f"run {record.run_id}: {_state(record, store)}, {date_text(record)}",
        ", ".join(f"{key} {value}" for key, value in choices.items()),
    ]
    lines = list(map(one_line, lines))
    if record.error:
        lines.append(one_line(f"error: {record.error}"))
    if record.ranks:
        lines += ["", *score_lines(record)]
    rest = ["", *_settings(record), *_work(record), *map(_source, record.data)]
    rest += [f"record: {store.path(record.run_id)}", *_files(folder)]
    return [*lines, *map(one_line, rest)]


def _state(record: Record, store: RecordStore) -> str:
    state = store.state(record)
    if state == "running":
        return f"running ({locks.owner(store.lock_path(record.run_id))})"
    if state == "interrupted":
        return "interrupted (the command that began it resumes it)"
    return state


def _settings(record: Record) -> Iterator[str]:
    """Yield the settings that differ from the profile, each with the profile's value."""
    found = profile_differences(record.config, record.choices)
    if found is None:
        yield f"settings: no profile '{record.profile}' is here to compare them with"
        return
    if not found:
        yield f"settings: as in profile {record.profile}"
        return
    yield f"settings that differ from profile {record.profile}:"
    rows = [(f"  {each.text}", f"(profile: {each.profile_text})") for each in found]
    _, *lines = aligned_lines([("", False), ("", False)], rows)
    yield from lines


def _work(record: Record) -> Iterator[str]:
    """Yield the numbers of parameters, and what training took."""
    counts = {name: record.parameters.get(name) for name in ("adapter", "trainable", "total")}
    known = [f"{count:,} {name}" for name, count in counts.items() if count is not None]
    if known:
        yield f"parameters: {', '.join(known)}"
    seconds, steps = record.timing.get("train_seconds"), record.timing.get("steps")
    parts = [] if steps is None else [counted(steps, "step")]
    parts += [] if seconds is None else [f"{seconds:,.0f} s"]
    if hardware := record.environment.get("hardware"):
        parts.append(f"on {hardware}")
    if parts and (steps is not None or seconds is not None):
        yield f"training: {', '.join(parts)}"


def _source(source: dict[str, Any]) -> str:
    """Return a data source, how much of it there is, and its version."""
    name = source.get("file") or source.get("dataset") or "unnamed"
    rows, used = source.get("rows"), source.get("used")
    parts = [] if rows is None else [counted(rows, "row")]
    parts += [f"{used:,} used"] if used not in (None, rows) else []
    parts += [f"{key} {source[key][:12]}" for key in ("sha256", "revision") if source.get(key)]
    return f"data: {', '.join([str(name), *parts])}"


def _files(folder: Path) -> Iterator[str]:
    """Yield where a run's files are."""
    if not folder.is_dir():
        yield f"files: there is no folder {folder}; --outputs DIR says where else"
        return
    for name, what in _FILES.items():
        if (folder / name).exists():
            yield f"{name}: {folder / name} ({what})"
    checkpoints = list(folder.glob("checkpoint-*"))
    if checkpoints:
        last = max(checkpoints, key=lambda path: (len(path.name), path.name))
        yield f"last checkpoint: {last}"
