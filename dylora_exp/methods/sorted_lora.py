"""Sorted LoRA (experimental, ours): LoRA first, then its factors in order of singular value.

For ``method.share`` of the steps this is LoRA at r_max. Then each product ``B A = U S V^T`` is
written as ``A = sqrt(S) V^T``, ``B = U sqrt(S)``. The function stays what it was, and the first b
rows and columns now are its best rank-b approximation (Eckart-Young). Training goes on from there
with ranks drawn as the ranks group says (by default for each example, half of them at r_max), at
the constant scale alpha/r: a lower rank is the same sum with its last terms left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.optim import Optimizer
from transformers import TrainerCallback, TrainerState

from dylora_exp.adapters import factors, lora_layers, rotate
from dylora_exp.config import Config
from dylora_exp.methods.base import Batch, ForwardPass, TrainedModel
from dylora_exp.methods.dylora import DyLoRA


class SortedLoRA(DyLoRA):
    """LoRA whose factors are rotated into their singular basis, then trained at many ranks."""

    @classmethod
    def problems(cls, config: Config) -> list[str]:
        """Return what does not go together: two parts need two steps."""
        found = super().problems(config)
        if config.trainer.max_steps == 1:
            found.append("trainer.max_steps: found 1, method 'sorted-lora' needs at least 2 steps.")
        return found

    def callbacks(self, model: TrainedModel) -> list[TrainerCallback]:
        """Return the rotation, before everything else that a step begins with."""
        self.rotation = Rotation(model, self)
        return [self.rotation, *super().callbacks(model)]

    def forward_passes(self, batch: Batch) -> Iterator[ForwardPass]:
        """Work at r_max before the rotation and at drawn ranks from it on."""
        if batch.step >= self.rotation.step:
            yield from super().forward_passes(batch)
        else:
            self.mask.select(self.ranks.r_max, self.config.method.scale)
            self.active = set(range(self.ranks.r_max))
            yield ForwardPass(is_last=True)

    def forget(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Drop the optimizer's moments of all factors, which belong to the old basis."""
        for layer in lora_layers(model):
            for factor in factors(layer):
                views = self.rows.views.get(factor, []) if self.rows else []
                for parameter in (factor, *views):
                    optimizer.state.pop(parameter, None)


class Rotation(TrainerCallback):
    """Rotates all factors before one step, which depends on the number of steps alone."""

    def __init__(self, model: TrainedModel, method: SortedLoRA) -> None:
        self.model = model
        self.method = method
        self.step = 0

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Find the step, with at least one before it: untrained factors have no basis."""
        share = self.method.config.method.share
        self.step = max(1, min(round(share * state.max_steps), state.max_steps - 1))

    def on_step_begin(
        self, args: Any, state: TrainerState, control: Any, optimizer: Optimizer, **_: Any
    ) -> None:
        """Rotate where it is time."""
        if state.global_step == self.step:
            for layer in lora_layers(self.model):
                rotate(layer)
            if self.method.config.method.optimizer_state == "reset":
                self.method.forget(self.model, optimizer)
