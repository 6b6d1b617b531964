"""The choice of a tracker by its name, and what becomes of one that fails."""

import importlib.machinery
import sys
import types
from pathlib import Path

import pytest
import yaml

from dylora_exp.config import CONF_DIR, compose
from dylora_exp.records.record import RankScore
from dylora_exp.runner.run import run_if_needed
from dylora_exp.runner.tracker_contents import curves, summary
from dylora_exp.runner.trackers import base
from dylora_exp.runner.trackers.base import (
    Tracker,
    make_tracker,
    tracker_names,
    tracker_problems,
    tracking,
)
from tests.support.records import make_record


class Spy(Tracker):
    def __init__(self):
        self.calls = []

    def start(self, config, folder):
        self.calls.append(("start", config.seed, folder))

    def finish(self, failed):
        self.calls.append(("finish", failed))
        raise ConnectionError


def test_every_tracker_has_a_config_of_its_name():
    files = (Path(CONF_DIR) / "tracker").glob("*.yaml")
    assert sorted(yaml.safe_load(file.read_text())["name"] for file in files) == tracker_names()
    for name in tracker_names():
        assert isinstance(make_tracker(name), Tracker)


def test_a_name_without_a_tracker_is_a_problem():
    (problem,) = tracker_problems(compose(["tracker.name=wandbb"]))
    assert problem.startswith("tracker.name: ") and "did you mean 'wandb'" in problem


def test_a_tracker_is_finished_whatever_happens(monkeypatch, tmp_path):
    config, spies = compose([]), [Spy(), Spy()]
    monkeypatch.setattr(base, "make_tracker", lambda name: spies[-1])
    with pytest.raises(ZeroDivisionError), tracking(config, tmp_path):
        raise ZeroDivisionError
    assert spies.pop().calls == [("start", 10, tmp_path), ("finish", True)]
    with tracking(config, tmp_path) as tracker:
        assert tracker is spies[0]
    assert spies.pop().calls == [("start", 10, tmp_path), ("finish", False)]


RECORD = make_record(
    compose(["ranks.r_max=2"]),
    ranks=[
        RankScore(1, "leading", "alpha/b", {"accuracy": 0.5, "f1": None}, 0.1),
        RankScore(2, "leading", "alpha/b", {"accuracy": 0.75, "f1": 0.7}, 0.1),
    ],
    summary=[
        {
            **{"truncation": "leading", "scale": "alpha/b", "metric": "accuracy"},
            **{"aurac": 0.625, "aurac_log2": 0.625, "best_rank": 2, "recommended_rank": 2},
        }
    ],
)


def test_a_tracker_gets_the_rank_to_deploy_and_the_areas():
    assert dict(curves(RECORD))[2] == {
        "leading-alpha-over-b/accuracy": 0.75,
        "leading-alpha-over-b/f1": 0.7,
    }
    found = summary(RECORD)
    assert (found["recommended_rank"], found["best_rank"], found["best"]) == (2, 2, 0.75)
    assert found["aurac"] == found["leading-alpha-over-b/aurac"] == 0.625
    whole = make_record(ranks=[RankScore(None, None, None, {"f1": 0.5}, 0.1)])
    assert summary(whole) == {"metric": "f1", "best": 0.5}


def test_tensorboard_has_the_loss_and_the_scores_over_rank(tmp_path, tiny_words):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record = run_if_needed(compose([*tiny_words, "tracker=tensorboard"])).record
    events = EventAccumulator(str(tmp_path / "outputs" / record.run_id / "tensorboard"))
    events.Reload()
    found = events.Scalars("ranks/leading-alpha-over-b/accuracy")
    scores = {entry.rank: entry.metrics["accuracy"] for entry in record.ranks}
    assert {one.step: one.value for one in found} == pytest.approx(scores)
    (chosen,) = events.Scalars("summary/recommended_rank")
    assert chosen.value == record.verdict["chosen"]["rank"]
    assert any(name.startswith("train/") for name in events.Tags()["scalars"])


class FakeTrackio(types.ModuleType):
    """The part of trackio that is used; it keeps what it is given."""

    def __init__(self):
        super().__init__("trackio")
        self.opened, self.logged, self.closed = [], [], 0

    def init(self, project, name=None, group=None, config=None, resume="never"):
        self.opened.append((project, name, resume))

    def log(self, metrics, step=None):
        self.logged.append((metrics, step))

    def finish(self):
        self.closed += 1


def test_trackio_gets_the_loss_and_the_scores_over_rank(tiny_words, monkeypatch):
    fake = FakeTrackio()
    fake.__spec__ = importlib.machinery.ModuleSpec("trackio", None)
    monkeypatch.setitem(sys.modules, "trackio", fake)
    record = run_if_needed(compose([*tiny_words, "tracker=trackio", "tracker.project=p"])).record
    assert fake.opened == [("p", record.run_id, "allow")] and fake.closed == 1
    scores = {
        logged["rank"]: logged["leading-alpha-over-b/accuracy"]
        for logged, _ in fake.logged
        if "rank" in logged
    }
    assert scores == {entry.rank: entry.metrics["accuracy"] for entry in record.ranks}
    assert any(step for logged, step in fake.logged if "train_loss" in logged)
    assert fake.logged[-1][0]["summary/recommended_rank"] == record.verdict["chosen"]["rank"]
