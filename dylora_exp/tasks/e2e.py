"""The E2E NLG Challenge: from a restaurant's attributes to a sentence about it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from dylora_exp.core import did_you_mean
from dylora_exp.tasks.files import lines_of
from dylora_exp.tasks.generation import Broken, Entry, Form, GenerationReader, on_line

_NAMES = {"eatType": "Type", "priceRange": "price", "familyFriendly": "family friendly"}
_SLOT = r"([^\[\],]+)\[([^\[\]]+)\]"
_MEANING = re.compile(rf"{_SLOT}(?:,{_SLOT})*")


def _csv_rows(text: str) -> Iterator[tuple[str, dict[str, str] | None]]:
    """Yield the cells of each row by their column, or None for a row of another length."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = next(rows, [])
        for name in ("mr", "ref"):
            if name not in columns:
                raise Broken(f"there is no column '{name}' {_among(name, columns)}", on_line(1))
        last = rows.line_num
        for cells in rows:
            first, last = last + 1, rows.line_num
            if cells:
                row = dict(zip(columns, cells, strict=True)) if len(cells) == len(columns) else None
                yield on_line(first), row
    except csv.Error as error:
        raise Broken(f"the CSV is broken ({error})", on_line(rows.line_num)) from None


def _among(name: str, columns: list[str]) -> str:
    return f"among {', '.join(columns) or 'none'}{did_you_mean(name, columns).removesuffix('?')}"


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


# In the second form the texts are split into words and signs, so that scores differ.
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
