from __future__ import annotations

import re
from pathlib import Path

import pytest

from dylora_exp.tables.paper import PAPER_DIR, PrintedTable, printed_cells
from dylora_exp.tables.spec import load_spec, read_yaml

TEXT = Path(__file__).parents[3] / "shared" / "paper" / "dylora-paper.txt"

Place = tuple[str, str, str]


def surviving_cells() -> dict[Place, tuple[float, int | None]]:
    """Read Table 2 again from the paper's text, as (block, row, column) -> (value, rank)."""
    lines = TEXT.read_text(encoding="utf-8").replace("∗", "*").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Model | MNLI"))
    end = next(i for i in range(start, len(lines)) if lines[i].startswith("Fine Tune*"))
    columns = [name for name in _split(lines[start])[1:] if name]
    found, block = {}, ""
    for line in lines[start + 1 : end + 1]:
        row, *texts = _split(line)
        texts = [text for text in texts if text]
        if not texts:
            block = row
            continue
        # In the rank blocks one number a row survived: the average, the only one without ± std.
        names = columns if len(texts) > 1 else columns[-1:]
        for column, text in zip(names, texts, strict=True):
            found[block, row, column] = _value(text)
    return found


def _split(line: str) -> list[str]:
    return [text.strip() for text in line.split("|")]


def _value(text: str) -> tuple[float, int | None]:
    match = re.fullmatch(r"(\d+\.\d+)(?:\((\d+)\))?", text)
    assert match, text
    return float(match[1]), int(match[2]) if match[2] else None


@pytest.mark.skipif(not TEXT.exists(), reason=f"the paper's text is not at {TEXT}")
def test_the_stored_cells_are_exactly_those_that_the_text_holds() -> None:
    stored = {place: (cell.value, cell.rank) for place, cell in printed_cells("2").items()}
    assert stored == surviving_cells()
    assert len(stored) == 8 * 3 + 3 * 9 + 9


def test_no_cell_is_stored_twice() -> None:
    assert len(read_yaml(PrintedTable, PAPER_DIR / "table2.yaml").cells) == len(printed_cells("2"))


def test_the_averages_are_the_means_of_their_rows() -> None:
    cells = printed_cells("2")
    for row in ("LoRA", "DyLoRA (Frozen)", "DyLoRA"):
        values = {
            c: cell.value for (b, r, c), cell in cells.items() if (b, r) == ("Best (Rank)", row)
        }
        average = values.pop("Avg")
        assert average == pytest.approx(sum(values.values()) / 8, abs=0.01)  # both are rounded


def test_best_values_are_single_runs() -> None:
    """The reason why they stand beside the best single run: whole numbers of dev-set examples."""
    sizes = {"SST-2": 872, "RTE": 277}
    best = [(c, cell) for (b, _, c), cell in printed_cells("2").items() if b == "Best (Rank)"]
    for column, cell in best:
        if size := sizes.get(column or ""):
            correct = round(cell.value / 100 * size)
            assert round(100 * correct / size, 2) == cell.value


def test_a_table_without_printed_values_has_none() -> None:
    assert printed_cells("no such table") == {}


def test_every_name_that_the_spec_looks_up_is_printed() -> None:
    cells = printed_cells("2")
    spec, part = load_spec("2", "paper")
    rows = {row for _, row, _ in cells}
    assert {row.paper_label for row in [*spec.rows, *spec.full_rank]} - {None} == rows
    columns = {column.paper_column for column in part.columns} | {part.paper_average}
    assert columns == {column for _, _, column in cells}
    assert {best.paper_block for best in spec.best} - {None} <= {block for block, _, _ in cells}
