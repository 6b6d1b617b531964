"""Records to the cells of a table: mean and sample standard deviation over seeds, in percent."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dylora_exp.records import Record, allowed_loss, aurac, best_rank, recommended_rank
from dylora_exp.reporting.analysis.plan import (
    MissingRun,
    PlannedRun,
    Setup,
    base_words,
    left_out,
    missing_runs,
    records_of,
    setups_by_rank,
)
from dylora_exp.reporting.analysis.values import BySeed, UndefinedValue, Values
from dylora_exp.reporting.specs.layout import BlockSpec, ColumnSpec, ProfileSpec, RowSpec, TableSpec
from dylora_exp.reporting.specs.paper import Printed, PrintedCell


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table, in the unit of its column; None where blank.

    Attributes:
        mean: Over seeds.
        std: Sample standard deviation (n-1); None for a single value.
        n: The number of seeds; None for an average of cells and for a best single run.
        low: The smallest value.
        high: The largest value.
        at: The rank of a best or recommended result.
        runs: The number of runs that a cost is about.
        printed: What the paper prints here.
        bold: Whether it is the best of its block and column.
        lacks: Why runs behind it are missing, each reason once.
    """

    mean: float | None = None
    std: float | None = None
    n: int | None = None
    low: float | None = None
    high: float | None = None
    at: int | None = None
    runs: int | None = None
    printed: PrintedCell | None = None
    bold: bool = False
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """A row of a table, its cells in the order of the columns."""

    spec: RowSpec
    rank: int | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Block:
    """Lines that are compared with each other; ``rank``: of all of them, where there is one."""

    heading: str
    show: str
    rank: int | None
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Column:
    """A column of a table; the average is that of the headline metrics."""

    heading: str
    task: str
    metric: str
    measure: str
    sign: int = 1


@dataclass(frozen=True)
class Table:
    """A table's content, before it is Markdown, LaTeX or CSV.

    ``setups`` are the names of its runs' settings, ``records`` is what it is made of, ``missing``
    what it lacks, ``left_out`` what it has not and is complete without.
    """

    name: str
    profile: str
    spec: TableSpec
    part: ProfileSpec
    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    setups: tuple[str, ...]
    records: tuple[Record, ...]
    missing: tuple[MissingRun, ...]
    left_out: tuple[MissingRun, ...]
    undefined: tuple[UndefinedValue, ...]


def summarise(values: Sequence[float], factor: float = 100) -> Cell:
    """Return the cell of one value a seed: blank for none, no deviation for one.

    Args:
        values: As the records have them.
        factor: What they are multiplied with; 100 makes percent of fractions.
    """
    if not values:
        return Cell()
    return Cell(
        mean=factor * statistics.fmean(values),
        std=factor * statistics.stdev(values) if len(values) > 1 else None,
        n=len(values),
        low=factor * min(values),
        high=factor * max(values),
    )


def build_table(
    name: str,
    profile: str,
    spec: TableSpec,
    part: ProfileSpec,
    planned: Sequence[PlannedRun],
    records: Mapping[str, Record],
    printed: Printed,
) -> Table:
    """Fill a table's cells from the records of its planned runs; other records do not count.

    Args:
        name: The table's name.
        profile: The profile's name.
        spec: The whole table's spec.
        part: The profile's part of it.
        planned: The table's runs in this profile.
        records: All records by run id.
        printed: The paper's cells.
    """
    used = records_of(planned, records)
    values = Values(base_words(part, profile), used)
    missing, optional = missing_runs(planned, records, used), left_out(planned, used)
    filler = _Filler(spec, part, values, printed, [*missing, *optional])
    blocks = [
        filler.block(one)
        for block in spec.blocks_in(profile)
        for one in ([block.for_rank(rank) for rank in block.ranks] or [block])
    ]
    found = {record.run_id: record for by_seed in used.values() for record in by_seed.values()}
    return Table(
        name=name,
        profile=profile,
        spec=spec,
        part=part,
        columns=filler.columns,
        blocks=tuple(_with_bold(block, filler.columns) for block in blocks),
        setups=tuple(setup.key for setup in used),
        records=tuple(found.values()),
        missing=tuple(missing),
        left_out=tuple(optional),
        undefined=tuple(values.undefined),
    )


