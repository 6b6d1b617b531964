"""The adapted layers of a model and their factors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from peft.tuners.lora import LoraLayer
from torch import nn

# What PEFT calls the only adapter of a model, unless it is told another name.
ADAPTER = "default"


def lora_layers(model: nn.Module, adapter: str = ADAPTER) -> Iterator[LoraLayer]:
    """Yield the layers that an adapter adapts, in the model's order."""
    for module in model.modules():
        if isinstance(module, LoraLayer) and adapter in module.lora_A:
            yield module


def factors(layer: LoraLayer, adapter: str = ADAPTER) -> tuple[nn.Parameter, nn.Parameter]:
    """Return A (r_max, d_in) and B (d_out, r_max) of an adapter in a layer."""
    a, b = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    return cast(nn.Parameter, a), cast(nn.Parameter, b)


@contextmanager
def restored(model: nn.Module, adapter: str = ADAPTER) -> Iterator[None]:
    """Give all layers back the factors that they have now, bit by bit, whatever becomes of them."""
    kept = [
        (factor, factor.detach().clone())
        for layer in lora_layers(model, adapter)
        for factor in factors(layer, adapter)
    ]
    try:
        yield
    finally:
        for factor, value in kept:
            factor.data.copy_(value)


@contextmanager
def trained_restored(model: nn.Module) -> Iterator[None]:
    """Give all parameters that are trained back the values that they have now, bit by bit."""
    trained = [each for each in model.parameters() if each.requires_grad]
    kept = [each.detach().clone() for each in trained]
    try:
        yield
    finally:
        for parameter, value in zip(trained, kept, strict=True):
            parameter.data.copy_(value)


def trained_digest(model: nn.Module) -> str:
    """Return 16 hex digits of a hash over everything that is trained in a model."""
    total = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        if parameter.requires_grad:
            total.update(name.encode())
            total.update(parameter.detach().float().cpu().numpy().tobytes())
    return total.hexdigest()[:16]
