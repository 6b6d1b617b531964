"""Plain trees to checked configs, each method and each task with settings of its own."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, create_model

from dylora_exp.config.effect import has_effect, settings_without_effect
from dylora_exp.config.field_types import Mark
from dylora_exp.config.readers import READERS
from dylora_exp.config.registry import BASES, GROUPS, TAGS, Group, implementations, settings_classes
from dylora_exp.config.schema import Config
from dylora_exp.core import (
    RequestError,
    field_types,
    is_model,
    keys,
    parse,
    path_problem,
    unknown_name,
)

# OmegaConf's own sign for a setting without a value.
MISSING = "???"


def load(
    tree: Mapping[str, Any], overridden: Collection[str] = (), shared: Collection[str] = ()
) -> Config:
    """Check a plain config tree against the schema and return the typed config.

    Settings of another method or objective are dropped where they have their default there: the
    tree of a record or of Hydra may hold those of all.

    Args:
        tree: A whole config.
        overridden: The keys that the user gave, which must have an effect.
        shared: Keys that the user gave for other runs as well, which need have none here.

    Raises:
        RequestError: With one sentence for each unknown key, wrong type, value out of bounds, or
            pair of values that do not go together.
    """
    tree, schemas, in_vain = dict(tree), {}, dict[str, str]()
    for group in GROUPS:
        if group in tree:
            schemas[group], tree[group], found = _own_settings(
                group, tree[group], overridden, shared
            )
            in_vain |= found
    problems = list(in_vain.values())
    try:
        config = parse(_schema(**schemas), tree)
        if schemas["task"] is not BASES["task"]:  # only an objective knows what goes together
            foreign = {
                key: sentence
                for key, sentence in config.task.foreign_settings().items()
                if not any(_is_below(given, [key]) for given in shared)
            }
            in_vain |= foreign
            problems += [*config.problems(), *foreign.values(), *_path_problems(config)]
            if schemas["method"] is not BASES["method"]:
                found = settings_without_effect(config, overridden)
                said = tuple(problem.partition(":")[0] for problem in problems)
                problems += [
                    found[key] for key in found if not _is_below(key, in_vain) and key not in said
                ]
    except RequestError as error:
        problems += error.problems
    if problems:
        raise RequestError(problems)
    # Of the class that can be pickled, for other processes.
    return Config.model_construct(**{name: getattr(config, name) for name in Config.model_fields})


def complete(tree: Mapping[str, Any], overridden: Collection[str] = ()) -> Mapping[str, Any]:
    """Return a composed tree with what the method reads out of files that the tree names.

    Args:
        tree: A whole config, not checked yet.
        overridden: The keys that the user gave.

    Raises:
        RequestError: When such a file is wrong, or the user gave something else than it says.
    """
    method = tree.get("method")
    kind = method.get(TAGS["method"]) if isinstance(method, Mapping) else None
    chosen = implementations("method").get(kind) if isinstance(kind, str) else None
    return tree if chosen is None else chosen.complete(tree, overridden)


def known_keys() -> list[str]:
    """Return every dotted key of the schema, groups and the settings of all methods included."""
    found = dict.fromkeys(keys(Config))
    for group in GROUPS:
        for schema in settings_classes(group).values():
            found |= dict.fromkeys(keys(schema, f"{group}."))
    return list(found)


@functools.cache
def marked_keys(mark: Mark) -> frozenset[str]:
    """Return the dotted keys of all settings with a mark."""
    found = set(_marked(Config, mark))
    for group in GROUPS:
        for schema in settings_classes(group).values():
            found |= set(_marked(schema, mark, f"{group}."))
    return frozenset(found)


@functools.cache
def default_tree() -> dict[str, Any]:
    """Return every setting of every method and objective as a tree, at its default.

    A setting without one, or of several classes that differ in it, is ``MISSING``.
    """
    tree = _defaults(Config)
    for group in GROUPS:
        together: dict[str, Any] = {TAGS[group]: MISSING}
        for schema in settings_classes(group).values():
            for key, value in _defaults(schema).items():
                together[key] = value if together.get(key, value) == value else MISSING
        tree[group] = together
    return tree


@functools.cache
def known_names(group: str) -> frozenset[str]:
    """Return the names of all settings of a group, those of all methods and objectives included."""
    beginning = f"{group}."
    keys_ = (key for key in known_keys() if key.startswith(beginning))
    return frozenset(key.removeprefix(beginning).partition(".")[0] for key in keys_)


def own_defaults(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults that hold for a config: those of its method and objective first.

    Args:
        tree: A whole config, such as a record's, or what there is of one.
    """
    defaults = dict(default_tree())
    for group in GROUPS:
        found = tree.get(group)
        own = _defaults(_chosen(group, found)[1]) if isinstance(found, Mapping) else {}
        defaults[group] = defaults[group] | own
    defaults["task"][TAGS["task"]] = _implied_objective(tree.get("task") or {})
    del defaults["method"][TAGS["method"]]  # it always counts
    return defaults


