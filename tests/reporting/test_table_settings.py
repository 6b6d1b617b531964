"""Tables of settings: what profiles compose to, beside what the paper prints."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.reporting.make_tables import table_runs
from dylora_exp.reporting.specs.tables import load_settings, load_spec, profiles_of, shows_settings
from tests.support.tables import make_table, rows_of

WriteSpec = Callable[[str, str], Path]

GOOD = """
kind: settings
title: T
caption: C
blocks:
  - heading: Encoder
    profiles: {demo: demo}
    set: [method.alpha=7]
    rows:
      - {label: Rate, key: trainer.learning_rate}
      - {label: Alpha, key: method.alpha}
      - {label: Targets, key: model.targets}
      - {label: Epochs by name, fixed: as many as it takes}
"""


def test_ours_is_what_the_profile_composes_to(write_spec: WriteSpec, tmp_path: Path) -> None:
    write_spec("8x", GOOD)
    made = make_table("8x", "demo", tmp_path)
    config = compose(["profile=demo", "method.alpha=7"])
    assert rows_of(made.markdown)[2:] == [
        ["Encoder (profile=demo)", "Rate", f"{config.trainer.learning_rate:g}", ""],
        ["", "Alpha", "7", ""],
        ["", "Targets", ", ".join(config.model.targets), ""],
        ["", "Epochs by name", "as many as it takes", ""],
    ]
    assert made.missing == [] and table_runs("8x", "demo") == []


def test_table_8_is_written_in_every_form_beside_the_paper(tmp_path: Path) -> None:
    made = make_table("8", "paper", tmp_path)
    folder = tmp_path / "tables" / "paper"
    assert made.paths == [folder / f"table8.{ending}" for ending in ("md", "tex", "csv")]
    rows = list(csv.DictReader((folder / "table8.csv").read_text(encoding="utf-8").splitlines()))
    both = [(row["ours"], row["paper"]) for row in rows if row["paper"] and row["key"]]
    assert len(both) == 19
    for ours, paper in both:  # the profiles named paper are the paper's settings
        same = ours.lower() == paper.lower()
        assert same or float(ours) == float(paper)
    tex = (folder / "table8.tex").read_text(encoding="utf-8")
    assert tex.isascii() and r"\begin{tabular}{llrr}" in tex
    lines = [line for line in tex.splitlines() if line.endswith(r" \\")]
    assert {line.count("&") for line in lines} == {3}
    assert "Table 8 of the paper; paper profile" in tex
    assert (folder / "table8.md").read_text(encoding="utf-8") == made.markdown


def test_seeds_are_those_of_the_tables(tmp_path: Path) -> None:
    rows = rows_of(make_table("8", "paper", tmp_path).markdown)
    seeds = [row[2:] for row in rows if row[1] == "Seeds"]
    assert seeds == [
        ["10, 42, 4242, 1010", "10, 42, 4242, 10, 1010"],
        ["10, 42, 4242", "10, 42, 4242"],
    ]


def test_a_profile_has_the_blocks_that_name_it() -> None:
    assert shows_settings("8") and not shows_settings("2")
    assert sorted(profiles_of("8")) == ["demo", "mini", "paper"]
    assert [len(load_settings("8", name)[1]) for name in ("paper", "demo")] == [2, 2]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("trainer.learning_rate", "trainer.learnin_rate", "did you mean 'trainer.learning_rate'?"),
        ("demo: demo", "demo: dem", "did you mean 'demo'?"),
        ("fixed:", "seeds_of:", "blocks[0].rows[3].seeds_of: 'as many as it takes' is not one of"),
        ("heading: Encoder", "head: Encoder", "head"),
    ],
)
def test_what_is_wrong_is_named(write_spec: WriteSpec, old: str, new: str, expected: str) -> None:
    path = write_spec("8x", GOOD.replace(old, new))
    with pytest.raises(RequestError) as error:
        load_settings("8x", "demo")
    assert error.value.problems[0].startswith(f"{path}: ")
    assert expected in error.value.problems[0]


def test_the_two_kinds_are_not_taken_for_each_other() -> None:
    with pytest.raises(RequestError, match="shows settings"):
        load_spec("8", "paper")
    with pytest.raises(RequestError, match="shows scores"):
        load_settings("2", "paper")
    with pytest.raises(RequestError, match="profile: 'mini-nlg' is not one of demo, mini, paper"):
        load_settings("8", "mini-nlg")
