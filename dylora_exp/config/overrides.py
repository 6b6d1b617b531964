"""Checks of single overrides: what can be read, which keys and choices there are."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Sequence

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
)
from hydra.errors import HydraException

from dylora_exp.config.choices import CONFIG_GROUPS, options
from dylora_exp.config.cuts import Scale
from dylora_exp.config.field_types import Mark
from dylora_exp.config.loading import default_tree, known_keys, marked_keys
from dylora_exp.config.own_models import add_own_model, is_path, own_model_problem
from dylora_exp.config.search_path import named_search_path, search_path_problems
from dylora_exp.core import did_you_mean, unknown_name

# Underneath its YAML files lie the schema's defaults, so that every setting can be overridden.
ConfigStore.instance().store("schema", default_tree())


def quote_value(override: str) -> str:
    """Quote what Hydra's grammar would not read: a path with spaces or umlauts, ``alpha/sqrt(b)``.

    Args:
        override: As the user typed it.

    Returns:
        One that Hydra reads, or the same.
    """
    key, _, value = override.partition("=")
    named = key in marked_keys(Mark.FOLDER) | marked_keys(Mark.FILE)
    is_folder = named or (key == "model" and is_path(value))
    roots = [name for name in typing.get_args(Scale) if "(" in name and name in value]
    if not (is_folder and value and value[0] not in "'\"") and not roots:
        return override
    try:
        OverridesParser.create().parse_override(override)
    except (HydraException, ValueError, RecursionError):
        if is_folder:
            escaped = value.replace("\\", "\\\\").replace("'", "\\'")
            return f"{key}='{escaped}'"
        for name in roots:  # Hydra would call a function sqrt
            value = value.replace(name, name.replace("(", r"\(").replace(")", r"\)"))
        return f"{key}={value}"
    return override


def check_overrides(
    overrides: Iterable[str], multirun: bool = False, search_path: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """Check overrides one by one.

    Args:
        overrides: In Hydra's grammar.
        multirun: Whether an override may name several values.
        search_path: Folders with further config files.

    Returns:
        The problems found, and the overrides without any.
    """
    parser = OverridesParser.create()
    overrides = list(overrides)
    named = named_search_path(overrides)
    search_path = [*search_path, *named]
    keys = known_keys()
    problems = search_path_problems(named)
    good: list[str] = []
    for text in overrides:
        try:
            override = parser.parse_override(text)
        except (HydraException, ValueError, RecursionError):  # thousands of digits, or brackets
            override = None
        if override is None or not override.key_or_group:
            key, equals, value = text.partition("=")
            hint = f", a value with signs in quotes: {key}='\"{value}\"'" if key and equals else ""
            problems.append(f"'{text}': cannot be read, expected key=value{hint}.")
        elif found := _problems(override, keys, multirun, search_path):
            problems += found
        else:
            good.append(text)
    return problems, good


def _problems(
    override: Override, keys: list[str], multirun: bool, search_path: Sequence[str]
) -> list[str]:
    key, value = override.key_or_group, str(override.input_line).partition("=")[2]
    try:
        if override.is_sweep_override() and _is_empty(override, search_path):
            return [f"{key}: '{value}' stands for no value."]
    except ValueError as error:
        return [f"{key}: '{value}' cannot be read ({error})."]
    if key == "hydra.job.chdir":
        return [f"{key}: runs name their folders themselves, results_dir and outputs_dir."]
    if key == "hydra/sweeper" and value.startswith("optuna"):
        return [f"{key}: '{value}' is now a command: dylora search [overrides] --trials N."]
    if key in (*CONFIG_GROUPS, "hydra/launcher"):
        if isinstance(override.value(), IntervalSweep):
            return [f"{key}: found '{value}', expected a name or several."]
        allowed = options(key, search_path)
        found = _choice_problems(key, _values(override), allowed)
        return found or _sweep_problems(override, multirun)
    if key == "hydra" or key.startswith(("hydra.", "hydra/")):
        return []
    if key not in keys and not key.startswith(("model.config.", "model.overrides.")):
        return [f"{key}: there is no such setting{_nearest_key(key, keys) or '.'}"]
    return _sweep_problems(override, multirun)


def _sweep_problems(override: Override, multirun: bool) -> list[str]:
    if not override.is_sweep_override() or multirun:
        return []
    key, value = override.key_or_group, str(override.input_line).partition("=")[2]
    return [f"{key}: '{value}' names several values, add -m to run one after the other."]


def _choice_problems(group: str, names: Sequence[str], allowed: Sequence[str]) -> list[str]:
    """Return what is wrong with choices in a group; a model of one's own becomes an option."""
    found = []
    for name in [each for each in names if each not in allowed]:
        if group != "model":
            problem: str | None = unknown_name(group, name, allowed)
        else:
            problem = own_model_problem(name, allowed)
        if problem is None:
            add_own_model(name)
        else:
            found.append(problem)
    return found


def _is_empty(override: Override, search_path: Sequence[str]) -> bool:
    """Return whether a range or a glob has nothing in it."""
    value = override.value()
    if isinstance(value, Glob):
        key = override.key_or_group
        return key in CONFIG_GROUPS and not value.filter(options(key, search_path))
    return isinstance(value, RangeSweep) and next(override.sweep_string_iterator(), None) is None


def _nearest_key(key: str, keys: list[str]) -> str:
    """Look in the key's own group first: its last part is what was mistyped most often."""
    group, dot, leaf = key.rpartition(".")
    inside = [known.rpartition(".")[2] for known in keys if known.rpartition(".")[0] == group]
    found = did_you_mean(leaf, inside)
    return found.replace("'", f"'{group}{dot}", 1) if found else did_you_mean(key, keys)


def _values(override: Override) -> list[str]:
    """Return the names that an override chooses, as Hydra will look for them."""
    value = override.value()
    if isinstance(value, Glob) or override.is_delete():
        return []  # a pattern matches names that exist
    if isinstance(value, ChoiceSweep):
        return [each.text if isinstance(each, QuotedString) else str(each) for each in value.list]
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [value if isinstance(value, str) else override.get_value_element_as_str()]
