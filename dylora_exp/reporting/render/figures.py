"""Rank-quality curves: a task's headline metric over ranks, one line for each row of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dylora_exp.reporting.analysis.cells import Line, Table
from dylora_exp.reporting.analysis.measures import Cell
from dylora_exp.reporting.render.drawing import STYLES, colour, new_figure, save
from dylora_exp.reporting.specs.layout import RowSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_figures(table: Table, folder: Path) -> list[Path]:
    """Draw the rank-quality curve of each task that has records, as PNG and SVG.

    Returns:
        The files written: ``<figures>-<task>.png`` and ``.svg``; none for a table without figures.
    """
    paths: list[Path] = []
    if table.spec.figures is None:
        return paths
    for place in table.part.headlines():
        curves = [_curve(table, row, place) for row in _ranked_rows(table)]
        if any(curve.cells for curve in curves):
            stem = folder / f"{table.spec.figures}-{table.columns[place].task}"
            paths += save(_draw(table, place, curves), stem)
    return paths


@dataclass(frozen=True)
class _Curve:
    """The filled cells of one row over the ranks."""

    row: RowSpec
    ranks: list[int]
    cells: list[Cell]


def _ranked_rows(table: Table) -> list[RowSpec]:
    """Return the rows of the first block of one rank; the others have the same."""
    blocks = [block for block in table.blocks if block.rank is not None]
    return [line.spec for line in blocks[0].lines] if blocks else []


def _curve(table: Table, row: RowSpec, column: int) -> _Curve:
    lines = [line for block in table.blocks if block.rank is not None for line in block.lines]
    filled = [line for line in lines if line.spec == row and line.cells[column].mean is not None]
    return _Curve(
        row,
        [line.rank for line in filled if line.rank is not None],
        [line.cells[column] for line in filled],
    )


def _draw(table: Table, column: int, curves: Sequence[_Curve]) -> Figure:
    figure = new_figure()
    axes = figure.add_subplot()
    for index, curve in enumerate(curves):
        _draw_curve(axes, curve, index)
    for block in table.blocks:
        if block.show == "rank" and block.rank is None:
            for line in block.lines:
                _draw_level(axes, line, line.cells[column])
    heading, metric = table.columns[column].heading, table.columns[column].metric
    axes.set_title(f"{heading}, {table.profile} profile")
    axes.set_xlabel("rank")
    axes.set_ylabel(f"{str(metric).replace('_', ' ')} (%)")
    axes.set_xticks([block.rank for block in table.blocks if block.rank is not None])
    axes.grid(alpha=0.3, linewidth=0.6)
    figure.legend(loc="outside lower center", ncols=3, fontsize=9, frameon=False, handlelength=3.2)
    return figure


def _draw_curve(axes: Axes, curve: _Curve, index: int) -> None:
    """Draw the mean over seeds, in a band from the lowest to the highest seed."""
    if not curve.cells:
        return
    paint = colour(curve.row.method)
    marker, style = STYLES[index % len(STYLES)]
    means = [cell.mean or 0.0 for cell in curve.cells]
    low = [cell.low or 0.0 for cell in curve.cells]
    high = [cell.high or 0.0 for cell in curve.cells]
    axes.fill_between(curve.ranks, low, high, color=paint, alpha=0.15, linewidth=0)
    label = curve.row.label
    axes.plot(curve.ranks, means, color=paint, marker=marker, linestyle=style, label=label)


def _draw_level(axes: Axes, line: Line, cell: Cell) -> None:
    """Draw a method without ranks as a level line."""
    if cell.mean is not None:
        axes.axhline(cell.mean, color=colour(line.spec.method), linewidth=1, label=line.spec.label)
