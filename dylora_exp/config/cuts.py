"""The ways to cut a lower rank from trained factors: what a config may name.

A scale says what the product of rank b is multiplied by, of an adapter trained at rank r:

- ``alpha/r``: the adapter's own factor, that of PEFT: alpha / r, or alpha / sqrt(r) for rsLoRA.
- ``alpha/b``: its own factor times r / b, which is alpha / b but for rsLoRA.
- ``alpha/sqrt(b)``: alpha / sqrt(b), rsLoRA's factor (arXiv 2312.03732) at rank b.
"""

from __future__ import annotations

import math
from typing import Literal

from dylora_exp.core import StrictModel

Scale = Literal["alpha/b", "alpha/r", "alpha/sqrt(b)"]
Truncation = Literal["leading", "svd", "energy", "global", "activation", "gradient", "unweighted"]
# Truncations that give each layer a rank of its own, and those that are measured on examples.
RANKS_PER_LAYER: frozenset[str] = frozenset({"energy", "global", "gradient"})
CALIBRATED: frozenset[str] = frozenset({"activation", "gradient"})
# Of factors that were trained with weights between them: the leading rows without the weights.
UNWEIGHTED: Truncation = "unweighted"


class CutConfig(StrictModel):
    """How a lower rank is made from trained factors."""

    truncation: Truncation = "leading"
    scale: Scale = "alpha/b"

    def __str__(self) -> str:
        return f"{self.truncation} {self.scale}"


def relative_factor(scale: Scale, rank: int, r: int, rslora: bool = False) -> float:
    """Return what the product of a rank is multiplied by, relative to the adapter's own factor.

    Args:
        scale: The scale.
        rank: That of the product, b in 1..r.
        r: The rank of the adapter.
        rslora: Whether its own factor is alpha / sqrt(r), not alpha / r.
    """
    if scale == "alpha/b":
        return r / rank
    if scale == "alpha/sqrt(b)":
        return math.sqrt(r / rank) if rslora else r / math.sqrt(rank)
    return 1.0


def plain_alpha(numerator: float, scale: Scale, rank: int, r: int, rslora: bool = False) -> float:
    """Return the ``lora_alpha`` with which a plain LoRA of a rank has the factor of a scale.

    Plain is PEFT's ``lora_alpha / r`` of its own rank, the one that every server knows.

    Args:
        numerator: The adapter's own factor times r.
        scale: As in ``relative_factor``.
        rank: As in ``relative_factor``, or 0.
        r: As in ``relative_factor``.
        rslora: As in ``relative_factor``.
    """
    if scale == "alpha/b":
        return numerator
    if scale == "alpha/r":
        return numerator * (rank / r)
    alpha = numerator * math.sqrt(rank / r if rslora else rank)
    # A product of roots may miss a whole number by a rounding error.
    whole = round(alpha)
    return float(whole) if math.isclose(alpha, whole, rel_tol=1e-12) else alpha


def cut_name(truncation: str | None, scale: str | None = None) -> str:
    """Return the name of a cut in print, as ``SVD, α/r``; empty of neither."""
    words = [
        "SVD" if truncation == "svd" else truncation,
        (scale or "").replace("alpha", "α").replace("sqrt(b)", "√b"),
    ]
    return ", ".join(filter(None, words))
