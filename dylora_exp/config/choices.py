"""The files that one can choose from in each config group, found without composing anything."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from dylora_exp.core import config_folders

_PACKAGE = Path(__file__).resolve().parent.parent
# A wheel carries conf/ inside the package; a checkout keeps it beside the package.
CONF_DIR = next(
    folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir()
)
CONFIG_GROUPS = (
    *("model", "task", "method", "ranks", "trainer", "tracker", "profile"),
    *("experiment", "debug"),
)
_PYTHON_PACKAGE = "pkg://"


def options(group: str, search_path: Sequence[str] = ()) -> list[str]:
    """Return the names one can choose from in a config group.

    Args:
        group: Such as ``task``.
        search_path: Folders with further config files.
    """
    return sorted(option_files(group, search_path))


def option_files(group: str, search_path: Sequence[str] = ()) -> dict[str, Path]:
    """Return the file of each name that one can choose in a config group.

    Args:
        group: Such as ``task``.
        search_path: Folders with further config files; the project's own come first.
    """
    named = map(config_folder, (*search_path, *config_folders()))
    folders = [CONF_DIR, *(folder for folder in named if folder is not None)]
    return {
        file.stem: file
        for folder in reversed(folders)
        for file in sorted((folder / group).glob("*.yaml"))
    }


def config_folder(name: str) -> Path | None:
    """Return where a folder of a search path lies; None for a package that is not installed.

    Args:
        name: A path, which may begin with ``file://``, or ``pkg://`` and a module with its folder.
    """
    if not name.startswith(_PYTHON_PACKAGE):
        return Path(name.removeprefix("file://")).expanduser()
    package, *inner = name.removeprefix(_PYTHON_PACKAGE).replace("/", ".").split(".")
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    places = list(found.submodule_search_locations or []) if found else []
    return Path(places[0]).joinpath(*inner) if places else None
