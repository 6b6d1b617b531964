"""``dylora list``: what can be chosen, with the first comment or the key facts of each file."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dylora_exp.config import CONF_DIR, options
from dylora_exp.core import locks
from dylora_exp.records import RecordStore

_FOLDERS = {
    "models": "model",
    "tasks": "task",
    "methods": "method",
    "ranks": "ranks",
    "profiles": "profile",
    "tables": "table",
}


def print_list(what: str, results_dir: Path) -> None:
    """Print one list: a config group's choices, or the runs in a results folder."""
    table = _runs(results_dir) if what == "runs" else _choices(what)
    # A pipe has no width; what reads it wants whole lines.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(table)


def _choices(what: str) -> Table:
    group = _FOLDERS[what]
    table = Table(title=what, box=None, title_justify="left", pad_edge=False)
    table.add_column("name", style="bold")
    table.add_column("what it is")
    for name in options(group):
        table.add_row(name, escape(_describe(CONF_DIR / group / f"{name}.yaml")))
    return table


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


def _runs(results_dir: Path) -> Table:
    store = RecordStore(results_dir)
    records, warnings = store.read_all()
    title = escape(f"runs in {results_dir}")
    table = Table(title=title, box=None, title_justify="left", pad_edge=False)
    for column in ("run", "status", "profile", "model", "task", "method", "seed"):
        table.add_column(column)
    for r in records:
        # Its process ended without a word: it goes on from its checkpoint when it is run again.
        interrupted = r.status == "running" and not locks.is_held(store.lock_path(r.run_id))
        status = "interrupted" if interrupted else r.status
        row = (r.run_id, status, r.profile, r.model, r.task, r.method, str(r.seed))
        table.add_row(*map(escape, row))
    for warning in warnings:
        print(f"dylora: warning: {warning}", file=sys.stderr)
    return table
