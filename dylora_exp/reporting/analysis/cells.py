"""Records to the cells of a table: mean and sample standard deviation over seeds, in percent."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dylora_exp.records import Record
from dylora_exp.reporting.analysis.measures import MEASURES, Cell, CellContext
from dylora_exp.reporting.analysis.plan import (
    MissingRun,
    Setup,
    base_overrides,
    left_out,
    missing_runs,
    planned_runs,
    records_of,
    setups_by_rank,
)
from dylora_exp.reporting.analysis.values import UndefinedValue, Values
from dylora_exp.reporting.specs.layout import BlockSpec, ProfileSpec, RowSpec, TableSpec
from dylora_exp.reporting.specs.paper import Printed, printed_cells


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
    factor: float = 100.0


@dataclass(frozen=True)
class Table:
    """A table's content, before it is Markdown, LaTeX or CSV.

    Attributes:
        setups: The names of its runs' settings.
        records: What its cells are computed from.
        missing: The required runs without a completed record.
        left_out: The optional ones.
        undefined: Values of completed runs that are no finite number.
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


def build_table(
    name: str,
    profile: str,
    spec: TableSpec,
    part: ProfileSpec,
    records: Mapping[str, Record],
) -> Table:
    """Return a table with its cells filled from the records of its planned runs.

    Args:
        name: The table's name.
        profile: The profile's name.
        spec: The whole table's spec.
        part: The profile's part of it.
        records: All records by run id; those of other runs do not count.

    Raises:
        RequestError: When a run cannot be composed, or does not have what the table shows.
    """
    planned = planned_runs(spec, part, profile)
    used = records_of(planned, records)
    values = Values(base_overrides(part, profile), used)
    missing, optional = missing_runs(planned, records, used), left_out(planned, used)
    columns = _columns(spec, part, profile)
    filler = _Filler(spec, part, columns, values, printed_cells(name), [*missing, *optional])
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
        columns=columns,
        blocks=tuple(_with_bold(block, columns) for block in blocks),
        setups=tuple(setup.key for setup in used),
        records=tuple(found.values()),
        missing=tuple(missing),
        left_out=tuple(optional),
        undefined=tuple(values.undefined),
    )


def _columns(spec: TableSpec, part: ProfileSpec, profile: str) -> tuple[Column, ...]:
    """Return a table's columns, with the factors of scores that follow from the tasks' readers."""
    row, base = spec.blocks_in(profile)[0].rows[0], base_overrides(part, profile)
    readers = {
        task: next(iter(setups_by_rank(row, base, task).values())).config.task.reader
        for task in part.tasks()
    }
    columns = [
        Column(
            column.heading,
            column.task,
            column.metric or column.measure,
            column.measure,
            column.sign(),
            column.factor_with(readers.get(column.task, "")),
        )
        for column in part.columns
    ]
    if spec.average and len(part.headlines()) > 1:
        factor = columns[part.headlines()[0]].factor
        columns.append(Column("Avg", "average", "headline", "score", factor=factor))
    return tuple(columns)


class _Filler:
    """Fills the cells of one table."""

    def __init__(
        self,
        spec: TableSpec,
        part: ProfileSpec,
        columns: Sequence[Column],
        values: Values,
        printed: Printed,
        missing: Sequence[MissingRun],
    ) -> None:
        self.spec = spec
        self.part = part
        self.columns = columns
        self.values = values
        self.printed = printed
        self.reasons: dict[Setup, dict[str, None]] = {}
        for item in missing:
            self.reasons.setdefault(item.run.setup, {})[item.reason] = None

    def block(self, spec: BlockSpec) -> Block:
        rank = spec.ranks[0] if spec.ranks else None
        tasks, factors = self.part.tasks(), [column.factor for column in self.columns]
        lines = []
        for row in spec.rows:
            shown = row.rank if rank is None else rank
            cells = []
            for column, factor in zip(self.part.columns, factors, strict=False):
                context = CellContext(self.values, spec, row, shown, column, factor, tasks)
                cell = MEASURES[column.measure].read(context)
                cells.append(dataclasses.replace(cell, lacks=self._lacks(context)))
            if len(self.columns) > len(cells):
                cells.append(self._average(cells))
            cells = self._with_printed(spec, row, cells)
            lines.append(Line(row, shown if spec.show == "rank" else None, tuple(cells)))
        return Block(spec.heading, spec.show, rank, tuple(lines))

    def _lacks(self, context: CellContext) -> tuple[str, ...]:
        """Return why runs behind a cell are missing, each reason once."""
        column, rank = context.column, context.rank
        at_rank = context.block.show == "rank" and MEASURES[column.measure].has_rank
        setups: dict[Setup, None] = {}
        for task in [column.task] if column.task else context.tasks:
            by_rank = setups_by_rank(context.row, self.values.base, task)
            found = [by_rank[rank]] if at_rank and rank in by_rank else by_rank.values()
            setups.update(dict.fromkeys(found))
        return tuple(dict.fromkeys(r for setup in setups for r in self.reasons.get(setup, ())))

    def _average(self, cells: Sequence[Cell]) -> Cell:
        """Return the plain mean of the tasks' cells as the paper does, without a deviation."""
        averaged = [cells[index] for index in self.part.headlines()]
        known = [cell.mean for cell in averaged if cell.mean is not None]
        mean = statistics.fmean(known) if len(known) == len(averaged) else None
        lacks = dict.fromkeys(reason for cell in averaged for reason in cell.lacks)
        return Cell(mean=mean, lacks=tuple(lacks))

    def _with_printed(self, block: BlockSpec, row: RowSpec, cells: Sequence[Cell]) -> list[Cell]:
        names = [column.paper_column for column in self.part.columns] + [self.part.paper_average]
        found = []
        for cell, name in zip(cells, names, strict=False):
            key = (name, row.paper_label) if self.spec.transposed else (row.paper_label, name)
            printed = self.printed.get((block.paper_block, *key))
            found.append(dataclasses.replace(cell, printed=printed))
        return found


def _with_bold(block: Block, columns: Sequence[Column]) -> Block:
    """Mark the best cells of each column of scores, where there are at least two to compare.

    Recommended ranks are no contest: the smaller one is the point.
    """
    best = []
    for column, *cells in zip(columns, *(line.cells for line in block.lines), strict=True):
        means = [column.sign * cell.mean for cell in cells if cell.mean is not None]
        contest = MEASURES[column.measure].is_contest and block.show != "recommended"
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
