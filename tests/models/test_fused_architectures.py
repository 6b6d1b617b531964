"""The parts of fused layers are those of the architecture, or they are refused."""

import pytest
import torch
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.models.fused import Parts, split_fused
from dylora_exp.models.loading import load

TOKENS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "vocab_size": 800}
BERT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 48, "max_position_embeddings": 130}  # fmt: skip
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 130}
BLOOM = {"hidden_size": 32, "n_layer": 2, "n_head": 4}
PHI3 = BERT | {"num_key_value_heads": 4}


def loaded(model_type, settings, layer, parts, targets, labels):
    torch.manual_seed(0)
    config = compose(["model.pretrained=false", "model.head=[score]"])
    config.model.config = {"model_type": model_type, **TOKENS, **settings}
    config.model.fused = {layer: parts}
    config.model.targets = [f"{layer}.{part}" for part in targets]
    return config.model, load(config.model, labels)[0]


@pytest.mark.parametrize("labels", [2, None])
@pytest.mark.parametrize("spread", [0.02, 0.3])
@pytest.mark.parametrize(
    ("model_type", "settings", "layer", "parts"),
    [
        ("gpt2", GPT2, "c_attn", ["q", "k", "v"]),
        ("phi3", PHI3, "qkv_proj", ["q", "k", "v"]),
        ("phi3", PHI3, "gate_up_proj", ["gate", "up"]),
        ("phi3", PHI3 | {"num_key_value_heads": 1}, "qkv_proj", ["q", "k", "v"]),
        ("gpt_neox", BERT, "query_key_value", ["q", "k", "v"]),
        ("bloom", BLOOM, "query_key_value", ["q", "k", "v"]),
    ],
)
def test_the_parts_of_an_architecture_are_accepted(
    model_type, settings, layer, parts, labels, spread
):
    settings = settings | {"initializer_range": spread}
    model, backbone = loaded(model_type, settings, layer, parts, parts[-1:], labels)
    split_fused(backbone, model)
    assert sum(isinstance(module, Parts) for module in backbone.modules()) == 2


@pytest.mark.parametrize(
    ("model_type", "settings", "layer", "parts"),
    [
        ("gpt_neox", BERT, "query_key_value", ["k", "q", "v"]),
        ("bloom", BLOOM, "query_key_value", ["q", "v", "k"]),
        ("gpt2", GPT2, "c_attn", ["v", "k", "q"]),
        ("gpt2", GPT2, "c_attn", ["q", "value", "k"]),
        ("phi3", PHI3 | {"num_key_value_heads": 1}, "qkv_proj", ["v", "k", "q"]),
    ],
)
@pytest.mark.parametrize("spread", [0.02, 0.3])
def test_other_rows_are_refused(model_type, settings, layer, parts, spread):
    settings = settings | {"initializer_range": spread}
    with pytest.raises(RequestError, match=", in this order, of the outputs of") as caught:
        loaded(model_type, settings, layer, parts, parts[:1], None)
    assert len(caught.value.problems) == 1
    target = {"query_key_value": "query_key_value"}.get(layer)
    if target:  # the whole layer can be adapted
        config = compose(["model.pretrained=false", f"model.targets=[{target}]"])
        config.model.config = {"model_type": model_type, **TOKENS, **settings}
        load(config.model, None)


def recorded(backbone):
    """Return queries, keys and values of the first layer, as its own attention cuts them."""
    seen = []

    def attention(module, query, key, value, mask, **options):
        seen.append((query, key, value))
        return ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, mask, **options)

    AttentionInterface.register("of a test", attention)
    cuts = [
        (module, name)
        for module in backbone.modules()
        for name in ("_split_heads", "_reshape")  # in models that attend in code of their own
        if hasattr(module, name)
    ]
    for module, name in cuts:
        cut = getattr(module, name)

        def noting(*arguments, cut=cut):
            seen.append(cut(*arguments))
            return seen[-1]

        setattr(module, name, noting)
    if not cuts:
        backbone.set_attn_implementation("of a test")
    with torch.no_grad():
        backbone.eval()(input_ids=torch.arange(3, 12)[None])
    for module, name in cuts:
        delattr(module, name)
    return [each.clone() for each in seen[0]]


FALCON = BERT | {"num_kv_heads": 2}


@pytest.mark.parametrize(
    ("model_type", "settings", "layer"),
    [
        ("gpt_neox", BERT, "query_key_value"),
        ("phi3", PHI3 | {"num_key_value_heads": 2}, "qkv_proj"),
        ("bloom", BLOOM, "query_key_value"),
        ("falcon", FALCON | {"new_decoder_architecture": True}, "query_key_value"),
        ("falcon", BERT | {"multi_query": True}, "query_key_value"),
        ("falcon", BERT | {"multi_query": False, "alibi": True}, "query_key_value"),
        ("gpt_bigcode", GPT2, "c_attn"),
        ("gpt_bigcode", GPT2 | {"multi_query": False}, "c_attn"),
    ],
)
def test_a_part_is_what_attention_takes_for_it(model_type, settings, layer):
    parts = ["q", "k", "v"]
    model, backbone = loaded(model_type, settings, layer, parts, ["q"], None)
    with torch.no_grad():
        for name, bias in backbone.named_parameters():
            if name.endswith("bias"):
                bias.add_(torch.randn_like(bias))
    whole = recorded(backbone)
    split_fused(backbone, model)
    first = next(module for module in backbone.modules() if isinstance(module, Parts))
    for before, after in zip(whole, recorded(backbone), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-6)
    for index, part in enumerate(parts):
        kept = {name: each.clone() for name, each in first.get_submodule(part).state_dict().items()}
        for parameter in first.get_submodule(part).parameters():
            parameter.data.zero_()
        found = recorded(backbone)
        assert [bool((each == 0).all()) for each in found] == [i == index for i in range(3)]
        for other in {0, 1, 2} - {index}:
            torch.testing.assert_close(found[other], whole[other], rtol=1e-5, atol=1e-6)
        first.get_submodule(part).load_state_dict(kept)
