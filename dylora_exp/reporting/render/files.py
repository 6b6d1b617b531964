"""Writing the files of tables and reports."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from dylora_exp.core import csv_cell, write_atomically


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Return rows, the header first, as CSV: numbers with all digits, None as an empty field.

    A name that a spreadsheet would compute begins with an apostrophe (``core.csv_cell``).
    """
    stream = io.StringIO()
    lines = ([csv_cell(value) for value in row] for row in rows)
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue()


def write_files(stem: Path, contents: Mapping[str, str | bytes]) -> list[Path]:
    """Write files whose names begin alike.

    Args:
        stem: The files' common path, without their endings.
        contents: The content of each file by its ending, ``.csv`` or ``-claims.csv``.

    Returns:
        The files' paths, in the order of ``contents``.

    Raises:
        RequestError: For a folder that cannot be written to.
    """
    paths = [stem.with_name(f"{stem.name}{ending}") for ending in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        write_atomically(path, content)
    return paths