def _columns(spec: TableSpec, part: ProfileSpec) -> tuple[Column, ...]:
    columns = [
        Column(
            column.heading,
            column.task,
            column.metric or column.measure,
            column.measure,
            column.sign(),
        )
        for column in part.columns
    ]
    if spec.average and len(part.headlines()) > 1:
        columns.append(Column("Avg", "average", "headline", "average"))
    return tuple(columns)


class _Filler:
    """Fills the cells of one table."""

    def __init__(
        self,
        spec: TableSpec,
        part: ProfileSpec,
        values: Values,
        printed: Printed,
        missing: Sequence[MissingRun],
    ) -> None:
        self.spec = spec
        self.part = part
        self.columns = _columns(spec, part)
        self.values = values
        self.printed = printed
        self.reasons: dict[Setup, dict[str, None]] = {}
        for item in missing:
            self.reasons.setdefault(item.run.setup, {})[item.reason] = None

    def block(self, spec: BlockSpec) -> Block:
        rank = spec.ranks[0] if spec.ranks else None
        lines = []
        for row in spec.rows:
            shown = row.rank if rank is None else rank
            cells = [
                dataclasses.replace(
                    self._cell(spec, row, shown, column),
                    lacks=self._lacks(spec, row, shown, column),
                )
                for column in self.part.columns
            ]
            if len(self.columns) > len(cells):
                cells.append(self._average(cells))
            cells = self._with_printed(spec, row, cells)
            lines.append(Line(row, shown if spec.show == "rank" else None, tuple(cells)))
        return Block(spec.heading, spec.show, rank, tuple(lines))

    def _cell(self, block: BlockSpec, row: RowSpec, rank: int | None, column: ColumnSpec) -> Cell:
        if column.measure == "score":
            return self._score(block, row, rank, column)
        if column.measure == "cost":
            return self._cost(block, row, column)
        if column.measure == "train_seconds":
            return summarise(list(self.values.seconds(row, column.task).values()), factor=1)
        if block.show != "rank":
            return Cell()  # the columns may show different ranks
        counts = self.values.parameters(row, rank, column.task)
        return Cell(mean=statistics.fmean(counts)) if counts else Cell()

    def _lacks(
        self, block: BlockSpec, row: RowSpec, rank: int | None, column: ColumnSpec
    ) -> tuple[str, ...]:
        """Return why runs behind a cell are missing, each reason once."""
        at_rank = block.show == "rank" and column.measure in ("score", "parameters")
        setups: dict[Setup, None] = {}
        for task in [column.task] if column.task else self.part.tasks():
            by_rank = setups_by_rank(row, self.values.base, task)
            found = [by_rank[rank]] if at_rank and rank in by_rank else by_rank.values()
            setups.update(dict.fromkeys(found))
        return tuple(dict.fromkeys(r for setup in setups for r in self.reasons.get(setup, ())))

    def _score(self, block: BlockSpec, row: RowSpec, rank: int | None, column: ColumnSpec) -> Cell:
        if block.show == "rank":
            by_seed = self.values.scores(row, rank, column)
            return summarise(list(by_seed.values()), column.factor)
        curve = self.values.curve(row, column)
        if block.show in ("aurac", "aurac_log2"):
            return summarise(_areas(curve, block.show == "aurac_log2"), column.factor)
        return _chosen(block, curve, column)

    def _cost(self, block: BlockSpec, row: RowSpec, column: ColumnSpec) -> Cell:
        """Return a row's runs, and their mean seconds over all tasks as a multiple of a row's."""
        whose = next(other for other in block.rows if other.label == column.relative_to)
        own, one = self._mean_seconds(row), self._mean_seconds(whose)
        if own is None:
            return Cell()
        return Cell(
            mean=own / one if one else None, runs=self.values.runs(row, self.part.tasks()[0])
        )

    def _mean_seconds(self, row: RowSpec) -> float | None:
        """Return a row's training time over all tasks, where each is known."""
        times = [self.values.seconds(row, task) for task in self.part.tasks()]
        return math.fsum(statistics.fmean(t.values()) for t in times) if all(times) else None

    def _average(self, cells: Sequence[Cell]) -> Cell:
        """As the paper's: the plain mean of the tasks' cells, without a deviation of its own."""
        averaged = [cells[place] for place in self.part.headlines()]
        known = [cell.mean for cell in averaged if cell.mean is not None]
        mean = statistics.fmean(known) if len(known) == len(averaged) else None
        lacks = dict.fromkeys(reason for cell in averaged for reason in cell.lacks)
        return Cell(mean=mean, lacks=tuple(lacks))

    def _with_printed(self, block: BlockSpec, row: RowSpec, cells: Sequence[Cell]) -> list[Cell]:
        names = [column.paper_column for column in self.part.columns] + [self.part.paper_average]
        found = []
        for cell, name in zip(cells, names, strict=False):
            place = (name, row.paper_label) if self.spec.transposed else (row.paper_label, name)
            printed = self.printed.get((block.paper_block, *place))
            found.append(dataclasses.replace(cell, printed=printed))
        return found


