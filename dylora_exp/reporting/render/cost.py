"""Quality against training time: a mark for each method, and a search over maximum ranks."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dylora_exp.reporting.analysis.display import (
    chart_names,
    factor,
    method_name,
    metric_name,
    subject_name,
)
from dylora_exp.reporting.analysis.facets import MOST_SERIES, facets
from dylora_exp.reporting.analysis.groups import Series
from dylora_exp.reporting.analysis.sections import rank_estimates, train_seconds
from dylora_exp.reporting.render.drawing import (
    Picture,
    add_legend,
    legend_label,
    marks,
    new_axes,
    share_range,
)
from dylora_exp.reporting.render.live import live_points
from dylora_exp.reporting.render.styles import style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CHARTS = 4

COST_SAY = (
    "Marks: the best rank of each method's best cut, at the mean seconds of one training. Upright "
    "lines: from the worst to the best rank that the same training has reached. Dotted line: LoRA "
    "trained at one maximum rank after the other, each at the seconds of all so far."
)


@dataclass(frozen=True)
class Point:
    """A series with the mean seconds of its training and its best and worst mean, as shown."""

    series: Series
    seconds: float
    best: float
    worst: float


def cost_pictures(series: Sequence[Series]) -> list[Picture]:
    """Return the mean quality of each group's best cut over the seconds of its training.

    Where runs of LoRA at several maximum ranks differ in nothing else, a chart of its own shows the
    search among them, from the smallest rank on.
    """
    points = {id(point.series): point for point in _best_cuts(series)}
    charts = facets([point.series for point in points.values()], by_cut=False)
    pictures = [
        _picture(facet.about, [points[id(one)] for one in facet.series])
        for facet in charts[:MOST_CHARTS]
    ]
    share_range(pictures, "x", "y")
    if left_out := len(charts) - len(pictures):
        # Said where it is seen: the caption of the last chart.
        note = (
            f" {left_out} more chart{'s' * (left_out > 1)} of further settings left out; see Cost."
        )
        pictures[-1] = dataclasses.replace(pictures[-1], caption=pictures[-1].caption + note)
    for found in searches(series):
        if len(pictures) == 1 and len(charts[0].series) < MOST_SERIES:
            pictures = [_picture("", list(points.values()), found)]
        else:
            rivals = [point for point in points.values() if point.series.group.names[3] == "dylora"]
            pictures.append(_picture("the cost of a search", rivals[: MOST_SERIES - 1], found))
    return pictures


def searches(series: Sequence[Series]) -> list[list[Point]]:
    """Return LoRA's runs that differ in nothing but r_max, by r_max, where there are several."""
    found: dict[str, list[Point]] = {}
    for one in series:
        point = _point(one)
        if point and one.group.names[3] == "lora" and _r_max(one) in one.values:
            own = {key: value for key, value in one.group.settings.items() if key != "ranks.r_max"}
            key = f"{one.cut} {json.dumps(own, sort_keys=True, default=str)}"
            found.setdefault(key, []).append(point)
    # All cuts of LoRA agree at r_max, so one search is enough.
    several = [sorted(same, key=lambda point: _r_max(point.series)) for same in found.values()]
    return [same for same in several if len(same) > 1][:1]


def _best_cuts(series: Sequence[Series]) -> list[Point]:
    by_group: dict[int, list[Point]] = {}
    for one in series:
        if point := _point(one):
            by_group.setdefault(id(one.group), []).append(point)
    return [
        max(same, key=lambda point: point.series.sign * point.best) for same in by_group.values()
    ]


def _point(series: Series) -> Point | None:
    time = train_seconds(series.group)
    means = [factor(series) * found.mean for _, found in rank_estimates(series)]
    if not time or not means:
        return None
    ordered = sorted(means, key=lambda mean: series.sign * mean)
    return Point(series, time.mean, ordered[-1], ordered[0])


def _picture(about: str, points: Sequence[Point], search: Sequence[Point] = ()) -> Picture:
    first = [*points, *search][0].series
    metric = metric_name(first)
    end = f"\n{about}" if about else ""
    title = f"{subject_name(first.group.subject)}: quality against training time{end}"
    figure, axes = new_axes(title, "training, seconds", f"mean {metric}")
    drawn: set[str] = set()
    names = chart_names([point.series for point in points])
    for point, label in zip(points, names, strict=True):
        method = point.series.group.names[3]
        # The cut is in the name: a mark has no line to tell it by.
        style = style_of(method, again=method in drawn)
        drawn.add(method)
        ends = [point.worst, point.best]
        axes.plot([point.seconds] * 2, ends, color=style.colour, linewidth=1, alpha=0.6)
        axes.plot(
            point.seconds, point.best, linestyle="none", label=legend_label(label), **marks(style)
        )
    if search:
        _draw_search(axes, search)
    axes.set_xlim(0, 1.08 * axes.dataLim.xmax or 1)
    add_legend(figure)
    said = "; ".join(
        f"{name}: {one.best:.2f} after {one.seconds:.1f} s"
        for name, one in zip(names, points, strict=True)
    )
    live = live_points(metric, [(p.series, p.seconds, p.best, p.worst) for p in points])
    return Picture(
        "",
        figure,
        COST_SAY,
        f"{'; '.join(title.splitlines())}. {said}.",
        live if not search else None,
    )


def _draw_search(axes: Axes, found: Sequence[Point]) -> None:
    """Draw a search: a number at each rank, at the seconds of its own run and all before it."""
    ranks = [_r_max(point.series) for point in found]
    times = list(itertools.accumulate(point.seconds for point in found))
    heights = [
        factor(point.series) * dict(rank_estimates(point.series))[rank].mean
        for point, rank in zip(found, ranks, strict=True)
    ]
    label = f"{method_name('lora')}: search over {len(found)} maximum ranks, one after the other"
    axes.plot(times, heights, color=style_of("lora").colour, linestyle=":", marker=".", label=label)
    for rank, time, height in zip(ranks, times, heights, strict=True):
        axes.annotate(str(rank), (time, height), (0, 4), textcoords="offset points", fontsize=8)


def _r_max(series: Series) -> int:
    found = series.group.records[0].config.get("ranks", {}).get("r_max", 0)
    return found if isinstance(found, int) else 0
