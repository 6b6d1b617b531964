"""Last or best epoch: which scores a table takes."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import pytest

from dylora_exp.core.errors import RequestError
from dylora_exp.records.record import EpochScores, RankScore
from dylora_exp.reporting.make_tables import RenderedTable, table_runs
from dylora_exp.reporting.specs.select import best_epochs
from dylora_exp.reporting.specs.tables import load_spec
from tests.support.records import LEADING, Results
from tests.support.tables import make_table

EPOCHS = "profile=demo task=demo method=dylora trainer.score_every=epoch"


def scores(values: dict[int, float | None]) -> list[RankScore]:
    return [RankScore(rank, *LEADING, {"accuracy": value}, 0.1) for rank, value in values.items()]


def add_with_epochs(results: Results, seed: int) -> None:
    """Ranks 1..8 at 0.5 in the end; rank 1 was better after the first epoch, rank 2 undefined."""
    at_the_end = dict.fromkeys(range(1, 9), 0.5)
    first = EpochScores(1, 125, scores({**at_the_end, 1: 0.75, 2: None}))
    second = EpochScores(2, 250, scores({**at_the_end, 1: 0.25}))
    results.add(
        EPOCHS,
        seed,
        {(rank, *LEADING): {"accuracy": value} for rank, value in at_the_end.items()},
        epochs=[first, second],
    )


def mean(made: RenderedTable, block: str, label: str) -> float:
    (path,) = [path for path in made.paths if path.suffix == ".csv"]
    with path.open(encoding="utf-8") as stream:
        (found,) = [
            float(row["mean"])
            for row in csv.DictReader(stream)
            if (row["block"], row["row"]) == (block, label)
        ]
    return found


def test_the_best_epoch_is_chosen_for_each_rank(results: Results) -> None:
    add_with_epochs(results, 10)
    record = results.store.read_all()[0][0]
    best = {entry.rank: entry.metrics["accuracy"] for entry in best_epochs(record, "accuracy")}
    assert best == {1: 0.75, **dict.fromkeys(range(2, 9), 0.5)}


def test_of_ter_the_lowest_epoch_is_the_best(results: Results) -> None:
    add_with_epochs(results, 10)
    record = results.store.read_all()[0][0]
    sweeps = [
        [dataclasses.replace(score, metrics={"ter_seen": value}) for score in record.ranks]
        for value in (0.5, 0.25, 0.75)
    ]
    epochs = [EpochScores(index, 125 * index, ranks) for index, ranks in enumerate(sweeps[:2], 1)]
    record = dataclasses.replace(record, epochs=epochs, ranks=sweeps[2])
    assert {score.metrics["ter_seen"] for score in best_epochs(record, "ter_seen")} == {0.25}


def test_tables_say_which_they_take(results: Results) -> None:
    add_with_epochs(results, 10)
    add_with_epochs(results, 42)
    last = make_table("2", "demo", results.folder)
    assert mean(last, "Rank = 1", "DyLoRA") == 50
    assert "scores after the last epoch" in last.markdown
    best = make_table("2", "demo", results.folder, "best")
    assert mean(best, "Rank = 1", "DyLoRA") == 75
    assert "the epoch with its best score, chosen on the development split" in best.markdown


def test_a_run_scored_at_its_end_has_no_best_epoch(results: Results) -> None:
    results.demo("dylora", 10, 0.9)
    made = make_table("2", "demo", results.folder, "best")
    assert "90.00" not in made.markdown
    assert {(item.run.method, item.run.seed) for item in made.missing} >= {("dylora", 10)}


def test_the_best_epoch_needs_other_runs() -> None:
    last = {run.run_id for run in table_runs("2", "demo")}
    best = table_runs("2", "demo", "best")
    assert not last & {run.run_id for run in best}
    assert all("trainer.score_every=epoch" in run.overrides() for run in best)


def test_a_spec_may_say_it(write_spec, results: Results) -> None:
    text = (Path(__file__).parents[2] / "conf/table/2.yaml").read_text(encoding="utf-8")
    write_spec("2", text.replace("  demo:\n", "  demo:\n    select: best\n"))
    assert load_spec("2", "demo")[1].select == "best"
    assert load_spec("2", "demo", "last")[1].select == "last"
    write_spec("2", text.replace("  demo:\n", "  demo:\n    select: bets\n"))
    with pytest.raises(RequestError, match=r"select: unknown .*'bets'.*best|'bets'.*best"):
        load_spec("2", "demo")


def test_an_unknown_selection_is_refused() -> None:
    with pytest.raises(RequestError, match=r"--select.*'bets'.*best"):
        load_spec("2", "demo", "bets")
