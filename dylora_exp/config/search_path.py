"""Folders with config files of the user's own, as Hydra's search path names them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from dylora_exp.config.choices import config_folder

_SEARCH_PATH = "hydra.searchpath"


def named_search_path(overrides: Iterable[str]) -> list[str]:
    """Return the folders that an override of ``hydra.searchpath`` names, the last one's."""
    found = [each for each in overrides if each.lstrip("+").startswith(f"{_SEARCH_PATH}=")]
    try:
        value: Any = OverridesParser.create().parse_override(found[-1]).value() if found else []
    except (HydraException, ValueError, RecursionError):
        return []  # as a problem of the override it is reported elsewhere
    return list(map(str, value)) if isinstance(value, list) else []


def search_path_problems(folders: Iterable[str]) -> list[str]:
    """Return a sentence for each folder of ``hydra.searchpath`` that is not there."""
    return [
        f"{_SEARCH_PATH}: there is no folder '{folder}'."
        for folder in folders
        if (path := config_folder(folder)) is None or not path.is_dir()
    ]


def quoted_folder(name: str) -> str:
    """Return a folder of a search path as an element of ``hydra.searchpath``."""
    url = name if "://" in name else f"file://{name}"
    return "'" + url.replace("'", "\\'") + "'"
