"""What ``tables``, ``report`` and ``reproduce`` print about what they rendered."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dylora_exp.core import echo
from dylora_exp.reporting import make_tables


def render_tables(names: Sequence[str], profile: str, results: Path, select: str | None) -> None:
    """Render tables; print each as Markdown, how many of its runs are missing, and its files."""
    for number, table in enumerate(make_tables(names, profile, results, select)):
        print_warnings(table.warnings if number == 0 else [])  # they are the same for all tables
        echo(table.markdown)
        if count := len(table.missing):
            runs = "1 run is" if count == 1 else f"{count} runs are"
            print(f"dylora: {runs} missing.", file=sys.stderr)
        echo("\n".join(map(str, table.paths)))


def print_warnings(skipped: Sequence[str]) -> None:
    """Name the files among the records that are none, and say how many there are."""
    for warning in skipped:
        print(f"dylora: warning: {warning}", file=sys.stderr)
    if skipped:
        print(f"dylora: files skipped: {len(skipped)}; the other records count.", file=sys.stderr)


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Collect no garbage: among thousands of records that takes a tenth of the time."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
