"""A table as Markdown and as CSV, and the grid of texts that Markdown and LaTeX share.

The paper's values stand in a line of their own below the line they belong to: beside every cell
they would make a table of nine columns too wide for a terminal or a page.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from dylora_exp.reporting.analysis.cells import Block, Cell, Column, Line, Table
from dylora_exp.reporting.analysis.measures import MEASURES, rank_text
from dylora_exp.reporting.render.notes import marks, notes, paper_label
from dylora_exp.reporting.specs.paper import paper_name

CSV_COLUMNS = (
    *("block", "rank", "row", "method", "set", "truncation", "scale", "task", "metric"),
    *("mean", "std", "n", "runs", "lacks", "paper", "paper_rank"),
)


@dataclass(frozen=True)
class TextLine:
    """A line of a table as plain text, yet without the marks of Markdown or LaTeX.

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


def headings(table: Table) -> list[str]:
    """Return what stands above the cells."""
    if table.spec.transposed:
        return [line.spec.label for line in table.blocks[0].lines]
    return [column.heading for column in table.columns]


def text_lines(table: Table, block: Block) -> list[TextLine]:
    """Return a block's lines, each followed by the paper's values where there are any."""
    lines = []
    for label, pairs in _rows(table, block):
        texts = tuple(
            f"{cell_text(cell, column.measure)} {marks(cell)}".strip() for cell, column in pairs
        )
        lines.append(TextLine(label, texts, tuple(cell.bold for cell, _ in pairs)))
        if any(cell.printed for cell, _ in pairs):
            difference = table.part.difference
            texts = tuple(printed_text(cell, difference, column.measure) for cell, column in pairs)
            lines.append(TextLine(paper_label(table), texts, (False,) * len(texts), paper=True))
    return lines


def _rows(table: Table, block: Block) -> list[tuple[str, list[tuple[Cell, Column]]]]:
    """Return a block's cells, each with its column, in the rows that they are shown in."""
    if table.spec.transposed:
        return [
            (column.heading, [(line.cells[place], column) for line in block.lines])
            for place, column in enumerate(table.columns)
        ]
    return [
        (line.spec.label, list(zip(line.cells, table.columns, strict=True))) for line in block.lines
    ]


def cell_text(cell: Cell, measure: str = "score") -> str:
    """Return a cell as its column's kind writes it, empty where blank."""
    return MEASURES[measure].text(cell)


def printed_text(cell: Cell, difference: bool, measure: str = "score") -> str:
    """Return the paper's value, its rank, and ours minus it where that is asked for."""
    if cell.printed is None:
        return ""
    unit = MEASURES[measure].printed_unit
    if unit is not None:
        return f"{cell.printed.value:g}{unit}"
    text = f"{cell.printed.value:.2f}{rank_text(cell.printed.rank)}"
    if difference and cell.mean is not None:
        text += f" [{cell.mean - cell.printed.value:+.2f}]"
    return text


def markdown(table: Table) -> str:
    """Return the table with title, caption and notes as Markdown, its columns aligned."""
    rows = [["", "", *headings(table)]]
    for block in table.blocks:
        heading = block.heading
        for line in text_lines(table, block):
            label = f"*{line.label}*" if line.paper else line.label
            cells = [f"**{c}**" if b else c for c, b in zip(line.cells, line.bold, strict=True)]
            rows.append([heading, label, *cells])
            heading = ""
    parts = [
        f"## {numbered_title(table)} ({table.profile})",
        table.spec.caption.strip(),
        pipe_table(rows),
        "\n".join(f"- {note}" for note in notes(table)),
    ]
    return "\n\n".join(parts) + "\n"


def numbered_title(table: Table) -> str:
    """Return the title, after its number where the paper has the table."""
    number = f"{paper_name(table.name)}: " if table.spec.paper_model else ""
    return f"{number}{table.spec.title}"


def csv_text(table: Table) -> str:
    """Return one line for each cell, blank ones included, with all digits of its numbers."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for block in table.blocks:
        for line in block.lines:
            writer.writerows(_csv_rows(table, block.heading, line))
    return stream.getvalue()


def _csv_rows(table: Table, heading: str, line: Line) -> list[dict[str, object]]:
    rows = []
    for column, cell in zip(table.columns, line.cells, strict=True):
        row: dict[str, object] = {
            "block": heading,
            "rank": cell.at if line.rank is None else line.rank,
            "row": line.spec.label,
            "method": line.spec.method,
            "set": " ".join(line.spec.set),
            "truncation": line.spec.truncation,
            "scale": line.spec.scale,
            "task": column.task,
            "metric": column.metric,
            "mean": cell.mean,
            "std": cell.std,
            "n": cell.n,
            "runs": cell.runs,
            "lacks": "; ".join(cell.lacks) or None,
            "paper": cell.printed.value if cell.printed else None,
            "paper_rank": cell.printed.rank if cell.printed else None,
        }
        rows.append(row)
    return rows


def pipe_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, the first two columns to the left and the others to the right."""
    escaped = [[text.replace("|", "\\|") for text in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*escaped, strict=True)]
    lines = [
        [
            text.ljust(width) if index < 2 else text.rjust(width)
            for index, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in escaped
    ]
    rule = [
        "-" * width if index < 2 else "-" * (width - 1) + ":" for index, width in enumerate(widths)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])
