"""Claims judged by records.

A claim is judged in every profile, on each task and on all of them together, on the seeds that both
of its sides have; these are the independent draws. It

- **holds** when its effect lies between the claim's bounds,
- **does not hold** when it lies outside,
- has **not enough data** when neither can be said, and with fewer than two common seeds.

What can be said is in ``decisions``: tests, one example's part, several ranks, families.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dylora_exp.config import options
from dylora_exp.core import RequestError
from dylora_exp.reporting.analysis.decisions import (
    NO_DATA,
    Decision,
    Evidence,
    decide,
)
from dylora_exp.reporting.analysis.effects import Effects, effects_of, mean_effects
from dylora_exp.reporting.analysis.estimates import Estimate
from dylora_exp.reporting.analysis.groups import Group
from dylora_exp.reporting.specs.claims import ClaimSpec
from dylora_exp.reporting.specs.layout import RowSpec

ALL_TASKS = "all of them"


@dataclass(frozen=True)
class Verdict:
    """What records say about a claim.

    Attributes:
        claim: The claim.
        profile: The profile of the records.
        task: A task, or ``ALL_TASKS`` for the mean over several.
        word: One of the three verdicts.
        reason: Why nothing could be decided; empty where something was.
        effect: Over seeds, with its own 95 % interval, in the unit of the claim's bounds; None
            without data. Of a claim about several ranks: at the rank that decides.
        at: That rank.
        p: The p-value after the correction over the family; None without data.
        tests: How many claims and tasks that correction is over; None without data.
        seeds_needed: How many seeds would decide; None where it cannot be told.
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
    p: float | None = None
    tests: int | None = None
    seeds_needed: int | None = None
    seeds: tuple[int, ...] = ()
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Case:
    """A claim on a task of a profile: its effects, or why there are none."""

    claim: ClaimSpec
    profile: str
    task: str
    effects: Effects | None = None
    reason: str = ""


def judge(claims: Sequence[ClaimSpec], groups: Sequence[Group]) -> list[Verdict]:
    """Judge every claim in every profile of the records, on each task and on all of them together.

    Args:
        claims: The claims.
        groups: The completed records; where ``--where`` cut them down, the claims see what is left.
    """
    verdicts = []
    for profile in sorted({group.names[0] for group in groups}):
        own = [group for group in groups if group.names[0] == profile]
        verdicts += _judged([case for claim in claims for case in _cases(claim, profile, own)])
    return verdicts


def _judged(cases: Sequence[_Case]) -> list[Verdict]:
    """Return the verdicts on the cases of a profile, each family's corrected together."""
    evidence = {
        index: found
        for index, case in enumerate(cases)
        if case.effects and (found := case.effects.evidence(case.claim))
    }
    families: dict[str, list[int]] = {}
    for index in evidence:
        families.setdefault(cases[index].claim.family_name, []).append(index)
    decisions: dict[int, Decision] = {}
    for members in families.values():
        decided = decide([evidence[index] for index in members])
        decisions.update(zip(members, decided, strict=True))
    return [
        _decided(case, evidence[index], decisions[index])
        if index in decisions
        else _undecided(case)
        for index, case in enumerate(cases)
    ]


def _decided(case: _Case, evidence: Evidence, decision: Decision) -> Verdict:
    assert case.effects is not None
    effect = evidence.effects[decision.rank]
    return Verdict(
        case.claim,
        case.profile,
        case.task,
        decision.word,
        decision.reason,
        effect if case.claim.compare == "difference" else _ratio(effect),
        decision.rank,
        decision.p,
        decision.tests,
        decision.seeds_needed,
        tuple(sorted(case.effects.by_rank[decision.rank])),
        case.effects.run_ids(),
    )


def _undecided(case: _Case) -> Verdict:
    about = (case.claim, case.profile, case.task, NO_DATA)
    if case.effects is None:
        return Verdict(*about, case.reason)
    return Verdict(*about, _lacking(case.effects), runs=case.effects.run_ids())


def _cases(claim: ClaimSpec, profile: str, groups: Sequence[Group]) -> list[_Case]:
    """Return the case of each task with records of both sides, and that of all together."""
    if profile not in options("profile"):
        return [_Case(claim, profile, "", reason=f"there is no conf/profile/{profile}.yaml")]
    tasks = {group.names[2] for group in groups} & set(options("task"))
    tasks = {task for task in tasks if all(_has(groups, side, task) for side in claim.sides())}
    if claim.tasks:
        tasks &= set(claim.tasks)
    if not tasks:
        return [_Case(claim, profile, "", reason="no task has completed runs of both sides")]
    cases = []
    for task in sorted(tasks):
        try:
            cases.append(_Case(claim, profile, task, effects_of(claim, profile, task, groups)))
        except RequestError as error:
            # Records of other settings may have a profile and task that do not go together.
            cases.append(_Case(claim, profile, task, reason=error.problems[0]))
    known = [case.effects for case in cases if case.effects and case.effects.evidence(claim)]
    if len(known) > 1:
        cases.append(_Case(claim, profile, ALL_TASKS, mean_effects(known)))
    return cases


def _has(groups: Iterable[Group], side: RowSpec, task: str) -> bool:
    """Whether there are runs that may be a side's: composing these only to find none takes long."""
    own = [group for group in groups if group.names[2:] == (task, side.method)]
    ranks = {group.records[0].config.get("ranks", {}).get("r_max") for group in own}
    return bool(own) and set(side.search) <= ranks


def _ratio(found: Estimate) -> Estimate:
    """Return the ratio whose logarithm was estimated; it has no deviation."""
    return Estimate(
        mean=math.exp(found.mean),
        std=None,
        n=found.n,
        low=None if found.low is None else math.exp(found.low),
        high=None if found.high is None else math.exp(found.high),
        smallest=math.exp(found.smallest),
        largest=math.exp(found.largest),
    )


def _lacking(effects: Effects) -> str:
    count = min(len(by_seed) for by_seed in effects.by_rank.values())
    return f"{count or 'no'} seed{'' if count == 1 else 's'} of both sides, two are needed"
