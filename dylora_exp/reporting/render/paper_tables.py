"""The project's tables that have records, as HTML made from their Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

from dylora_exp.records import Record
from dylora_exp.reporting.analysis.cells import build_table
from dylora_exp.reporting.analysis.plan import planned_runs
from dylora_exp.reporting.render.settings import settings_texts
from dylora_exp.reporting.render.tables import markdown
from dylora_exp.reporting.specs.layout import ProfileSpec, TableSpec
from dylora_exp.reporting.specs.paper import printed_cells
from dylora_exp.reporting.specs.tables import (
    load_settings,
    load_spec,
    profiles_of,
    shows_settings,
    table_names,
)


def tables_of(records: Sequence[Record], select: str | None = None) -> list[str]:
    """Return the Markdown of each table that has records among these, profile by profile.

    Raises:
        RequestError: For a malformed table spec.
    """
    if not records:
        return []
    texts: list[tuple[str, str]] = []
    for name in table_names():
        if shows_settings(name):
            texts += _settings(name, records)
        else:
            texts += _scores(name, records, select)
    return [text for _, text in sorted(texts, key=lambda pair: pair[0])]


def html_of(text: str) -> Iterator[str]:
    """Yield Markdown as HTML, as far as the project's tables use it.

    That is: a heading, paragraphs, lists, and tables with whole cells in bold or italics.
    """
    for kind, group in groupby(text.splitlines(), _kind):
        lines = list(group)
        if kind == "heading":
            yield from (f"<h3>{escape(line.lstrip('# '))}</h3>" for line in lines)
        elif kind == "list":
            yield f"<ul>{''.join(f'<li>{escape(line[2:])}</li>' for line in lines)}</ul>"
        elif kind == "table":
            yield from _table(lines)
        elif kind == "paragraph":
            yield f"<p>{escape(' '.join(lines))}</p>"


def _settings(name: str, records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Yield a table of settings in each profile that has records."""
    for profile in set(profiles_of(name)) & {record.profile for record in records}:
        yield profile, settings_texts(name, profile, *load_settings(name, profile))["md"]


def _scores(name: str, records: Sequence[Record], select: str | None) -> Iterator[tuple[str, str]]:
    """Yield a table of scores in each profile where some of its runs have records."""
    known = {(record.profile, record.task, record.method) for record in records}
    spec, _ = load_spec(name, profiles_of(name)[0])
    for profile in spec.profiles:
        _, part = load_spec(name, profile, select)
        if known & set(_shown(spec, part, profile)):
            planned = planned_runs(spec, part, profile)
            by_id = {record.run_id: record for record in records}
            table = build_table(name, profile, spec, part, planned, by_id, printed_cells(name))
            if table.records:
                yield profile, markdown(table)


def _shown(spec: TableSpec, part: ProfileSpec, profile: str) -> Iterator[tuple[str, str, str]]:
    """Yield what a table may be made of: composing its runs only to find none takes seconds."""
    for block in spec.blocks_in(profile):
        for row in block.rows:
            for task in part.tasks():
                yield part.runs or profile, task, row.method


def _kind(line: str) -> str:
    starts = {"#": "heading", "|": "table", "-": "list"}
    return starts.get(line[:1], "paragraph") if line.strip() else "blank"


def _table(lines: Sequence[str]) -> Iterator[str]:
    head, rule, *rows = ([cell.strip() for cell in _cells(line)] for line in lines)
    # The rule between head and body says which columns stand to the right.
    sides = ["" if cell.endswith(":") else " class=t" for cell in rule]
    yield '<div class="scroll"><table>\n<thead>'
    yield _row(head, sides, "th")
    yield "</thead>\n<tbody>"
    yield from (_row(row, sides, "td") for row in rows)
    yield "</tbody></table></div>"


def _cells(line: str) -> list[str]:
    """Return the cells of a line; an escaped bar does not end one."""
    return [cell.replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def _row(cells: Sequence[str], sides: Sequence[str], tag: str) -> str:
    pairs = zip(cells, sides, strict=True)
    return f"<tr>{''.join(f'<{tag}{side}>{_styled(cell)}</{tag}>' for cell, side in pairs)}</tr>"


def _styled(cell: str) -> str:
    for mark, tag in (("**", "b"), ("*", "em")):
        inside = cell[len(mark) : -len(mark)]
        if inside and cell.startswith(mark) and cell.endswith(mark):
            return f"<{tag}>{escape(inside)}</{tag}>"
    return escape(cell)
