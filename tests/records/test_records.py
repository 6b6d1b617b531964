import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dylora_exp.config import compose, identity, run_id
from dylora_exp.core.errors import RequestError
from dylora_exp.records.record import RankScore, Record
from dylora_exp.records.store import RecordStore
from tests.support.records import make_record

RANK = {"rank": 1, "truncation": None, "scale": None, "metrics": {}, "seconds": 1}
LAYERS = {"q": {"r": 3, "d_in": 4, "d_out": 4}, "up": {"r": 2, "d_in": 4, "d_out": 12}}


def of_layers(ranks, rank=2, **change):
    """A record whose only cut gives two layers ranks of their own."""
    return {"layers": LAYERS, "ranks": [{**RANK, "rank": rank, "layer_ranks": ranks}], **change}


def test_a_record_comes_back_as_it_was(tmp_path):
    store = RecordStore(tmp_path)
    path = store.write(make_record())
    assert path == tmp_path / "runs" / "0123456789ab.json"
    assert store.read("0123456789ab") == make_record()
    text = path.read_text()
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=2) + "\n"


def test_a_missing_record_is_none(tmp_path):
    assert RecordStore(tmp_path).read("nothing") is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"schema_version": 2}, "schema_version is 2, expected 1"),
        ({"status": "done"}, "'status' is 'done', expected 'running', 'completed' or 'failed'"),
        ({"seed": "1"}, "'seed' is '1'"),
        ({"ranks": [{"rank": 1}]}, "'ranks[0].truncation' is missing"),
        ({"ranks": [{**RANK, "more": 1}]}, "'ranks[0].more' is not a key of a record"),
        ({"ranks": [{**RANK, "rank": 10**30}]}, "'ranks[0].rank' is 1" + "0" * 30),
        ({"ranks": [RANK, RANK]}, "'ranks' has a cut twice"),
        ({"ranks": [{**RANK, "metrics": {"f1": 1.2}}]}, "'ranks[0].metrics.f1' is 1.2, expected a"),
        ({"ranks": [{**RANK, "metrics": {"f1": -0.1}}]}, "expected a number from 0 to 1"),
        ({"ranks": [{**RANK, "metrics": {"pearson": -1.1}}]}, "expected a number from -1 to 1"),
        ({"ranks": [{**RANK, "metrics": {"x": float("inf")}}]}, "is inf, expected a finite number"),
        ({"config": {"seed": 2}}, "'seed' is 1, but 'config.seed' is 2"),
        ({"profile": "paper", "config": {"profile": "mini"}}, "but 'config.profile' is 'mini'"),
        ({"config": {"seed": 1, "ranks": {"r_max": 4}}, "ranks": [{**RANK, "rank": 5}]}, "most 4"),
        ({"epochs": [{"epoch": 1, "step": 1, "ranks": [RANK, RANK]}]}, "'epochs[0].ranks' has"),
        ({"ranks": [{**RANK, "rank": 0}]}, "'ranks[0].rank' is 0, expected at least 1"),
        ({"ranks": [{**RANK, "rank": "1"}]}, "'ranks[0].rank' is '1', expected a whole number"),
        ({"ranks": [{**RANK, "metrics": {"f1": "x"}}]}, "'ranks[0].metrics.f1' is 'x', expected"),
        ({"ranks": []}, "'ranks' is empty, though the run is completed"),
        ({"ranks": {}}, "'ranks' is {}, expected a list"),
        ({"created_at": 5}, "'created_at' is 5"),
        ({"error": 5}, "'error' is 5"),
        ({"data": [5]}, "'data[0]' is 5, expected an object"),
        ({"run_id": "another"}, "its run_id is 'another'"),
        ({"epochs": [{"epoch": 1}]}, "'epochs[0].step' is missing"),
        ({"extra": 1}, "'extra' is not a key of a record"),
        ({"config": {"ranks": {"r_max": "8"}}}, "'config.ranks.r_max' is '8', expected a whole"),
        ({"config": {"task": {"headline": ["f1"]}}}, "'config.task.headline' is ['f1'], expected"),
        ({"config": {"trainer": 3}}, "'config.trainer' is 3, expected an object"),
        ({"timing": {"train_seconds": "1"}}, "'timing.train_seconds' is '1', expected a number"),
        ({"timing": {"steps": float("nan")}}, "'timing.steps' is nan, expected a number"),
        ({"environment": {"torch": {}}}, "'environment.torch' is {}, expected a text, a number"),
        (
            {"training": {"drawn_ranks": {"x": 1}}},
            "'training.drawn_ranks.x' is 'x', expected",
        ),
        ({"parameters": {"total": 1.5}}, "'parameters.total' is 1.5, expected a whole number"),
        (of_layers({"q": 1}), "'ranks[0].layer_ranks' and 'layers' differ in 'up'"),
        (of_layers({"q": 1, "up": 1, "v": 0}), "and 'layers' differ in 'v'"),
        (of_layers({"q": 1, "up": 1}, layers={}), "and 'layers' differ in 'q'"),
        (of_layers({"q": 4, "up": 0}), "'ranks[0].layer_ranks.q' is 4, expected at most 3"),
        (of_layers({"q": -1, "up": 0}), "'ranks[0].layer_ranks.q' is -1, expected at least 0"),
        (of_layers({"q": 1.5, "up": 0}), "'ranks[0].layer_ranks.q' is 1.5, expected a whole"),
        (of_layers({"q": 0, "up": 2}, 1), "are 32 parameters, expected at most the 24 of rank 1"),
        (of_layers({"q": 1, "up": 1}, None), "'ranks[0].layer_ranks' is there without a rank"),
        (of_layers([1, 1]), "'ranks[0].layer_ranks' is [1, 1], expected an object"),
        ({"layers": {"q": {"r": 1}}}, "'layers.q.d_in' is missing"),
    ],
)
def test_files_that_are_no_records_are_skipped_with_the_reason(tmp_path, change, expected):
    store = RecordStore(tmp_path)
    store.write(make_record(run_id="good"))
    broken = {**json.loads(make_record().to_json()), **change}
    (store.folder / "0123456789ab.json").write_text(json.dumps(broken))
    records, warnings = store.read_all()
    assert [r.run_id for r in records] == ["good"]
    assert len(warnings) == 1
    assert expected in warnings[0]
    with pytest.raises(RequestError, match="not a record"):
        store.read("0123456789ab")


