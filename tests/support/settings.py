"""Every setting of a run with another valid value, derived from the schema where it can be."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dylora_exp.config.registry import settings_classes
from dylora_exp.config.schema import Config, ModelConfig, RanksConfig, TrainerConfig
from dylora_exp.core import field_types, is_model

# Groups whose settings are written as one value.
_WHOLE = {
    "model.config",
    "model.overrides",
    "model.fused",
    "task.hub",
    "task.tsv",
    "task.typical",
    "tracker",
}


def setting_keys(method: str, objective: str) -> dict[str, FieldInfo]:
    """Return the fields of all settings of a run of a method and an objective, by dotted key."""
    classes = {
        "model": ModelConfig,
        "task": settings_classes("task")[objective],
        "method": settings_classes("method")[method],
        "ranks": RanksConfig,
        "trainer": TrainerConfig,
    }
    found = {name: field for name, field in Config.model_fields.items() if name not in classes}
    for group, schema in classes.items():
        found |= dict(_leaves(schema, group))
    return found


def _leaves(schema: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in schema.model_fields.items():
        key = f"{prefix}.{name}"
        nested = next((each for each in field_types(field.annotation) if is_model(each)), None)
        if nested is not None and key not in _WHOLE:
            yield from _leaves(nested, key)
        else:
            yield key, field


def other_values(field: FieldInfo, now: Any) -> list[Any]:
    """Return other valid values of a field, empty where the schema does not say any.

    Args:
        field: The field.
        now: The value that it has.
    """
    values: list[Any] = []
    for kind in field_types(field.annotation):
        if typing.get_origin(kind) is typing.Literal:
            values += [each for each in typing.get_args(kind) if each != now]
        elif kind is bool:
            values.append(not now)
        elif kind is int:
            values.append(2 if now is None else now + 1)
        elif kind is float:
            values.append(0.5 if not now else now / 2)
    return [value for value in values if _is_allowed(field, value) and value != now]


def _is_allowed(field: FieldInfo, value: Any) -> bool:
    bounds = [each for each in field.metadata if isinstance(each, annotated_types.Lt)]
    return all(isinstance(value, str) or value < bound.lt for bound in bounds)
