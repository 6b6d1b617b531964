"""How probable texts are to a model: the mean loss of a token, and the perplexity."""

from __future__ import annotations

import math
from collections.abc import Sequence


def loss(predictions: Sequence[float], references: Sequence[int]) -> float:
    """Return the mean negative log-likelihood of a token in nats, over the tokens of all texts.

    Args:
        predictions: The negative log-likelihood of each text, the sum over its tokens.
        references: How many tokens each text has.
    """
    return math.fsum(predictions) / sum(references)


def perplexity(predictions: Sequence[float], references: Sequence[int]) -> float:
    """Return e to the power of the mean loss of a token; see ``loss``."""
    try:
        return math.exp(loss(predictions, references))
    except OverflowError:
        return math.inf
