"""``dylora list``: what can be chosen, with the first comment of each file, and the runs."""

from __future__ import annotations

import sys
from pathlib import Path

from dylora_exp.config import CONF_DIR, options
from dylora_exp.core import aligned_lines, locks, make_console, make_grid, one_line, print_warning
from dylora_exp.records import Record, RecordStore, rank_verdict


def print_choices(title: str, group: str) -> None:
    """Print the choices of a config group, each with the comment that its file begins with."""
    columns = [("name", False), ("what it is", False)]
    rows = [(name, _describe(CONF_DIR / group / f"{name}.yaml")) for name in options(group)]
    table = make_grid(columns, title, rows, box=None, title_justify="left", pad_edge=False)
    # A pipe has no width; what reads it wants whole lines.
    make_console(None if sys.stdout.isatty() else 200).print(table)


def print_runs(results_dir: Path) -> None:
    """Print the runs that have a record in a results folder."""
    store = RecordStore(results_dir)
    records, warnings = store.read_all()
    names = ("run", "status", "profile", "model", "task", "method", "seed", "verdict")
    rows = []
    for r in records:
        # Its process ended without leaving a status: running it again resumes its checkpoint.
        interrupted = r.status == "running" and not locks.is_held(store.lock_path(r.run_id))
        status = "interrupted" if interrupted else r.status
        row = (r.run_id, status, r.profile, r.model, r.task, r.method, str(r.seed), _verdict(r))
        rows.append(row)
    for warning in warnings:
        print_warning(warning)
    # Not by rich, which takes a second for a thousand rows.
    print(f"runs in {one_line(str(results_dir))}")
    print("\n".join(aligned_lines([(name, False) for name in names], rows)))


def _verdict(record: Record) -> str:
    """Return which rank of a run to deploy; empty without ranks, and for what did not complete."""
    verdict = rank_verdict([record]) if record.status == "completed" else None
    return verdict.sentence if verdict else ""


def _describe(path: Path) -> str:
    """Return the comment that a config file begins with."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# @"):
            continue
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return " ".join(lines)
