"""DART: from a set of triples of any domain to a sentence that says them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dylora_exp.tasks.files import Broken
from dylora_exp.tasks.generation import (
    Entry,
    Form,
    GenerationReader,
    numbered,
    parse_json,
    triples_context,
)


def _items(text: str) -> Iterator[tuple[str, Any]]:
    entries = parse_json(text)
    if not isinstance(entries, list):
        raise Broken("found no list, expected one of triple sets with their texts")
    yield from numbered(entries)


def _entry(content: Any) -> Entry:
    if not isinstance(content, dict):
        raise Broken("found no object, expected 'tripleset' and 'annotations'")
    triples = [_triple(triple) for triple in _list(content, "tripleset")]
    annotations = _list(content, "annotations")
    if not triples:
        raise Broken("found an empty tripleset")
    if not all(
        isinstance(note, dict) and isinstance(note.get("text"), str) for note in annotations
    ):
        raise Broken("found an annotation without 'text'")
    return Entry(triples_context(triples), [note["text"] for note in annotations])


def _list(content: dict[str, Any], name: str) -> list[Any]:
    found = content.get(name)
    if not isinstance(found, list):
        raise Broken(f"there is no list '{name}'")
    return found


def _triple(triple: Any) -> tuple[str, str, str]:
    """Return a triple; some of its parts may be empty in DART's tables."""
    parts = triple if isinstance(triple, list) else []
    if len(parts) != 3 or not all(isinstance(part, str) for part in parts):
        raise Broken(f"found triple {triple!r}, expected three texts")
    subject, relation, object_ = parts
    return subject, relation.lower(), object_


_NAME = "dart-v1.1.1-full-{}.json"
READER = GenerationReader(
    folders=("dart",),
    forms=(
        Form(
            "json",
            {split: (_NAME.format(split),) for split in ("train", "dev", "test")},
            _items,
            _entry,
        ),
    ),
)
