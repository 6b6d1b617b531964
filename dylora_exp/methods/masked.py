"""LoRA behind a mask of its rows, as the methods have it that train lower ranks."""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, ClassVar

from dylora_exp import adapters
from dylora_exp.config import Scale
from dylora_exp.methods.base import TrainedModel
from dylora_exp.methods.lora import LoRA, LoRASettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class DrawnRanksSettings(LoRASettings):
    """LoRA's settings, of a method that draws ranks in training."""

    @property
    def trains_ranks(self) -> bool:
        """True: those that are drawn."""
        return True

    @property
    def unused_ranks(self) -> frozenset[str]:
        """None: ranks are drawn."""
        return frozenset()


class MaskedLoRA(LoRA):
    """LoRA whose rows in the order of the mask are trained; no method by itself."""

    truncations: ClassVar[tuple[str, ...]] = ("leading", "svd")
    scales: ClassVar[tuple[str, ...]] = typing.get_args(Scale)
    mask: adapters.RankMask

    @property
    def mixes_ranks(self) -> bool:
        """Whether a pass has examples at different ranks, which not every model can compute."""
        return self.config.ranks.sample_every == "example"

    def attach(self, backbone: PreTrainedModel) -> TrainedModel:
        """Return the backbone with masked LoRA at rank r_max."""
        model = super().attach(backbone)
        self.mask = adapters.install_mask(model, self.ranks.r_max)
        if self.mixes_ranks:
            adapters.check_example_ranks(model, self.mask)
        return model
