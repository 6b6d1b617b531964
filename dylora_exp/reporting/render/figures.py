"""Rank-quality curves: a task's headline metric over ranks, one line for each row of a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dylora_exp.core import file_stems
from dylora_exp.reporting.analysis.cells import Table
from dylora_exp.reporting.analysis.measures import Cell
from dylora_exp.reporting.render.drawing import Picture, colour, draw_curve, legend_label, new_axes
from dylora_exp.reporting.specs.layout import RowSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_figures(table: Table, folder: Path) -> list[Path]:
    """Draw the rank-quality curve of each task that has records, as PNG and SVG.

    Returns:
        The files written: ``<figures>-<task>.png`` and ``.svg``; none for a table without figures.
    """
    if table.spec.figures is None:
        return []
    drawn = {column: _figure(table, column) for column in table.part.headlines()}
    figures = {table.columns[column].task: found for column, found in drawn.items() if found}
    stems = file_stems([(table.spec.figures, str(task)) for task in figures])
    pictures = map(Picture, stems, figures.values())
    return [path for picture in pictures for path in picture.save(folder)]


def rank_curve(table: Table, row: RowSpec, column: int) -> dict[int, Cell]:
    """Return the filled cells of a row in a column by their ranks."""
    lines = [line for block in table.blocks if block.rank is not None for line in block.lines]
    return {
        line.rank: line.cells[column]
        for line in lines
        if line.spec == row and line.rank is not None and line.cells[column].mean is not None
    }


def _figure(table: Table, column: int) -> Figure | None:
    """Return the curves of all rows, and a level line for each method without ranks."""
    by_rank = [block for block in table.blocks if block.rank is not None]
    # The rows of the first block of one rank: the others have the same.
    rows = [line.spec for line in by_rank[0].lines] if by_rank else []
    curves = [(row, rank_curve(table, row, column)) for row in rows]
    if not any(curve for _, curve in curves):
        return None
    about = table.columns[column]
    y_label = about.metric.replace("_", " ") + (" (%)" if about.factor == 100 else "")
    figure, axes = new_axes(f"{about.heading}, {table.profile} profile", "rank", y_label)
    for index, (row, curve) in enumerate(curves):
        points = [(c.mean or 0.0, c.low or 0.0, c.high or 0.0) for c in curve.values()]
        draw_curve(axes, row.method, row.label, index, list(curve), points)
    for block in table.blocks:
        if block.show == "rank" and block.rank is None:
            for line in block.lines:
                height = line.cells[column].mean
                if height is not None:
                    paint, label = colour(line.spec.method), legend_label(line.spec.label)
                    axes.axhline(height, color=paint, linewidth=1, label=label)
    axes.set_xticks([block.rank for block in by_rank if block.rank is not None])
    figure.legend(loc="outside lower center", ncols=3, fontsize=9, frameon=False, handlelength=3.2)
    return figure
