from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from handmade_records import Results

from dylora_exp.compose import compose
from dylora_exp.errors import RequestError
from dylora_exp.identity import run_id
from dylora_exp.tables.plan import PlannedRun, missing_runs, planned_runs
from dylora_exp.tables.spec import load_spec


def planned(profile: str) -> list[PlannedRun]:
    return planned_runs(*load_spec("2", profile), profile)


def test_a_planned_run_is_the_run_that_its_words_compose() -> None:
    for run in planned("demo"):
        assert run.run_id == run_id(compose(run.words()))


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
        {title: T, caption: C, paper_model: M, ranks: [1], rows: [{label: L, method: lora}],
        profiles: {demo: {seeds: [10], columns: [{heading: H, task: demo, metric: acuracy}]}}}
        """,
    )
    with pytest.raises(RequestError, match=r"column 'H': 'acuracy' .*did you mean 'accuracy'"):
        planned_runs(*load_spec("x", "demo"), "demo")
