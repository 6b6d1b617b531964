from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dylora_exp.config.composition import compose
from dylora_exp.config.run_identity import setup_id
from dylora_exp.reporting.analysis.cells import Cell, build_table
from dylora_exp.reporting.render.latex import escape
from dylora_exp.reporting.render.tables import (
    CSV_COLUMNS,
    cell_text,
    printed_text,
)
from dylora_exp.reporting.specs.paper import PrintedCell
from dylora_exp.reporting.specs.tables import load_spec
from tests.support.records import LEADING, LEADING_R, SVD, Results
from tests.support.tables import build, csv_text, latex, markdown, mini, rows_of


@pytest.fixture
def filled(results: Results) -> Results:
    """The demo's six runs, each with a curve of its own."""
    curves = {LEADING: 0.51, LEADING_R: 0.53, SVD: 0.71}
    for seed, shift in ((10, 0.0), (42, 0.013)):
        for method, cuts in {
            "lora": curves,
            "dylora": {LEADING: 0.77},
            "dylora-frozen": {LEADING: 0.76},
        }.items():
            scores = {
                (rank, *cut): {"accuracy": base + rank / 97 + shift}
                for cut, base in cuts.items()
                for rank in range(1, 9)
            }
            results.add(f"profile=demo task=demo method={method}", seed, scores)
    return results


def test_cell_texts() -> None:
    assert cell_text(Cell()) == ""
    assert cell_text(Cell(mean=84.216, std=1.004, n=2)) == "84.22±1.00 (2)"
    assert cell_text(Cell(mean=84.216, n=1)) == "84.22 (1)"
    assert cell_text(Cell(mean=84.216, at=7)) == "84.22 @7"


def test_printed_texts() -> None:
    printed = PrintedCell(block="B", row="R", column="C", value=84.0, rank=7)
    assert printed_text(Cell(), True) == ""
    assert printed_text(Cell(printed=printed), True) == "84.00 @7"
    assert printed_text(Cell(mean=83.5, printed=printed), True) == "84.00 @7 [-0.50]"
    assert printed_text(Cell(mean=83.5, printed=printed), False) == "84.00 @7"


def test_markdown_has_the_shape_of_table_2(filled: Results) -> None:
    rows = rows_of(markdown(build(filled, "demo")))
    assert rows[0] == ["", "", "Demo task"]
    assert [row[0] for row in rows if row[0]] == [
        "-" * len("Best mean (rank)"),
        *(f"Rank = {rank}" for rank in range(1, 9)),
        "Best mean (rank)",
        "Best run (rank)",
        "Recommended rank",
        "AURAC",
        "AURAC (log2)",
        "Full Rank",
    ]
    assert len(rows) == 2 + 13 * 5 + 1
    # 0.51 + 1/97 = 0.5203 and 0.5333: mean 52.68, deviation 1.3 / sqrt(2) = 0.92.
    assert rows[2] == ["Rank = 1", "LoRA (leading, α/b)", "52.68±0.92 (2)"]
    assert rows[6] == ["", "DyLoRA", "**78.68±0.92 (2)**"]
    assert rows[-1] == ["Full Rank", "Fine-tune", "¶"]


def test_markdown_lines_are_aligned(filled: Results) -> None:
    lines = [line for line in markdown(build(filled, "demo")).splitlines() if line[:1] == "|"]
    assert len({len(line) for line in lines}) == 1


def test_the_papers_values_are_marked_with_its_model(results: Results) -> None:
    mini(results, "dylora", 10, sst2=0.9, f1=0.8, accuracy=0.7)
    rows = rows_of(markdown(build(results, "mini")))
    place = next(i for i, row in enumerate(rows) if row[0] == "Best run (rank)")
    assert rows[place + 1] == ["", "*paper (RoBERTa-base)*", "94.50 @6", "92.25 @7", "", ""]
    assert sum("paper" in row[1] for row in rows) == 4
    assert "[" not in markdown(build(results, "mini"))


