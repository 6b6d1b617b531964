"""Folders of config files that the user adds to the project's own: a choice for a whole command."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dylora_exp.core.errors import RequestError

_folders: list[str] = []


def use_config_folders(folders: Iterable[str]) -> None:
    """Let all that is composed and listed from now on look into these folders too.

    Args:
        folders: The folders, in place of those of an earlier call. One may begin with ``file://``
            or ``pkg://``, as in Hydra's search path.
    """
    _folders[:] = [
        folder if "://" in folder else str(Path(folder).expanduser().absolute())
        for folder in folders
    ]


def config_folders() -> tuple[str, ...]:
    """Return the folders of the command, as ``use_config_folders`` was given them."""
    return tuple(_folders)


def check_config_folder(text: str) -> None:
    """Refuse a folder of ``--config-dir`` that is not there.

    Raises:
        RequestError: When it is not.
    """
    if not Path(text).expanduser().is_dir():
        raise RequestError(f"--config-dir: there is no folder '{text}'.")
