import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dylora_exp.config.composition import compose
from dylora_exp.config.loading import default_tree, load
from dylora_exp.config.run_identity import (
    configs_match,
    distinguishing_settings,
    identity,
    run_id,
)
from dylora_exp.config.schema import Config
from dylora_exp.core.errors import RequestError


def tree(**changes):
    base = compose([]).model_dump()
    for key, value in changes.items():
        *groups, leaf = key.split("__")
        node = base
        for group in groups:
            node = node[group]
        node[leaf] = value
    return base


def problems(**changes):
    with pytest.raises(RequestError) as error:
        load(tree(**changes))
    return error.value.problems


def test_a_composed_tree_loads_to_the_same_config():
    assert load(tree()) == compose([])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"seed": "abc"}, "seed: found 'abc', expected a whole number."),
        ({"seed": True}, "seed: found True, expected a whole number."),
        ({"seed": -1}, "seed: found -1, expected a number at least 0 and below 4294967296."),
        ({"ranks__r_max": 0}, "ranks.r_max: found 0, expected a number at least 1."),
        ({"method__alpha": -1}, "method.alpha: found -1, expected a number above 0."),
        ({"method__alpha": float("nan")}, "method.alpha: found nan, expected a finite number."),
        ({"method__freeze": "strickt"}, "did you mean 'strict'?"),
        ({"ranks__score": [0]}, "ranks.score: found 0, expected ranks 1..8 (r_max)."),
        ({"ranks__score": []}, "ranks.score: found an empty list"),
        ({"ranks__score": 3}, "ranks.score: found 3, expected a list"),
        ({"model__targets": "query"}, "model.targets: found 'query', expected a list"),
        ({"trainer": 3}, "trainer: found 3, expected a group of settings."),
        ({"trainer__bf16": "yes"}, "trainer.bf16: found 'yes', expected true or false."),
        ({"task__headline": "f2"}, "task.headline: 'f2' is not one of accuracy"),
        ({"task__metrics": []}, "task.metrics: found an empty list"),
        ({"task__labels": ["a"]}, "task.labels: found one label"),
        ({"task__labels": []}, "'accuracy' scores labels, which this task has not"),
        ({"ranks__values": [1, 16]}, "ranks.values: found 16, expected ranks 1..8 (r_max)."),
        ({"ranks__values": []}, "ranks.values: found an empty list"),
        ({"ranks__sandwich": 1.5, "ranks__sample_every": "example"}, "at least 0 and at most 1."),
        ({"ranks__sandwich": 0.5}, "it needs ranks.sample_every=example."),
        (
            {"method__share": 0.5},
            "method.share: method 'dylora' has no such setting, only sorted-lora has.",
        ),
        (
            {"method__weight_learning_rate_share": 0.5},
            "method 'dylora' has no such setting, only finetune and flop have.",
        ),
        (
            {"method__kind": "dilora"},
            "method.kind: 'dilora' is not one of distilled, droplora, dylora, finetune",
        ),
        ({"method": 3}, "method: found 3, expected a group of settings."),
        (
            {"task__objective": "classify"},
            "did you mean 'classification'?",
        ),
        (
            {"task__decode": {"beams": 2}},
            "task 'demo' has no such setting, only answer and generation have.",
        ),
        ({"results_dir": ""}, "results_dir: found an empty text"),
        ({"task__data_dir": ""}, "task.data_dir: found an empty text"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(changes, expected):
    (problem,) = problems(**changes)
    assert expected in problem


def test_unknown_keys_name_the_nearest():
    (problem,) = problems(trainer__lerning_rate=1)
    assert problem == (
        "trainer.lerning_rate: there is no such setting; did you mean 'learning_rate'?"
    )


def test_all_problems_are_reported_at_once():
    assert len(problems(seed="x", ranks__r_max=0, method__alpha=0, trainer__epochs="many")) == 4


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([0.5, 0.5], "found 2 weights, expected 8"),
        ([1.5, -0.5, 0, 0, 0, 0, 0, 0], "found -0.5, expected weights of at least 0"),
        ([1, 1, 0, 0, 0, 0, 0, 0], "they sum to 2, expected 1"),
    ],
)
def test_custom_weights_are_checked(weights, expected):
    (problem,) = problems(ranks__distribution="custom", ranks__weights=weights)
    assert expected in problem


def test_scored_ranks_and_weights_belong_to_the_trained_ranks():
    (problem,) = problems(ranks__values=[1, 4, 2], ranks__score=[2, 3])
    assert problem == "ranks.score: found 3, expected ranks 1, 2, 4 (ranks.values)."
    (problem,) = problems(
        ranks__values=[1, 8], ranks__distribution="custom", ranks__weights=[0.2, 0.3, 0.5]
    )
    assert "found 3 weights, expected 2, one for each rank of ranks.values" in problem


def test_run_id_ignores_paths_logging_and_hardware():
    here = compose([])
    there = compose(
        [
            "results_dir=/elsewhere",
            "outputs_dir=/elsewhere",
            "tracker=wandb",
            "task.data_dir=/data",
            "trainer.threads=2",
            "trainer.eval_batch_size=7",
            "trainer.save_steps=9",
        ]
    )
    assert run_id(here) == run_id(there)
    assert identity(here) == identity(there)


