"""Adapters folded into the weights of their layers for a while."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from dylora_exp.adapters.layers import ADAPTER, factors, lora_layers
from dylora_exp.adapters.mask import MaskedLinear
from dylora_exp.models import weight_users


@contextmanager
def merged(model: nn.Module) -> Iterator[None]:
    """Fold all adapters, as they stand, into the weights of their layers, and take them out again.

    Many forward passes at one rank, as in decoding, then cost what the base model costs. PEFT's own
    merging knows nothing of the mask. Layers whose weights are quantised stay as they are, and so
    do those whose weights other modules use as well.
    """
    pairs = own_weights(model)
    kept = [weight.detach().clone() for _, weight in pairs]
    try:
        for layer, weight in pairs:
            weight.data += masked_product(layer).to(weight.dtype)
            layer.merged_adapters.append(ADAPTER)
        yield
    finally:
        for (layer, weight), value in zip(pairs, kept, strict=True):
            weight.data.copy_(value)
            layer.merged_adapters.clear()


def own_weights(model: nn.Module) -> list[tuple[LoraLayer, nn.Parameter]]:
    """Return the layers with adapters whose weights are not packed and theirs alone, with these."""
    users = weight_users(model)
    pairs = [
        (layer, cast(nn.Parameter, layer.get_base_layer().weight)) for layer in lora_layers(model)
    ]
    return [
        (layer, weight)
        for layer, weight in pairs
        if weight.is_floating_point() and users[id(weight)] == 1
    ]


@torch.no_grad()
def merging_keeps_outputs(model: nn.Module, ids: Sequence[int]) -> bool:
    """Return whether a language model computes the same with its adapters merged.

    Args:
        model: The model, as it stands.
        ids: The tokens of a text to compare on.
    """
    model.eval()
    device = next(model.parameters()).device
    inputs = torch.tensor([list(ids)], device=device)
    # Of the class: the Trainer leaves some models with a call of their own, in bfloat16.
    forward = functools.partial(type(model).forward, model)
    with torch.autocast(device.type, enabled=False):
        apart = forward(input_ids=inputs).logits
        with merged(model):
            together = forward(input_ids=inputs).logits
    return bool((apart - together).abs().max() <= 1e-3 * apart.abs().max())


@torch.no_grad()
def masked_product(layer: LoraLayer, adapter: str = ADAPTER) -> torch.Tensor:
    """Return what an adapter, as it stands, adds to its layer's weight, in the shape of that.

    Computed and returned in at least single precision.
    """
    return product(layer, *masked_factors(layer, adapter), layer.scaling[adapter])


@torch.no_grad()
def masked_factors(layer: LoraLayer, adapter: str = ADAPTER) -> tuple[torch.Tensor, torch.Tensor]:
    """Return copies of A, its rows weighed by the mask, and B, in at least single precision."""
    a, b = (factor.detach().clone() for factor in factors(layer, adapter))
    down = layer.lora_A[adapter]
    precision = torch.promote_types(a.dtype, torch.float32)
    rows = down.mask.like(a)[:, None] if isinstance(down, MaskedLinear) else 1.0
    return rows * a.to(precision), b.to(precision)


def product(layer: LoraLayer, a: torch.Tensor, b: torch.Tensor, factor: float) -> torch.Tensor:
    """Return the product of B and A times a factor, in the shape of the layer's weight."""
    found = factor * (b @ a)
    return found.T if getattr(layer, "fan_in_fan_out", False) else found
