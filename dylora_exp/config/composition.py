"""Command-line overrides to a checked config: Hydra's composition, all problems at once.

Hydra stops at the first override that it cannot apply. Here each is checked by itself first, so
that everything that is wrong is said at once; the rest is composed and checked by the schema. A
setting that changes nothing in the run gets the value that profile, model, task and method say.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from dylora_exp.config.choices import CONF_DIR, CONFIG_GROUPS
from dylora_exp.config.composed_files import find_composed, keep_composed
from dylora_exp.config.effect import idle_settings, settings_without_effect
from dylora_exp.config.loading import complete, known_keys, load
from dylora_exp.config.overrides import check_overrides, quote_value
from dylora_exp.config.schema import Config
from dylora_exp.config.search_path import named_search_path, quoted_folder
from dylora_exp.core import RequestError, config_folders, first_line, unknown_name

# What a setting without effect is left as: what the files of these say.
_STANDARD = ("profile", "model", "task", "method")
_OF_MODELS = ("model.targets", "model.fused", "model.head", "model.config")


def compose(
    overrides: Sequence[str], search_path: Sequence[str] = (), shared: Collection[str] = ()
) -> Config:
    """Compose one run from overrides and check it.

    Args:
        overrides: In Hydra's grammar.
        search_path: Folders with further config files, as in Hydra's ``hydra.searchpath``.
        shared: Those of the overrides that other runs have as well: without an effect here they are
            left out, and not refused. So are all of them for a run that ``debug`` makes short.

    Raises:
        RequestError: With every problem of the overrides and of the composed config.
    """
    quoted = [quote_value(override) for override in overrides]
    folders = tuple(dict.fromkeys((*search_path, *config_folders(), *named_search_path(quoted))))
    problems, good = check_overrides(quoted, search_path=folders)
    parsed = OverridesParser.create().parse_overrides(good)
    keys = [each.key_or_group for each in parsed]
    is_shared = {quote_value(each) for each in (overrides if "debug" in keys else shared)}
    try:
        tree, choices = _compose(parsed, folders)
        config = from_hydra(
            tree,
            [key for key, text in zip(keys, good, strict=True) if text not in is_shared],
            [key for key, text in zip(keys, good, strict=True) if text in is_shared],
            choices,
            folders,
        )
    except RequestError as error:
        problems += error.problems
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        problems.append(_one_sentence(error))
    if problems:
        raise RequestError(problems)
    return config


def from_hydra(
    tree: DictConfig,
    overridden: Sequence[str] = (),
    shared: Sequence[str] = (),
    choices: Mapping[str, Any] | None = None,
    search_path: Sequence[str] = (),
) -> Config:
    """Check a tree that Hydra composed; the ``hydra`` node is ignored.

    Args:
        tree: The composed config.
        overridden: The keys that the user gave for this run alone, which must have an effect, but
            for those of ``_may_be_idle``.
        shared: The keys that the user gave for other runs as well.
        choices: The file that was chosen of each group, as Hydra's ``runtime.choices``.
        search_path: Folders with further config files.

    Raises:
        RequestError: As ``load``, or when an interpolation cannot be resolved.
    """
    plain, given = _to_plain(tree), [*overridden, *shared]
    overridden = [key for key in overridden if not _may_be_idle(key, plain, overridden)]
    shared = [key for key in given if key not in overridden]
    problems = []
    try:
        config = load(complete(plain, given), overridden, shared)
    except RequestError as error:  # perhaps of nothing but single settings without effect
        problems = error.problems
        try:
            config = load(complete(plain, given), (), given)
        except RequestError:
            raise error from None
    files = [key for key in given if key in CONFIG_GROUPS and key not in _STANDARD]
    if not problems and not files and not settings_without_effect(config, shared):
        return config  # nothing can differ from what the other files say
    chosen = tuple(f"{key}={(choices or {}).get(key)}" for key in _STANDARD)
    standard = _standard(chosen, tuple(search_path)) or {}
    moved = {
        key: _get(standard, key)
        for key in idle_settings(config)
        if key.partition(".")[0] in standard and _get(plain, key) != _get(standard, key)
    }
    of_files = [key for key in moved if key.partition(".")[0] in {*files} & {*overridden}]
    if problems := [*problems, *settings_without_effect(config, of_files).values()]:
        raise RequestError(dict.fromkeys(problems))
    for key, value in moved.items():
        _set(plain, key, value)
    still_given = [key for key in given if key not in moved]
    return load(complete(plain, still_given), overridden, shared) if moved else config


def _may_be_idle(key: str, tree: Mapping[str, Any], given: Collection[str]) -> bool:
    """Return whether a setting that the user gave may change nothing without a word.

    Nothing (null) claims no effect; what describes a model is given whatever the method and task;
    and who says a number of steps knows that it replaces the epochs.
    """
    replaced = key == "trainer.epochs" and "trainer.max_steps" in given
    return replaced or key in _OF_MODELS or _get(tree, key) is None


@functools.cache
def _standard(choices: tuple[str, ...], search_path: tuple[str, ...]) -> dict[str, Any] | None:
    """Return what the profile, the model, the task and the method say; None where they do not fit
    the project's own config.
    """
    try:
        return _to_plain(_compose_files(choices, search_path)[0])
    except (HydraException, OmegaConfBaseException, RequestError):
        return None


def _to_plain(tree: DictConfig) -> dict[str, Any]:
    """Return a tree as plain data, without the ``hydra`` node.

    Raises:
        RequestError: When an interpolation cannot be resolved.
    """
    try:
        plain = OmegaConf.to_container(
            OmegaConf.masked_copy(tree, [str(key) for key in tree if key != "hydra"]),
            resolve=True,
        )
    except OmegaConfBaseException as error:
        raise RequestError(_one_sentence(error)) from None
    assert isinstance(plain, Mapping)
    return {str(key): value for key, value in plain.items()}


_ABSENT = object()


def _get(tree: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key, ``_ABSENT`` where there is none."""
    found: Any = tree
    for name in key.split("."):
        found = found.get(name, _ABSENT) if isinstance(found, Mapping) else _ABSENT
    return found


