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

# Who looks whether a lock is held holds it for a moment; it must not be taken for an owner.
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
    """Return who holds a lock, in words."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return f"process {told['pid']} on {told['host']} since {told['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


@contextlib.contextmanager
def hold(paths: Sequence[Path], busy: Callable[[Path], None]) -> Iterator[None]:
    """Hold several locks, all of them or none: nothing is held while waiting for another.

    Args:
        paths: The lock files.
        busy: Called with each lock that another process holds. When it returns, the wait is on;
            it may raise instead.

    Raises:
        RequestError: When a file cannot be made or locked.
    """
    handles = _take_all(paths, busy)
    try:
        yield
    finally:
        for path, handle in zip(paths, handles, strict=True):
            _let_go(path, handle)


def wait(paths: Sequence[Path], busy: Callable[[Path], None]) -> None:
    """Wait until no process holds any of some locks; ``busy`` is that of ``hold``."""
    for path in paths:
        if is_held(path):
            busy(path)
            _wait_for(path)


def _take_all(paths: Sequence[Path], busy: Callable[[Path], None]) -> list[int]:
    while True:
        handles: list[int] = []
        taken = False
        try:
            for path in paths:
                handle = _take(path)
                if handle is None:
                    break
                handles.append(handle)
            taken = len(handles) == len(paths)
        finally:
            if not taken:
                for held, handle in zip(paths, handles, strict=False):
                    _let_go(held, handle)
        if taken:
            return handles
        busy(path)
        _wait_for(path)


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
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            if not left:
                raise
    raise AssertionError


def _try(handle: int, kind: int) -> bool:
    for _ in range(_TRIES):
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(_BETWEEN_TRIES)
    return False


def _is_at(handle: int, path: Path) -> bool:
    """Whether an open file is the one that has the name now."""
    try:
        there = os.stat(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return False
        raise
    return os.path.samestat(os.fstat(handle), there)


def _sign(handle: int) -> None:
    since = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    told = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
    # The lock holds without it: who finds the disk full still says so, and not here.
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, (json.dumps(told) + "\n").encode(), 0)


def _let_go(path: Path, handle: int) -> None:
    """Remove the file while it is still ours, then the lock."""
    with contextlib.suppress(OSError):
        os.unlink(path)
    os.close(handle)


def _wait_for(path: Path) -> None:
    pause = _SHORTEST_WAIT
    while is_held(path):
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_WAIT)
