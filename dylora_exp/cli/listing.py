"""``dylora list``: what can be chosen, with the first comment of each file, and the runs."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dylora_exp.config import CONF_DIR, options
from dylora_exp.core import locks
from dylora_exp.records import Record, RecordStore, rank_verdict


def print_choices(title: str, group: str) -> None:
    """Print the choices of a config group, each with the comment that its file begins with."""
    table = _make_table(title)
    table.add_column("name", style="bold")
    table.add_column("what it is")
    for name in options(group):
        table.add_row(name, escape(_describe(CONF_DIR / group / f"{name}.yaml")))
    _print(table)


def print_runs(results_dir: Path) -> None:
    """Print the runs that have a record in a results folder."""
    store = RecordStore(results_dir)
    records, warnings = store.read_all()
    table = _make_table(escape(f"runs in {results_dir}"))
    for column in ("run", "status", "profile", "model", "task", "method", "seed", "verdict"):
        table.add_column(column)
    for r in records:
        # Its process ended without leaving a status: running it again resumes its checkpoint.
        interrupted = r.status == "running" and not locks.is_held(store.lock_path(r.run_id))
        status = "interrupted" if interrupted else r.status
        row = (r.run_id, status, r.profile, r.model, r.task, r.method, str(r.seed), _verdict(r))
        table.add_row(*map(escape, row))
    for warning in warnings:
        print(f"dylora: warning: {warning}", file=sys.stderr)
    _print(table)


def _verdict(record: Record) -> str:
    """Return which rank of a run to deploy; empty without ranks, and for what did not complete."""
    verdict = rank_verdict([record]) if record.status == "completed" else None
    return verdict.sentence if verdict else ""


def _make_table(title: str) -> Table:
    return Table(title=title, box=None, title_justify="left", pad_edge=False)


def _print(table: Table) -> None:
    # A pipe has no width; what reads it wants whole lines.
    console = Console() if sys.stdout.isatty() else Console(width=1000)
    console.print(table)


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
