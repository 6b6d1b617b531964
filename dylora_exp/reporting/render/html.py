"""A report as one HTML file that needs nothing else: style, script and pictures are inside it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from dylora_exp.reporting.analysis.report import Report
from dylora_exp.reporting.analysis.sections import Column, Section, format_value
from dylora_exp.reporting.render.charts import Picture, Place
from dylora_exp.reporting.render.paper_tables import html_of

_HERE = Path(__file__).resolve().parent
# A longer grid begins closed, so that the page stays a page.
OPEN_ROWS = 200
# A cell with more characters than this may be broken into lines.
WIDE = 60
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def page(report: Report, pictures: Mapping[Place, Sequence[Picture]], tables: Sequence[str]) -> str:
    """Return the whole page.

    Args:
        report: What it says.
        pictures: Its figures.
        tables: The Markdown of the project's tables to show after it.
    """
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        "<title>DyLoRA report</title>",
        f"<style>\n{_own('page.css')}</style>\n</head>\n<body>\n<h1>DyLoRA report</h1>",
        *_list("What it was made of", report.signature),
        *_list("Notes", [*report.file_warnings, *report.warnings]),
        *_figures(pictures),
        *(line for section in report.sections() for line in _section(section)),
        "<h2>Tables</h2>",
        *(_no_tables(report) if not tables else ()),
        *(line for table in tables for line in html_of(table)),
        f"<script>\n{_own('page.js')}</script>\n</body>\n</html>\n",
    ]
    return "\n".join(parts)


def _own(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _list(title: str, lines: Iterable[str]) -> Iterator[str]:
    items = [f"<li>{escape(line)}</li>" for line in lines]
    if items:
        yield f'<h2>{escape(title)}</h2>\n<ul class="note">'
        yield from items
        yield "</ul>"


def _figures(pictures: Mapping[Place, Sequence[Picture]]) -> Iterator[str]:
    for place, found in pictures.items():
        yield f'<h2>{escape(" / ".join(place))}</h2>\n<div class="figures">'
        yield from map(_image, found)
        yield "</div>"


def _image(picture: Picture) -> str:
    """Return a figure inside the page, as an image: so its ids are no ids of the page."""
    content = base64.b64encode(picture.svg).decode()
    title = escape(picture.title)
    return f'<figure><img alt="{title}" src="data:image/svg+xml;base64,{content}"></figure>'


def _section(section: Section) -> Iterator[str]:
    yield f"<h2>{escape(section.title)}</h2>\n<p>{escape(section.says)}</p>"
    if not section.rows:
        yield "<p>Nothing.</p>"
        return
    is_open = " open" if len(section.rows) <= OPEN_ROWS else ""
    yield f'<details{is_open}><summary>{len(section.rows)} rows</summary>\n<div class="scroll">'
    yield '<table class="sort">\n<thead><tr>'
    yield "".join(
        f'<th scope="col"{"" if column.form else " class=t"}>{escape(column.heading)}</th>'
        for column in section.columns
    )
    yield "</tr></thead>\n<tbody>"
    for row in section.rows:
        cells = zip(row, section.columns, strict=True)
        yield f"<tr>{''.join(_cell(format_value(value, c), c) for value, c in cells)}</tr>"
    yield "</tbody></table></div></details>"
    if section.notes:
        yield "<ul>"
        yield from (f"<li>{escape(note)}</li>" for note in section.notes)
        yield "</ul>"


def _cell(text: str, column: Column) -> str:
    if column.form:
        return f"<td>{text}</td>"
    return f"<td class={'w' if len(text) > WIDE else 't'}>{escape(text)}</td>"


def _no_tables(report: Report) -> Iterator[str]:
    why = "a filter would make runs look missing" if report.where else "no table has records"
    yield f"<p>None: {why}.</p>"
