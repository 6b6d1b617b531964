"""Tables as tests look at them: built from a results folder, and their texts taken apart."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from dylora_exp.reporting.analysis.cells import Block, Cell, Line, Table, build_table
from dylora_exp.reporting.make_tables import RenderedTable, make_tables
from dylora_exp.reporting.render import files, text_table
from dylora_exp.reporting.render import latex as latex_file
from dylora_exp.reporting.render.tables import text_table as text_of
from dylora_exp.reporting.specs.tables import load_spec
from tests.support.records import LEADING, Results


def build(results: Results, profile: str, name: str = "2") -> Table:
    """Return a table of the records in a results folder."""
    records = {record.run_id: record for record in results.store.read_all()[0]}
    return build_table(name, profile, *load_spec(name, profile), records)


def make_table(
    name: str, profile: str, results_dir: Path, select: str | None = None
) -> RenderedTable:
    """Return a table of which all files are written."""
    (table,) = make_tables([name], profile, results_dir, select)
    return table


def block_of(table: Table, heading: str) -> Block:
    return next(block for block in table.blocks if block.heading == heading)


def line_of(table: Table, heading: str, label: str) -> Line:
    return next(line for line in block_of(table, heading).lines if line.spec.label == label)


def cell_of(table: Table, heading: str, label: str, column: int = 0) -> Cell:
    return line_of(table, heading, label).cells[column]


def mini(results: Results, method: str, seed: int, sst2: float, f1: float, accuracy: float) -> None:
    ranks = [(rank, *LEADING) for rank in range(1, 9)]
    words = f"profile=mini method={method}"
    results.add(f"{words} task=sst2", seed, {cut: {"accuracy": sst2} for cut in ranks})
    metrics = {"f1": f1, "accuracy": accuracy}
    results.add(f"{words} task=mrpc", seed, dict.fromkeys(ranks, metrics))


def markdown(table: Table) -> str:
    return text_table.markdown(text_of(table))


def latex(table: Table) -> str:
    return latex_file.latex(text_of(table))


def csv_text(table: Table) -> str:
    return files.csv_text(text_of(table).data)


def rows_of(text: str) -> list[list[str]]:
    """Return the cells of the lines of a Markdown table."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def use_own_files(folder: Path, monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
    """Let modules find the files of each group below a folder, and none of the project's."""
    for module in modules:
        monkeypatch.setattr(
            module,
            "option_files",
            lambda group: {file.stem: file for file in (folder / group).glob("*.yaml")},
        )
