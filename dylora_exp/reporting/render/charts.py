"""The figures of a report: quality over ranks, areas, cost against quality, drawn ranks."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from dylora_exp.core import file_stems
from dylora_exp.reporting.analysis.display import (
    chart_names,
    factor,
    group_name,
    metric_name,
    series_name,
    subject_name,
)
from dylora_exp.reporting.analysis.facets import MOST_SERIES, Facet, facets
from dylora_exp.reporting.analysis.groups import Group, Series
from dylora_exp.reporting.analysis.report import Report
from dylora_exp.reporting.analysis.sections import deciding, rank_estimates
from dylora_exp.reporting.render.areas import area_pictures
from dylora_exp.reporting.render.cost import cost_pictures
from dylora_exp.reporting.render.drawing import (
    Picture,
    add_legend,
    draw_curve,
    draw_level,
    legend_label,
    marks,
    new_axes,
    share_range,
)
from dylora_exp.reporting.render.live import live_curves
from dylora_exp.reporting.render.styles import style_of

# Profile, model and task.
Subject = tuple[str, str, str]

# More charts of a kind than these are left to the tables and to ``--where``.
MOST_FACETS = 8

CURVES_SAY = (
    "Lines: mean over seeds. Bands: from the lowest to the highest seed, none with one seed. "
    "Level lines: methods without ranks."
)
DRAWN_SAY = (
    "How often each rank was drawn in training, all seeds together. Methods that drew equally "
    "often share a line."
)


def pictures_of(report: Report) -> dict[Subject, list[Picture]]:
    """Return the figures of each profile, model and task; those without data are left out.

    Their names hold ``ranks``, ``aurac``, ``cost`` and ``drawn``, and a number from the second on.
    """
    drawn: dict[tuple[str, ...], tuple[Subject, Picture]] = {}
    subjects = list(dict.fromkeys(group.subject for group in report.groups))
    for about in subjects:
        series = sorted(
            (one for one in deciding(report.series) if one.group.subject == about),
            key=series_name,
        )
        kinds: list[tuple[str, Callable[[Sequence[Series]], list[Picture]]]] = [
            ("ranks", curves),
            ("aurac", area_pictures),
            ("cost", cost_pictures),
            ("drawn", drawn_ranks),
        ]
        for kind, draw in kinds:
            for number, picture in enumerate(draw(series), 1):
                end = [str(number)] if number > 1 else []
                drawn[(*about, kind, *end)] = (about, picture)
    pictures: dict[Subject, list[Picture]] = {about: [] for about in subjects}
    for stem, (about, picture) in zip(file_stems(list(drawn)), drawn.values(), strict=True):
        pictures[about].append(dataclasses.replace(picture, name=stem))
    return pictures


def curves(series: Sequence[Series]) -> list[Picture]:
    """Return quality over ranks, a line for each series in a band from lowest to highest seed."""
    found = facets([one for one in series if one.values])
    charts = [facet for facet in found if any(one.ranked() for one in facet.series)]
    pictures = [_curves(facet) for facet in charts[:MOST_FACETS]]
    share_range(pictures, "y")
    return _with_rest(pictures, len(charts))


def drawn_ranks(series: Sequence[Series]) -> list[Picture]:
    """Return how often each rank was drawn in training, all seeds of a group together.

    Groups that drew each rank equally often share a line.
    """
    groups = {id(one.group): one.group for one in series}.values()
    lines: dict[tuple[tuple[int, float], ...], list[Group]] = {}
    for group in groups:
        if counts := _drawn(group):
            shares = ((r, round(100 * counts[r] / counts.total(), 3)) for r in sorted(counts))
            lines.setdefault(tuple(shares), []).append(group)
    found = list(lines.items())
    parts = [found[start : start + MOST_SERIES] for start in range(0, len(found), MOST_SERIES)]
    return _with_rest([_drawn_ranks(part) for part in parts[:MOST_FACETS]], len(parts))


def _with_rest(pictures: list[Picture], found: int) -> list[Picture]:
    """Say under the last chart how many there are no room for."""
    if found > len(pictures):
        last = pictures[-1]
        rest = f"{found - len(pictures)} more charts of other settings: report --where KEY=VALUE."
        pictures[-1] = dataclasses.replace(last, caption=f"{last.caption} {rest}")
    return pictures


def heading(facet: Facet, about: str) -> str:
    """Return the title of a facet's chart."""
    end = f"\n{facet.about}" if facet.about else ""
    return f"{subject_name(facet.series[0].group.subject)}: {about}{end}"


