"""The architectures in ``conf/model`` have the sizes that their publishers print."""

import pytest
import torch

from dylora_exp.config import compose
from dylora_exp.methods import count_parameters, make_method
from dylora_exp.models import load

PUBLISHED = {
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "qwen2.5-0.5b": 494_032_768,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "gemma-3-270m": 268_098_176,
    "pythia-160m": 162_322_944,
    "opt-125m": 125_239_296,
    "mistral-7b": 7_241_732_096,
}


def model_of(name, *words):
    config = compose([f"model={name}", "task=demo-e2e", "model.pretrained=false", *words])
    with torch.device("meta"):
        backbone, _ = load(config.model, None)
    return config, backbone


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes(name):
    _, backbone = model_of(name)
    assert sum(weight.numel() for weight in backbone.parameters()) == PUBLISHED[name]


@pytest.mark.parametrize(
    ("name", "rank", "parameters"),
    [
        ("llama-3.2-3b", 32, 9_175_040),  # as PEFT prints for its comparison
        ("llama-3.2-3b", 64, 18_350_080),
        ("smollm2-135m", 8, 460_800),
        ("pythia-160m", 8, 2 * 12 * 8 * (768 + 768)),  # q and v alone
    ],
)
def test_adapters(name, rank, parameters):
    config, backbone = model_of(name, f"ranks.r_max={rank}")
    with torch.device("meta"):
        model = make_method(config).attach(backbone)
    assert count_parameters(model)["adapter"] == parameters
