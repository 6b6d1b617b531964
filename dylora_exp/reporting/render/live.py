"""Charts that answer to the mouse: their data, and the library that draws them in a page.

The library is uPlot (MIT, 50 KB), as the package ``youplot`` carries it. A page made without the
package has the figures alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from dylora_exp.core import one_line
from dylora_exp.reporting.analysis.display import chart_names, factor
from dylora_exp.reporting.analysis.groups import Series
from dylora_exp.reporting.analysis.sections import rank_estimates
from dylora_exp.reporting.render.styles import style_of

PACKAGE = "youplot"
# What its licence asks to stand wherever it does.
NOTICE = """\
/*! uPlot 1.6.31. The MIT License (MIT). Copyright (c) 2022 Leon Sorokin

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in
all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN
THE SOFTWARE. */"""
# The files as uPlot's own release 1.6.31 has them.
SCRIPT = ("uplot.iife.min.js", "2d27e8ad3d228164525ce213f9dc716f39b4e3aee0cc773fb3491c96cf4921a2")
STYLE = ("uplot.min.css", "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04")

# Numbers in the page have as many digits as a reader can use.
_DIGITS = 4


@dataclass(frozen=True)
class Library:
    """The texts of the library that draws live charts."""

    script: str
    style: str


def library() -> Library | None:
    """Return the library; None where it is not installed, or is another than what was tested."""
    try:
        folder = Path(str(distribution(PACKAGE).locate_file(PACKAGE))) / "vendor"
        found = [(folder / name).read_bytes() for name, _ in (SCRIPT, STYLE)]
    except (PackageNotFoundError, OSError):
        return None
    expected = [digest for _, digest in (SCRIPT, STYLE)]
    if [hashlib.sha256(content).hexdigest() for content in found] != expected:
        return None
    return Library(*(content.decode("utf-8") for content in found))


def live_curves(metric: str, series: Sequence[Series]) -> Mapping[str, Any]:
    """Return the data of quality over ranks: the mean of each series, and its band."""
    ranks = sorted({rank for one in series for rank in one.values if rank is not None})
    lines = []
    drawn: set[tuple[str, str]] = set()
    for one, name in zip(series, chart_names(series), strict=True):
        found = dict(rank_estimates(one))
        level = found.get(None)
        by_rank = [found.get(rank, level) for rank in ranks]
        kind = (one.group.names[3], one.cut)
        lines.append(
            {
                "label": one_line(name),
                **_look(one, kind in drawn, level is not None),
                "values": [_shown(one, each.mean if each else None) for each in by_rank],
                "low": [_shown(one, each.smallest if each else None) for each in by_rank],
                "high": [_shown(one, each.largest if each else None) for each in by_rank],
            }
        )
        drawn.add(kind)
    return {"x": "rank", "y": one_line(metric), "at": ranks, "series": lines, "ticks": True}


def live_points(
    metric: str, points: Sequence[tuple[Series, float, float, float]]
) -> Mapping[str, Any]:
    """Return the data of points from zero on: of each series where, its best and worst value.

    The values are as shown.
    """
    places = sorted({round(place, _DIGITS) for _, place, *_ in points})
    lines = []
    drawn: set[str] = set()
    names = chart_names([one for one, *_ in points])
    for (one, place, best, worst), name in zip(points, names, strict=True):
        at = places.index(round(place, _DIGITS))
        values, low = (
            [None if i != at else round(v, _DIGITS) for i in range(len(places))]
            for v in (best, worst)
        )
        method = one.group.names[3]
        look = {**_look(one, method in drawn, False), "dashes": [], "dots": True}
        lines.append({"label": one_line(name), **look, "values": values, "low": low})
        drawn.add(method)
    axes = {"x": "training, seconds", "y": one_line(metric), "zero": True}
    return {**axes, "at": places, "series": lines}


def _look(series: Series, again: bool, level: bool) -> dict[str, Any]:
    style = style_of(series.group.names[3], series.cut, again)
    return {
        "colour": style.colour,
        "dashes": [9, 3] if level else list(style.dashes),
        "filled": style.filled,
        "level": level,
    }


def _shown(series: Series, value: float | None) -> float | None:
    return None if value is None else round(factor(series) * value, _DIGITS)
