"""PEFT's own merging (``merge_adapter``, ``merge_and_unload``) of an adapter at a chosen rank.

PEFT multiplies the parameters of A and B, where the mask is not; it would merge r_max whatever the
rank. ``LoraVariant`` is its extension for adapters that are merged in another way.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from peft.tuners.lora.layer import LoraLayer, LoraVariant

from dylora_exp.adapters import masked_factors, product


class MaskedVariant(LoraVariant):
    """What a layer adds to its weight at the present rank, and takes away again.

    The functions are static, as those of PEFT.
    """

    def __init__(self) -> None:
        # What the layer was merged with: A as it was masked, B, and their factor.
        self.merged: tuple[torch.Tensor, torch.Tensor, float] | None = None

    def supports_lora_conversion(self) -> bool:
        """No: ``convert_to_lora`` would take r_max, whatever the rank; ``save_rank`` takes it."""
        return False

    @staticmethod
    def merge_safe(
        module: LoraLayer, active_adapter: str, orig_weight: torch.Tensor
    ) -> torch.Tensor:
        """Return the weight with the product added."""
        a, b = masked_factors(module, active_adapter)
        merged = a, b, module.scaling[active_adapter]
        _variant(module, active_adapter).merged = merged
        return orig_weight + product(module, *merged).to(orig_weight.dtype)

    @staticmethod
    def merge_unsafe(module: LoraLayer, active_adapter: str, orig_weight: torch.Tensor) -> None:
        """Add the product to the weight."""
        orig_weight.data = MaskedVariant.merge_safe(module, active_adapter, orig_weight.data)

    @staticmethod
    def unmerge(module: LoraLayer, active_adapter: str, orig_weight: torch.Tensor) -> torch.Tensor:
        """Return the weight without what was merged, whatever rank and factors are now."""
        variant = _variant(module, active_adapter)
        merged, variant.merged = variant.merged, None
        if merged is None:
            return orig_weight.data
        return orig_weight.data - product(module, *merged).to(orig_weight.dtype)

    @staticmethod
    def forward(
        module: LoraLayer, active_adapter: str, x: torch.Tensor, result: torch.Tensor, **_: Any
    ) -> torch.Tensor:
        """Return what a plain LoRA does, from the layer's parts; the mask is in A."""
        down, up = module.lora_A[active_adapter], module.lora_B[active_adapter]
        dropout = module.lora_dropout[active_adapter]
        return result + up(down(dropout(x))) * module.scaling[active_adapter]


def _variant(layer: LoraLayer, adapter: str) -> MaskedVariant:
    return cast(MaskedVariant, layer.lora_variant[adapter])
