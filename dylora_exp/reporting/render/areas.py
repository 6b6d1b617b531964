"""The area under the curve of each series, as a row of dots by name, over ranks that all have."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from dylora_exp.core import printable
from dylora_exp.reporting.analysis.curves import areas
from dylora_exp.reporting.analysis.display import (
    factor,
    metric_name,
    rank_list,
    series_name,
    subject_name,
)
from dylora_exp.reporting.analysis.estimates import Estimate, estimate
from dylora_exp.reporting.analysis.groups import Series
from dylora_exp.reporting.render.drawing import Picture, fill, marks, new_axes, share_range
from dylora_exp.reporting.render.styles import style_of

# A figure with more rows is higher than a page.
MOST_ROWS = 24
_NAME_WIDTH = 44

AREAS_SAY = (
    "AURAC: the area under the rank-quality curve divided by its width, that is the mean quality "
    "over ranks. All dots are over the same ranks. Lines: standard deviation over seeds, none with "
    "one seed."
)


@dataclass(frozen=True)
class Row:
    """A series and its area over the ranks of its chart."""

    series: Series
    area: Estimate


def area_pictures(series: Sequence[Series]) -> list[Picture]:
    """Return the areas of series of the same profile, model and task, the best above."""
    pictures = []
    for ranks, rows in area_rows(series):
        parts = [rows[start : start + MOST_ROWS] for start in range(0, len(rows), MOST_ROWS)]
        same = [_picture(ranks, part) for part in parts]
        share_range(same, "x")
        pictures += same
    return pictures


def area_rows(series: Sequence[Series]) -> list[tuple[tuple[int, ...], list[Row]]]:
    """Return the areas over equal ranks, the best first, with these ranks.

    They are the ranks that all series have; where those are fewer than two, series of the same
    ranks are by themselves.
    """
    by_ranks: dict[tuple[int, ...], list[Series]] = {}
    for one in series:
        if one.ranked():
            by_ranks.setdefault(tuple(one.ranked()), []).append(one)
    common = set.intersection(*map(set, by_ranks)) if by_ranks else set()
    if len(common) > 1:
        by_ranks = {tuple(sorted(common)): [one for some in by_ranks.values() for one in some]}
    found = []
    for ranks, some in sorted(by_ranks.items()):
        rows = []
        for one in some:
            curve = one.ranked()
            if values := areas({rank: curve[rank] for rank in ranks}, log2=False):
                rows.append(Row(one, estimate(values)))
        rows.sort(key=lambda row: (-row.series.sign * row.area.mean, series_name(row.series)))
        if rows:
            found.append((ranks, rows))
    return found


def _picture(ranks: Sequence[int], rows: Sequence[Row]) -> Picture:
    first = rows[0].series
    over = rank_list(ranks)
    title = f"{subject_name(first.group.subject)}: area under the curve"
    figure, axes = new_axes(title, f"AURAC of {metric_name(first)} over {over}", "")
    for height, row in enumerate(rows):
        style, times = style_of(row.series.group.names[3], row.series.cut), factor(row.series)
        axes.errorbar(
            times * row.area.mean,
            height,
            xerr=times * (row.area.std or 0),
            capsize=3,
            linestyle="none",
            **marks(style),
        )
    names = [textwrap.shorten(series_name(row.series), 2 * _NAME_WIDTH) for row in rows]
    # The axis sets these texts anew whenever it is drawn.
    lines = [printable(fill(name, _NAME_WIDTH)) for name in names]
    axes.set_yticks(range(len(rows)), lines, fontsize=8)
    axes.invert_yaxis()
    axes.margins(y=0.5 / len(rows))
    figure.set_size_inches(7.2, 1.6 + 0.15 * sum(2 + line.count("\n") for line in lines))
    said = "; ".join(
        f"{series_name(row.series)}: {factor(row.series) * row.area.mean:.2f}" for row in rows
    )
    return Picture("", figure, AREAS_SAY, f"{title} over {over}. {said}.")
