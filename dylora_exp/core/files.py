"""Files written whole or not at all, and their digests."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
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
        # Unlike tempfile.mkstemp, this gives the file the mode that the umask asks for.
        name = path.with_name(f".{path.name}.{secrets.token_hex(8)}{UNFINISHED}")
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content if isinstance(content, bytes) else content.encode("utf-8"))
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise


def apply_umask(folder: Path) -> None:
    """Give all files below a folder the mode that the umask asks for; safetensors writes 0600."""
    mask = os.umask(0o077)
    os.umask(mask)
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            file.chmod(0o666 & ~mask)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an error of the system while a file is read into a sentence.

    A file that is not there is left to the caller: ``FileNotFoundError`` passes, and stands also
    for a path of which a part is no folder, that is a folder itself, or a link that leads nowhere.

    Raises:
        FileNotFoundError: When there is no such file.
        RequestError: When the file is there and cannot be read now, which says nothing about it.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except (IsADirectoryError, NotADirectoryError) as error:
        raise FileNotFoundError(*error.args) from None
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.ELOOP:
            raise FileNotFoundError(*error.args) from None
        raise RequestError(f"{path}: cannot be read ({reason}).") from None


@contextlib.contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise RequestError(f"{folder}: cannot be written to ({reason}).") from None
