"""Layers that compute several projections at once, split so that one of them can be adapted.

GPT-2 computes query, key and value by one layer ``c_attn``; the paper adapts query and value. A
plain LoRA on the whole layer has as many parameters and is another model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.falcon.modeling_falcon import FalconLinear  # a Linear in other words
from transformers.pytorch_utils import Conv1D

from dylora_exp.config import ModelConfig
from dylora_exp.core import RequestError
from dylora_exp.models.layer_names import fused_part, name_matches
from dylora_exp.models.layouts import Layout, layout_of


class Parts(nn.Module):
    """Layers on one input, their outputs arranged as those of one fused layer.

    Args:
        parts: The layers by the names of the parts, in their order.
        layout: Which rows of the fused layer's outputs each of them has.
    """

    def __init__(self, parts: Mapping[str, nn.Module], layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., d_in) to (..., outputs of all parts)."""
        outputs = [part(x) for part in self.children()]
        if self.layout.groups == 1:
            return torch.cat(outputs, dim=-1)
        grouped = [each.unflatten(-1, (self.layout.groups, -1)) for each in outputs]
        return torch.cat(grouped, dim=-1).flatten(-2)


def fused_layouts(model: nn.Module, fused: Mapping[str, Sequence[str]] | None) -> dict[str, Layout]:
    """Return how the outputs of the split layers of a model are laid out, unless in equal blocks.

    Args:
        model: A model in which fused layers were split.
        fused: The names of the parts of each fused layer.

    Returns:
        A layout for each name of ``fused`` of which layers were split.
    """
    return {
        known: module.layout
        for name, module in model.named_modules()
        if isinstance(module, Parts) and not module.layout.is_of_equal_blocks
        for known in fused or {}
        if name_matches(name, known)
    }


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
                backbone.set_submodule(name, _split(backbone, name, module, parts))


def is_plain(layer: nn.Module) -> bool:
    """Return whether a layer's weight is a matrix that can be cut into rows.

    The exact type: quantised layers are subclasses of Linear that pack their weights differently.
    """
    return type(layer) in (nn.Linear, Conv1D, FalconLinear)


def layout_in(backbone: PreTrainedModel, name: str, layer: nn.Module, count: int) -> Layout:
    """Return the layout of the outputs of a fused layer.

    Args:
        backbone: The model.
        name: The layer's name in it.
        layer: The layer.
        count: The number of its parts.

    Raises:
        RequestError: When it is quantised, no Linear or Conv1D, or of another width.
    """
    if not is_plain(layer):
        raise RequestError(
            f"model.targets: '{name}' is of type {type(layer).__name__}, only Linear and Conv1D "
            "can be split into parts; name the whole layer as target."
        )
    outputs = layer.get_parameter("weight").shape[1 if isinstance(layer, Conv1D) else 0]
    layout = layout_of(getattr(backbone, "config", None), name, count, outputs)
    if layout is None:
        raise RequestError(
            f"model.fused: '{name}' has {outputs} outputs, which are not {count} equal parts."
        )
    return layout


def _split(backbone: PreTrainedModel, name: str, layer: nn.Module, parts: Sequence[str]) -> Parts:
    layout = layout_in(backbone, name, layer, len(parts))
    weight, bias = layer.get_parameter("weight"), dict(layer.named_parameters()).get("bias")
    pieces = {}
    for index, part in enumerate(parts):
        rows = torch.tensor(layout.rows(index), device=weight.device)
        rows_of_weight = weight.index_select(1 if isinstance(layer, Conv1D) else 0, rows)
        pieces[part] = _like(layer, rows_of_weight, None if bias is None else bias[rows])
    return Parts(pieces, layout)


def _like(layer: nn.Module, weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Module:
    """Return a Conv1D or a Linear with copies of these values."""
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
