"""What records say, as data: ``make_report`` reads them once, everything else follows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dylora_exp.core import RequestError, counted
from dylora_exp.records import Record, RecordStore
from dylora_exp.reporting.analysis.decisions import LEVEL, NO_DATA
from dylora_exp.reporting.analysis.estimates import CONFIDENCE
from dylora_exp.reporting.analysis.groups import (
    HELD_OUT,
    Group,
    Series,
    group_warnings,
    groups_of,
    is_on_held_out,
    undefined_notes,
)
from dylora_exp.reporting.analysis.provenance import metric_versions
from dylora_exp.reporting.analysis.sections import (
    Choice,
    Column,
    Section,
    all_series,
    averages,
    choices,
    costs,
    deciding,
    differences,
    rank_choice,
    rank_verdicts,
)
from dylora_exp.reporting.analysis.verdicts import Verdict, judge
from dylora_exp.reporting.analysis.where import Where
from dylora_exp.reporting.specs.claims import ClaimSpec, load_claims

CLAIMS_SAY = (
    "Effect: what the left side is better by, or its ratio to the right, seed by seed, with its "
    "own {} interval. A claim holds when the effect lies between its bounds and does not hold when "
    "it lies outside, by one-sided paired t-tests at {} with Holm's correction over the claims and "
    "tasks of a family in a profile (tests: how many). Otherwise, and with fewer than two common "
    "seeds: {}. Equal effects decide nothing, and scores are taken to scatter by at least one "
    "example's part (1/n of the metric's range, where the records name the n examples). A claim "
    "about several ranks holds when it holds at each of them, and does not hold when it does not "
    "at one (corrected for their number); the rank that decides is shown. Seeds needed: if mean "
    "and scatter stay. Bounds that the paper does not give are marked as the project's. Only runs "
    "with the profile's own settings count."
).format(f"{100 * CONFIDENCE:g} %", f"{100 * LEVEL:g} %", NO_DATA)
FOUND_BY = ("project", "torch", "transformers", "peft", "python", "hardware")


@dataclass(frozen=True)
class Report:
    """What records say.

    Attributes:
        signature: The records, seeds and versions behind it, a line each.
        warnings: What a reader must know before the numbers, a sentence each.
        file_warnings: A sentence for each file among the records that is none.
        records: All records there are, asked for or not.
        groups: They, by everything but the seed.
        series: The scores of the groups.
        choices: The rank choice of each series.
        verdicts: On each claim.
        tolerance: What a recommended rank may lose; None for one standard error.
        where: What was asked for; empty for everything.
    """

    signature: tuple[str, ...]
    warnings: tuple[str, ...]
    file_warnings: tuple[str, ...]
    records: tuple[Record, ...]
    groups: tuple[Group, ...]
    series: tuple[Series, ...]
    choices: tuple[Choice, ...]
    verdicts: tuple[Verdict, ...]
    tolerance: float | None
    where: str

    def sections(self, every_metric: bool = True) -> list[Section]:
        """Return the report's grids.

        Args:
            every_metric: Whether averages and differences are of all metrics, or only of the one
                that decides.
        """
        series = self.series if every_metric else deciding(self.series)
        return [
            claims_section(self.verdicts),
            rank_verdicts(self.groups, self.tolerance),
            rank_choice(self.choices, self.tolerance),
            costs(self.groups),
            averages(series),
            differences(series),
        ]


def make_report(
    results_dir: Path,
    where: str = "",
    tolerance: float | None = None,
    claims: Sequence[ClaimSpec] | None = None,
) -> Report:
    """Read the records of a results folder and derive the report from them.

    Args:
        results_dir: Where the records are.
        where: A filter, as ``Where.parse`` reads it.
        tolerance: What a recommended rank may lose, as a part of the best; None for one standard
            error over seeds.
        claims: What to judge; None for the project's own file.

    Raises:
        RequestError: For a filter, a tolerance or a claims file that is wrong.
    """
    if tolerance is not None and not 0 <= tolerance < 1:
        raise RequestError(f"--tolerance: found {tolerance:g}, expected at least 0 and below 1.")
    asked = Where.parse(where)
    claims = load_claims() if claims is None else claims
    everything, file_warnings = RecordStore(results_dir).read_all()
    selected, unmatched = asked.select(everything)
    on_held_out = [] if HELD_OUT in asked.allowed else [r for r in selected if is_on_held_out(r)]
    selected = [record for record in selected if record not in on_held_out]
    completed = [record for record in selected if record.status == "completed"]
    groups, twice = groups_of(completed)
    series = all_series(groups)
    return Report(
        signature=tuple(_signature(selected, completed, len(everything), where)),
        warnings=(
            *(*unmatched, *_held_out_note(on_held_out), *_left_out(selected), *twice),
            *(*group_warnings(groups), *undefined_notes(groups)),
        ),
        file_warnings=tuple(file_warnings),
        records=tuple(everything),
        groups=tuple(groups),
        series=tuple(series),
        choices=tuple(choices(series, tolerance)),
        verdicts=tuple(judge(claims, groups)),
        tolerance=tolerance,
        where=where,
    )


def bare_report(records: Iterable[Record]) -> Report:
    """Return the groups, series and ranks of records, without claims and what is said of files."""
    found = tuple(records)
    groups, _ = groups_of(record for record in found if record.status == "completed")
    series = all_series(groups)
    return Report(
        signature=(),
        warnings=(),
        file_warnings=(),
        records=found,
        groups=tuple(groups),
        series=tuple(series),
        choices=tuple(choices(series, None)),
        verdicts=(),
        tolerance=None,
        where="",
    )


def claims_section(verdicts: Sequence[Verdict]) -> Section:
    """Return the verdict on each claim, with its effect and the runs behind it."""
    rows = []
    for verdict in verdicts:
        claim, effect = verdict.claim, verdict.effect
        rows.append(
            (
                *(verdict.profile, claim.name, verdict.task, verdict.word),
                *(claim.expected(), verdict.at),
                *((effect.mean, effect.low, effect.high, effect.n) if effect else (None,) * 4),
                *(verdict.p, claim.family_name, verdict.tests, verdict.seeds_needed),
                *(verdict.reason, " ".join(verdict.runs)),
            )
        )
    claims = {verdict.claim.name: verdict.claim for verdict in verdicts}
    return Section(
        "Claims",
        CLAIMS_SAY,
        (
            *(Column("profile"), Column("claim"), Column("task"), Column("verdict")),
            *(Column("expected"), Column("at rank", "d"), Column("effect", ".4f")),
            *(Column("low", ".4f"), Column("high", ".4f"), Column("n", "d")),
            *(Column("p (Holm)", ".3g"), Column("family"), Column("tests", "d")),
            *(Column("seeds needed", "d"), Column("why"), Column("runs")),
        ),
        tuple(rows),
        tuple(
            f"{claim.name}: {claim.says} ({claim.source}: {claim.place}; "
            f"{claim.left.label} against {claim.right.label})"
            for claim in claims.values()
        ),
    )


def _held_out_note(records: Sequence[Record]) -> list[str]:
    """Return a sentence for the records that do not count, as none of a task's evaluation data."""
    shares = sorted({str(record.settings[HELD_OUT]) for record in records})
    return [
        f"{counted(len(records), 'record')} left out that scored held-out training examples "
        f"(--where {HELD_OUT}={','.join(shares)})."
        for _ in records[:1]
    ]


