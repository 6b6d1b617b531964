"""A search by Optuna: reproducible, resumable after a kill, and undisturbed by failing trials."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dylora_exp.cli.entry import main
from dylora_exp.cli.search_output import print_search
from dylora_exp.core import RequestError
from dylora_exp.multirun.search import SearchRequest, run_search
from dylora_exp.multirun.search_space import parse_search_space
from dylora_exp.records import RecordStore
from tests.support.job_functions import (
    count,
    poisoned_record,
    record_of_seed,
    run_quadratic,
    score,
    wait_for,
)
from tests.support.tiny_runs import ROOT, TINY

pytest.importorskip("optuna")

IMPORT_PATH = os.pathsep.join([str(ROOT), *sys.path])
RATE = "trainer.learning_rate"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", IMPORT_PATH)


def search(*overrides, function=run_quadratic, **options):
    return run_search(SearchRequest(overrides, **options), score, function)


def rates(result):
    return [float(trial.overrides[0].removeprefix(f"{RATE}=")) for trial in result.trials]


def test_the_learning_rate_is_searched_on_a_logarithmic_scale_by_default():
    result = search(trials=12)
    assert all(1e-4 <= rate <= 1e-2 for rate in rates(result))
    assert len(set(rates(result))) == 12
    best = max(zip((trial.score for trial in result.trials), rates(result), strict=True))
    assert result.best.score == best[0] and result.best.overrides == (f"{RATE}={best[1]}",)
    assert sum(rate < 1e-3 for rate in rates(result)) >= 3  # half the logarithmic range


def test_a_search_that_is_started_again_runs_what_is_left(tmp_path):
    whole = search(trials=8)
    part = search("outputs_dir=other", trials=3)
    again = search("outputs_dir=other", trials=8)
    assert rates(part) == rates(again)[:3] == rates(whole)[:3]
    assert rates(again) == rates(whole)
    began = count(tmp_path, "trial")
    assert search("outputs_dir=other", trials=8).trials == again.trials
    assert count(tmp_path, "trial") == began == 16


def test_another_question_has_another_file():
    paths = {
        search(trials=1).path,
        search("method=lora", trials=1).path,
        search(f"{RATE}=interval(1e-4,1e-2)", trials=1).path,
    }
    assert len(paths) == 3
    assert search("outputs_dir=outputs", "results_dir=x", trials=1).path in paths


KILLED = """
    import sys
    from tests.support.job_functions import run_quadratic_slowly, score
    from dylora_exp.multirun.search import SearchRequest, run_search

    if __name__ == "__main__":
        request = SearchRequest([], trials=6, jobs=int(sys.argv[1]))
        run_search(request, score, run_quadratic_slowly)
