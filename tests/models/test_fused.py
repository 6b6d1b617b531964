"""GPT-2's fused layer in parts: the same function, and only the parts that are named change."""

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2ForSequenceClassification
from transformers.pytorch_utils import Conv1D

from dylora_exp.adapters.layers import factors, lora_layers
from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.methods.base import count_parameters, make_method
from dylora_exp.models.architecture import model_problems
from dylora_exp.models.fused import Parts, split_fused
from dylora_exp.models.layer_names import Part, fused_part
from dylora_exp.models.loading import load, longest_input

FUSED = {"c_attn": ["q", "k", "v"]}
WIDTH = 32
SMALL = [
    "model=gpt2",
    "model.pretrained=false",
    *(f"model.config.{key}={value}" for key, value in
      {"n_embd": WIDTH, "n_layer": 2, "n_head": 2, "n_positions": 64, "vocab_size": 600}.items()),
]  # fmt: skip


def small(*words):
    torch.manual_seed(0)
    given = [*SMALL, "ranks.r_max=4", *words]
    config = compose(given, shared=given)  # some methods have no ranks
    return config, *load(config.model, labels=2)


def logits(model):
    ids = torch.randint(5, 300, (3, 11), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


def test_a_part_is_found_by_the_end_of_its_name():
    assert fused_part("transformer.h.0.attn.c_attn.v", FUSED) == Part(
        "transformer.h.0.attn.c_attn", 2, 3
    )
    assert fused_part("c_attn.q", FUSED) == Part("c_attn", 0, 3)
    for name in ("c_attn", "xc_attn.q", "c_attn.w", "c_proj.q", "q"):
        assert fused_part(name, FUSED) is None
    assert fused_part("c_attn.q", None) is None


def test_the_split_model_is_the_same_function():
    config, backbone, _ = small()
    before = logits(backbone)
    split_fused(backbone, config.model)
    parts = [module for module in backbone.modules() if isinstance(module, Parts)]
    assert len(parts) == 2
    assert [type(part) for part in parts[0].children()] == [Conv1D] * 3
    torch.testing.assert_close(logits(backbone), before, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_splits_along_its_outputs(bias):
    config = compose(["model.targets=[qkv.a,qkv.b]"])
    config.model.fused = {"qkv": ["a", "b"]}
    model = nn.ModuleDict({"qkv": nn.Linear(5, 8, bias=bias)}).double()
    x = torch.randn(2, 3, 5, dtype=torch.double)
    before = model["qkv"](x)
    split_fused(model, config.model)
    torch.testing.assert_close(model["qkv"](x), before, rtol=0, atol=1e-14)
    torch.testing.assert_close(model["qkv"].b(x), before[..., 4:], rtol=0, atol=1e-14)


def test_without_a_part_among_the_targets_nothing_is_split():
    config, backbone, _ = small("model.targets=[c_attn]")
    model = make_method(config).attach(backbone)
    layers = list(lora_layers(model))
    assert len(layers) == 2
    assert [tuple(f.shape) for f in factors(layers[0])] == [(4, WIDTH), (3 * WIDTH, 4)]
    assert not any(isinstance(module, Parts) for module in model.modules())


def test_full_fine_tuning_keeps_the_stock_model():
    config, backbone, _ = small("method=finetune")
    model = make_method(config).attach(backbone)
    assert "transformer.h.0.attn.c_attn.weight" in dict(model.named_parameters())


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_parameter_counts_of_gpt2_medium(rank):
    config = compose(["model=gpt2-medium", "model.pretrained=false", f"ranks.r_max={rank}"])
    with torch.device("meta"):
        backbone, _ = load(config.model, labels=2)
        model = make_method(config).attach(backbone)
    assert count_parameters(model)["adapter"] == 98_304 * rank
    assert len(list(lora_layers(model))) == 2 * 24
    assert longest_input(backbone) == 1024


class Packed(nn.Linear):
    """Stands for a quantised layer."""


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (Packed(4, 6), "'qkv' is of type Packed, only Linear and Conv1D can be split"),
        (nn.Embedding(4, 6), "'qkv' is of type Embedding"),
        (nn.Linear(4, 7), "'qkv' has 7 outputs, which are not 2 equal parts"),
    ],
)
def test_what_cannot_be_split_is_said_in_one_sentence(layer, expected):
    config = compose(["model.targets=[qkv.a]"])
    config.model.fused = {"qkv": ["a", "b"]}
    with pytest.raises(RequestError, match=expected) as caught:
        split_fused(nn.ModuleDict({"qkv": layer}), config.model)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["model.targets=[c_attn.w]"], "did you mean 'c_attn"),
        (["model.targets=[c_attm.q]"], "did you mean 'c_attn.q'"),
        (["model.targets=[c_attn.q]", "model.fused=null"], "did you mean 'c_attn'"),
        (["model.head=[c_attn.q]"], "model.head: 'c_attn.q' is not one of"),
    ],
)
def test_a_mistyped_part_is_named_with_the_nearest(words, expected):
    with pytest.raises(RequestError, match=expected):
        small(*words)


@pytest.mark.parametrize(
    ("fused", "targets", "expected"),
    [
        ({"c_attn": "q"}, ["c_attn"], "model.fused.c_attn: found 'q', expected several names"),
        ({"c_attn": ["q", "q"]}, ["c_attn"], "expected several names"),
        ({"c_attn": ["q", 1]}, ["c_attn"], "expected several names"),
        (FUSED, ["c_attn", "c_attn.q"], "'c_attn' and its part 'c_attn.q' cannot both be adapted"),
    ],
)
def test_a_wrong_split_shows_before_loading(fused, targets, expected):
    config = compose(SMALL)
    config.model.fused, config.model.targets = fused, targets
    (problem,) = model_problems(config)
    assert expected in problem


@pytest.mark.parametrize(
    ("target", "expected"),
    [("ln_1", "PEFT refuses them"), ("wte", "'transformer.wte' is of type Embedding")],
)
def test_a_target_that_cannot_be_adapted_is_refused(target, expected):
    config, backbone, _ = small(f"model.targets=[{target}]")
    with pytest.raises(RequestError, match=expected):
        make_method(config).attach(backbone)


def test_a_model_without_padding_pads_with_its_end_token(tmp_path):
    _, backbone, tokenizer = small()
    assert backbone.config.pad_token_id == tokenizer.pad_token_id
    stock = GPT2ForSequenceClassification(
        GPT2Config(n_embd=WIDTH, n_layer=1, n_head=2, vocab_size=600, eos_token_id=2)
    )
    stock.save_pretrained(tmp_path)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    config = compose(["model=gpt2", f"model.name_or_path={tmp_path}", "model.config=null"])
    backbone, tokenizer = load(config.model, labels=2)
    assert tokenizer.pad_token == tokenizer.eos_token
    assert backbone.config.pad_token_id == tokenizer.eos_token_id
    texts = ["one two three", "one"]
    together = backbone.eval()(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    for text, row in zip(texts, together, strict=True):
        alone = backbone(**tokenizer(text, return_tensors="pt")).logits[0]
        torch.testing.assert_close(alone, row, rtol=0, atol=1e-6)
