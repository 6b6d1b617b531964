"""Names of files: those made of other names, and paths that a user gives."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")
# Devices on Windows, whatever their ending.
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
# Of 255 bytes that file systems allow: an ending and the mark of an unfinished file are added.
_LONGEST = 150
_DIGITS = 12
_LONGEST_PART, _LONGEST_PATH = 255, 4095


def file_stems(names: Sequence[Sequence[str]]) -> list[str]:
    """Return the name of a file, without its ending, for each sequence of names.

    It is the names joined by hyphens where that is safe on every file system and no other's, also
    where capitals do not count. Else what is unsafe is replaced, and a digest of the names added.

    Args:
        names: Each different from the others.
    """
    plain = ["-".join(parts) for parts in names]
    counts = Counter(map(str.casefold, plain))
    return [
        stem if _is_safe(stem) and counts[stem.casefold()] == 1 else _safe(stem, parts)
        for stem, parts in zip(plain, names, strict=True)
    ]


def _is_safe(stem: str) -> bool:
    return bool(stem) and len(stem) <= _LONGEST and _without_unsafe(stem) == stem


def _safe(stem: str, parts: Sequence[str]) -> str:
    digest = hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()[:_DIGITS]
    return f"{_without_unsafe(stem)[: _LONGEST - _DIGITS - 1]}-{digest}"


def _without_unsafe(stem: str) -> str:
    """Return a name of safe characters, no device, that begins and ends like one of a file."""
    kept = _UNSAFE.sub("_", stem)
    kept = re.sub(r"\.{2,}", "_", kept).rstrip(".")
    return f"_{kept}" if kept[:1] in (".", "-", "") or _RESERVED.fullmatch(kept) else kept


def expand_user(text: str | PathLike[str]) -> Path:
    """Return a path with ``~`` and ``~user`` replaced; as it is where there is no such user."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def path_problem(text: str) -> str | None:
    """Return why a text cannot be a path, as a sentence without its end; None where it can."""
    try:
        path = os.fsencode(Path(text).expanduser())
    except RuntimeError:
        user = text.partition("/")[0].removeprefix("~")
        return f"found '{text}', but there is no user '{user}' with a home folder"
    except UnicodeEncodeError:
        return f"found '{text}', which has half a character in it"
    if b"\0" in path:
        return f"found '{text}', which has a null character in it"
    if len(path) > _LONGEST_PATH or any(len(part) > _LONGEST_PART for part in path.split(b"/")):
        return f"found '{text[:40]}...', a path with too long a name"
    return None
