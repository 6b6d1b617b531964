"""The area under the rank-quality curve, the best rank, and the smallest one that will do.

Where a function takes a ``sign``, it is 1 for a quality of which more is better and -1 for an error
rate.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from dylora_exp.metrics import metric_sign
from dylora_exp.records.record import RankScore, Record

Curve = Mapping[int, float]

# What a single run may lose, as a part of its best score: it has no standard error.
DEFAULT_SHARE = 0.01


def aurac(curve: Curve, log2: bool = False) -> float | None:
    """Return the area under a rank-quality curve, divided by its width: its mean height.

    The measure of MatryoshkaLoRA (2026), by trapezoids between the ranks that were scored.

    Args:
        curve: Quality by rank, in any unit.
        log2: Whether the axis is log2 of the rank instead of the rank.

    Returns:
        The area in the unit of the quality; that of the only rank when there is one, None when
        there is none.
    """
    ranks = sorted(curve)
    if not ranks:
        return None
    axis = [math.log2(rank) if log2 else float(rank) for rank in ranks]
    heights = [curve[rank] for rank in ranks]
    if len(ranks) == 1:
        return heights[0]
    areas = (
        (axis[i + 1] - axis[i]) * (heights[i] + heights[i + 1]) / 2 for i in range(len(ranks) - 1)
    )
    return math.fsum(areas) / (axis[-1] - axis[0])


def best_rank(curve: Curve, sign: int = 1) -> int | None:
    """Return the rank of the best quality, the smallest where several are equal."""
    return min(curve, key=lambda rank: (-sign * curve[rank], rank)) if curve else None


def recommended_rank(curve: Curve, tolerance: float, sign: int = 1) -> int | None:
    """Return the smallest rank whose quality is within a tolerance of the best.

    Args:
        curve: Quality by rank.
        tolerance: What may be lost, in the unit of the quality.
        sign: -1 where less is better.
    """
    best = best_rank(curve, sign)
    if best is None:
        return None
    # Slightly more, so that a difference of exactly the tolerance counts as within it.
    enough = sign * curve[best] - tolerance - 1e-12 * abs(curve[best])
    return min(rank for rank, value in curve.items() if sign * value >= enough)


def allowed_loss(best: Sequence[float], share: float | None = None) -> float:
    """Return what the recommended rank may lose, in the unit of the quality.

    Args:
        best: The qualities at the best rank, one a seed.
        share: A part of their mean; None for one standard error of it, or for ``DEFAULT_SHARE``
            where there is but one seed.
    """
    if share is None and len(best) > 1:
        return statistics.stdev(best) / math.sqrt(len(best))
    return (DEFAULT_SHARE if share is None else share) * abs(statistics.fmean(best))


def summarise(
    scores: Sequence[RankScore], metric: str, relative_tolerance: float
) -> list[dict[str, Any]]:
    """Return, for each cut, the areas under its curve, the best and the recommended rank.

    Args:
        scores: The scores of one run.
        metric: The metric that decides.
        relative_tolerance: What the recommended rank may lose, as a part of the best score.

    Returns:
        Plain data for the record; cuts without ranks are left out, and those without any finite
        score. Where but some of the ranks have one, areas and ranks are None: a curve with a gap
        has no area, and the best of it may lie in the gap.
    """
    curves: dict[tuple[str | None, str | None], dict[int, float | None]] = {}
    for entry in scores:
        value = entry.metrics.get(metric)
        if entry.rank is not None:
            finite = value if value is not None and math.isfinite(value) else None
            curves.setdefault((entry.truncation, entry.scale), {})[entry.rank] = finite
    sign = metric_sign(metric)
    found = []
    for (truncation, scale), values in curves.items():
        known = {rank: value for rank, value in values.items() if value is not None}
        if not known:
            continue
        curve = known if len(known) == len(values) else {}
        best = best_rank(curve, sign)
        tolerance = 0.0 if best is None else relative_tolerance * abs(curve[best])
        found.append(
            {
                "truncation": truncation,
                "scale": scale,
                "metric": metric,
                "aurac": aurac(curve),
                "aurac_log2": aurac(curve, log2=True),
                "best_rank": best,
                "recommended_rank": recommended_rank(curve, tolerance, sign),
                "tolerance": relative_tolerance,
            }
        )
    return found


def search_score(record: Record) -> float | None:
    """Return what a search over settings maximises: more is better, whatever the metric.

    That is the mean height of the rank-quality curve (``aurac``) of the best cut, or the headline
    metric of a method without ranks; negated for a metric of which less is better. None where a
    score is undefined, whatever the record's own summary says.
    """
    headline = record.config.get("task", {}).get("headline") or ""
    if not headline:
        return None
    cuts = summarise(record.ranks, headline, DEFAULT_SHARE)
    values = [cut["aurac"] for cut in cuts if cut["aurac"] is not None] or [
        value
        for entry in record.ranks
        if entry.rank is None and (value := entry.metrics.get(headline)) is not None
    ]
    return max(metric_sign(headline) * float(value) for value in values) if values else None
