"""The figures of a report: quality over ranks, areas, cost against quality, drawn ranks."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dylora_exp.core import file_stems
from dylora_exp.reporting.analysis.estimates import Estimate
from dylora_exp.reporting.analysis.groups import Group, Series
from dylora_exp.reporting.analysis.report import Report
from dylora_exp.reporting.analysis.sections import Choice, deciding, rank_estimates, train_seconds
from dylora_exp.reporting.render.drawing import (
    HATCHES,
    STYLES,
    Picture,
    colour,
    draw_curve,
    legend_label,
    new_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# How many characters of a legend stand side by side in half of a figure.
_HALF_WIDTH = 50

# Profile, model and task.
Subject = tuple[str, str, str]
# A series, the mean seconds of its training and its best mean.
_Point = tuple[Series, float, float]


def pictures_of(report: Report) -> dict[Subject, list[Picture]]:
    """Return the figures of each profile, model and task; those without data are left out.

    Their names end in ``ranks``, ``aurac``, ``cost`` and ``drawn``.
    """
    figures: dict[tuple[Subject, str], Figure] = {}
    subjects = list(dict.fromkeys(group.subject for group in report.groups))
    for about in subjects:
        series = sorted(
            (one for one in deciding(report.series) if one.group.subject == about),
            key=lambda one: one.label,
        )
        drawn = {
            "ranks": curves(series),
            "aurac": areas([one for one in report.choices if one.series.group.subject == about]),
            "cost": cost_against_quality(series),
            "drawn": drawn_ranks([group for group in report.groups if group.subject == about]),
        }
        figures |= {(about, kind): found for kind, found in drawn.items() if found is not None}
    pictures: dict[Subject, list[Picture]] = {about: [] for about in subjects}
    stems = file_stems([(*about, kind) for about, kind in figures])
    for (about, _), stem, figure in zip(figures, stems, figures.values(), strict=True):
        pictures[about].append(Picture(stem, figure))
    return pictures


def curves(series: Sequence[Series]) -> Figure | None:
    """Return quality over ranks, a line for each series in a band from lowest to highest seed."""
    ranked = [(one, dict(rank_estimates(one))) for one in series]
    ranks = sorted({rank for _, by_rank in ranked for rank in by_rank if rank is not None})
    if not ranks:
        return None
    figure, axes = _begin(series[0], "quality over ranks", "rank", series[0].metric)
    for index, (one, by_rank) in enumerate(ranked):
        _draw_series(axes, one, by_rank, index)
    axes.set_xticks(ranks)
    return _ended(figure)


def areas(found: Sequence[Choice]) -> Figure | None:
    """Return a bar for each series' area under the curve, with its deviation over seeds."""
    known = sorted(
        ((choice.series, choice.area) for choice in found if choice.area is not None),
        key=lambda pair: pair[0].label,
    )
    if not known:
        return None
    series = known[0][0]
    # Areas lie close together: bars from zero would all look the same, so the axis is cut.
    figure, axes = _begin(series, "area under the curve (cut axis)", "", series.metric)
    for index, (one, area) in enumerate(known):
        axes.bar(
            index + 1,
            area.mean,
            yerr=area.std or 0,
            capsize=3,
            color=colour(one.group.names[3]),
            hatch=HATCHES[index % len(HATCHES)],
            edgecolor="white",
            label=f"{index + 1}: {one.label}: {area.mean:.4f}",
        )
    low = min(area.mean - (area.std or 0) for _, area in known)
    high = max(area.mean + (area.std or 0) for _, area in known)
    room = 0.1 * (high - low) or 0.01 * abs(high) or 1.0
    axes.set_ylim(low - 3 * room, high + room)
    axes.set_xticks(range(1, len(known) + 1))
    return _ended(figure)


def cost_against_quality(series: Sequence[Series]) -> Figure | None:
    """Return the mean quality of each series over the seconds of its training.

    A mark stands at the best rank; the line through it spans the ranks that the same training has
    reached. Where runs of LoRA at several maximum ranks differ in nothing else, a further line is
    the search among them, from the smallest rank on: the quality at each, for the seconds of all
    so far.
    """
    points = [
        (one, time.mean, highest.mean)
        for one in series
        if (time := train_seconds(one.group)) and (highest := _best(one))
    ]
    if not points:
        return None
    metric = series[0].metric
    figure, axes = _begin(
        series[0], "quality against training time", "training, seconds", f"mean {metric}"
    )
    for index, (one, seconds, best) in enumerate(points):
        means = [found.mean for _, found in rank_estimates(one)]
        paint = colour(one.group.names[3])
        axes.plot([seconds] * 2, [min(means), max(means)], color=paint, linewidth=1, alpha=0.6)
        marker = STYLES[index % len(STYLES)][0]
        axes.plot(
            seconds,
            best,
            color=paint,
            marker=marker,
            linestyle="none",
            label=legend_label(one.label),
        )
    for found in _searches(points):
        _draw_search(axes, found)
    axes.set_xlim(left=0)
    return _ended(figure)