@pytest.mark.parametrize(
    "word",
    ["seed=11", "method=lora", "method.alpha=8", "ranks.r_max=4", "model.pretrained=false"],
)
def test_run_id_changes_with_what_decides_the_outcome(word):
    assert run_id(compose([word])) != run_id(compose([]))


def test_run_id_does_not_change_when_an_option_is_added(monkeypatch):
    before = run_id(compose([]))

    class WithOption(Config):
        added_later: str = "as before"

    longer = WithOption.model_construct(**dict(compose([])))
    monkeypatch.setattr("dylora_exp.config.loading.Config", WithOption)
    monkeypatch.setattr("dylora_exp.config.loading.default_tree", default_tree.__wrapped__)
    assert run_id(longer) == before
    longer.added_later = "otherwise"
    assert run_id(longer) != before


@settings(max_examples=10)
@given(st.floats(1e-6, 1e3))
def test_run_id_is_the_same_for_equal_numbers(alpha):
    config = compose([])
    config.method.alpha = alpha
    again = load(config.model_dump())
    assert run_id(again) == run_id(config)


def test_a_local_model_is_named_by_its_content(tmp_path):
    def model_in(place, weights):
        folder = tmp_path / place
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(weights)
        return run_id(compose([f"model.name_or_path={folder}"]))

    assert model_in("a", b"1") == model_in("b", b"1") != model_in("c", b"2")


def test_a_config_is_the_same_in_another_process():
    config = compose(["method=nested-dropout", "task=e2e", "method.budget=passes"])
    assert pickle.loads(pickle.dumps(config)) == config


METHODS = [
    *("dylora", "lora", "nested-dropout", "matryoshka", "sorted-lora", "finetune", "flop"),
    *("sorted-lora-repeated", "dylora-distilled", "droplora", "lora-squeeze", "lora-nuclear"),
    "lora-continued",
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", ["mrpc", pytest.param("stsb", marks=pytest.mark.slow), "e2e"])
def test_the_tree_of_a_record_is_that_of_its_config(method, task):
    config = compose([f"method={method}", f"task={task}", "trainer.bf16=true"])
    tree = identity(config)
    # As records were written while every method had the settings of all.
    old = {**tree, "method": default_tree()["method"] | tree["method"]}
    del old["task"]["objective"]
    assert run_id(load(old)) == run_id(config)
    assert distinguishing_settings(old) == distinguishing_settings(identity(config))
    assert distinguishing_settings(tree)["trainer.bf16"] is True


def test_two_configs_are_the_same_run_where_their_distinguishing_settings_are():
    one = identity(compose(["seed=11"]))
    older = identity(compose([]))
    del older["trainer"]["compile"], older["method"]["adapter"]
    assert configs_match(one, older, ["seed"]) and not configs_match(one, older)
    other = identity(compose(["trainer.compile=true"]))
    assert not configs_match(other, older)
    assert configs_match(other, older, ["trainer"])
    assert distinguishing_settings(other, ["task", "method", "model", "ranks"]) == {
        "trainer.compile": True,
        "trainer.learning_rate": 5e-3,
        "trainer.max_steps": 800,
    }


def test_the_readers_objective_is_not_part_of_the_run_id():
    config = compose(["task=e2e"])
    tree = config.model_dump()
    del tree["task"]["objective"]
    assert load(tree).task.objective == "generation"
    assert "task.objective" not in distinguishing_settings(tree)
    assert "task.objective" not in distinguishing_settings(config.model_dump())


@pytest.mark.parametrize("method", ["finetune", "flop"])
def test_what_profiles_set_for_adapters_is_refused_where_it_has_no_effect(method):
    config = compose([f"method={method}", "profile=mini-nlg"])
    assert (config.method.alpha, config.method.dropout) == (32, 0.1)  # from the file, as ever
    with pytest.raises(RequestError) as error:
        compose([f"method={method}", "method.alpha=8"])
    (problem,) = error.value.problems
    assert problem.startswith(f"method.alpha: method '{method}' has no such setting, only ")
    assert " dylora, " in problem


@pytest.mark.parametrize(
    "words",
    [
        ["method=lora", "ranks=geometric"],
        ["method=lora", "ranks=sandwich"],
        ["method=finetune", "ranks=per-example"],
        ["method=flop", "ranks.sample_every=example"],
        ["method=nested-dropout", "ranks=geometric"],
        ["method=nested-dropout", "method.loss_weights=distribution", "ranks=per-example"],
        ["method=matryoshka", "ranks=geometric"],
        ["ranks.p=0.3"],
        ["ranks.tail=clip"],
        ["task=mrpc", "trainer.label_smoothing=0.1"],
    ],
)
def test_a_setting_that_would_change_nothing_is_refused(words):
    with pytest.raises(RequestError, match="it would change nothing"):
        compose(words)


@pytest.mark.parametrize(
    "words",
    [
        ["method=lora", "ranks=powers"],
        ["method=lora", "ranks=uniform"],
        ["method=dylora", "ranks=geometric", "ranks.p=0.3"],
        ["method=sorted-lora", "ranks=sandwich"],
        ["method=nested-dropout", "method.loss_weights=distribution", "ranks=geometric"],
        ["profile=demo-nlg", "trainer.label_smoothing=0.2"],
        ["profile=demo-nlg", "method=lora"],
    ],
)
def test_a_setting_that_changes_something_is_taken(words):
    compose(words)
