"""What makes two runs the same: their configs without paths, logging and hardware choices."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dylora_exp.config.schema import Config
from dylora_exp.core import file_sha256

# Paths, logging and hardware choices: they change where and how fast, not what comes out.
NOT_IDENTITY = frozenset(
    {
        "results_dir",
        "outputs_dir",
        "hub_cache",
        "running",
        "tracker",
        "task.data_dir",
        "task.published",
        "model.extra",
        "method.examples_per_pass",
        "ranks.tolerance",
        "trainer.eval_batch_size",
        "trainer.save_steps",
        "trainer.threads",
    }
)


def identity(config: Config) -> dict[str, Any]:
    """Return the config as plain data without paths, logging and hardware choices.

    A local model folder is named by a digest of its files, so that the same weights in another
    place are the same model and other weights in the same place are not. So is an adapter file.
    """
    tree = _without(dataclasses.asdict(config), "")
    tree["model"]["name_or_path"] = _portable(config.model.name_or_path)
    if config.model.tokenizer is not None:
        tree["model"]["tokenizer"] = _portable(config.model.tokenizer)
    if config.method.adapter is not None:
        tree["method"]["adapter"] = _portable_file(Path(config.method.adapter).expanduser())
    return tree


def run_id(config: Config) -> str:
    """Return the run's name: 12 hex digits of a hash over all identity values not at default."""
    changed = _difference(identity(config), _without(dataclasses.asdict(Config()), ""))
    return digest(changed)


def setup_id(config: Config) -> str:
    """Return the name that runs of different seeds share: their run id with the default seed."""
    return run_id(dataclasses.replace(config, seed=Config().seed))


def configs_match(settings: Any, others: Any, ignore: Collection[str] = (), name: str = "") -> bool:
    """Return whether two configs as plain data name no setting differently.

    Settings that only one of them has count as agreeing: it is older than they are.

    Args:
        settings: A config, or a part of one.
        others: Another.
        ignore: Dotted names that may differ.
        name: The dotted name of the part.
    """
    if isinstance(settings, Mapping) and isinstance(others, Mapping):
        return all(
            configs_match(value, others[key], ignore, f"{name}.{key}" if name else key)
            for key, value in settings.items()
            if key in others
        )
    return bool(settings == others) or name in ignore


def digest(tree: dict[str, Any]) -> str:
    """Return 12 hex digits of a hash over plain data, whatever the order of its keys."""
    text = json.dumps(tree, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _without(tree: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {
        key: _without(value, f"{prefix}{key}.") if isinstance(value, dict) else value
        for key, value in tree.items()
        if prefix + key not in NOT_IDENTITY
    }


def _difference(tree: dict[str, Any], default: Any) -> dict[str, Any]:
    """Return what of ``tree`` differs from ``default``, group by group."""
    if not isinstance(default, dict):
        return tree
    changed = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            inner = _difference(value, default.get(key))
            if inner:
                changed[key] = inner
        elif key not in default or value != default[key]:
            changed[key] = value
    return changed


def _portable(name: str) -> str:
    folder = Path(name).expanduser()
    return f"local:{_folder_digest(folder.resolve())}" if folder.is_dir() else name


def _portable_file(path: Path) -> str:
    """Return a name for the contents of a file; its path where there is none."""
    return f"local:{file_sha256(path)[:16]}" if path.is_file() else str(path)


@functools.cache
def _folder_digest(folder: Path) -> str:
    """Return a digest of the names and contents of a folder's files."""
    total = hashlib.sha256()
    for file in sorted(file for file in folder.iterdir() if file.is_file()):
        total.update(f"{file.name}\n".encode())
        total.update(bytes.fromhex(file_sha256(file)))
    return total.hexdigest()[:16]
