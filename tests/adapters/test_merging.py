"""Adapters folded into the weights: the same outputs, and the weights as they were afterwards."""

import copy

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from dylora_exp.adapters.layers import factors, lora_layers
from dylora_exp.adapters.merging import merged, merging_keeps_outputs
from dylora_exp.config.composition import compose
from dylora_exp.methods.base import make_method
from dylora_exp.models.loading import load
from tests.support.small_gpt2 import save_small_gpt2, small_gpt2, small_tokenizer

IDS = torch.randint(5, 250, (3, 9), generator=torch.Generator().manual_seed(0))
GPT2 = ["model=tiny-gpt2", "task=e2e", "ranks.r_max=4"]
# Linear layers; parts of a Conv1D; a whole Conv1D.
MODELS = {
    "linear": ["model=tiny-roberta", "ranks.r_max=4"],
    "parts": GPT2,
    "whole": [*GPT2, "model.targets=[c_attn,c_proj]"],
}


def adapted(*words):
    """A model with trained-looking adapters."""
    torch.manual_seed(0)
    config = compose(list(words))
    is_gpt2 = config.model.name == "tiny-gpt2"
    if is_gpt2:
        backbone = small_gpt2(small_tokenizer(), initializer_range=0.1)
    else:
        backbone, _ = load(config.model, labels=2)
    method = make_method(config)
    torch.manual_seed(1)
    model = method.attach(backbone).eval()
    for layer in lora_layers(model):
        nn.init.normal_(factors(layer)[1], std=0.3)
    return method, model


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_unchanged(model, before):
    now = model.state_dict()
    assert now.keys() == before.keys()
    assert all(torch.equal(now[name], value) for name, value in before.items())
    assert not any(layer.merged for layer in lora_layers(model))


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS).logits


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("method", ["dylora", "lora", "matryoshka", "sorted-lora"])
def test_outputs_are_those_of_the_masked_adapters_at_every_rank(kind, method):
    method, model = adapted(*MODELS[kind], f"method={method}")
    before = weights(model)
    seen = []
    for cut in method.cuts():
        with method.at_cut(model, cut):
            masked = logits(model)
            inside = weights(model)
            with merged(model):
                assert all(layer.merged for layer in lora_layers(model))
                torch.testing.assert_close(logits(model), masked, rtol=0, atol=1e-5)
            assert_unchanged(model, inside)
            assert torch.equal(logits(model), masked)
        seen.append(masked)
    first, *others = seen[:4]
    assert all((first - other).abs().max() > 1e-4 for other in others)
    if method.mask is not None:  # otherwise the mask came with the first rank
        assert_unchanged(model, before)


def test_a_mask_that_was_used_for_inference_can_be_folded_in():
    method, model = adapted(*GPT2)
    method.mask.select(2)
    with torch.inference_mode():
        masked = logits(model)
    with merged(model):
        torch.testing.assert_close(logits(model), masked, rtol=0, atol=1e-5)


def test_weights_are_put_back_after_an_exception():
    method, model = adapted(*GPT2)
    before = weights(model)
    cut = method.cuts()[0]
    with pytest.raises(KeyboardInterrupt), method.at_cut(model, cut), merged(model):
        raise KeyboardInterrupt
    assert_unchanged(model, before)


def test_an_exception_while_merging_leaves_nothing_merged(monkeypatch):
    method, model = adapted(*GPT2)
    before = weights(model)
    last = list(lora_layers(model))[-1]
    monkeypatch.delitem(last.scaling, "default")
    with pytest.raises(KeyError), method.at_cut(model, method.cuts()[0]), merged(model):
        pass
    assert_unchanged(model, before)


def test_half_precision_comes_back_to_the_bit():
    method, model = adapted(*GPT2)
    model.to(torch.bfloat16)
    before = weights(model)
    with method.at_cut(model, method.cuts()[2]), merged(model):
        name = next(name for name in before if name.endswith("q.base_layer.weight"))
        assert not torch.equal(model.state_dict()[name], before[name])
    assert_unchanged(model, before)


def test_quantised_layers_stay_as_they_are():
    _, model = adapted(*GPT2)
    first, *others = lora_layers(model)
    packed = nn.Parameter(torch.zeros(5, dtype=torch.uint8), requires_grad=False)
    first.get_base_layer().weight = packed
    with merged(model):
        assert not first.merged
        assert all(layer.merged for layer in others)
    assert first.get_base_layer().weight is packed


def test_a_model_without_adapters_is_left_alone():
    model = small_gpt2(small_tokenizer())
    before = logits(model)
    with merged(model):
        assert torch.equal(logits(model), before)


TIED = ["model=tiny-gpt2", "task=e2e", "ranks.r_max=4", "model.targets=[c_attn,lm_head]"]


def test_a_weight_that_two_modules_use_stays_as_it_is():
    config = compose(TIED)
    method = make_method(config)
    tied = small_gpt2(small_tokenizer(), initializer_range=0.1)
    model = method.attach(tied).eval()
    for layer in lora_layers(model):
        nn.init.normal_(factors(layer)[1], std=0.3)
    masked = logits(model)
    with merged(model):
        assert sum(layer.merged for layer in lora_layers(model)) == 2
        torch.testing.assert_close(logits(model), masked, rtol=0, atol=1e-4)


def test_a_target_that_shares_its_weight_gets_its_own_so_that_a_merged_model_is_the_same(tmp_path):
    save_small_gpt2(tmp_path / "model")
    config = compose([*TIED, f"model.name_or_path={tmp_path / 'model'}"])
    backbone, _ = load(config.model, labels=None)
    assert backbone.lm_head.weight is not backbone.transformer.wte.weight
    assert torch.equal(backbone.lm_head.weight, backbone.transformer.wte.weight)
    method = make_method(config)
    model = method.attach(backbone).eval()
    for layer in lora_layers(model):
        nn.init.normal_(factors(layer)[1], std=0.3)
    with method.at_cut(model, method.cuts()[-1]):
        masked = logits(model)
        with merged(model):
            assert all(layer.merged for layer in lora_layers(model))
            torch.testing.assert_close(logits(model), masked, rtol=0, atol=1e-4)
    whole = copy.deepcopy(model).merge_and_unload()
    whole.save_pretrained(tmp_path / "merged")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    torch.testing.assert_close(logits(again), logits(whole), rtol=0, atol=1e-5)
    kept, _ = load(compose([*TIED[:-1], f"model.name_or_path={tmp_path / 'model'}"]).model, None)
    assert kept.lm_head.weight is kept.transformer.wte.weight


def test_a_merge_that_changes_the_model_is_noticed():
    _, model = adapted(*GPT2)
    assert merging_keeps_outputs(model, [5, 6, 7, 8])
    first = next(lora_layers(model)).get_base_layer()
    kept = first.forward
    first.forward = lambda x: kept(x) - x @ (first.weight - first.weight.mean())
    assert not merging_keeps_outputs(model, [5, 6, 7, 8])
