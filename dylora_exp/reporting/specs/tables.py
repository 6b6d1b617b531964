"""``conf/table/<name>.yaml``, read into the layout's models and checked.

The specs need no torch, and so neither does anything that renders from them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from dylora_exp.config import option_files, options
from dylora_exp.core import RequestError, unknown_name
from dylora_exp.reporting.analysis.measures import MEASURES, SHOWS
from dylora_exp.reporting.specs.files import read_tree, read_yaml
from dylora_exp.reporting.specs.layout import (
    ProfileSpec,
    SettingsBlock,
    SettingsSpec,
    TableSpec,
)
from dylora_exp.reporting.specs.select import SELECTS


def table_names() -> list[str]:
    """Return the names of all tables: numbers in their order, then letters."""
    return sorted(option_files("table"), key=_natural)


def profiles_of(name: str) -> list[str]:
    """Return the profiles that a table has.

    Raises:
        RequestError: When there is no such table, or naming the file and each field that is wrong.
    """
    return list(_read(name).profiles)


def shows_settings(name: str) -> bool:
    """Return whether a table shows settings, not what runs have given.

    Raises:
        RequestError: As ``profiles_of``.
    """
    return isinstance(_read(name), SettingsSpec)


def asks_for_tuning(name: str, profile: str) -> bool:
    """Return whether values are to be chosen for the trainings of a table in a profile.

    Raises:
        RequestError: As ``load_spec``.
    """
    return not shows_settings(name) and load_spec(name, profile)[1].tuning is not None


def load_spec(name: str, profile: str, select: str | None = None) -> tuple[TableSpec, ProfileSpec]:
    """Return a table's spec and the part of it that is about one profile.

    Args:
        name: The table.
        profile: The profile.
        select: Which epoch's scores count, instead of those that the spec says.

    Raises:
        RequestError: When there is no such table, profile or selection, or naming the file and each
            field that is wrong.
    """
    spec = _read(name)
    if isinstance(spec, SettingsSpec):
        raise RequestError(f"table: '{name}' shows settings, expected one that shows scores.")
    if profile not in spec.profiles:
        raise RequestError(unknown_name("profile", profile, spec.profiles))
    if select is not None and select not in SELECTS:
        raise RequestError(unknown_name("--select", select, SELECTS))
    part = spec.profiles[profile]
    update = {"select": select or part.select, "tuning": spec.tuning_in(profile)}
    return spec, part.model_copy(update=update)


def load_settings(name: str, profile: str) -> tuple[SettingsSpec, list[SettingsBlock]]:
    """Return the spec of a table of settings and its blocks in one profile.

    Raises:
        RequestError: As ``load_spec``.
    """
    spec = _read(name)
    if not isinstance(spec, SettingsSpec):
        raise RequestError(f"table: '{name}' shows scores, expected one that shows settings.")
    if profile not in spec.profiles:
        raise RequestError(unknown_name("profile", profile, spec.profiles))
    return spec, spec.profiles[profile]


def _read(name: str) -> TableSpec | SettingsSpec:
    files = option_files("table")
    if name not in files:
        raise RequestError(unknown_name("table", name, table_names()))
    path = files[name]
    tree = read_tree(path)
    spec: TableSpec | SettingsSpec
    if isinstance(tree, dict) and tree.get("kind") == "settings":
        spec = read_yaml(SettingsSpec, path)
        problems = list(_settings_problems(spec))
    else:
        spec = read_yaml(TableSpec, path)
        problems = list(_problems(spec))
    if problems:
        raise RequestError(f"{path}: {problem}" for problem in problems)
    return spec


def _natural(name: str) -> tuple[bool, int, str]:
    digits = re.match(r"\d+", name)
    return (digits is None, int(digits[0]) if digits else 0, name)


def _problems(spec: TableSpec) -> Iterator[str]:
    """Yield what does not fit between the parts of a table."""
    named = {f"rows[{index}]": row for index, row in enumerate(spec.rows)}
    for index, block in enumerate(spec.blocks):
        key = f"blocks[{index}]"
        named |= {f"{key}.rows[{index}]": row for index, row in enumerate(block.rows)}
        yield from _choices(f"{key}.show", [block.show], SHOWS)
        yield from _choices(f"{key}.only", block.only, spec.profiles)
        if not block.rows and not spec.rows:
            yield f"{key}.rows: found none, expected at least one here or in 'rows'."
    for key, row in named.items():
        yield from _choices(f"{key}.only", row.only, spec.profiles)
        yield from _choices(f"{key}.optional", row.optional, spec.profiles)
    yield from _choices("profiles", spec.profiles, options("profile"))
    for profile in spec.profiles:
        yield from _profile_problems(f"profiles.{profile}", spec, profile)


def _profile_problems(key: str, spec: TableSpec, profile: str) -> Iterator[str]:
    """Yield what does not fit between the blocks and the columns of one profile."""
    tuning, seeds = spec.tuning_in(profile), spec.profiles[profile].seeds
    if tuning is not None and tuning.seed in seeds:
        place = f"{key}.tuning" if "tuning" in spec.profiles[profile].model_fields_set else "tuning"
        expected = f"expected another than those of the table, {', '.join(map(str, seeds))}"
        yield f"{place}.seed: found {tuning.seed}, {expected}."
    blocks = spec.blocks_in(profile)
    if not blocks:
        yield f"{key}: found no block for this profile, expected at least one."
    elif spec.transposed and (len(blocks) > 1 or any(block.ranks for block in blocks)):
        yield f"{key}: a transposed table has one block, without 'ranks'."
    labels = [{row.label for row in block.rows} for block in blocks]
    for index, column in enumerate(spec.profiles[profile].columns):
        field = f"{key}.columns[{index}]"
        yield from _choices(f"{field}.measure", [column.measure], MEASURES)
        needs = MEASURES[column.measure].needs if column.measure in MEASURES else ()
        for name in needs:
            if not getattr(column, name):
                needing = f"a column of measure '{column.measure}' needs it"
                yield f"{field}.{name}: found none, {needing}."
        if column.relative_to and blocks:
            others = set.intersection(*labels)
            yield from _choices(f"{field}.relative_to", [column.relative_to], others)


def _settings_problems(spec: SettingsSpec) -> Iterator[str]:
    """Yield what names no table."""
    for index, block in enumerate(spec.blocks):
        for number, row in enumerate(block.rows):
            key = f"blocks[{index}].rows[{number}].seeds_of"
            yield from _choices(key, [row.seeds_of] if row.seeds_of else [], table_names())


def _choices(key: str, values: Collection[str], allowed: Collection[str]) -> Iterator[str]:
    for value in values:
        if value not in allowed:
            yield unknown_name(key, value, allowed)
