"""What chosen config files say together, kept for the next command.

Hydra takes 0.1 s for each combination of files and 0.2 s to begin with; tables and lists compose
dozens of them. What it composed is kept in the folder ``configs`` of the user's cache, a small file
for each combination. The file's name is a digest of all that decides its content: the versions of
Hydra and OmegaConf, the contents of every file under ``conf``, the schema's defaults, the choice.
Its content holds a digest of itself, so that a damaged file is as good as none.

Combinations with files outside ``conf``, or of what the environment decides, are never kept.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from dylora_exp.config.choices import CONF_DIR, CONFIG_GROUPS, option_files
from dylora_exp.config.loading import default_tree
from dylora_exp.core import RequestError, cache_folder, write_atomically

# Of the files that are kept; a new one makes all of them anew.
_FORMAT = 1
_CHOICE = re.compile(r"(\w+)=([\w.-]+)")
# OmegaConf resolves these when it is asked, by the environment or by other settings.
_INTERPOLATION = "${"
# Older ones are removed: whoever changes the files under conf leaves a set behind.
_MOST_FILES = 1000


@dataclass(frozen=True)
class ComposedFiles:
    """What Hydra composed of some files.

    Attributes:
        tree: All settings as plain data.
        chosen: The file of each config group.
    """

    tree: dict[str, Any]
    chosen: dict[str, Any]


def find_composed(choices: Sequence[str]) -> ComposedFiles | None:
    """Return what Hydra once composed of these files; None where that is not known.

    Args:
        choices: Overrides that choose a file of a group each, in their order.
    """
    if not _are_own(choices):
        return None
    try:
        return _read(_path(choices, _digest_of_inputs()))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # not there, or not what was written


def keep_composed(choices: Sequence[str], tree: Any, chosen: Mapping[str, Any]) -> None:
    """Keep what Hydra composed, as far as it follows from the files under ``conf`` alone.

    Args:
        choices: As ``find_composed`` takes them.
        tree: The settings as plain data, interpolations as they are.
        chosen: The file of each group.
    """
    digest = _digest_of_inputs()
    if not _are_own(choices) or digest != _read_inputs():  # the files have changed meanwhile
        return
    path = _path(choices, digest)
    composed = {"name": path.name, "tree": tree, "chosen": dict(chosen)}
    text = _canonical(composed)
    if _INTERPOLATION in text or json.loads(text) != composed:
        return
    if "~" in path.parts:  # who runs this has no home
        return
    with suppress(RequestError, OSError):  # a cache that cannot be written to is none
        write_atomically(path, _canonical({"composed": text, "sha256": _sha256(text)}))
        _remove_oldest(path.parent)


def _read(path: Path) -> ComposedFiles:
    """Return what a file holds.

    Raises:
        ValueError, KeyError, TypeError: When it is not what was written under this name.
    """
    kept = json.loads(path.read_bytes())
    composed = json.loads(kept["composed"])
    if _sha256(kept["composed"]) != kept["sha256"] or composed["name"] != path.name:
        raise ValueError("damaged")
    return ComposedFiles(composed["tree"], composed["chosen"])


def _are_own(choices: Sequence[str]) -> bool:
    """Return whether all choices are of files under ``conf``, and no others can be meant."""
    for choice in choices:
        found = _CHOICE.fullmatch(choice)
        if found is None or found[1] not in CONFIG_GROUPS:
            return False
        file = option_files(found[1]).get(found[2])
        if file is None or not file.is_relative_to(CONF_DIR):
            return False
    return True


def _path(choices: Sequence[str], digest: str) -> Path:
    return cache_folder("configs") / f"{_sha256(_canonical([digest, *choices]))[:32]}.json"


@functools.cache
def _digest_of_inputs() -> str:
    """Return the digest of what decides all compositions, read once in a process."""
    return _read_inputs()


def _read_inputs() -> str:
    inputs = hashlib.sha256()
    versions = [version(package) for package in ("hydra-core", "omegaconf")]
    inputs.update(_canonical([_FORMAT, *versions]).encode())
    inputs.update(to_json(default_tree()))
    for file in sorted(CONF_DIR.rglob("*.yaml")):
        content = file.read_bytes()
        inputs.update(f"\n{file.relative_to(CONF_DIR)} {len(content)}\n".encode())
        inputs.update(content)
    return inputs.hexdigest()


def _remove_oldest(folder: Path) -> None:
    files = list(folder.glob("*.json"))
    if len(files) > _MOST_FILES:
        files.sort(key=lambda file: file.stat().st_mtime_ns)
        for file in files[: len(files) // 2]:
            file.unlink(missing_ok=True)


def _canonical(data: Any) -> str:
    # The order of keys is that of the settings, which Hydra decides.
    return json.dumps(data, ensure_ascii=True, separators=(",", ":"))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
