"""The names that ``task.reader`` may have, and what each of the project's own readers uses."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from importlib.metadata import EntryPoints, entry_points
from typing import Annotated

from pydantic import AfterValidator

from dylora_exp.core import unknown_name

# What the answers are that a reader's files hold, in the words of ``TaskConfig.scored``.
_CLASSES = ("labels", "numbers")
_TEXTS = ("texts",)
_ALL_BUT_TEXTS = (*_CLASSES, "choices", "answers", "likelihood")


@dataclass(frozen=True)
class ReaderTraits:
    """What a reader reads, and by which settings of a task.

    Attributes:
        answers: What the answers may be, in the words of ``TaskConfig.scored``.
        settings: Those of the settings in ``OF_READERS`` that it uses.
        of_files: Those of them that it uses only where it reads files, and not the hub.
        rows: The answers of the tasks whose examples are made of rows (``TaskConfig.example``).
    """

    answers: tuple[str, ...]
    settings: Set[str] = frozenset()
    of_files: Set[str] = frozenset()
    rows: Set[str] = frozenset()


_PUBLISHED = ReaderTraits(_TEXTS, frozenset({"broken_lines"}))
_TYPED = frozenset({"labels", "label_range", "broken_lines", "hub"})
READERS: dict[str, ReaderTraits] = {
    "glue": ReaderTraits(
        _CLASSES,
        _TYPED | {"tsv"},
        # Not broken_lines: runs with it keep their ids, wherever they read their data.
        of_files=frozenset({"tsv", "label_range"}),
    ),
    "demo": ReaderTraits((*_CLASSES, "choices"), rows=frozenset({"choices"})),
    "e2e": _PUBLISHED,
    "dart": _PUBLISHED,
    "webnlg": _PUBLISHED,
    "rows": ReaderTraits(
        _ALL_BUT_TEXTS,
        _TYPED | {"files", "data_files"},
        of_files=frozenset({"files"}),
        rows=frozenset(_ALL_BUT_TEXTS),
    ),
}
# The settings of every task that some readers use and others do not. Not ``data_dir``: it is not
# part of a run's identity, and those who keep it in every command may.
OF_READERS = frozenset(name for each in READERS.values() for name in each.settings)


def reader_plugins() -> EntryPoints:
    """Return the readers of other packages, by their entry points."""
    return entry_points(group="dylora_exp.readers")


def _check_reader(name: str) -> str:
    allowed = [*READERS, *sorted(reader_plugins().names)]
    if name not in allowed:
        raise ValueError(unknown_name("", name, allowed).removeprefix(": "))
    return name


ReaderName = Annotated[str, AfterValidator(_check_reader)]
