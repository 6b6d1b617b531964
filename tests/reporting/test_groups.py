import copy
import dataclasses

import pytest

from dylora_exp.records.store import RecordStore
from dylora_exp.reporting.analysis.groups import (
    group_warnings,
    groups_of,
    series_of,
    undefined_notes,
)
from tests.support.records import LEADING, LEADING_R


def groups(results):
    return groups_of(RecordStore(results.folder).read_all()[0])


def test_seeds_are_of_one_group(results):
    results.demo("dylora", 42, 0.8)
    results.demo("dylora", 10, 0.7)
    (group,), warnings = groups(results)
    assert group.names == ("demo", "tiny-roberta", "demo", "dylora")
    assert group.seeds() == [10, 42]
    assert (group.method, warnings) == ("dylora", [])


def test_other_settings_are_kept_apart_and_named(results):
    for seed in (10, 42, 1010):
        results.demo("dylora", seed, 0.8)
    words = "profile=demo task=demo method=dylora ranks.r_max=4 trainer.weight_decay=0.5"
    results.add(words, 10, {(1, *LEADING): {"accuracy": 0.5}})
    found, _ = groups(results)
    assert [group.method for group in found] == [
        "dylora [ranks.r_max=4, trainer.weight_decay=0.5]",
        "dylora",
    ]
    apart, few = group_warnings(found)
    assert "demo tiny-roberta demo dylora: 2 sets of runs" in apart
    assert "ranks.r_max=4, trainer.weight_decay=0.5; the defaults" in apart
    assert few.startswith("1 of 2 groups have fewer than 3 seeds (the smallest 1)")


@pytest.mark.parametrize("profile", ["demo", "paper"])
def test_runs_of_another_order_of_examples_are_kept_apart(results, profile):
    for seed, order in ((10, "random"), (42, "random"), (10, "length_grouped")):
        words = f"profile={profile} task=mrpc method=dylora trainer.order={order}"
        results.add(words, seed, {(1, *LEADING): {"accuracy": 0.5}})
    # As a record from before the setting has it: the order that it was made in.
    record = results.add(words, 42, {(1, *LEADING): {"accuracy": 0.9}})
    config = copy.deepcopy(record.config)
    del config["trainer"]["order"]
    results.store.write(dataclasses.replace(record, config=config))
    found, warnings = groups(results)
    assert warnings == []
    assert {group.method: group.seeds() for group in found} == {
        "dylora": [10, 42],
        "dylora [trainer.order=random]": [10, 42],
    }


def test_a_record_from_before_an_option_is_of_the_same_group(results):
    results.demo("dylora", 10, 0.8)
    record = results.demo("dylora", 42, 0.8)
    config = copy.deepcopy(record.config)
    del config["trainer"]["label_smoothing"]
    results.store.write(dataclasses.replace(record, config=config))
    assert len(groups(results)[0]) == 1


def test_paths_and_hardware_make_no_group(results):
    record = results.demo("dylora", 10, 0.8)
    config = {**record.config, "results_dir": "elsewhere", "tracker": {"name": "wandb"}}
    results.store.write(dataclasses.replace(record, config=config))
    results.demo("dylora", 42, 0.8)
    assert len(groups(results)[0]) == 1


def test_of_two_records_of_a_seed_the_later_counts(results):
    whole = results.demo("dylora", 10, 0.1)
    # Without its method's kind, as an early version wrote it, a config does not decide the run id.
    method = {key: value for key, value in whole.config["method"].items() if key != "kind"}
    old = dataclasses.replace(whole, config=whole.config | {"method": method})
    results.store.write(old)
    new = dataclasses.replace(old, run_id="later", created_at="2026-02-01T00:00:00+00:00")
    (group,), (warning,) = groups_of([old, new])
    assert [record.run_id for record in group.records] == ["later"]
    assert old.run_id in warning and "later" in warning


def test_series_skip_what_is_undefined_and_say_so(results):
    scores = {
        (1, *LEADING): {"accuracy": None},
        (2, *LEADING): {"accuracy": 0.5},
        (2, *LEADING_R): {"accuracy": float("inf")},
    }
    record = results.add("profile=demo task=demo method=lora", 10, {(1, *LEADING): {}})
    bad = [
        dataclasses.replace(record.ranks[0], rank=rank, truncation=cut, scale=scale, metrics=values)
        for (rank, cut, scale), values in scores.items()
    ]
    (group,), _ = groups_of([dataclasses.replace(record, ranks=bad)])
    (series,) = series_of(group)
    assert series.values == {2: {10: 0.5}}
    assert series.label == "lora (leading alpha/b)"
    (note,) = undefined_notes([group])
    assert record.run_id in note and "2 of its scores of accuracy undefined" in note


def test_headline(results):
    results.demo("dylora", 10, 0.8)
    (group,), _ = groups(results)
    assert group.headline == "accuracy"
    record = group.records[0]
    without = [dataclasses.replace(score, metrics={"f1": 1.0}) for score in record.ranks]
    (group,), _ = groups_of([dataclasses.replace(record, ranks=without)])
    assert group.headline == "f1"
    (group,), _ = groups_of([dataclasses.replace(record, ranks=[])])
    assert group.headline == "accuracy"


@pytest.mark.parametrize(("metric", "sign"), [("ter", -1), ("ter_unseen", -1), ("loss_of_mine", 1)])
def test_a_series_has_the_direction_of_its_metric(results, metric, sign):
    record = results.demo("dylora", 10, 0.5)
    ranks = [dataclasses.replace(score, metrics={metric: 0.5}) for score in record.ranks]
    (group,), _ = groups_of([dataclasses.replace(record, ranks=ranks)])
    assert [series.sign for series in series_of(group)] == [sign]


def test_a_whole_number_is_the_same_setting_as_its_float(results):
    for seed in (10, 42):
        results.demo("dylora", seed, 0.5)
    ten, others = results.store.read_all()[0]
    config = copy.deepcopy(ten.config)
    config["trainer"]["epochs"] = int(config["trainer"]["epochs"])
    assert config["trainer"]["epochs"] == ten.config["trainer"]["epochs"]
    (group,), _ = groups_of([dataclasses.replace(ten, config=config), others])
    assert group.seeds() == [10, 42]
