"""The whole way: records in a folder, a report out of it."""

import csv
import io
import math
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from dylora_exp.cli.entry import main
from dylora_exp.reporting.analysis.report import make_report
from dylora_exp.reporting.analysis.sections import Section, choices, differences, rank_choice
from dylora_exp.reporting.render.files import csv_text
from dylora_exp.reporting.render.html import page
from dylora_exp.reporting.render.text import average_rows, plain_lines, print_report
from tests.support.records import LEADING, many_records


def section(report, title) -> Section:
    return next(one for one in report.sections() if one.title.startswith(title))


def rows(found: Section):
    """Return a section's rows by heading, of headings that are there twice the first."""
    headings = [column.heading for column in found.columns]
    return [dict(reversed(list(zip(headings, row, strict=True)))) for row in found.rows]


def curve(results, method, seed, values, **changes):
    scores = {(rank, *LEADING): {"accuracy": value} for rank, value in values.items()}
    return results.add(f"profile=demo task=demo method={method}", seed, scores, **changes)


def test_averages(results):
    curve(results, "dylora", 10, {1: 0.7, 8: 0.9})
    curve(results, "dylora", 42, {1: 0.8, 8: 0.9})
    first, last = rows(section(make_report(results.folder), "Averages"))
    assert (first["rank"], first["metric"], first["n"]) == (1, "accuracy", 2)
    assert first["mean"] == pytest.approx(0.75, abs=1e-9)
    assert first["std"] == pytest.approx(0.1 / math.sqrt(2), abs=1e-9)
    reach = math.tan(0.475 * math.pi) * 0.05
    assert first["95 % low"] == pytest.approx(0.75 - reach, abs=1e-9)
    assert (first["min"], first["max"]) == (0.7, 0.8)
    assert last["std"] == 0


def test_which_rank_to_deploy_by_the_rule_of_each_situation(results):
    for seed, values in ((10, {1: 0.78, 8: 0.79}), (42, {1: 0.79, 8: 0.81})):
        curve(results, "dylora", seed, values)
    curve(results, "lora", 10, {1: 0.88, 8: 0.9}, summary=[{"tolerance": 0.05}])
    results.add("profile=demo task=demo method=finetune", 10, {(None,) * 3: {"accuracy": 0.9}})
    report = make_report(results.folder)
    lora, dylora = sorted(rows(section(report, "Which rank")), key=lambda row: row["n"])
    # A standard error of 0.01 at rank 8: 0.785 at rank 1 is below 0.79.
    assert dylora["verdict"] == (
        "deploy rank 8 (leading): Accuracy 80.00, the best of all ranks; mean of 2 seeds"
    )
    assert lora["verdict"].startswith("deploy rank 1 (leading): Accuracy 88.00, 2.00 below rank 8")
    recommended = {row["method"]: row["recommended"] for row in rows(section(report, "Recomm"))}
    assert recommended == {"dylora": 8, "lora": 1}
    loose = {
        row["method"]: row["verdict"]
        for row in rows(section(make_report(results.folder, tolerance=0.02), "Which rank"))
    }
    assert loose["dylora"] == (
        "deploy rank 1 (leading): Accuracy 78.50, 1.50 below rank 8, "
        "12.5 % of its adapter parameters; mean of 2 seeds"
    )
    assert "mean of 2 seeds" in "\n".join(plain_lines(report))
    assert dylora["verdict"] in page(report, {}, [])


def test_differences_are_on_common_seeds_of_the_same_settings(results):
    for seed, value in ((10, 0.7), (42, 0.8), (1010, 0.1)):
        curve(results, "dylora", seed, {1: value})
    curve(results, "dylora-frozen", 10, {1: 0.6})
    curve(results, "dylora-frozen", 42, {1: 0.65})
    other = "profile=demo task=demo method=dylora trainer.max_steps=3"
    results.add(other, 10, {(1, *LEADING): {"accuracy": 0.5}})
    (row,) = rows(section(make_report(results.folder), "Paired"))
    assert (row["first"].split()[0], row["second"]) == ("dylora", "dylora-frozen (leading alpha/b)")
    assert row["difference"] == pytest.approx(0.125, abs=1e-9)
    # t = 0.125 / 0.025 = 5 with one degree of freedom.
    assert row["p"] == pytest.approx(1 - 2 * math.atan(5) / math.pi, abs=1e-9)
    assert row["n"] == 2


