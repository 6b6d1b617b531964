"""What lowering an adapter in rank has kept, layer by layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from dylora_exp.adapters.peft_folder import PeftFolder


@dataclass(frozen=True)
class ResizedLayer:
    """What a layer was and became.

    Attributes:
        name: Its name in the base model.
        r: The rank before.
        rank: The rank kept, 0 where the layer is left out.
        parameters: The parameters of its factors, without padding.
        energy: The sum of its squared singular values.
        discarded: That of those which were discarded.
    """

    name: str
    r: int
    rank: int
    parameters: int
    energy: float
    discarded: float

    @property
    def error(self) -> float:
        """The relative error of its product in the Frobenius norm."""
        return math.sqrt(self.discarded / self.energy) if self.energy else 0.0


@dataclass(frozen=True)
class Resized:
    """An adapter lowered in rank.

    Attributes:
        folder: Where it was written.
        source: What it was made from.
        layers: Every layer of the source.
        r: The largest rank kept.
        uniform: Whether all layers were padded to that rank.
        dtype: The type asked for, None for the source's.
        choice: What was asked for, as in ``rank 8``.
    """

    folder: Path
    source: PeftFolder
    layers: tuple[ResizedLayer, ...]
    r: int
    uniform: bool
    dtype: str | None
    choice: str

    @property
    def parameters(self) -> int:
        """The parameters of all factors, padding not counted."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def padded(self) -> int:
        """The values of all factors in the file, padding counted."""
        if not self.uniform:
            return self.parameters
        kept = [layer.name for layer in self.layers if layer.rank]
        return self.r * sum(self.source.layers[name].rank_parameters for name in kept)

    @property
    def energy(self) -> float:
        """The share of all squared singular values that is kept."""
        total = sum(layer.energy for layer in self.layers)
        return 1 - sum(layer.discarded for layer in self.layers) / total if total else 1.0