def _curves(facet: Facet) -> Picture:
    series = facet.series
    metric = metric_name(series[0])
    title = heading(facet, f"{metric} over ranks")
    figure, axes = new_axes(title, "rank", metric)
    drawn: set[tuple[str, str]] = set()
    ranks: set[int] = set()
    for one, label in zip(series, chart_names(series), strict=True):
        times = factor(one)
        kind = (one.group.names[3], one.cut)
        style = style_of(*kind, again=kind in drawn)
        drawn.add(kind)
        by_rank = dict(rank_estimates(one))
        if None in by_rank:  # a method without ranks
            draw_level(axes, style, label, times * by_rank.pop(None).mean)
        points = {rank: found for rank, found in by_rank.items() if rank is not None}
        heights = [
            (times * found.mean, times * found.smallest, times * found.largest)
            for found in points.values()
        ]
        draw_curve(axes, style, label, list(points), heights)
        ranks.update(points)
    axes.set_xticks(_ticks(ranks))
    add_legend(figure)
    return Picture("", figure, CURVES_SAY, _alt(title, series), live_curves(metric, series))


def _ticks(ranks: Iterable[int]) -> list[int]:
    """Return the ranks to name on an axis: so few that their numbers do not touch."""
    ticks: list[int] = []
    ordered = sorted(ranks)
    apart = (ordered[-1] - ordered[0]) / 20 if ordered else 0
    for rank in reversed(ordered):
        if not ticks or ticks[-1] - rank >= apart:
            ticks.append(rank)
    return ticks[::-1]


def _alt(title: str, series: Sequence[Series]) -> str:
    """Return the numbers of a chart in words."""
    words = []
    for one, name in zip(series, chart_names(series), strict=True):
        found = [(rank, factor(one) * each.mean) for rank, each in rank_estimates(one)]
        ends = found if len(found) < 3 else [found[0], found[-1]]
        numbers = " and ".join(
            f"{mean:.2f}" + ("" if rank is None else f" at rank {rank}") for rank, mean in ends
        )
        words.append(f"{name}: {numbers}")
    return f"{'; '.join(title.splitlines())}. {'; '.join(words)}."


def _drawn_ranks(lines: Sequence[tuple[tuple[tuple[int, float], ...], list[Group]]]) -> Picture:
    title = f"{subject_name(lines[0][1][0].subject)}: drawn ranks"
    figure, axes = new_axes(title, "rank", "share of draws (%)")
    said = []
    for shares, groups in lines:
        names = list(dict.fromkeys(map(group_name, groups)))
        label = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        ranks, heights = zip(*shares, strict=True)
        style = style_of(groups[0].names[3])
        axes.plot(
            ranks,
            heights,
            linewidth=1,
            linestyle=style.line,
            label=legend_label(label),
            **marks(style),
        )
        said.append(f"{label}: {len(ranks)} ranks, the most often drawn {max(heights):.1f} %")
    axes.set_xticks(_ticks({rank for shares, _ in lines for rank, _ in shares}))
    axes.set_ylim(0, 1.1 * max(height for shares, _ in lines for _, height in shares))
    add_legend(figure)
    return Picture("", figure, DRAWN_SAY, f"{title}. {'; '.join(said)}.")


def _drawn(group: Group) -> Counter[int]:
    """Return how often each rank was drawn, all records together; empty where none says so."""
    counts: Counter[int] = Counter()
    for record in group.records:
        drawn = record.training.get("drawn_ranks")
        for rank, count in drawn.items() if isinstance(drawn, dict) else ():
            counts[int(rank)] += int(count)
    return +counts
