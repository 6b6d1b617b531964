"""What all readers of local files share: text in UTF-8, CSV, and sentences for broken examples."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from dylora_exp.config import TaskConfig
from dylora_exp.core import (
    NotInstalled,
    RequestError,
    did_you_mean,
    expand_user,
    in_package,
    package_folder,
)

_MAX_REPORTED = 5


class Broken(Exception):
    """A part of a file cannot be read. The message ends a sentence.

    Attributes:
        location: What follows the file's name, such as ``:12`` for a line.
    """

    def __init__(self, message: str, location: str = "") -> None:
        super().__init__(message)
        self.location = location

    def sentence(self, path: Path) -> str:
        """Return the whole sentence about a file."""
        return f"{path}{self.location}: {self}{'' if str(self).endswith('?') else '.'}"


class SplitFile(Protocol):
    """What was read of the file of a split; ``broken`` has a sentence for each broken example."""

    broken: list[str]


Split = TypeVar("Split", bound=SplitFile)


def read_splits(
    task: TaskConfig, paths: Sequence[Path], read_split: Callable[[Path], Split]
) -> tuple[list[Split], list[str]]:
    """Return what was read of each file, and warnings about the broken examples in them.

    Args:
        task: Says whether broken examples are skipped.
        paths: The files.
        read_split: Reads one of them.

    Raises:
        RequestError: With the problems of all files, broken examples among them unless skipped.
    """
    splits: list[Split] = []
    problems: list[str] = []
    warnings: list[str] = []
    for path in paths:
        try:
            split = read_split(path)
        except RequestError as error:
            problems += error.problems
            continue
        reported = warnings if task.broken_lines == "skip" else problems
        reported += first_few(path, split.broken)
        splits.append(split)
    if problems:
        raise RequestError(problems)
    return splits, warnings


def existing_folder(data_dir: str) -> Path:
    """Return the folder that ``task.data_dir`` names, which may be ``package://module/folder``.

    Raises:
        RequestError: When there is none.
    """
    try:
        root = package_folder(data_dir) if in_package(data_dir) else expand_user(data_dir)
    except NotInstalled as package:
        raise RequestError(
            f"task.data_dir: the Python package '{package}' is not installed."
        ) from None
    if not root.is_dir():
        raise RequestError(f"task.data_dir: there is no folder '{root}'.")
    return root


def read_text(path: Path) -> tuple[str, str]:
    """Return a file's text, UTF-8 with or without a BOM, and the sha256 of its bytes.

    Raises:
        RequestError: When the file cannot be read or is not UTF-8.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror}).") from None
    unmarked = content.removeprefix(codecs.BOM_UTF8)
    try:
        text = unmarked.decode()
    except UnicodeDecodeError as error:
        number = unmarked[: error.start].count(b"\n") + 1
        raise RequestError(f"{path}:{number}: this line is not valid UTF-8.") from None
    return text, hashlib.sha256(content).hexdigest()


def lines_of(text: str) -> list[str]:
    """Split a text at its newlines only; ``str.splitlines`` also splits inside sentences."""
    if not text:
        return []
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def on_line(number: int) -> str:
    """Return the location of a line, counted from 1."""
    return f":{number}"


def csv_rows(text: str, needed: Sequence[str]) -> Iterator[tuple[str, dict[str, str] | None]]:
    """Yield the location of each row and its cells by column, None for a row of another length.

    Args:
        text: A CSV file's, with a header.
        needed: Columns it must have.

    Raises:
        Broken: When a column is missing or the CSV cannot be parsed.
    """
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = next(rows, [])
        check_columns(columns, needed, is_header=True)
        last = rows.line_num
        for cells in rows:
            first, last = last + 1, rows.line_num
            if cells:
                row = dict(zip(columns, cells, strict=True)) if len(cells) == len(columns) else None
                yield on_line(first), row
    except csv.Error as error:
        raise Broken(f"the CSV is broken ({error})", on_line(rows.line_num)) from None


def check_columns(columns: Sequence[str], needed: Sequence[str], is_header: bool = False) -> None:
    """Raise ``Broken`` for the first needed column that is missing, with the nearest name.

    So is a column that is there twice: any in a header, but one without a name, else a needed one.
    """
    for name in columns:
        if name and columns.count(name) > 1 and (is_header or name in needed):
            raise Broken(f"the column '{name}' is there twice", on_line(1))
    for name in needed:
        if name not in columns:
            hint = did_you_mean(name, columns)
            message = f"there is no column '{name}' among {', '.join(columns) or 'none'}{hint}"
            raise Broken(message, on_line(1))


def first_few(path: Path | str, broken: list[str]) -> list[str]:
    """Return the first sentences about a file, and their number where some are left out."""
    if len(broken) <= _MAX_REPORTED:
        return broken
    return [*broken[:_MAX_REPORTED], f"{path}: {len(broken)} broken examples in all."]
