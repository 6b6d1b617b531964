"""What ``dylora resize`` prints: what each layer kept, and the spectrum of an adapter."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from dylora_exp.adapters import PeftFolder, Resized, ResizedLayer, energies, spectra_of

_WIDTH = 80
# More layers than these are summed up by kind.
_LINES = 24
# So many of the singular values of a layer, and of the ranks, have a column or a line.
_COLUMNS, _RANKS = 5, 16
Item = TypeVar("Item")


def show_resized(resized: Resized, every_layer: bool) -> None:
    """Print a table of the layers, the sums, and the folder.

    Args:
        resized: What was done.
        every_layer: Whether each layer has a line, however many there are.
    """
    before = resized.source.parameters
    groups = _groups(resized.layers, lambda layer: layer.name, every_layer)
    single = all(len(group) == 1 for group in groups.values())
    heads = ("r", "rank", "error") if single else ("layers", "r", "rank", "mean", "error")
    rows = [(name, *_kept(group, single)) for name, group in groups.items()]
    lines = [
        *_table(("layer", *heads), rows),
        f"{resized.parameters:,} of {before:,} adapter parameters "
        f"({100 * resized.parameters / before:.1f} %) keep {100 * resized.energy:.2f} % of the "
        "energy",
    ]
    if resized.uniform:
        lines.append(
            f"all layers are padded with zeros to rank {resized.r}: {resized.padded:,} values"
        )
    print("\n".join([*lines, f"adapter: {resized.folder}"]), flush=True)


def _kept(group: Sequence[ResizedLayer], single: bool) -> list[str]:
    """Return the cells of a layer, or of the layers of one kind."""
    ranks = [layer.rank for layer in group]
    energy = sum(layer.energy for layer in group)
    error = (sum(layer.discarded for layer in group) / energy) ** 0.5 if energy else 0.0
    cells = [_range(layer.r for layer in group), _range(ranks)]
    middle = [] if single else [f"{sum(ranks) / len(ranks):.1f}"]
    return [*([] if single else [str(len(group))]), *cells, *middle, f"{error:.4f}"]


def show_spectrum(source: PeftFolder, every_layer: bool) -> dict[str, np.ndarray]:
    """Print singular values by layer, and what each uniform rank would keep.

    Args:
        source: The adapter.
        every_layer: Whether each layer and each rank has a line, however many there are.

    Returns:
        The singular values of each layer.
    """
    spectra = spectra_of(source)
    largest = max(len(values) for values in spectra.values())
    columns = _columns(largest)
    groups = _groups(spectra, lambda name: name, every_layer)
    single = all(len(group) == 1 for group in groups.values())
    rows = [
        (
            name,
            *([] if single else [str(len(group))]),
            *_means([spectra[n] for n in group], columns),
        )
        for name, group in groups.items()
    ]
    heads = [*([] if single else ["layers"]), *(f"s{column}" for column in columns)]
    lines = ["singular values" + ("" if single else ", mean over layers of a kind")]
    lines += _table(["layer", *heads], rows)
    lines += ["", "what each rank of all layers would keep (error: largest of all layers)"]
    ranks = range(1, largest + 1) if every_layer else _ranks(largest)
    lines += _table(
        ["rank", "parameters", "energy %", "error"],
        [_uniform(source, spectra, rank) for rank in ranks],
    )
    print("\n".join(lines), flush=True)
    return spectra


def _uniform(source: PeftFolder, spectra: Mapping[str, np.ndarray], rank: int) -> Sequence[str]:
    """Return the cells of a rank: its parameters, the energy kept and the largest error."""
    parameters = sum(
        min(rank, layer.full_rank) * layer.rank_parameters for layer in source.layers.values()
    )
    squares = [energies(values) for values in spectra.values()]
    total = sum(each.sum() for each in squares)
    lost = [each[rank:].sum() for each in squares]
    share = 1 - sum(lost) / total if total else 1.0
    sums = [each.sum() for each in squares]
    error = max((a / b) ** 0.5 if a else 0.0 for a, b in zip(lost, sums, strict=True))
    return (str(rank), f"{parameters:,}", f"{100 * share:.2f}", f"{error:.4f}")


def draw(source: PeftFolder, spectra: Mapping[str, np.ndarray], file: Path) -> None:
    """Draw singular values by layer, and print the file.

    Raises:
        RequestError: When the file is neither PNG nor SVG, or cannot be written.
    """
    from dylora_exp.reporting import draw_spectrum

    kinds = _groups(spectra, lambda name: name, every=False)
    groups = {kind: [spectra[name] for name in names] for kind, names in kinds.items()}
    draw_spectrum(groups, f"singular values of {source.path.resolve().name}", file)
    print(f"figure: {file}", flush=True)


def _groups(
    items: Iterable[Item], name_of: Callable[[Item], str], every: bool
) -> dict[str, list[Item]]:
    """Return items by their layer's name, or by its kind where there are too many for lines."""
    found = list(items)
    kinds: dict[str, list[Item]] = {}
    for item in found:
        name = name_of(item)
        kind = name if every or len(found) <= _LINES else re.sub(r"(?<=\.)\d+(?=\.)", "*", name)
        kinds.setdefault(kind, []).append(item)
    return kinds


def _columns(largest: int) -> list[int]:
    """Return the numbers of some singular values: powers of two, and the last."""
    powers = [2**i for i in range(largest.bit_length())]
    numbers = powers if powers[-1] == largest else [*powers, largest]
    step = -(-len(numbers) // _COLUMNS)
    return numbers[::-1][::step][::-1]


def _ranks(largest: int) -> list[int]:
    """Return the ranks to list: all where there are few, else 1, 2, 3, 4, 6, 8, 12, ..."""
    if largest <= _RANKS:
        return list(range(1, largest + 1))
    powers = [2**i for i in range(largest.bit_length())]
    listed = {rank for power in powers for rank in (power, 3 * power // 2) if rank < largest}
    return sorted(listed | {largest})


def _means(values: Sequence[np.ndarray], columns: Sequence[int]) -> list[str]:
    """Return the means of the singular values with these numbers, where layers have them."""
    found = [[each[c - 1] for each in values if len(each) >= c] for c in columns]
    return [f"{np.mean(column):.3g}" if column else "-" for column in found]


def _range(numbers: Iterable[int]) -> str:
    low, *_, high = sorted([*numbers] * 2)
    return str(low) if low == high else f"{low}-{high}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of at most 80 columns: names to the left and shortened, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    room = _WIDTH - sum(widths[1:]) - 2 * len(widths[1:])
    widths[0] = min(widths[0], max(room, 8))
    return [
        "  ".join(
            [
                _shorten(row[0], widths[0]).ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        ).rstrip()
        for row in (heads, *rows)
    ]


def _shorten(text: str, width: int) -> str:
    """Return the end of a name, which tells layers apart."""
    return text if len(text) <= width else f"...{text[len(text) - width + 3 :]}"
