"""A report as text: grids of ``rich`` in a terminal, plain aligned lines in a pipe; and as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dylora_exp.reporting.analysis.report import Report
from dylora_exp.reporting.analysis.sections import Section, format_value, rank_estimates
from dylora_exp.reporting.render.brief import brief_lines

# A terminal is for looking; who wants all the lines takes a pipe, the page or the CSV.
TERMINAL_ROWS = 100

CSV_COLUMNS = (
    *("profile", "model", "task", "method", "settings", "truncation", "scale", "rank", "metric"),
    *("mean", "std", "n", "low", "high", "min", "max", "seeds", "runs"),
)


def print_brief(report: Report, console: Console) -> None:
    """Print the answer of a report on one screen."""
    for line in brief_lines(report):
        # Not by the console's own wrapping: the lines fit, whatever width it takes a pipe to have.
        console.file.write(f"{line}\n")


def print_report(report: Report, console: Console) -> None:
    """Print a whole report of the deciding metrics: grids in a terminal, plain lines elsewhere."""
    if not console.is_terminal:
        console.file.writelines(f"{line}\n" for line in plain_lines(report))
        return
    for line in report.signature:
        console.print(escape(line), highlight=False)
    for warning in report.warnings:
        console.print(f"[yellow]note:[/] {escape(warning)}", highlight=False)
    for section in report.sections(every_metric=False):
        console.print(
            f"\n[bold]{escape(section.title)}[/]\n{escape(section.says)}", highlight=False
        )
        console.print(_rich_grid(section))
        hidden = len(section.rows) - TERMINAL_ROWS
        if hidden > 0:
            console.print(f"... and {hidden} more: --where, --html or --csv, or into a pipe.")
        for note in section.notes:
            console.print(f"- {escape(note)}", highlight=False)


def plain_lines(report: Report) -> Iterator[str]:
    """Yield a report of the deciding metrics, line by line."""
    yield from report.signature
    yield from (f"note: {warning}" for warning in report.warnings)
    for section in report.sections(every_metric=False):
        yield from ("", f"== {section.title}", section.says, "")
        yield from _plain_grid(section)
        yield from (f"- {note}" for note in section.notes)


def average_rows(report: Report) -> Iterator[tuple[object, ...]]:
    """Yield the averages over seeds of all metrics, for a CSV file, the header first."""
    yield CSV_COLUMNS
    for series in report.series:
        group = series.group
        for rank, found in rank_estimates(series):
            seeds = sorted(series.values[rank])
            runs = [record.run_id for record in group.records if record.seed in set(seeds)]
            yield (
                *(*group.names, group.variant, series.truncation, series.scale, rank),
                *(series.metric, found.mean, found.std, found.n, found.low, found.high),
                *(found.smallest, found.largest),
                *(" ".join(map(str, seeds)), " ".join(runs)),
            )


def section_rows(section: Section) -> Iterator[tuple[object, ...]]:
    """Yield a section's rows, for a CSV file, the header first."""
    yield tuple(column.heading for column in section.columns)
    yield from section.rows


def _rich_grid(section: Section) -> Table:
    grid = Table(box=None, pad_edge=False)
    for column in section.columns:
        side: Literal["left", "right"] = "right" if column.form else "left"
        grid.add_column(column.heading, justify=side, overflow="fold")
    for row in section.rows[:TERMINAL_ROWS]:
        cells = zip(row, section.columns, strict=True)
        grid.add_row(*(escape(format_value(value, column)) for value, column in cells))
    return grid


def _plain_grid(section: Section) -> Iterator[str]:
    if not section.rows:
        yield "(nothing)"
        return
    columns = section.columns
    rows = [
        [format_value(value, column) for value, column in zip(row, columns, strict=True)]
        for row in section.rows
    ]
    rows.insert(0, [column.heading for column in columns])
    widths = [max(map(len, texts)) for texts in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, columns, strict=True)
        texts = (t.rjust(width) if column.form else t.ljust(width) for t, width, column in cells)
        yield "  ".join(texts).rstrip()
