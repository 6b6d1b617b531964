"""Every model and argument that is refused, in one sentence, before anything changes."""

import copy

import pytest
import torch
from peft import IA3Config, LoraConfig, PromptTuningConfig, get_peft_model
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from dylora_exp import Ranks, RequestError, at_rank, make_dynamic, rank_curve, save_rank, set_rank
from tests.support.tiny_llama import R, stock_lora, tiny_llama


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(4, 4, 3)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)


def peft(model, **settings):
    return get_peft_model(model, LoraConfig(r=R, **settings))


def two_active():
    model = stock_lora()
    model.add_adapter("second", LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    model.base_model.set_adapter(["default", "second"])
    return model


def merged():
    model = stock_lora()
    model.merge_adapter()
    return model


def disabled():
    model = stock_lora()
    model.base_model.disable_adapter_layers()
    return model


def ia3():
    config = IA3Config(target_modules=["q_proj"], feedforward_modules=[], task_type="CAUSAL_LM")
    return get_peft_model(tiny_llama(), config)


def prompts():
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    return get_peft_model(tiny_llama(), config)


MODELS = {
    "base": (tiny_llama, "found LlamaForCausalLM, expected a PeftModel"),
    "text": (lambda: "model", "found str, expected a PeftModel"),
    "ia3": (ia3, "adapter 'default' is of type IA3, expected LORA"),
    "prompts": (prompts, "is of type PROMPT_TUNING, expected LORA"),
    "dora": (lambda: stock_lora(use_dora=True), "has use_dora, .* make the adapter without it"),
    "bias": (
        lambda: stock_lora(tiny_llama(attention_bias=True), lora_bias=True),
        "has lora_bias, .* make the adapter without it",
    ),
    "parameters": (
        lambda: peft(Experts(), target_modules=[], target_parameters=["inner.weight"]),
        "has target_parameters",
    ),
    "alora": (
        lambda: stock_lora(alora_invocation_tokens=[1]),
        "no plain LoRA but PEFT's ALoraLinearVariant",
    ),
    "embeddings": (
        lambda: stock_lora(target_modules=["embed_tokens", "q_proj"]),
        "embed_tokens' of adapter 'default' is of type Embedding, .* leave it out",
    ),
    "positions": (
        lambda: stock_lora(
            GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=8, n_layer=1, n_head=2)),
            target_modules=["wpe", "c_attn"],
            fan_in_fan_out=True,
        ),
        "wpe' of adapter 'default' is of type Embedding",
    ),
    "convolution": (lambda: peft(Convolution(), target_modules=["conv"]), "is of type Conv1d"),
    "attention": (
        lambda: peft(Attention(), target_modules=["attention"]),
        "is of type MultiheadAttention",
    ),
    "ranks": (
        lambda: stock_lora(rank_pattern={"q_proj": 2}),
        r"have the ranks 2, 6 \(rank_pattern\), expected one rank",
    ),
    "two active": (two_active, "its active adapters are 'default', 'second', expected one"),
    "merged": (merged, r"is merged into the weights.* call model\.unmerge_adapter\(\) first"),
    "disabled": (disabled, "adapter 'default' is disabled"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_without_ranks_to_choose_is_refused(name, tmp_path):
    make, sentence = MODELS[name]
    model = make()
    before = copy.deepcopy(model.state_dict()) if isinstance(model, nn.Module) else {}
    for call in (
        make_dynamic,
        lambda model: set_rank(model, 1),
        lambda model: at_rank(model, 1).__enter__(),
        lambda model: rank_curve(model, lambda model: 1),
        lambda model: save_rank(model, 1, tmp_path / "out"),
    ):
        with pytest.raises(RequestError, match=f"model: .*{sentence}") as caught:
            call(model)
        (problem,) = caught.value.problems
        assert problem.endswith(".") and "\n" not in problem
    assert not list(tmp_path.iterdir())
    if before:
        after = model.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)


def test_rslora_is_refused_for_training_with_the_alpha_to_set_instead():
    with pytest.raises(RequestError, match=r"use_rslora=False with lora_alpha=39\.1918"):
        make_dynamic(stock_lora(use_rslora=True))
    with pytest.raises(RequestError, match=r"give scale='alpha/sqrt\(b\)'"):
        make_dynamic(stock_lora(use_rslora=True))
    with pytest.raises(RequestError, match="alpha/b is not defined for rsLoRA"):
        set_rank(stock_lora(use_rslora=True), 2, "alpha/b")


