"""The user's cache: what can be made again at any time, if it takes longer."""

from __future__ import annotations

import os
from pathlib import Path

from dylora_exp.core.file_names import expand_user

_VARIABLE = "DYLORA_CACHE"


def cache_folder(kind: str) -> Path:
    """Return the folder in which one kind of things is kept; it need not be there.

    It lies in ``$DYLORA_CACHE``, else in ``dylora-exp`` of the user's cache (``$XDG_CACHE_HOME``,
    ``~/.cache``).

    Args:
        kind: Such as ``models``.
    """
    if own := os.environ.get(_VARIABLE):
        return expand_user(own).absolute() / kind
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expand_user(base).absolute() / "dylora-exp" / kind
