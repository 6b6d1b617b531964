"""The ranks object: one list of ranks for training, scoring, export and tables.

Ranks are 1-based (1..r_max). The training distribution is p_B of Algorithm 1; the rank of optimizer
step t is a pure function of (seed, t), so every process draws the same rank and a resumed run
continues with the ranks it would have drawn anyway. So are the ranks of micro-batches and examples,
of (seed, t, index in the step).
"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from dylora_exp.config.distributions import DISTRIBUTIONS, normalise
from dylora_exp.config.schema import RanksConfig
from dylora_exp.core import RequestError, draw_uniform, parse


@dataclass(frozen=True)
class Ranks:
    """A training distribution over ranks 1..r_max and the ranks to score.

    Attributes:
        r_max: The rank of the trained factors.
        weights: Probability of rank i+1 at position i; they sum to 1.
        score: The ranks that the sweep scores, ascending.
        values: The ranks that are trained, ascending.
        sandwich: The share of examples at r_max when each example has a rank of its own.
    """

    r_max: int
    weights: tuple[float, ...]
    score: tuple[int, ...]
    values: tuple[int, ...] = ()
    sandwich: float = 0.0

    @classmethod
    def of(
        cls,
        r_max: int,
        distribution: str = "uniform",
        *,
        values: Sequence[int] | str | None = None,
        weights: Sequence[float] | None = None,
        p: float | None = None,
        tail: str | None = None,
        score: Sequence[int] | str | None = None,
    ) -> Ranks:
        """Return ranks 1..r_max with a training distribution; arguments left out have its defaults.

        For example ``Ranks.of(8, "geometric", p=0.3)`` or ``Ranks.of(64, values="powers_of_two")``.

        Args:
            r_max: The rank of the trained factors.
            distribution: ``uniform``, ``geometric``, ``proportional`` or ``custom``.
            values: The ranks that are drawn, or ``powers_of_two``; default all of 1..r_max.
            weights: Of ``custom``: the probability of each rank that is drawn, ascending.
            p: Of ``geometric``: the success probability, in (0, 1).
            tail: Of ``geometric``: ``renormalise`` or ``clip``.
            score: The ranks to score, or ``powers_of_two``; default those that are drawn.

        Raises:
            RequestError: When they do not go together, with a sentence for each problem.
        """
        given = {"r_max": r_max, "distribution": distribution, "p": p, "tail": tail}
        lists = {"values": values, "weights": weights, "score": score}
        tree = {name: value for name, value in given.items() if value is not None}
        tree |= {name: _plain_list(value) for name, value in lists.items() if value is not None}
        config = parse(RanksConfig, tree, "ranks")
        found = config.problems()
        for name, needed in (("p", "geometric"), ("tail", "geometric"), ("weights", "custom")):
            if name in tree and distribution in DISTRIBUTIONS and distribution != needed:
                found.append(f"ranks.{name}: it needs the distribution {needed}.")
        if found:
            raise RequestError(found)
        return cls.from_config(config)

    @classmethod
    def from_config(cls, config: RanksConfig) -> Ranks:
        """Build the ranks object of a checked config."""
        values = tuple(sorted(set(config.values or range(1, config.r_max + 1))))
        score = tuple(sorted(set(config.score or values)))
        return cls(config.r_max, _weights(config, values), score, values, config.sandwich)

    def rank_of_step(self, seed: int, step: int, index: int | None = None) -> int:
        """Return the rank of one optimizer step, drawn from ``weights``.

        Args:
            seed: The run's seed.
            step: The 0-based optimizer step.
            index: Of a micro-batch or an example in the step, where each has a rank of its own.
        """
        uniform = draw_uniform(seed, step) if index is None else draw_uniform(seed, step, index)
        # The last positive weight bounds the index: rounding may leave the sum just below 1.
        last = max(i for i, weight in enumerate(self.weights) if weight > 0)
        return 1 + min(bisect.bisect_right(self._cumulative, uniform), last)

    def ranks_of_examples(self, seed: int, step: int, first: int, count: int) -> list[int]:
        """Return a rank for each example of a batch: a share at r_max, the others drawn.

        Args:
            seed: The run's seed.
            step: The 0-based optimizer step.
            first: The index of the first example in the step.
            count: The number of examples.
        """
        indices = range(first, first + count)
        # By lot, since a batch may be sorted by length; the number is exact.
        order = sorted(indices, key=lambda index: draw_uniform(seed, step, index, "full"))
        full = set(order[: math.floor(self.sandwich * count + 0.5)])
        return [
            self.r_max if index in full else self.rank_of_step(seed, step, index)
            for index in indices
        ]

    @functools.cached_property
    def shares(self) -> tuple[float, ...]:
        """The expected share of all draws at rank i+1, at position i, the sandwich's included."""
        drawn = [(1 - self.sandwich) * weight for weight in self.weights]
        drawn[self.r_max - 1] += self.sandwich
        return tuple(drawn)

    @functools.cached_property
    def _cumulative(self) -> list[float]:
        return list(itertools.accumulate(self.weights))


def _plain_list(value: object) -> object:
    """Return a sequence as a list, as YAML has it; anything else as it is, to be refused."""
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _weights(config: RanksConfig, values: Sequence[int]) -> tuple[float, ...]:
    """Return the weights of ranks 1..r_max, zero for those that are not trained."""
    weights = DISTRIBUTIONS[config.distribution](values, config)
    by_rank = dict(zip(values, normalise(weights), strict=True))
    return tuple(by_rank.get(rank, 0.0) for rank in range(1, config.r_max + 1))
