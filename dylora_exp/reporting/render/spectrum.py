"""The spectrum of an adapter: its singular values by layer, as a map of colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dylora_exp.core import RequestError, write_atomically
from dylora_exp.reporting.render.drawing import Picture, new_axes

# More layers than these have no room for each one's name.
_NAMES = 60


def draw_spectrum(spectra: Mapping[str, Sequence[float]], title: str, file: Path) -> None:
    """Draw the singular values of layers, a row for each, with their logarithm as colour.

    Args:
        spectra: The singular values of each layer, descending.
        title: Above the axes.
        file: What to write, ``.png`` or ``.svg``.

    Raises:
        RequestError: When the file has another ending, or cannot be written.
    """
    import numpy as np

    if file.suffix not in (".png", ".svg"):
        raise RequestError(f"--figure: found '{file}', expected a file .png or .svg.")
    width = max(len(values) for values in spectra.values())
    logarithms = np.full((len(spectra), width), np.nan)
    for row, values in zip(logarithms, spectra.values(), strict=True):
        found = np.asarray(values, dtype=float)
        # Rounding leaves zeros at 1e-16 of the largest, which would take up all colours.
        shown = found > 1e-8 * found.max(initial=0.0)
        row[: len(found)][shown] = np.log10(found[shown])
    figure, axes = new_axes(title, "number of the singular value", "")
    figure.set_size_inches(7.2, max(2.4, 1.4 + 0.14 * min(len(spectra), _NAMES)))
    axes.grid(visible=False)
    image = axes.imshow(
        logarithms,
        aspect="auto",
        interpolation="nearest",
        cmap="cividis",
        extent=(0.5, width + 0.5, len(spectra) - 0.5, -0.5),
    )
    figure.colorbar(image, label="log10 of the singular value")
    step = -(-len(spectra) // _NAMES)
    names = list(spectra)
    axes.set_yticks(range(0, len(names), step), names[::step], fontsize=6)
    picture = Picture(file.stem, figure)
    write_atomically(file, picture.svg if file.suffix == ".svg" else picture.png)
