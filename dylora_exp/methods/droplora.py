"""DropLoRA as a control: DyLoRA with random subsets of b rows and columns instead of the first b.

Rank b is drawn as by DyLoRA, then a subset S of 1..r_max with b members, all equally likely:
``h = W0 x + (alpha/b) sum over i in S of B_i A_i x``, the same S in all layers. (DropLoRA, arXiv
2508.17337, masks each of the r products by itself in every layer, and uses all of them when it is
scored.) What DyLoRA's order of rows is worth is the difference between the two: here no row comes
before another, so that the first b rows, which are scored, stand for any b of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dylora_exp.core import draw_permutation
from dylora_exp.methods.base import Batch, ForwardPass
from dylora_exp.methods.masked import DrawnRanksSettings, MaskedLoRA

if TYPE_CHECKING:
    import torch


class DropLoRASettings(DrawnRanksSettings):
    """The product's scale."""

    kind: str = "droplora"


class DropLoRA(MaskedLoRA):
    """LoRA trained with a random subset of its rows, of a size drawn for each optimizer step."""

    settings_class = DropLoRASettings
    settings: DropLoRASettings

    def forward_passes(self, batch: Batch) -> Iterator[ForwardPass]:
        """Yield a pass with the subset drawn for the step, for this part of it, or each example."""
        ranks = self.draw_and_count(batch)
        if self.config.ranks.sample_every == "example":
            pairs = [(ranks[index], self.order(batch, batch.first + index)) for index in batch.own]
            weights = [self.weights(*pair) for pair in pairs]
            import torch

            self.mask.weigh_each(torch.stack(weights), [rank for rank, _ in pairs])
        else:
            (rank,) = ranks
            each = self.config.ranks.sample_every == "micro_batch"
            order = self.order(batch, batch.index if each else None)
            self.mask.weigh(self.weights(rank, order), rank)
        yield ForwardPass(is_last=True)

    def order(self, batch: Batch, index: int | None) -> list[int]:
        """Return the indices of all rows in a random order; the first b of them are a subset.

        Args:
            batch: Of the step.
            index: Of a micro-batch or an example in the step, where each has a subset of its own.
        """
        parts = (
            (self.config.seed, batch.step)
            if index is None
            else (self.config.seed, batch.step, index)
        )
        return draw_permutation(self.ranks.r_max, *parts, "rows")

    def weights(self, rank: int, order: Sequence[int]) -> torch.Tensor:
        """Return the mask of the first rows of an order, shape (r_max,)."""
        row = self.mask.row(rank, self.settings.scale)
        weights = row.new_zeros(len(row))
        weights[list(order)] = row
        return weights
