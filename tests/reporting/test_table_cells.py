from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dylora_exp.reporting.analysis.cells import build_table
from dylora_exp.reporting.analysis.measures import Cell, summarise
from dylora_exp.reporting.specs.tables import load_spec
from tests.support.records import LEADING, LEADING_R, SVD, Results
from tests.support.tables import block_of, build, cell_of, mini

FRACTIONS = st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=1, max_size=6)


def test_mean_and_sample_deviation_by_hand() -> None:
    cell = summarise([0.80, 0.82, 0.87])
    # Mean 0.83; squared distances 0.0009 + 0.0001 + 0.0016 = 0.0026, halved 0.0013.
    assert cell.mean == pytest.approx(83.0, abs=1e-9)
    assert cell.std == pytest.approx(100 * math.sqrt(0.0013), abs=1e-9)
    assert (cell.n, cell.low, cell.high) == (3, 80.0, 87.0)


def test_one_seed_has_no_deviation_and_none_is_blank() -> None:
    assert (summarise([0.5]).mean, summarise([0.5]).std, summarise([0.5]).n) == (50.0, None, 1)
    assert summarise([]) == Cell()


@given(FRACTIONS)
def test_the_mean_lies_between_the_extremes_whatever_the_order(values: list[float]) -> None:
    cell = summarise(values)
    assert cell.mean is not None and cell.low is not None and cell.high is not None
    assert cell.low - 1e-9 <= cell.mean <= cell.high + 1e-9
    assert summarise(values[::-1]) == cell


@given(st.floats(-1, 1), st.integers(2, 6))
def test_equal_seeds_do_not_deviate(value: float, n: int) -> None:
    assert summarise([value] * n).std == 0


def test_cells_come_from_the_rank_and_the_way_of_their_row(results: Results) -> None:
    cuts = {LEADING: 0.1, LEADING_R: 0.2, SVD: 0.3}
    scores = {
        (rank, *cut): {"accuracy": base + rank / 100}
        for cut, base in cuts.items()
        for rank in range(1, 9)
    }
    results.add("profile=demo task=demo method=lora", 10, scores)
    table = build(results, "demo")
    for label, base in (("(leading, α/b)", 10), ("(leading, α/r)", 20), ("(SVD, α/r)", 30)):
        for rank in range(1, 9):
            cell = cell_of(table, f"Rank = {rank}", f"LoRA {label}")
            assert cell.mean == pytest.approx(base + rank)


def test_only_completed_records_with_the_same_settings_count(results: Results) -> None:
    results.demo("dylora", 10, 0.60)
    results.demo("dylora", 42, 0.10, status="failed")
    results.demo("dylora", 7, 0.20)  # a further seed
    for words in (
        "profile=demo task=demo method=dylora trainer.max_steps=4",
        "profile=demo task=demo method=dylora method.alpha=8",
        "profile=mini task=demo method=dylora",
    ):
        results.add(words, 42, {(1, *LEADING): {"accuracy": 0.99}})
    table = build(results, "demo")
    cell = cell_of(table, "Rank = 1", "DyLoRA")
    assert (cell.mean, cell.n) == (pytest.approx(40), 2)
    assert sorted(record.seed for record in table.records) == [7, 10]


def test_a_record_that_lacks_an_option_added_later_still_counts(results: Results) -> None:
    record = results.demo("dylora", 10, 0.60)
    older = {key: value for key, value in record.config.items() if key != "ranks"}
    results.store.path(record.run_id).unlink()
    results.demo("dylora", 10, 0.60, run_id="made-before", config=older)
    table = build(results, "demo")
    assert cell_of(table, "Rank = 1", "DyLoRA").mean == pytest.approx(60)
    assert all(item.run.seed == 42 for item in table.missing if item.run.method == "dylora")


def test_the_best_of_a_block_is_bold_and_so_is_each_of_several(results: Results) -> None:
    for seed, lora, frozen, dylora in ((10, 0.5, 0.75, 0.7), (42, 0.5, 0.75, 0.8)):
        results.demo("lora", seed, lora)
        results.demo("dylora-frozen", seed, frozen)
        results.demo("dylora", seed, dylora)
    table = build(results, "demo")
    bold = {line.spec.label for line in block_of(table, "Rank = 3").lines if line.cells[0].bold}
    assert bold == {"DyLoRA (Frozen)", "DyLoRA"}  # 0.7 + 0.8 is 1.5 but for its last bit