"""


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.slow
def test_a_search_survives_a_kill(tmp_path, monkeypatch, jobs):
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED))
    process = subprocess.Popen([sys.executable, str(script), str(jobs)], start_new_session=True)
    wait_for(lambda: count(tmp_path, "trial") >= 3 or process.poll() is not None, 120)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done, begun = count(tmp_path, "ended"), count(tmp_path, "trial")
    assert 1 <= done < begun <= 4
    (log,) = (tmp_path / "outputs" / "search").glob("*.log")
    with log.open("ab") as file:  # as if it had been killed while it wrote
        file.write(b'{"op_code": 4, "wor')
    result = search(trials=6, jobs=jobs)
    assert len(result.trials) == 6 and result.path.resolve() == log
    assert not any(trial.problem for trial in result.trials)
    assert count(tmp_path, "trial") - begun in (6 - done, 6 - done + 1)
    whole = search("outputs_dir=whole", trials=6, jobs=jobs)
    assert set(rates(whole)[:jobs]) <= set(rates(result))


def test_failing_trials_are_skipped_and_named(capsys):
    overrides = ["seed=choice(1,2,3)"]
    result = search(*overrides, function=poisoned_record, trials=9)
    assert {trial.overrides for trial in result.trials if trial.problem} == {("seed=2",)}
    assert {trial.score for trial in result.trials} == {1.0, 3.0, None}
    assert result.best.overrides == ("seed=3",)
    assert not result.is_complete
    print_search(result)
    printed = capsys.readouterr()
    assert "\nbest: seed=3\n" in printed.out
    assert "run failed: it is poisoned" in printed.err


def test_the_same_direction_for_every_score():
    """The score says which way is up: its negative turns the search around."""
    down = run_search(SearchRequest(["seed=choice(1,3)"], 6), lambda r: -score(r), poisoned_record)
    assert down.best.overrides == ("seed=1",)


@pytest.mark.parametrize(
    ("override", "kind", "fields"),
    [
        ("tag(log, interval(1e-4,1e-2))", "FloatDistribution", {"log": True, "low": 1e-4}),
        ("interval(1,8)", "FloatDistribution", {"log": False, "high": 8}),
        ("int(interval(1,8))", "IntDistribution", {"low": 1, "high": 8}),
        ("tag(log, int(interval(1,64)))", "IntDistribution", {"log": True}),
        ("range(1,8,3)", "CategoricalDistribution", {"choices": ("1", "4", "7")}),
        ("choice(0.1,a)", "CategoricalDistribution", {"choices": ("0.1", "a")}),
        ("1,2", "CategoricalDistribution", {"choices": ("1", "2")}),
    ],
)
def test_hydras_grammar_names_what_is_searched(override, kind, fields):
    space = parse_search_space([f"seed={override}", "method=lora", "hydra.launcher.n_jobs=2"])
    (distribution,) = space.searched.values()
    assert type(distribution).__name__ == kind
    assert {name: getattr(distribution, name) for name in fields} == fields
    assert space.fixed == ["method=lora"] and space.launcher == ["hydra.launcher.n_jobs=2"]


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (SearchRequest(["seed="], trials=0), "--trials: found 0"),
        (SearchRequest([], jobs=0), "--jobs: found 0"),
        (SearchRequest(["seed=interval(5,1)"]), "seed: 'interval(5,1)' cannot be searched"),
        (SearchRequest(["model=glob(*)"]), "expected interval(...), range(...) or choice(...)"),
        (SearchRequest(["method=lroa"]), "did you mean 'lora'?"),
        (SearchRequest(["trainer.learning_raet=interval(1,2)"]), "trainer.learning_rate"),
        (SearchRequest(["method=choice(lora,lroa)"]), "did you mean 'lora'?"),
        (SearchRequest([], launcher="jobslib"), "did you mean 'joblib'?"),
        (SearchRequest(["hydra/launcher=joblib"]), "expected --launcher NAME instead."),
    ],
)
def test_a_wrong_request_is_a_sentence(request_, problem):
    with pytest.raises(RequestError) as error:
        run_search(request_, score, run_quadratic)
    assert problem in str(error.value)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(RequestError) as error:
        search("method=choice(lora,lroa)", "seed", trials=0, jobs=0)
    assert len(error.value.problems) == 4


def test_a_wrong_request_of_the_runs_ends_the_search_and_is_not_kept():
    with pytest.raises(RequestError, match="no_such_folder"):
        run_search(SearchRequest(["task=mrpc", "task.data_dir=no_such_folder"], trials=4), score)
    result = search("task=mrpc", "task.data_dir=no_such_folder", trials=2)
    assert [trial.score is not None for trial in result.trials] == [True, True]


def test_a_metric_of_which_less_is_better_is_searched_downwards(capsys):
    """The record's mean TER is its seed: the lowest is the best, and printed as it is."""
    overrides = ("profile=demo-nlg", "task=demo-webnlg", "task.headline=ter", "seed=choice(1,3,4)")
    result = run_search(SearchRequest(overrides, trials=9), job_function=record_of_seed)
    assert result.best.overrides == ("seed=1",)
    print_search(result)
    out = capsys.readouterr().out
    assert "seed=3: 3.0000 (run " in out and "-3.0" not in out


RUNS = [*TINY, "ranks.score=[1,8]"]


def test_the_command_names_the_best_and_a_failing_trial_stops_nothing(capsys):
    rates = [f"{RATE}=choice(1e-3,1e30)", "trainer.max_steps=12", "trainer.warmup_steps=0"]
    assert main(["search", *RUNS, *rates, "--trials", "5"]) == 1
    records = RecordStore("results").read_all()[0]
    assert sorted(record.status for record in records) == ["completed", "failed"]
    (good,) = [record for record in records if record.status == "completed"]
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == f"best: {RATE}=0.001"
    assert f"{100 * good.summary[0]['aurac']:.2f} (run {good.run_id}, done)" in printed.out
    assert f"Try a lower {RATE}." in printed.err


@pytest.mark.slow
def test_runs_are_searched_by_several_processes():
    request = SearchRequest(RUNS, trials=2)
    first = run_search(request)
    assert first.is_complete
    second = run_search(dataclasses.replace(request, trials=3, jobs=2))
    assert second.trials[:2] == first.trials and len({t.run_id for t in second.trials}) == 3
    for trial in second.trials:
        assert (Path("results") / "runs" / f"{trial.run_id}.json").is_file()
