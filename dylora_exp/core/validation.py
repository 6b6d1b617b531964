"""Plain trees to typed models (pydantic), with a sentence for every problem at once.

The configuration, the records, the table specs and the claims are all read through ``parse``. A
problem is said as everywhere in the project: which key, what was found, what is expected, and the
nearest valid name.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import pydantic
from pydantic_core import ErrorDetails

from dylora_exp.core.errors import RequestError, did_you_mean, unknown_name

_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "finite_number": "a finite number",
    "list_type": "a list such as [a, b]",
    "tuple_type": "a list such as [a, b]",
    "dict_type": "a group of settings",
    "model_type": "a group of settings",
    "model_attributes_type": "a group of settings",
    "none_required": "nothing",
}
_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


class StrictModel(pydantic.BaseModel):
    """A model without unknown keys, without conversions (but int to float) and with finite numbers.

    Its ``@field_validator`` and ``@model_validator`` functions raise ``ValueError`` with the rest
    of a sentence (``expected ...``), or ``RequestError`` with whole sentences.
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


Model = TypeVar("Model", bound=pydantic.BaseModel)


def parse(schema: type[Model], tree: Any, key: str = "") -> Model:
    """Return a plain tree as a model.

    Args:
        schema: The model's class.
        tree: Parsed YAML or JSON.
        key: The dotted key of the tree, which begins every problem; empty at the root.

    Raises:
        RequestError: With a sentence for each problem.
    """
    try:
        return schema.model_validate(tree)
    except pydantic.ValidationError as error:
        raise RequestError(problems(error, schema, key)) from None


def problems(error: pydantic.ValidationError, schema: type, key: str = "") -> list[str]:
    """Return a sentence for each problem of a validation.

    Args:
        error: What pydantic found.
        schema: The model's class.
        key: The dotted key of the tree, empty at the root.
    """
    sentences: dict[str, None] = {}
    for details in error.errors(include_url=False):
        location, group = _locate(schema, details["loc"])
        name = dotted([key, *location] if key else location)
        sentences.update(dict.fromkeys(_sentences(name, details, group)))
    return list(sentences)


def dotted(location: Sequence[str | int]) -> str:
    """Return a location as a key: names joined by dots, indices in brackets."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def keys(schema: Any, prefix: str = "") -> Iterator[str]:
    """Yield every dotted key of a model, groups included; of a union, those of all its options."""
    if not is_model(schema):
        return
    for name, item in schema.model_fields.items():
        yield prefix + name
        for option in field_types(item.annotation):
            yield from keys(option, f"{prefix}{name}.")


def field_types(annotation: Any) -> list[Any]:
    """Return the types that a field may have, without ``Annotated`` around them."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return field_types(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [each for option in typing.get_args(annotation) for each in field_types(option)]
    return [annotation]


def _locate(schema: Any, location: Sequence[str | int]) -> tuple[list[str | int], Any]:
    """Return a location without pydantic's names of union options, and the model it ends in."""
    key: list[str | int] = []
    current, group = schema, schema
    for part in location:
        options = [each for each in field_types(current) if each is not types.NoneType]
        if len(options) > 1:  # the part names one of them, by its tag or its type
            current = next((each for each in options if _is_called(each, part)), Any)
            continue
        current = options[0]
        key.append(part)
        if is_model(current):
            group = current
            field = current.model_fields.get(str(part))
            current = field.annotation if field else Any
        else:
            current = (typing.get_args(current) or (Any,))[-1]
    return key, group


def is_model(annotation: Any) -> bool:
    """Return whether a type is a model of pydantic."""
    return isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel)


def _is_called(option: Any, part: str | int) -> bool:
    if not is_model(option):
        return getattr(option, "__name__", "") == part
    tags = [typing.get_args(field.annotation) for field in option.model_fields.values()]
    return option.__name__ == part or any(part in each for each in tags)


def _sentences(name: str, details: ErrorDetails, group: Any) -> list[str]:
    """Return the sentences of one problem at a key in a group of settings, a model."""
    kind, found, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "extra_forbidden":
        hint = did_you_mean(name.rpartition(".")[2], group.model_fields)
        return [f"{name}: there is no such setting{hint or '.'}"]
    if kind == "missing":
        return [f"{name}: found nothing, expected a value."]
    if kind == "literal_error":
        return [unknown_name(name, str(found), _literals(context["expected"]))]
    if kind == "union_tag_invalid":
        key = f"{name}.{_literals(context['discriminator'])[0]}"
        return [unknown_name(key, context["tag"], _literals(context["expected_tags"]))]
    if kind == "union_tag_not_found":
        return [f"{name}.{_literals(context['discriminator'])[0]}: found nothing."]
    if kind in _BOUNDS:
        limit, word = _BOUNDS[kind]
        bounds = _bounds(group, details["loc"][-1]) or [f"{word} {context[limit]:.12g}"]
        return [f"{name}: found {found!r}, expected a number {' and '.join(bounds)}."]
    if kind == "value_error":
        error = context["error"]
        if isinstance(error, RequestError):
            return error.problems
        end = "" if str(error).endswith(("?", ".")) else "."
        return [f"{name}: {error}{end}"]
    subject = f"{name}: " if name else ""
    if kind in _TYPES:
        return [f"{subject}found {found!r}, expected {_TYPES[kind]}."]
    return [f"{subject}found {found!r}, {details['msg'][:1].lower()}{details['msg'][1:]}."]


def _bounds(group: Any, name: str | int) -> list[str]:
    """Return all bounds of a field, since pydantic names the one that a value violates first."""
    field = group.model_fields.get(name) if is_model(group) else None
    if field is None:
        return []
    metadata = list(field.metadata)
    for option in typing.get_args(field.annotation):
        if typing.get_origin(option) is typing.Annotated:
            metadata += [each for extra in typing.get_args(option)[1:] for each in _flat(extra)]
    return [
        f"{word} {getattr(each, limit):.12g}"
        for each in metadata
        for limit, word in _BOUNDS.values()
        if hasattr(each, limit)
    ]


def _flat(extra: Any) -> list[Any]:
    """Return what a ``Field(...)`` in an annotation stands for, or the annotation's own part."""
    return list(extra.metadata) if hasattr(extra, "metadata") else [extra]


def _literals(expected: str) -> list[str]:
    """Return the values of pydantic's text ``'a', 'b' or 'c'``."""
    return [part.strip().strip("'") for part in expected.replace(" or ", ", ").split(", ")]
