"""Sorted LoRA (experimental, ours): LoRA first, then its factors in order of singular value.

For ``method.share`` of the steps this is LoRA at r_max. Then each product ``B A = U S V^T`` is
written as ``A = sqrt(S) V^T``, ``B = U sqrt(S)``. The function stays what it was, and the first b
rows and columns now are its best rank-b approximation (Eckart-Young). Training continues from there
with ranks drawn as the ranks group says (by default for each example, half of them at r_max), at
the constant scale alpha/r: a lower rank is the same sum with its last terms left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from dylora_exp import adapters
from dylora_exp.config import Config, OpenShare
from dylora_exp.core import RequestError
from dylora_exp.methods.base import Batch, ForwardPass, TrainedModel
from dylora_exp.methods.dylora import DyLoRA, DyLoRASettings

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer
    from transformers import TrainerCallback


class SortedLoRASettings(DyLoRASettings):
    """The share of the steps before the rotation, and what becomes of AdamW's moments at it."""

    kind: str = "sorted_lora"
    share: OpenShare = 0.8
    optimizer_state: Literal["reset", "keep"] = "reset"


class SortedLoRA(DyLoRA):
    """LoRA whose factors are rotated into their singular basis, then trained at many ranks."""

    settings_class = SortedLoRASettings
    settings: SortedLoRASettings

    @classmethod
    def problems(cls, config: Config) -> list[str]:
        """Return what does not go together: two parts need two steps."""
        found = super().problems(config)
        if config.trainer.max_steps == 1:
            found.append("trainer.max_steps: found 1, method 'sorted-lora' needs at least 2 steps.")
        return found

    def check_steps(self, steps: int) -> None:
        """Refuse a single step, of an epoch with a single batch.

        Raises:
            RequestError: When there is only one.
        """
        if steps < 2:
            raise RequestError(
                f"trainer.epochs: found {self.config.trainer.epochs:g}, which is one optimizer step"
                f" at trainer.batch_size={self.config.trainer.batch_size}, method 'sorted-lora' "
                "needs at least 2 steps."
            )

    def callbacks(self, model: TrainedModel) -> list[TrainerCallback]:
        """Return the rotation, before the callbacks that need the factors of the step."""
        from dylora_exp.methods.torch_parts.rotation import Rotation

        def reset(optimizer: Optimizer) -> None:
            if self.settings.optimizer_state == "reset":
                self.drop_moments(model, optimizer)

        self.rotation = Rotation(model, self.settings.share, reset)
        return [self.rotation, *super().callbacks(model)]

    def forward_passes(self, batch: Batch) -> Iterator[ForwardPass]:
        """Yield a pass at r_max before the rotation, and at drawn ranks from it on."""
        if batch.step >= self.rotation.step:
            yield from super().forward_passes(batch)
        else:
            self.mask.select(self.ranks.r_max, self.settings.scale)
            self.active = set(range(self.ranks.r_max))
            yield ForwardPass(is_last=True)

    def drop_moments(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Drop the optimizer's moments of all factors, which belong to the old basis."""
        for layer in adapters.lora_layers(model):
            for factor in adapters.factors(layer):
                views = self.rows.views.get(factor, []) if self.rows else []
                for parameter in (factor, *views):
                    optimizer.state.pop(parameter, None)
