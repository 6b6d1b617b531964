"""``conf/table/<name>.yaml``, read into the layout's dataclasses and checked.

The specs need no torch, and so neither does anything that renders from them.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dylora_exp.config import CONF_DIR, Scale, Truncation, known_keys, options
from dylora_exp.core import RequestError, unknown_name
from dylora_exp.reporting.specs.layout import (
    MEASURES,
    SHOWS,
    BlockSpec,
    ColumnSpec,
    ProfileSpec,
    RowSpec,
    SettingsBlock,
    SettingsSpec,
    TableSpec,
)
from dylora_exp.reporting.specs.select import SELECTS

TABLE_DIR = CONF_DIR / "table"
# What a column of each measure must name.
_NEEDS = {
    "score": ("task", "metric"),
    "parameters": ("task",),
    "train_seconds": ("task",),
    "cost": ("relative_to",),
}

Schema = TypeVar("Schema")


def table_names() -> list[str]:
    """Return the names of all tables: numbers in their order, then letters."""
    return sorted((file.stem for file in TABLE_DIR.glob("*.yaml")), key=_natural)


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


def load_spec(name: str, profile: str, select: str | None = None) -> tuple[TableSpec, ProfileSpec]:
    """Return a table's spec and the part of it that is about one profile.

    Args:
        name: The table.
        profile: The profile.
        select: Which epoch's scores count, in place of what the spec says.

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
    return spec, dataclasses.replace(part, select=select or part.select)


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
    if name not in table_names():
        raise RequestError(unknown_name("table", name, table_names()))
    path = TABLE_DIR / f"{name}.yaml"
    text = path.read_text(encoding="utf-8")
    spec: TableSpec | SettingsSpec
    if re.search(r"^kind: settings$", text, re.MULTILINE):
        spec = _build(SettingsSpec, path, text)
        problems = list(_settings_problems(spec))
    else:
        spec = _build(TableSpec, path, text)
        problems = list(_problems(spec))
    if problems:
        raise RequestError(f"{path}: {problem}" for problem in problems)
    return spec


def read_yaml(schema: type[Schema], path: Path) -> Schema:
    """Read a YAML file into a dataclass, with types as written there and no other keys.

    Raises:
        RequestError: Naming the file and the first field that is wrong.
    """
    return _build(schema, path, path.read_text(encoding="utf-8"))


# A command asks for the same files several times, and building one takes 0.1 s.
_BUILT: dict[tuple[type, Path, str], Any] = {}


def _build(schema: type[Schema], path: Path, text: str) -> Schema:
    key = (schema, path, text)
    if key not in _BUILT:
        _BUILT[key] = _parse(schema, path, text)
    return cast(Schema, copy.deepcopy(_BUILT[key]))


def _parse(schema: type[Schema], path: Path, text: str) -> Schema:
    try:
        tree = OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.create(text))
        return cast(Schema, OmegaConf.to_object(tree))
    except YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        raise RequestError(f"{path}: no valid YAML{line}.") from None
    except OmegaConfBaseException as error:
        reason = (error.msg or str(error)).splitlines()[0].rstrip(".")
        raise RequestError(f"{path}: {error.full_key or 'the whole file'}: {reason}.") from None


def _natural(name: str) -> tuple[bool, int, str]:
    digits = re.match(r"\d+", name)
    return (digits is None, int(digits[0]) if digits else 0, name)


def _problems(spec: TableSpec) -> Iterator[str]:
    """Yield what the types alone cannot say."""
    yield from _rows_problems("rows", spec.rows, spec.profiles)
    for index, block in enumerate(spec.blocks):
        where = f"blocks[{index}]"
        yield from _block_problems(where, block, spec.profiles)
        if not block.rows and not spec.rows:
            yield f"{where}.rows: found none, expected at least one here or in 'rows'."
    for name, profile in spec.profiles.items():
        yield from _choice("profiles", name, options("profile"))
        yield from _profile_problems(f"profiles.{name}", profile)
        yield from _shape_problems(f"profiles.{name}", spec, name)


