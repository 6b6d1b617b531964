"""YAML files read into typed models, each file once as long as its text stays the same."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from dylora_exp.core import RequestError, StrictModel, parse

Schema = TypeVar("Schema", bound=pydantic.BaseModel)


class Spec(StrictModel):
    """A file of ``conf/table``, ``conf/paper`` or ``conf/tuned``, or a part of one."""

    model_config = pydantic.ConfigDict(frozen=True)


def read_tree(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        RequestError: Naming the file and the line that is no YAML.
    """
    return _tree(path, path.read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=64)
def _tree(path: Path, text: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise RequestError(f"{path}: no valid YAML{line}.") from None


def read_yaml(schema: type[Schema], path: Path) -> Schema:
    """Return a YAML file as a model, with types as written there and no other keys.

    Raises:
        RequestError: Naming the file and each field that is wrong.
    """
    return _model(schema, path, path.read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=64)
def _model(schema: type[Schema], path: Path, text: str) -> Schema:
    try:
        return parse(schema, _tree(path, text))
    except RequestError as error:
        raise RequestError(f"{path}: {problem}" for problem in error.problems) from None


class _Loader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
    """YAML's safe types, each key of a mapping once."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if len(set(keys)) < len(keys):
            raise yaml.constructor.ConstructorError(
                problem="found a key twice", problem_mark=node.start_mark
            )
        return super().construct_mapping(node, deep)
