"""The choice of a tracker by its name, and what becomes of one that fails."""

from pathlib import Path

import pytest
import yaml

from dylora_exp.config.composition import CONF_DIR, compose
from dylora_exp.runner.trackers import base
from dylora_exp.runner.trackers.base import (
    Tracker,
    make_tracker,
    tracker_names,
    tracker_problems,
    tracking,
)


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