@pytest.mark.parametrize(("ranks", "rank"), [({"q": 3, "up": 1}, 2), ({"q": 3, "up": 2}, 3)])
def test_ranks_of_layers_come_back_and_are_left_out_where_there_are_none(ranks, rank, tmp_path):
    tree = json.loads(make_record().to_json())
    assert "layers" not in tree
    assert "layer_ranks" not in tree["ranks"][0]
    record = Record.from_dict(tree | of_layers(ranks, rank))
    store = RecordStore(tmp_path)
    store.write(record)
    assert store.read("0123456789ab") == record
    assert record.ranks[0].layer_ranks == ranks
    assert json.loads(record.to_json())["layers"] == LAYERS


@pytest.mark.parametrize("field", ["epochs", "summary", "training", "scoring"])
def test_a_record_older_than_a_field_stays_readable(field):
    tree = json.loads(make_record().to_json())
    del tree[field]
    assert Record.from_dict(tree) == make_record()


@pytest.mark.parametrize("field", ["run_id", "error", "timing", "environment"])
def test_a_field_that_every_record_has_is_not_optional(field):
    tree = json.loads(make_record().to_json())
    del tree[field]
    with pytest.raises(ValueError, match=f"'{field}' is missing"):
        Record.from_dict(tree)


def test_values_come_back_with_the_types_they_had():
    score = RankScore(1, None, None, {"f1": 1, "accuracy": 1.0, "pearson": None}, 2)
    parts = {"timing": {"steps": 3, "train_seconds": 3.0}, "environment": {"gpu": False, "n": 1}}
    open_parts = {"scoring": {"signature": "s", "more": [1.0]}, "config": {"ranks": {"x": 1}}}
    text = make_record(ranks=[score], **parts, **open_parts).to_json()
    assert Record.from_dict(json.loads(text)).to_json() == text


def test_different_records_of_one_run_are_an_error_that_names_both(tmp_path):
    store = RecordStore(tmp_path)
    path = store.write(make_record())
    copy = path.with_name("0123456789ab (copy).json")
    copy.write_text(path.read_text())
    assert store.read_all() == ([make_record()], [])
    copy.write_text(make_record(created_at="2025").to_json())
    with pytest.raises(RequestError) as caught:
        store.read_all()
    (problem,) = caught.value.problems
    assert str(path) in problem and str(copy) in problem and "0123456789ab" in problem


