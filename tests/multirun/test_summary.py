"""What stands at the end of many runs: rank by method, and one run is not 'runs'."""

import pytest

from dylora_exp.core import set_verbosity
from dylora_exp.multirun.jobs import JobResult
from dylora_exp.multirun.summary import counts_line, print_pivot
from dylora_exp.runner import Outcome
from tests.support.records import Results


@pytest.fixture
def done(tmp_path):
    results = Results(tmp_path)
    made = [
        results.demo("lora", 1, 0.5),
        results.demo("dylora", 1, 0.75),
        results.add("profile=demo task=demo method=finetune", 1, {(None,) * 3: {"accuracy": None}}),
    ]
    return [
        JobResult(record.method, Outcome(record, results.store.path(record.run_id), True, []))
        for record in made
    ]


def test_many_runs_end_with_rank_by_method_in_80_columns(done, capsys):
    print_pivot([*done, JobResult("failed", problems=("no",))])
    out = capsys.readouterr().out
    assert all(len(line) <= 80 for line in out.splitlines())
    (dylora,) = [line for line in out.splitlines() if line.startswith("DyLoRA")]
    assert dylora.split()[1:9] == ["75.0*"] * 8


def test_one_run_has_no_pivot_and_quiet_has_none(done, capsys):
    print_pivot(done[:1])
    print_pivot([done[0], done[0]])
    set_verbosity("quiet")
    try:
        print_pivot(done)
    finally:
        set_verbosity("normal")
    assert capsys.readouterr().out == ""


def test_numbers_and_nouns_agree(done):
    assert counts_line(done[:1]) == "1 run: 1 done now"
    assert counts_line(done) == "3 runs: 3 done now"
