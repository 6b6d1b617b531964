"""Decisions on claims from effects by seed: tests against bounds, families, seeds that would do.

Each effect is tested against each bound by Student's t test on its seeds, one-sided at ``LEVEL``:
the same as asking whether the 95 % interval lies on one side of the bound. Three rules keep what is
wrongly decided at or below ``LEVEL`` for the scores that runs have:

- Scores of a development set are multiples of about one example's part, so that few seeds often
  have equal effects by chance. Effects without spread decide nothing, and a deviation below one
  example's part counts as that (``floor``).
- A claim about several ranks is about each of them. It holds when it holds at every one, each
  tested at the whole level: a union of null hypotheses is rejected only where each of them is
  (Berger, "Multiparameter hypothesis testing and acceptance sampling", Technometrics 1982). That
  it does not hold at one of them is tested with Bonferroni's correction over ranks and bounds.
- The claims of a family, on all their tasks, are corrected together by Holm's step-down method
  ("A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics
  1979), those that hold and those that do not by themselves.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dylora_exp.reporting.analysis.estimates import (
    CONFIDENCE,
    Estimate,
    estimate,
    has_spread,
    p_above,
    quantile,
)

Word = Literal["holds", "does not hold", "not enough data"]
HOLDS: Word = "holds"
FAILS: Word = "does not hold"
NO_DATA: Word = "not enough data"

# Of one one-sided test, and of all tests of a family together.
LEVEL = (1 - CONFIDENCE) / 2
# Nobody trains more seeds than these.
MOST_SEEDS = 1000

BySeed = Mapping[int, float]
Rank = int | None


@dataclass(frozen=True)
class Bounds:
    """Where an effect must lie, in its own unit; infinite where there is no bound."""

    above: float = -math.inf
    below: float = math.inf

    def margin(self, value: float) -> float:
        """Return how far a value is inside, negative where it is outside."""
        return min(value - self.above, self.below - value)

    def count(self) -> int:
        """Return the number of bounds."""
        return sum(map(math.isfinite, (self.above, self.below)))


@dataclass(frozen=True)
class Evidence:
    """What seeds say about a claim on one task, before other claims are thought of.

    Attributes:
        bounds: The claim's.
        floor: The least deviation that is believed.
        effects: At each rank, of at least two seeds each; rank None for a mean or without ranks.
        holds: The p-value at each rank against the effect being outside the bounds.
        fails: That against its being inside, corrected over ranks and bounds.
    """

    bounds: Bounds
    floor: float
    effects: Mapping[Rank, Estimate]
    holds: Mapping[Rank, float]
    fails: Mapping[Rank, float]


@dataclass(frozen=True)
class Decision:
    """A verdict on a claim.

    Attributes:
        word: One of the three verdicts.
        rank: The rank that decides, or that is furthest from it.
        p: The p-value, corrected, of what the effects tend to: to hold or not to.
        tests: How many tests the correction is over.
        reason: Why nothing could be decided; empty where something was.
        seeds_needed: How many seeds would decide with this mean and deviation; None where something
            is decided, where it cannot be told, and above ``MOST_SEEDS``.
    """

    word: Word
    rank: Rank
    p: float
    tests: int
    reason: str = ""
    seeds_needed: int | None = None


def weigh(bounds: Bounds, effects: Mapping[Rank, BySeed], floor: float = 0.0) -> Evidence:
    """Test the effects at each rank against the bounds.

    Args:
        bounds: The claim's.
        effects: At each rank the effect of each seed, at least two.
        floor: The least deviation over seeds that is believed, in the unit of the effects.
    """
    found = {
        rank: estimate(list(by_seed.values()), floor=floor) for rank, by_seed in effects.items()
    }
    above = {rank: p_above(one, bounds.above, floor) for rank, one in found.items()}
    below = {rank: p_above(-one, -bounds.below, floor) for rank, one in found.items()}
    tests = len(found) * bounds.count()
    outside = {
        rank: min(p_above(-one, -bounds.above, floor), p_above(one, bounds.below, floor))
        for rank, one in found.items()
    }
    return Evidence(
        bounds,
        floor,
        found,
        {rank: max(above[rank], below[rank]) for rank in found},
        {rank: min(1.0, tests * p) for rank, p in outside.items()},
    )


def decide(family: Sequence[Evidence]) -> list[Decision]:
    """Return the decision on each claim of a family, with Holm's correction over all of them."""
    holds = correct([max(one.holds.values()) for one in family])
    fails = correct([min(one.fails.values()) for one in family])
    return [
        _decision(one, p_holds, p_fails, len(family))
        for one, p_holds, p_fails in zip(family, holds, fails, strict=True)
    ]


def correct(p_values: Sequence[float]) -> list[float]:
    """Return p-values with Holm's correction, in the same order."""
    corrected = [1.0] * len(p_values)
    largest = 0.0
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = largest
    return corrected


def _decision(one: Evidence, p_holds: float, p_fails: float, tests: int) -> Decision:
    tightest = max(one.holds, key=lambda rank: (one.holds[rank], -_margin(one, rank)))
    furthest = min(one.fails, key=lambda rank: (one.fails[rank], _margin(one, rank)))
    if p_holds <= LEVEL:
        return Decision(HOLDS, tightest, p_holds, tests)
    if p_fails <= LEVEL:
        return Decision(FAILS, furthest, p_fails, tests)
    p = p_fails if _margin(one, furthest) < 0 else p_holds
    needed = _seeds_needed(one, tests)
    reason = _reason(one, tightest, tests, needed)
    return Decision(NO_DATA, tightest, p, tests, reason, needed)


def _margin(one: Evidence, rank: Rank) -> float:
    return one.bounds.margin(one.effects[rank].mean)


def _reason(one: Evidence, tightest: Rank, tests: int, needed: int | None) -> str:
    flat = next((found for found in one.effects.values() if not has_spread(found)), None)
    if flat is not None:
        about = f"all {flat.n} effects are equal, which says nothing of their scatter"
    elif max(one.holds.values()) <= LEVEL or min(one.fails.values()) <= LEVEL:
        about = f"its interval crosses no bound, but is one of {tests} of its family (Holm)"
    else:
        about = "its interval crosses a bound"
    if needed is None:
        return f"{about}; more seeds are needed"
    scatter = "if they scatter by one example" if flat else "if mean and scatter stay"
    return f"{about}; about {needed} seeds would decide, {scatter}"


def _seeds_needed(one: Evidence, tests: int) -> int | None:
    """Return how many seeds would decide, with these means and deviations, None if too many.

    A mean outside the bounds decides at one rank, means inside only at all of them.
    """
    outside = [rank for rank in one.effects if _margin(one, rank) < 0]
    shares = len(one.effects) * one.bounds.count() if outside else 1
    needed = [_seeds_at(one, rank, LEVEL / (tests * shares)) for rank in outside or one.effects]
    known = [seeds for seeds in needed if seeds is not None]
    if outside:
        return min(known, default=None)
    return max(known) if len(known) == len(needed) else None


def _seeds_at(one: Evidence, rank: Rank, level: float) -> int | None:
    effect, margin = one.effects[rank], abs(_margin(one, rank))
    deviation = max(effect.std or 0.0, one.floor) if has_spread(effect) else one.floor
    if not deviation or not margin:
        return None
    tried = range(effect.n + 1, MOST_SEEDS + 1)
    index = bisect_left(
        tried,
        True,
        key=lambda seeds: -quantile(seeds - 1, level) * deviation / math.sqrt(seeds) < margin,
    )
    return tried[index] if index < len(tried) else None
