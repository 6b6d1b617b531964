"""Records to the cells of a table: mean and sample standard deviation over seeds, in percent."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dylora_exp.records import Record
from dylora_exp.tables.paper import Printed, PrintedCell
from dylora_exp.tables.plan import MissingRun, PlannedRun, missing_runs, records_of
from dylora_exp.tables.spec import BestSpec, ColumnSpec, ProfileSpec, RowSpec, TableSpec

FULL_RANK = "Full Rank"


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table; numbers in percent, None where blank.

    Attributes:
        mean: Over seeds.
        std: Sample standard deviation (n-1); None for a single value.
        n: The number of seeds; None for an average of cells and for a best single run.
        low: The smallest value.
        high: The largest value.
        at: The rank of a best result.
        printed: What the paper prints here.
        bold: Whether it is the best of its block and column.
    """

    mean: float | None = None
    std: float | None = None
    n: int | None = None
    low: float | None = None
    high: float | None = None
    at: int | None = None
    printed: PrintedCell | None = None
    bold: bool = False


@dataclass(frozen=True)
class Line:
    """A row of a table, its cells in the order of the columns."""

    spec: RowSpec
    rank: int | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Block:
    """Lines that are compared with each other."""

    heading: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Column:
    """A column of a table; the average has neither task nor metric."""

    heading: str
    task: str | None = None
    metric: str | None = None


@dataclass(frozen=True)
class UndefinedValue:
    """A completed run without a finite value where the table shows one."""

    label: str
    task: str
    metric: str
    rank: int | None
    seed: int


@dataclass(frozen=True)
class Table:
    """A table's content, before it is Markdown, LaTeX or CSV; ``records``: what it is made of."""

    name: str
    profile: str
    spec: TableSpec
    part: ProfileSpec
    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    records: tuple[Record, ...]
    missing: tuple[MissingRun, ...]
    undefined: tuple[UndefinedValue, ...]


Way = tuple[int | None, str | None, str | None]
Scores = dict[Way, Mapping[str, float | None]]


def summarise(values: Sequence[float]) -> Cell:
    """Return the cell of some fractions, one a seed: blank for none, no deviation for one."""
    if not values:
        return Cell()
    return Cell(
        mean=100 * statistics.fmean(values),
        std=100 * statistics.stdev(values) if len(values) > 1 else None,
        n=len(values),
        low=100 * min(values),
        high=100 * max(values),
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
    filler = _Filler(part, used, printed)
    blocks = [filler.rank_block(spec.rows, rank) for rank in spec.ranks]
    blocks += [filler.best_block(best, spec) for best in spec.best]
    blocks += [filler.block(FULL_RANK, spec.full_rank, None)] if spec.full_rank else []
    return Table(
        name=name,
        profile=profile,
        spec=spec,
        part=part,
        columns=_columns(part),
        blocks=tuple(_with_bold(block) for block in blocks),
        records=tuple(used.values()),
        missing=tuple(missing_runs(planned, records)),
        undefined=tuple(filler.undefined),
    )


def _columns(part: ProfileSpec) -> tuple[Column, ...]:
    columns = [Column(column.heading, column.task, column.metric) for column in part.columns]
    return tuple(columns + ([Column("Avg")] if len(part.headlines()) > 1 else []))


class _Filler:
    """The cells of one table, and the undefined values met while filling them."""

    def __init__(
        self, part: ProfileSpec, used: Mapping[PlannedRun, Record], printed: Printed
    ) -> None:
        self.part = part
        self.printed = printed
        self.undefined: dict[UndefinedValue, None] = {}
        self.runs: dict[tuple[str, str], list[tuple[int, Scores]]] = {}
        for run, record in used.items():
            scores: Scores = {(s.rank, s.truncation, s.scale): s.metrics for s in record.ranks}
            self.runs.setdefault((run.method, run.task), []).append((run.seed, scores))

    def rank_block(self, rows: Sequence[RowSpec], rank: int) -> Block:
        return self.block(f"Rank = {rank}", rows, rank)

    def block(self, heading: str, rows: Sequence[RowSpec], rank: int | None) -> Block:
        lines = []
        for row in rows:
            cells = [summarise(self._values(row, rank, c)) for c in self.part.columns]
            lines.append(self._line(heading, row, rank, cells))
        return Block(heading, tuple(lines))

    def best_block(self, best: BestSpec, spec: TableSpec) -> Block:
        lines = []
        for row in spec.rows:
            cells = [self._best(best.of, row, spec.ranks, column) for column in self.part.columns]
            lines.append(self._line(best.paper_block, row, None, cells))
        return Block(best.heading, tuple(lines))

    def _best(self, of: str, row: RowSpec, ranks: Sequence[int], column: ColumnSpec) -> Cell:
        """Return the best rank's cell, the lowest rank's where several are equally good."""
        candidates = []
        for rank in ranks:
            values = self._values(row, rank, column)
            cell = summarise(values)
            if of == "run" and values:
                cell = dataclasses.replace(summarise([max(values)]), n=None)
            if cell.mean is not None:
                candidates.append((round(cell.mean, 9), -rank, cell))
        if not candidates:
            return Cell()
        _, rank, cell = max(candidates, key=lambda candidate: candidate[:2])
        return dataclasses.replace(cell, at=-rank)

    def _values(self, row: RowSpec, rank: int | None, column: ColumnSpec) -> list[float]:
        values = []
        for seed, scores in self.runs.get((row.method, column.task), []):
            value = scores.get((rank, row.truncation, row.scale), {}).get(column.metric)
            if value is None or not math.isfinite(value):
                self.undefined[
                    UndefinedValue(row.label, column.task, column.metric, rank, seed)
                ] = None
            else:
                values.append(float(value))
        return values

    def _line(
        self, block: str | None, row: RowSpec, rank: int | None, cells: Sequence[Cell]
    ) -> Line:
        names = [column.paper_column for column in self.part.columns]
        cells = list(cells)
        if len(self.part.headlines()) > 1:
            cells.append(self._average(cells))
            names.append(self.part.paper_average)
        return Line(
            row,
            rank,
            tuple(
                dataclasses.replace(cell, printed=self.printed.get((block, row.paper_label, name)))
                for cell, name in zip(cells, names, strict=True)
            ),
        )

    def _average(self, cells: Sequence[Cell]) -> Cell:
        """As the paper's: the plain mean of the tasks' cells, without a deviation of its own."""
        means = [cells[place].mean for place in self.part.headlines()]
        known = [mean for mean in means if mean is not None]
        return Cell(mean=statistics.fmean(known)) if len(known) == len(means) else Cell()


def _with_bold(block: Block) -> Block:
    """Mark each column's best cells, where there are at least two to compare."""
    best = []
    for cells in zip(*(line.cells for line in block.lines), strict=True):
        means = [cell.mean for cell in cells if cell.mean is not None]
        best.append(max(means) if len(means) > 1 else math.inf)
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
