"""Runs with cuts that are measured on examples: after each epoch, and killed while scoring."""

import dataclasses
import math

import pytest

from dylora_exp.config.composition import compose
from dylora_exp.objectives.classification import ClassificationObjective
from dylora_exp.records.store import RecordStore
from dylora_exp.runner.run import RunFailed, run_if_needed
from dylora_exp.training import rank_sweep
from tests.support.compared_records import without_times

CUTS = [f"{{truncation: {t}, scale: alpha/r}}" for t in ("gradient", "activation", "global")]
WORDS = [
    *("method=lora", f"method.score=[{','.join(CUTS)}]", "method.calibration_batches=2"),
    *("trainer.score_every=epoch", "trainer.epochs=2", "trainer.max_steps=null"),
    *("trainer.batch_size=16", "task.max_train_samples=48", "task.max_eval_samples=8"),
    *("ranks.score=[2,8]", "trainer.save_steps=2", "trainer.learning_rate=0.01"),
]


def words(folder):
    return [*WORDS, f"results_dir={folder / 'results'}", f"outputs_dir={folder / 'outputs'}"]


def test_a_run_that_was_killed_while_scoring_ends_as_one_that_was_not(tmp_path, monkeypatch):
    whole = run_if_needed(compose(words(tmp_path / "whole"))).record
    assert len(whole.epochs) == 1
    assert any(entry.layer_ranks for entry in whole.epochs[0].ranks)
    assert whole.training["calibration"] == {"examples": 32}
    assert whole.timing["calibration_seconds"] > 0
    score, seen = ClassificationObjective.score, []

    def failing(self, model, method, cut, folder):
        seen.append(cut)
        if len(seen) == 9:  # the third of the last sweep
            raise KeyboardInterrupt
        return score(self, model, method, cut, folder)

    monkeypatch.setattr(ClassificationObjective, "score", failing)
    with pytest.raises(KeyboardInterrupt):
        run_if_needed(compose(words(tmp_path / "cut")))
    resumed = run_if_needed(compose(words(tmp_path / "cut"))).record
    assert without_times(resumed) == without_times(whole)
    assert RecordStore(tmp_path / "cut" / "results").read(resumed.run_id) == resumed


def test_gradients_that_are_not_finite_fail_the_run_in_one_sentence(tmp_path, monkeypatch):
    def broken(objective, config, count):
        calibration = measured(objective, config, count)
        return dataclasses.replace(calibration, loss=lambda logits, _: logits.sum() * math.nan)

    measured = rank_sweep.calibration_batches
    monkeypatch.setattr(rank_sweep, "calibration_batches", broken)
    with pytest.raises(RunFailed, match="the model's outputs are not finite"):
        run_if_needed(compose([*words(tmp_path), "trainer.score_every=end"]))