def _left_out(records: Sequence[Record]) -> list[str]:
    """Return a sentence for the records that do not count, and one for each failed run."""
    counts = Counter(record.status for record in records if record.status != "completed")
    if not counts:
        return []
    statuses = " and ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    return [f"{statuses} of {len(records)} records left out."] + [
        f"run {record.run_id} ({record.profile} {record.model} {record.task} {record.method}, "
        f"seed {record.seed}) failed: {record.error or 'no reason given'}"
        for record in records
        if record.status == "failed"
    ]


def _signature(
    selected: Sequence[Record], completed: Sequence[Record], found: int, where: str
) -> list[str]:
    """Return the records, seeds, versions and commits behind the report, a line each."""
    about = (
        f"{found} records" if not where else f"{len(selected)} of {found} records, where {where}"
    )
    lines = [f"{about}; {len(completed)} completed"]
    seeds = sorted({record.seed for record in completed})
    lines.append(f"seeds: {', '.join(map(str, seeds)) or 'none'}")
    for key in FOUND_BY:
        lines.append(f"{key}: {', '.join(_environment(completed, key)) or 'unknown'}")
    commits = [commit[:7] for commit in _environment(completed, "git_commit")]
    dirty = sum(record.environment.get("dirty") is True for record in completed)
    lines.append(
        f"commits: {', '.join(commits) or 'unknown'}; {dirty or 'none'} from a modified source tree"
    )
    return [*lines, *metric_versions(completed)]


def _environment(records: Iterable[Record], key: str) -> list[str]:
    found = {record.environment.get(key) for record in records}
    return sorted(str(value) for value in found if value is not None)
