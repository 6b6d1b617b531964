from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dylora_exp.errors import RequestError
from dylora_exp.tables.spec import load_spec, table_names

WriteSpec = Callable[[str, str], Path]

GOOD = """
title: T
caption: C
paper_model: M
ranks: [1, 2]
rows:
  - {label: LoRA, method: lora, truncation: leading, scale: alpha/b}
best:
  - {heading: Best, of: mean}
profiles:
  demo:
    seeds: [10]
    columns:
      - {heading: Demo, task: demo, metric: accuracy}
"""


def test_table_2_has_the_papers_rows_between_the_strong_baselines() -> None:
    spec, _ = load_spec("2", "demo")
    assert [row.label for row in spec.rows] == [
        "LoRA (leading, α/b)",
        "LoRA (leading, α/r)",
        "LoRA (SVD, α/r)",
        "DyLoRA (Frozen)",
        "DyLoRA",
    ]
    assert spec.rows[0].paper_label == "LoRA"
    assert spec.ranks == list(range(1, 9))
    assert spec.full_rank[0].optional == ["demo", "mini"]


@pytest.mark.parametrize(
    ("profile", "seeds", "columns"),
    [
        (
            "paper",
            [10, 42, 4242, 1010],
            "mnli.accuracy sst2.accuracy mrpc.f1 cola.matthews_correlation qnli.accuracy "
            "qqp.accuracy rte.accuracy stsb.pearson",
        ),
        ("mini", [10, 42], "sst2.accuracy mrpc.f1 mrpc.accuracy"),
        ("demo", [10, 42], "demo.accuracy"),
    ],
)
def test_table_2_seeds_and_columns(profile: str, seeds: list[int], columns: str) -> None:
    _, part = load_spec("2", profile)
    assert part.seeds == seeds
    assert " ".join(f"{column.task}.{column.metric}" for column in part.columns) == columns


def test_the_first_column_of_a_task_is_its_headline() -> None:
    assert load_spec("2", "mini")[1].headlines() == [0, 1]


def test_names_are_in_the_order_of_the_paper(write_spec: WriteSpec) -> None:
    for name in ("A", "10", "2", "1"):
        write_spec(name, GOOD)
    assert table_names() == ["1", "2", "10", "A"]


def test_an_unknown_table_is_answered_with_the_nearest(write_spec: WriteSpec) -> None:
    write_spec("costs", GOOD)
    with pytest.raises(RequestError, match=r"table: 'cost' is not one of costs; did you mean"):
        load_spec("cost", "demo")


def test_an_unknown_profile_is_answered_with_the_nearest() -> None:
    with pytest.raises(RequestError, match="did you mean 'mini'"):
        load_spec("2", "mimi")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("ranks: [1, 2]", "ranks: [1, two]", "ranks[1]"),
        ("ranks: [1, 2]", "ranks: [0, 1]", "ranks: found [0, 1]"),
        ("ranks: [1, 2]", "ranks: []", "ranks: found []"),
        (
            "rows:\n  - {label: LoRA, method: lora, truncation: leading, scale: alpha/b}",
            "rows: []",
            "rows: found none",
        ),
        ("title: T", "titel: T", "titel"),
        ("title: T\n", "", "title"),
        ("method: lora", "method: lra", "rows[0].method: 'lra' is not one of"),
        ("truncation: leading", "truncation: top", "rows[0].truncation: 'top' is not one of"),
        ("scale: alpha/b", "scale: alpha", "rows[0].scale: 'alpha' is not one of"),
        ("of: mean", "of: median", "best[0].of: 'median' is not one of mean, run"),
        ("seeds: [10]", "seeds: [10, 10]", "profiles.demo.seeds: found [10, 10]"),
        ("seeds: [10]", "seeds: 10", "profiles.demo.seeds"),
        ("task: demo", "task: dmo", "profiles.demo.columns[0].task: 'dmo' is not one of"),
        ("  demo:\n", "  dmo:\n", "profiles: 'dmo' is not one of"),
        ("title: T", "title: [", "no valid YAML at line"),
    ],
)
def test_a_malformed_spec_is_named_with_file_and_field(
    write_spec: WriteSpec, old: str, new: str, expected: str
) -> None:
    assert old in GOOD
    path = write_spec("x", GOOD.replace(old, new))
    with pytest.raises(RequestError) as error:
        load_spec("x", "demo")
    assert len(error.value.problems) == 1
    assert error.value.problems[0].startswith(f"{path}: ")
    assert expected in error.value.problems[0]


def test_all_wrong_names_are_reported_at_once(write_spec: WriteSpec) -> None:
    write_spec("x", GOOD.replace("method: lora", "method: lra").replace("task: demo", "task: x"))
    with pytest.raises(RequestError) as error:
        load_spec("x", "demo")
    assert len(error.value.problems) == 2
