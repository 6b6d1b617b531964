"""Distillation from r_max to a drawn rank, in the pass that trains r_max.

Each example is twice in the batch, at r_max and at a rank b drawn for it as by DyLoRA:
``L = CE(f_r, y) + lambda D(f_r, f_b)`` with f_b the outputs at rank b and
``D(f_r, f_b) = KL(softmax(f_r) || softmax(f_b))``, f_r without a gradient (Hinton, Vinyals and Dean
2015, section 2, at temperature 1; in place and for nested widths: US-Nets, Yu and Huang 2019,
arXiv 1903.05134, section 3.3). For numbers, D is ``(f_r - f_b)^2``; for texts, the mean over their
tokens. A step costs what two forward passes cost. An example whose rank is r_max has D = 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dylora_exp.config import Positive
from dylora_exp.methods.base import Batch, ForwardPass, MeanLoss, repeated
from dylora_exp.methods.masked import DrawnRanksSettings, MaskedLoRA

if TYPE_CHECKING:
    import torch
    from torch import nn


class DistilledSettings(DrawnRanksSettings):
    """The products' scale, and lambda."""

    kind: str = "distilled"

    @property
    def step_cost(self) -> str:
        """That of two ranks, the teacher's and the drawn one."""
        return "two ranks"

    distillation: Positive = 1.0


class Distilled(MaskedLoRA):
    """LoRA trained at r_max, whose lower ranks learn its outputs."""

    settings_class = DistilledSettings
    settings: DistilledSettings

    @property
    def mixes_ranks(self) -> bool:
        """True: each example is in a pass at r_max and at its rank."""
        return True

    def forward_passes(self, batch: Batch) -> Iterator[ForwardPass]:
        """Yield one pass over all examples at r_max and then at their drawn ranks."""
        ranks, own = self.draw_and_count(batch), batch.own
        drawn = ranks * len(own) if len(ranks) == 1 else [ranks[index] for index in own]
        self.mask.select_each([self.ranks.r_max] * len(own) + drawn, self.settings.scale)
        yield ForwardPass(is_last=True)

    def loss(self, model: nn.Module, inputs: dict[str, Any], mean_loss: MeanLoss) -> torch.Tensor:
        """Return the loss at r_max plus lambda times the divergence of the drawn ranks from it."""
        assert self.divergence is not None
        twice = repeated(inputs, 2)
        del twice["labels"]
        full, drawn = model(**twice).logits.chunk(2)
        distance = self.divergence(drawn, full.detach(), inputs["labels"])
        return mean_loss(full, inputs["labels"]) + self.settings.distillation * distance