def test_differences_scatter_by_one_example_at_least(results):
    data = [{"dataset": "demo/train", "rows": 4000}, {"dataset": "demo/eval", "rows": 200}]
    for seed, value in ((10, 0.7), (42, 0.8)):
        curve(results, "dylora", seed, {1: value, 2: value + 0.005 * (seed == 42)}, data=data)
        curve(results, "lora", seed, {1: value - 0.1, 2: value - 0.1}, data=data)
    equal, other = rows(section(make_report(results.folder), "Paired"))
    reach = math.tan(0.475 * math.pi) * 0.005 / math.sqrt(2)
    assert equal["p"] is None  # no scatter to judge by
    assert equal["95 % low"] == pytest.approx(0.1 - reach, abs=1e-9)
    # The deviation of .100 and .105 is .0035, below one of 200 examples.
    assert other["95 % low"] == pytest.approx(0.1025 - reach, abs=1e-9)
    t = 0.1025 / (0.005 / math.sqrt(2))
    assert other["p"] == pytest.approx(1 - 2 * math.atan(t) / math.pi, abs=1e-9)


def test_recommended_rank_and_areas(results):
    curve(results, "dylora", 10, {1: 0.70, 2: 0.88, 4: 0.90})
    curve(results, "dylora", 42, {1: 0.70, 2: 0.90, 4: 0.94})
    report = make_report(results.folder)
    (row,) = rows(section(report, "Recommended"))
    # The standard error of .90 and .94 is .02, and .89 is .03 below the best mean, .92.
    assert (row["best rank"], row["recommended"]) == (4, 4)
    (loose,) = choices(report.series, 0.04)
    assert loose.recommended == 2
    # Trapezoids: (.79 + 2 * .89) / 3 and (.80 + 2 * .92) / 3.
    assert row["AURAC"] == pytest.approx((2.57 / 3 + 2.64 / 3) / 2, abs=1e-9)
    assert row["AURAC log2"] == pytest.approx((0.79 + 0.89 + 0.80 + 0.92) / 4, abs=1e-9)
    assert row["n"] == 2
    assert "within 4 % of" in rank_choice([loose], 0.04).says


def test_a_lower_edit_rate_is_better(results):
    scores = {(rank, *LEADING): {"ter": value} for rank, value in {1: 0.5, 2: 0.4, 4: 0.6}.items()}
    results.add("profile=demo task=demo method=dylora", 10, scores)
    (choice,) = make_report(results.folder).choices
    assert choice.best == 2


def test_cost(results):
    for seed, seconds in ((10, 100.0), (42, 110.0)):
        timing = {"train_seconds": seconds, "sweep_seconds": 5, "steps": 800}
        parameters = {"trainable": 1234, "total": 5678}
        curve(results, "dylora", seed, {1: 0.7}, timing=timing, parameters=parameters)
    curve(results, "lora", 10, {1: 0.7}, timing={"train_seconds": None})
    dylora, lora = rows(section(make_report(results.folder), "Cost"))
    assert (dylora["train s"], dylora["trainable"], dylora["runs"]) == (105, 1234, 2)
    assert (lora["train s"], lora["total"], lora["runs"]) == (None, None, 1)


def test_one_seed(results):
    curve(results, "dylora", 10, {1: 0.7})
    report = make_report(results.folder)
    (row,) = rows(section(report, "Averages"))
    assert (row["mean"], row["std"], row["95 % low"], row["n"]) == (0.7, None, None, 1)
    assert any("fewer than 3 seeds" in warning for warning in report.warnings)
    assert any(line.startswith("demo ") for line in plain_lines(report))


def test_runs_that_are_not_complete_are_left_out_and_counted(results):
    curve(results, "dylora", 10, {1: 0.7})
    curve(results, "dylora", 42, {1: 0.1}, status="running")
    failed = curve(results, "lora", 10, {1: 0.1}, status="failed", error="out of memory")
    report = make_report(results.folder)
    assert len(report.groups) == 1
    assert "1 failed and 1 running of 3 records left out." in report.warnings
    assert any(failed.run_id in w and "out of memory" in w for w in report.warnings)


def test_no_records(results, capsys):
    results.folder.mkdir()
    assert main(["report", "--results", str(results.folder), "--html", "--csv"]) == 0
    assert main(["report", "--results", str(results.folder)]) == 0
    assert "0 records; 0 completed" in capsys.readouterr().out


def test_malformed_files_are_warnings(results, capsys):
    curve(results, "dylora", 10, {1: 0.7})
    (results.folder / "runs" / "broken.json").write_text("{")
    assert main(["report", "--results", str(results.folder)]) == 0
    said = capsys.readouterr()
    assert "broken.json: skipped, not a record" in said.err
    assert "1 records; 1 completed" in said.out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--where", "taks=demo"], "--where: 'taks' is no key of a record; did you mean 'task'?"),
        (["--tolerance", "1.5"], "--tolerance: found 1.5, expected at least 0 and below 1."),
        (["--results", "nowhere"], "--results: there is no folder 'nowhere'."),
    ],
)
def test_wrong_requests(results, capsys, words, sentence):
    results.folder.mkdir()
    assert main(["report", "--results", str(results.folder), *words]) == 2
    assert capsys.readouterr().err == f"dylora: {sentence}\n"


