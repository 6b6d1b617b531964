"""The step of Sorted LoRA at which all factors are rotated into their singular basis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer
from transformers import TrainerCallback, TrainerState

from dylora_exp.adapters import lora_layers, rotate

if TYPE_CHECKING:
    from dylora_exp.methods.sorted_lora import SortedLoRA


class Rotation(TrainerCallback):
    """Rotates all factors before one step, which depends on the number of steps alone."""

    def __init__(self, model: nn.Module, method: SortedLoRA) -> None:
        self.model = model
        self.method = method
        self.step = 0

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Find the step, with at least one before it: untrained factors have no basis."""
        share = self.method.settings.share
        self.step = max(1, min(round(share * state.max_steps), state.max_steps - 1))

    def on_step_begin(
        self, args: Any, state: TrainerState, control: Any, optimizer: Optimizer, **_: Any
    ) -> None:
        """Rotate before the step that was found."""
        if state.global_step == self.step:
            for layer in lora_layers(self.model):
                rotate(layer)
            if self.method.settings.optimizer_state == "reset":
                self.method.forget(self.model, optimizer)
