"""Jinja templates over the columns of a row, as the tasks of lm-evaluation-harness have them.

A template gives a text, ``Question: {{ question }}``; an expression gives a value of any type,
``choices.text``. Both run in Jinja's sandbox. A name that a row has no column for is an error, and
so is a value that is null: neither ends up in a text.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dylora_exp.core.errors import first_line

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

_UNDEFINED = re.compile(r"'(.+)' is undefined")
# An expression may be written with the braces that a template has.
_IN_BRACES = re.compile(r"\s*\{\{((?:(?!\}\}).)*)\}\}\s*", re.DOTALL)
# All columns of the row, for those whose names are no names of Jinja: row['#1 String'].
ROW = "row"


class TemplateFlaw(Exception):
    """A row does not go with a template. The message ends a sentence.

    Attributes:
        missing: The name of the column that the row has not, where that is the flaw.
        setting: The template's, where it is known.
    """

    def __init__(self, message: str, missing: str | None = None, setting: str = "") -> None:
        super().__init__(f"{setting}: {message}" if setting else message)
        self.missing = missing
        self.setting = setting


def template_problem(source: str) -> str | None:
    """Return what is wrong with the syntax of a template, as the end of a sentence."""
    return _problem(_template, source)


def expression_problem(source: str) -> str | None:
    """Return what is wrong with the syntax of an expression, as the end of a sentence."""
    return _problem(_expression, source)


def render_template(source: str, columns: Mapping[str, Any]) -> str:
    """Return the text that a template gives for a row.

    Args:
        source: The template.
        columns: The row's values by column.

    Raises:
        TemplateFlaw: When a column is missing, a value is null or a filter fails.
    """
    return str(_evaluated(_template(source), columns))


def evaluate_expression(source: str, columns: Mapping[str, Any]) -> Any:
    """Return the value that an expression gives for a row.

    Args:
        source: The expression, in braces or without.
        columns: The row's values by column.

    Raises:
        TemplateFlaw: As ``render_template``.
    """
    return _evaluated(_expression(source), columns)


def _evaluated(compiled: Callable[..., Any], columns: Mapping[str, Any]) -> Any:
    from jinja2 import Undefined, UndefinedError

    names = {str(name): value for name, value in columns.items()}
    try:
        found = compiled({ROW: names, **names})
        if isinstance(found, Undefined):
            str(found)  # raises, since undefined values are strict
    except TemplateFlaw:
        raise
    except UndefinedError as error:
        if name := _UNDEFINED.fullmatch(str(error)):
            raise missing_column(name[1], names) from None
        raise TemplateFlaw(str(error)) from None
    except Exception as error:  # a filter or a method of a value may raise anything
        raise TemplateFlaw(f"{type(error).__name__}: {first_line(error)}") from None
    return found


def missing_column(name: str, columns: Iterable[str]) -> TemplateFlaw:
    """Return the flaw that a row has no column of a name."""
    known = ", ".join(map(str, columns)) or "none"
    return TemplateFlaw(f"there is no column '{name}' among {known}", name)


def _problem(compiled: Callable[[str], Any], source: str) -> str | None:
    from jinja2 import TemplateError

    try:
        compiled(source)
    except TemplateError as error:
        return first_line(error).rstrip(".")
    except RecursionError:
        return "it is nested too deeply"
    return None


@functools.lru_cache(maxsize=256)
def _template(source: str) -> Callable[..., str]:
    return _environment().from_string(source).render


@functools.lru_cache(maxsize=256)
def _expression(source: str) -> Callable[..., Any]:
    inner = _IN_BRACES.fullmatch(source)
    expression = inner[1] if inner else source
    return _environment().compile_expression(expression, undefined_to_none=False)


@functools.cache
def _environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True, finalize=_not_null
    )
    environment.filters["regex_replace"] = _regex_replace
    environment.filters["regex_findall"] = _regex_findall
    return environment


def _not_null(value: Any) -> Any:
    if value is None:
        raise TemplateFlaw("a value in it is null")
    return value


def _regex_replace(text: str, pattern: str, replacement: str, count: int = 0) -> str:
    """Return ``re.sub`` of a text; the filter of this name of lm-evaluation-harness."""
    return re.sub(pattern, replacement, text, count=count)


def _regex_findall(text: str, pattern: str) -> list[Any]:
    """Return ``re.findall`` of a text: its matches, or what a group of the pattern matched."""
    return re.findall(pattern, text)
