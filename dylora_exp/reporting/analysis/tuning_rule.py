"""The rule by which a value is chosen among tried ones, the same for every method.

A trial's score is the mean of the headline metric over the ranks that it scored, at the cut that is
best for it. The value of the best trial is chosen; of equal ones that nearer the middle of the list
of values, then the smaller.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dylora_exp.metrics import metric_sign
from dylora_exp.records import Record

Values = Mapping[str, Sequence[float]]
Combination = dict[str, float]


@dataclass(frozen=True)
class TrialScore:
    """The score of a trial, in the unit of its metric, and the cut that has it."""

    mean: float
    truncation: str | None
    scale: str | None


def combinations(values: Values) -> list[Combination]:
    """Return every combination of the values of some settings, the last setting's first to move."""
    return [dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())]


def score_trial(record: Record) -> TrialScore | None:
    """Return the mean of the headline metric over a record's ranks, at the cut with the best mean.

    Args:
        record: A completed record.

    Returns:
        The score; None where no cut has a finite value at each of its ranks.
    """
    metric = record.config.get("task", {}).get("headline") or ""
    by_cut: dict[tuple[str | None, str | None], list[float]] = {}
    for entry in record.ranks:
        value = entry.metrics.get(metric)
        known = math.nan if value is None else float(value)
        by_cut.setdefault((entry.truncation, entry.scale), []).append(known)
    scores = [
        TrialScore(statistics.fmean(values), *cut)
        for cut, values in by_cut.items()
        if all(map(math.isfinite, values))
    ]
    sign = metric_sign(metric) if scores else 1
    return max(scores, key=lambda score: sign * score.mean, default=None)


def choose(
    values: Values, scores: Sequence[float | None], sign: int = 1
) -> tuple[int, Combination] | None:
    """Return the index of the chosen combination and the combination itself.

    Args:
        values: The tried values of each setting, ascending.
        scores: Those of ``combinations(values)``; None for a training that diverged or gave no
            finite score, which is worse than any.
        sign: 1 where a higher score is better, -1 where a lower one is.

    Returns:
        The choice; None without any score.
    """
    tried = combinations(values)
    known = [sign * score for score in scores if score is not None]
    if not known:
        return None
    best = max(known)
    # The last bits of a mean must not decide a tie.
    enough = best - 1e-12 * abs(best)
    tied = [
        index for index, score in enumerate(scores) if score is not None and sign * score >= enough
    ]

    def preference(index: int) -> tuple[float, tuple[int, ...]]:
        at = [list(values[key]).index(value) for key, value in tried[index].items()]
        middles = [(len(each) - 1) / 2 for each in values.values()]
        return sum(abs(a - middle) for a, middle in zip(at, middles, strict=True)), tuple(at)

    chosen = min(tied, key=preference)
    return chosen, tried[chosen]


def edges(values: Values, chosen: Mapping[str, float]) -> dict[str, str]:
    """Return ``largest`` or ``smallest`` for each setting whose chosen value is so of those tried.

    A better value may lie beyond it.
    """
    return {
        key: "largest" if chosen[key] == tried[-1] else "smallest"
        for key, tried in values.items()
        if chosen[key] in (tried[0], tried[-1])
    }
