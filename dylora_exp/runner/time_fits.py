"""What a measurement of a few steps says of others: linear in tokens, and in layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Line:
    """A quantity that is linear in a number of tokens: ``fixed + each * tokens``."""

    fixed: float
    each: float

    def at(self, tokens: float) -> float:
        """Return the quantity at a number of tokens, never below 0."""
        return max(0.0, self.fixed + self.each * tokens)

    def scaled(self, factor: float) -> Line:
        """Return the quantity multiplied by a factor."""
        return Line(self.fixed * factor, self.each * factor)


def line_through(points: Sequence[tuple[float, float]]) -> Line:
    """Return the line through two points; through one, the line from the origin.

    What was measured to fall with the tokens is taken not to depend on them, and what would be
    below 0 without any is taken to begin at 0: both are noise.

    Args:
        points: Tokens, and the quantity.
    """
    (first, low), (last, high) = points[0], points[-1]
    each = (high - low) / (last - first) if last > first else high / last
    if each <= 0:
        return Line((low + high) / 2, 0.0)
    fixed = high - each * last
    return Line(fixed, each) if fixed >= 0 else Line(0.0, high / last)


def at_depth(layers: int, values: Mapping[int, float]) -> float:
    """Return a quantity of a model with a number of layers from those of fewer.

    Args:
        layers: How many.
        values: The quantity by the number of layers it was measured at, one or two of them.
    """
    if layers in values:
        return values[layers]
    (few, low), (more, high) = sorted(values.items())
    return high + max(0.0, (high - low) / (more - few)) * (layers - more)


@dataclass(frozen=True)
class Measurement:
    """What the runs of one shape take.

    Attributes:
        training: Seconds of an optimizer step by the tokens of a batch, padding included.
        scoring: Seconds of a scored batch by the same.
        per_cut: Seconds of what is done once for each cut, however many examples are scored.
        new_token: Seconds for each text and each token that is generated for it.
        memory: Peak bytes by the tokens of a training batch.
        start: Seconds to load the model.
        trainable: Trainable parameters, at the rank that was measured.
        adapter: Those of them that grow with the rank.
        rank: That rank.
        tokens: The tokens of the training batches that were measured.
        layers: The numbers of layers that were measured, of ``depth``.
        depth: The layers of the model.
    """

    training: Line
    scoring: Line
    per_cut: float
    new_token: float
    memory: Line
    start: float
    trainable: float
    adapter: float
    rank: int
    tokens: tuple[int, ...]
    layers: tuple[int, ...]
    depth: int

    def trained_parameters(self, rank: int) -> float:
        """Return the number of trainable parameters at another rank."""
        return self.trainable + self.adapter * (rank / self.rank - 1)

    def faster(self, factor: float) -> Measurement:
        """Return what a device so many times as fast would take."""
        return replace(
            self,
            training=self.training.scaled(1 / factor),
            scoring=self.scoring.scaled(1 / factor),
            per_cut=self.per_cut / factor,
            new_token=self.new_token / factor,
        )
