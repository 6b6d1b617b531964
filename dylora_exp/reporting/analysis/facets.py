"""Which series share a chart: few enough to be told apart, each method with one style.

Charts of many series are split into facets by the maximum rank, then by the other settings, then by
the cut. Methods without ranks are level lines, which every facet repeats.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from dylora_exp.config import cut_name
from dylora_exp.reporting.analysis.groups import Series, default_settings

# More lines than these in one chart cannot be told apart.
MOST_SERIES = 6
# How many level lines a facet repeats, so that there is room for curves.
MOST_LEVELS = 2


@dataclass(frozen=True)
class Facet:
    """The series of one chart, and what they have in common; ``about`` is empty of the only one."""

    about: str
    series: tuple[Series, ...]


_Part = tuple[tuple[str, ...], list[Series]]


def facets(series: Sequence[Series], by_cut: bool = True) -> list[Facet]:
    """Return the series of a profile, model and task by chart, at most ``MOST_SERIES`` each.

    Where that can be had, no chart has two series of the same method and cut.

    Args:
        series: Of the same metric.
        by_cut: Whether the chart is over ranks, so that cuts and levels matter; else too many are
            only counted off at last.
    """
    levels = [one for one in series if by_cut and not one.ranked()]
    curves = [one for one in series if not by_cut or one.ranked()]
    if len(levels) > MOST_LEVELS and len(series) > MOST_SERIES:
        parts: list[_Part] = [((), curves)] if curves else []
        alone, levels = levels, []
    else:
        parts, alone = [((), curves or levels)], []
        levels = levels if curves else []
    room = MOST_SERIES - len(levels)
    shared, own = _differing(series)
    for split in (
        lambda one: f"maximum rank {_r_max(one)}" if _r_max(one) else "",
        lambda one: _settings_text(one, shared),
        lambda one: _settings_text(one, own),
        *([None] if by_cut else []),
    ):
        parts = [piece for part in parts for piece in _split(part, split, room, by_cut)]
    found = [
        (words, part, [*levels, *some]) for words, part in parts for some in _chunks(part, room)
    ]
    found += [(("methods without ranks",), alone, some) for some in _chunks(alone, MOST_SERIES)]
    if len(found) == 1:
        return [Facet("", tuple(found[0][2]))]
    numbers: Counter[tuple[str, ...]] = Counter()
    made = []
    for words, part, some in found:
        numbers[words] += 1
        pieces = -(-len(part) // (MOST_SERIES if part is alone else room))
        part_of = f"part {numbers[words]} of {pieces}" if pieces > 1 else ""
        made.append(Facet(", ".join(filter(None, (*words, part_of))), tuple(some)))
    return made


def _split(
    part: _Part, word: Callable[[Series], str] | None, room: int, by_cut: bool
) -> list[_Part]:
    """Return a part that is too full in pieces; by the cut without a word for each series."""
    words, series = part
    kinds = {(one.group.names[3], one.cut) for one in series}
    if len(series) <= room and (len(kinds) == len(series) or not by_cut):
        return [part]
    if word is None:
        return _by_cut(part, room)
    pieces: dict[str, list[Series]] = {}
    for one in series:
        pieces.setdefault(word(one), []).append(one)
    return [((*words, text) if len(pieces) > 1 else words, some) for text, some in pieces.items()]


def _by_cut(part: _Part, room: int) -> list[_Part]:
    """Return a part by its cuts, those of few series together."""
    words, series = part
    by_cut: dict[str, list[Series]] = {}
    for one in series:
        by_cut.setdefault(one.cut, []).append(one)
    packed: list[dict[str, list[Series]]] = []
    for cut, some in sorted(by_cut.items(), key=lambda pair: -len(pair[1])):
        # The first has most methods, which compare best by themselves.
        last = packed[-1] if len(packed) > 1 else None
        if last is not None and sum(map(len, last.values())) + len(some) <= room:
            last[cut] = some
        else:
            packed.append({cut: some})
    return [
        (
            (*words, "; ".join(cut_name(*cut.split(" ", 1)) for cut in pack if cut)),
            list(itertools.chain(*pack.values())),
        )
        for pack in packed
    ]


def _chunks(series: Sequence[Series], size: int) -> list[list[Series]]:
    """Return series in lists of at most so many, of about the same length."""
    even = -(-len(series) // max(1, -(-len(series) // size)))
    return [list(series[start : start + even]) for start in range(0, len(series), even or 1)]


def _differing(series: Sequence[Series]) -> tuple[list[str], list[str]]:
    """Return the settings in which runs of one method differ, but r_max; then the method's own.

    What differs from method to method alone belongs to the methods.
    """
    methods = {one.group.names[3] for one in series}
    by_method = [[one for one in series if one.group.names[3] == method] for method in methods]
    keys = [
        key
        for key in sorted({key for one in series for key in one.group.settings} - {"ranks.r_max"})
        if any(_differs(same, key) for same in by_method)
    ]
    own = [key for key in keys if key.startswith("method.")]
    return [key for key in keys if key not in own], own


def _differs(series: Sequence[Series], key: str) -> bool:
    return len({_text(one, key) for one in series}) > 1


def _settings_text(series: Series, keys: Sequence[str]) -> str:
    own = [key for key in keys if key in series.group.settings]
    return ", ".join(f"{key}={_text(series, key)}" for key in own) or "default settings"


def _text(series: Series, key: str) -> Hashable:
    value = series.group.settings.get(key, default_settings().get(key))
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _r_max(series: Series) -> int:
    found = series.group.records[0].config.get("ranks", {}).get("r_max", 0)
    return found if isinstance(found, int) else 0
