"""Locks that end with their owner: files of which each is held by one process at a time.

The system lets go of a lock (``flock``) when its owner ends, however it ends. A lock file that is
left over therefore says nothing by itself, and is taken over. Locks are on files opened for
writing, which NFS needs.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dylora_exp.core.errors import RequestError

# ``is_held`` holds a lock for a moment; it must not be taken for an owner.
_TRIES, _BETWEEN_TRIES = 10, 0.02
_SHORTEST_WAIT, _LONGEST_WAIT = 0.1, 2.0


def is_held(path: Path) -> bool:
    """Return whether a process holds a lock; nothing is written."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _try(handle, fcntl.LOCK_SH)
    except OSError:
        return False
    finally:
        os.close(handle)


def owner(path: Path) -> str:
    """Return who holds a lock, as a phrase."""
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return f"process {note['pid']} on {note['host']} since {note['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


@contextlib.contextmanager
def hold(paths: Sequence[Path], busy: Callable[[Path], None]) -> Iterator[None]:
    """Hold several locks, all of them or none: nothing is held while waiting for another.

    Args:
        paths: The lock files.
        busy: Called with each lock that another process holds. When it returns, this process
            waits for that lock; it may raise instead.

    Raises:
        RequestError: When a file cannot be created or locked.
    """
    while isinstance(held := _take_all(paths), Path):
        busy(held)
        _wait_for(held)
    with held:
        yield


def wait(paths: Sequence[Path], busy: Callable[[Path], None]) -> None:
    """Wait until no process holds any of some locks; ``busy`` is that of ``hold``."""
    for path in paths:
        if is_held(path):
            busy(path)
            _wait_for(path)


def _take_all(paths: Sequence[Path]) -> contextlib.ExitStack | Path:
    """Return a context that releases all locks, or the first that another process holds."""
    with contextlib.ExitStack() as held:
        for path in paths:
            handle = _take(path)
            if handle is None:
                return path
            held.callback(_release, path, handle)
        return held.pop_all()


def _take(path: Path) -> int | None:
    """Return the open file of a lock that is now ours, None when another process holds it."""
    try:
        while True:
            handle = _open(path)
            try:
                if not _try(handle, fcntl.LOCK_EX):
                    os.close(handle)
                    return None
                if _is_at(handle, path):
                    _sign(handle)
                    return handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)  # its owner removed the file between our opening and locking it
    except OSError as error:
        raise RequestError(f"{path}: cannot be locked ({error.strerror or error}).") from None


def _open(path: Path) -> int:
    """Open a lock file, also where another process removes its empty folder just then."""
    for left in reversed(range(_TRIES)):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Never through a link: who holds the lock is written into the file.
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)  # less the umask
        except FileNotFoundError:
            if not left:
                raise
    raise AssertionError


def _try(handle: int, kind: int) -> bool:
    """Return whether a lock of this kind was granted, now or within a few tries."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(_BETWEEN_TRIES)
    return False


def _is_at(handle: int, path: Path) -> bool:
    """Return whether an open file is the one that has the name now."""
    try:
        there = os.stat(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return False
        raise
    return os.path.samestat(os.fstat(handle), there)


def _sign(handle: int) -> None:
    """Write who holds the lock into its file."""
    since = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    note = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
    # The lock holds without the note; a full disk is reported by what needs it.
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, (json.dumps(note) + "\n").encode(), 0)


def _release(path: Path, handle: int) -> None:
    """Remove the file while it is still ours, then the lock."""
    with contextlib.suppress(OSError):
        os.unlink(path)
    os.close(handle)


def _wait_for(path: Path) -> None:
    """Return once no process holds a lock."""
    pause = _SHORTEST_WAIT
    while is_held(path):
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_WAIT)
