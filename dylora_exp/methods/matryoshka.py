"""MatryoshkaLoRA (arXiv 2605.07850): all ranks trained at once by a fixed diagonal.

The sum of the adapters of all listed ranks, ``sum over r of s(r) B[:, :r] A[:r] x``, is one
product ``B P A x`` with ``P_i`` the sum of s(r) over the listed ranks r >= i. The listed ranks are
``ranks.values``, all of 1..r_max by default; ``method.scale`` says whether s(r) is alpha/r of each
listed rank (``alpha/b``) or alpha/r_max for all (``alpha/r``). A lower rank b keeps the first b
rows and columns of the product as it was trained: ``B[:, :b] P[:b, :b] A[:b] x``.

P makes the product several times larger than LoRA's at the same alpha: with ranks 1..8 its first
entry is 21.7 times alpha/8 for ``alpha/b`` and 8 times for ``alpha/r``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dylora_exp import adapters
from dylora_exp.config import Ranks, Scale
from dylora_exp.methods.base import Cut, TrainedModel
from dylora_exp.methods.lora import LoRA, LoRASettings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class MatryoshkaSettings(LoRASettings):
    """The scale of each listed rank."""

    kind: str = "matryoshka"
    scale: Scale = "alpha/b"

    @property
    def trains_ranks(self) -> bool:
        """True: the diagonal sums over all of them."""
        return True


def diagonal(ranks: Ranks, scale: Scale) -> torch.Tensor:
    """Return P relative to alpha/r_max, shape (r_max,), float64."""
    import torch

    weights = torch.zeros(ranks.r_max, dtype=torch.float64)
    for rank in ranks.values:
        weights[:rank] += ranks.r_max / rank if scale == "alpha/b" else 1.0
    return weights


class MatryoshkaLoRA(LoRA):
    """LoRA with a fixed diagonal between its factors."""

    settings_class = MatryoshkaSettings
    settings: MatryoshkaSettings
    mask: adapters.RankMask

    @classmethod
    def cut_problems(cls, method: LoRASettings) -> list[str]:
        """Return what does not fit the diagonal: another truncation or scale."""
        cuts = {(cut.truncation, cut.scale) for cut in method.score}
        if cuts - {("leading", "alpha/r")}:
            return [
                "method.score: the diagonal of method 'matryoshka' belongs to rows and columns in "
                "their order at its own scale, expected truncation leading, scale alpha/r."
            ]
        return super().cut_problems(method)

    def attach(self, backbone: PreTrainedModel) -> TrainedModel:
        """Return the backbone with LoRA at rank r_max and the diagonal."""
        model = super().attach(backbone)
        self.mask = adapters.install_mask(model, self.ranks.r_max)
        self.mask.weigh(self.row_scale(), self.ranks.r_max)
        return model

    def row_scale(self) -> torch.Tensor:
        """Return the diagonal relative to alpha/r_max."""
        return diagonal(self.ranks, self.settings.scale)

    @contextmanager
    def at_cut(self, model: TrainedModel, cut: Cut) -> Iterator[None]:
        """Show the model cut to its first rows and columns."""
        assert cut.rank is not None
        weights = self.row_scale()
        weights[cut.rank :] = 0
        try:
            self.mask.weigh(weights, cut.rank)
            yield
        finally:
            self.mask.weigh(self.row_scale(), self.ranks.r_max)
