from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dylora_exp.config.composition import compose
from dylora_exp.config.run_identity import run_id
from dylora_exp.core.errors import RequestError
from dylora_exp.reporting.analysis.plan import (
    Base,
    PlannedRun,
    base_of,
    missing_runs,
    planned_runs,
    setups_by_rank,
)
from dylora_exp.reporting.make_tables import table_runs
from dylora_exp.reporting.specs.layout import RowSpec
from dylora_exp.reporting.specs.tables import load_spec, profiles_of, table_names
from tests.support.records import Results

DEMO = Base(("profile=demo",))


def planned(profile: str, name: str = "2") -> list[PlannedRun]:
    spec, part = load_spec(name, profile)
    return planned_runs(spec, part, profile, base_of(name, part, profile))


@pytest.mark.parametrize("name", [n for n in table_names() if "demo" in profiles_of(n)])
def test_a_planned_run_is_the_run_that_its_words_compose(name: str) -> None:
    for run in table_runs(name, "demo")[1::2]:
        assert run.run_id == run_id(compose(run.overrides()))


@pytest.mark.parametrize(("name", "setups"), [("1", 4), ("3", 4), ("4", 4), ("5", 8), ("7", 2)])
def test_each_setting_of_a_table_is_planned_for_each_seed(name: str, setups: int) -> None:
    runs = planned("demo", name)
    assert len({run.setup for run in runs}) == setups
    assert len({run.run_id for run in runs}) == len(runs) == 2 * setups


def test_an_override_that_says_the_default_is_the_same_run() -> None:
    row = RowSpec(label="x", method="lora", truncation="leading", scale="alpha/b")
    told = row.model_copy(update={"set": ["ranks.r_max=8"]})
    assert setups_by_rank(row, DEMO, "demo") == setups_by_rank(told, DEMO, "demo")


def test_a_search_trains_a_run_for_each_rank_and_shows_each_at_its_own() -> None:
    row = RowSpec(label="x", method="lora", search=[4, 2], truncation="leading", scale="alpha/b")
    setups = setups_by_rank(row, DEMO, "demo")
    assert {rank: setup.config.ranks.r_max for rank, setup in setups.items()} == {2: 2, 4: 4}


def test_without_ranks_there_is_one_score() -> None:
    setups = setups_by_rank(RowSpec(label="x", method="finetune"), DEMO, "demo")
    assert list(setups) == [None]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("method: lora", "row 'L': truncation and scale: 'none' is not one of leading alpha/b, "),
        ("method: dylora, truncation: svd, scale: alpha/r", "'svd alpha/r' is not one of leading"),
        ("method: finetune, truncation: svd", "'svd None' is not one of none"),
        (
            "method: dylora, truncation: leading, scale: alpha/b",
            "row 'L': rank: found null, expected one of 1, 2, 3, 4, 5, 6, 7, 8.",
        ),
        ("method: finetune, rank: 3", "row 'L': rank: found 3, expected one of null."),
        (
            "method: dylora, truncation: leading, scale: alpha/b, set: [ranks.rmax=3]",
            "row 'L': ranks.rmax: there is no such setting; did you mean 'ranks.r_max'?",
        ),
    ],
)
def test_a_row_that_its_run_cannot_fill_is_refused(
    write_spec: Callable[[str, str], Path], row: str, expected: str
) -> None:
    write_spec(
        "x",
        f"""
        {{title: T, caption: C, blocks: [{{}}], rows: [{{label: L, {row}}}], profiles: {{demo: {{
        seeds: [10], columns: [{{heading: H, task: demo, metric: accuracy}}]}}}}}}
        """,
    )
    with pytest.raises(RequestError) as error:
        planned("demo", "x")
    assert len(error.value.problems) == 1
    assert expected in error.value.problems[0]


def test_each_run_is_planned_once() -> None:
    runs = planned("mini")
    assert len({run.run_id for run in runs}) == len(runs) == 4 * 2 * 2


def test_only_fine_tuning_is_optional_on_a_cpu() -> None:
    assert {run.method for run in planned("demo") if run.optional} == {"finetune"}
    assert {run.method for run in planned("demo") if not run.optional} == {
        "lora",
        "dylora",
        "dylora-frozen",
    }


def test_a_run_without_a_completed_record_is_missing(results: Results) -> None:
    results.demo("lora", 10, 0.5)
    results.demo("lora", 42, 0.5, status="failed", error="out of memory")
    results.demo("dylora", 10, 0.5, status="running")
    records = {record.run_id: record for record in results.store.read_all()[0]}
    missing = {
        (item.run.method, item.run.seed): item.reason
        for item in missing_runs(planned("demo"), records)
    }
    assert missing == {
        ("lora", 42): "failed",
        ("dylora", 10): "running",
        ("dylora", 42): "no record",
        ("dylora-frozen", 10): "no record",
        ("dylora-frozen", 42): "no record",
    }


def test_a_metric_that_the_task_does_not_have_is_refused(
    write_spec: Callable[[str, str], Path],
) -> None:
    write_spec(
        "x",
        """
        {title: T, caption: C, blocks: [{ranks: [1]}],
        rows: [{label: L, method: lora, truncation: leading, scale: alpha/b}],
        profiles: {demo: {seeds: [10], columns: [{heading: H, task: demo, metric: acuracy}]}}}
        """,
    )
    with pytest.raises(RequestError, match=r"column 'H': 'acuracy' .*did you mean 'accuracy'"):
        planned("demo", "x")
