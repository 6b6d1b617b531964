"""The adapted layers of a model and their factors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from peft.tuners.lora import LoraLayer
from torch import nn

# What PEFT calls the only adapter of a model.
ADAPTER = "default"


def lora_layers(model: nn.Module) -> Iterator[LoraLayer]:
    """Yield the adapted layers in the model's order."""
    for module in model.modules():
        if isinstance(module, LoraLayer) and ADAPTER in module.lora_A:
            yield module


def factors(layer: LoraLayer) -> tuple[nn.Parameter, nn.Parameter]:
    """Return A (r_max, d_in) and B (d_out, r_max) of a layer."""
    a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    return cast(nn.Parameter, a), cast(nn.Parameter, b)
