"""The step of Sorted LoRA at which all factors are rotated into their singular basis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer
from transformers import TrainerCallback, TrainerState

from dylora_exp.adapters import lora_layers, rotate


class Rotation(TrainerCallback):
    """Rotates all factors before one step, which depends on the number of steps alone.

    Args:
        model: A model with adapters.
        share: The share of all steps that come before.
        reset: Called with the optimizer once the factors are others.

    Attributes:
        step: The 0-based step, known when training begins.
    """

    def __init__(self, model: nn.Module, share: float, reset: Callable[[Optimizer], None]) -> None:
        self.model = model
        self.share = share
        self.reset = reset
        self.step = 0

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Find the step, with at least one before it: untrained factors have no basis."""
        self.step = max(1, min(round(self.share * state.max_steps), state.max_steps - 1))

    def on_step_begin(self, args: Any, state: TrainerState, control: Any, **objects: Any) -> None:
        """Rotate before the step that was found."""
        if state.global_step == self.step:
            for layer in lora_layers(self.model):
                rotate(layer)
            self.reset(objects["optimizer"])
