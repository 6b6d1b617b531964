"""The project's tables that have records, as they stand at the end of a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dylora_exp.records import Record
from dylora_exp.reporting.analysis.cells import build_table
from dylora_exp.reporting.analysis.trials import untuned
from dylora_exp.reporting.render.settings import settings_table
from dylora_exp.reporting.render.tables import text_table
from dylora_exp.reporting.render.text_table import TextTable
from dylora_exp.reporting.specs.layout import ProfileSpec, TableSpec
from dylora_exp.reporting.specs.tables import (
    load_settings,
    load_spec,
    profiles_of,
    shows_settings,
    table_names,
)


def tables_of(records: Sequence[Record], select: str | None = None) -> list[TextTable]:
    """Return each table that has records among these, profile by profile.

    Raises:
        RequestError: For a malformed table spec.
    """
    if not records:
        return []
    tables: list[TextTable] = []
    for name in table_names():
        if shows_settings(name):
            tables += _settings(name, records)
        else:
            tables += _scores(name, records, select)
    return sorted(tables, key=lambda table: table.profile)


def _settings(name: str, records: Sequence[Record]) -> Iterator[TextTable]:
    """Yield a table of settings in each profile that has records."""
    for profile in set(profiles_of(name)) & {record.profile for record in records}:
        yield settings_table(name, profile, *load_settings(name, profile))


def _scores(name: str, records: Sequence[Record], select: str | None) -> Iterator[TextTable]:
    """Yield a table of scores in each profile where some of its runs have records.

    One for whose runs values are still to be chosen has none.
    """
    known = {(record.profile, record.task, record.method) for record in records}
    by_id = {record.run_id: record for record in records}
    spec, _ = load_spec(name, profiles_of(name)[0])
    for profile in spec.profiles:
        _, part = load_spec(name, profile, select)
        if known & set(_shown(spec, part, profile)) and not untuned(name, profile):
            table = build_table(name, profile, spec, part, by_id)
            if table.records:
                yield text_table(table)


def _shown(spec: TableSpec, part: ProfileSpec, profile: str) -> Iterator[tuple[str, str, str]]:
    """Yield what a table may be made of: composing its runs only to find none takes seconds."""
    for block in spec.blocks_in(profile):
        for row in block.rows:
            for task in part.tasks():
                yield part.runs or profile, task, row.method