def test_the_paper_profile_shows_the_difference(results: Results) -> None:
    tasks = ["mnli", "sst2", "mrpc", "cola", "qnli", "qqp", "rte", "stsb"]
    metrics = dict.fromkeys(("accuracy", "f1", "matthews_correlation", "pearson"), 0.85)
    for task in tasks:
        scores = {(rank, *LEADING): metrics for rank in range(1, 9)}
        results.add(f"profile=paper task={task} method=dylora", 10, scores)
    spec, part = load_spec("2", "paper")
    spec = spec.model_copy(update={"rows": spec.rows[-1:], "blocks": spec.blocks[:1]})
    records = {record.run_id: record for record in results.store.read_all()[0]}
    table = build_table("2", "paper", spec, part, records)
    rows = rows_of(markdown(table))
    assert (rows[2][1], rows[2][-1]) == ("DyLoRA", "85.00 †")
    assert (rows[3][1], rows[3][-1]) == ("*paper (RoBERTa-base)*", "84.22 [+0.78]")


def test_the_demo_has_no_printed_values(filled: Results) -> None:
    assert "paper" not in markdown(build(filled, "demo"))


def test_missing_runs_are_footnoted_together(results: Results) -> None:
    results.demo("dylora", 10, 0.6)
    results.demo("dylora", 42, 0.6, status="failed")
    text = markdown(build(results, "demo"))
    assert "- † Missing (no record): lora, dylora-frozen on demo, seeds 10, 42.\n" in text
    assert "- ‡ Missing (failed): dylora on demo, seed 42.\n" in text
    assert "- ¶ Not run, not required: finetune on demo, seeds 10, 42.\n" in text


def test_a_cell_carries_the_marks_of_what_it_lacks(results: Results) -> None:
    results.demo("dylora", 10, 0.6)
    results.demo("dylora", 42, 0.6, status="failed")
    rows = [line.split("|") for line in markdown(build(results, "demo")).splitlines()]
    cells = {row[2].strip(): row[3].strip() for row in rows if len(row) == 5}
    assert cells["LoRA (SVD, α/r)"] == "†"  # blank but for the mark
    assert cells["DyLoRA"] == "60.00 (1) ‡"
    assert cells["Fine-tune"] == "¶"


def test_tasks_and_methods_with_the_same_gap_share_a_phrase(results: Results) -> None:
    mini(results, "dylora", 10, sst2=0.9, f1=0.8, accuracy=0.7)
    assert (
        "- † Missing (no record): lora, dylora-frozen on sst2, mrpc, seeds 10, 42; "
        "dylora on sst2, mrpc, seed 42.\n"
    ) in markdown(build(results, "mini"))


def test_undefined_metrics_are_footnoted(results: Results) -> None:
    results.demo("dylora", 10, None)
    text = markdown(build(results, "demo"))
    assert (
        "- Undefined: DyLoRA: accuracy of demo, seed 10 at ranks 1, 2, 3, 4, 5, 6, 7, 8.\n" in text
    )


def test_the_signature_says_what_the_table_was_made_of(results: Results) -> None:
    results.demo("dylora", 10, 0.6)
    results.demo("dylora", 42, 0.6, environment={"git_commit": None, "dirty": True})
    signature = {"signature": "accuracy|scikit-learn:1.7"}
    about = {"project": "0.2.0", "git_commit": "0123456789"}
    results.demo("lora", 10, 0.6, environment=about, scoring=signature)
    setups = [
        setup_id(compose(["profile=demo", f"method={method}"]))
        for method in ("lora", "dylora-frozen", "dylora", "finetune")
    ]
    assert markdown(build(results, "demo")).splitlines()[-1] == (
        "- Made from: profile demo; seeds 10, 42; 3 records of 6 runs; "
        "scores after the last epoch; "
        f"configs without seed {', '.join(setups)}; metrics accuracy|scikit-learn:1.7; "
        "metrics accuracy in 2 of 3 records made before records held metric versions; "
        "dylora-exp 0.1.0, 0.2.0, "
        "unknown, commits 0123456, abcdef0, unknown; 1 from a modified source tree (1 unknown)."
    )


def test_the_signature_of_an_empty_table(results: Results) -> None:
    last = markdown(build(results, "demo")).splitlines()[-1]
    assert last.startswith("- Made from: profile demo; seeds 10, 42; 0 records of 6 runs; ")
    assert "metrics" not in last and "commit" not in last


