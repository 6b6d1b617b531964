"""The names that ``task.reader`` may have: the project's own, and those of other packages."""

from __future__ import annotations

from importlib.metadata import EntryPoints, entry_points
from typing import Annotated

from pydantic import AfterValidator

from dylora_exp.core import unknown_name

# What the answers are that a reader's files hold, in the words of ``TaskConfig.scored``.
_CLASSES = ("labels", "numbers")
_TEXTS = ("texts",)
READERS: dict[str, tuple[str, ...]] = {
    "glue": _CLASSES,
    "demo": (*_CLASSES, "choices"),
    "e2e": _TEXTS,
    "dart": _TEXTS,
    "webnlg": _TEXTS,
    "rows": (*_CLASSES, "choices", "answers", "likelihood"),
}


def reader_plugins() -> EntryPoints:
    """Return the readers of other packages, by their entry points."""
    return entry_points(group="dylora_exp.readers")


def _check_reader(name: str) -> str:
    allowed = [*READERS, *sorted(reader_plugins().names)]
    if name not in allowed:
        raise ValueError(unknown_name("", name, allowed).removeprefix(": "))
    return name


ReaderName = Annotated[str, AfterValidator(_check_reader)]
