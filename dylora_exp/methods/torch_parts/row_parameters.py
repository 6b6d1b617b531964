"""The rows of every A and columns of every B, each trained or frozen by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerState

from dylora_exp.adapters import RankMask, factors, lora_layers


class RowParameters:
    """The rows of every A and columns of every B as leaf views of the same storage.

    An optimizer that owns the views treats each row and column as a parameter of its own, and skips
    those without a gradient: no momentum, no weight decay, not a bit changed.
    """

    def __init__(self, model: nn.Module) -> None:
        self.of: dict[nn.Parameter, int] = {}
        self.views: dict[nn.Parameter, list[nn.Parameter]] = {}
        for layer in lora_layers(model):
            for parameter, dim in zip(factors(layer), (0, 1), strict=True):
                self.of[parameter] = dim

    def split(self, parameters: list[nn.Parameter]) -> list[nn.Parameter]:
        """Return the parameters with each factor replaced by its rows or columns."""
        result = []
        for parameter in parameters:
            if parameter in self.of:
                slices = parameter.data.unbind(self.of[parameter])
                self.views[parameter] = [nn.Parameter(piece) for piece in slices]
                result += self.views[parameter]
            else:
                result.append(parameter)
        return result

    def hand_over(self, active: set[int]) -> None:
        """Give each active row and column its gradient and take it from all others."""
        for parameter, views in self.views.items():
            if views[0].data_ptr() != parameter.data_ptr():  # the model was moved
                pieces = parameter.data.unbind(self.of[parameter])
                for view, piece in zip(views, pieces, strict=True):
                    view.data = piece
            gradient = parameter.grad
            for index, view in enumerate(views):
                has_one = gradient is not None and index in active
                view.grad = gradient.select(self.of[parameter], index) if has_one else None  # type: ignore[union-attr]


class StrictFreeze(TrainerCallback):
    """Hands the gradients of the active rows and columns to the optimizer's views.

    Args:
        rows: Of all adapters.
        active: Returns the 0-based indices of those that the step moves.
    """

    def __init__(self, rows: RowParameters, active: Callable[[], set[int]]) -> None:
        self.rows = rows
        self.active = active

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After clipping, which must see the gradients where the backward pass left them."""
        self.rows.hand_over(self.active())


class RowRates(TrainerCallback):
    """Multiplies the updates of the rows of every A and columns of every B, each by its own rate.

    Args:
        model: A model with adapters.
        rates: Returns the rates of all rows at a 0-based step.
    """

    def __init__(self, model: nn.Module, rates: Callable[[int], list[float]]) -> None:
        self.factors = [
            pair
            for layer in lora_layers(model)
            for pair in zip(factors(layer), (0, 1), strict=True)
        ]
        self.rates = rates
        self.before: list[torch.Tensor] = []

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Keep the factors as they are before the step."""
        self.before = [factor.detach().clone() for factor, _ in self.factors]

    @torch.no_grad()
    def on_optimizer_step(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Move the factors on from there by the rates times the step; 1 changes no bit."""
        rates = self.rates(state.global_step)
        for (factor, dim), before in zip(self.factors, self.before, strict=True):
            weights = factor.new_tensor(rates).unsqueeze(1 - dim)
            factor.data.copy_(before.lerp(factor.data, weights))
        self.before = []


def pass_gradient_of_row_only(model: nn.Module, mask: RankMask) -> None:
    """Zero the weight gradients of all rows and columns but b (Eq. 10).

    The gradients of activations still flow through the lower rows.
    """

    def keep(gradient: torch.Tensor, dim: int) -> torch.Tensor:
        kept = torch.zeros_like(gradient)
        (rank,) = mask.ranks
        index = rank - 1
        kept.select(dim, index).copy_(gradient.select(dim, index))
        return kept

    for layer in lora_layers(model):
        a, b = factors(layer)
        a.register_hook(lambda gradient: keep(gradient, 0))
        b.register_hook(lambda gradient: keep(gradient, 1))