def test_csv(results):
    curve(results, "dylora", 10, {1: 0.7})
    curve(results, "dylora", 42, {1: 0.8})
    (row,) = csv.DictReader(io.StringIO(csv_text(average_rows(make_report(results.folder)))))
    assert (row["method"], row["rank"], row["metric"], row["n"]) == ("dylora", "1", "accuracy", "2")
    assert float(row["mean"]) == pytest.approx(0.75, abs=1e-12)
    assert row["seeds"] == "10 42"
    assert len(row["runs"].split()) == 2


def test_csv_of_differences_and_claims_has_all_digits(results, capsys):
    for seed, first, second in ((10, 0.7, 0.6), (42, 0.8, 0.65), (1010, 0.9, 0.65)):
        results.demo("dylora", seed, first)
        results.demo("lora", seed, second)
    assert main(["report", "--csv", "--results", str(results.folder)]) == 0
    paths = capsys.readouterr().out.split()
    assert [path.rpartition("/")[2] for path in paths] == [
        *("report.csv", "report-differences.csv", "report-claims.csv")
    ]
    averages, differences, claims = (
        list(csv.DictReader(Path(path).read_text(encoding="utf-8").splitlines())) for path in paths
    )
    assert float(averages[0]["mean"]) == pytest.approx(0.8, abs=1e-12)
    row = next(row for row in differences if row["second"] == "lora (leading alpha/b)")
    # .10, .15, .25: mean 1/6, variance (1/15^2 + 1/60^2 + 1/12^2) / 2.
    std = math.sqrt((1 / 225 + 1 / 3600 + 1 / 144) / 2)
    t = (1 / 6) / (std / math.sqrt(3))
    assert float(row["difference"]) == pytest.approx(1 / 6, abs=1e-12)
    # Student's distribution of two degrees of freedom has a closed form.
    assert float(row["p"]) == pytest.approx(1 - t / math.sqrt(2 + t * t), abs=1e-12)
    found = {row["claim"]: row for row in claims}
    assert float(found["dylora-keeps-low-ranks"]["effect"]) == pytest.approx(1 / 6, abs=1e-12)
    assert {row["verdict"] for row in claims} <= {"holds", "does not hold", "not enough data"}


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes(results):
    for seed in (10, 42):
        results.demo("lora", seed, 0.7 + seed / 1000)
        results.demo("dylora", seed, 0.8)
    words = ["report", "--results", str(results.folder), "--html", "--csv"]
    paths = [results.folder / name for name in ("report.html", "report.csv")]
    assert main(words) == 0
    before = [path.read_bytes() for path in paths]
    assert main(words) == 0
    assert [path.read_bytes() for path in paths] == before


def test_in_a_terminal_long_grids_are_cut(results):
    for method in ("dylora", "dylora-frozen", "lora", "sorted-lora"):
        results.demo(method, 10, 0.7)
        results.demo(method, 42, 0.8)
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=200)
    print_report(make_report(results.folder), console)
    assert "more: --where, --html or --csv" in stream.getvalue()


def test_all_prints_every_section_and_the_answer_only_one_screen(results, capsys):
    for seed in (10, 42):
        results.demo("dylora", seed, 0.8 + seed / 1000)
        results.demo("lora", seed, 0.7)
    assert main(["report", "--all", "--results", str(results.folder)]) == 0
    whole = capsys.readouterr().out
    assert "== Averages over seeds" in whole and "== Paired differences" in whole
    assert main(["report", "--results", str(results.folder)]) == 0
    brief = capsys.readouterr().out
    assert "== " not in brief and "dylora report --all" in brief
    assert len(brief) < len(whole) / 4


def test_needs_no_torch(results):
    curve(results, "dylora", 10, {1: 0.7})
    code = (
        "import sys; from dylora_exp.cli.entry import main;"
        f"main(['report', '--html', '--figures', '--results', {str(results.folder)!r}]);"
        "sys.exit(bool({'torch', 'transformers', 'peft', 'datasets'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_many_records(results):
    for record in many_records(24):
        results.store.write(record)
    report = make_report(results.folder, claims=[])
    assert len(report.groups) == 24
    assert differences(report.series).rows
    assert len(csv_text(average_rows(report)).splitlines()) > 24
