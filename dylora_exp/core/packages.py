"""Python packages: folders that come with them (``package://module/folder``), and extras."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_PREFIX = "package://"
_CHECKOUT = Path(__file__).resolve().parent.parent.parent


class NotInstalled(Exception):
    """The package of a ``package://`` name is not installed; its name is the message."""


def is_installed(package: str) -> bool:
    """Return whether a Python package can be imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # a part of its name, or a stub without a spec
        return False


def install_command(extra: str) -> str:
    """Return the command that installs what an extra of the project needs.

    The project may be no package of an index: from a checkout, the command names its folder.
    """
    if not (_CHECKOUT / "pyproject.toml").is_file():
        return f"pip install 'dylora-exp[{extra}]'"
    here = Path.cwd() == _CHECKOUT
    return f"pip install -e '{'.' if here else _CHECKOUT}[{extra}]'"


def in_package(name: str) -> bool:
    """Return whether a name begins with ``package://``."""
    return name.startswith(_PREFIX)


def package_folder(name: str) -> Path:
    """Return where a package's folder lies, which need not exist.

    Raises:
        NotInstalled: When the package is not installed.
    """
    package, _, inner = name.removeprefix(_PREFIX).partition("/")
    known = package.isidentifier() and is_installed(package)
    found = importlib.util.find_spec(package) if known else None
    if found is None or not found.submodule_search_locations:
        raise NotInstalled(package)
    return Path(next(iter(found.submodule_search_locations))) / inner
