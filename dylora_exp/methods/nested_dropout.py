"""Nested dropout's objective (Table 7): every step sums the loss over all ranks.

``L = sum over b of w_b L_b`` with ``L_b`` the loss at rank b (Eq. 7). ``method.loss_weights`` is
``uniform`` (each w_b = 1/n, so that the step is as long as that of one rank) or ``distribution``,
the probabilities of the ranks group, whose expected step DyLoRA takes; ``method.loss_power`` k
multiplies each by ``b^k`` before they are made to sum to 1 (the relative importance c_m of the
nested losses in Matryoshka Representation Learning, arXiv 2205.13147, eq. 1).

Ranks are stacked into one batch as far as ``method.examples_per_pass`` allows, and the rest is done
in further passes whose gradients add up; this changes memory and time and not the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from dylora_exp.config import WEIGHTS, Config, Count, Mark
from dylora_exp.methods.base import Batch, ForwardPass, MeanLoss, repeated
from dylora_exp.methods.lora import LoRASettings
from dylora_exp.methods.masked import MaskedLoRA

if TYPE_CHECKING:
    import torch
    from torch import nn


class NestedDropoutSettings(LoRASettings):
    """The weights of the ranks' losses, and how many steps and examples a pass is made of."""

    kind: str = "nested_dropout"
    loss_weights: Literal["uniform", "distribution"] = "uniform"
    loss_power: float = 0.0
    budget: Literal["steps", "passes"] = "steps"
    examples_per_pass: Annotated[Count, Mark.NOT_IDENTITY] = 256

    @property
    def step_cost(self) -> str:
        """That of all ranks in each step."""
        return "all ranks"

    @property
    def trains_ranks(self) -> bool:
        """True: all of them at each step."""
        return True

    @property
    def unused_ranks(self) -> frozenset[str]:
        """How ranks are drawn, but for their weights where those are the losses'."""
        weighed = self.loss_weights == "distribution"
        return super().unused_ranks - (WEIGHTS if weighed else frozenset())


class NestedDropout(MaskedLoRA):
    """LoRA trained at all ranks in each optimizer step."""

    settings_class = NestedDropoutSettings
    settings: NestedDropoutSettings

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        values = self.ranks.values
        if self.settings.loss_weights == "uniform":
            self.weights = dict.fromkeys(values, 1 / len(values))
        else:
            weights = {rank: self.ranks.weights[rank - 1] for rank in values}
            self.weights = {rank: weight for rank, weight in weights.items() if weight > 0}
        if power := self.settings.loss_power:
            powers = {rank: weight * rank**power for rank, weight in self.weights.items()}
            self.weights = {rank: each / sum(powers.values()) for rank, each in powers.items()}
        if self.settings.budget == "passes":
            self.steps_share = 1 / len(self.weights)

    @property
    def mixes_ranks(self) -> bool:
        """True: ranks are stacked into one pass."""
        return True

    def forward_passes(self, batch: Batch) -> Iterator[ForwardPass]:
        """Yield the passes over all ranks, as many ranks stacked in each as fit."""
        ranks, size = list(self.weights), len(batch.own)
        together = max(1, self.settings.examples_per_pass // size)
        for start in range(0, len(ranks), together):
            self.stacked = ranks[start : start + together]
            each = [rank for rank in self.stacked for _ in range(size)]
            self.mask.select_each(each, self.settings.scale)
            yield ForwardPass(is_last=start + together >= len(ranks))

    def loss(self, model: nn.Module, inputs: dict[str, Any], mean_loss: MeanLoss) -> torch.Tensor:
        """Return the weighted sum of the losses of the stacked ranks."""
        import torch

        count = len(self.stacked)
        stacked = repeated(inputs, count)
        labels = stacked.pop("labels")
        logits = model(**stacked).logits
        parts = zip(self.stacked, logits.chunk(count), labels.chunk(count), strict=True)
        losses = [self.weights[rank] * mean_loss(*part) for rank, *part in parts]
        return torch.stack(losses).sum()
