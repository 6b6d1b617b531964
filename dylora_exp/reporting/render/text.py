"""A report as text: grids of ``rich`` in a terminal, plain aligned lines in a pipe; and as CSV."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dylora_exp.core import aligned_lines, make_grid, one_line
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
        console.print(_shown(line), highlight=False)
    for warning in report.warnings:
        console.print(f"[yellow]note:[/] {_shown(warning)}", highlight=False)
    for section in report.sections(every_metric=False):
        console.print(
            f"\n[bold]{_shown(section.title)}[/]\n{_shown(section.says)}", highlight=False
        )
        console.print(_rich_grid(section))
        hidden = len(section.rows) - TERMINAL_ROWS
        if hidden > 0:
            console.print(f"... and {hidden} more: --where, --html or --csv, or into a pipe.")
        for note in section.notes:
            console.print(f"- {_shown(note)}", highlight=False)


def plain_lines(report: Report) -> Iterator[str]:
    """Yield a report of the deciding metrics, line by line."""
    yield from map(one_line, report.signature)
    yield from (f"note: {one_line(warning)}" for warning in report.warnings)
    for section in report.sections(every_metric=False):
        yield from ("", f"== {section.title}", section.says, "")
        yield from _plain_grid(section)
        yield from (f"- {one_line(note)}" for note in section.notes)


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


def _shown(text: str) -> str:
    """Return a text as markup of ``rich`` that shows it."""
    return escape(one_line(text))


def _rich_grid(section: Section) -> Table:
    columns, rows = _texts(section, TERMINAL_ROWS)
    return make_grid(columns, rows=rows, box=None, pad_edge=False)


def _texts(
    section: Section, limit: int | None = None
) -> tuple[list[tuple[str, bool]], list[list[str]]]:
    """Return the columns and rows of a section as ``core.make_grid`` takes them."""
    rows = [
        [format_value(value, column) for value, column in zip(row, section.columns, strict=True)]
        for row in section.rows[:limit]
    ]
    return [(column.heading, bool(column.form)) for column in section.columns], rows


def _plain_grid(section: Section) -> Iterator[str]:
    if not section.rows:
        yield "(nothing)"
        return
    yield from aligned_lines(*_texts(section))
