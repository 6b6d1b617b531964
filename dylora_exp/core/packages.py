"""Folders that come with Python packages, named ``package://module/folder``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_PREFIX = "package://"


class NotInstalled(Exception):
    """The package of a ``package://`` name is not installed; its name is the message."""


def in_package(name: str) -> bool:
    """Return whether a name begins with ``package://``."""
    return name.startswith(_PREFIX)


def package_folder(name: str) -> Path:
    """Return where a package's folder lies, which need not exist.

    Raises:
        NotInstalled: When the package is not installed.
    """
    package, _, inner = name.removeprefix(_PREFIX).partition("/")
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise NotInstalled(package)
    return Path(next(iter(found.submodule_search_locations))) / inner
