"""Claims judged by records.

The effect is taken seed by seed, on the seeds that both sides have, and averaged over the ranks and
the tasks of each seed; so the seeds are the independent draws. Ratios are averaged as logarithms
(their geometric mean), since times scatter by factors. A claim

- **holds** when the effect's confidence interval lies wholly between the claim's bounds,
- **does not hold** when it lies wholly outside of them, on one side,
- has **not enough data** when it crosses a bound, and with fewer than two common seeds.

Effects that are equal for all seeds have an interval of no width, which decides as any other.

A claim about each of m ranks holds when it holds at all of them, and does not when it does not at
one; its intervals have the confidence 1 - 0.05/m (Bonferroni), so that all of them hold together.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dylora_exp.config import options
from dylora_exp.core import RequestError
from dylora_exp.reporting.analysis.estimates import CONFIDENCE, Estimate, estimate, has_spread
from dylora_exp.reporting.analysis.groups import Group, headline
from dylora_exp.reporting.analysis.plan import records_of_groups, setups_by_rank
from dylora_exp.reporting.analysis.values import Values
from dylora_exp.reporting.specs.claims import ClaimSpec
from dylora_exp.reporting.specs.layout import ColumnSpec, RowSpec

HOLDS = "holds"
FAILS = "does not hold"
NO_DATA = "not enough data"
ALL_TASKS = "all of them"

BySeed = Mapping[int, float]


@dataclass(frozen=True)
class Verdict:
    """What records say about a claim.

    Attributes:
        claim: The claim.
        profile: The profile of the records.
        task: A task, or ``ALL_TASKS`` for the mean over several.
        word: One of the three verdicts.
        reason: Why nothing could be decided; empty where something was.
        effect: Over seeds; None without data. Of a claim about each rank: where it is tightest.
        at: The rank where a claim about each rank is tightest.
        seeds: The seeds that both sides have.
        runs: The ids of the runs behind the effect.
    """

    claim: ClaimSpec
    profile: str
    task: str
    word: str
    reason: str = ""
    effect: Estimate | None = None
    at: int | None = None
    seeds: tuple[int, ...] = ()
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Effects:
    """The effects by rank and seed (rank None: of all ranks), and the runs of each seed.

    A ratio's effects are logarithms.
    """

    by_rank: Mapping[int | None, BySeed]
    runs: Mapping[int, tuple[str, ...]]


def judge(claims: Sequence[ClaimSpec], groups: Sequence[Group]) -> list[Verdict]:
    """Judge every claim in every profile of the records, on each task and on all of them together.

    Args:
        claims: The claims.
        groups: The completed records; where ``--where`` cut them down, the claims see what is left.
    """
    verdicts = []
    for profile in sorted({group.names[0] for group in groups}):
        own = [group for group in groups if group.names[0] == profile]
        for claim in claims:
            verdicts += _in_profile(claim, profile, own)
    return verdicts


def decide(claim: ClaimSpec, effect: Estimate) -> str:
    """Return the verdict on one effect of at least one seed."""
    if effect.low is None or effect.high is None:
        return NO_DATA
    above = -math.inf if claim.above is None else claim.above
    below = math.inf if claim.below is None else claim.below
    low, high = (effect.low, effect.high) if has_spread(effect) else (effect.mean, effect.mean)
    if above < low and high < below:
        return HOLDS
    return FAILS if high <= above or low >= below else NO_DATA


def _in_profile(claim: ClaimSpec, profile: str, groups: Sequence[Group]) -> list[Verdict]:
    """Return the verdict of each task with records of both sides, and that of all together."""
    if profile not in options("profile"):
        return [Verdict(claim, profile, "", NO_DATA, f"there is no conf/profile/{profile}.yaml")]
    tasks = {group.names[2] for group in groups} & set(options("task"))
    tasks = {task for task in tasks if all(_has(groups, side, task) for side in claim.sides())}
    if claim.tasks:
        tasks &= set(claim.tasks)
    if not tasks:
        return [Verdict(claim, profile, "", NO_DATA, "no task has completed runs of both sides")]
    effects: dict[str, _Effects] = {}
    verdicts = []
    for task in sorted(tasks):
        try:
            effects[task] = _effects(claim, profile, task, groups)
            verdicts.append(_verdict(claim, profile, task, effects[task]))
        except RequestError as error:
            # Records of other settings may have a profile and task that do not go together.
            verdicts.append(Verdict(claim, profile, task, NO_DATA, error.problems[0]))
    decided = [verdict.task for verdict in verdicts if verdict.effect is not None]
    if len(decided) > 1:
        together = _together([effects[task] for task in decided])
        verdicts.append(_verdict(claim, profile, ALL_TASKS, together))
    return verdicts


def _has(groups: Iterable[Group], side: RowSpec, task: str) -> bool:
    """Whether there are runs that may be a side's: composing these only to find none takes long."""
    own = [group for group in groups if group.names[2:] == (task, side.method)]
    ranks = {group.records[0].config.get("ranks", {}).get("r_max") for group in own}
    return bool(own) and set(side.search) <= ranks