def _set(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set, or remove, the value at a dotted key of a tree."""
    *groups, name = key.split(".")
    for group in groups:
        tree = tree[group]
    if value is _ABSENT:
        del tree[name]
    else:
        tree[name] = copy.deepcopy(value)


def _compose(
    overrides: Sequence[Override], search_path: Sequence[str]
) -> tuple[DictConfig, Mapping[str, Any]]:
    """Return what Hydra composes, and the file of each group: the files, then single settings.

    Hydra takes 0.1 s for the files, and tables compose hundreds of runs of the same few.
    """
    choices = [str(each.input_line) for each in overrides if _chooses_file(each)]
    files, chosen = _compose_files(tuple(choices), tuple(search_path))
    tree = copy.deepcopy(files)
    for override in overrides:
        if not _chooses_file(override):
            _apply(override, tree)
    return tree, chosen


def _chooses_file(override: Override) -> bool:
    key = override.key_or_group
    return key in CONFIG_GROUPS or override.package is not None or key.startswith("hydra")


@functools.cache
def _compose_files(
    choices: tuple[str, ...], search_path: tuple[str, ...]
) -> tuple[DictConfig, Mapping[str, Any]]:
    """Return what the chosen files say together, and which file of each group was chosen."""
    choices = tuple(each for each in choices if not each.startswith("hydra.searchpath"))
    if not search_path and (kept := find_composed(choices)) is not None:
        tree = OmegaConf.create(kept.tree)
        OmegaConf.set_struct(tree, True)
        return tree, kept.chosen
    folders = ",".join(map(quoted_folder, search_path))
    with _compose_api():
        tree = hydra_compose(
            "config", [*choices, f"hydra.searchpath=[{folders}]"], return_hydra_config=True
        )
    chosen = dict(tree.hydra.runtime.choices)
    with open_dict(tree):
        del tree["hydra"]
    if not search_path:
        keep_composed(choices, OmegaConf.to_container(tree), chosen)
    return tree, chosen


def _apply(override: Override, tree: DictConfig) -> None:
    """Set, add (``+``, ``++``) or delete (``~``) one setting, as Hydra does.

    Raises:
        ValueError: When there is nothing to delete, or something to add is there already.
    """
    key, value = override.key_or_group, override.value()
    found = OmegaConf.select(tree, key, throw_on_missing=False)
    if override.is_delete():
        if found is None or value not in (None, found):
            shown = "there is no such value" if found is None else f"its value is {found}"
            raise ValueError(f"{override.input_line}: cannot delete, {shown}.")
        group, _, name = key.rpartition(".")
        with open_dict(tree):
            del (OmegaConf.select(tree, group) if group else tree)[name]
    elif override.is_add() and found is not None and not isinstance(value, dict | list):
        raise ValueError(f"{override.input_line}: there is a value already, leave out the '+'.")
    else:
        # A group that the chosen task leaves out is named by the schema's sentence, not by Hydra's.
        adds = override.is_add() or override.is_force_add() or key in known_keys()
        OmegaConf.update(tree, key, value, merge=True, force_add=adds)


def missing_config(error: MissingConfigException) -> str:
    """Return the sentence for a file of a config group that Hydra does not find."""
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    if not error.options:
        return first_line(error).rstrip(".") + "."
    return unknown_name(group, name, error.options)


def _one_sentence(error: Exception) -> str:
    """Return what the innermost error says, as a sentence."""
    if isinstance(error, MissingConfigException):
        return missing_config(error)
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return first_line(error).rstrip(".") + "."


@contextmanager
def _compose_api() -> Iterator[Any]:
    """Open Hydra's compose API on this project's conf folder; a running Hydra stays as it was."""
    instance = GlobalHydra.instance()
    running = instance.hydra
    instance.clear()
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().clear()
        if running is not None:
            GlobalHydra.instance().initialize(running)
