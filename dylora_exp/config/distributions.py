"""The distributions that ranks may be drawn from, by their names (``ranks.distribution``).

A distribution is a function of the ranks that are trained and of the ranks group's settings; it
returns one weight a rank, and the weights need not sum to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol


class DistributionSettings(Protocol):
    """The settings of the ranks group that distributions read."""

    @property
    def p(self) -> float:
        """The success probability of ``geometric``."""

    @property
    def tail(self) -> str:
        """What becomes of its mass beyond the largest rank."""

    @property
    def weights(self) -> list[float] | None:
        """The weights of ``custom``, one a rank."""


Distribution = Callable[[Sequence[int], DistributionSettings], list[float]]


def normalise(weights: Sequence[float]) -> list[float]:
    """Return weights in the same proportion that sum to 1."""
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def geometric(r_max: int, p: float, tail: str) -> list[float]:
    """Return geometric weights p(1-p)^(i-1) over ranks 1..r_max.

    Args:
        r_max: The largest rank.
        p: Success probability, in (0, 1).
        tail: What becomes of the mass beyond r_max: ``renormalise`` spreads it in proportion,
            ``clip`` puts it all on r_max.
    """
    weights = [p * (1 - p) ** i for i in range(r_max)]
    if tail == "clip":
        weights[-1] = (1 - p) ** (r_max - 1)
    return normalise(weights)


def _uniform(values: Sequence[int], settings: DistributionSettings) -> list[float]:
    return [1.0] * len(values)


def _geometric(values: Sequence[int], settings: DistributionSettings) -> list[float]:
    weights = geometric(max(values), settings.p, settings.tail)
    return [weights[rank - 1] for rank in values]


def _custom(values: Sequence[int], settings: DistributionSettings) -> list[float]:
    return list(settings.weights or [])


DISTRIBUTIONS: dict[str, Distribution] = {
    "uniform": _uniform,
    "geometric": _geometric,
    "custom": _custom,
}
