"""Files written whole or not at all, and their digests."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dylora_exp.core.errors import RequestError

UNFINISHED = ".tmp"


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def unfinished(folder: Path) -> list[Path]:
    """Return the files that a kill in ``write_atomically`` has left below a folder."""
    return list(folder.rglob(f".*{UNFINISHED}"))


def check_writable(folder: Path, create: bool = True) -> None:
    """Refuse a folder in which no file can be created.

    Args:
        folder: The folder.
        create: Whether to create the folder; if not, its nearest parent that exists is tried.

    Raises:
        RequestError: When no file can be created there.
    """
    with _writing_to(folder):
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.TemporaryFile(dir=existing):
            pass


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace ``path`` by a file with this content (text as UTF-8), all or nothing.

    Raises:
        RequestError: When the folder cannot be written to.
    """
    with _writing_to(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content if isinstance(content, bytes) else content.encode("utf-8"))
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise


@contextlib.contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise RequestError(f"{folder}: cannot be written to ({reason}).") from None
