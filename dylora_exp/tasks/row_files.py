"""The rows of a file or folder of a known format, each with its location.

CSV is RFC 4180's, with quotes; TSV is IANA's text/tab-separated-values, without any: a tab always
ends a cell, a newline a row. JSON is a list of objects or, as JSON lines, an object on each line. A
folder is one of ``datasets``' ``save_to_disk``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dylora_exp.core import RequestError, file_sha256, first_line
from dylora_exp.tasks.files import Broken, check_columns, csv_rows, lines_of, on_line, read_text
from dylora_exp.tasks.generation import numbered, parse_json

# The location of a row, and what is there: its values by column, or ``Broken``.
Located = Iterator[tuple[str, Any]]

FOLDER = "a folder of save_to_disk"
_STATE = ("state.json", "dataset_info.json")
_OF_DICT = "dataset_dict.json"


def rows_of(path: Path) -> Located:
    """Yield the location of each row of a file or folder, and its values by column.

    Where a row cannot be read, its ``Broken`` is there instead.

    Raises:
        RequestError: When the file is of no known format, missing or not UTF-8.
        Broken: When it cannot be parsed as a whole.
    """
    for location, row in _located(path):
        if isinstance(row, Broken | Mapping):
            yield location, row
        else:
            yield location, Broken("found no object, expected one with a key for each column")


def _located(path: Path) -> Located:
    if path.is_dir():
        yield from _saved_rows(path)
        return
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise RequestError(
            f"{path}: found '{path.name}', expected a name that ends with {', '.join(FORMATS)}, or "
            f"{FOLDER}."
        )
    if not path.exists():
        raise RequestError(f"{path}: there is no such file.")
    if ending == ".parquet":
        yield from _parquet_rows(path)
    else:
        yield from _TEXTS[ending](read_text(path)[0])


def is_saved_dataset(path: Path) -> bool:
    """Return whether a folder is one that ``save_to_disk`` of a data set or of several wrote."""
    return all((path / name).is_file() for name in _STATE) or (path / _OF_DICT).is_file()


def digest_of(path: Path) -> str:
    """Return the sha256 of a file, or of what ``sha256sum`` prints for the files of a folder."""
    if path.is_file():
        return file_sha256(path)
    files = sorted(part for part in path.rglob("*") if part.is_file())
    lines = [f"{file_sha256(part)}  {part.relative_to(path).as_posix()}\n" for part in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _csv(text: str) -> Located:
    for location, row in csv_rows(text, ()):
        yield location, Broken("found more or fewer cells than columns") if row is None else row


def _tsv(text: str) -> Located:
    header, *lines = lines_of(text) or [""]
    columns = header.split("\t")
    check_columns(columns, (), is_header=True)
    for number, line in enumerate(lines, 2):
        if line or len(columns) == 1:
            cells = line.split("\t")
            if len(cells) == len(columns):
                yield on_line(number), dict(zip(columns, cells, strict=True))
            else:
                flaw = f"found {len(cells)} columns, expected {len(columns)}"
                yield on_line(number), Broken(flaw)


def _json(text: str) -> Located:
    if text.lstrip().startswith("{"):
        yield from _json_lines(text)
        return
    rows = parse_json(text)
    if not isinstance(rows, list):
        raise Broken("found no list, expected one of objects, or an object on each line")
    yield from numbered(rows)


def _json_lines(text: str) -> Located:
    for number, line in enumerate(lines_of(text), 1):
        if line.strip():
            try:
                yield on_line(number), parse_json(line)
            except Broken as flaw:
                yield on_line(number), flaw


def _parquet_rows(path: Path) -> Located:
    from pyarrow import parquet

    try:
        rows = parquet.ParquetFile(path).read().to_pylist()
    except Exception as error:  # pyarrow raises many types
        raise RequestError(f"{path}: no readable Parquet file ({first_line(error)}).") from None
    yield from _counted(rows)


def _saved_rows(path: Path) -> Located:
    from datasets import DatasetDict, load_from_disk

    if not is_saved_dataset(path):
        raise RequestError(f"{path}: found a folder, expected a file, or {FOLDER}.")
    try:
        data = load_from_disk(str(path))
    except Exception as error:  # datasets and pyarrow raise many types
        raise RequestError(f"{path}: cannot be loaded ({first_line(error)}).") from None
    if isinstance(data, DatasetDict):
        raise RequestError(
            f"{path}: found the data sets {', '.join(data)}, expected one: "
            f"{path / next(iter(data), 'train')}."
        )
    yield from _counted(data.with_format(None))


def _counted(rows: Iterable[Any]) -> Located:
    for number, row in enumerate(rows, 1):
        yield f": row {number}", row


# By the end of a file's name; what parses the text of one.
_TEXTS: Mapping[str, Callable[[str], Located]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".json": _json,
    ".jsonl": _json_lines,
}
FORMATS = (*_TEXTS, ".parquet")
