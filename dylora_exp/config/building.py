"""Plain trees to dataclasses: field types as written, bounds from the fields' metadata.

Every problem of a tree is collected, one sentence each, so that all are said at once.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any, Literal

from dylora_exp.core import did_you_mean, unknown_name


def bound(default: Any, **bounds: float) -> Any:
    """A field with numeric bounds: ``above`` and ``below`` exclude the value, the others do not."""
    return field(default=default, metadata={"bounds": bounds})


def only(kinds: str, default: Any, **bounds: float) -> Any:
    """A field that means something only to some kinds, named with spaces between them."""
    return field(default=default, metadata={"bounds": bounds, "kinds": kinds.split()})


def keys(schema: type, prefix: str = "") -> Iterator[str]:
    """Yield every dotted key of a schema, groups included."""
    hints = typing.get_type_hints(schema)
    for item in dataclasses.fields(schema):
        yield prefix + item.name
        for option in typing.get_args(hints[item.name]) or (hints[item.name],):
            if dataclasses.is_dataclass(option):
                yield from keys(typing.cast(type, option), f"{prefix}{item.name}.")


def build(schema: type, tree: Any, path: str, problems: list[str]) -> Any:
    """Build a dataclass from a plain tree.

    Args:
        schema: The dataclass.
        tree: What was read.
        path: The dotted key of the tree, empty at the root.
        problems: Takes a sentence for each unknown key, wrong type and value out of bounds.

    Returns:
        The dataclass, of no use when problems were found.
    """
    if not isinstance(tree, Mapping):
        problems.append(f"{path}: found {tree!r}, expected a group of settings.")
        return None
    fields = {item.name: item for item in dataclasses.fields(schema)}
    dot = f"{path}." if path else ""
    for key in tree:
        if key not in fields:
            problems.append(
                f"{dot}{key}: there is no such setting{did_you_mean(str(key), fields) or '.'}"
            )
    hints = typing.get_type_hints(schema)
    values = {}
    for name, item in fields.items():
        if name in tree:
            before = len(problems)
            values[name] = _value(hints[name], tree[name], dot + name, problems)
            if len(problems) == before:
                bounds = item.metadata.get("bounds", {})
                _check_bounds(bounds, values[name], dot + name, problems)
    return schema(**values)


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def _value(hint: Any, value: Any, path: str, problems: list[str]) -> Any:
    """Return ``value`` as the type ``hint`` says, or note the problem."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _value(options[0], value, path, problems)
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, path, problems)
    if origin is Literal:
        if value not in options:
            problems.append(unknown_name(path, str(value), [str(option) for option in options]))
        return value
    if origin is list:
        if not isinstance(value, list):
            problems.append(f"{path}: found {value!r}, expected a list such as [a, b].")
            return None
        return [_value(options[0], v, f"{path}[{i}]", problems) for i, v in enumerate(value)]
    if origin is dict:
        if not isinstance(value, Mapping):
            problems.append(f"{path}: found {value!r}, expected a group of settings.")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        problems.append(f"{path}: found {value!r}, expected {_WORDS[hint]}.")
    elif hint is float and not math.isfinite(value):
        problems.append(f"{path}: found {value!r}, expected a finite number.")
    return value


def _check_bounds(bounds: Mapping[str, float], value: Any, path: str, problems: list[str]) -> None:
    if value is None or not bounds:
        return
    tests = {
        "at_least": (lambda limit: value >= limit, "at least"),
        "above": (lambda limit: value > limit, "above"),
        "below": (lambda limit: value < limit, "below"),
        "at_most": (lambda limit: value <= limit, "at most"),
    }
    if not all(tests[name][0](limit) for name, limit in bounds.items()):
        allowed = " and ".join(f"{tests[name][1]} {limit:.12g}" for name, limit in bounds.items())
        problems.append(f"{path}: found {value!r}, expected a number {allowed}.")
