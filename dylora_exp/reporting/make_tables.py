"""From a results folder to a table's files: records are read once, everything else follows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dylora_exp.core import RequestError
from dylora_exp.records import Record, RecordStore
from dylora_exp.reporting.analysis.cells import build_table
from dylora_exp.reporting.analysis.near_runs import near_runs
from dylora_exp.reporting.analysis.plan import MissingRun, PlannedRun, base_of, planned_runs
from dylora_exp.reporting.analysis.trials import (
    TunedTraining,
    choose_values,
    tuned_trainings,
    untuned,
)
from dylora_exp.reporting.render.figures import draw_figures
from dylora_exp.reporting.render.files import csv_text, write_files
from dylora_exp.reporting.render.latex import latex
from dylora_exp.reporting.render.settings import settings_table
from dylora_exp.reporting.render.tables import text_table
from dylora_exp.reporting.render.text_table import markdown
from dylora_exp.reporting.specs.tables import load_settings, load_spec, shows_settings, table_names
from dylora_exp.reporting.specs.tuning import TunedSpec

__all__ = [
    "RenderedTable",
    "choose_table_values",
    "make_tables",
    "table_names",
    "table_runs",
    "table_trainings",
]


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
        RequestError: For an unknown table, profile or selection, a malformed spec, a table for
            whose runs values are still to be chosen, or a folder that cannot be written to.
    """
    names = list(names)
    if open_ones := [sentence for name in names for sentence in untuned(name, profile)]:
        raise RequestError(open_ones)
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


def table_trainings(name: str, profile: str) -> list[TunedTraining]:
    """Return the trainings of a table with the trials that tune them; none where nothing is tuned.

    Raises:
        RequestError: As ``table_runs``, or when a trial cannot be composed.
    """
    if shows_settings(name):
        return []
    return tuned_trainings(*load_spec(name, profile), profile)


def choose_table_values(
    name: str, profile: str, trainings: Sequence[TunedTraining], records: Mapping[str, Record]
) -> tuple[TunedSpec, list[str]]:
    """Return what the rule chooses for each training of a table whose trials all ended.

    Args:
        name: A table that asks for tuning in this profile.
        profile: The profile.
        trainings: As ``table_trainings`` returns them.
        records: All records by run id.

    Returns:
        The choices, and a sentence for each training that has no trial with a finite score.
    """
    tuning = load_spec(name, profile)[1].tuning
    assert tuning is not None
    return choose_values(name, profile, trainings, tuning, records)
