"""The one style of each method and each cut, the same in every figure, static or live.

A method has a colour and a marker, a cut has a line: charts can be read in grey, and by the
colour-blind (the colours are Okabe and Ito's). Of methods that are not listed, the name decides.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

Dash = str | tuple[int, tuple[int, ...]]


@dataclass(frozen=True)
class Style:
    """How a series is drawn.

    Attributes:
        colour: Of line, band and marker, as ``#rrggbb``.
        marker: In matplotlib's letters.
        line: In matplotlib's words.
        filled: Whether markers are filled; those of a second series of the same style are not.
    """

    colour: str
    marker: str
    line: Dash = "-"
    filled: bool = True

    @property
    def dashes(self) -> tuple[int, ...]:
        """The lengths of dashes and gaps, in pixels; empty for a solid line."""
        return self.line[1] if isinstance(self.line, tuple) else ()


METHOD_STYLES = {
    "lora": Style("#0072B2", "o"),
    "dylora": Style("#D55E00", "s"),
    "dylora-frozen": Style("#009E73", "^"),
    "finetune": Style("#000000", "D"),
    "matryoshka": Style("#E69F00", "v"),
    "matryoshka-released": Style("#9C6500", "2"),
    "nested-dropout": Style("#56B4E9", "P"),
    "sorted-lora": Style("#CC79A7", "X"),
    "flop": Style("#666666", "*"),
    "released-code": Style("#8B4513", "p"),
    "imported": Style("#6A3D9A", "h"),
    "qdylora": Style("#B2182B", "3"),
    # Recipes (docs/recipes.md), in tones of the method that each varies.
    "lora-nuclear": Style("#1A2F8F", ">"),
    "lora-squeeze": Style("#4DA3FF", "<"),
    "lora-continued": Style("#00A0A0", "1"),
    "dylora-distilled": Style("#A62B2B", "d"),
    "dylora-weighted": Style("#FF8C69", "H"),
    "dylora-row-rates": Style("#B8860B", "8"),
    "droplora": Style("#2E8B57", "x"),
    "sorted-lora-repeated": Style("#8E4585", "+"),
}
_OTHER_COLOURS = ("#999999", "#7A6A00", "#004D40", "#A0003C", "#3F51B5")
_OTHER_MARKERS = ("<", ">", "d", "H", "8")

CUT_LINES: dict[str, Dash] = {
    "": "-",
    "leading alpha/b": "-",
    "leading alpha/r": (0, (6, 3)),
    "svd alpha/r": (0, (2, 2)),
    "svd alpha/b": (0, (8, 2, 2, 2)),
    "leading alpha/sqrt(b)": (0, (6, 2, 1, 2)),
    "svd alpha/sqrt(b)": (0, (3, 1, 1, 1)),
    "unweighted alpha/b": (0, (1, 1)),
    "unweighted alpha/sqrt(b)": (0, (1, 3)),
    "unweighted alpha/r": (0, (1, 5)),
}
_OTHER_LINES: tuple[Dash, ...] = ((0, (10, 3)), (0, (4, 2, 1, 2, 1, 2)), (0, (12, 2, 4, 2)))


def style_of(method: str, cut: str = "", again: bool = False) -> Style:
    """Return the style of a method and a cut.

    Args:
        method: The method's name in records.
        cut: Truncation and scale, separated by a space; empty without ranks.
        again: Whether the chart already has a series of the same method and cut.
    """
    number = zlib.crc32(method.encode())
    style = METHOD_STYLES.get(method) or Style(
        _OTHER_COLOURS[number % len(_OTHER_COLOURS)],
        _OTHER_MARKERS[number // len(_OTHER_COLOURS) % len(_OTHER_MARKERS)],
    )
    line = CUT_LINES.get(cut) or _OTHER_LINES[zlib.crc32(cut.encode()) % len(_OTHER_LINES)]
    return replace(style, line=line, filled=not again)
