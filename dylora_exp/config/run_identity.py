"""What makes two runs the same: their configs without paths, logging and hardware choices.

Run ids, the grouping of records and their matching to planned runs all follow from
``distinguishing_settings``.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pydantic_core

from dylora_exp.config.field_types import Mark
from dylora_exp.config.loading import known_names, marked_keys, own_defaults
from dylora_exp.config.schema import Config
from dylora_exp.core import expand_user, file_sha256

# The groups of settings that every config has.
_GROUPS = ("model", "task", "method", "ranks", "trainer")
# What decides the adapter that PEFT saved in a folder; a README or a tokenizer may lie beside it.
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
# What desktops leave in folders that are looked at.
_OF_FILE_BROWSERS = (".DS_Store", "Thumbs.db", "desktop.ini")

# Of two groups, the settings that also matter where nothing is trained.
OF_SCORING = {
    "trainer": frozenset({"eval_batch_size", "bf16", "compile", "threads"}),
    "method": frozenset({"name", "kind", "alpha", "adapter", "score"}),
}


def identity(config: Config) -> dict[str, Any]:
    """Return the config as plain data without paths, logging and hardware choices.

    A local model folder is named by a digest of its files, so that the same weights at another
    path are the same model and other weights at the same path are not. So is an adapter. Where
    nothing is trained, the defaults of training are left out: they say nothing about the run.
    """
    tree = _without(config.model_dump(), "")
    for mark, portable in ((Mark.FOLDER, _portable_folder), (Mark.FILE, _portable_file)):
        for key in marked_keys(mark):
            *groups, name = key.split(".")
            found: Any = tree
            for group in groups:
                found = found.get(group) if isinstance(found, dict) else None
            if isinstance(found, dict) and found.get(name) is not None:
                found[name] = portable(found[name])
    if not config.method.trains:
        defaults = own_defaults(tree)
        for group, scoring in OF_SCORING.items():
            tree[group] = {
                key: value
                for key, value in tree[group].items()
                if key in scoring or key not in defaults[group] or value != defaults[group][key]
            }
    return tree


def distinguishing_settings(
    tree: Mapping[str, Any], ignore: Collection[str] = ()
) -> dict[str, Any]:
    """Return the settings that set a config apart: those not at their default, by dotted key.

    Two configs are of the same run where these are equal. Defaults are left out, so that a record
    made before an option existed is the same as one that has its default; so are paths, logging
    and hardware choices.

    Args:
        tree: A config as plain data, such as ``identity`` returns and records keep.
        ignore: Dotted keys of settings or groups to leave out as well, such as ``seed``.
    """
    found = {".".join(path): value for path, value in _changes(tree, own_defaults(tree))}
    return {key: value for key, value in found.items() if not _is_in(key, ignore)}


def configs_match(
    tree: Mapping[str, Any], other: Mapping[str, Any], ignore: Collection[str] = ()
) -> bool:
    """Return whether two configs as plain data have the same settings.

    Args:
        tree: A config.
        other: Another.
        ignore: Dotted keys that may differ.
    """
    return distinguishing_settings(tree, ignore) == distinguishing_settings(other, ignore)


def run_id(config: Config) -> str:
    """Return the run's name: 12 hex digits of a hash over its distinguishing settings."""
    return digest(_nested_changes(identity(config)))


def recompute_run_id(tree: Mapping[str, Any]) -> str | None:
    """Return the run id of a record's config; None where it cannot be known from it.

    That is a config with a part missing, or with a setting that is not known here: its default is
    that of another version.
    """
    # Many records differ in their seeds alone.
    changes = _known_changes(pydantic_core.to_json(dict(tree, seed=None)))
    if changes is None or "seed" not in tree:
        return None
    own = {} if tree["seed"] == Config.model_fields["seed"].default else {"seed": tree["seed"]}
    return digest(changes | own)


@functools.lru_cache(maxsize=4096)
def _known_changes(text: bytes) -> dict[str, Any] | None:
    """Return what a record's config has not at its default; None where it cannot be known."""
    tree = json.loads(text)
    del tree["seed"]
    whole = all(isinstance(tree.get(name), Mapping) for name in _GROUPS)
    if not whole or not set(tree) <= set(own_defaults(tree)) or "kind" not in tree["method"]:
        return None
    if any(not tree[name].keys() <= known_names(name) for name in _GROUPS):
        return None
    return _nested_changes(tree)


def _nested_changes(tree: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, value in _changes(tree, own_defaults(tree)):
        group = nested
        for name in path[:-1]:
            group = group.setdefault(name, {})
        group[path[-1]] = value
    return nested


def setup_id(config: Config) -> str:
    """Return the name that runs of different seeds share: their run id with the default seed."""
    return run_id(config.model_copy(update={"seed": Config.model_fields["seed"].default}))


@functools.lru_cache(maxsize=4096)
def is_identity(key: str) -> bool:
    """Return whether a setting is none of the paths, logging and hardware choices."""
    return not _is_in(key, marked_keys(Mark.NOT_IDENTITY))


def digest(tree: Any) -> str:
    """Return 12 hex digits of a hash over plain data, whatever the order of its keys."""
    text = json.dumps(tree, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, which is read once as long as it stays as it is."""
    status = path.stat()
    return _file_digest(path.resolve(), status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _file_digest(path: Path, size: int, modified: int) -> str:
    return file_sha256(path)


def _is_in(key: str, groups: Collection[str]) -> bool:
    """Return whether a dotted key is one of some keys or lies in one of them."""
    parts = key.split(".")
    return any(".".join(parts[:end]) in groups for end in range(1, len(parts) + 1))


def _without(tree: dict[str, Any], prefix: str) -> dict[str, Any]:
    hidden = marked_keys(Mark.NOT_IDENTITY)
    return {
        key: _without(value, f"{prefix}{key}.") if isinstance(value, dict) else value
        for key, value in tree.items()
        if f"{prefix}{key}" not in hidden
    }


def _changes(
    tree: Mapping[str, Any], defaults: Any, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every setting that is of the identity and not at its default, with its path."""
    known = defaults if isinstance(defaults, Mapping) else {}
    for name, value in tree.items():
        if name in known and value == known[name]:
            continue
        here = (*path, str(name))
        if not is_identity(".".join(here)):
            continue
        if isinstance(value, Mapping) and (value or known is defaults):
            yield from _changes(value, known.get(name), here)
        elif name not in known or value != known[name]:
            yield here, value


def _portable_folder(name: str) -> str:
    folder = expand_user(name)
    return f"local:{_folder_digest(folder.resolve())}" if folder.is_dir() else name


def _portable_file(name: str) -> str:
    """Return a name for the contents of a file, or of an adapter; its path where there is none."""
    path = expand_user(name)
    if path.is_dir() and all((path / file).is_file() for file in ADAPTER_FILES):
        return f"local:{digest([file_digest(path / file) for file in ADAPTER_FILES])}"
    return f"local:{file_digest(path)[:16]}" if path.is_file() else str(path)


@functools.cache
def _folder_digest(folder: Path) -> str:
    """Return a digest of the names and contents of a folder's files."""
    total = hashlib.sha256()
    for file in sorted(each for each in folder.iterdir() if each.is_file()):
        if file.name in _OF_FILE_BROWSERS:
            continue
        total.update(f"{file.name}\n".encode())
        total.update(bytes.fromhex(file_sha256(file)))
    return total.hexdigest()[:16]
