"""A search over settings by Optuna, as ``conf/hydra/sweeper`` has it."""

import pytest
import yaml

from dylora_exp.cli.entry import main
from dylora_exp.records.store import RecordStore
from tests.support.tiny_runs import TINY

pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")

SEARCH = ["run", "-m", "hydra/sweeper=optuna_lr", *TINY, "ranks.score=[1,8]"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def best(folder):
    (file,) = folder.glob("outputs/multirun/*/optimization_results.yaml")
    return yaml.safe_load(file.read_text())


def test_the_best_learning_rate_is_named_and_a_failing_one_stops_nothing(tmp_path, capsys):
    rates = ["trainer.learning_rate=1e-3,1e30", "trainer.max_steps=12", "trainer.warmup_steps=0"]
    assert main([*SEARCH, "hydra.sweeper.n_trials=5", *rates]) == 1
    records = RecordStore("results").read_all()[0]
    assert sorted(record.status for record in records) == ["completed", "failed"]
    (good,) = [record for record in records if record.status == "completed"]
    assert "5 runs: 1 done now" in capsys.readouterr().out
    found = best(tmp_path)
    assert float(found["best_params"]["trainer.learning_rate"]) == 1e-3
    assert found["best_value"] == good.summary[0]["aurac"]


def test_a_search_that_is_started_again_trains_what_is_left(capsys):
    assert main([*SEARCH, "hydra.sweeper.n_trials=2"]) == 0
    first = {record.run_id: record for record in RecordStore("results").read_all()[0]}
    rates = {record.config["trainer"]["learning_rate"] for record in first.values()}
    assert len(rates) == 2 and all(1e-4 <= rate <= 1e-2 for rate in rates)
    capsys.readouterr()
    assert main([*SEARCH, "hydra.sweeper.n_trials=3"]) == 0
    assert "3 runs: 1 done now, 2 done before" in capsys.readouterr().out
    again = {record.run_id: record for record in RecordStore("results").read_all()[0]}
    assert len(again) == 3 and first.items() <= again.items()