def _verdict(claim: ClaimSpec, profile: str, task: str, effects: _Effects) -> Verdict:
    confidence = 1 - (1 - CONFIDENCE) / len(effects.by_rank)
    found = {
        rank: _estimate(claim, by_seed, confidence)
        for rank, by_seed in effects.by_rank.items()
        if by_seed
    }
    if any(len(by_seed) < 2 for by_seed in effects.by_rank.values()):
        reason = _lacking(effects)
        return Verdict(claim, profile, task, NO_DATA, reason, runs=_runs(effects))
    decided = {rank: decide(claim, effect) for rank, effect in found.items()}
    word = next(w for w in (FAILS, NO_DATA, HOLDS) if w in decided.values())
    rank = min(
        (rank for rank in found if decided[rank] == word),
        key=lambda rank: _room(claim, found[rank]),
    )
    reason = "its interval crosses a bound; more seeds would decide" if word == NO_DATA else ""
    seeds = tuple(sorted(effects.by_rank[rank]))
    return Verdict(claim, profile, task, word, reason, found[rank], rank, seeds, _runs(effects))


def _estimate(claim: ClaimSpec, by_seed: BySeed, confidence: float) -> Estimate:
    """Return the effect over seeds in the unit of the claim's bounds; a ratio has no deviation."""
    found = estimate(list(by_seed.values()), confidence)
    if claim.compare == "difference":
        return found
    return Estimate(
        mean=math.exp(found.mean),
        std=None,
        n=found.n,
        low=None if found.low is None else math.exp(found.low),
        high=None if found.high is None else math.exp(found.high),
        smallest=math.exp(found.smallest),
        largest=math.exp(found.largest),
    )


def _lacking(effects: _Effects) -> str:
    count = min(len(by_seed) for by_seed in effects.by_rank.values())
    return f"{count or 'no'} seed{'' if count == 1 else 's'} of both sides, two are needed"


def _room(claim: ClaimSpec, effect: Estimate) -> float:
    """Return how far the interval's worse end is inside the bounds, negative where outside."""
    rooms = []
    if claim.above is not None and effect.low is not None:
        rooms.append(effect.low - claim.above)
    if claim.below is not None and effect.high is not None:
        rooms.append(claim.below - effect.high)
    return min(rooms)


def _effects(claim: ClaimSpec, profile: str, task: str, groups: Sequence[Group]) -> _Effects:
    """Return the effects of a task; without any for a seed that one side lacks."""
    own = [group for group in groups if group.names[2] == task]
    values = _values(claim, profile, task, own)
    if claim.measure == "train_seconds":
        times = [values.seconds(side, task) for side in claim.sides()]
        by_rank: dict[int | None, BySeed] = {None: _compared(claim, *times)}
    else:
        sets: list[list[int | None]] = [list(claim.ranks) or [None]]
        if claim.each_rank:
            sets = [[rank] for rank in claim.ranks]
        metric = claim.metric or headline(own[0])
        column = ColumnSpec(heading=task, task=task, metric=metric)
        by_rank = {}
        for ranks in sets:
            sides = [_scores(values, side, ranks, column) for side in claim.sides()]
            by_rank[ranks[0] if claim.each_rank else None] = _compared(claim, *sides)
    seeds = {seed for by_seed in by_rank.values() for seed in by_seed}
    return _Effects(by_rank, {seed: _run_ids(values, seed) for seed in sorted(seeds)})


def _values(claim: ClaimSpec, profile: str, task: str, groups: Sequence[Group]) -> Values:
    """Return the values of the runs of both sides.

    Raises:
        RequestError: When a side cannot be composed, or does not have its cut.
    """
    base = (f"profile={profile}",)
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


def _compared(claim: ClaimSpec, left: BySeed, right: BySeed) -> BySeed:
    """Return the effect of each seed that both sides have; a ratio needs positive values."""
    seeds = sorted(left.keys() & right.keys())
    if claim.compare == "difference":
        return {seed: left[seed] - right[seed] for seed in seeds}
    positive = [seed for seed in seeds if min(left[seed], right[seed]) > 0]
    return {seed: math.log(left[seed] / right[seed]) for seed in positive}


def _mean(sides: Sequence[BySeed]) -> BySeed:
    """Return the mean of several values of each seed that has them all."""
    seeds = set.intersection(*map(set, sides))
    return {seed: statistics.fmean(side[seed] for side in sides) for seed in sorted(seeds)}


def _together(effects: Sequence[_Effects]) -> _Effects:
    """Return the mean effects over tasks, of the seeds that have all of these."""
    by_rank = {rank: _mean([one.by_rank[rank] for one in effects]) for rank in effects[0].by_rank}
    seeds = sorted({seed for by_seed in by_rank.values() for seed in by_seed})
    return _Effects(by_rank, {seed: sum((one.runs[seed] for one in effects), ()) for seed in seeds})


def _run_ids(values: Values, seed: int) -> tuple[str, ...]:
    return tuple(by_seed[seed].run_id for by_seed in values.used.values() if seed in by_seed)


def _runs(effects: _Effects) -> tuple[str, ...]:
    return tuple(sorted({run for runs in effects.runs.values() for run in runs}))
