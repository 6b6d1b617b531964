"""Records to the cells of a table: mean and sample standard deviation over seeds, in percent."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dylora_exp.records import Record
from dylora_exp.reporting.analysis.measures import MEASURES, SHOWS, Cell, CellContext
from dylora_exp.reporting.analysis.plan import (
    Base,
    MissingRun,
    Setup,
    base_of,
    left_out,
    missing_runs,
    planned_runs,
    records_of,
    setups_by_rank,
)
from dylora_exp.reporting.analysis.trials import choices_of
from dylora_exp.reporting.analysis.values import UndefinedValue, Values
from dylora_exp.reporting.specs.layout import BlockSpec, ProfileSpec, RowSpec, TableSpec
from dylora_exp.reporting.specs.paper import Printed, PrintedCell, printed_cells
from dylora_exp.reporting.specs.tuning import ChosenSpec


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
    sign: int
    factor: float


@dataclass(frozen=True)
class Table:
    """A table's content, before it is Markdown, LaTeX or CSV.

    Attributes:
        setups: The names of its runs' settings.
        records: What its cells are computed from.
        missing: The required runs without a completed record.
        left_out: The optional ones.
        undefined: Values of completed runs that are no finite number.
        choices: What was chosen for its trainings, each with what a reader calls it.
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
    choices: tuple[tuple[str, ChosenSpec], ...]


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
    base = base_of(name, part, profile)
    planned = planned_runs(spec, part, profile, base)
    used = records_of(planned, records)
    values = Values(base, used)
    missing, optional = missing_runs(planned, records, used), left_out(planned, used)
    columns = _columns(spec, part, profile, base)
    reasons: dict[Setup, list[str]] = {}
    for item in (*missing, *optional):
        reasons.setdefault(item.run.setup, []).append(item.reason)
    filler = _Filler(spec, part, columns, values, printed_cells(name), reasons)
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
        choices=tuple(choices_of(name, spec, part, profile)),
    )


def _columns(spec: TableSpec, part: ProfileSpec, profile: str, base: Base) -> tuple[Column, ...]:
    """Return a table's columns, with the factors of scores that follow from the tasks' readers."""
    row = spec.blocks_in(profile)[0].rows[0]
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
        first = columns[part.headlines()[0]]
        columns.append(Column("Avg", "average", "headline", "score", first.sign, first.factor))
    return tuple(columns)


@dataclass(frozen=True)
class _Filler:
    """Fills the cells of one table; ``reasons``: why runs of a setup are missing."""

    spec: TableSpec
    part: ProfileSpec
    columns: Sequence[Column]
    values: Values
    printed: Printed
    reasons: Mapping[Setup, Sequence[str]]

    def block(self, spec: BlockSpec) -> Block:
        rank = spec.ranks[0] if spec.ranks else None
        tasks = self.part.tasks()
        lines = []
        for row in spec.rows:
            shown = row.rank if rank is None else rank
            cells = []
            for index, column in enumerate(self.part.columns):
                factor = self.columns[index].factor
                context = CellContext(self.values, spec, row, shown, column, factor, tasks)
                cell = MEASURES[column.measure].read(context)
                printed = self._printed(spec, row, column.paper_column)
                lacks = self._lacks(context)
                cells.append(dataclasses.replace(cell, lacks=lacks, printed=printed))
            if len(self.columns) > len(cells):
                printed = self._printed(spec, row, self.part.paper_average)
                cells.append(dataclasses.replace(self._average(cells), printed=printed))
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

    def _printed(self, block: BlockSpec, row: RowSpec, column: str | None) -> PrintedCell | None:
        names = (row.paper_label, column)
        return self.printed.get(
            (block.paper_block, *(reversed(names) if self.spec.transposed else names))
        )


def _with_bold(block: Block, columns: Sequence[Column]) -> Block:
    """Mark the best cells of each column of scores, where there are at least two to compare."""
    best = []
    for column, *cells in zip(columns, *(line.cells for line in block.lines), strict=True):
        means = [column.sign * cell.mean for cell in cells if cell.mean is not None]
        contest = MEASURES[column.measure].is_contest and SHOWS[block.show].is_contest
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
