"""What all figures share: methods' colours, styles that print in grey, curves, and the files.

The colours are Okabe and Ito's, which the colour-blind can distinguish; marker, line style and
hatch differ too. matplotlib is loaded where something is drawn.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dylora_exp.core import printable
from dylora_exp.reporting.render.files import write_files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHOD_COLOURS = {
    "lora": "#0072B2",
    "dylora": "#D55E00",
    "dylora-frozen": "#009E73",
    "finetune": "#000000",
    "matryoshka": "#E69F00",
    "nested-dropout": "#56B4E9",
    "sorted-lora": "#CC79A7",
    "flop": "#666666",
}
OTHER_METHODS = "#999999"
STYLES = (
    *(("o", "-"), ("s", "--"), ("^", ":"), ("D", "-."), ("v", (0, (5, 1)))),
    *(("P", (0, (3, 1, 1, 1))), ("X", (0, (1, 3))), ("*", (0, (7, 2, 1, 2, 1, 2)))),
)
HATCHES = ("", "//", "..", "xx", "\\\\", "oo", "++", "--")


def colour(method: str) -> str:
    """Return the colour of a method, the same in every figure."""
    return METHOD_COLOURS.get(method, OTHER_METHODS)


@dataclass(frozen=True)
class Picture:
    """A figure with its file's name, without ending; its bytes depend on nothing else."""

    name: str
    figure: Figure

    @property
    def title(self) -> str:
        """The title above its axes."""
        return self.figure.axes[0].get_title()

    @functools.cached_property
    def svg(self) -> bytes:
        """The figure as SVG."""
        import matplotlib

        with matplotlib.rc_context({"svg.hashsalt": self.name}):
            return self._saved(format="svg", metadata={"Date": None, "Creator": None})

    @functools.cached_property
    def png(self) -> bytes:
        """The figure as PNG."""
        return self._saved(format="png", dpi=150, metadata={"Software": None})

    def save(self, folder: Path) -> list[Path]:
        """Write the figure as PNG and SVG into a folder, and return the files' paths."""
        return write_files(folder / self.name, {".png": self.png, ".svg": self.svg})

    def _saved(self, **options: Any) -> bytes:
        _show_texts(self.figure)
        stream = io.BytesIO()
        with warnings.catch_warnings():
            # Of characters that the font lacks, and of names that leave no room.
            warnings.simplefilter("ignore", UserWarning)
            # The layout is computed once, not again for each format.
            if self.figure.get_layout_engine() is not None:
                self.figure.draw_without_rendering()
                self.figure.set_layout_engine("none")
            self.figure.savefig(stream, **options)
        return stream.getvalue()


def legend_label(text: str) -> str:
    """Return a text as a label that matplotlib shows: not those that an underscore begins."""
    return f" {text}" if text.startswith("_") or not text else text


def _show_texts(figure: Figure) -> None:
    """Let the texts of a figure stand as they are: no formulas, no control characters."""
    texts = [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label]
    for text in texts:
        text.set_parse_math(False)
        text.set_text(printable(text.get_text()))


def new_axes(title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    """Return a figure of 6.4 by 4.4 inches and its empty axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3, linewidth=0.6)
    return figure, axes


def draw_curve(
    axes: Axes,
    method: str,
    label: str,
    index: int,
    ranks: Sequence[int],
    points: Sequence[tuple[float, float, float]],
) -> None:
    """Draw the mean over seeds at each rank, in a band from the lowest to the highest seed.

    Args:
        axes: Where to draw.
        method: Gives the colour.
        label: The curve's name in the legend.
        index: The curve's number in the figure; gives marker and line style.
        ranks: The ranks, ascending; without any, nothing is drawn.
        points: Mean, lowest and highest value at each rank.
    """
    if ranks:
        means, low, high = zip(*points, strict=True)
        paint = colour(method)
        marker, style = STYLES[index % len(STYLES)]
        axes.fill_between(ranks, low, high, color=paint, alpha=0.15, linewidth=0)
        axes.plot(
            ranks, means, color=paint, marker=marker, linestyle=style, label=legend_label(label)
        )
