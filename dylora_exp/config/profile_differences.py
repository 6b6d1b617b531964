"""The settings in which a run differs from what its profile says for its model, task and method."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dylora_exp.config.choices import options
from dylora_exp.config.composed_files import find_composed
from dylora_exp.config.loading import complete, load, own_defaults
from dylora_exp.config.run_identity import distinguishing_settings, identity
from dylora_exp.core import RequestError, config_folders

# What is named beside the settings, or counts as no difference between two runs.
_NAMED = ("seed", "profile", "model.name", "task.name", "method.name")
_CHOICES = ("profile", "model", "task", "method")


@dataclass(frozen=True)
class SettingDifference:
    """A setting that is not as the profile has it; ``value`` is the run's own."""

    key: str
    value: Any
    in_profile: Any

    @property
    def text(self) -> str:
        """The difference as an override."""
        return f"{self.key}={_text(self.value)}"

    @property
    def profile_text(self) -> str:
        """The profile's value."""
        return _text(self.in_profile)


def profile_differences(
    tree: Mapping[str, Any], names: Mapping[str, str]
) -> list[SettingDifference] | None:
    """Return the settings of a run that its profile, model, task and method do not have.

    Args:
        tree: The run's config as plain data, such as a record's.
        names: Its ``profile``, ``model``, ``task`` and ``method``. Of one that no file here has,
            but the profile's, no setting is compared.

    Returns:
        The differences in the order of their keys; None where there is nothing to compare with:
        the profile has no file here, or does not go with the other choices.
    """
    known = [key for key in _CHOICES if names[key] in options(key)]
    while "profile" in known:
        choices = tuple(f"{key}={names[key]}" for key in known)
        expected = _expected(choices, config_folders())
        if expected is not None:
            break
        known.pop()  # the method's module may be missing here, or its file be another's
    else:
        return None
    ignored = [*_NAMED, *(key for key in _CHOICES if key not in known)]
    ignored += [key for key in expected if key not in tree]  # of a record that does not say
    own, planned = (distinguishing_settings(each, ignored) for each in (tree, expected))
    found = []
    for key in sorted({*own, *planned}):
        value = own[key] if key in own else _default(tree, key)
        in_profile = planned[key] if key in planned else _default(expected, key)
        if value != in_profile:
            found.append(SettingDifference(key, value, in_profile))
    return found


@functools.cache
def _expected(overrides: tuple[str, ...], search_path: tuple[str, ...]) -> Mapping[str, Any] | None:
    """Return the identity of the run that these choices make; None where they do not fit."""
    kept = None if search_path else find_composed(overrides)
    with suppress(RequestError):
        if kept is not None:  # what ``compose`` would check and return, without Hydra
            keys = [override.partition("=")[0] for override in overrides]
            return identity(load(complete(kept.tree, keys), keys))
    from dylora_exp.config.composition import compose

    with suppress(RequestError):
        return identity(compose(overrides, search_path))
    return None


def _default(tree: Mapping[str, Any], key: str) -> Any:
    value: Any = own_defaults(tree)
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _text(value: Any) -> str:
    """Return a value in the grammar of overrides, as far as it is short."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_text(item)}" for key, item in value.items()) + "}"
    return str(value)
