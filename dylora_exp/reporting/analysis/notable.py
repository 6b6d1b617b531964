"""The paired differences that are unlikely to be chance, the same pair's ranks together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from dylora_exp.reporting.analysis.display import factor
from dylora_exp.reporting.analysis.estimates import paired
from dylora_exp.reporting.analysis.groups import Series
from dylora_exp.reporting.analysis.resolution import one_example
from dylora_exp.reporting.analysis.sections import comparable

# A difference is notable where the p-value of its own test is below this.
NOTABLE = 0.05


@dataclass(frozen=True)
class Notable:
    """Where one series is better than another, beyond what chance explains in one test.

    Attributes:
        better: The better series.
        worse: The other.
        ranks: Where; rank None of methods without ranks.
        least: The smallest of its mean leads, positive, as tables show scores.
        most: The largest.
        seeds: The fewest common seeds.
    """

    better: Series
    worse: Series
    ranks: tuple[int | None, ...]
    least: float
    most: float
    seeds: int


def notable_differences(series: Sequence[Series]) -> tuple[list[Notable], int]:
    """Return the notable differences of comparable series, the largest first.

    Args:
        series: Of the metrics that decide.

    Returns:
        Them, and how many tests were made: of twenty true ties one is below 0.05 by chance.
    """
    found: list[Notable] = []
    tests = 0
    for same in comparable(series):
        for first, second in itertools.combinations(same, 2):
            leads: dict[int | None, tuple[float, int]] = {}
            for rank in sorted(first.values.keys() & second.values.keys(), key=_height):
                left, right = first.values[rank], second.values[rank]
                records = [*first.group.fewest, *second.group.fewest]
                values = [*left.values(), *right.values()]
                about = paired(left, right, floor=one_example(first.metric, records, values))
                if about is None or about.p is None:
                    continue
                tests += 1
                if about.p < NOTABLE:
                    leads[rank] = (first.sign * about.difference.mean, len(about.seeds))
            found += _notable(first, second, leads)
    return sorted(found, key=lambda one: -one.most), tests


def _notable(
    first: Series, second: Series, leads: dict[int | None, tuple[float, int]]
) -> list[Notable]:
    pieces = []
    for better, worse, sign in ((first, second, 1), (second, first, -1)):
        own = {rank: (sign * lead, n) for rank, (lead, n) in leads.items() if sign * lead > 0}
        if own:
            sizes = [factor(first) * lead for lead, _ in own.values()]
            seeds = min(n for _, n in own.values())
            pieces.append(Notable(better, worse, tuple(own), min(sizes), max(sizes), seeds))
    return pieces


def _height(rank: int | None) -> int:
    return -1 if rank is None else rank
