"""The effects that a claim is about, seed by seed, from records.

The effect of a seed is what the left side is better by at this seed, also where less of a score is
better, or the logarithm of a ratio: times scatter by factors, and their mean is the geometric one.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dylora_exp.metrics import metric_sign
from dylora_exp.reporting.analysis.decisions import Bounds, BySeed, Evidence, Rank, weigh
from dylora_exp.reporting.analysis.groups import Group, headline
from dylora_exp.reporting.analysis.plan import Base, records_of_groups, setups_by_rank
from dylora_exp.reporting.analysis.resolution import one_example
from dylora_exp.reporting.analysis.values import Values
from dylora_exp.reporting.specs.claims import ClaimSpec
from dylora_exp.reporting.specs.layout import ColumnSpec, RowSpec


@dataclass(frozen=True)
class Effects:
    """The effects of a claim on a task, in the unit of its tests: logarithms of ratios.

    Attributes:
        by_rank: By rank and seed; rank None for a mean over ranks, and without ranks.
        runs: The ids of the runs behind each seed.
        floor: One example's part in an effect; 0 where it is not known.
    """

    by_rank: Mapping[Rank, BySeed]
    runs: Mapping[int, tuple[str, ...]]
    floor: float

    def run_ids(self) -> tuple[str, ...]:
        """Return the ids of the runs of all seeds, each once, sorted."""
        return tuple(sorted({run for runs in self.runs.values() for run in runs}))

    def evidence(self, claim: ClaimSpec) -> Evidence | None:
        """Return what they say about a claim; None with fewer than two seeds at some rank."""
        if any(len(by_seed) < 2 for by_seed in self.by_rank.values()):
            return None
        return weigh(_bounds(claim), self.by_rank, self.floor)


def effects_of(claim: ClaimSpec, profile: str, task: str, groups: Sequence[Group]) -> Effects:
    """Return a claim's effects on a task; none for a seed that one side lacks.

    Args:
        claim: The claim.
        profile: The profile that its runs are composed from.
        task: The task.
        groups: The completed records of the profile.

    Raises:
        RequestError: When a side cannot be composed, or does not have its cut.
    """
    own = [group for group in groups if group.names[2] == task]
    values = _values(claim, profile, task, own)
    by_rank: dict[Rank, BySeed]
    floor = 0.0
    if claim.measure == "train_seconds":
        left, right = (values.seconds(side, task) for side in claim.sides())
        by_rank = {None: _compared(claim, left, right)}
    else:
        metric = claim.metric or headline(own[0])
        column = ColumnSpec(heading=task, task=task, metric=metric)
        scores = {
            rank: tuple(_scores(values, side, ranks, column) for side in claim.sides())
            for rank, ranks in _ranks(claim).items()
        }
        sign = metric_sign(metric)
        by_rank = {
            rank: _compared(claim, left, right, sign) for rank, (left, right) in scores.items()
        }
        compared = [value for sides in scores.values() for side in sides for value in side.values()]
        floor = one_example(metric, values.records(), compared)
        if claim.compare == "ratio":
            floor = max((floor / value for value in compared if value > 0), default=0.0)
    seeds = {seed for by_seed in by_rank.values() for seed in by_seed}
    return Effects(by_rank, {seed: _run_ids(values, seed) for seed in sorted(seeds)}, floor)


def _ranks(claim: ClaimSpec) -> dict[Rank, list[Rank]]:
    """Return the ranks that each effect is the mean of: one rank each, or all together."""
    if not claim.ranks:
        return {None: [None]}
    return {rank: [rank] for rank in claim.ranks} if claim.each_rank else {None: [*claim.ranks]}


def _bounds(claim: ClaimSpec) -> Bounds:
    """Return a claim's bounds in the unit of its effects."""
    above = -math.inf if claim.above is None else claim.above
    below = math.inf if claim.below is None else claim.below
    return (
        Bounds(*map(_logarithm, (above, below)))
        if claim.compare == "ratio"
        else Bounds(above, below)
    )


def _logarithm(ratio: float) -> float:
    return math.log(ratio) if ratio > 0 else -math.inf


def _values(claim: ClaimSpec, profile: str, task: str, groups: Sequence[Group]) -> Values:
    """Return the values of the runs of both sides.

    Raises:
        RequestError: When a side cannot be composed, or does not have its cut.
    """
    base = Base((f"profile={profile}",))
    setups = [
        setup for side in claim.sides() for setup in setups_by_rank(side, base, task).values()
    ]
    return Values(base, records_of_groups(setups, groups))


def _scores(
    values: Values, side: RowSpec, ranks: Sequence[int | None], column: ColumnSpec
) -> BySeed:
    """Return a side's mean over the ranks, of each seed that has them all."""
    ranks = ranks if side.rank is None else [side.rank]
    return _mean([values.scores(side, rank, column) for rank in ranks])


def _compared(claim: ClaimSpec, left: BySeed, right: BySeed, sign: int = 1) -> BySeed:
    """Return the effect of each seed that both sides have; a ratio needs positive values.

    ``sign`` is -1 where less is better, so that a positive effect speaks for the left side.
    """
    seeds = sorted(left.keys() & right.keys())
    if claim.compare == "difference":
        return {seed: sign * (left[seed] - right[seed]) for seed in seeds}
    positive = [seed for seed in seeds if min(left[seed], right[seed]) > 0]
    return {seed: sign * math.log(left[seed] / right[seed]) for seed in positive}


def _mean(sides: Sequence[BySeed]) -> BySeed:
    """Return the mean of several values of each seed that has them all."""
    seeds = set.intersection(*map(set, sides))
    return {seed: statistics.fmean(side[seed] for side in sides) for seed in sorted(seeds)}


def mean_effects(effects: Sequence[Effects]) -> Effects:
    """Return the mean effects over tasks, of the seeds that have all of these."""
    by_rank = {rank: _mean([one.by_rank[rank] for one in effects]) for rank in effects[0].by_rank}
    seeds = sorted({seed for by_seed in by_rank.values() for seed in by_seed})
    runs = {seed: sum((one.runs[seed] for one in effects), ()) for seed in seeds}
    # As if one example more in one task went with one more in every other: never less than it is.
    return Effects(by_rank, runs, statistics.fmean(one.floor for one in effects))


def _run_ids(values: Values, seed: int) -> tuple[str, ...]:
    return tuple(by_seed[seed].run_id for by_seed in values.used.values() if seed in by_seed)
