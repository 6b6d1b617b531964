"""The sections of a report: grids of numbers, the same for a terminal, a pipe and a page."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dylora_exp.records import DEFAULT_SHARE, run_tolerance
from dylora_exp.reporting.analysis.curves import areas, choose_ranks
from dylora_exp.reporting.analysis.estimates import Estimate, estimate, paired
from dylora_exp.reporting.analysis.groups import Group, Series, series_of
from dylora_exp.reporting.analysis.resolution import one_example

Value = str | float | int | None


@dataclass(frozen=True)
class Column:
    """A column of a grid; ``form``: how its numbers are written, empty for texts."""

    heading: str
    form: str = ""


@dataclass(frozen=True)
class Section:
    """A grid with its title, what a reader must know, and notes below it."""

    title: str
    says: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """The rank choice of a series.

    Attributes:
        series: Of the deciding metric.
        best: The rank with the best mean over seeds.
        recommended: The smallest rank whose mean is good enough.
        area: Area under the rank-quality curve divided by its width; None without a whole curve.
        area_log2: The same over log2 of the rank.
    """

    series: Series
    best: int
    recommended: int
    area: Estimate | None
    area_log2: Estimate | None


SUBJECT = (Column("profile"), Column("model"), Column("task"))
_SERIES = (*SUBJECT, Column("method"), Column("ranks made by"))
_ESTIMATE = tuple(
    Column(heading, ".4f") for heading in ("mean", "std", "95 % low", "95 % high", "min", "max")
)


def all_series(groups: Iterable[Group]) -> list[Series]:
    """Return the series of all groups."""
    return [series for group in groups for series in series_of(group)]


def deciding(series: Iterable[Series]) -> list[Series]:
    """Return the series of each group's deciding metric."""
    return [one for one in series if one.metric == one.group.headline]


def format_value(value: Value, column: Column) -> str:
    """Return a cell's text, empty for None."""
    if value is None:
        return ""
    return value if isinstance(value, str) else format(value, column.form)


def averages(series: Sequence[Series]) -> Section:
    """Return mean, deviation, interval and range over seeds, for each rank of each series."""
    rows = [
        (
            *(*_series_names(one), rank, one.metric, found.mean, found.std, found.low, found.high),
            *(found.smallest, found.largest, found.n),
        )
        for one in series
        for rank, found in rank_estimates(one)
    ]
    return Section(
        "Averages over seeds",
        "Grouped by every setting but the seed. Metrics in their own unit (accuracies are "
        "fractions); std: sample standard deviation (n-1); interval of the mean by Student's t.",
        (*_SERIES, Column("rank", "d"), Column("metric"), *_ESTIMATE, Column("n", "d")),
        tuple(rows),
    )


def rank_estimates(series: Series) -> Iterator[tuple[int | None, Estimate]]:
    """Yield each rank of a series with its estimate, a None first, then the ranks ascending."""
    for rank in sorted(series.values, key=lambda rank: -1 if rank is None else rank):
        yield rank, estimate(list(series.values[rank].values()))


def differences(series: Sequence[Series]) -> Section:
    """Return the paired differences between all comparable series.

    Series are compared at the same profile, model, task, metric and rank where their settings
    agree in everything but the method's and the ranks'.
    """
    rows: list[tuple[Value, ...]] = []
    for same in comparable(series):
        for first, second in itertools.combinations(same, 2):
            rows += _difference_rows(first, second)
    return Section(
        "Paired differences",
        "First less second on the seeds that both have; p: two-sided paired t-test, one test at a "
        "time (of twenty true ties one is below 0.05 by chance), with a scatter of at least one "
        "example's part. No p: no spread to judge by.",
        (
            *(*SUBJECT, Column("first"), Column("second")),
            *(Column("rank", "d"), Column("metric"), Column("difference", ".4f")),
            *(Column("95 % low", ".4f"), Column("95 % high", ".4f")),
            *(Column("p", ".3g"), Column("n", "d")),
        ),
        tuple(rows),
    )


def choices(series: Sequence[Series], tolerance: float | None) -> list[Choice]:
    """Return the rank choice of each series of a deciding metric that has ranks.

    Args:
        series: Any series.
        tolerance: What the recommended rank may lose, as a part of the best mean; None for one
            standard error over seeds, with one seed for what the run itself allows.
    """
    found = []
    for one in deciding(series):
        curve = one.ranked()
        values = {rank: list(by_seed.values()) for rank, by_seed in curve.items()}
        records, allowed = one.group.records, tolerance
        if allowed is None and len(records) == 1:
            allowed = run_tolerance(records[0])
        ranks = choose_ranks(values, one.sign, allowed)
        if ranks is not None:
            both = [areas(curve, log2) for log2 in (False, True)]
            found.append(Choice(one, *ranks, *(estimate(area) if area else None for area in both)))
    return found


