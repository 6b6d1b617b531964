"""The summed loss against single ranks, one pass against many."""

import pytest
import torch
from torch import nn

from dylora_exp.adapters.layers import factors, lora_layers
from dylora_exp.config.composition import compose
from dylora_exp.methods.base import Batch, make_method
from dylora_exp.models.loading import load
from dylora_exp.objectives.torch_parts.labels import mean_loss

N = 6


def gradients(*words):
    """The gradients of one step of nested dropout, by parameter."""
    config = compose(["method=nested-dropout", *words])
    method, model, inputs = prepared(config)
    for _ in method.forward_passes(Batch(0, 0, 0, N)):
        method.loss(model, inputs, mean_loss).backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def prepared(config):
    torch.manual_seed(0)
    backbone, _ = load(config.model, labels=2)
    method = make_method(config)
    model = method.attach(backbone).eval()
    for layer in lora_layers(model):
        nn.init.normal_(factors(layer)[1], std=0.1)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 300, (N, 12), generator=generator)
    return method, model, {"input_ids": ids, "labels": torch.tensor([0, 1] * 3)}


def weighted_by_hand(weights):
    """The same gradients from one pass for each rank through the model's own loss."""
    method, model, inputs = prepared(compose([]))
    for rank, weight in weights.items():
        method.mask.select(rank)
        (weight * model(**inputs).loss).backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fits", [1, 2 * N, 3 * N, 1000])
def test_stacked_ranks_and_a_loop_give_the_mean_of_the_ranks_gradients(fits):
    ours = gradients(f"method.examples_per_pass={fits}")
    assert_equal(ours, weighted_by_hand(dict.fromkeys(range(1, 9), 1 / 8)))


def test_weights_may_be_those_of_the_distribution():
    words = ["ranks=custom", "ranks.r_max=8", "ranks.weights=[0.5,0,0.25,0,0,0,0,0.25]"]
    for fits in (N, 1000):
        ours = gradients(
            "method.loss_weights=distribution", f"method.examples_per_pass={fits}", *words
        )
        assert_equal(ours, weighted_by_hand({1: 0.5, 3: 0.25, 8: 0.25}))


def test_the_number_of_passes_is_what_fits():
    method, *_ = prepared(compose(["method=nested-dropout", f"method.examples_per_pass={3 * N}"]))
    assert len(list(method.forward_passes(Batch(0, 0, 0, N)))) == 3


def test_a_budget_of_passes_shortens_training():
    assert make_method(compose(["method=nested-dropout"])).steps_share == 1
    short = compose(["method=nested-dropout", "method.budget=passes"])
    assert make_method(short).steps_share == 1 / 8


@pytest.mark.parametrize("labels", [2, 3, 1])
def test_our_loss_is_the_models_own(labels):
    config = compose(["method=finetune"])
    backbone, _ = load(config.model, labels=labels)
    model = make_method(config).attach(backbone).eval()
    ids = torch.randint(5, 300, (N, 12))
    target = torch.randn(N) if labels == 1 else torch.randint(0, labels, (N,))
    output = model(input_ids=ids, labels=target)
    assert torch.equal(output.loss, mean_loss(output.logits, target))
