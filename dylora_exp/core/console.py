"""Grids of names and numbers: by ``rich`` in a terminal, as aligned lines for a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dylora_exp.core.escaping import one_line
from dylora_exp.core.output import StyledStream, TolerantStream

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# In narrower ones a grid has no room for a character.
_NARROWEST = 20


def make_console(width: int | None = None) -> Console:
    """Return what ``rich`` prints to standard output with.

    Args:
        width: In characters; None for that of the terminal.
    """
    from rich.console import Console

    stream: Any = sys.stdout
    if isinstance(stream, TolerantStream):
        stream = StyledStream(stream)
    console = Console(file=stream, width=width, emoji=False)
    if console.width < _NARROWEST:  # COLUMNS says so
        console.width = _NARROWEST
    return console


def make_grid(
    columns: Sequence[tuple[str, bool]],
    title: str | None = None,
    rows: Sequence[Sequence[str]] = (),
    **options: Any,
) -> Table:
    """Return a grid of ``rich`` in which texts stand as they are, without control characters.

    Args:
        columns: The heading of each, and whether it is aligned to the right.
        title: Above it.
        rows: A text for each column; ``add_row`` of ``Text`` adds more.
        options: Further ones of ``rich.table.Table``.
    """
    from rich.table import Table
    from rich.text import Text

    grid = Table(title=None if title is None else Text(one_line(title)), **options)
    for heading, right in columns:
        grid.add_column(
            Text(one_line(heading)), justify="right" if right else "left", overflow="fold"
        )
    for row in rows:
        grid.add_row(*(Text(one_line(text)) for text in row))
    return grid


def aligned_lines(
    columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]]
) -> Iterator[str]:
    """Yield a grid as lines, the headings first; arguments as for ``make_grid``."""
    texts = [[heading for heading, _ in columns], *rows]
    texts = [[one_line(text) for text in row] for row in texts]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    sides = [right for _, right in columns]
    for row in texts:
        cells = zip(row, widths, sides, strict=True)
        padded = (text.rjust(w) if right else text.ljust(w) for text, w, right in cells)
        yield "  ".join(padded).rstrip()
