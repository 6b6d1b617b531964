"""A report as one HTML file that needs nothing else: style, script and pictures are inside it."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from dylora_exp.core import printable
from dylora_exp.reporting.analysis.decisions import FAILS, HOLDS, NO_DATA
from dylora_exp.reporting.analysis.display import rank_list, series_name, subject_name
from dylora_exp.reporting.analysis.notable import NOTABLE, notable_differences
from dylora_exp.reporting.analysis.pivot import answers
from dylora_exp.reporting.analysis.report import Report
from dylora_exp.reporting.analysis.sections import Section, Value, deciding, format_value
from dylora_exp.reporting.render.charts import Subject
from dylora_exp.reporting.render.drawing import Picture
from dylora_exp.reporting.render.live import NOTICE, library
from dylora_exp.reporting.render.text_table import TextTable

_HERE = Path(__file__).resolve().parent
# A longer grid begins closed, so that the page stays short.
OPEN_ROWS = 40
# A cell with more characters than this may be broken into lines.
WIDE = 60
# So many differences stand beside the answer; all are among the details.
MOST_NOTABLE = 12
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
    claims, *details = report.sections()
    words = {
        word: sum(verdict.word == word for verdict in report.verdicts)
        for word in (HOLDS, FAILS, NO_DATA)
    }
    notable, tests = notable_differences(deciding(report.series))
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            answers=answers(report),
            notable=notable[:MOST_NOTABLE],
            tests=tests,
            below=NOTABLE,
            claims=claims,
            decided=_rows_with(claims, (HOLDS, FAILS)),
            undecided=_rows_with(claims, (NO_DATA,)),
            words=words,
            details=details,
            pictures=pictures,
            tables=tables,
            library=library(),
        )
    )


def _rows_with(section: Section, words: Sequence[str]) -> Section:
    """Return a section with only those rows whose verdict is one of some words."""
    place = [column.heading for column in section.columns].index("verdict")
    rows = tuple(row for row in section.rows if row[place] in words)
    return dataclasses.replace(section, rows=rows)


def _mood(row: Sequence[Value]) -> str:
    """Return the class of a row by the verdict that it has, empty without one."""
    return next((name for word, name in ((HOLDS, "good"), (FAILS, "bad")) if word in row), "")


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


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
    found.filters["json"] = _json
    found.filters["mood"] = _mood
    found.filters["rank_list"] = rank_list
    found.filters["series_name"] = series_name
    found.filters["subject_name"] = subject_name
    found.globals.update(
        policy=POLICY,
        open_rows=OPEN_ROWS,
        wide=WIDE,
        notice=NOTICE,
        style=(_HERE / "page.css").read_text(encoding="utf-8"),
        script=(_HERE / "page.js").read_text(encoding="utf-8"),
        live_script=(_HERE / "live.js").read_text(encoding="utf-8"),
    )
    return found
