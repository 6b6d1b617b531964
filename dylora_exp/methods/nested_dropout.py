"""Nested dropout's objective (Table 7): every step sums the loss over all ranks.

``L = sum over b of w_b L_b`` with ``L_b`` the loss at rank b (Eq. 7). ``method.loss_weights`` is
``uniform`` (each w_b = 1/n, so that the step is as long as that of one rank) or ``distribution``,
the probabilities of the ranks group, whose expected step DyLoRA takes. Ranks are stacked into one
batch as far as ``method.examples_per_pass`` allows, and the rest is done in further passes whose
gradients add up; this changes memory and time and not the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from dylora_exp.adapters import RankMask, install_mask
from dylora_exp.config import Config
from dylora_exp.methods.base import Batch, ForwardPass, MeanLoss, TrainedModel
from dylora_exp.methods.lora import LoRA


class NestedDropout(LoRA):
    """LoRA trained at all ranks in each optimizer step."""

    mask: RankMask

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        values = self.ranks.values
        if config.method.loss_weights == "uniform":
            self.weights = dict.fromkeys(values, 1 / len(values))
        else:
            weights = {rank: self.ranks.weights[rank - 1] for rank in values}
            self.weights = {rank: weight for rank, weight in weights.items() if weight > 0}
        if config.method.budget == "passes":
            self.steps_share = 1 / len(self.weights)

    def attach(self, backbone: PreTrainedModel) -> TrainedModel:
        """Return the backbone with masked LoRA at rank r_max."""
        model = super().attach(backbone)
        self.mask = install_mask(model, self.ranks.r_max)
        return model

    def forward_passes(self, batch: Batch) -> Iterator[ForwardPass]:
        """Stack as many ranks as fit into a pass."""
        ranks, size = list(self.weights), len(batch.own)
        together = max(1, self.config.method.examples_per_pass // size)
        for start in range(0, len(ranks), together):
            self.stacked = ranks[start : start + together]
            each = [rank for rank in self.stacked for _ in range(size)]
            self.mask.select_each(each, self.config.method.scale)
            yield ForwardPass(is_last=start + together >= len(ranks))

    def loss(self, model: nn.Module, inputs: dict[str, Any], mean_loss: MeanLoss) -> torch.Tensor:
        """Return the weighted sum of the losses of the stacked ranks."""
        count = len(self.stacked)
        repeated = {
            name: value.repeat(count, *[1] * (value.dim() - 1)) for name, value in inputs.items()
        }
        labels = repeated.pop("labels")
        logits = model(**repeated).logits
        parts = zip(self.stacked, logits.chunk(count), labels.chunk(count), strict=True)
        losses = [self.weights[rank] * mean_loss(*part) for rank, *part in parts]
        return torch.stack(losses).sum()
