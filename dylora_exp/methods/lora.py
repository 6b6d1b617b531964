"""LoRA trained at r_max (PEFT's own, Eq. 4), then truncated to every rank for scoring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from dylora_exp.adapters import (
    attach_lora,
    factors,
    install_mask,
    lora_layers,
    rotate,
    save_adapter,
)
from dylora_exp.config import Config
from dylora_exp.methods.base import Cut, Method, TrainedModel


class LoRA(Method):
    """Train PEFT's LoRA untouched; the mask comes in only when ranks are scored."""

    @classmethod
    def problems(cls, config: Config) -> list[str]:
        """Return what is missing: a way to score, modules to adapt."""
        found = []
        if not config.method.score:
            found.append("method.score: found an empty list, expected at least one way to score.")
        if not config.model.targets:
            found.append("model.targets: found an empty list, expected the modules to adapt.")
        return found

    def attach(self, backbone: PreTrainedModel) -> TrainedModel:
        """Return the backbone with LoRA at rank r_max."""
        return attach_lora(backbone, self.config)

    def save(self, model: TrainedModel, folder: Path) -> None:
        """Save the adapter at r_max with the head, as PEFT does."""
        save_adapter(model, folder, self.config.model.name_or_path)

    def cuts(self) -> Sequence[Cut]:
        """Return every rank to score, in each way of ``method.score``."""
        return [
            Cut(rank, how.truncation, how.scale)
            for how in self.config.method.score
            for rank in self.ranks.score
        ]

    @contextmanager
    def at_cut(self, model: TrainedModel, cut: Cut) -> Iterator[None]:
        """Show the model at a rank: leading rows and columns, or those of the singular basis."""
        assert cut.rank is not None
        assert cut.scale is not None
        mask = install_mask(model, self.ranks.r_max)
        kept: list[tuple[nn.Parameter, torch.Tensor]] = []
        try:
            mask.select(cut.rank, cut.scale)
            if cut.truncation == "svd":
                for layer in lora_layers(model):
                    kept += [(factor, factor.detach().clone()) for factor in factors(layer)]
                    rotate(layer)
            yield
        finally:
            for parameter, value in kept:
                parameter.data.copy_(value)
            mask.select(self.ranks.r_max, cut.scale)
