"""Rank-quality curves: a task's headline metric over ranks, one line for each row of a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dylora_exp.core import file_stems
from dylora_exp.metrics import title
from dylora_exp.reporting.analysis.cells import Table
from dylora_exp.reporting.analysis.facets import MOST_SERIES
from dylora_exp.reporting.analysis.measures import Cell
from dylora_exp.reporting.render.drawing import (
    Picture,
    add_legend,
    draw_curve,
    draw_level,
    new_axes,
    share_range,
)
from dylora_exp.reporting.render.styles import style_of
from dylora_exp.reporting.specs.layout import RowSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_figures(table: Table, folder: Path) -> list[Path]:
    """Draw the rank-quality curve of each task that has records, as PNG and SVG.

    Returns:
        The files written: ``<figures>-<task>.png`` and ``.svg``; none for a table without figures.
    """
    if table.spec.figures is None:
        return []
    pictures = {
        (table.spec.figures, str(table.columns[column].task), *([str(number)] * (number > 1))): each
        for column in table.part.headlines()
        for number, each in enumerate(_pictures(table, column), 1)
    }
    paths: list[Path] = []
    for stem, picture in zip(file_stems(list(pictures)), pictures.values(), strict=True):
        paths += dataclasses.replace(picture, name=stem).save(folder)
    return paths


def rank_curve(table: Table, row: RowSpec, column: int) -> dict[int, Cell]:
    """Return the filled cells of a row in a column by their ranks."""
    lines = [line for block in table.blocks if block.rank is not None for line in block.lines]
    return {
        line.rank: line.cells[column]
        for line in lines
        if line.spec == row and line.rank is not None and line.cells[column].mean is not None
    }


def _pictures(table: Table, column: int) -> list[Picture]:
    """Return the curves of all rows, and a level line for each method without ranks.

    More than ``MOST_SERIES`` are shared out among several figures over the same range.
    """
    by_rank = [block for block in table.blocks if block.rank is not None]
    # The rows of the first block of one rank: the others have the same.
    rows = [line.spec for line in by_rank[0].lines] if by_rank else []
    found = [(row, rank_curve(table, row, column)) for row in rows]
    curves = [(row, curve) for row, curve in found if curve]
    levels = [
        (line.spec, height)
        for block in table.blocks
        if block.show == "rank" and block.rank is None
        for line in block.lines
        if (height := line.cells[column].mean) is not None
    ][: MOST_SERIES - 1]
    room = MOST_SERIES - len(levels)
    about = table.columns[column]
    y_label = title(about.metric) + (" (%)" if about.factor == 100 else "")
    pictures = []
    for start in range(0, len(curves), room):
        part = f" ({1 + start // room})" if len(curves) > room else ""
        heading = f"{about.heading}, {table.profile} profile{part}"
        figure, axes = new_axes(heading, "rank", y_label)
        _draw(axes, curves[start : start + room], levels)
        axes.set_xticks([block.rank for block in by_rank if block.rank is not None])
        add_legend(figure)
        pictures.append(Picture("", figure))
    share_range(pictures, "y")
    return pictures


def _draw(
    axes: Axes,
    curves: Sequence[tuple[RowSpec, dict[int, Cell]]],
    levels: Sequence[tuple[RowSpec, float]],
) -> None:
    drawn: set[tuple[str, str]] = set()
    for row, curve in curves:
        points = [(c.mean or 0.0, c.low or 0.0, c.high or 0.0) for c in curve.values()]
        kind = (row.method, " ".join(filter(None, (row.truncation, row.scale))))
        draw_curve(axes, style_of(*kind, again=kind in drawn), row.label, list(curve), points)
        drawn.add(kind)
    for row, height in levels:
        draw_level(axes, style_of(row.method), row.label, height)
