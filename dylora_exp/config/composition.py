"""Command-line overrides to a checked config: Hydra's composition, all problems at once.

Hydra stops at the first override that it cannot apply. Here each is checked by itself first, so
that everything that is wrong is said at once; the rest is composed and checked by the schema.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping, Sequence
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

from dylora_exp.config.loading import complete, load
from dylora_exp.config.overrides import (
    CONF_DIR,
    CONFIG_GROUPS,
    check_overrides,
    quote_value,
)
from dylora_exp.config.schema import Config
from dylora_exp.config.search_path import named_search_path, quoted_folder
from dylora_exp.core import RequestError, config_folders, first_line, unknown_name


def compose(overrides: Sequence[str], search_path: Sequence[str] = ()) -> Config:
    """Compose one run from overrides and check it.

    Args:
        overrides: In Hydra's grammar.
        search_path: Folders with further config files, as in Hydra's ``hydra.searchpath``.

    Raises:
        RequestError: With every problem of the overrides and of the composed config.
    """
    quoted = [quote_value(override) for override in overrides]
    folders = tuple(dict.fromkeys((*search_path, *config_folders(), *named_search_path(quoted))))
    problems, good = check_overrides(quoted, search_path=folders)
    parsed = OverridesParser.create().parse_overrides(good)
    try:
        config = from_hydra(_compose(parsed, folders), [each.key_or_group for each in parsed])
    except RequestError as error:
        problems += error.problems
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        problems.append(_one_sentence(error))
    if problems:
        raise RequestError(problems)
    return config


def from_hydra(tree: DictConfig, overridden: Sequence[str] = ()) -> Config:
    """Check a tree that Hydra composed; the ``hydra`` node is ignored.

    Args:
        tree: The composed config.
        overridden: The keys that the user gave.

    Raises:
        RequestError: As ``load``, or when an interpolation cannot be resolved.
    """
    try:
        plain = OmegaConf.to_container(
            OmegaConf.masked_copy(tree, [str(key) for key in tree if key != "hydra"]),
            resolve=True,
        )
    except OmegaConfBaseException as error:
        raise RequestError(_one_sentence(error)) from None
    assert isinstance(plain, Mapping)
    named = {str(key): value for key, value in plain.items()}
    return load(complete(named, overridden), overridden)


def _compose(overrides: Sequence[Override], search_path: Sequence[str]) -> DictConfig:
    """Return what Hydra composes: the chosen files, then the single settings on top.

    Hydra takes 0.1 s for the files, and tables compose hundreds of runs of the same few.
    """
    choices = [str(each.input_line) for each in overrides if _chooses_file(each)]
    tree = copy.deepcopy(_compose_files(tuple(choices), tuple(search_path)))
    for override in overrides:
        if not _chooses_file(override):
            _apply(override, tree)
    return tree


def _chooses_file(override: Override) -> bool:
    key = override.key_or_group
    return key in CONFIG_GROUPS or override.package is not None or key.startswith("hydra")


@functools.cache
def _compose_files(choices: tuple[str, ...], search_path: tuple[str, ...]) -> DictConfig:
    """Return what the chosen files say together."""
    folders = ",".join(map(quoted_folder, search_path))
    choices = tuple(each for each in choices if not each.startswith("hydra.searchpath"))
    with _compose_api():
        return hydra_compose("config", [*choices, f"hydra.searchpath=[{folders}]"])


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
        adds = override.is_add() or override.is_force_add()
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
