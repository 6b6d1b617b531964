"""A table of scores as text: the contents of its cells, and the lines of its CSV file.

The paper's values stand in a line of their own below the line they belong to: beside every cell
they would make a table of nine columns too wide for a terminal or a page.
"""

from __future__ import annotations

from collections.abc import Iterator

from dylora_exp.reporting.analysis.cells import Block, Column, Table
from dylora_exp.reporting.analysis.measures import MEASURES, Cell, rank_text
from dylora_exp.reporting.render.notes import marks, notes, paper_label
from dylora_exp.reporting.render.text_table import TextLine, TextTable
from dylora_exp.reporting.specs.paper import paper_name

CSV_COLUMNS = (
    *("block", "rank", "row", "method", "set", "truncation", "scale", "task", "metric"),
    *("mean", "std", "n", "runs", "lacks", "paper", "paper_rank"),
)


def text_table(table: Table) -> TextTable:
    """Return a table of scores as text."""
    return TextTable(
        name=table.name,
        profile=table.profile,
        number=paper_name(table.name) if table.spec.is_of_paper else "",
        title=table.spec.title,
        caption=table.spec.caption,
        label_heading="Task" if table.spec.transposed else "Method",
        heads_labels=False,
        headings=tuple(_headings(table)),
        blocks=tuple((block.heading, tuple(_lines(table, block))) for block in table.blocks),
        notes=tuple(notes(table)),
        data=(CSV_COLUMNS, *_data(table)),
    )


def _headings(table: Table) -> list[str]:
    if table.spec.transposed:
        return [line.spec.label for line in table.blocks[0].lines]
    return [column.heading for column in table.columns]


def _lines(table: Table, block: Block) -> Iterator[TextLine]:
    """Yield a block's lines, each followed by the paper's values where there are any."""
    for label, pairs in _rows(table, block):
        texts = tuple(
            f"{cell_text(cell, column.measure)} {marks(cell)}".strip() for cell, column in pairs
        )
        yield TextLine(label, texts, tuple(cell.bold for cell, _ in pairs))
        if any(cell.printed for cell, _ in pairs):
            difference = table.part.difference
            texts = tuple(printed_text(cell, difference, column.measure) for cell, column in pairs)
            yield TextLine(paper_label(table), texts, (False,) * len(texts), paper=True)


def _rows(table: Table, block: Block) -> list[tuple[str, list[tuple[Cell, Column]]]]:
    """Return a block's cells, each with its column, in the rows that they are shown in."""
    if table.spec.transposed:
        return [
            (column.heading, [(line.cells[index], column) for line in block.lines])
            for index, column in enumerate(table.columns)
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


def _data(table: Table) -> Iterator[tuple[object, ...]]:
    """Yield the CSV line of each cell, blank ones included."""
    for block in table.blocks:
        for line in block.lines:
            spec = line.spec
            for column, cell in zip(table.columns, line.cells, strict=True):
                printed = cell.printed
                yield (
                    *(block.heading, cell.at if line.rank is None else line.rank, spec.label),
                    *(spec.method, " ".join(spec.set), spec.truncation, spec.scale),
                    *(column.task, column.metric, cell.mean, cell.std, cell.n, cell.runs),
                    "; ".join(cell.lacks) or None,
                    *((printed.value, printed.rank) if printed else (None, None)),
                )
