"""Rank-quality curves of several seeds: the area under each, and the rank to choose."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from dylora_exp.records import allowed_loss, aurac, best_rank, recommended_rank

Curve = Mapping[int, Mapping[int, float]]


def areas(curve: Curve, log2: bool) -> list[float]:
    """Return the area under the curve of each seed that has a value at every rank.

    Args:
        curve: Values by rank and seed.
        log2: Whether the axis is log2 of the rank.
    """
    seeds = set.intersection(*map(set, curve.values())) if curve else set()
    found = [
        aurac({rank: by_seed[seed] for rank, by_seed in curve.items()}, log2)
        for seed in sorted(seeds)
    ]
    return [area for area in found if area is not None]


def choose_ranks(
    values: Mapping[int, Sequence[float]], sign: int, tolerance: float | None
) -> tuple[int, int] | None:
    """Return the rank with the best mean and the smallest that is good enough; None without values.

    Args:
        values: The values of all seeds by rank, at least one each.
        sign: -1 where a lower value is better.
        tolerance: What the second rank may lose, as a part of the best mean; None for one standard
            error over seeds.
    """
    # Rounded: the last bits of a sum of floats must not decide a tie.
    heights = {rank: round(sign * statistics.fmean(found), 12) for rank, found in values.items()}
    best = best_rank(heights)
    if best is None:
        return None
    recommended = recommended_rank(heights, allowed_loss(values[best], tolerance))
    assert recommended is not None
    return best, recommended
