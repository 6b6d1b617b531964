"""Runs that are scored after every epoch."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.records.store import RecordStore
from dylora_exp.runner import pipeline
from dylora_exp.runner.preflight import check
from dylora_exp.runner.run import RunFailed, run_if_needed
from dylora_exp.training.epoch_sweep import epoch_scores
from tests.support.compared_records import without_times

# 96 examples in batches of 32: three steps an epoch.
EPOCHS = ["trainer.max_steps=null", "trainer.epochs=3", "trainer.score_every=epoch"]


@pytest.mark.parametrize("method", ["lora", "dylora-frozen"])
@pytest.mark.slow
def test_every_epoch_is_scored_and_nothing_else_changes(method, tiny_words, tmp_path):
    words = [*tiny_words, f"method={method}", *EPOCHS[:2]]
    plain = run_if_needed(compose(words)).record
    record = run_if_needed(compose([*words, EPOCHS[2], f"outputs_dir={tmp_path / 'other'}"])).record
    assert record.run_id != plain.run_id
    assert [(scores.epoch, scores.step) for scores in record.epochs] == [(1, 3), (2, 6)]
    cuts = [(entry.rank, entry.truncation, entry.scale) for entry in record.ranks]
    for scores in record.epochs:
        assert [(entry.rank, entry.truncation, entry.scale) for entry in scores.ranks] == cuts
    assert plain.epochs == []
    assert [entry.metrics for entry in record.ranks] == [entry.metrics for entry in plain.ranks]
    assert record.timing["sweep_seconds"] == pytest.approx(
        sum(
            entry.seconds
            for ranks in (record.ranks, *(scores.ranks for scores in record.epochs))
            for entry in ranks
        )
    )


def test_an_epoch_has_the_scores_of_a_run_that_ends_there(tiny_words, tmp_path):
    # A constant learning rate, so that the shorter run is the beginning of the longer one.
    same = [*tiny_words, "trainer.schedule=constant", "trainer.warmup_steps=0"]
    three = run_if_needed(compose([*same, *EPOCHS])).record
    one = run_if_needed(compose([*same, "trainer.max_steps=null", "trainer.epochs=1"])).record
    first = three.epochs[0]
    assert [entry.metrics for entry in first.ranks] == [entry.metrics for entry in one.ranks]


def test_the_record_is_read_back(tiny_words):
    outcome = run_if_needed(compose([*tiny_words, *EPOCHS]))
    store = RecordStore(outcome.path.parent.parent)
    assert store.read(outcome.record.run_id) == outcome.record
    tampered = outcome.path.read_text().replace('"step": 3', '"step": "3"')
    outcome.path.write_text(tampered)
    with pytest.raises(RequestError, match="step' is '3', expected a whole number"):
        store.read(outcome.record.run_id)


def test_flop_is_compacted_only_at_the_end():
    with pytest.raises(RequestError, match=r"trainer\.score_every: found epoch"):
        check(compose(["method=flop", "trainer.score_every=epoch"]))


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change_a_digit(path):
    tree = json.loads(path.read_text())
    tree["ranks"][0]["metrics"]["accuracy"] = 0.123
    path.write_text(json.dumps(tree))


def drop_a_rank(path):
    tree = json.loads(path.read_text())
    path.write_text(json.dumps({**tree, "ranks": tree["ranks"][1:]}))


@pytest.mark.parametrize(
    "spoil",
    [
        change_a_digit,
        *(pytest.param(each, marks=pytest.mark.slow) for each in (halve, drop_a_rank, Path.unlink)),
    ],
)
def test_damaged_scores_of_an_epoch_are_made_again(spoil, tiny_words, tmp_path, monkeypatch):
    words = [*tiny_words, *EPOCHS, "trainer.save_steps=2"]
    whole = run_if_needed(compose([*words, f"outputs_dir={tmp_path / 'whole'}"])).record
    RecordStore(tmp_path / "results").path(whole.run_id).unlink()

    def stop(*_):
        raise ValueError("stopped after training")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "apply_umask", stop)
        with pytest.raises(RunFailed):
            run_if_needed(compose(words))
    folder = tmp_path / "outputs" / whole.run_id
    spoil(folder / "epochs" / "step-6" / "scores.json")
    outcome = run_if_needed(compose(words))
    assert any("epochs/step-6/scores.json" in warning for warning in outcome.warnings)
    assert without_times(outcome.record) == without_times(whole)


@pytest.mark.slow
def test_a_killed_run_has_every_epoch(tiny_words, tmp_path):
    words = [*tiny_words, *EPOCHS, "trainer.epochs=8", "trainer.save_steps=4"]
    whole = run_if_needed(compose([*words, f"outputs_dir={tmp_path / 'whole'}"])).record
    RecordStore(tmp_path / "results").path(whole.run_id).unlink()
    process = subprocess.Popen(
        [sys.executable, "-m", "dylora_exp", "run", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    folder = tmp_path / "outputs" / whole.run_id
    deadline = time.monotonic() + 120
    while len(epoch_scores(folder, 100)) < 3 and process.poll() is None:
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "it was done before it could be killed"
    resumed = run_if_needed(compose(words)).record
    assert without_times(resumed) == without_times(whole)
