"""What all figures share: axes, curves in a method's style, the legend, and the files.

matplotlib is loaded where something is drawn.
"""

from __future__ import annotations

import functools
import io
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dylora_exp.core import printable
from dylora_exp.reporting.render.files import write_files
from dylora_exp.reporting.render.styles import Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# How many characters of a title fit above the axes, and how many of a legend below them.
TITLE_WIDTH = 62
_LEGEND_WIDTH = 92
# With these, a figure whose layout engine is None has none.
_NO_LAYOUT: dict[Any, bool] = {"figure.autolayout": False, "figure.constrained_layout.use": False}


@dataclass(frozen=True)
class Picture:
    """A figure; its bytes depend on it and its name alone.

    Attributes:
        name: Of its files, without ending.
        figure: The figure.
        caption: What it shows and how to read it, for the page.
        alt: Its numbers in words, for those who cannot see it.
        live: The data of a chart that answers to the mouse, as ``page.js`` takes it; None without.
    """

    name: str
    figure: Figure
    caption: str = ""
    alt: str = ""
    live: Mapping[str, Any] | None = None

    @property
    def title(self) -> str:
        """The title above its axes, on one line."""
        return str(self.figure.get_label())

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
        import matplotlib

        show_texts(self.figure)
        stream = io.BytesIO()
        with warnings.catch_warnings():
            # Of characters that the font lacks, and of names that leave no room.
            warnings.simplefilter("ignore", UserWarning)
            # The layout is computed once, not again for each format.
            if self.figure.get_layout_engine() is not None:
                self.figure.draw_without_rendering()
                # Not "none": its place holder would have the figure drawn twice when it is saved.
                with matplotlib.rc_context(_NO_LAYOUT):
                    self.figure.set_layout_engine(None)
            self.figure.savefig(stream, **options)
        return stream.getvalue()


def legend_label(text: str) -> str:
    """Return a text as a label that matplotlib shows: not those that an underscore begins."""
    return f" {text}" if text.startswith("_") or not text else text


def show_texts(figure: Figure) -> None:
    """Let the texts of a figure stand as they are: no formulas, no control characters."""
    texts = [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.get_yticklabels()]
    for text in texts:
        text.set_parse_math(False)
        text.set_text(printable(text.get_text()))


def new_axes(title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    """Return a figure of 6.4 by 4.4 inches and its empty axes; long texts are wrapped."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(fill(title, TITLE_WIDTH), fontsize=11)
    figure.set_label("; ".join(title.splitlines()))
    axes.set_xlabel(fill(x_label, TITLE_WIDTH))
    axes.set_ylabel(fill(y_label, 40))
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def fill(text: str, width: int) -> str:
    """Return a text in lines of no more than so many characters."""
    return "\n".join(textwrap.fill(line, width) for line in text.splitlines())


def draw_curve(
    axes: Axes,
    style: Style,
    label: str,
    ranks: Sequence[int],
    points: Sequence[tuple[float, float, float]],
) -> None:
    """Draw the mean over seeds at each rank, in a band from the lowest to the highest seed.

    Args:
        axes: Where to draw.
        style: The method's and the cut's.
        label: The curve's name in the legend.
        ranks: The ranks, ascending; without any, nothing is drawn.
        points: Mean, lowest and highest value at each rank.
    """
    if ranks:
        means, low, high = zip(*points, strict=True)
        axes.fill_between(ranks, low, high, color=style.colour, alpha=0.15, linewidth=0)
        axes.plot(ranks, means, linestyle=style.line, label=legend_label(label), **marks(style))


def marks(style: Style) -> dict[str, Any]:
    """Return colour and marker as matplotlib's ``plot`` takes them."""
    face = style.colour if style.filled else "white"
    return {"color": style.colour, "marker": style.marker, "markerfacecolor": face}


def draw_level(axes: Axes, style: Style, label: str, height: float) -> None:
    """Draw a method without ranks as a level line."""
    axes.axhline(
        height, color=style.colour, linestyle=(0, (9, 3)), linewidth=1.2, label=legend_label(label)
    )


def add_legend(figure: Figure) -> None:
    """Put the legend below the axes, and give it its own room: labels may be long."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    columns = 2 if max(map(len, labels), default=0) <= _LEGEND_WIDTH // 2 else 1
    labels = [fill(label, _LEGEND_WIDTH // columns) for label in labels]
    lines = [1 + label.count("\n") for label in labels]
    rows = -(-len(lines) // columns)
    tallest = max(
        (sum(lines[start : start + rows]) for start in range(0, len(lines), rows or 1)), default=0
    )
    figure.set_figheight(figure.get_figheight() + 0.17 * tallest)
    figure.legend(
        handles=handles,
        labels=labels,
        loc="outside lower center",
        ncols=columns,
        fontsize=8,
        frameon=False,
        handlelength=4.5,
    )


def share_range(pictures: Sequence[Picture], *directions: Literal["x", "y"]) -> None:
    """Give the axes of several figures the same range, so that they compare."""
    axes = [picture.figure.axes[0] for picture in pictures]
    for direction in directions if len(axes) > 1 else ():
        limits = [one.get_xlim() if direction == "x" else one.get_ylim() for one in axes]
        low, high = min(min(pair) for pair in limits), max(max(pair) for pair in limits)
        for one in axes:
            one.set(**{f"{direction}lim": (low, high)})
