"""The nuclear-norm term against singular values, and its gradient in training."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from dylora_exp.adapters.layers import factors, lora_layers
from dylora_exp.adapters.truncation import singular_factors
from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.methods.torch_parts.penalties import half_squared_norms
from dylora_exp.objectives.base import ObjectiveContext, make_objective
from dylora_exp.tasks.base import read
from dylora_exp.training.arguments import training_arguments
from dylora_exp.training.trainer import MethodTrainer
from tests.support.prepared import N, prepared


def one_layer(r=4, d=4):
    """A linear layer of zeros with an adapter of scale 1."""
    linear = nn.Sequential(nn.Linear(d, d, bias=False))
    nn.init.zeros_(linear[0].weight)
    model = get_peft_model(linear, LoraConfig(r=r, lora_alpha=r, target_modules=["0"]))
    (layer,) = lora_layers(model.double())
    return model, *factors(layer)


def test_its_least_value_over_factorisations_is_the_nuclear_norm():
    model, a, b = one_layer()
    torch.manual_seed(0)
    nn.init.normal_(a)
    nn.init.normal_(b)
    by_hand = sum(x.item() ** 2 for each in (a, b) for x in each.flatten()) / 2
    assert half_squared_norms(model).item() == pytest.approx(by_hand, rel=1e-12)
    nuclear = torch.linalg.svdvals(b @ a).sum().item()
    assert by_hand > nuclear
    for balanced, value in zip((a, b), singular_factors(a, b), strict=True):
        balanced.data.copy_(value)
    assert half_squared_norms(model).item() == pytest.approx(nuclear, rel=1e-10)
    for stretch in (0.5, 0.9, 1.1, 2.0):  # the same product
        a.data *= stretch
        b.data /= stretch
        assert half_squared_norms(model).item() > nuclear
        a.data /= stretch
        b.data *= stretch


def test_with_it_singular_values_are_soft_thresholded():
    """The minimiser of ||BA - W||_F^2 / 2 + mu ||BA||_* has the singular values (s_i - mu)+."""
    model, a, b = one_layer()
    torch.manual_seed(1)
    nn.init.normal_(a)
    nn.init.normal_(b)
    u, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    v, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    target = u @ torch.diag(torch.tensor([3.0, 1.5, 0.4, 0.1], dtype=torch.float64)) @ v
    optimizer = torch.optim.LBFGS([a, b], max_iter=500, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        product = model(torch.eye(4, dtype=torch.float64)).T
        value = (product - target).square().sum() / 2 + 0.5 * half_squared_norms(model)
        value.backward()
        return value

    optimizer.step(loss)
    expected = u @ torch.diag(torch.tensor([2.5, 1.0, 0.0, 0.0], dtype=torch.float64)) @ v
    torch.testing.assert_close(b @ a, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "words",
    [
        ["method=lora", "trainer.accumulation_steps=2"],
        pytest.param(
            ["method=nested-dropout", f"method.examples_per_pass={2 * N}"],  # four passes
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_step_has_it_once_whatever_its_micro_batches_and_passes(words, tmp_path):
    found = []
    for weight in (0, 0.25):
        method, model, inputs = prepared(*words, f"method.nuclear_norm={weight}")
        objective = objective_of(method.config)
        args = training_arguments(method, tmp_path)
        trainer = MethodTrainer(method, objective, model=model, args=args)
        count = method.config.trainer.accumulation_steps
        trainer.current_gradient_accumulation_steps = count
        # The whole batch is that of the config.
        trainer._size = lambda *_: N
        losses = [trainer.training_step(model, inputs) for _ in range(count)]
        found.append((sum(losses).item(), {n: p.grad for n, p in model.named_parameters()}))
    (loss, without), (more, with_it) = found
    half = half_squared_norms(model).item()
    assert more - loss == pytest.approx(0.25 * half, rel=1e-6)
    for layer in lora_layers(model):
        for factor in factors(layer):
            (name,) = (n for n, p in model.named_parameters() if p is factor)
            torch.testing.assert_close(
                with_it[name] - without[name], 0.25 * factor.detach(), rtol=1e-6, atol=1e-7
            )


def objective_of(config):
    from dylora_exp.models.loading import load

    _, tokenizer = load(config.model, labels=2)
    return make_objective(ObjectiveContext(config, tokenizer, 64, read(config.task)))


def test_it_is_refused_where_nothing_is_trained(tmp_path):
    file = tmp_path / "adapter.pt"
    torch.save({}, file)
    with pytest.raises(RequestError, match=r"method\.nuclear_norm: it would change nothing"):
        compose(["method=lora", f"method.adapter={file}", "method.nuclear_norm=0.1"])
