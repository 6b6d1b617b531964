from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dylora_exp.core.errors import RequestError
from dylora_exp.reporting.specs.tables import (
    load_settings,
    load_spec,
    profiles_of,
    shows_settings,
    table_names,
)

WriteSpec = Callable[[str, str], Path]

GOOD = """
title: T
caption: C
rows:
  - {label: LoRA, method: lora, truncation: leading, scale: alpha/b}
blocks:
  - {heading: "Rank = {rank}", ranks: [1, 2]}
  - {heading: Best, show: best_mean}
  - {heading: Enough, show: recommended, tolerance: 0.02}
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
    assert spec.blocks[0].ranks == list(range(1, 9))
    assert spec.blocks[-1].rows[0].optional == ["demo", "mini"]


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


COST = "columns[0].relative_to: found none, a column of measure 'cost' needs it."
COST_OF_X = "{heading: D, measure: cost, relative_to: X}"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("ranks: [1, 2]", "ranks: [1, two]", "ranks[1]"),
        ("ranks: [1, 2]", "ranks: [0, 1]", "blocks[0].ranks: found [0, 1]"),
        ("ranks: [1, 2]", "ranks: [2, 2]", "blocks[0].ranks: found [2, 2]"),
        ("show: best_mean", "show: best_mean, ranks: [1]", "blocks[1].ranks: found [1], only"),
        ("show: best_mean", "show: best", "blocks[1].show: 'best' is not one of aurac, "),
        ("show: best_mean", "show: aurac, tolerance: 0.1", "blocks[1].tolerance: only a block"),
        ("tolerance: 0.02", "tolerance: 2", "blocks[2].tolerance: found 2, expected"),
        ("show: best_mean", "show: aurac, only: [paper]", "blocks[1].only: 'paper' is not one"),
        (
            "title: T",
            "title: T\ntitel: T",
            "titel: there is no such setting; did you mean 'title'?",
        ),
        ("title: T\n", "", "title"),
        ("title: T", "title: T\ntransposed: true", "a transposed table has one block"),
        ("method: lora", "method: lra", "rows[0].method: 'lra' is not one of"),
        ("method: lora", "method: lora, search: [1, 1]", "rows[0].search: found [1, 1]"),
        ("method: lora", "method: lora, optional: [dmo]", "rows[0].optional: 'dmo' is not one"),
        ("method: lora", "method: lora, only: [dmo]", "rows[0].only: 'dmo' is not one of"),
        ("method: lora", "method: lora, set: 3", "rows[0].set: found 3, expected a list"),
        ("truncation: leading", "truncation: top", "rows[0].truncation: 'top' is not one of"),
        ("scale: alpha/b", "scale: alpha", "rows[0].scale: 'alpha' is not one of"),
        ("seeds: [10]", "seeds: [10, 10]", "profiles.demo.seeds: found [10, 10]"),
        ("seeds: [10]", "seeds: 10", "profiles.demo.seeds"),
        ("task: demo", "task: dmo", "profiles.demo.columns[0].task: 'dmo' is not one of"),
        (", metric: accuracy", "", "columns[0].metric: found none, a column of measure 'score'"),
        ("{heading: Demo, task", "{heading: D, measure: cost}\n      - {heading: Demo, task", COST),
        ("{heading: Demo, task", f"{COST_OF_X}\n      - {{heading: Demo, task", "relative_to: 'X'"),
        ("  demo:\n", "  dmo:\n", "profiles: 'dmo' is not one of"),
        ("title: T", "title: [", "no valid YAML at line"),
        ("title: T", "title: T\ntitle: U", "no valid YAML at line"),
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


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "rows:\n  - {label: LoRA, method: lora, truncation: leading, scale: alpha/b}\n",
            "",
            "blocks[0].rows: found none",
        ),
        (
            "  - {label: LoRA",
            "  - {label: LoRA, method: lora}\n  - {label: LoRA",
            "rows: label 'LoRA' is there 2 times",
        ),
        (
            "task: demo, metric: accuracy",
            "measure: parameters, task: demo",
            "profiles.demo.columns: found no score",
        ),
        ("columns:", "x: 1\n    columns:", "profiles.demo.x"),
    ],
)
def test_what_a_table_cannot_do_without(
    write_spec: WriteSpec, old: str, new: str, expected: str
) -> None:
    assert old in GOOD
    path = write_spec("x", GOOD.replace(old, new))
    with pytest.raises(RequestError) as error:
        load_spec("x", "demo")
    assert error.value.problems[0].startswith(f"{path}: ")
    assert expected in error.value.problems[0]


@pytest.mark.parametrize("name", sorted(table_names()))
def test_every_table_is_there_in_the_profiles(name: str) -> None:
    # Of a language model of its own there is neither the paper nor a smaller one; the study is not
    # the paper's.
    on_smollm = {"smollm", "smollm-nlg", "demo"}
    own = {"llm": {"llm"}, "smollm": on_smollm, "study": {"mini", *on_smollm}}
    assert own.get(name, {"mini", "paper", "demo"}) <= set(profiles_of(name))
    for profile in profiles_of(name):
        if shows_settings(name):
            assert load_settings(name, profile)[1]
        else:
            assert load_spec(name, profile)[0].blocks_in(profile)


def test_rows_and_blocks_may_belong_to_some_profiles_only() -> None:
    table_1, table_5 = load_spec("1", "demo")[0], load_spec("5", "demo")[0]
    ranks = {p: [row.rank for row in table_1.blocks_in(p)[0].rows] for p in ("demo", "paper")}
    assert ranks == {"demo": [1, 2, 4, 8], "paper": [1, 2, 4, 8, 16, 32]}
    searches = [block.rows[0].search for block in table_5.blocks_in("paper")]
    assert searches == [[1, 2, 4, 8, 16, 32, 64]] * 2 + [[1, 2, 4, 8, 16, 32]] * 2
    assert [block.rows[0].search for block in table_5.blocks_in("demo")] == [
        *([1, 2, 4, 8], [1, 2, 4, 8], [1, 2, 4], [1, 2, 4])
    ]