def test_a_model_is_made_dynamic_once():
    model = stock_lora()
    handle = make_dynamic(model)
    with pytest.raises(RequestError, match=r"it is dynamic already; call remove\(\)"):
        make_dynamic(model)
    assert handle.step() >= 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"ranks": "unifrom"}, "ranks.distribution: 'unifrom' is not .*; did you mean 'uniform'"),
        ({"ranks": "custom"}, "ranks.weights: found 0 weights, expected 6"),
        ({"ranks": [1, 2]}, r"ranks: found \[1, 2\], expected the name of a distribution or Ranks"),
        ({"ranks": Ranks.of(8)}, "ranks: their r_max is 8, the adapter's r is 6"),
        ({"ranks": Ranks(R, (1 / R,) * R, (1,), (1,), 0.5)}, "ranks: sandwich needs a rank for"),
        ({"ranks": Ranks(R, (0.5, 0.5), (1,))}, "their weights are no probabilities of ranks"),
        ({"ranks": Ranks(R, (1.0,) * R, (1,))}, "their weights are no probabilities of ranks"),
        ({"ranks": Ranks(R, (-1.0, 2.0, 0, 0, 0, 0), (1,))}, "their weights are no probabilities"),
        ({"scale": "alpha"}, "scale: 'alpha' is not one of alpha/b, alpha/r"),
        ({"scale": None}, "scale: 'None' is not one of"),
        ({"seed": -1}, "seed: found -1"),
        ({"seed": 1.5}, "seed: found 1.5"),
        ({"seed": True}, "seed: found True"),
    ],
)
def test_a_wrong_argument_leaves_the_model_as_it_was(arguments, sentence):
    model = stock_lora()
    modules = {name: type(module) for name, module in model.named_modules()}
    with pytest.raises(RequestError, match=sentence):
        make_dynamic(model, **arguments)
    assert {name: type(module) for name, module in model.named_modules()} == modules
    make_dynamic(model)


@pytest.mark.parametrize("rank", [0, R + 1, -1, 2.0, True, "2", None])
def test_a_wrong_rank(rank, tmp_path):
    model = stock_lora()
    for call in (
        lambda: set_rank(model, rank),
        lambda: at_rank(model, rank).__enter__(),
        lambda: rank_curve(model, lambda model: 1, [rank]),
        lambda: save_rank(model, rank, tmp_path / "out"),
    ):
        with pytest.raises(RequestError, match=rf"rank: found .*, expected a rank 1\.\.{R}"):
            call()


def test_a_wrong_truncation(tmp_path):
    for call in (
        lambda: at_rank(stock_lora(), 1, "svp").__enter__(),
        lambda: rank_curve(stock_lora(), lambda model: 1, truncation="svp"),
        lambda: save_rank(stock_lora(), 1, tmp_path / "out", "svp"),
    ):
        with pytest.raises(RequestError, match=r"'svp' is not one of .*; did you mean 'svd'"):
            call()
    # A cut of whole models, which no single layer can make, is not taken for another.
    for call in (
        lambda: at_rank(stock_lora(), 1, "energy").__enter__(),
        lambda: save_rank(stock_lora(), 1, tmp_path / "out", "energy"),
    ):
        with pytest.raises(RequestError, match="'energy' is not one of leading, svd"):
            call()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"r_max": 0}, "ranks.r_max: found 0, expected a number at least 1"),
        ({"r_max": 8.5}, "ranks.r_max: found 8.5"),
        ({"r_max": 8, "values": [9]}, r"ranks.values: found 9, expected ranks 1..8"),
        ({"r_max": 8, "values": (1, 1)}, "ranks.values: found 1 more than once"),
        ({"r_max": 8, "values": 3}, "ranks.values: found 3, expected a list"),
        (
            {"r_max": 8, "values": [1, 2], "score": [4]},
            r"ranks.score: found 4, expected ranks 1, 2",
        ),
        ({"r_max": 2, "distribution": "custom", "weights": [1, 1]}, "ranks.weights: they sum to 2"),
        ({"r_max": 2, "weights": [0.5, 0.5]}, "ranks.weights: it needs the distribution custom"),
        ({"r_max": 2, "p": 0.5}, "ranks.p: it needs the distribution geometric"),
        ({"r_max": 2, "distribution": "geometric", "p": 2.0}, "ranks.p: found 2.0, expected"),
        ({"r_max": 2, "distribution": "geometric", "tail": "cut"}, "ranks.tail: 'cut' is not one"),
    ],
)
def test_wrong_ranks(arguments, sentence):
    with pytest.raises(RequestError, match=sentence):
        Ranks.of(**arguments)


def test_ranks_of_a_distribution():
    assert Ranks.of(4).weights == (0.25,) * 4
    powers = Ranks.of(8, values=range(1, 9)[::7])
    assert powers.values == powers.score == (1, 8)
    clipped = Ranks.of(8, "geometric", p=0.15, tail="clip")
    assert [round(weight, 4) for weight in clipped.weights[:3]] == [0.15, 0.1275, 0.1084]
    assert Ranks.of(3, "custom", weights=[0.5, 0, 0.5]).weights == (0.5, 0, 0.5)
    model = stock_lora()
    handle = make_dynamic(model, Ranks.of(R, values=[2, 5]))
    assert {handle.step() for _ in range(40)} == {2, 5}