def test_csv_reads_back_into_the_same_numbers(results: Results) -> None:
    mini(results, "dylora", 10, sst2=0.9, f1=0.8, accuracy=1 / 3)
    mini(results, "dylora", 42, sst2=0.7, f1=0.81, accuracy=2 / 3)
    table = build(results, "mini")
    rows = list(csv.DictReader(io.StringIO(csv_text(table))))
    cells = [
        (block, line, column, cell)
        for block in table.blocks
        for line in block.lines
        for column, cell in zip(table.columns, line.cells, strict=True)
    ]
    assert len(rows) == len(cells) == (13 * 5 + 1) * 4
    for row, (block, line, column, cell) in zip(rows, cells, strict=True):
        assert tuple(row) == CSV_COLUMNS
        assert (row["block"], row["row"]) == (block.heading, line.spec.label)
        assert (row["task"], row["metric"]) == (column.task, column.metric)
        assert (row["truncation"] or None, row["scale"] or None) == (
            line.spec.truncation,
            line.spec.scale,
        )
        numbers = [float(row[name]) if row[name] else None for name in ("mean", "std", "n")]
        assert numbers == [cell.mean, cell.std, cell.n]
        assert (float(row["paper"]) if row["paper"] else None) == (
            cell.printed.value if cell.printed else None
        )


def test_latex_rows_have_as_many_cells_as_columns(results: Results) -> None:
    mini(results, "dylora", 10, sst2=0.9, f1=0.8, accuracy=0.7)
    text = latex(build(results, "mini"))
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")].splitlines()
    rows = [line for line in body if line.endswith(r" \\")]
    assert len(rows) == 1 + 13 * 5 + 1 + 4
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {5}
    assert r"\begin{tabular}{llrrrr}" in text


def test_latex_is_balanced_and_plain_ascii(filled: Results) -> None:
    text = latex(build(filled, "demo"))
    assert text.isascii()
    bare = re.sub(r"\\.", "", text)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert text.count(r"\ifdim") + text.count(r"\ifdefined") == text.count(r"\fi")
    opened = re.findall(r"\\begin\{(\w+)\}", text)
    closed = re.findall(r"\\end\{(\w+)\}", text)
    assert sorted(opened) == sorted(closed)
    assert re.sub(r"\\[&%$#_]", "", text).count("$") % 2 == 0
    assert "%" not in text.replace(r"\%", "") and "_" not in text.replace(r"\_", "")


def test_latex_marks_the_best_cell(filled: Results) -> None:
    assert r"DyLoRA & \textbf{78.68$\pm$0.92 (2)} \\" in latex(build(filled, "demo"))


@given(st.text(alphabet="ab \\{}&%$#_~^<>|[]α±", max_size=20))
def test_escaped_text_has_no_bare_special_character(text: str) -> None:
    bare = re.sub(r"\\text\w+\{\}|\\[{}&%$#_]|\$\\\w+\$|\{[\[\]]\}", "", escape(text))
    assert not re.search(r"[\\{}&%$#_~^<>|\[\]α±]", bare)


ENGINE = shutil.which("tectonic") or shutil.which("pdflatex")


@pytest.mark.skipif(ENGINE is None, reason="neither tectonic nor pdflatex is installed")
@pytest.mark.parametrize("profile", ["demo", "mini"])
def test_latex_compiles(filled: Results, tmp_path: Path, profile: str) -> None:
    mini(filled, "dylora", 10, sst2=0.9, f1=0.8, accuracy=0.7)
    (tmp_path / "table2.tex").write_text(latex(build(filled, profile)), encoding="utf-8")
    document = tmp_path / "document.tex"
    document.write_text(
        "\\documentclass{article}\n\\usepackage{booktabs}\n"
        "\\begin{document}\n\\input{table2}\n\\end{document}\n",
        encoding="utf-8",
    )
    batch = [] if "tectonic" in str(ENGINE) else ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run(
        [str(ENGINE), *batch, document.name], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert document.with_suffix(".pdf").exists()
