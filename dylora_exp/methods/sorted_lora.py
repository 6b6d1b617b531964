"""Sorted LoRA (experimental, ours): LoRA first, then its factors in order of singular value.

For ``method.share`` of the steps this is LoRA at r_max. Then each product ``B A = U S V^T`` is
written as ``A = sqrt(S) V^T``, ``B = U sqrt(S)``. The function stays what it was, and the first b
rows and columns now are its best rank-b approximation (Eckart-Young). Training continues from there
with ranks drawn as the ranks group says (by default for each example, half of them at r_max), at
the constant scale alpha/r: a lower rank is the same sum with its last terms left out.

``method.sort_again`` names further shares of the steps at which the factors are rotated again,
since the rows that training has moved are in that order no longer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dylora_exp.config import Config, OpenShare
from dylora_exp.core import RequestError
from dylora_exp.methods.base import Batch, ForwardPass, TrainedModel
from dylora_exp.methods.dylora import DyLoRA, DyLoRASettings

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from transformers import TrainerCallback


class SortedLoRASettings(DyLoRASettings):
    """The share of the steps before the rotation, and what becomes of AdamW's moments at it.

    ``sort_again`` are the shares before further rotations, ascending.
    """

    kind: str = "sorted_lora"
    share: OpenShare = 0.8
    sort_again: list[OpenShare] = Field(default_factory=list)
    optimizer_state: Literal["reset", "keep"] = "reset"


class SortedLoRA(DyLoRA):
    """LoRA whose factors are rotated into their singular basis, then trained at many ranks."""

    settings_class = SortedLoRASettings
    settings: SortedLoRASettings

    @classmethod
    def problems(cls, config: Config) -> list[str]:
        """Return what does not go together: shares out of order, and parts without a step each."""
        found, method = super().problems(config), config.method
        assert isinstance(method, SortedLoRASettings)
        shares = [method.share, *method.sort_again]
        if any(one >= other for one, other in itertools.pairwise(shares)):
            shown = ", ".join(f"{share:g}" for share in method.sort_again)
            found.append(
                f"method.sort_again: found [{shown}], expected ascending shares above method.share "
                f"({method.share:g})."
            )
        steps, needed = config.trainer.max_steps, len(shares) + 1
        if steps is not None and steps < needed:
            found.append(f"trainer.max_steps: found {steps}, {_too_few(config, needed)}")
        return found

    def check_steps(self, steps: int) -> None:
        """Refuse fewer steps than there are parts, such as an epoch with a single batch.

        Raises:
            RequestError: When there are fewer.
        """
        needed = len(self.settings.sort_again) + 2
        if steps < needed:
            found = "one optimizer step" if steps == 1 else f"{steps} optimizer steps"
            raise RequestError(
                f"trainer.epochs: found {self.config.trainer.epochs:g}, which is {found} at "
                f"trainer.batch_size={self.config.trainer.batch_size}, "
                f"{_too_few(self.config, needed)}"
            )

    def callbacks(self, model: TrainedModel) -> list[TrainerCallback]:
        """Return the rotations, before the callbacks that need the factors of the step."""
        from dylora_exp.methods.torch_parts.rotation import Rotation, drop_moments

        def reset(_: int, optimizer: Optimizer) -> None:
            if self.settings.optimizer_state == "reset":
                drop_moments(model, optimizer, self.rows.views if self.rows else None)

        shares = [self.settings.share, *self.settings.sort_again]
        self.rotation = Rotation(model, shares, reset)
        return [self.rotation, *super().callbacks(model)]

    def forward_passes(self, batch: Batch) -> Iterator[ForwardPass]:
        """Yield a pass at r_max before the rotation, and at drawn ranks from it on."""
        self.is_sorted = batch.step >= self.rotation.step
        if self.is_sorted:
            yield from super().forward_passes(batch)
        else:
            self.mask.select(self.ranks.r_max, self.settings.scale)
            self.active = set(range(self.ranks.r_max))
            yield ForwardPass(is_last=True)

    def row_rates(self, step: int) -> list[float]:
        """Return the rates of the rows: before the rotation all of them take part in each step."""
        sorted_ = step >= self.rotation.step
        return super().row_rates(step) if sorted_ else [1.0] * self.ranks.r_max

    def pass_weights(self) -> list[float]:
        """Return the weights of the losses: before the rotation there is one rank, of weight 1."""
        return super().pass_weights() if self.is_sorted else [1.0]


def _too_few(config: Config, needed: int) -> str:
    """Return the end of a sentence about too few steps."""
    return f"method '{config.method.name}' needs at least {needed} steps."
