"""The ways to cut a lower rank from trained factors: what a config may name."""

from __future__ import annotations

from typing import Literal

from dylora_exp.core import StrictModel

Scale = Literal["alpha/b", "alpha/r"]
Truncation = Literal["leading", "svd", "energy", "global", "activation", "gradient"]
# Truncations that give each layer a rank of its own, and those that are measured on examples.
RANKS_PER_LAYER: frozenset[str] = frozenset({"energy", "global", "gradient"})
CALIBRATED: frozenset[str] = frozenset({"activation", "gradient"})


class CutConfig(StrictModel):
    """How a lower rank is made from trained factors."""

    truncation: Truncation = "leading"
    scale: Scale = "alpha/b"

    def __str__(self) -> str:
        return f"{self.truncation} {self.scale}"


def cut_name(truncation: str | None, scale: str | None = None) -> str:
    """Return the name of a cut in print, as ``SVD, α/r``; empty of neither."""
    words = ["SVD" if truncation == "svd" else truncation, (scale or "").replace("alpha", "α")]
    return ", ".join(filter(None, words))
