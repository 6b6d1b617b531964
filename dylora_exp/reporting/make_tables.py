"""From a results folder to a table's files: records are read once, everything else follows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dylora_exp.records import RecordStore
from dylora_exp.reporting.analysis.cells import build_table
from dylora_exp.reporting.analysis.near_runs import near_runs
from dylora_exp.reporting.analysis.plan import MissingRun, PlannedRun, base_of, planned_runs
from dylora_exp.reporting.render.figures import draw_figures
from dylora_exp.reporting.render.files import csv_text, write_files
from dylora_exp.reporting.render.latex import latex
from dylora_exp.reporting.render.settings import settings_table
from dylora_exp.reporting.render.tables import text_table
from dylora_exp.reporting.render.text_table import markdown
from dylora_exp.reporting.specs.tables import load_settings, load_spec, shows_settings, table_names

__all__ = ["RenderedTable", "make_tables", "table_names", "table_runs"]


@dataclass(frozen=True)
class RenderedTable:
    """The result of rendering a table.

    Attributes:
        markdown: The text of its Markdown file.
        paths: Every file written: Markdown, LaTeX, CSV, then the figures.
        warnings: A sentence for each file among the records that is not a record.
        missing: The required runs without a completed record.
        near: A phrase for each set of settings in which records differ from those runs.
    """

    markdown: str
    paths: list[Path]
    warnings: list[str]
    missing: list[MissingRun]
    near: list[str]


def make_tables(
    names: Iterable[str], profile: str, results_dir: Path, select: str | None = None
) -> Iterator[RenderedTable]:
    """Write tables and their figures under ``<results_dir>/tables/<profile>``, one by one.

    Args:
        names: The tables, as ``table_names`` lists them.
        profile: The profile whose runs fill them.
        results_dir: Where the records are, which are read once, and where the tables go.
        select: ``last`` or ``best`` epoch; None: as each table's spec says.

    Yields:
        Each table after its files are written.

    Raises:
        RequestError: For an unknown table, profile or selection, a malformed spec, or a folder that
            cannot be written to.
    """
    names = list(names)
    settings = {name: load_settings(name, profile) for name in names if shows_settings(name)}
    loaded = {name: load_spec(name, profile, select) for name in names if name not in settings}
    records, warnings = RecordStore(results_dir).read_all()
    by_id = {record.run_id: record for record in records}
    folder = Path(results_dir) / "tables" / profile
    for name in names:
        missing: list[MissingRun] = []
        figures: list[Path] = []
        near: list[str] = []
        if name in settings:
            table, stem = settings_table(name, profile, *settings[name]), f"table{name}"
        else:
            spec, part = loaded[name]
            scores = build_table(name, profile, spec, part, by_id)
            table, stem = text_table(scores), f"table{name}" if spec.is_of_paper else name
            near = near_runs(scores.missing, {each.run_id for each in scores.records}, by_id)
            missing, figures = list(scores.missing), draw_figures(scores, folder / "figures")
        text = markdown(table)
        contents = {".md": text, ".tex": latex(table), ".csv": csv_text(table.data)}
        paths = write_files(folder / stem, contents) + figures
        yield RenderedTable(text, paths, warnings, missing, near)


def table_runs(
    name: str, profile: str, select: str | None = None, optional: bool = False
) -> list[PlannedRun]:
    """Return the runs that a table cannot do without, each once; none for a table of settings.

    Args:
        name: The table.
        profile: The profile.
        select: ``last`` or ``best`` epoch; None: as the table's spec says.
        optional: Whether to return the runs too that the table is complete without.

    Raises:
        RequestError: For an unknown table or profile, or a malformed spec.
    """
    if shows_settings(name):
        return []
    spec, part = load_spec(name, profile, select)
    planned = planned_runs(spec, part, profile, base_of(name, part, profile))
    return [run for run in planned if optional or not run.optional]
