"""The methods and objectives that there are, found by their classes.

A method is a class with a ``settings_class`` in a module of ``dylora_exp.methods``, an objective
one in a module of ``dylora_exp.objectives``. The default of ``kind`` or ``objective`` in that class
is the tag by which a config chooses it. Other packages name theirs in entry points of the group
``dylora_exp.methods`` or ``dylora_exp.objectives``. Subpackages are not searched: they hold what
needs torch.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import typing
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from dylora_exp.config.schema import MethodSettings
from dylora_exp.config.task_schema import TaskConfig
from dylora_exp.core import RequestError, first_line

Group = Literal["method", "task"]
GROUPS: tuple[Group, ...] = typing.get_args(Group)
# The setting that names the class, and the package that is searched.
TAGS: dict[Group, str] = {"method": "kind", "task": "objective"}
_PACKAGES: dict[Group, str] = {"method": "dylora_exp.methods", "task": "dylora_exp.objectives"}
BASES: dict[Group, type[MethodSettings] | type[TaskConfig]] = {
    "method": MethodSettings,
    "task": TaskConfig,
}


@functools.cache
def implementations(group: Group) -> dict[str, Any]:
    """Return all methods or all objectives: classes by the tag of their settings."""
    package = importlib.import_module(_PACKAGES[group])
    found = []
    for item in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if not item.ispkg:
            names = vars(importlib.import_module(item.name)).values()
            found += [
                each
                for each in names
                if isinstance(each, type)
                and each.__module__ == item.name
                and "settings_class" in vars(each)
            ]
    found += [load_plugin(point) for point in entry_points(group=package.__name__)]
    return {_tag(group, each): each for each in found}


def load_plugin(point: EntryPoint) -> Any:
    """Return what an entry point of another package names.

    Raises:
        RequestError: When it cannot be imported.
    """
    try:
        return point.load()
    except Exception as error:  # of another's module, which may do anything
        package = point.dist.name if point.dist else point.value
        raise RequestError(
            f"{package}: its entry point {point.group}: {point.name} = {point.value} cannot be "
            f"loaded ({type(error).__name__}: {first_line(error)}); mend or uninstall it."
        ) from error


def settings_classes(group: Group) -> dict[str, Any]:
    """Return the schemas that ``method`` or ``task`` may have, by their tags."""
    return {tag: each.settings_class for tag, each in implementations(group).items()}


def method_class(kind: str) -> Any:
    """Return the class of a method."""
    return implementations("method")[kind]


def method_kinds() -> list[str]:
    """Return the values that ``method.kind`` may have."""
    return sorted(implementations("method"))


def objective_class(task: TaskConfig) -> Any:
    """Return the class of a task's objective."""
    return implementations("task")[task.objective]


def _tag(group: Group, implementation: Any) -> str:
    return str(implementation.settings_class.model_fields[TAGS[group]].default)
