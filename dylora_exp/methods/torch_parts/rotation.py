"""The steps at which all factors are rotated into their singular basis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from transformers import TrainerCallback, TrainerState

from dylora_exp.adapters import factors, lora_layers, rotate


class Rotation(TrainerCallback):
    """Rotates all factors before some steps, which depend on the number of steps alone.

    Args:
        model: A model with adapters.
        shares: Ascending; of all steps, those that come before each rotation.
        then: Called with the number of the rotation, from 0, and the optimizer once the factors
            are others.

    Attributes:
        steps: The 0-based steps, ascending, known when training begins.
    """

    def __init__(
        self, model: nn.Module, shares: Sequence[float], then: Callable[[int, Optimizer], None]
    ) -> None:
        self.model = model
        self.shares = shares
        self.then = then
        self.steps = [0] * len(shares)

    @property
    def step(self) -> int:
        """The 0-based step before which the first rotation is."""
        return self.steps[0]

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Find the steps, with at least one before each: untrained factors have no basis."""
        before, count = 0, len(self.shares)
        for number, share in enumerate(self.shares):
            latest = state.max_steps - count + number
            before = max(before + 1, min(round(share * state.max_steps), latest))
            self.steps[number] = before

    def on_step_begin(self, args: Any, state: TrainerState, control: Any, **objects: Any) -> None:
        """Rotate before the steps that were found."""
        if state.global_step in self.steps:
            for layer in lora_layers(self.model):
                rotate(layer)
            self.then(self.steps.index(state.global_step), objects["optimizer"])


def drop_moments(
    model: nn.Module,
    optimizer: Optimizer,
    views: Mapping[nn.Parameter, list[nn.Parameter]] | None = None,
) -> None:
    """Drop the optimizer's moments of all factors, which belong to the old basis.

    Args:
        model: A model with adapters.
        optimizer: The one that trains it.
        views: The rows or columns of a factor that the optimizer has instead of it, if it does.
    """
    for layer in lora_layers(model):
        for factor in factors(layer):
            for parameter in (factor, *(views or {}).get(factor, [])):
                optimizer.state.pop(parameter, None)
