"""MatryoshkaLoRA (arXiv 2605.07850): all ranks trained at once by a fixed diagonal.

The sum of the adapters of all listed ranks, ``sum over r of s(r) B[:, :r] A[:r] x``, is one
product ``B P A x`` with ``P_i`` the sum of s(r) over the listed ranks r >= i. The listed ranks are
``ranks.values``, all of 1..r_max by default. ``method.scale`` is s(r): alpha/r of each listed rank
(``alpha/b``), alpha/sqrt(r) of each (``alpha/sqrt(b)``), or alpha/r_max for all (``alpha/r``). The
authors' code has no alpha; its s(r) are 1/r and 1/sqrt(r) at ``alpha=1`` and 1 at ``alpha=r_max``.

A lower rank b is cut from it in two ways:

- ``leading`` at ``alpha/r`` keeps the diagonal: the first b terms of the product that was trained,
  ``B[:, :b] P[:b, :b] A[:b] x``. At r_max it is the model of training.
- ``unweighted`` leaves the diagonal out: rank b is ``s(b) B[:, :b] A[:b] x`` with the scale of the
  cut as s(b), at r_max, too. So the authors' code scores what it has trained; it is one term of the
  sum that was trained, never trained alone.

P makes the product several times larger than LoRA's at the same alpha: with ranks 1..8 its first
entry is 21.7 times alpha/8 for ``alpha/b`` and 8 times for ``alpha/r``.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dylora_exp import adapters
from dylora_exp.config import UNWEIGHTED, Ranks, Scale, relative_factor
from dylora_exp.methods.base import Cut, TrainedModel
from dylora_exp.methods.lora import LoRA, LoRASettings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class MatryoshkaSettings(LoRASettings):
    """LoRA's settings; ``scale`` is that of each listed rank."""

    kind: str = "matryoshka"


def diagonal(ranks: Ranks, scale: Scale) -> torch.Tensor:
    """Return P relative to the adapter's own factor, shape (r_max,), float64.

    Args:
        ranks: The listed ranks are their values.
        scale: s(r) of each; the adapter's own factor is that of r_max.
    """
    import torch

    weights = torch.zeros(ranks.r_max, dtype=torch.float64)
    rslora = scale == "alpha/sqrt(b)"
    for rank in ranks.values:
        weights[:rank] += relative_factor(scale, rank, ranks.r_max, rslora)
    return weights


class MatryoshkaLoRA(LoRA):
    """LoRA with a fixed diagonal between its factors."""

    settings_class = MatryoshkaSettings
    settings: MatryoshkaSettings
    scales = typing.get_args(Scale)
    mask: adapters.RankMask

    @classmethod
    def cut_problems(cls, method: LoRASettings) -> list[str]:
        """Return what does not fit the diagonal: another truncation, or another scale with it."""
        kept = {(cut.truncation, cut.scale) for cut in method.score if cut.truncation != UNWEIGHTED}
        if kept - {("leading", "alpha/r")}:
            return [
                "method.score: the diagonal of method 'matryoshka' belongs to rows and columns in "
                "their order at its own scale, expected truncation leading, scale alpha/r, or "
                "truncation unweighted, which leaves it out."
            ]
        return super().repeated_cuts(method)

    def attach(self, backbone: PreTrainedModel) -> TrainedModel:
        """Return the backbone with LoRA at rank r_max and the diagonal."""
        model = super().attach(backbone)
        self.mask = adapters.install_mask(model, self.ranks.r_max)
        self.mask.weigh(self.row_scale(), self.ranks.r_max)
        return model

    def cut_remark(self, truncation: str | None) -> str:
        """Return whether the diagonal of training is in a cut."""
        if truncation == UNWEIGHTED:
            return (
                "The diagonal between its factors in training is left out, as its authors' code "
                "scores it."
            )
        return "The diagonal between its factors in training is kept, multiplied into A."

    def row_scale(self) -> torch.Tensor:
        """Return the diagonal relative to the adapter's own factor."""
        return diagonal(self.ranks, self.settings.scale)

    @contextmanager
    def at_cut(self, model: TrainedModel, cut: Cut) -> Iterator[None]:
        """Show the model cut to its first rows and columns, with the diagonal or without."""
        assert cut.rank is not None
        assert cut.scale is not None
        try:
            if cut.truncation == UNWEIGHTED:
                self.mask.select(cut.rank, cut.scale)
            else:
                weights = self.row_scale()
                weights[cut.rank :] = 0
                self.mask.weigh(weights, cut.rank)
            yield
        finally:
            self.mask.weigh(self.row_scale(), self.ranks.r_max)
