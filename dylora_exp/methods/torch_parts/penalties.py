"""Terms of the loss that depend on the factors alone."""

from __future__ import annotations

import torch
from torch import nn

from dylora_exp.adapters import factors, lora_layers


def half_squared_norms(model: nn.Module) -> torch.Tensor:
    """Return ``(||A||_F^2 + ||B||_F^2) / 2`` summed over all adapted layers, a scalar."""
    squares = [each.square().sum() for layer in lora_layers(model) for each in factors(layer)]
    return torch.stack(squares).sum() / 2
