"""The fixed diagonal against the sum over ranks that it stands for."""

import pytest
import torch
from torch import nn

from dylora_exp.adapters.layers import factors, lora_layers
from dylora_exp.config.composition import compose
from dylora_exp.methods.base import Cut, make_method
from dylora_exp.methods.matryoshka import diagonal
from dylora_exp.models.loading import load


def attached(*words, method="matryoshka"):
    config = compose([f"method={method}", "method.alpha=16", *words])
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


@pytest.mark.parametrize("scale", ["alpha/sqrt(b)", "alpha/b", "alpha/r"])
def test_the_released_code_trains_with_the_diagonal_and_scores_without(scale):
    """By the formulas of IST-DASLab/MatryoshkaLoRA: x (A * P) B, then s(b) x A[:, :b] B[:b]."""
    s = {
        "alpha/sqrt(b)": lambda r: 16 / r**0.5,
        "alpha/b": lambda r: 16 / r,
        "alpha/r": lambda r: 16 / 32,
    }[scale]
    method, layer = attached(
        "ranks.r_max=32", f"method.scale={scale}", method="matryoshka-released"
    )
    a, b = factors(layer)
    listed = [1, 2, 4, 8, 16, 32]
    p = torch.tensor(
        [sum(s(r) for r in listed if r >= i) for i in range(1, 33)], dtype=torch.double
    )
    x = torch.randn(3, 5, a.shape[1], dtype=torch.double)
    base = layer.base_layer(x)
    trained = layer(x)
    torch.testing.assert_close(trained, base + (x @ a.T * p) @ b.T, rtol=0, atol=1e-9)
    for rank in (1, 3, 8, 32):  # at full rank, too, it is not what was trained
        with method.at_cut(None, Cut(rank, "unweighted", scale)):
            shown = layer(x)
        expected = base + s(rank) * (x @ a[:rank].T) @ b[:, :rank].T
        torch.testing.assert_close(shown, expected, rtol=0, atol=1e-9)
    assert not torch.allclose(shown, trained)
    assert torch.equal(layer(x), trained)


def test_the_authors_scales_without_alpha():
    """Their s(r) = 1/sqrt(r) is alpha = 1; s(r) = 1 is alpha = r_max at a constant scale."""
    config = compose(["method=matryoshka-released"])
    assert (config.method.alpha, config.ranks.values) == (1, [1, 2, 4, 8])
    constant = compose(["method=matryoshka-released", "method.scale=alpha/r", "method.alpha=8"])
    method = make_method(constant)
    factor = constant.method.alpha / constant.ranks.r_max
    assert (factor * method.row_scale()).tolist() == [4, 3, 2, 2, 1, 1, 1, 1]


def test_the_kept_diagonal_stays_a_cut_with_its_name():
    """Records that name no other cut mean the product as it was trained."""
    cut = compose(["method=matryoshka"]).method.score
    assert [str(each) for each in cut] == ["leading alpha/r"]
    method, layer = attached("method.scale=alpha/sqrt(b)")
    x = torch.randn(3, 5, layer.base_layer.in_features, dtype=torch.double)
    trained = layer(x)
    with method.at_cut(None, Cut(8, "leading", "alpha/r")):
        assert torch.equal(layer(x), trained)
