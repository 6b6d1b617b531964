"""The ranks object: one list of ranks for training, scoring, export and tables.

Ranks are 1-based (1..r_max). The training distribution is p_B of Algorithm 1; the rank of optimizer
step t is a pure function of (seed, t), so every process draws the same rank and a resumed run
continues with the ranks it would have drawn anyway.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from dylora_exp.config import RanksConfig


@dataclass(frozen=True)
class Ranks:
    """A training distribution over ranks 1..r_max and the ranks to score.

    Attributes:
        r_max: The rank of the trained factors.
        weights: Probability of rank i+1 at position i; they sum to 1.
        score: The ranks that the sweep scores, ascending.
    """

    r_max: int
    weights: tuple[float, ...]
    score: tuple[int, ...]

    @classmethod
    def from_config(cls, config: RanksConfig) -> Ranks:
        """Build the ranks object of a checked config."""
        score = tuple(sorted(set(config.score))) if config.score else range(1, config.r_max + 1)
        return cls(config.r_max, _weights(config), tuple(score))

    def at(self, seed: int, step: int) -> int:
        """Return the rank of one optimizer step, drawn from ``weights``.

        Args:
            seed: The run's seed.
            step: The 0-based optimizer step.
        """
        digest = hashlib.blake2b(f"{seed}:{step}".encode(), digest_size=8).digest()
        uniform = int.from_bytes(digest, "big") / 2**64
        # The last positive weight bounds the index: rounding may leave the sum just below 1.
        last = max(i for i, weight in enumerate(self.weights) if weight > 0)
        return 1 + min(bisect.bisect_right(self._cumulative, uniform), last)

    @functools.cached_property
    def _cumulative(self) -> list[float]:
        return list(itertools.accumulate(self.weights))


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
    return _normalise(weights)


def _weights(config: RanksConfig) -> tuple[float, ...]:
    if config.distribution == "geometric":
        return tuple(geometric(config.r_max, config.p, config.tail))
    if config.distribution == "custom":
        return tuple(_normalise(config.weights or []))
    return (1 / config.r_max,) * config.r_max


def _normalise(weights: Sequence[float]) -> list[float]:
    total = math.fsum(weights)
    return [weight / total for weight in weights]
