"""How finely the scores of a development set can differ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeGuard

from dylora_exp.metrics import score_range
from dylora_exp.records import Record


def one_example(metric: str, records: Iterable[Record], scores: Sequence[float]) -> float:
    """Return one example's part in a metric: 1/n of its range for n examples, as far as known.

    A proportion such as accuracy moves by exactly this when one example changes. Metrics that are
    no proportions (F1, correlations, BLEU) move by about as much: one example of n carries no more
    than about one n-th of what separates the worst from the best value. A metric without a highest
    value (TER, NIST) moves by about one n-th of the score itself.

    Args:
        metric: The metric's name.
        records: The runs; the one with the fewest examples counts.
        scores: The values that are compared.

    Returns:
        0 where no record names its number of examples.
    """
    record = fewest_examples(records)
    fewest = None if record is None else examples_of(record)
    if record is None or fewest is None:
        return 0.0
    lowest, highest = score_range(metric, str(record.config.get("task", {}).get("reader")))
    width = highest - lowest
    if not math.isfinite(width):
        width = max(map(abs, scores), default=0.0)
    return width / fewest


def fewest_examples(records: Iterable[Record]) -> Record | None:
    """Return the run that was scored on the fewest examples, the first of equals; None where no
    record names its number.
    """
    known = [(count, record) for record in records if (count := examples_of(record))]
    return min(known, key=lambda pair: pair[0])[1] if known else None


def examples_of(record: Record) -> int | None:
    """Return how many examples, or contexts of texts, a run was scored on; None if unknown."""
    if not record.data:
        return None
    # The training data come first, what is scored last.
    source = record.data[-1]
    limit = record.config.get("task", {}).get("max_eval_samples")
    named = next((source[key] for key in ("used", "contexts", "rows") if key in source), None)
    return min(filter(_is_count, (named, limit)), default=None)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
