"""The distributions that ranks may be drawn from, by their names (``ranks.distribution``).

A distribution is a function of the ranks that are trained and of the ranks group's settings; it
returns one weight a rank, and the weights need not sum to 1. Where only some ranks are trained
(``ranks.values``), each keeps the weight that it has by its own size, not by its place in the list:

- ``uniform``: the same for each. Over powers of two, every doubling is as likely as the others.
- ``geometric``: p(1-p)^(b-1) for rank b, so that ranks far above 1/p are hardly ever drawn.
- ``proportional``: b for rank b. Over powers of two up to r_max, r_max gets about half of the
  steps, r_max/2 a quarter, and so on: the rows that few ranks train are trained often.
- ``custom``: ``ranks.weights``.
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


def _proportional(values: Sequence[int], settings: DistributionSettings) -> list[float]:
    return [float(rank) for rank in values]


def _custom(values: Sequence[int], settings: DistributionSettings) -> list[float]:
    return list(settings.weights or [])


DISTRIBUTIONS: dict[str, Distribution] = {
    "uniform": _uniform,
    "geometric": _geometric,
    "proportional": _proportional,
    "custom": _custom,
}
