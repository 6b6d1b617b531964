"""Launchers whose processes die: every job comes to an end all the same."""

import math
import pickle
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn

from dylora_exp.multirun import jobs
from dylora_exp.multirun.jobs import Ended, Enduring, _noted, _Place
from dylora_exp.runner.run import RunBusy


class Fragile:
    """Stands in for a launcher: ends with the process of the first deadly job."""

    def __init__(self, place, deadly, times):
        self.place = place
        self.left = dict.fromkeys(deadly, times)
        self.launched = []

    def launch(self, job_overrides, initial_job_idx):
        self.launched.append([job[0] for job in job_overrides])
        returned = []
        for number, (name,) in enumerate(job_overrides, start=initial_job_idx):
            HydraConfig.number = number
            returned.append(JobReturn(_return_value=_noted(self.do, self.place, name)))
        return returned

    def do(self, name):
        if self.left.get(name, 0) > 0:
            self.left[name] -= 1
            raise RuntimeError("a worker was killed")
        return Ended(name, [], fresh=True, objective=0.5)


@pytest.fixture
def launch(tmp_path, monkeypatch):
    class Job:
        @staticmethod
        def get():
            class Config:
                class job:
                    num = HydraConfig.number

            return Config

    monkeypatch.setattr(jobs, "HydraConfig", Job)
    monkeypatch.setattr(HydraConfig, "number", 0, raising=False)

    def run(names, deadly=(), times=1):
        place, ended = _Place(), []
        fragile = Fragile(place, deadly, times)
        returned = Enduring(fragile, tmp_path / "sweep", place, ended).launch(
            [[name] for name in names], 0
        )
        heights = [-math.inf if end.problems else 0.5 for end in ended]
        assert [job.return_value for job in returned] == heights
        return {end.job: end for end in ended}, fragile.launched

    return run


def test_sweeps_of_the_same_second_keep_notes_of_their_own(tmp_path, monkeypatch):
    one = Enduring(Fragile(_Place(), [], 0), tmp_path / "s", _Place(), [])
    monkeypatch.setattr(jobs.os, "getpid", lambda: 1)
    other = Enduring(Fragile(_Place(), [], 0), tmp_path / "s", _Place(), [])
    assert one.notes != other.notes and one.folder == other.folder
    (other.notes / "1").mkdir(parents=True)
    (one.notes / "1").mkdir(parents=True)
    with jobs.locks.hold([other.notes / ".lock"], lambda path: None):
        one.clean_up()
        assert not one.notes.exists() and other.notes.exists()
    one.clean_up()
    assert not other.folder.exists()


def test_a_busy_run_is_told_between_processes():
    busy = pickle.loads(pickle.dumps(RunBusy("said", [Path("a")])))
    assert (str(busy), busy.locks) == ("said", [Path("a")])


def test_nothing_is_launched_twice_where_nothing_dies(launch):
    ended, launched = launch("abc")
    assert launched == [["a", "b", "c"]]
    assert all(end.fresh and not end.problems for end in ended.values())


def test_a_job_whose_process_died_is_tried_once_more_alone(launch):
    ended, launched = launch("abc", "b")
    assert launched == [["a", "b", "c"], ["b"], ["c"]]
    assert [end.problems for end in ended.values()] == [[], [], []]


def test_a_job_that_takes_its_process_with_it_takes_no_other_along(launch):
    ended, launched = launch("abcd", "bd", times=9)
    assert [name for name, end in ended.items() if not end.problems] == ["a", "c"]
    for name in "bd":
        assert ended[name].lost
        (problem,) = ended[name].problems
        assert problem == "its process ended before it did (RuntimeError: a worker was killed)"
    assert sum(jobs.count("b") for jobs in launched) == 2


def test_a_launcher_that_does_nothing_is_not_asked_for_ever(launch, monkeypatch):
    def refuse(self, *_):
        raise OSError("no cluster here")

    monkeypatch.setattr(Fragile, "launch", refuse)
    ended, _ = launch("ab")
    assert all(end.lost and "no cluster here" in end.problems[0] for end in ended.values())