@given(st.binary(max_size=200))
def test_any_bytes_are_a_warning_and_never_a_crash(tmp_path_factory, content):
    store = RecordStore(tmp_path_factory.mktemp("records"))
    store.folder.mkdir()
    (store.folder / "x.json").write_bytes(content)
    records, warnings = store.read_all()
    assert (len(records), len(warnings)) == (0, 1)


def test_deep_nesting_and_folders_are_no_records(tmp_path):
    store = RecordStore(tmp_path)
    (store.folder / "folder.json").mkdir(parents=True)
    (store.folder / "deep.json").write_text("[" * 100_000)
    records, warnings = store.read_all()
    assert (records, len(warnings)) == ([], 2)
    with pytest.raises(RequestError, match="not a record"):
        store.read("folder")


def test_a_run_is_found_by_the_beginning_of_its_name(tmp_path):
    store = RecordStore(tmp_path)
    for name in ("abc1", "abd2"):
        store.write(make_record(run_id=name))
    assert store.find("abc").run_id == "abc1"
    with pytest.raises(RequestError, match="may be any of abc1, abd2"):
        store.find("ab")
    with pytest.raises(RequestError, match="did you mean 'abc1'"):
        store.find("abx1")


@given(st.integers(0, 3000))
def test_a_truncated_record_is_a_warning(tmp_path_factory, length):
    store = RecordStore(tmp_path_factory.mktemp("records"))
    path = store.write(make_record())
    whole = path.read_bytes()
    path.write_bytes(whole[: min(length, len(whole) - 2)])
    records, warnings = store.read_all()
    assert (len(records), len(warnings)) == (0, 1)


def compose_record(words, **changes):
    config = compose(words)
    named = {"run_id": run_id(config), "config": identity(config), "model": config.model.name}
    named |= {"task": config.task.name, "method": config.method.name, "profile": config.profile}
    return make_record(**(named | {"seed": config.seed} | changes))


def test_the_run_id_is_that_of_the_config(tmp_path):
    store = RecordStore(tmp_path)
    for words in (["seed=3"], ["method=lora", "task=mrpc"], ["method=flop", "seed=10"]):
        made = compose_record(words)
        store.write(made)
        assert store.read(made.run_id) == made
        config = {**made.config, "trainer": {**made.config["trainer"], "learning_rate": 0.123}}
        store.path(made.run_id).write_text(dataclasses.replace(made, config=config).to_json())
        with pytest.raises(RequestError, match=f"run_id is '{made.run_id}', but its config is"):
            store.read(made.run_id)


@pytest.mark.parametrize("change", [{"a_later_group": {}}, {"trainer": {"a_later_option": 1}}])
def test_the_config_of_a_later_version_is_not_judged(change, tmp_path):
    store, made = RecordStore(tmp_path), compose_record([])
    config = {**made.config, **{key: made.config.get(key, {}) | new for key, new in change.items()}}
    store.write(dataclasses.replace(made, config=config, run_id="0123456789ab"))
    assert store.read("0123456789ab").config == config


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (('"seed": 1,', '"seed": 1, "seed" : 1,'), "the key 'seed' is there twice"),
        (('"f1": 0.5', '"f1": 0.9, "f1": 0.5'), "the key 'f1' is there twice"),
        (('"created_at": "2026', r'"created_at": "\ud8002026'), "a lone surrogate"),
        (('"f1": 0.5', '"f1": 1e999'), "is inf, expected a finite number"),
        (('"f1": 0.5', '"f1": NaN'), "is nan, expected a finite number"),
    ],
)
def test_json_that_says_two_things_is_no_record(change, expected, tmp_path):
    store = RecordStore(tmp_path)
    path = store.write(make_record())
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    assert expected in store.read_all()[1][0]


def test_texts_with_colons_and_escapes_are_as_they_were(tmp_path):
    store = RecordStore(tmp_path)
    path = store.write(make_record(error='"a": b \u00e9 \U0001f600 : "c":'))
    assert store.read("0123456789ab").error == '"a": b \u00e9 \U0001f600 : "c":'
    path.write_text(path.read_text().replace('": "2026', '"  : "\\u003a'))
    assert store.read("0123456789ab").created_at.startswith(":-01-01")
