from __future__ import annotations

import re
from pathlib import Path

import pytest

from dylora_exp.reporting.specs.files import read_yaml
from dylora_exp.reporting.specs.paper import (
    PAPER_DIR,
    PrintedSettings,
    PrintedTable,
    printed_cells,
    printed_settings,
)
from dylora_exp.reporting.specs.tables import load_settings, load_spec

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


@pytest.mark.parametrize("name", ["1", "2", "3", "4", "5", "6", "7", "9", "A"])
def test_every_name_that_the_spec_looks_up_is_printed(name: str) -> None:
    cells = printed_cells(name)
    spec, part = load_spec(name, "paper")
    blocks = [one for b in spec.blocks_in("paper") for one in map(b.for_rank, b.ranks or [0])]
    found = {
        (block.paper_block, row.paper_label, column)
        for block in blocks
        for row in block.rows
        for column in [part.paper_average, *(column.paper_column for column in part.columns)]
    }
    if spec.transposed:
        found = {(block, column, row) for block, row, column in found}
    assert set(cells) <= found


# Where a table begins and where the text goes on.
TABLES = {
    "1": ("Task | Rank=1", "Accuracy |"),
    "3": ("Model (Rank)", "Accuracy |"),
    "4": (": Distribution", "In this section"),
    "5": ("Model | Time", "Model (Method)"),
    "7": ("Loss | Training", "6 Conclusion"),
}
NUMBER = re.compile(r"(\d+(?:\.\d+)?)[Mxs]?(?:\((\d+)\))?")

Numbers = list[tuple[float, int | None]]


def rows_of_text(name: str) -> list[tuple[str, Numbers]]:
    """Read a table from the paper's text: of each row with numbers its label and the numbers."""
    first, last = TABLES[name]
    lines = TEXT.read_text(encoding="utf-8").replace("∗", "*").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(first))
    end = next(i for i in range(start + 1, len(lines)) if lines[i].startswith(last))
    rows = []
    for line in lines[start + 1 : end]:
        texts = _split(line)
        found = [match for match in map(NUMBER.fullmatch, texts) if match]
        if found:
            label = "" if NUMBER.fullmatch(texts[0]) else texts[0]
            rows.append((label, [(float(m[1]), int(m[2]) if m[2] else None) for m in found]))
    return rows


@pytest.mark.skipif(not TEXT.exists(), reason=f"the paper's text is not at {TEXT}")
@pytest.mark.parametrize("name", TABLES)
def test_each_row_holds_the_numbers_of_its_row_in_the_text(name: str) -> None:
    stored: dict[tuple[str | None, str | None], Numbers] = {}
    for (block, row, _), cell in printed_cells(name).items():
        stored.setdefault((block, row), []).append((cell.value, cell.rank))
    text = rows_of_text(name)
    assert list(stored.values()) == [numbers for _, numbers in text]
    for (_, row), (label, _) in zip(stored, text, strict=True):
        assert row is not None and row.startswith(label.strip(", "))


@pytest.mark.parametrize("name", TABLES)
def test_no_other_cell_is_stored_twice(name: str) -> None:
    stored = read_yaml(PrintedTable, PAPER_DIR / f"table{name}.yaml")
    assert stored.table == name
    assert len(stored.cells) == len(printed_cells(name))


def test_the_columns_of_a_full_row_stand_in_their_order() -> None:
    cells = printed_cells("3")
    columns = [column for _, row, column in cells if row == "FLOP*"]
    assert columns == ["Trainable Params", "SST-2", "MRPC", "QNLI", "STS-B", "AVERAGE"]
    columns = [column for _, row, column in printed_cells("1") if row == "QQP (Accuracy)"]
    assert columns == [f"Rank={rank}" for rank in (1, 2, 4, 8, 16, 32)]


def test_the_averages_of_table_3_are_the_means_of_their_rows() -> None:
    cells = printed_cells("3")
    for row in ("Fine Tune*", "FLOP*", "LoRA (1)"):
        values = [cell.value for (_, r, _), cell in cells.items() if r == row]
        assert values[-1] == pytest.approx(sum(values[1:-1]) / 4, abs=0.01)


def test_the_values_of_table_5_are_single_runs() -> None:
    """The reason why they stand beside the best single run."""
    sizes = {"SST-2": 872, "MRPC": 408}
    for (_, _, column), cell in printed_cells("5").items():
        if size := sizes.get(column or ""):
            percent = 100 * round(cell.value / 100 * size) / size
            assert cell.value in (round(percent, 2), round(percent, 1))


def test_the_first_row_of_table_4_is_the_higher_one_of_its_pair() -> None:
    """The reason why it is taken for the prefix."""
    values = [cell.value for cell in printed_cells("4").values()]
    assert all(first > second for first, second in zip(values[::2], values[1::2], strict=True))


