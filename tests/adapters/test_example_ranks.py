"""A rank for each example: found out before training where a layer does not allow it."""

import pytest
import torch

from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.methods.base import make_method
from dylora_exp.models.loading import load

TOKENS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "vocab_size": 800}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 48, "max_position_embeddings": 130}  # fmt: skip
DEBERTA = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8}
# DeBERTa's projections of positions have layers of their own.
POSITIONS = DEBERTA | {"share_att_key": False}
MODELS = {
    "bert": ("bert", {}, "query,value", "pooler,classifier"),
    "roberta": ("roberta", {}, "query,value", "classifier"),
    "gpt_neox": ("gpt_neox", {}, "query_key_value", "score"),
    "content": ("deberta-v2", POSITIONS, "query_proj,value_proj", "pooler,classifier"),
    "positions": ("deberta-v2", POSITIONS, "pos_query_proj", "pooler,classifier"),
    "shared": ("deberta-v2", DEBERTA | {"share_att_key": True}, "query_proj", "pooler,classifier"),
}
METHODS = [
    ["method=nested-dropout"],
    ["method=dylora", "ranks=per-example"],
    ["method=sorted-lora", "ranks.sample_every=example"],
]


def attach(model, *overrides):
    torch.manual_seed(0)
    model_type, settings, targets, head = MODELS[model]
    config = compose(
        ["model.pretrained=false", f"model.targets=[{targets}]", f"model.head=[{head}]", *overrides]
    )
    config.model.config = {"model_type": model_type, **TOKENS, **SMALL, **settings}
    backbone, _ = load(config.model, labels=2)
    return make_method(config).attach(backbone)


@pytest.mark.parametrize("method", METHODS, ids=lambda each: each[0])
@pytest.mark.parametrize("model", ["bert", "roberta", "gpt_neox", "content"])
def test_layers_that_see_examples_first_are_accepted(model, method):
    attach(model, *method)


@pytest.mark.parametrize("method", METHODS, ids=lambda each: each[0])
@pytest.mark.parametrize("model", ["positions", "shared"])
def test_layers_that_see_positions_are_refused(model, method):
    with pytest.raises(RequestError, match="does not compute example by example"):
        attach(model, *method)


def test_one_rank_a_step_needs_no_such_layers():
    attach("positions", "method=dylora")


def test_the_probe_leaves_no_trace():
    torch.manual_seed(0)
    plain = {
        name: value.clone() for name, value in attach("bert", "method=dylora").state_dict().items()
    }
    after = torch.rand(1)
    probed = attach("bert", "method=nested-dropout")
    assert torch.equal(torch.rand(1), after)
    assert probed.training == attach("bert", "method=dylora").training
    assert all(torch.equal(plain[name], value) for name, value in probed.state_dict().items())
