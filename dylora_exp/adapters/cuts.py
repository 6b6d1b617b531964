"""Cuts: how a lower rank is made from trained factors."""

from __future__ import annotations

from dataclasses import dataclass

from dylora_exp.config import Scale, Truncation


@dataclass(frozen=True)
class Cut:
    """A rank and how it is cut from the trained factors; all None for a method without ranks."""

    rank: int | None = None
    truncation: Truncation | None = None
    scale: Scale | None = None
