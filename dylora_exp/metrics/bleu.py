"""BLEU by sacrebleu, in the settings that reproduce the official scripts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest


def bleu(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    lowercase: bool = False,
    high: int = 100,
) -> float:
    """Return corpus BLEU-4 on 13a tokens (Papineni et al. 2002).

    Equals e2e-metrics ``-p`` (lower-cased) and multi-bleu-detok (cased) where every prediction has
    four words and every order a hit. Else sacrebleu's rules hold: an empty prediction has no words
    (e2e-metrics: one), a short one no longer n-grams (e2e-metrics: fewer than none), and an order
    without a hit is smoothed (multi-bleu-detok: the score is 0).

    Args:
        predictions: One text for each item.
        references: At least one text for each item.
        lowercase: Whether case is ignored.
        high: The score of predictions that equal a reference: 1 or 100.
    """
    import sacrebleu

    # A padded "" would count as a reference of length 0 and move the brevity penalty.
    streams = list(zip_longest(*references))
    metric = sacrebleu.BLEU(lowercase=lowercase, tokenize="13a", force=True)
    return float(metric.corpus_score(list(predictions), streams).score) / (100 / high)
