"""``dylora list``: what can be chosen, with the comment that each file begins with."""

from __future__ import annotations

import sys
from pathlib import Path

from dylora_exp.config import option_files
from dylora_exp.core import make_console, make_grid


def print_choices(title: str, group: str) -> None:
    """Print the choices of a config group, each with the comment that its file begins with."""
    columns = [("name", False), ("what it is", False)]
    rows = [(name, _describe(file)) for name, file in sorted(option_files(group).items())]
    table = make_grid(columns, title, rows, box=None, title_justify="left", pad_edge=False)
    # A pipe has no width; what reads it wants whole lines.
    make_console(None if sys.stdout.isatty() else 200).print(table)


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
