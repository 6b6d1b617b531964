"""What all readers of local files share: text in UTF-8, and how broken lines are told."""

from __future__ import annotations

import codecs
import hashlib
from pathlib import Path

from dylora_exp.core import NotInstalled, RequestError, in_package, package_folder

_MAX_REPORTED = 5


def existing_folder(data_dir: str) -> Path:
    """Return the folder that ``task.data_dir`` names, which may be ``package://module/folder``.

    Raises:
        RequestError: When there is none.
    """
    try:
        root = package_folder(data_dir) if in_package(data_dir) else Path(data_dir).expanduser()
    except NotInstalled as package:
        raise RequestError(
            f"task.data_dir: the Python package '{package}' is not installed."
        ) from None
    if not root.is_dir():
        raise RequestError(f"task.data_dir: there is no folder '{root}'.")
    return root


def read_text(path: Path) -> tuple[str, str]:
    """Return a file's text, UTF-8 with or without a BOM, and the sha256 of its bytes.

    Raises:
        RequestError: When the file cannot be read or is not UTF-8.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror}).") from None
    unmarked = content.removeprefix(codecs.BOM_UTF8)
    try:
        text = unmarked.decode()
    except UnicodeDecodeError as error:
        number = unmarked[: error.start].count(b"\n") + 1
        raise RequestError(f"{path}:{number}: this line is not valid UTF-8.") from None
    return text, hashlib.sha256(content).hexdigest()


def lines_of(text: str) -> list[str]:
    """Split a text at its newlines only; ``str.splitlines`` also splits inside sentences."""
    if not text:
        return []
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def first_few(path: Path, broken: list[str]) -> list[str]:
    """Return the first sentences about a file, and how many there are where some are left out."""
    if len(broken) <= _MAX_REPORTED:
        return broken
    return [*broken[:_MAX_REPORTED], f"{path}: {len(broken)} broken examples in all."]
