"""The factors of a model's layers in the singular basis of their products."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from dylora_exp.adapters.layers import ADAPTER, factors, lora_layers, restored
from dylora_exp.adapters.truncation import singular_factors


@torch.no_grad()
def rotate(layer: LoraLayer, adapter: str = ADAPTER) -> None:
    """Rotate a layer's factors into their singular basis, in place.

    Factors with the product zero stay as they are: of one that has not moved from its start yet
    both would become zero, and never move again.
    """
    a, b = factors(layer, adapter)
    if not (a.any() and b.any()):
        return
    new_a, new_b = singular_factors(a, b)
    a.data.copy_(new_a)
    b.data.copy_(new_b)


@contextmanager
def rotated(model: nn.Module, adapter: str = ADAPTER) -> Iterator[None]:
    """Rotate the factors of all layers into their singular basis, and restore them bit by bit."""
    with restored(model, adapter):
        for layer in lora_layers(model, adapter):
            rotate(layer, adapter)
        yield
