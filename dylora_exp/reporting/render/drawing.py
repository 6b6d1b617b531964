"""What all figures share: a colour for each method, styles that print in grey, how they are kept.

The colours are Okabe and Ito's, which the colour-blind can tell apart; marker, line style and hatch
differ too. matplotlib is loaded where something is drawn.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from dylora_exp.core import write_atomically

if TYPE_CHECKING:
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


def new_figure(width: float = 6.4, height: float = 4.4) -> Figure:
    """Return an empty figure; width and height are in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def svg(figure: Figure, salt: str) -> bytes:
    """Return a figure as SVG, the same bytes for the same figure and ``salt``."""
    import matplotlib

    _lay_out(figure)
    drawing = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": salt}):
        figure.savefig(drawing, format="svg", metadata={"Date": None, "Creator": None})
    return drawing.getvalue()


def png(figure: Figure) -> bytes:
    """Return a figure as PNG, the same bytes for the same figure."""
    _lay_out(figure)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=150, metadata={"Software": None})
    return image.getvalue()


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write PNG and SVG, byte for byte the same for the same records.

    Args:
        figure: The figure.
        stem: The files' path without their endings.
    """
    paths = [stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "svg")]
    for path, content in zip(paths, (png(figure), svg(figure, stem.name)), strict=True):
        write_atomically(path, content)
    return paths


def _lay_out(figure: Figure) -> None:
    """Find every part's place once, not again for each format."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
