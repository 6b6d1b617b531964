"""What a table shows: ``conf/table/<name>.yaml``, read into dataclasses and checked.

The specs need no torch, and so neither does anything that renders from them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dylora_exp.compose import CONF_DIR, options
from dylora_exp.config import Scale, Truncation
from dylora_exp.errors import RequestError, unknown

TABLE_DIR = CONF_DIR / "table"
BEST_OF = ("mean", "run")

Schema = TypeVar("Schema")


@dataclass
class RowSpec:
    """A way to make and score a rank.

    Attributes:
        label: The row's name in the table.
        paper_label: The row's name in the paper's data; None when the paper has no such row.
        method: A file of ``conf/method``.
        truncation: How a lower rank is cut from the trained factors; None without ranks.
        scale: The scale of the truncated product; None without ranks.
        optional: The profiles whose table is complete without this row's runs.
    """

    label: str = MISSING
    paper_label: str | None = None
    method: str = MISSING
    truncation: str | None = None
    scale: str | None = None
    optional: list[str] = field(default_factory=list)


@dataclass
class ColumnSpec:
    """A metric of a task; the first column of each task is the one that the average counts."""

    heading: str = MISSING
    task: str = MISSING
    metric: str = MISSING
    paper_column: str | None = None


@dataclass
class BestSpec:
    """A block with each row's best result over ranks.

    Attributes:
        heading: The block's name in the table.
        of: ``mean`` takes the rank with the best mean over seeds, ``run`` the best single run.
        paper_block: The block of the paper's data that was selected in the same way, or None.
    """

    heading: str = MISSING
    of: str = "mean"
    paper_block: str | None = None


@dataclass
class ProfileSpec:
    """The part of a table that depends on how big the reproduction is.

    Attributes:
        seeds: One run for each.
        columns: Left to right, the average excluded.
        paper_average: The name of the paper's average, where it is over the same tasks.
        difference: Whether the profile aims at the paper's numbers, so that a difference means
            something.
    """

    seeds: list[int] = MISSING
    columns: list[ColumnSpec] = MISSING
    paper_average: str | None = None
    difference: bool = False

    def headlines(self) -> list[int]:
        """Return the places of each task's first column."""
        first: dict[str, int] = {}
        for place, column in enumerate(self.columns):
            first.setdefault(column.task, place)
        return list(first.values())


@dataclass
class TableSpec:
    """A table of ranks and rows over tasks; ``paper_model`` names the paper's backbone."""

    title: str = MISSING
    caption: str = MISSING
    paper_model: str = MISSING
    ranks: list[int] = MISSING
    rows: list[RowSpec] = MISSING
    best: list[BestSpec] = field(default_factory=list)
    full_rank: list[RowSpec] = field(default_factory=list)
    profiles: dict[str, ProfileSpec] = MISSING


def table_names() -> list[str]:
    """Return the names of all tables: numbers in their order, then letters."""
    return sorted((file.stem for file in TABLE_DIR.glob("*.yaml")), key=_natural)


def load_spec(name: str, profile: str) -> tuple[TableSpec, ProfileSpec]:
    """Return a table's spec and the part of it that is about one profile.

    Raises:
        RequestError: When there is no such table or profile, or naming the file and each field that
            is wrong.
    """
    if name not in table_names():
        raise RequestError(unknown("table", name, table_names()))
    path = TABLE_DIR / f"{name}.yaml"
    spec = read_yaml(TableSpec, path)
    problems = [f"{path}: {problem}" for problem in _problems(spec)]
    if problems:
        raise RequestError(problems)
    if profile not in spec.profiles:
        raise RequestError(unknown("profile", profile, spec.profiles))
    return spec, spec.profiles[profile]


def read_yaml(schema: type[Schema], path: Path) -> Schema:
    """Read a YAML file into a dataclass, with types as written there and no other keys.

    Raises:
        RequestError: Naming the file and the first field that is wrong.
    """
    try:
        tree = OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.load(path))
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
    if not spec.ranks or min(spec.ranks) < 1 or len(set(spec.ranks)) < len(spec.ranks):
        yield f"ranks: found {spec.ranks}, expected different ranks from 1 on."
    if not spec.rows:
        yield "rows: found none, expected at least one."
    for key in ("rows", "full_rank"):
        for index, row in enumerate(getattr(spec, key)):
            yield from _row_problems(f"{key}[{index}]", row, spec.profiles)
    for index, best in enumerate(spec.best):
        yield from _choice(f"best[{index}].of", best.of, BEST_OF)
    for name, profile in spec.profiles.items():
        yield from _choice("profiles", name, options("profile"))
        yield from _profile_problems(f"profiles.{name}", profile)


def _row_problems(where: str, row: RowSpec, profiles: Mapping[str, Any]) -> Iterator[str]:
    yield from _choice(f"{where}.method", row.method, options("method"))
    if row.truncation is not None:
        yield from _choice(f"{where}.truncation", row.truncation, get_args(Truncation))
    if row.scale is not None:
        yield from _choice(f"{where}.scale", row.scale, get_args(Scale))
    for name in row.optional:
        yield from _choice(f"{where}.optional", name, list(profiles))


def _profile_problems(where: str, profile: ProfileSpec) -> Iterator[str]:
    if not profile.seeds or len(set(profile.seeds)) < len(profile.seeds):
        yield f"{where}.seeds: found {profile.seeds}, expected different seeds."
    if not profile.columns:
        yield f"{where}.columns: found none, expected at least one."
    for index, column in enumerate(profile.columns):
        yield from _choice(f"{where}.columns[{index}].task", column.task, options("task"))


def _choice(where: str, value: str, allowed: Collection[str]) -> Iterator[str]:
    if value not in allowed:
        yield unknown(where, value, allowed)