def drawn_ranks(groups: Sequence[Group]) -> Figure | None:
    """Return how often each rank was drawn in training, all seeds of a group together."""
    counted = [(group, counts) for group in groups if (counts := _drawn(group))]
    if not counted:
        return None
    profile, model, task = groups[0].subject
    figure, axes = _axes(f"{task} ({profile}, {model}): drawn ranks", "rank", "share of draws")
    width = 0.8 / len(counted)
    for index, (group, counts) in enumerate(counted):
        left = (index - (len(counted) - 1) / 2) * width
        axes.bar(
            [rank + left for rank in sorted(counts)],
            [counts[rank] / counts.total() for rank in sorted(counts)],
            width,
            color=colour(group.names[3]),
            hatch=HATCHES[index % len(HATCHES)],
            edgecolor="white",
            label=legend_label(group.method),
        )
    axes.set_xticks(sorted({rank for _, counts in counted for rank in counts}))
    return _ended(figure)


def _axes(title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure, axes = new_axes(title, x_label, y_label)
    axes.title.set_fontsize(11)
    axes.set_axisbelow(True)
    return figure, axes


def _begin(series: Series, about: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    profile, model, task = series.group.subject
    return _axes(f"{task} ({profile}, {model}): {about}", x_label, y_label)


def _ended(figure: Figure) -> Figure:
    """Put the legend below, and give it its own room: a report may have many series."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    columns = 2 if max(map(len, labels), default=0) <= _HALF_WIDTH else 1
    labels = [textwrap.fill(label, _HALF_WIDTH * 2 // columns) for label in labels]
    lines = sum(1 + label.count("\n") for label in labels)
    figure.set_figheight(figure.get_figheight() + 0.18 * math.ceil(lines / columns))
    figure.legend(
        handles=handles,
        labels=labels,
        loc="outside lower center",
        ncols=columns,
        fontsize=8,
        frameon=False,
        handlelength=3.2,
    )
    return figure


def _draw_series(axes: Axes, one: Series, by_rank: dict[int | None, Estimate], index: int) -> None:
    method = one.group.names[3]
    if None in by_rank:  # a method without ranks
        style, height = STYLES[index % len(STYLES)][1], by_rank[None].mean
        axes.axhline(
            height,
            color=colour(method),
            linestyle=style,
            linewidth=1,
            label=legend_label(one.label),
        )
    points = {rank: found for rank, found in by_rank.items() if rank is not None}
    heights = [(found.mean, found.smallest, found.largest) for found in points.values()]
    draw_curve(axes, method, one.label, index, list(points), heights)


def _draw_search(axes: Axes, found: Sequence[_Point]) -> None:
    """Draw a search: a number at each rank, at the seconds of its own run and all before it."""
    method = found[0][0].group.names[3]
    ranks = [_r_max(one) for one, _, _ in found]
    times = list(itertools.accumulate(seconds for _, seconds, _ in found))
    heights = [
        dict(rank_estimates(one))[rank].mean for (one, _, _), rank in zip(found, ranks, strict=True)
    ]
    label = f"{method}: search over {len(found)} maximum ranks, one run after the other"
    axes.plot(times, heights, color=colour(method), linestyle=":", marker=".", label=label)
    for rank, time, height in zip(ranks, times, heights, strict=True):
        axes.annotate(str(rank), (time, height), (0, 4), textcoords="offset points", fontsize=8)


def _searches(points: Sequence[_Point]) -> list[list[_Point]]:
    """Return LoRA's runs that differ in nothing but r_max, by r_max, where there are several."""
    found: dict[str, list[_Point]] = {}
    for point in points:
        one = point[0]
        if one.group.names[3] == "lora" and _r_max(one) in one.values:
            own = {key: value for key, value in one.group.settings.items() if key != "ranks.r_max"}
            found.setdefault(f"{one.cut} {sorted(own.items())!r}", []).append(point)
    # All cuts of LoRA agree at r_max, so one search is enough.
    several = [sorted(same, key=lambda point: _r_max(point[0])) for same in found.values()]
    return [same for same in several if len(same) > 1][:1]


def _r_max(series: Series) -> int:
    found: int = series.group.records[0].config.get("ranks", {}).get("r_max", 0)
    return found


def _best(series: Series) -> Estimate | None:
    found = [point for _, point in rank_estimates(series)]
    return max(found, key=lambda point: series.sign * point.mean, default=None)


def _drawn(group: Group) -> Counter[int]:
    """Return how often each rank was drawn, all records together; empty where none says so."""
    counts: Counter[int] = Counter()
    for record in group.records:
        drawn = record.training.get("drawn_ranks")
        for rank, count in drawn.items() if isinstance(drawn, dict) else ():
            counts[int(rank)] += int(count)
    return counts
