"""Files of predictions and references in their official forms, scored without a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from dylora_exp.core import RequestError
from dylora_exp.metrics import Scorer
from dylora_exp.tasks.files import Broken, csv_rows, lines_of, read_text

# What ROUGE-L, METEOR and TER take grows with the product of two texts' words: a file in one line
# would take hours, and no sentence is as long.
_MOST_WORDS, _MOST_CHARACTERS = 1000, 20_000


@dataclass(frozen=True)
class Scores:
    """The scores of a file of predictions.

    Attributes:
        values: Each metric's value in its official script's scale, or None.
        missing: Why a metric has no value, by name.
        signature: The settings and versions behind the values.
    """

    values: dict[str, float | None]
    missing: dict[str, str]
    signature: str


def score_files(
    task: str,
    predictions: Path,
    references: Sequence[Path],
    metrics: Sequence[str] | None = None,
    max_references: int | Literal["all"] | None = None,
) -> Scores:
    """Score a file of predictions, one a line, against files of references.

    WebNLG's and DART's texts are formatted before they are scored, raw model outputs as well as
    files that are formatted already.

    Args:
        task: e2e, webnlg or dart.
        predictions: A text on each line; a blank line is an empty prediction.
        references: See ``read_references``.
        metrics: Some of the task's metrics; by default, all.
        max_references: How many references of an item count, or ``all``; by default as many as in
            the published numbers: the first six of WebNLG's and DART's, all of E2E's.

    Raises:
        RequestError: For an unknown task or metric, and for a file that is missing, empty or not as
            expected.
    """
    with Scorer(task, metrics, max_references) as scorer:
        ours = read_lines(predictions)
        theirs, form = read_references(task, references)
        if len(ours) != len(theirs):
            raise RequestError(
                f"{predictions}: found {len(ours)} predictions, but {references[0]} has references "
                f"for {len(theirs)} items."
            )
        _check_lengths(predictions, [[text] for text in ours])
        _check_lengths(references[0], theirs)
        values = scorer.score(ours, theirs)
        fewest, most = min(map(len, theirs)), max(map(len, theirs))
        data = f"{task}|items:{len(ours)}|refs:{fewest}-{most}|form:{form}"
        return Scores(values, scorer.missing, f"{data}; {scorer.signature}")


def read_references(task: str, paths: Sequence[Path]) -> tuple[list[list[str]], str]:
    """Return each item's references, and the name of the form they are in.

    Args:
        task: e2e, webnlg or dart.
        paths: For E2E one file: a reference on each line with blank lines between items, or the
            official CSV, whose items are its distinct ``mr`` in order of first appearance. For
            WebNLG and DART a folder with ``reference0``, ``reference1`` and so on, the path of its
            ``reference0``, what all these paths begin with (as the official script takes it), or
            any files; line n of each belongs to item n, and a blank line is no
            reference.

    Raises:
        RequestError: For files that are not in such a form.
    """
    if task != "e2e":
        return _read_streams(_streams(paths)), "streams"
    if len(paths) > 1:
        raise RequestError(f"--references: found {len(paths)} files, expected one for e2e.")
    if paths[0].suffix.lower() == ".csv":
        return _read_csv(paths[0]), "csv"
    blocks = groupby(read_lines(paths[0]), key=bool)
    return [list(lines) for filled, lines in blocks if filled], "lines"


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file without the white space around them.

    A newline at the end of the file ends its last line and begins no other.

    Raises:
        RequestError: When the file cannot be read, is not UTF-8 or is empty.
    """
    text, _ = read_text(path)
    if not text:
        raise RequestError(f"{path}: this file is empty.")
    return [line.strip() for line in lines_of(text)]


def _check_lengths(path: Path, items: Sequence[Sequence[str]]) -> None:
    """Refuse texts that are no sentences: a file that lacks its newlines, most likely.

    Raises:
        RequestError: Naming the file and the item.
    """
    for number, text in ((i, text) for i, texts in enumerate(items, 1) for text in texts):
        if len(text) > _MOST_CHARACTERS or len(text.split()) > _MOST_WORDS:
            raise RequestError(
                f"{path}: item {number} has a text of {len(text.split())} words and {len(text)} "
                f"characters, expected at most {_MOST_WORDS} and {_MOST_CHARACTERS}; are there "
                "newlines between the texts?"
            )


def _streams(paths: Sequence[Path]) -> list[Path]:
    """Return the files of references: those named, or all that belong to a lone reference0."""
    first = paths[0]
    is_beginning = not first.exists() and first.with_name(f"{first.name}0").is_file()
    if len(paths) > 1 or not (first.is_dir() or is_beginning or first.name == "reference0"):
        return list(paths)
    folder = first if first.is_dir() else first.parent
    name = first.name if is_beginning else "reference"
    files = (path for path in folder.iterdir() if path.name.startswith(name))
    found = {path.name.removeprefix(name): path for path in files}
    if "0" not in found:
        raise RequestError(f"--references: there is no file 'reference0' in '{folder}'.")
    return [found[number] for number in sorted(filter(str.isdecimal, found), key=int)]


def _read_streams(paths: Sequence[Path]) -> list[list[str]]:
    first = read_lines(paths[0])
    streams = [first]
    for path in paths[1:]:
        lines = read_lines(path)
        # Official files end without a newline: one at the end leaves a blank last line.
        if len(lines) == len(first) - 1 and read_text(path)[0].endswith("\n"):
            lines.append("")
        if len(lines) != len(first):
            raise RequestError(
                f"{path}: found {len(lines)} lines, but {paths[0]} has {len(first)}."
            )
        streams.append(lines)
    items = [[line for line in lines if line] for lines in zip(*streams, strict=True)]
    if [] in items:
        raise RequestError(f"{paths[0]}:{items.index([]) + 1}: there is no reference.")
    return items


def _read_csv(path: Path) -> list[list[str]]:
    """Return the references of each distinct ``mr``."""
    items: dict[str, list[str]] = {}
    try:
        for location, row in csv_rows(read_text(path)[0], ("mr", "ref")):
            if row is None:
                raise Broken("found more or fewer cells than columns", location)
            if not row["ref"].strip():
                raise Broken("there is no reference", location)
            items.setdefault(row["mr"], []).append(row["ref"].strip())
    except Broken as flaw:
        raise RequestError(flaw.sentence(path)) from None
    return list(items.values())
