"""The package's face: its names and their documentation; it loads nothing before it is used."""

import ast
import inspect
import subprocess
import sys

import pytest

import dylora_exp
from dylora_exp.core.errors import RequestError
from tests.support.tiny_runs import ROOT, TINY

NAMES = dylora_exp.__all__


def test_the_names_are_sorted_and_those_that_type_checkers_see():
    assert sorted(NAMES) == NAMES == sorted(dylora_exp._SOURCES)
    assert set(NAMES) <= set(dir(dylora_exp))
    tree = ast.parse((ROOT / "dylora_exp" / "__init__.py").read_text(encoding="utf-8"))
    (typed,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.asname or alias.name: f"{part.module.partition('.')[2]}:{alias.name}"
        for part in typed.body
        for alias in part.names
    }
    sources = {
        name: where if ":" in where else f"{where}:{name}"
        for name, where in dylora_exp._SOURCES.items()
    }
    assert seen == sources


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_documented_and_no_module_hides_it(name):
    thing = getattr(dylora_exp, name)
    assert callable(thing) and inspect.getdoc(thing)
    assert not (ROOT / "dylora_exp" / f"{name}.py").exists()
    assert not (ROOT / "dylora_exp" / name).exists()


@pytest.mark.parametrize(
    "name",
    [
        *("make_dynamic", "DynamicLoRA", "DynamicRanks", "set_rank", "at_rank", "rank_curve"),
        *("save_rank", "run", "load_records"),
    ],
)
def test_a_name_comes_with_an_example(name):
    text = inspect.getdoc(getattr(dylora_exp, name))
    assert "::\n\n    " in text


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        getattr(dylora_exp, "nothing")  # noqa: B009


def test_the_import_loads_no_library():
    code = (
        "import sys, dylora_exp\n"
        "found = {name.partition('.')[0] for name in sys.modules}\n"
        "foreign = found - set(sys.stdlib_module_names) - {'dylora_exp', '__main__'}\n"
        "before = set(sys.argv[1:])\n"
        "assert not foreign - before, foreign"
    )
    bare = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    started = subprocess.run([sys.executable, "-c", bare], capture_output=True, text=True).stdout
    done = subprocess.run(
        [sys.executable, "-c", code, *started.split()], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_run_returns_its_record_and_is_done_once(tiny_words):
    record = dylora_exp.run([*tiny_words, "seed=7"])
    assert (record.status, record.seed, record.method) == ("completed", 7, "dylora")
    assert dylora_exp.run((*tiny_words, "seed=7")) == record
    results = next(w.partition("=")[2] for w in tiny_words if w.startswith("results_dir"))
    lora = dylora_exp.run([*tiny_words, "method=lora", "seed=7"])
    finetune = dylora_exp.run([*tiny_words, "method=finetune", "seed=7"])
    frame = dylora_exp.load_records(results)
    assert len(frame) == 8 + 24 + 1
    assert frame.equals(dylora_exp.load_records(f"{results}/runs"))
    keys = ["run_id", "rank", "truncation", "scale"]
    assert not frame.duplicated(keys).any()
    for each in (record, lora, finetune):
        rows = frame[frame["run_id"] == each.run_id]
        assert (rows[["model", "task", "method", "profile", "seed"]].nunique() == 1).all()
        for (_, row), score in zip(rows.iterrows(), each.ranks, strict=True):
            assert row["accuracy"] == score.metrics["accuracy"]
            assert (row["rank"] == score.rank) if score.rank else row.isna()["rank"]
    means = frame.groupby(["method", "rank"])["accuracy"].mean()
    assert len(means) == 16


def test_a_wrong_request_and_a_failure_are_raised(tiny_words, monkeypatch):
    with pytest.raises(RequestError, match="method: 'dylor' is not one of"):
        dylora_exp.run([*tiny_words, "method=dylor"])
    with pytest.raises(RequestError, match="did you mean"):
        dylora_exp.run("sed=1")
    with pytest.raises(RequestError, match="overrides: found 1, expected texts"):
        dylora_exp.run([1])
    with pytest.raises(dylora_exp.RequestError):
        dylora_exp.run([*tiny_words, "seed=1,2"])

    def broken(*_):
        raise ZeroDivisionError("no luck")

    monkeypatch.setattr("dylora_exp.runner.pipeline.train_and_record", broken)
    with pytest.raises(dylora_exp.RunFailed, match="ZeroDivisionError: no luck"):
        dylora_exp.run([*tiny_words, *TINY, "seed=8"])
