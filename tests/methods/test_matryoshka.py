"""The fixed diagonal against the sum over ranks that it stands for."""

import pytest
import torch
from torch import nn

from dylora_exp.adapters.layers import factors, lora_layers
from dylora_exp.config.composition import compose
from dylora_exp.methods.base import Cut, make_method
from dylora_exp.methods.matryoshka import diagonal
from dylora_exp.models.loading import load


def attached(*words):
    config = compose(["method=matryoshka", "method.alpha=16", *words])
    torch.manual_seed(0)
    backbone, _ = load(config.model, labels=2)
    method = make_method(config)
    model = method.attach(backbone).double().eval()
    layer = next(lora_layers(model))
    for factor in factors(layer):
        nn.init.normal_(factor)
    return method, layer


@pytest.mark.parametrize("values", [[1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 4, 8], [8]])
def test_the_layer_is_the_sum_of_the_listed_ranks_adapters(values):
    _, layer = attached(f"ranks.values={values}".replace(" ", ""))
    a, b = factors(layer)
    x = torch.randn(3, 5, a.shape[1], dtype=torch.double)
    expected = layer.base_layer(x)
    for r in values:
        expected = expected + 16 / r * (x @ a[:r].T) @ b[:, :r].T
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-11)


def test_a_lower_rank_leaves_out_the_last_terms_of_the_trained_product():
    method, layer = attached()
    a, b = factors(layer)
    x = torch.randn(3, 5, a.shape[1], dtype=torch.double)
    p = [sum(16 / r for r in range(i, 9)) for i in range(1, 9)]
    for rank in range(1, 9):
        with method.at_cut(None, Cut(rank, "leading", "alpha/r")):
            shown = layer(x)
        expected = layer.base_layer(x)
        for i in range(rank):
            expected = expected + p[i] * (x @ a[i])[..., None] * b[:, i]
        torch.testing.assert_close(shown, expected, rtol=0, atol=1e-10)
    full = layer(x)
    torch.testing.assert_close(full, shown, rtol=0, atol=0)


def test_one_listed_rank_is_plain_lora():
    config = compose(["method=matryoshka", "ranks.values=[8]"])
    assert diagonal(make_method(config).ranks, "alpha/b").tolist() == [1.0] * 8


def test_the_scale_of_the_listed_ranks_may_be_constant():
    method, _ = attached("method.scale=alpha/r")
    assert method.row_scale().tolist() == [8, 7, 6, 5, 4, 3, 2, 1]
