"""A table as plain text: what Markdown, LaTeX, HTML and CSV files of it have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dylora_exp.core import markdown_cell, markdown_text


@dataclass(frozen=True)
class TextLine:
    """A line of a table, without the marks of Markdown, LaTeX or HTML.

    Attributes:
        label: The row's name.
        cells: One text a column, empty where blank.
        bold: Whether each cell is the best of its block.
        paper: Whether these are the paper's values for the line above.
    """

    label: str
    cells: tuple[str, ...]
    bold: tuple[bool, ...]
    paper: bool = False


@dataclass(frozen=True)
class TextTable:
    """A table's content, ready to be written.

    Attributes:
        name: The table, as ``table_names`` lists it.
        profile: The profile whose runs or settings it shows.
        number: Its name in the paper, ``Table 2``; empty where the paper has none.
        title: Its title, without number and profile.
        caption: A few sentences about it.
        label_heading: The heading of the row labels.
        heads_labels: Whether Markdown and HTML show ``label_heading`` too; LaTeX always does.
        headings: The headings of the cells.
        blocks: The heading and the lines of each block.
        notes: The lines below the table.
        data: The lines of its CSV file, the header first.
    """

    name: str
    profile: str
    number: str
    title: str
    caption: str
    label_heading: str
    heads_labels: bool
    headings: tuple[str, ...]
    blocks: tuple[tuple[str, tuple[TextLine, ...]], ...]
    notes: tuple[str, ...]
    data: tuple[tuple[object, ...], ...]

    @property
    def full_title(self) -> str:
        """The title after the table's number and before its profile."""
        number = f"{self.number}: " if self.number else ""
        return f"{number}{self.title} ({self.profile})"

    @property
    def head(self) -> list[str]:
        """The headings of all columns, empty above the names of blocks."""
        return ["", self.label_heading if self.heads_labels else "", *self.headings]

    def lines(self) -> Iterator[tuple[str, TextLine]]:
        """Yield each line after its block's heading, which only the block's first line has."""
        for heading, lines in self.blocks:
            yield from ((heading if index == 0 else "", line) for index, line in enumerate(lines))


def markdown(table: TextTable) -> str:
    """Return the table with title, caption and notes as Markdown, its columns aligned."""
    rows = [list(map(markdown_cell, table.head))]
    for heading, line in table.lines():
        label = markdown_cell(line.label)
        texts = map(markdown_cell, line.cells)
        cells = [f"**{c}**" if b else c for c, b in zip(texts, line.bold, strict=True)]
        rows.append([markdown_cell(heading), f"*{label}*" if line.paper else label, *cells])
    parts = [
        f"## {markdown_text(table.full_title)}",
        "\n".join(map(markdown_text, table.caption.strip().split("\n"))),
        _pipe_table(rows),
        "\n".join(f"- {markdown_text(note)}" for note in table.notes),
    ]
    return "\n\n".join(parts) + "\n"


def _pipe_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, the first two columns to the left and the others to the right."""
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        [
            text.ljust(width) if index < 2 else text.rjust(width)
            for index, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    rule = [
        "-" * width if index < 2 else "-" * (width - 1) + ":" for index, width in enumerate(widths)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])
