"""``dylora list runs``: the runs of a results folder, with what each says."""

from __future__ import annotations

import datetime
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from dylora_exp import metrics
from dylora_exp.config import profile_differences
from dylora_exp.core import (
    aligned_lines,
    first_line,
    one_line,
    print_warning,
    without_garbage_collection,
)
from dylora_exp.records import Record, RecordStore, deciding_metric, rank_verdict


def print_runs(results_dir: Path) -> None:
    """Print the runs that have a record in a results folder, the newest first."""
    store = RecordStore(results_dir)
    records, warnings = store.read_all()
    for warning in warnings:
        print_warning(warning)
    names = ("run", "date", "status", "profile", "model", "task", "method", "seed")
    rows, details = [], []
    differences: dict[Any, str] = {}  # by all settings but the seed, which most runs share
    with without_garbage_collection():  # of which there is none, among many thousands of objects
        for record in sorted(records, key=lambda one: (one.created_at, one.run_id), reverse=True):
            chosen = (record.profile, record.model, record.task, record.method, str(record.seed))
            rows.append((record.run_id, date_text(record), store.state(record), *chosen))
            settings = to_json({**record.config, "seed": None}), tuple(record.choices.values())
            if settings not in differences:
                differences[settings] = " ".join(settings_texts(record))
            details.append((outcome_text(record), differences[settings]))
    # Not by rich, which takes a second for a thousand rows.
    print(f"runs in {one_line(str(results_dir))}")
    print("\n".join(_run_lines(names, rows, details)))


def _run_lines(
    names: Sequence[str], rows: Sequence[Sequence[str]], details: Sequence[Sequence[str]]
) -> Iterator[str]:
    """Yield a line for each run; in a terminal too narrow for that, its details below it."""
    columns = [(name, False) for name in (*names, "verdict", "settings")]
    whole = [(*row, *detail) for row, detail in zip(rows, details, strict=True)]
    lines = list(aligned_lines(columns, whole))
    if not sys.stdout.isatty() or max(map(len, lines)) <= shutil.get_terminal_size().columns:
        yield from lines
        return
    days = [(run, date[:10], *rest) for run, date, *rest in rows]
    heading, *lines = aligned_lines(columns[: len(names)], days)
    yield heading
    for line, detail in zip(lines, details, strict=True):
        yield line
        yield from (f"  {one_line(text)}" for text in detail if text)


def date_text(record: Record) -> str:
    """Return when a record was made, on this machine's clock to the minute."""
    try:
        moment = datetime.datetime.fromisoformat(record.created_at)
        return moment.astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):  # of a record that somebody changed
        return record.created_at


def outcome_text(record: Record) -> str:
    """Return which rank of a run to deploy, or its score without ranks, or why it failed."""
    if record.status != "completed":
        return first_line(ValueError(record.error)) if record.error else ""
    if verdict := rank_verdict([record]):
        return verdict.sentence
    name = deciding_metric([record])
    values = [each.metrics.get(name) for each in record.ranks]
    return f"{metrics.title(name)} {metrics.format_value(name, values[0])}" if values else ""


def settings_texts(record: Record) -> list[str]:
    """Return the settings in which a run differs from its profile, as overrides."""
    found = profile_differences(record.config, record.choices)
    return [] if found is None else [each.text for each in found]
