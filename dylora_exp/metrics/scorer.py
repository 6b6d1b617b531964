"""Scoring predictions by several metrics at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any, Literal, Self

from dylora_exp.core import RequestError, unknown_name
from dylora_exp.metrics import registry
from dylora_exp.metrics.java import JavaError
from dylora_exp.metrics.metric import Computation


class Scorer:
    """Scores predictions by metrics as one protocol computes them, once or at many ranks.

    E2E is scored as e2e-metrics does, WebNLG and DART as GenerationEval does, on formatted text
    (``words.format_text``; formatted input stays as it is).

    METEOR's Java process starts with the first score and serves all later ones; ``close``, the end
    of a ``with`` block or the end of Python ends it.

    Args:
        protocol: One of ``registry.protocols()``; ``registry.ANY_TASK`` for metrics that are the
            same for all tasks.
        names: Some of the protocol's metrics; by default, all.
        max_references: How many of an item's references count, the first ones, or ``all``; by
            default as many as in the protocol's published numbers.

    Attributes:
        names: The metrics, in the order of the registry.
        signature: The settings and versions behind the metrics, in one line.
        missing: Why a metric of the last score has no value, by name.

    Raises:
        RequestError: For a protocol or a metric that is not known.
    """

    def __init__(
        self,
        protocol: str | None,
        names: Sequence[str] | None = None,
        max_references: int | Literal["all"] | None = None,
    ) -> None:
        allowed = registry.protocol_metrics(protocol)
        if not allowed:
            raise RequestError(unknown_name("task", str(protocol), registry.protocols()))
        if wrong := [name for name in names or () if name not in allowed]:
            raise RequestError([unknown_name("metrics", name, allowed) for name in wrong])
        self.names = [name for name in allowed if names is None or name in names]
        official = registry.OFFICIAL_REFERENCES.get(str(protocol))
        limit = official if max_references is None else max_references
        self._limit = None if limit == "all" else limit
        self.signature = registry.signature(self.names, protocol)
        if limit is not None and (official, limit) != (None, "all"):
            self.signature += f"; refs:{limit}"
        self.missing: dict[str, str] = {}
        self._computations = {n: registry.METRICS[n].computations[protocol] for n in self.names}
        self._functions = {n: c.make_function() for n, c in self._computations.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def score(
        self, predictions: Sequence[Any], references: Sequence[Any]
    ) -> dict[str, float | None]:
        """Return each metric's value; None with a reason in ``missing`` where Java fails.

        Args:
            predictions: A label, number or text for each item; a text may be empty.
            references: The same for each item; for texts, at least one text for each item, of
                which the first ``max_references`` count.

        Raises:
            RequestError: Without items, with another number of references, or with an item that
                has none.
        """
        _check(predictions, references)
        if self._limit is not None:
            references = [item[: self._limit] for item in references]
        values: dict[str, float | None] = {}
        self.missing = {}
        for name, computation in self._computations.items():
            try:
                texts = _prepare(computation, predictions, references)
                values[name] = self._functions[name](*texts)
            except JavaError as error:
                values[name] = None
                self.missing[name] = str(error)
        return values

    def close(self) -> None:
        """End the Java process; a later score starts another."""
        for function in self._functions.values():
            if hasattr(function, "close"):
                function.close()


def _check(predictions: Sequence[Any], references: Sequence[Any]) -> None:
    if len(predictions) != len(references):
        raise RequestError(
            f"predictions: found {len(predictions)}, but there are references for "
            f"{len(references)} items."
        )
    if not len(predictions):
        raise RequestError("predictions: found none.")
    for number, texts in enumerate(references, 1):
        if isinstance(texts, list | tuple) and not texts:
            raise RequestError(f"references: item {number} has none.")


def _prepare(
    computation: Computation, predictions: Sequence[Any], references: Sequence[Any]
) -> tuple[Sequence[Any], Sequence[Any]]:
    if computation.prepare is None:
        return predictions, references
    prepared = iter(computation.prepare(tuple(chain.from_iterable(references))))
    theirs = [list(islice(prepared, len(texts))) for texts in references]
    return computation.prepare(tuple(predictions)), theirs
