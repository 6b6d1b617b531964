"""Names of layers, and of the parts of layers that compute several projections at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A part of a fused layer: its index (0-based) and the number of parts."""

    layer: str
    index: int
    count: int


def name_matches(module: str, name: str) -> bool:
    """Return whether a short name matches a module: the end of its full name, as in PEFT."""
    return module == name or module.endswith(f".{name}")


def lies_in(module: str, names: Iterable[str]) -> bool:
    """Return whether a module is one of some, or lies in one of them."""
    parts = module.split(".")
    paths = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return any(name_matches(path, name) for path in paths for name in names)


def fused_part(name: str, fused: Mapping[str, Sequence[str]] | None) -> Part | None:
    """Return the part that a module or a target names, None where it names no part."""
    layer, _, part = name.rpartition(".")
    for known, parts in (fused or {}).items():
        if name_matches(layer, known) and part in parts:
            return Part(layer, list(parts).index(part), len(parts))
    return None
