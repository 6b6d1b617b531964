"""The answer of a report on one screen."""

import itertools
import random

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from dylora_exp.cli.entry import main
from dylora_exp.reporting.analysis.report import make_report
from dylora_exp.reporting.render.brief import MOST_LINES, WIDTH, brief_lines
from tests.support.records import LEADING, Results, many_records, mixed_records, renamed


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    results = Results(tmp_path_factory.mktemp("mixed"))
    for record in mixed_records(40):
        results.store.write(record)
    return results


def test_forty_mixed_records_of_seven_methods_fit_a_screen(mixed, capsys):
    assert main(["report", "--results", str(mixed.folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= MOST_LINES == 60
    assert max(map(cell_len, lines)) <= WIDTH == 80
    text = "\n".join(lines)
    names = ("LoRA", "DyLoRA", "DyLoRA (Frozen)", "Nested dropout", "Sorted LoRA", "Matryoshka")
    for name in (*names, "Fine-tune", "MRPC, minilm (mini): F1 (%)", "SST-2, minilm (mini)"):
        assert name in text
    assert "Claims: " in text and "Differences with p < 0.05" in text
    assert lines[-1].startswith("Everything: dylora report --all")


def test_the_pivot_has_the_means_in_percent_the_rank_and_the_cost(results):
    for seed, add in ((10, 0.0), (42, 0.02)):
        scores = {(rank, *LEADING): {"accuracy": 0.8 + add} for rank in range(1, 9)}
        timing = {"train_seconds": 100.0 + seed}
        results.add("profile=demo task=demo method=dylora", seed, scores, timing=timing)
        results.demo("dylora-frozen", seed, 0.7)
    lines = brief_lines(make_report(results.folder))
    (row,) = [line for line in lines if line.startswith("DyLoRA  ")]
    assert row.split() == ["DyLoRA", *["81.0*"] * 8, "r=1", "126.0"]
    assert any("mean over 2 seeds" in line for line in lines)


def test_of_many_ranks_powers_of_two_are_shown(results):
    scores = {(rank, *LEADING): {"accuracy": 0.8} for rank in range(1, 65)}
    results.add("profile=demo task=demo method=dylora ranks.r_max=64", 10, scores)
    lines = brief_lines(make_report(results.folder))
    (head,) = [line for line in lines if line.startswith(" ") and "r=1 " in line]
    assert head.split()[:7] == [f"r={rank}" for rank in (1, 2, 4, 8, 16, 32, 64)]
    assert any("57 more ranks: --all" in line for line in lines)


def test_differences_that_matter_name_the_better_side(results):
    for seed, add in ((10, 0.0), (42, 0.01), (1010, 0.02)):
        results.demo("dylora", seed, 0.9 + add)
        results.demo("dylora-frozen", seed, 0.5 + add * 1.1)
    lines = brief_lines(make_report(results.folder))
    assert any("DyLoRA over DyLoRA (Frozen), ranks 1–8" in line for line in lines)
    assert not any("DyLoRA (Frozen) over" in line for line in lines)


def test_less_is_better_of_an_error_rate(results):
    for seed in (10, 42, 1010):
        for method, ter in (("dylora", 0.3), ("dylora-frozen", 0.6)):
            scores = {(rank, *LEADING): {"ter": ter + seed / 1e5 * len(method)} for rank in (1, 2)}
            results.add(f"profile=demo task=demo method={method}", seed, scores)
    lines = brief_lines(make_report(results.folder))
    (row,) = [line for line in lines if line.startswith("DyLoRA  ")]
    assert row.count("*") == 2
    assert any("DyLoRA over DyLoRA (Frozen)" in line for line in lines)


def test_no_records(tmp_path):
    lines = brief_lines(make_report(tmp_path))
    assert lines[0] == "0 records; 0 completed" and len(lines) < 8


NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=60
)


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # shrinking takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(names=["漢字の名前" * 9, "b"], tasks=24, r_max=64)
@given(
    names=st.lists(NAMES, min_size=1, max_size=3, unique=True),
    tasks=st.integers(1, 24),
    r_max=st.integers(1, 70),
)
def test_it_fits_whatever_names_there_are_and_however_many(tmp_path_factory, names, tasks, r_max):
    results = Results(tmp_path_factory.mktemp("any"))
    numbers = random.Random(r_max)
    scores = {(rank, *LEADING): {"accuracy": numbers.random()} for rank in range(1, r_max + 1)}
    words = f"profile=demo task=demo method=dylora ranks.r_max={r_max}"
    template = results.add(words, 10, scores)
    (results.folder / "runs" / f"{template.run_id}.json").unlink()
    for task, name in itertools.product(range(tasks), names):
        new = {"task": f"{name} {task}", "method": name, "model": name * 2}
        results.store.write(renamed(template, **new))
    report = make_report(results.folder, claims=[])
    assert len(report.records) == tasks * len(names) and report.groups
    lines = brief_lines(report)
    assert len(lines) <= MOST_LINES
    assert max(map(cell_len, lines)) <= WIDTH


@pytest.mark.slow
def test_many_settings_fit_too(results):
    for record in many_records(60):
        results.store.write(record)
    lines = brief_lines(make_report(results.folder))
    assert len(lines) <= MOST_LINES and max(map(cell_len, lines)) <= WIDTH
    assert any("more rows: --all" in line for line in lines)
