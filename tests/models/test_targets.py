"""``model.targets=all-linear`` against PEFT's own, and what a guess finds in a model."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from dylora_exp.adapters.attach import attach_lora
from dylora_exp.config import compose, run_id
from dylora_exp.core import RequestError
from dylora_exp.models.targets import target_names
from tests.support.architectures import DECODERS, ENCODERS, TOKENS, save_base

# PEFT adapts Mixtral's experts and routers, too, which are no linear layers of transformers.
OTHERS = {"mixtral"}
PLAIN = {name: each for name, each in DECODERS.items() if "," not in name and name not in OTHERS}
HEADS = {name: each for name, each in {**ENCODERS, **PLAIN}.items() if "," not in name}
TYPICAL = {"llama", "gpt2", "gpt_neox", "opt", "bert", "roberta", "distilbert", "modernbert"}


def marked(names):
    slow = pytest.mark.slow
    return [name if name in TYPICAL else pytest.param(name, marks=slow) for name in names]


def built(architecture, kind):
    settings = dict(architecture.settings)
    config = AutoConfig.for_model(settings.pop("model_type"), **(TOKENS | settings))
    return kind.from_config(config)


def adapted(model):
    return {
        name.removeprefix("base_model.model.")
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }


@pytest.mark.parametrize("name", marked(PLAIN))
def test_all_linear_layers_of_a_language_model_are_those_of_peft(name):
    config = compose(["task=demo-e2e", "model.targets=all-linear", "ranks.r_max=2"])
    ours = attach_lora(built(PLAIN[name], AutoModelForCausalLM), config, "default")
    lora = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear")
    theirs = get_peft_model(built(PLAIN[name], AutoModelForCausalLM), lora)
    assert adapted(ours) == adapted(theirs)
    assert not any(each.endswith(("lm_head", "embed_out")) for each in adapted(ours))
    named = ours.peft_config["default"].target_modules
    assert "all-linear" not in named and len(named) < 16  # real names, that any layer shares


@pytest.mark.parametrize("name", marked(HEADS))
def test_a_classifiers_head_is_trained_and_not_adapted(name):
    architecture = HEADS[name]
    config = compose(["task=demo", "model.targets=all-linear", "ranks.r_max=2"])
    config.model.head = architecture.head
    config.model.fused = architecture.fused or None  # named, and yet whole
    backbone = built(architecture, AutoModelForSequenceClassification)
    linear = {
        each
        for each, module in backbone.named_modules()
        if isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D"
    }
    heads = architecture.head
    in_head = {each for each in linear if {*each.split(".")} & {*heads}}
    model = attach_lora(backbone, config, "default")
    assert adapted(model) == linear - in_head
    assert in_head or name == "xlnet"


def test_names_are_short_and_of_no_other_module():
    config = compose(["model.targets=all-linear"])
    backbone = built(ENCODERS["roberta"], AutoModelForSequenceClassification)
    expected = ["attention.output.dense", "intermediate.dense", "key", "output.dense"]
    names = target_names(backbone, config.model)
    assert set(names) <= {*expected, "query", "value"} and {"query", "key", "value"} <= {*names}
    assert not any("classifier.dense".endswith(f".{name}") for name in names)


def test_all_linear_is_one_setting_however_it_is_written():
    assert compose(["model.targets=all-linear"]).model.targets == ["all-linear"]
    one, other = compose(["model.targets=all-linear"]), compose(["model.targets=[all-linear]"])
    assert run_id(one) == run_id(other) != run_id(compose([]))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("all_linear", "found 'all_linear', expected a list such as [a, b], or all-linear; did"),
        ("query", "found 'query', expected a list such as [a, b], or all-linear"),
        ("[all-linear,query]", "found all-linear beside other names"),
        ("3", "found 3, expected a list such as [a, b]"),
    ],
)
def test_a_wrong_choice_of_targets_is_named(value, expected):
    with pytest.raises(RequestError) as caught:
        compose([f"model.targets={value}"])
    assert [each.startswith(f"model.targets: {expected}") for each in caught.value.problems] == [
        True
    ]


@pytest.mark.parametrize("name", marked(HEADS))
def test_a_guess_finds_head_and_layers(name, tmp_path):
    architecture = HEADS[name]
    save_base(architecture, tmp_path / "base")
    config = compose([f"model={tmp_path / 'base'}"])
    assert config.model.name == "base"
    assert config.model.head == architecture.head
    for target in config.model.targets:
        assert target != "auto" and target in str(config.model.guessed)
    if name in ("llama", "opt", "gpt2", "bert", "roberta"):  # as PEFT has them, parts for the whole
        whole = {"gpt2": ["c_attn.q", "c_attn.v"], "bert": ["query", "value"],
                 "roberta": ["query", "value"]}.get(name, ["q_proj", "v_proj"])  # fmt: skip
        assert config.model.targets == whole


def test_what_is_typed_goes_before_a_guess(tmp_path):
    save_base(PLAIN["gpt_neox"], tmp_path / "neox")
    folder = tmp_path / "neox"
    guessed = compose([f"model={folder}"])
    assert guessed.model.targets == ["query_key_value.q", "query_key_value.v"]
    assert guessed.model.fused == {"query_key_value": ["q", "k", "v"]}
    packed = compose([f"model={folder}", "model.quantization=nf4"])  # no parts of packed weights
    assert (packed.model.targets, packed.model.fused) == (["query_key_value"], None)
    typed = compose([f"model={folder}", "model.targets=[query_key_value]", "model.name=mine"])
    assert (typed.model.targets, typed.model.fused) == (["query_key_value"], None)
    assert typed.model.name == "mine"
    part = compose([f"model={folder}", "model.targets=[query_key_value.k]"])
    assert part.model.fused == {"query_key_value": ["q", "k", "v"]}
    # The record and its run id hold what was meant, as if it had been typed.
    words = [f"model.name_or_path={folder}", "model.name=neox", "model.head=[score]",
             "model.targets=[query_key_value.q,query_key_value.v]",
             "model.fused={query_key_value: [q, k, v]}"]  # fmt: skip
    assert run_id(compose(words)) == run_id(guessed)


def test_a_folder_is_the_same_model_by_any_path(tmp_path, monkeypatch):
    save_base(PLAIN["llama"], tmp_path / "a b" / "my llama")
    monkeypatch.chdir(tmp_path)
    paths = [
        "./a b/my llama",
        "a b/my llama",
        str(tmp_path / "a b" / "my llama"),
        "a b/../a b/my llama",
    ]
    configs = [compose([f"model={path}"]) for path in paths]
    ids = {run_id(config) for config in configs}
    assert {config.model.name for config in configs} == {"my llama"}
    assert len(ids) == 1
    monkeypatch.chdir(tmp_path / "a b")
    assert {run_id(compose(["model=my llama"]))} == ids


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("gpt22", "did you mean 'gpt2'?"),
        ("./gpt2", "model: there is no folder './gpt2'."),
        ("~nobody-of-this-name/a", "model: there is no folder '~nobody-of-this-name/a'."),
        ("empty", "model: 'empty' is not one of"),
        (
            "./empty",
            "model: there is no config.json in folder './empty', expected that of a model.",
        ),
        ("a/b/c", "model: there is no folder 'a/b/c'."),
        ("no spaces/here", "model: 'no spaces/here' is not one of"),
        ("Qwen/Qwen3-0.6B", "model.name_or_path: 'Qwen/Qwen3-0.6B' is not on this machine"),
        ("broken", "could not be loaded: It looks like the config file"),
        ("video", "has neither a classifier of texts nor a language model"),
    ],
)
def test_a_model_that_is_none_is_refused_in_one_sentence(value, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in (
        ("empty", None),
        ("broken", "{"),
        ("video", json.dumps({"model_type": "vit"})),
    ):
        (tmp_path / name).mkdir()
        if text:
            (tmp_path / name / "config.json").write_text(text)
    with pytest.raises(RequestError) as caught:
        compose([f"model='{value}'"])
    (problem,) = caught.value.problems
    assert expected in problem
