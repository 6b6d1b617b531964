"""The E2E NLG Challenge: from a restaurant's attributes to a sentence about it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dylora_exp.tasks.files import Broken, csv_rows, lines_of, on_line
from dylora_exp.tasks.generation import Entry, Form, GenerationReader

_NAMES = {"eatType": "Type", "priceRange": "price", "familyFriendly": "family friendly"}
_SLOT = r"([^\[\],]+)\[([^\[\]]+)\]"
_MEANING = re.compile(rf"{_SLOT}(?:,{_SLOT})*")


def _csv_rows(text: str) -> Iterator[tuple[str, dict[str, str] | None]]:
    return csv_rows(text, ("mr", "ref"))


def _csv_entry(row: dict[str, str] | None) -> Entry:
    if row is None:
        raise Broken("found more or fewer cells than columns")
    return Entry(_context(row["mr"]), [row["ref"]])


def _context(meaning: str) -> str:
    """Return ``name : X | Type : pub`` for ``name[X], eatType[pub]``."""
    if not meaning.strip():
        raise Broken("found an empty mr")
    if not _MEANING.fullmatch(meaning.strip()):
        raise Broken(f"found mr '{meaning}', expected key[value], key[value]")
    slots = [(key.strip(), value.strip()) for key, value in re.findall(_SLOT, meaning)]
    if not all(key and value for key, value in slots):
        raise Broken(f"found mr '{meaning}', which has an empty key or value")
    return " | ".join(f"{_NAMES.get(key, key)} : {value}" for key, value in slots)


def _text_lines(text: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines_of(text), 1):
        if line.strip():
            yield on_line(number), line


def _text_entry(line: str) -> Entry:
    context, bars, text = line.partition("||")
    if not bars:
        raise Broken("found no '||' between context and text")
    return Entry(context.strip(), [text])


# In the second form the texts are tokenised, so that scores differ.
READER = GenerationReader(
    folders=("e2e",),
    forms=(
        Form(
            "csv",
            {
                "train": ("trainset.csv",),
                "dev": ("devset.csv",),
                "test": ("testset_w_refs.csv",),
            },
            _csv_rows,
            _csv_entry,
        ),
        Form(
            "text",
            {"train": ("train.txt",), "dev": ("valid.txt",), "test": ("test.txt",)},
            _text_lines,
            _text_entry,
        ),
    ),
)