def _chosen(group: Group, tree: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the tag of a group of settings and its schema, that of all where it is unknown."""
    tag = tree.get(TAGS[group], MISSING)
    if tag == MISSING and group == "task":
        tag = _implied_objective(tree)
    return str(tag), settings_classes(group).get(str(tag), BASES[group])


def _implied_objective(task: Mapping[str, Any]) -> str:
    reader = READERS.get(str(task.get("reader")))
    return "generation" if reader and reader.answers == ("texts",) else "classification"


def _own_settings(
    group: Group, tree: Any, overridden: Collection[str], shared: Collection[str]
) -> tuple[Any, Any, dict[str, str]]:
    """Return the schema of a group, the settings that it knows or nobody does, and the problems
    with others by their keys.
    """
    if not isinstance(tree, Mapping):
        return BASES[group], tree, {}
    tag, own = _chosen(group, tree)
    everyone = settings_classes(group)
    kept: dict[str, Any] = {TAGS[group]: tag}
    problems = {}
    if tag not in everyone:
        shown = "" if tag == MISSING else tag
        tag_key = f"{group}.{TAGS[group]}"
        problems[tag_key] = unknown_name(tag_key, shown, everyone)
    for key, value in tree.items():
        if value == MISSING or key == TAGS[group]:
            continue
        owners = {name: each for name, each in everyone.items() if has_effect(each, key)}
        in_vain = f"{group}.{key}" in overridden and not has_effect(own, key)
        if not owners or (key in own.model_fields and not in_vain):
            kept[key] = value  # of nobody: the schema names the nearest
        elif any(_is_below(given, [f"{group}.{key}"]) for given in shared):
            continue
        elif tag in everyone and (
            in_vain or all(value != _defaults(each)[key] for each in owners.values())
        ):
            *others, last = (name.replace("_", "-") for name in sorted(owners))
            names = " and ".join(filter(None, (", ".join(others), last)))
            problems[f"{group}.{key}"] = (
                f"{group}.{key}: {group} '{tree.get('name', tag)}' has no such setting, "
                f"only {names} {'has' if len(owners) == 1 else 'have'}."
            )
    return own, kept, problems


def _is_below(key: str, others: Collection[str]) -> bool:
    """Return whether a dotted key is one of some keys, or below one."""
    return any(f"{key}.".startswith(f"{each}.") for each in others)


@functools.cache
def _schema(method: Any = BASES["method"], task: Any = BASES["task"]) -> type[Config]:
    """Return the schema of a whole config with the settings of one method and one task."""
    return create_model("Config", __base__=Config, method=(method, ...), task=(task, ...))


@functools.cache
def _defaults(schema: type[BaseModel]) -> dict[str, Any]:
    """Return a schema's defaults as plain data, without the settings that have none."""
    found = {}
    for name, field in schema.model_fields.items():
        if not field.is_required() and name not in TAGS.values():
            value = field.get_default(call_default_factory=True)
            found[name] = value.model_dump() if isinstance(value, BaseModel) else value
    return found


def _path_problems(config: Config) -> Iterator[str]:
    """Yield a sentence for each setting that no folder or file can be named like."""
    for key in sorted(marked_keys(Mark.FOLDER) | marked_keys(Mark.FILE)):
        value: Any = config
        for name in key.split("."):
            value = getattr(value, name, None)
        if isinstance(value, str) and (problem := path_problem(value)):
            yield f"{key}: {problem}."


def _marked(schema: type[BaseModel], mark: Mark, prefix: str = "") -> Iterator[str]:
    for name, field in schema.model_fields.items():
        if mark in field.metadata:
            yield prefix + name
        for option in filter(is_model, field_types(field.annotation)):
            yield from _marked(option, mark, f"{prefix}{name}.")
