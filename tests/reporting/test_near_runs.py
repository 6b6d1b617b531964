"""Why a table is empty though there are records: the settings in which they differ."""

from dylora_exp.cli.reporting_output import render_tables
from dylora_exp.reporting.make_tables import make_tables
from tests.support.records import LEADING

DEMO = "profile=demo task=demo"
SCORES = {(rank, *LEADING): {"accuracy": 0.5} for rank in range(1, 9)}


def near(results):
    (table,) = make_tables(["2"], "demo", results.folder)
    return table.near


def test_records_are_counted_by_the_settings_in_which_they_differ(results):
    for seed in range(9):
        results.add(f"{DEMO} method=dylora trainer.max_steps=2", seed, SCORES)
    results.add(f"{DEMO} method=dylora trainer.max_steps=2 method.alpha=8", 1, SCORES)
    results.add(f"{DEMO} method=dylora trainer.max_steps=3", 1, SCORES, status="failed")
    results.add(f"{DEMO} method=matryoshka trainer.max_steps=2", 1, SCORES)  # of no row
    results.add("profile=mini task=mrpc method=dylora", 1, SCORES)  # of another profile
    assert near(results) == [
        "9 records differ in trainer.max_steps",
        "1 record differs in method.alpha, trainer.max_steps",
    ]


def test_another_model_is_one_difference(results):
    model = "model=tiny-roberta model.name=other model.targets=[value]"
    results.add(f"{DEMO} method=dylora {model}", 1, SCORES)
    assert near(results) == ["1 record differs in model"]


def test_what_the_table_has_does_not_count(results, capsys):
    assert near(results) == []
    results.demo("dylora", 10, 0.75)
    assert near(results) == []
    results.add(f"{DEMO} method=dylora trainer.max_steps=2", 10, SCORES)
    render_tables(["2"], "demo", results.folder, None)
    assert "missing: 1 record differs in trainer.max_steps." in capsys.readouterr().err