def _block_problems(where: str, block: BlockSpec, profiles: Mapping[str, Any]) -> Iterator[str]:
    yield from _choice(f"{where}.show", block.show, SHOWS)
    yield from _ranks_problems(f"{where}.ranks", block.ranks)
    yield from _rows_problems(f"{where}.rows", block.rows, profiles)
    for name in block.only:
        yield from _choice(f"{where}.only", name, list(profiles))
    if block.ranks and block.show != "rank":
        yield f"{where}.ranks: found {block.ranks}, only a block with 'show: rank' has them."
    if block.tolerance is not None and block.show != "recommended":
        yield f"{where}.tolerance: only a block with 'show: recommended' has one."
    if block.tolerance is not None and not 0 <= block.tolerance < 1:
        yield f"{where}.tolerance: found {block.tolerance:g}, expected at least 0 and below 1."


def _rows_problems(
    where: str, rows: Sequence[RowSpec], profiles: Mapping[str, Any]
) -> Iterator[str]:
    for index, row in enumerate(rows):
        yield from _row_problems(f"{where}[{index}]", row, profiles)
    for label, count in Counter(row.label for row in rows).items():
        if count > 1:
            yield f"{where}: label '{label}' is there {count} times, expected different labels."


def _row_problems(where: str, row: RowSpec, profiles: Mapping[str, Any]) -> Iterator[str]:
    yield from _choice(f"{where}.method", row.method, options("method"))
    if row.truncation is not None:
        yield from _choice(f"{where}.truncation", row.truncation, get_args(Truncation))
    if row.scale is not None:
        yield from _choice(f"{where}.scale", row.scale, get_args(Scale))
    yield from _ranks_problems(f"{where}.search", row.search)
    for key in ("only", "optional"):
        for name in getattr(row, key):
            yield from _choice(f"{where}.{key}", name, list(profiles))


def _ranks_problems(where: str, ranks: Sequence[int]) -> Iterator[str]:
    if ranks and (min(ranks) < 1 or len(set(ranks)) < len(ranks)):
        yield f"{where}: found {ranks}, expected different ranks from 1 on."


def _profile_problems(where: str, profile: ProfileSpec) -> Iterator[str]:
    if not profile.seeds or len(set(profile.seeds)) < len(profile.seeds):
        yield f"{where}.seeds: found {profile.seeds}, expected different seeds."
    if not profile.headlines():
        yield f"{where}.columns: found no score, expected at least one."
    if profile.runs is not None:
        yield from _choice(f"{where}.runs", profile.runs, options("profile"))
    yield from _choice(f"{where}.select", profile.select, SELECTS)
    for index, column in enumerate(profile.columns):
        yield from _column_problems(f"{where}.columns[{index}]", column)


def _column_problems(where: str, column: ColumnSpec) -> Iterator[str]:
    yield from _choice(f"{where}.measure", column.measure, MEASURES)
    for key in _NEEDS.get(column.measure, ()):
        if not getattr(column, key):
            yield f"{where}.{key}: found none, a column of measure '{column.measure}' needs it."
    if column.task:
        yield from _choice(f"{where}.task", column.task, options("task"))


def _shape_problems(where: str, spec: TableSpec, profile: str) -> Iterator[str]:
    """Yield what does not fit between the blocks and the columns of one profile."""
    blocks = spec.blocks_in(profile)
    if not blocks:
        yield f"{where}: found no block for this profile, expected at least one."
        return
    if spec.transposed and (len(blocks) > 1 or any(block.ranks for block in blocks)):
        yield f"{where}: a transposed table has one block, without 'ranks'."
    everywhere = set.intersection(*({row.label for row in block.rows} for block in blocks))
    for index, column in enumerate(spec.profiles[profile].columns):
        if column.relative_to:
            field = f"{where}.columns[{index}].relative_to"
            yield from _choice(field, column.relative_to, everywhere)


def _settings_problems(spec: SettingsSpec) -> Iterator[str]:
    """Yield what the types alone cannot say of a table of settings."""
    for index, block in enumerate(spec.blocks):
        for name in block.profiles.values():
            yield from _choice(f"blocks[{index}].profiles", name, options("profile"))
        for place, row in enumerate(block.rows):
            where = f"blocks[{index}].rows[{place}]"
            if row.key is not None:
                yield from _choice(f"{where}.key", row.key, known_keys())
            if row.seeds_of is not None:
                yield from _choice(f"{where}.seeds_of", row.seeds_of, table_names())


def _choice(where: str, value: str, allowed: Collection[str]) -> Iterator[str]:
    if value not in allowed:
        yield unknown_name(where, value, allowed)
