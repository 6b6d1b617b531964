"""Command-line words to a checked config: Hydra composition with all problems reported at once.

Hydra stops at the first word it cannot place. Here each word is checked by itself first, so that
what is wrong in several places is said in one go; the rest is composed and checked by the schema.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, RangeSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dylora_exp.config.schema import Config, known_keys, load
from dylora_exp.core import RequestError, did_you_mean, first_line, unknown_name

_PACKAGE = Path(__file__).resolve().parent.parent
# A wheel carries conf/ inside the package; a checkout keeps it beside the package.
CONF_DIR = next(
    folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir()
)
# Underneath the YAML files lie the schema's defaults, so that every setting can be overridden.
ConfigStore.instance().store("schema", dataclasses.asdict(Config()))
PATHS = (
    *("task.data_dir", "results_dir", "outputs_dir", "hub_cache"),
    *("model.name_or_path", "method.adapter"),
)
GROUPS = (
    *("model", "task", "method", "ranks", "trainer", "tracker", "profile"),
    *("experiment", "debug"),
)


def options(group: str, search_path: Sequence[str] = ()) -> list[str]:
    """Return the names one can choose from in a config group.

    Args:
        group: Such as ``task``.
        search_path: Folders with further config files.
    """
    folders = [CONF_DIR, *(Path(folder.removeprefix("file://")) for folder in search_path)]
    return sorted({file.stem for folder in folders for file in (folder / group).glob("*.yaml")})


def compose(words: Sequence[str]) -> Config:
    """Compose one run from override words and check it.

    Raises:
        RequestError: With every problem of the words and of the composed config.
    """
    problems, good = check_overrides([quote_path(word) for word in words])
    try:
        config = from_hydra(_tree(good))
    except RequestError as error:
        problems += error.problems
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        problems.append(_one_sentence(error))
    if problems:
        raise RequestError(problems)
    return config


def _tree(words: Sequence[str]) -> DictConfig:
    """Return what Hydra composes: the chosen files, then the single settings on top.

    Hydra takes 0.1 s for the files, and tables compose hundreds of runs of the same few.
    """
    parsed = OverridesParser.create().parse_overrides(list(words))
    choices = [word for word, override in zip(words, parsed, strict=True) if _chooses(override)]
    tree = copy.deepcopy(_files(tuple(choices)))
    settings = [override for override in parsed if not _chooses(override)]
    ConfigLoaderImpl._apply_overrides_to_config(settings, tree)
    return tree


def _chooses(override: Override) -> bool:
    key = override.key_or_group
    return key in GROUPS or override.package is not None or key.startswith("hydra")


@functools.cache
def _files(choices: tuple[str, ...]) -> DictConfig:
    """Return what the chosen files say together."""
    with _compose_api():
        return hydra_compose("config", overrides=list(choices))


def from_hydra(tree: DictConfig) -> Config:
    """Check a tree that Hydra composed; the ``hydra`` node is ignored.

    Raises:
        RequestError: As ``config.load``, or when an interpolation cannot be resolved.
    """
    try:
        plain = OmegaConf.to_container(
            OmegaConf.masked_copy(tree, [str(key) for key in tree if key != "hydra"]),
            resolve=True,
        )
    except OmegaConfBaseException as error:
        raise RequestError(_one_sentence(error)) from None
    assert isinstance(plain, Mapping)
    return load({str(key): value for key, value in plain.items()})


def quote_path(word: str) -> str:
    """Quote a path that Hydra's grammar would not read: one with spaces, umlauts, ``~``, ..."""
    key, _, value = word.partition("=")
    if key not in PATHS or not value or value[0] in "'\"":
        return word
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"{key}='{escaped}'"
    return word


def check_overrides(
    words: Iterable[str], multirun: bool = False, search_path: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """Check override words one by one.

    Args:
        words: Overrides in Hydra's grammar.
        multirun: Whether a word may name several values.
        search_path: Folders with further config files.

    Returns:
        The problems found, and the words without any.
    """
    parser = OverridesParser.create()
    keys = known_keys()
    problems: list[str] = []
    good: list[str] = []
    for word in words:
        try:
            override = parser.parse_override(word)
        except HydraException:
            override = None
        if override is None or not override.key_or_group:
            key, equals, value = word.partition("=")
            hint = f", a value with signs in quotes: {key}='\"{value}\"'" if key and equals else ""
            problems.append(f"'{word}': cannot be read, expected key=value{hint}.")
            continue
        found = _word_problems(override, keys, multirun, search_path)
        problems += found
        if not found:
            good.append(word)
    return problems, good


def _word_problems(
    override: Override, keys: list[str], multirun: bool, search_path: Sequence[str]
) -> list[str]:
    key = override.key_or_group
    if multirun and _is_empty(override, search_path):
        return [f"{key}: '{str(override.input_line).split('=', 1)[1]}' stands for no value."]
    if key == "hydra.job.chdir":
        return [f"{key}: runs name their folders themselves, results_dir and outputs_dir."]
    if key == "hydra" or key.startswith(("hydra.", "hydra/")):
        return []
    if key in GROUPS:
        allowed = options(key, search_path)
        return [unknown_name(key, str(v), allowed) for v in _values(override) if v not in allowed]
    if key not in keys and not key.startswith(("model.config.", "model.overrides.")):
        return [f"{key}: there is no such setting{_nearest_key(key, keys) or '.'}"]
    if override.is_sweep_override() and not multirun:
        value = str(override.input_line).split("=", 1)[1]
        return [f"{key}: '{value}' names several values, add -m to run one after the other."]
    return []


def _is_empty(override: Override, search_path: Sequence[str]) -> bool:
    """Return whether a range or a glob has nothing in it."""
    value = override.value()
    if isinstance(value, Glob):
        key = override.key_or_group
        return key in GROUPS and not value.filter(options(key, search_path))
    return isinstance(value, RangeSweep) and not list(override.sweep_string_iterator())


def _nearest_key(key: str, keys: list[str]) -> str:
    """Look in the key's own group first: its last part is what was mistyped most often."""
    group, dot, leaf = key.rpartition(".")
    inside = [known.rpartition(".")[2] for known in keys if known.rpartition(".")[0] == group]
    found = did_you_mean(leaf, inside)
    return found.replace("'", f"'{group}{dot}", 1) if found else did_you_mean(key, keys)


def _values(override: Override) -> list[Any]:
    if isinstance(override.value(), Glob):
        return []  # it matches names that exist
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [] if override.is_delete() else [override.get_value_element_as_str()]


def _one_sentence(error: Exception) -> str:
    """Return what the innermost error says, as a sentence."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return first_line(error).rstrip(".") + "."


@contextmanager
def _compose_api() -> Iterator[None]:
    """Open Hydra's compose API on this project's conf folder; a running Hydra stays as it was."""
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        initialize_config_dir(str(CONF_DIR), version_base="1.3")
        yield
    finally:
        GlobalHydra.instance().clear()
        GlobalHydra.instance().hydra = running
