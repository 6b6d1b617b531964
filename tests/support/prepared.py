"""A method on the tiny model in double precision, with factors that are not zero, and a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dylora_exp.adapters.layers import factors, lora_layers
from dylora_exp.config.composition import compose
from dylora_exp.methods.base import Method, make_method
from dylora_exp.models.loading import load

# The examples of a batch.
N = 6


def prepared(*words: str, labels: int = 2) -> tuple[Method, Any, dict[str, torch.Tensor]]:
    """Return the method of a config, its model in evaluation mode and the inputs of one batch.

    Args:
        words: Overrides.
        labels: The number of labels; 1 for a number.
    """
    config = compose(list(words))
    torch.manual_seed(0)
    backbone, _ = load(config.model, labels=labels)
    method = make_method(config)
    model: Any = method.attach(backbone).double().eval()
    for layer in lora_layers(model):
        nn.init.normal_(factors(layer)[1], std=0.1)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 300, (N, 12), generator=generator)
    numbers = torch.linspace(-1, 1, N, dtype=torch.float64)
    target = numbers if labels == 1 else torch.arange(N) % labels
    return method, model, {"input_ids": ids, "labels": target}


def gradients(model: Any) -> dict[str, torch.Tensor]:
    """Return the gradients of a model by parameter, and forget them."""
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Compare two sets of gradients in double precision."""
    assert one.keys() == other.keys() and one
    assert any(value.abs().max() > 1e-4 for value in one.values())
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-9, atol=1e-12)
