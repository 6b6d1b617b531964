"""What columns and blocks of a table may show: ``MEASURES`` and ``SHOWS`` have an entry a kind.

An entry has all that is particular to its kind: what a column must name, how a cell is read from
the values of a row, how it is written, and what the legend says.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from dylora_exp.records import DEFAULT_SHARE
from dylora_exp.reporting.analysis.curves import areas, choose_ranks
from dylora_exp.reporting.analysis.values import Values
from dylora_exp.reporting.specs.layout import BlockSpec, ColumnSpec, RowSpec
from dylora_exp.reporting.specs.paper import PrintedCell


@dataclass(frozen=True)
class Cell:
    """A cell's content in the unit of its column; None where blank.

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
class CellContext:
    """What a cell is about.

    Attributes:
        values: What the records of the table's rows hold.
        block: The block.
        row: The row.
        rank: The rank that a block of kind ``rank`` shows; None without ranks.
        column: The column.
        factor: What a score is multiplied with.
        tasks: All tasks of the table.
    """

    values: Values
    block: BlockSpec
    row: RowSpec
    rank: int | None
    column: ColumnSpec
    factor: float
    tasks: Sequence[str]


def mean_text(cell: Cell, unit: str = "") -> str:
    """Return ``mean±std (n) @rank``, without what the cell does not have."""
    if cell.mean is None:
        return ""
    deviation = "" if cell.std is None else f"±{cell.std:.2f}"
    count = "" if cell.n is None else f" ({cell.n})"
    return f"{cell.mean:.2f}{deviation}{unit}{count}{rank_text(cell.at)}"


def rank_text(rank: int | None) -> str:
    """Return `` @rank``, empty without one."""
    return "" if rank is None else f" @{rank}"


@dataclass(frozen=True)
class Measure:
    """A kind of column.

    Attributes:
        read: Returns a cell.
        needs: The fields that a column of this kind must have.
        text: Returns a cell as text, without marks.
        legend: How to read such a column, after its heading; ``{name}`` stands for a field of the
            column. Empty where there is nothing to say.
        printed_unit: The unit after the paper's value, which is shown with the digits that it was
            printed with; None for two digits and the difference from ours.
        is_contest: Whether the best cell of a block is bold.
        has_rank: Whether a cell is about one rank where the block shows a rank.
    """

    read: Callable[[CellContext], Cell]
    needs: tuple[str, ...] = ("task",)
    text: Callable[[Cell], str] = mean_text
    legend: str = ""
    printed_unit: str | None = None
    is_contest: bool = False
    has_rank: bool = False


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


@dataclass(frozen=True)
class Show:
    """A kind of block: which of a row's scores it shows.

    Attributes:
        read: Returns the cell of a score.
        legend: Returns how to read such a block, after its heading; empty where there is nothing to
            say.
        is_contest: Whether the best cell of a column is bold.
    """

    read: Callable[[CellContext], Cell]
    legend: Callable[[BlockSpec], str] = lambda block: ""
    is_contest: bool = True


def _at_rank(context: CellContext) -> Cell:
    by_seed = context.values.scores(context.row, context.rank, context.column)
    return summarise(list(by_seed.values()), context.factor)


def _at_chosen_rank(context: CellContext, is_best: bool = True, single_run: bool = False) -> Cell:
    """Return the cell of the best or of the recommended rank.

    Args:
        context: What the cell is about.
        is_best: Whether the rank is the best one, otherwise it is the recommended one.
        single_run: Whether the best run of each rank counts instead of the mean over seeds.
    """
    sign = context.column.sign()
    curve = context.values.curve(context.row, context.column)
    found = {rank: list(by_seed.values()) for rank, by_seed in curve.items() if by_seed}
    if single_run:
        pick = max if sign > 0 else min
        found = {rank: [pick(values)] for rank, values in found.items()}
    ranks = choose_ranks(found, sign, context.block.tolerance)
    if ranks is None:
        return Cell()
    rank = ranks[0] if is_best else ranks[1]
    cell = summarise(found[rank], context.factor)
    return dataclasses.replace(cell, at=rank, n=None if single_run else cell.n)


def _area(context: CellContext, log2: bool) -> Cell:
    curve = context.values.curve(context.row, context.column)
    return summarise(areas(curve, log2), context.factor)


def _area_legend(block: BlockSpec, axis: str) -> str:
    return f"area under the curve over {axis}, divided by its width"


def _recommended_legend(block: BlockSpec) -> str:
    loss = f"one standard error ({100 * DEFAULT_SHARE:g} % with one seed)"
    if block.tolerance is not None:
        loss = f"{100 * block.tolerance:g} %"
    return f"the smallest within {loss} of the best mean"


SHOWS = {
    "rank": Show(_at_rank),
    "best_mean": Show(_at_chosen_rank),
    "best_run": Show(partial(_at_chosen_rank, single_run=True)),
    "aurac": Show(partial(_area, log2=False), partial(_area_legend, axis="the rank")),
    "aurac_log2": Show(partial(_area, log2=True), partial(_area_legend, axis="log2 of the rank")),
    # The smaller rank is the better one here, whatever its score.
    "recommended": Show(
        partial(_at_chosen_rank, is_best=False), _recommended_legend, is_contest=False
    ),
}


def _score(context: CellContext) -> Cell:
    return SHOWS[context.block.show].read(context)


def _parameters(context: CellContext) -> Cell:
    if context.block.show != "rank":
        return Cell()  # the columns may show different ranks
    counts = context.values.parameters(context.row, context.rank, context.column.task)
    return Cell(mean=statistics.fmean(counts)) if counts else Cell()


def _millions(cell: Cell) -> str:
    # Cut, not rounded: the paper prints 628,994 as 0.628M.
    return "" if cell.mean is None else f"{math.floor(cell.mean / 1000) / 1000:.3f}M"


def _train_seconds(context: CellContext) -> Cell:
    by_seed = context.values.seconds(context.row, context.column.task)
    return summarise(list(by_seed.values()), factor=1)


def _cost(context: CellContext) -> Cell:
    """Return a row's runs, and their mean seconds over all tasks as a multiple of another row's."""
    label = context.column.relative_to
    other = next(row for row in context.block.rows if row.label == label)
    own, one = (_mean_seconds(context, row) for row in (context.row, other))
    if own is None:
        return Cell()
    runs = context.values.runs(context.row, context.tasks[0])
    return Cell(mean=own / one if one else None, runs=runs)


def _mean_seconds(context: CellContext, row: RowSpec) -> float | None:
    """Return a row's training time over all tasks, where each is known."""
    times = [context.values.seconds(row, task) for task in context.tasks]
    return math.fsum(statistics.fmean(t.values()) for t in times) if all(times) else None


def _cost_text(cell: Cell) -> str:
    if not cell.runs:
        return ""
    times = "" if cell.mean is None else f", {cell.mean:.1f}x"
    return f"{cell.runs} run{'s' if cell.runs > 1 else ''}{times}"


MEASURES = {
    "score": Measure(_score, needs=("task", "metric"), is_contest=True, has_rank=True),
    "parameters": Measure(
        _parameters,
        text=_millions,
        legend="at the rank shown, in millions, cut",
        printed_unit="M",
        has_rank=True,
    ),
    "train_seconds": Measure(
        _train_seconds,
        text=partial(mean_text, unit="s"),
        legend="seconds, on the machine that the records name",
        printed_unit="s",
    ),
    "cost": Measure(
        _cost,
        needs=("relative_to",),
        text=_cost_text,
        legend="training runs, their time as a multiple of {relative_to}'s",
        printed_unit="x",
    ),
}