def test_a_difference_below_the_printed_digits_is_no_tie(results: Results) -> None:
    results.demo("dylora-frozen", 10, 0.800001)
    results.demo("dylora", 10, 0.800002)
    table = build(results, "demo")
    assert not cell_of(table, "Rank = 1", "DyLoRA (Frozen)").bold
    assert cell_of(table, "Rank = 1", "DyLoRA").bold


def test_a_cell_without_company_is_not_bold(results: Results) -> None:
    results.demo("dylora", 10, 0.8)
    assert not cell_of(build(results, "demo"), "Rank = 1", "DyLoRA").bold


def test_best_mean_and_best_run_may_be_at_different_ranks(results: Results) -> None:
    by_seed = {10: (0.70, 0.90, 0.80), 42: (0.70, 0.60, 0.80)}
    for seed, values in by_seed.items():
        scores = {(rank, *LEADING): {"accuracy": values[min(rank, 3) - 1]} for rank in range(1, 9)}
        results.add("profile=demo task=demo method=dylora", seed, scores)
    table = build(results, "demo")
    mean = cell_of(table, "Best mean (rank)", "DyLoRA")
    assert (mean.mean, mean.std, mean.n, mean.at) == (80.0, 0.0, 2, 3)  # the lowest of 3..8
    run = cell_of(table, "Best run (rank)", "DyLoRA")
    assert (run.mean, run.std, run.n, run.at) == (90.0, None, None, 2)


def test_the_average_counts_one_column_a_task(results: Results) -> None:
    mini(results, "dylora", 10, sst2=0.9, f1=0.8, accuracy=0.1)
    mini(results, "dylora", 42, sst2=0.8, f1=0.7, accuracy=0.1)
    average = cell_of(build(results, "mini"), "Rank = 1", "DyLoRA", 3)
    assert average.mean == pytest.approx(80.0)  # (85 + 75) / 2, without the accuracy of MRPC
    assert (average.std, average.n) == (None, None)


def test_without_a_task_there_is_no_average(results: Results) -> None:
    scores = {(rank, *LEADING): {"accuracy": 0.9} for rank in range(1, 9)}
    results.add("profile=mini task=sst2 method=dylora", 10, scores)
    assert cell_of(build(results, "mini"), "Rank = 1", "DyLoRA", 3) == Cell(lacks=("no record",))


def test_one_task_needs_no_average(results: Results) -> None:
    assert [column.heading for column in build(results, "demo").columns] == ["Demo task"]


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_an_undefined_metric_counts_as_missing(results: Results, value: float | None) -> None:
    results.demo("dylora", 10, 0.6)
    record = results.demo("dylora", 42, 0.5)
    text = results.store.path(record.run_id).read_text(encoding="utf-8")
    word = {None: "null", math.inf: "Infinity"}.get(value, "NaN")
    results.store.path(record.run_id).write_text(
        text.replace('y": 0.5', f'y": {word}'), encoding="utf-8"
    )
    table = build(results, "demo")
    assert cell_of(table, "Rank = 1", "DyLoRA").n == 1
    assert {item.rank for item in table.undefined} == set(range(1, 9))
    assert {(item.label, item.metric, item.seed) for item in table.undefined} == {
        ("DyLoRA", "accuracy", 42)
    }


def test_printed_values_stand_where_the_paper_has_them(results: Results) -> None:
    table = build(results, "mini")
    best = cell_of(table, "Best run (rank)", "DyLoRA (Frozen)").printed
    assert best is not None and (best.value, best.rank) == (94.50, 2)
    assert cell_of(table, "Best mean (rank)", "DyLoRA").printed is None
    assert cell_of(table, "Best run (rank)", "LoRA (SVD, α/r)").printed is None
    assert cell_of(table, "Best run (rank)", "DyLoRA", 2).printed is None  # accuracy of MRPC
    assert cell_of(table, "Best run (rank)", "DyLoRA", 3).printed is None  # of other tasks
    fine_tune = cell_of(table, "Full Rank", "Fine-tune").printed
    assert fine_tune is not None and fine_tune.value == 94.8


def test_the_papers_averages_stand_beside_leading_lora_only() -> None:
    spec, part = load_spec("2", "paper")
    table = build_table("2", "paper", spec, part, {})
    printed = {
        line.spec.label: line.cells[-1].printed for line in block_of(table, "Rank = 1").lines
    }
    assert {label: cell and cell.value for label, cell in printed.items()} == {
        "LoRA (leading, α/b)": 54.90,
        "LoRA (leading, α/r)": None,
        "LoRA (SVD, α/r)": None,
        "DyLoRA (Frozen)": 82.86,
        "DyLoRA": 84.22,
    }
