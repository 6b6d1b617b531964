"""Cuts: how a lower rank is made from trained factors."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dylora_exp.config import Scale, Truncation


@dataclass(frozen=True)
class Cut:
    """A rank and how it is cut from the trained factors; all None for a method without ranks."""

    rank: int | None = None
    truncation: Truncation | None = None
    scale: Scale | None = None

    @property
    def file_name(self) -> str:
        """A name for the files that belong to the cut, such as ``svd-alphar-rank-4``."""
        if self.rank is None:
            return "whole"
        parts = [re.sub(r"\W", "", part) for part in (self.truncation, self.scale) if part]
        return "-".join([*parts, f"rank-{self.rank}"])