def _areas(curve: Mapping[int, BySeed], log2: bool) -> list[float]:
    """Return the area under the curve of each seed that has a value at every rank."""
    seeds = set.intersection(*map(set, curve.values())) if curve else set()
    areas = (
        aurac({rank: by_seed[seed] for rank, by_seed in curve.items()}, log2)
        for seed in sorted(seeds)
    )
    return [area for area in areas if area is not None]


def _chosen(block: BlockSpec, curve: Mapping[int, BySeed], column: ColumnSpec) -> Cell:
    """Return the cell of the best or the recommended rank, the lowest of several best ones."""
    values = {rank: list(by_seed.values()) for rank, by_seed in curve.items() if by_seed}
    if block.show == "best_run":
        pick = min if column.lower_is_better else max
        values = {rank: [pick(of_rank)] for rank, of_rank in values.items()}
    cells = {rank: summarise(of_rank, column.factor) for rank, of_rank in values.items()}
    heights = {rank: column.sign() * (cell.mean or 0.0) for rank, cell in cells.items()}
    # Rounded: the last bits of a sum of floats must not decide a tie.
    rank = best_rank({rank: round(height, 9) for rank, height in heights.items()})
    if rank is None:
        return Cell()
    if block.show == "recommended":
        loss = column.factor * allowed_loss(values[rank], block.tolerance)
        rank = recommended_rank(heights, loss)
        assert rank is not None
    n = None if block.show == "best_run" else cells[rank].n
    return dataclasses.replace(cells[rank], at=rank, n=n)


def _with_bold(block: Block, columns: Sequence[Column]) -> Block:
    """Mark the best cells of each column of scores, where there are at least two to compare.

    Recommended ranks are no contest: the smaller one is the point.
    """
    best = []
    for column, *cells in zip(columns, *(line.cells for line in block.lines), strict=True):
        means = [column.sign * cell.mean for cell in cells if cell.mean is not None]
        contest = column.measure in ("score", "average") and block.show != "recommended"
        best.append(column.sign * max(means) if contest and len(means) > 1 else math.inf)
    lines = (
        dataclasses.replace(
            line,
            cells=tuple(
                dataclasses.replace(cell, bold=cell.mean is not None and _equal(cell.mean, top))
                for cell, top in zip(line.cells, best, strict=True)
            ),
        )
        for line in block.lines
    )
    return dataclasses.replace(block, lines=tuple(lines))


def _equal(one: float, other: float) -> bool:
    # The last bits of a sum of floats must not decide a tie.
    return math.isclose(one, other, rel_tol=1e-12)
