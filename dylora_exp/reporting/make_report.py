"""From a results folder to a report on the screen or in files."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from dylora_exp.reporting.analysis.report import make_report


@dataclass(frozen=True)
class WrittenReport:
    """The files of a report, and a warning for each file among the records that is not a record."""

    paths: tuple[Path, ...]
    warnings: tuple[str, ...]


def show_report(
    results_dir: Path, where: str = "", tolerance: float | None = None, whole: bool = False
) -> WrittenReport:
    """Print a report: its answer on one screen, or the whole of it.

    Args:
        results_dir: Where the records are.
        where: As ``report.make_report`` takes it.
        tolerance: As ``report.make_report`` takes it.
        whole: Whether to print all of it.

    Raises:
        RequestError: As ``report.make_report``.
    """
    from dylora_exp.core import make_console
    from dylora_exp.reporting.render.text import print_brief, print_report

    report = make_report(results_dir, where, tolerance)
    (print_report if whole else print_brief)(report, make_console())
    return WrittenReport((), report.file_warnings)


def write_report(
    results_dir: Path,
    where: str = "",
    tolerance: float | None = None,
    html: bool = True,
    csv: bool = False,
    figures: bool = False,
    select: str | None = None,
) -> WrittenReport:
    """Write a report's files into the results folder, the same bytes for the same records.

    Args:
        results_dir: Where the records are and the files go.
        where: As ``report.make_report`` takes it.
        tolerance: As ``report.make_report`` takes it.
        html: Whether to write ``report.html``.
        csv: Whether to write ``report.csv`` (averages), ``report-differences.csv`` and
            ``report-claims.csv``.
        figures: Whether to write each figure as PNG and SVG, under ``figures``.
        select: Which epoch's scores the tables take; None: as each table says.

    Raises:
        RequestError: As ``report.make_report``, for a malformed table spec, or for a folder that
            cannot be written to.
    """
    from dylora_exp.reporting.analysis.report import claims_section
    from dylora_exp.reporting.analysis.sections import differences
    from dylora_exp.reporting.render.charts import pictures_of
    from dylora_exp.reporting.render.files import csv_text, write_files
    from dylora_exp.reporting.render.html import page
    from dylora_exp.reporting.render.paper_tables import tables_of
    from dylora_exp.reporting.render.text import average_rows, section_rows

    report = make_report(results_dir, where, tolerance)
    pictures = pictures_of(report) if html or figures else {}
    contents: dict[str, str | bytes] = {}
    if html:
        tables = [] if where else tables_of(report.records, select)
        contents[".html"] = page(report, pictures, tables)
    if csv:
        contents[".csv"] = csv_text(average_rows(report))
        contents["-differences.csv"] = csv_text(section_rows(differences(report.series)))
        contents["-claims.csv"] = csv_text(section_rows(claims_section(report.verdicts)))
    paths = write_files(results_dir / "report", contents)
    if figures:
        for picture in itertools.chain.from_iterable(pictures.values()):
            paths += picture.save(results_dir / "figures")
    return WrittenReport(tuple(paths), report.file_warnings)
