"""Write docs/configuration.md: every setting with its type, default and meaning, from the schema.

Run it from a checkout after a change of a setting: ``python scripts/make_config_reference.py``.
``scripts/config_meanings.yaml`` holds the sentences; a test asserts that the page is current.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from dylora_exp.config import (
    CONF_DIR,
    Config,
    Mark,
    MethodSettings,
    TaskConfig,
    known_keys,
    options,
)
from dylora_exp.config.distributions import DISTRIBUTIONS
from dylora_exp.config.registry import settings_classes
from dylora_exp.core import field_types, is_model, keys
from dylora_exp.metrics import METRICS

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "configuration.md"
MEANINGS: dict[str, str] = yaml.safe_load(
    (ROOT / "scripts" / "config_meanings.yaml").read_text(encoding="utf-8")
)
HEAD = """\
# Configuration reference

This page is generated from the schema by `python scripts/make_config_reference.py`.

A run is composed of one file from each group under `conf/`, then the profile's changes, then the
overrides of the command line: `dylora run task=mrpc trainer.learning_rate=1e-3`. Files and
overrides may set every key below, `dylora run --cfg job OVERRIDES` prints what they make together,
and `dylora validate OVERRIDES` checks it. The column *default* is the schema's: where a file of the
group or a profile sets another value, that one holds.

A run's id is a hash of the settings that differ from the schema's defaults. Settings marked
with **¹** are not part of it: they say where and how fast a run is done, not what comes out.

## Groups and their files

| override | files |
|---|---|
"""
GROUPS = ("model", "task", "method", "ranks", "trainer", "tracker", "profile")
FILES_ONLY = ("experiment", "debug")
BOUNDS = {"gt": "> {}", "ge": "≥ {}", "lt": "< {}", "le": "≤ {}"}
NAMES = {str: "text", int: "whole number", float: "number", bool: "`true`, `false`"}


def make_page() -> str:
    """Return the page as Markdown."""
    rows = [
        f"| `{group}=` | {' '.join(f'`{name}`' for name in options(group))} |\n"
        for group in (*GROUPS, *FILES_ONLY)
    ]
    parts = [HEAD, *rows, "\n## The run itself\n\n", *_table(_fields(Config, "", nested=False))]
    for name, field in Config.model_fields.items():
        if name not in GROUPS or name == "profile":
            continue
        parts.append(f"\n## `{name}`\n\n")
        schema = {"task": TaskConfig, "method": MethodSettings}.get(name) or field.annotation
        marks = set(field.metadata)
        parts += _table(_fields(schema, f"{name}.", marks))
        if name == "task":
            parts.append(f"\n`task.metrics` and `task.headline` are of {_listed(METRICS)}.\n")
            parts += _own_settings("task", TaskConfig, "objective")
        if name == "ranks":
            parts.append(f"\n`ranks.distribution` is one of {_listed(DISTRIBUTIONS)}.\n")
        if name == "method":
            parts += _own_settings("method", MethodSettings, "kind")
    return "".join(parts)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _own_settings(group: Any, base: type[BaseModel], tag: str) -> Iterator[str]:
    """Yield a section for each implementation: the settings that it has and the base has not."""
    for kind, schema in settings_classes(group).items():
        files = [name for name in options(group) if _file_tag(group, name, tag) == kind]
        shown = ", ".join(f"`{group}={name}`" for name in files)
        shared = set(keys(base, f"{group}."))
        own = [row for row in _fields(schema, f"{group}.") if row[0].split("`")[1] not in shared]
        unused = [
            f"`{group}.{name}`"
            for name, field in schema.model_fields.items()
            if {Mark.UNUSED, Mark.FROM_PROFILES} & set(field.metadata)
        ]
        yield f"\n### `{group}.{tag}={kind}`\n\nFiles: {shown}.\n"
        if unused:
            yield f"\nWithout effect here: {', '.join(unused)}.\n"
        yield from ("\n", *_table(own)) if own else ("\nIt has no settings of its own.\n",)


def _file_tag(group: str, name: str, tag: str) -> str:
    tree = yaml.safe_load((CONF_DIR / group / f"{name}.yaml").read_text(encoding="utf-8"))
    tree = tree.get(group, tree)  # a file that sets several groups names them
    implied = "classification" if group == "task" else ""
    return str(tree.get(tag, implied))


def _table(rows: list[tuple[str, str, str, str]]) -> Iterator[str]:
    yield "| key | value | default | meaning |\n|---|---|---|---|\n"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n"


def _fields(
    schema: Any, prefix: str, marks: set[Any] = frozenset(), nested: bool = True
) -> list[tuple[str, str, str, str]]:
    """Return a row for each setting of a model, those of the groups inside it included."""
    rows = []
    for name, field in schema.model_fields.items():
        inner = [each for each in _types(field.annotation) if is_model(each)]
        key = f"{prefix}{name}"
        if not nested and (inner or name in GROUPS):
            if name != "profile":
                continue
            inner = []
        here = marks | {each for each in field.metadata if isinstance(each, Mark)}
        note = " **¹**" if Mark.NOT_IDENTITY in here else ""
        rows.append((f"`{key}`{note}", _value(field), _default(field, name), MEANINGS.get(key, "")))
        for each in inner:
            rows += _fields(each, f"{key}.", here)
    return rows


def _types(annotation: Any) -> list[Any]:
    """Return what a setting may be, without ``Annotated`` and ``None``."""
    return [each for each in field_types(annotation) if each is not type(None)]


def _bounds(annotation: Any, metadata: list[Any]) -> list[str]:
    """Return the bounds of a number, wherever in the annotation they stand."""
    found = []
    for each in metadata:
        for part in getattr(each, "metadata", [each]):
            found += [
                text.format(f"{getattr(part, name):,}")
                for name, text in BOUNDS.items()
                if getattr(part, name, None) is not None
            ]
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        return found + _bounds(arguments[0], list(arguments[1:]))
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return found + [bound for each in arguments for bound in _bounds(each, [])]
    return found


def _value(field: Any) -> str:
    shown = " or ".join(_name(each) for each in _types(field.annotation))
    return ", ".join([shown, *_bounds(field.annotation, field.metadata)])


def _name(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return _listed(arguments)
    if origin is list and is_model(arguments[0]):
        inner = arguments[0].model_fields.items()
        return "list of groups: " + "; ".join(f"{name} {_value(field)}" for name, field in inner)
    if origin is list:
        return f"list of {_name(arguments[0]).removesuffix('s')}s"
    if origin is dict or is_model(annotation):
        return "group"
    return NAMES[annotation]


def _default(field: Any, name: str) -> str:
    if name in ("kind", "objective") or field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return ""
    if isinstance(value, float) and value and value < 1e-3:
        return f"`{value:g}`"
    text = yaml.safe_dump(value, default_flow_style=True).splitlines()[0]
    return "" if value == "" else f"`{text}`"


def main() -> None:
    """Write the page, and say which settings have no sentence."""
    PAGE.write_text(make_page(), encoding="utf-8")
    for key in without_meaning():
        print(f"{key}: no meaning in scripts/config_meanings.yaml", file=sys.stderr)


def without_meaning() -> list[str]:
    """Return the settings of which no sentence says what they mean."""
    groups = set(GROUPS) - {"profile"}
    return [key for key in known_keys() if key not in MEANINGS and key not in groups]


if __name__ == "__main__":
    main()
