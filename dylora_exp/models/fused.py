"""Layers that compute several projections at once, split so that one of them can be adapted.

GPT-2 computes query, key and value by one layer ``c_attn``; the paper adapts query and value. A
plain LoRA on the whole layer has as many parameters and is another model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from dylora_exp.config import ModelConfig
from dylora_exp.core import RequestError
from dylora_exp.models.layer_names import fused_part, name_matches


class Parts(nn.Module):
    """Equal layers on one input, their outputs side by side, instead of one fused layer."""

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., d_in) to (..., parts * d_out)."""
        return torch.cat([part(x) for part in self.children()], dim=-1)


def has_transposed_weights(backbone: PreTrainedModel, targets: Sequence[str]) -> bool:
    """Return whether a target is a Conv1D, whose weight has shape (d_in, d_out)."""
    return any(
        isinstance(module, Conv1D) and any(name_matches(name, target) for target in targets)
        for name, module in backbone.named_modules()
    )


def split_fused(backbone: PreTrainedModel, model: ModelConfig) -> None:
    """Split, in place, the fused layers of which a target names a part; others stay whole.

    Raises:
        RequestError: When such a layer is quantised, no Linear or Conv1D, or of another width.
    """
    named = [part.layer for target in model.targets if (part := fused_part(target, model.fused))]
    for known, parts in (model.fused or {}).items():
        if not any(name_matches(layer, known) for layer in named):
            continue
        for name, module in list(backbone.named_modules()):
            if name_matches(name, known):
                pieces = _pieces(name, module, len(parts))
                backbone.set_submodule(name, Parts(dict(zip(parts, pieces, strict=True))))


def _pieces(name: str, layer: nn.Module, count: int) -> list[nn.Module]:
    # The exact type: quantised layers are subclasses that pack their weights differently.
    if type(layer) not in (nn.Linear, Conv1D):
        raise RequestError(
            f"model.targets: '{name}' is of type {type(layer).__name__}, only Linear and Conv1D "
            "can be split into parts; name the whole layer as target."
        )
    dim = 1 if isinstance(layer, Conv1D) else 0
    weight, bias = layer.get_parameter("weight"), dict(layer.named_parameters()).get("bias")
    width = weight.shape[dim]
    if width % count:
        raise RequestError(
            f"model.fused: '{name}' has {width} outputs, which are not {count} equal parts."
        )
    weights = weight.chunk(count, dim)
    biases = [None] * count if bias is None else bias.chunk(count)
    return [_like(layer, *values) for values in zip(weights, biases, strict=True)]


def _like(layer: nn.Module, weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Module:
    """Return a layer of the same type with copies of these values."""
    piece: nn.Module
    with torch.device("meta"):  # no random values are drawn for what is replaced at once
        if isinstance(layer, Conv1D):
            piece = Conv1D(weight.shape[1], weight.shape[0])
        else:
            piece = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    piece.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        piece.bias = nn.Parameter(bias.detach().clone())
    return piece