def rank_verdicts(groups: Sequence[Group], tolerance: float | None) -> Section:
    """Return which rank of each group to deploy, of all its cuts.

    Args:
        groups: Any groups; those of methods without ranks are left out.
        tolerance: As ``choices`` takes it.
    """
    found = [(group, group.rank_verdict(tolerance)) for group in groups]
    rows = [
        (*group.subject, group.method, len(group.records), verdict.sentence)
        for group, verdict in found
        if verdict is not None
    ]
    return Section(
        "Which rank to deploy",
        f"The smallest rank, of all cuts, within {_loss(tolerance)} of the best mean; of equal "
        "ranks the one with fewer adapter parameters, then with the better score, then scored "
        "last. Scores in % where tables show them so.",
        (*SUBJECT, Column("method"), Column("n", "d"), Column("verdict")),
        tuple(rows),
    )


def _loss(tolerance: float | None) -> str:
    """Return in words what a recommended rank may lose."""
    if tolerance is not None:
        return f"{100 * tolerance:g} %"
    return (
        "one standard error over seeds (with one seed, within its ranks.tolerance: "
        f"{100 * DEFAULT_SHARE:g} % unless set)"
    )


def rank_choice(found: Sequence[Choice], tolerance: float | None) -> Section:
    """Return the recommended rank and the areas under the curve of each series."""
    rows = [
        (
            *_series_names(choice.series),
            choice.series.metric,
            choice.best,
            choice.recommended,
            *_mean_std(choice.area),
            *_mean_std(choice.area_log2),
            choice.area.n if choice.area else None,
        )
        for choice in found
    ]
    return Section(
        "Recommended rank and area under the curve",
        f"Recommended: the smallest rank of this cut within {_loss(tolerance)} of the best mean. "
        "AURAC: area under the rank-quality curve divided by its width, over the rank and over its "
        "log2, mean and std over the seeds with a value at every rank.",
        (
            *(*_SERIES, Column("metric"), Column("best rank", "d"), Column("recommended", "d")),
            *(Column("AURAC", ".4f"), Column("std", ".4f")),
            *(Column("AURAC log2", ".4f"), Column("std", ".4f"), Column("n", "d")),
        ),
        tuple(rows),
    )


def costs(groups: Sequence[Group]) -> Section:
    """Return what the runs of each group took, and what they train."""
    rows = [
        (
            *group.subject,
            group.method,
            *_mean_std(_recorded(group, "timing", "train_seconds")),
            *_mean_std(_recorded(group, "timing", "sweep_seconds")),
            _mean_std(_recorded(group, "timing", "steps"))[0],
            _mean_std(_recorded(group, "parameters", "trainable"))[0],
            _mean_std(_recorded(group, "parameters", "total"))[0],
            len(group.records),
        )
        for group in groups
    ]
    return Section(
        "Cost",
        "Seconds of one training and of scoring all its ranks, on the machines that the signature "
        "names; parameters of the whole model and those that are trained.",
        (
            *(*SUBJECT, Column("method"), Column("train s", ".1f"), Column("std", ".1f")),
            *(Column("sweep s", ".1f"), Column("std", ".1f"), Column("steps", ",.0f")),
            *(Column("trainable", ",.0f"), Column("total", ",.0f"), Column("runs", "d")),
        ),
        tuple(rows),
    )


def train_seconds(group: Group) -> Estimate | None:
    """Return the training time of a group's runs, in seconds."""
    return _recorded(group, "timing", "train_seconds")


def comparable(series: Iterable[Series]) -> Iterable[list[Series]]:
    """Return series of the same profile, model, task, metric and other settings but the ranks'."""
    found: dict[tuple[object, ...], list[Series]] = {}
    for one in series:
        shared = {
            key: value
            for key, value in one.group.settings.items()
            if key.split(".")[0] not in ("method", "ranks")
        }
        key = (one.group.subject, json.dumps(shared, sort_keys=True), one.metric)
        found.setdefault(key, []).append(one)
    return found.values()


def _difference_rows(first: Series, second: Series) -> Iterator[tuple[Value, ...]]:
    records = [*first.group.fewest, *second.group.fewest]
    for rank in sorted(
        first.values.keys() & second.values.keys(), key=lambda rank: -1 if rank is None else rank
    ):
        left, right = first.values[rank], second.values[rank]
        floor = one_example(first.metric, records, [*left.values(), *right.values()])
        found = paired(left, right, floor=floor)
        if found is not None:
            about = found.difference
            yield (
                *(*first.group.subject, first.label, second.label, rank, first.metric),
                *(about.mean, about.low, about.high, found.p, about.n),
            )


def _series_names(series: Series) -> tuple[str, ...]:
    return (*series.group.subject, series.group.method, series.cut)


def _mean_std(found: Estimate | None) -> tuple[float | None, float | None]:
    return (found.mean, found.std) if found else (None, None)


def _recorded(group: Group, part: str, name: str) -> Estimate | None:
    """Return a number outside the scores, over the records that have it; None without any."""
    values = [getattr(record, part).get(name) for record in group.records]
    known = [float(value) for value in values if value is not None]
    return estimate(known) if known else None
