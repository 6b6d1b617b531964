"""A report as one HTML file that needs nothing else: style, script and pictures are inside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2

from dylora_exp.core import printable
from dylora_exp.reporting.analysis.report import Report
from dylora_exp.reporting.analysis.sections import format_value
from dylora_exp.reporting.render.charts import Subject
from dylora_exp.reporting.render.drawing import Picture
from dylora_exp.reporting.render.text_table import TextTable

_HERE = Path(__file__).resolve().parent
# A longer grid begins closed, so that the page stays short.
OPEN_ROWS = 200
# A cell with more characters than this may be broken into lines.
WIDE = 60
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def page(
    report: Report, pictures: Mapping[Subject, Sequence[Picture]], tables: Sequence[TextTable]
) -> str:
    """Return the whole page.

    Args:
        report: Its numbers.
        pictures: Its figures, by profile, model and task.
        tables: The project's tables to show after it.
    """
    return (
        _environment()
        .get_template("report.html.j2")
        .render(report=report, pictures=pictures, tables=tables)
    )


def _without_controls(value: object) -> object:
    """Return a value for a page: a text without control characters; what is marked safe, as it is.

    Jinja escapes what HTML would obey, this what an eye would not see.
    """
    return printable(value) if type(value) is str else value


def _environment() -> jinja2.Environment:
    """Return the environment of the templates; every value in them is escaped."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        finalize=_without_controls,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["base64"] = lambda content: base64.b64encode(content).decode("ascii")
    found.filters["format_value"] = format_value
    found.globals.update(
        policy=POLICY,
        open_rows=OPEN_ROWS,
        wide=WIDE,
        style=(_HERE / "page.css").read_text(encoding="utf-8"),
        script=(_HERE / "page.js").read_text(encoding="utf-8"),
    )
    return found
