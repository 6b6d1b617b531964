"""What ``tables``, ``report`` and ``reproduce`` print about what they rendered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dylora_exp.core import echo, print_error, print_warning
from dylora_exp.reporting import make_tables


def render_tables(names: Sequence[str], profile: str, results: Path, select: str | None) -> None:
    """Render tables; print each as Markdown, how many of its runs are missing, and its files."""
    for number, table in enumerate(make_tables(names, profile, results, select)):
        print_warnings(table.warnings if number == 0 else [])  # they are the same for all tables
        echo(table.markdown)
        if count := len(table.missing):
            runs = "1 run is" if count == 1 else f"{count} runs are"
            print_error(f"{runs} missing.")
        echo("\n".join(map(str, table.paths)))


def print_warnings(skipped: Sequence[str]) -> None:
    """Name the files among the records that are none, and say how many there are."""
    for warning in skipped:
        print_warning(warning)
    if skipped:
        print_error(f"files skipped: {len(skipped)}; the other records count.")
