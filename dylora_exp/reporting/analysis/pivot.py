"""The answer of a report: for each profile, model and task, rank by method, and what it costs."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from dylora_exp.reporting.analysis.display import (
    METHOD_NAMES,
    factor,
    group_name,
    metric_name,
    series_name,
)
from dylora_exp.reporting.analysis.groups import Group, Series
from dylora_exp.reporting.analysis.report import Report
from dylora_exp.reporting.analysis.sections import deciding, rank_estimates, train_seconds


@dataclass(frozen=True)
class PivotCell:
    """The mean over seeds at a rank, as tables show it; ``std`` is None of one seed."""

    mean: float
    std: float | None
    is_best: bool


@dataclass(frozen=True)
class PivotRow:
    """A series of the metric that decides.

    Attributes:
        series: The series.
        name: Its method, settings and cut in print.
        cells: By rank; rank None of a method without ranks.
        deploy: The smallest rank of this cut that is good enough; None without ranks.
        area: The mean area under its curve as tables show it; None without a whole curve.
        seconds: Of one training; None where no record says.
        trainable: The trained parameters; None where no record says.
        is_main: Whether it stands for its method where there is little room.
    """

    series: Series
    name: str
    cells: dict[int | None, PivotCell]
    deploy: int | None
    area: float | None
    seconds: float | None
    trainable: float | None
    is_main: bool

    @property
    def seeds(self) -> int:
        """How many runs it is the mean of."""
        return len(self.series.group.records)


@dataclass(frozen=True)
class Answer:
    """What the records of a profile, model and task say.

    Attributes:
        subject: Profile, model and task.
        metric: The metric that decides, in print with its unit.
        ranks: All ranks, ascending.
        rows: Method by method, in the order of the project's methods.
        verdicts: The name of each group and its verdict on ranks and cost as a sentence.
    """

    subject: tuple[str, str, str]
    metric: str
    ranks: tuple[int, ...]
    rows: tuple[PivotRow, ...]
    verdicts: tuple[tuple[str, str], ...]


def answers(report: Report) -> list[Answer]:
    """Return the answer of each profile, model and task, those with most records first."""
    found = []
    series = deciding(report.series)
    for subject in dict.fromkeys(group.subject for group in report.groups):
        own = [one for one in series if one.group.subject == subject and one.values]
        if own:
            groups = [group for group in report.groups if group.subject == subject]
            found.append(_answer(report, own, groups))
    return sorted(found, key=lambda answer: -_records(answer))


def _records(answer: Answer) -> int:
    groups = {id(row.series.group): row.series.group for row in answer.rows}
    return sum(len(group.records) for group in groups.values())


def _answer(report: Report, series: Sequence[Series], groups: Sequence[Group]) -> Answer:
    order = list(METHOD_NAMES)
    series = sorted(series, key=lambda one: (_place(order, one), series_name(one)))
    chosen = {id(choice.series): choice for choice in report.choices}
    main = _main_series(series, report.tolerance)
    rows = []
    for one in series:
        times = factor(one)
        choice = chosen.get(id(one))
        time = train_seconds(one.group)
        cells = {
            rank: PivotCell(
                mean=times * found.mean,
                std=None if found.std is None else times * found.std,
                is_best=False,
            )
            for rank, found in rank_estimates(one)
        }
        rows.append(
            PivotRow(
                series=one,
                name=series_name(one),
                cells=cells,
                deploy=choice.recommended if choice else None,
                area=times * choice.area.mean if choice and choice.area else None,
                seconds=time.mean if time else None,
                trainable=_trainable(one.group),
                is_main=id(one) in main,
            )
        )
    ranks = sorted({rank for one in series for rank in one.ranked()})
    return Answer(
        subject=series[0].group.subject,
        metric=metric_name(series[0]),
        ranks=tuple(ranks),
        rows=tuple(best_marked(rows)),
        verdicts=tuple(_verdicts(groups, report.tolerance)),
    )


def _place(order: Sequence[str], series: Series) -> int:
    method = series.group.names[3]
    return order.index(method) if method in order else len(order)


def best_marked(rows: Sequence[PivotRow]) -> list[PivotRow]:
    """Return rows with the best of them marked at each rank that several have."""
    by_rank: dict[int | None, list[float]] = {}
    for row in rows:
        for rank, cell in row.cells.items():
            by_rank.setdefault(rank, []).append(row.series.sign * cell.mean)
    best = {rank: max(found) for rank, found in by_rank.items() if len(found) > 1}
    return [
        dataclasses.replace(
            row,
            cells={
                rank: dataclasses.replace(
                    cell, is_best=row.series.sign * cell.mean == best.get(rank)
                )
                for rank, cell in row.cells.items()
            },
        )
        for row in rows
    ]


def _main_series(series: Sequence[Series], tolerance: float | None) -> set[int]:
    """Return one series of each method: most seeds, fewest settings, the cut to deploy."""
    by_method: dict[str, list[Series]] = {}
    for one in series:
        by_method.setdefault(one.group.names[3], []).append(one)
    found = set()
    for same in by_method.values():
        group = min(
            (one.group for one in same),
            key=lambda group: (-len(group.records), len(group.variant), group.variant),
        )
        verdict = group.rank_verdict(tolerance)
        cut = verdict.chosen.name if verdict and verdict.chosen else None
        own = [one for one in same if one.group is group]
        found.add(id(next((one for one in own if (one.truncation, one.scale) == cut), own[0])))
    return found


def _verdicts(groups: Sequence[Group], tolerance: float | None) -> list[tuple[str, str]]:
    """Return each group's verdict on ranks, with the time of its training."""
    found = []
    for group in groups:
        verdict = group.rank_verdict(tolerance)
        time = train_seconds(group)
        words = [verdict.sentence] if verdict else ["has no ranks"]
        words += [f"one training takes {time.mean:.1f} s"] if time else []
        found.append((group_name(group), "; ".join(words) + "."))
    return found


def _trainable(group: Group) -> float | None:
    values = [record.parameters.get("trainable") for record in group.records]
    known = [float(value) for value in values if value is not None]
    return statistics.fmean(known) if known else None
