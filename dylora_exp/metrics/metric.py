"""What a metric is, and how one of its values is computed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

# In the words of ``TaskConfig.scored``: what a task's answers are.
Scored = Literal["labels", "numbers", "texts", "choices", "answers", "likelihood"]
Function = Callable[..., float] | type


@dataclass(frozen=True)
class Computation:
    """How a metric is computed: as the official scripts of some task do it.

    Attributes:
        function: Takes predictions and references and returns a number; or a class whose instances
            are such functions and have a ``close`` method.
        settings: The signature; ``{package}`` stands for a package and its installed version.
        prepare: Maps texts to what ``function`` takes instead, one for each.
        range: The lowest and the highest possible value.
    """

    function: Function
    settings: str
    prepare: Callable[[tuple[str, ...]], Sequence[Any]] | None = None
    range: tuple[float, float] = (0, 1)

    @property
    def is_fraction(self) -> bool:
        """Whether 1 is the highest value, so that tables show it in percent."""
        return self.range[1] == 1

    @property
    def signature(self) -> str:
        """The settings with the versions of the packages behind the value."""
        return re.sub(r"{([\w-]+)}", lambda match: f"{match[1]}:{version(match[1])}", self.settings)

    def make_function(self) -> Callable[..., float]:
        """Return the function, an instance of its own where it is a class."""
        return self.function() if isinstance(self.function, type) else self.function


Computations = dict[str | None, Computation]


@dataclass(frozen=True)
class Metric:
    """What a metric is.

    Attributes:
        name: Its name in configs and records.
        title: Its name in print.
        scores: What the predictions are.
        computations: By protocol, the name of a task's reader, or for ``ANY_TASK``.
        higher_is_better: Whether the highest value is the best one.
        two_labels_only: Whether it is undefined for more than two labels.
        needs_java: Whether it has no value without Java.
        on_hub: Its name among the hub's metrics; empty where it is the same.
        also_scores: What else the predictions may be.
    """

    name: str
    title: str
    scores: Scored
    computations: Computations
    higher_is_better: bool = True
    two_labels_only: bool = False
    needs_java: bool = False
    on_hub: str = ""
    also_scores: tuple[Scored, ...] = ()

    @property
    def kinds(self) -> tuple[Scored, ...]:
        """What the predictions may be."""
        return (self.scores, *self.also_scores)

    @property
    def factor(self) -> int:
        """What ``format_value`` multiplies a value with; texts are shown on their own scales."""
        return 1 if self.scores in ("texts", "likelihood") else 100
