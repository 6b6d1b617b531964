"""The spectrum of an adapter: its singular values by layer, as a map of colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dylora_exp.core import RequestError, write_atomically
from dylora_exp.reporting.render.drawing import Picture, new_axes

if TYPE_CHECKING:
    from numpy.typing import NDArray

# More kinds of layers than these have no room for each one's name.
_NAMES = 60


def draw_spectrum(spectra: Mapping[str, Sequence[NDArray[Any]]], title: str, file: Path) -> None:
    """Draw the singular values of layers, a row for each, with their logarithm as colour.

    Args:
        spectra: By kind of layer, the singular values of each of its layers, descending.
        title: Above the axes.
        file: What to write, ``.png`` or ``.svg``.

    Raises:
        RequestError: When the file has another ending, or cannot be written.
    """
    import numpy as np

    check_figure(file)
    rows = [np.asarray(values, dtype=float) for group in spectra.values() for values in group]
    logarithms = np.full((len(rows), max(map(len, rows))), np.nan)
    for line, values in zip(logarithms, rows, strict=True):
        # Rounding leaves zeros at 1e-16 of the largest, which would take up all colours.
        shown = values > 1e-8 * values.max(initial=0.0)
        line[: len(values)][shown] = np.log10(values[shown])
    figure, axes = new_axes(title, "number of the singular value", "")
    figure.set_size_inches(7.2, 1.4 + 0.14 * min(max(len(rows), 8), _NAMES))
    axes.grid(visible=False)
    extent = (0.5, logarithms.shape[1] + 0.5, len(rows) - 0.5, -0.5)
    image = axes.imshow(
        logarithms, "cividis", aspect="auto", interpolation="nearest", extent=extent
    )
    figure.colorbar(image, label="log10 of the singular value")
    ends = np.cumsum([len(group) for group in spectra.values()])
    for end in ends[:-1] if len(ends) < len(rows) else ():
        axes.axhline(end - 0.5, color="white", linewidth=0.8)
    middles = ends - [(len(group) + 1) / 2 for group in spectra.values()]
    step = -(-len(middles) // _NAMES)
    axes.set_yticks(middles[::step], list(spectra)[::step], fontsize=6)
    # Small letters are wider in a fine picture than in the coarse one that the layout is made for.
    figure.set_layout_engine("constrained", w_pad=0.15)
    picture = Picture(file.stem, figure)
    write_atomically(file, picture.svg if file.suffix == ".svg" else picture.png)


def check_figure(file: Path) -> None:
    """Refuse the name of a figure that is neither PNG nor SVG."""
    if file.suffix not in (".png", ".svg"):
        raise RequestError(f"--figure: found '{file}', expected a file .png or .svg.")
