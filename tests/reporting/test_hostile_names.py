"""Names of records that file systems, spreadsheets, terminals, Markdown or LaTeX would obey."""

import csv
import io
import re
from html.parser import HTMLParser

import pytest

from dylora_exp.cli.entry import main
from dylora_exp.core import csv_cell, file_stems, markdown_text, one_line
from dylora_exp.records.record import RankScore
from dylora_exp.reporting.render.files import csv_text
from dylora_exp.reporting.render.latex import escape
from tests.support.records import LEADING, Results, make_record

NAMES = [
    *("/etc/passwd", "..", "../../../out", "a/b", "a\\b", "C:\\x", "a\0b", "a\nb", "a\rb", ""),
    *(".hidden", "-dash", "con", "NUL.txt", "x" * 300, "ü" * 300, "😀", "\u202egnp", "\x1b[2Jx"),
    *("=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "'=1", "＝1", "<script>alert(1)</script>", "a|b"),
    *("\\input{/etc/passwd}", "100% _x_ #1 & ~^{}", "$\\frac$", "$a$ $b$", "`x`", "[a](http://x)"),
    *("![a](x)", "[red]x[/red]", "[/]", "{{ 1 }}", "--><b>", "&lt;", "# x", ":smile:", "trailing."),
]
DRAWN = ["../../../out", "/etc/x", "x" * 300, "$\\frac$ $", "\x1b[2Jx", "_x", "", "<script>", "😀"]
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


def write(folder, names):
    found = Results(folder)
    for number, name in enumerate(names):
        found.store.write(
            make_record(
                run_id=f"{number:012x}",
                **dict.fromkeys(("profile", "model", "task", "method"), name),
                config={"seed": 1, "task": {"name": name, "headline": "f1"}},
                ranks=[RankScore(r, *LEADING, {"f1": 0.5 + r / 100}, 0.1) for r in (1, 2)],
                environment={"project": name, "hardware": name},
                scoring={"signature": name},
                timing={"train_seconds": 2.0, "sweep_seconds": 1.0},
                training={"drawn_ranks": {"1": 3, "2": 4}},
            )
        )
    return found


@pytest.fixture
def results(tmp_path):
    return write(tmp_path / "inner" / "results", NAMES)


@pytest.fixture
def drawn_results(tmp_path):
    """Few: each has four figures in two formats."""
    return write(tmp_path / "inner" / "results", DRAWN)


@pytest.mark.slow
def test_files_are_written_in_the_folder_alone_and_each_figure_has_its_own(
    drawn_results, capsys, tmp_path
):
    folder = drawn_results.folder
    assert main(["report", "--results", str(folder), "--html", "--csv", "--figures"]) == 0
    assert capsys.readouterr().err == ""
    assert [p for p in tmp_path.rglob("*") if p.is_file() and folder not in p.parents] == []
    figures = list((folder / "figures").iterdir())
    drawn = len(DRAWN) * 4  # ranks, area, cost, drawn
    assert len(figures) == len({p.name.casefold() for p in figures}) == 2 * drawn
    for file in figures:
        assert re.fullmatch(r"[A-Za-z0-9_+][A-Za-z0-9._+-]{0,180}", file.name)
        if file.suffix == ".svg":
            assert not CONTROL.search(file.read_text(encoding="utf-8"))
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert not CONTROL.search(page)
    tags = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append(tag)

    Tags().feed(page)
    assert tags.count("script") == 1
    assert "&lt;script&gt;" in page


def test_cells_that_a_spreadsheet_would_compute_are_had_back(results):
    assert main(["report", "--results", str(results.folder), "--csv"]) == 0
    for file in results.folder.glob("report*.csv"):
        for row in csv.reader(io.StringIO(file.read_text(encoding="utf-8"), newline="")):
            for cell in row:
                assert not re.match(r"[=+\-@\t\r]", cell) or float(cell) is not None
    rows = csv.reader(io.StringIO((results.folder / "report.csv").read_text(encoding="utf-8")))
    header, *rows = rows
    found = {row[header.index("task")] for row in rows}
    assert {re.sub("^'(?='*[=+@＝-]|'*\\\\[tr])", "", cell) for cell in found} >= {
        one_line(name) for name in NAMES if not name.startswith("\t")
    }


def test_numbers_of_a_csv_stay_numbers():
    assert csv_text([[-0.5, "-0.5", "+1e-3", "-", None, "-x"]]) == "-0.5,-0.5,+1e-3,'-,,'-x\n"
    assert csv_cell("'=x") == "''=x"
    assert csv_cell("'x") == "'x"


@pytest.mark.parametrize("command", ["list", "report", "tables", "plan"])
@pytest.mark.parametrize("terminal", [False, True])
def test_no_control_character_reaches_the_screen(command, terminal, results, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1") if terminal else None
    words = {
        "list": ["list", "runs"],
        "report": ["report"],
        "tables": ["tables", "2"],
        "plan": ["reproduce", "2", "--plan"],
    }[command]
    assert main([*words, "--results", str(results.folder)]) == 0
    printed = "".join(capsys.readouterr())
    styles = re.compile(r"\x1b\[[0-9;]*m")
    assert not CONTROL.search(styles.sub("", printed))
    assert "\x1b[2J" not in printed
    if not terminal:
        assert "\x1b" not in printed
    if command == "list":
        assert "\\u202egnp" in printed and "\\x1b[2Jx" in printed and "[red]x[/red]" in printed


@pytest.mark.parametrize("columns", ["20", "1", "0", "-5", "abc", "10000", ""])
def test_any_width_of_the_terminal_will_do(columns, results, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")
    for words in (["list", "runs"], ["report"], ["tables", "2"]):
        assert main([*words, "--results", str(results.folder)]) == 0
    assert main(["list"]) == 0
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    assert "Traceback" not in "".join(capsys.readouterr())


def test_marks_of_markdown_and_latex_are_shown():
    assert markdown_text("<script> a_b *x* [a](b) `c` &lt; _y_") == (
        r"\<script> a_b \*x\* [a]\(b) \`c\` \&lt; \_y\_"
    )
    assert escape("\\input{x}\n%_") == r"\textbackslash{}input\{x\}\textbackslash{}n\%\_"


def test_names_that_would_be_one_file_are_two():
    names = [("a-b", "c"), ("a", "b-c"), ("A", "x"), ("a", "x"), ("plain", "name"), ("a/b",)]
    stems = file_stems(names)
    assert stems[4] == "plain-name"
    assert len({stem.casefold() for stem in stems}) == len(names)
    assert stems == [file_stems(names)[i] for i in range(len(names))]
