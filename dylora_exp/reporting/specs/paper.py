"""Printed numbers, as data: ``conf/paper/table<name>.yaml`` of the DyLoRA paper.

Those of others are in ``conf/paper/<name>.yaml``. A cell that the paper's text has lost is absent
there, and so blank in a table.
"""

from __future__ import annotations

from pathlib import Path

from dylora_exp.config import CONF_DIR
from dylora_exp.reporting.specs.files import Spec, read_yaml

PAPER_DIR = CONF_DIR / "paper"


class PrintedCell(Spec):
    """A printed number: where it stands, its value, and the rank it was reached at if printed."""

    block: str
    row: str
    column: str
    value: float
    rank: int | None = None


class PrintedTable(Spec):
    """A table of the paper, as far as its text still holds it."""

    table: str
    unit: str
    cells: list[PrintedCell]


Printed = dict[tuple[str | None, str | None, str | None], PrintedCell]


class PrintedText(Spec):
    """A printed setting: where it stands, and how it is written."""

    block: str
    row: str
    value: str


class PrintedSettings(Spec):
    """A table of settings of the paper, as far as its text still holds it."""

    table: str
    cells: list[PrintedText]


def paper_name(name: str) -> str:
    """Return what the paper calls a table of this name; letters are appendices."""
    return f"{'Table' if name.isdigit() else 'Appendix'} {name}"


def printed_settings(name: str) -> dict[tuple[str | None, str | None], str]:
    """Return the printed settings of a table by (block, row); none when it has no data.

    Raises:
        RequestError: When the file is malformed, naming it and the field.
    """
    path = _data_file(name)
    cells = read_yaml(PrintedSettings, path).cells if path.exists() else []
    return {(cell.block, cell.row): cell.value for cell in cells}


def printed_cells(name: str) -> Printed:
    """Return the printed cells of a table by (block, row, column); none when it has no data.

    Raises:
        RequestError: When the file is malformed, naming it and the field.
    """
    path = _data_file(name)
    cells = read_yaml(PrintedTable, path).cells if path.exists() else []
    return {(cell.block, cell.row, cell.column): cell for cell in cells}


def _data_file(name: str) -> Path:
    """Return the file of a table's printed numbers, which need not be there."""
    own = PAPER_DIR / f"{name}.yaml"
    return own if own.exists() else PAPER_DIR / f"table{name}.yaml"
