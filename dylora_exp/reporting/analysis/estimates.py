"""Means over seeds and their uncertainty, by Student's t distribution.

The formulas are the textbook ones (Student, "The probable error of a mean", Biometrika 1908): they
take seeds as independent draws and values, or paired differences, as normally distributed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, in the unit of the values.

    Attributes:
        mean: The arithmetic mean.
        std: Sample standard deviation (n-1); None for a single value.
        n: The number of values.
        low: Lower end of the mean's confidence interval; None for a single value.
        high: Its upper end.
        smallest: The smallest value.
        largest: The largest value.
    """

    mean: float
    std: float | None
    n: int
    low: float | None
    high: float | None
    smallest: float
    largest: float

    def __neg__(self) -> Estimate:
        low, high = (None if end is None else -end for end in (self.high, self.low))
        return Estimate(-self.mean, self.std, self.n, low, high, -self.largest, -self.smallest)


@dataclass(frozen=True)
class Paired:
    """What one side is over another on the same seeds.

    Attributes:
        seeds: The seeds that both have, ascending.
        difference: Of the first side less the second, over these seeds.
        p: Two-sided p-value of the paired t-test against no difference; None where the differences
            have no spread to judge by: one seed, or all of them equal.
    """

    seeds: tuple[int, ...]
    difference: Estimate
    p: float | None


def estimate(
    values: Sequence[float], confidence: float = CONFIDENCE, floor: float = 0.0
) -> Estimate:
    """Return mean, deviation and the t-interval of the mean: mean ± t·std/√n, n-1 degrees.

    Args:
        values: One a seed, at least one.
        confidence: Of the interval, between 0 and 1.
        floor: What the interval takes for a smaller deviation, in the unit of the values.

    Raises:
        ValueError: Without values.
    """
    if not values:
        raise ValueError("an estimate needs at least one value")
    mean, n = statistics.fmean(values), len(values)
    std = low = high = None
    if n > 1:
        std = statistics.stdev(values)
        reach = quantile(n - 1, (1 + confidence) / 2) * max(std, floor) / math.sqrt(n)
        low, high = mean - reach, mean + reach
    return Estimate(mean, std, n, low, high, min(values), max(values))


def paired(
    first: Mapping[int, float],
    second: Mapping[int, float],
    confidence: float = CONFIDENCE,
    floor: float = 0.0,
) -> Paired | None:
    """Compare two sides on the seeds that both have, by the paired t-test.

    Args:
        first: Values by seed.
        second: Values by seed, in the same unit.
        confidence: Of the interval of the mean difference, between 0 and 1.
        floor: What interval and test take for a smaller deviation of the differences.

    Returns:
        None when they have no seed in common.
    """
    seeds = tuple(sorted(first.keys() & second.keys()))
    if not seeds:
        return None
    difference = estimate([first[seed] - second[seed] for seed in seeds], confidence, floor)
    return Paired(seeds, difference, _p_value(difference, floor))


def has_spread(found: Estimate) -> bool:
    """Return whether values differ by more than the last bits of floats do."""
    size = max(abs(found.smallest), abs(found.largest), 1.0)
    return found.largest - found.smallest > 1e-12 * size


def p_above(found: Estimate, bound: float, floor: float = 0.0) -> float:
    """Return the one-sided p-value of the t-test against a mean at or below a bound.

    It is 1, which decides nothing, without spread; 0 for a bound of minus infinity.

    Args:
        found: Of at least one value.
        bound: In the unit of the values.
        floor: What is taken for a smaller deviation.
    """
    if bound == -math.inf:
        return 0.0
    if bound == math.inf or found.std is None or not has_spread(found):
        return 1.0
    from scipy.special import stdtr

    t = (found.mean - bound) / (max(found.std, floor) / math.sqrt(found.n))
    return float(stdtr(found.n - 1, -t))


def _p_value(difference: Estimate, floor: float) -> float | None:
    if difference.std is None or not has_spread(difference):
        return None
    return 2 * min(p_above(difference, 0.0, floor), p_above(-difference, 0.0, floor))


@cache
def quantile(degrees: int, probability: float) -> float:
    """Return the value that Student's t exceeds with probability 1 - ``probability``."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, probability))