# Tables 6 and 9 name a row's method in brackets after the model.
TEXT_TABLES = {
    "6": ("Model (Method) | Updated", "The process of"),
    "9": ("Model (Method) | Trainable", "-- the end"),
}
METHODS = {"LoRA": "LoRA", "DyLoRA-Frozen": "DyLoRA-Frozen", "DyLoRA": "DyLoRA", "FT": "Fine-tune*"}


def rows_of_texts(name: str) -> dict[tuple[str, str], list[float]]:
    """Read Table 6 or 9 from the paper's text: of each block and row with numbers the numbers."""
    first, last = TEXT_TABLES[name]
    lines = TEXT.read_text(encoding="utf-8").replace("∗", "*").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(first))
    rest = lines[start + 1 :]
    end = next((i for i, line in enumerate(rest) if line.startswith(last)), len(rest))
    rows, block = {}, ""
    for line in rest[:end]:
        texts = [text for text in _split(line) if text]
        method = re.fullmatch(r"GPT-2 M \((.+)\)\*?", texts[0]) if texts else None
        if method:
            numbers = [float(m[1]) for m in map(NUMBER.fullmatch, texts[1:]) if m]
            rows[block, METHODS[method[1]]] = numbers
        elif texts:
            block = texts[0].replace("=", " = ").replace("Fine-Tune", "Fine-tune")
    return rows


@pytest.mark.skipif(not TEXT.exists(), reason=f"the paper's text is not at {TEXT}")
@pytest.mark.parametrize("name", TEXT_TABLES)
def test_each_row_of_texts_holds_the_numbers_of_its_row_in_the_text(name: str) -> None:
    columns = [column.paper_column for column in load_spec(name, "paper")[1].columns]
    stored: dict[tuple[str | None, str | None], list[float]] = {}
    for (block, row, column), cell in printed_cells(name).items():
        values = stored.setdefault((block, row), [])
        assert columns[len(values)] == column  # in the order of the text, from the first on
        values.append(cell.value)
    text = rows_of_texts(name)
    left_out = {place: numbers for place, numbers in text.items() if place not in stored}
    assert stored == {place: numbers for place, numbers in text.items() if place in stored}
    if name == "6":  # both rows of DyLoRA, which the text cannot tell apart
        parameters = {1: 0.09, 2: 0.19, 3: 0.29, 4: 0.39}
        assert left_out == {(f"Rank = {b}", "DyLoRA"): [n] for b, n in parameters.items()}
    else:  # the misprint
        assert left_out == {("Rank = 2", "DyLoRA"): [0.09]}


@pytest.mark.parametrize("name", ["6", "9", "A"])
def test_no_cell_of_these_is_stored_twice(name: str) -> None:
    stored = read_yaml(PrintedTable, PAPER_DIR / f"table{name}.yaml")
    assert stored.table == name
    assert len(stored.cells) == len(printed_cells(name))


@pytest.mark.skipif(not TEXT.exists(), reason=f"the paper's text is not at {TEXT}")
def test_the_times_of_appendix_a_stand_in_its_text() -> None:
    lines = TEXT.read_text(encoding="utf-8").splitlines()
    text = lines[lines.index("Appendix A Time complexity") + 1]
    values = {row: cell.value for (_, row, _), cell in printed_cells("A").items()}
    together = f"total training time of {values['DyLoRA']} seconds and {values['LoRA (8)']} seconds"
    assert together in text and "DyLoRA (for all the ranks) and LoRA (only on a single" in text
    assert f"{values['LoRA (8)']}*8={values['LoRA (Search)']}s" in text
    assert values["LoRA (Search)"] == pytest.approx(8 * values["LoRA (8)"])


@pytest.mark.skipif(not TEXT.exists(), reason=f"the paper's text is not at {TEXT}")
def test_the_settings_of_table_8_are_exactly_those_that_the_text_holds() -> None:
    lines = TEXT.read_text(encoding="utf-8").splitlines()
    start = lines.index("Model | Parameter | Value |")
    found, block = {}, ""
    for line in lines[start + 2 : lines.index("Appendix C GPT Experiments")]:
        name, *value = [text for text in _split(line) if text]
        if name == "LoRA Config":
            continue  # its ranks are lost
        if value:
            found[block, "LoRA α" if name == "LoRA" else name] = value[0]
        else:
            block = name
    assert printed_settings("8") == found
    assert len(read_yaml(PrintedSettings, PAPER_DIR / "table8.yaml").cells) == len(found) == 26


def test_every_printed_setting_stands_beside_one_of_ours() -> None:
    _, blocks = load_settings("8", "paper")
    shown = [(block.paper_block, row.paper_label) for block in blocks for row in block.rows]
    assert {place for place in shown if place[1]} == set(printed_settings("8"))
    assert printed_settings("no such table") == {}
