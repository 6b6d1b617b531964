"""ROUGE-L and CIDEr as coco-caption counts them, on Penn Treebank words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain


def rouge_l(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return the mean ROUGE-L of the items, 0..1 (Lin 2004; F with beta 1.2).

    Args:
        predictions: One text for each item, its words joined by single spaces.
        references: At least one such text for each item; the best precision and the best recall
            among them count.
    """
    from pycocoevalcap.rouge.rouge import Rouge

    return float(Rouge().compute_score(*_by_item(predictions, references))[0])


def cider(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return CIDEr-D, 0..10 (Vedantam et al. 2015).

    Args:
        predictions: One text for each item, its words joined by single spaces.
        references: At least one such text for each item. N-grams that most items share weigh
            little; where there is one item they weigh nothing, and the score is 0.
    """
    from pycocoevalcap.cider.cider import Cider

    if not any(chain.from_iterable(references)):
        return 0.0  # coco-caption has no weights without words
    return float(Cider().compute_score(*_by_item(predictions, references))[0])


def _by_item(
    predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Return references and predictions in coco-caption's form, references first."""
    items = dict(enumerate(references))
    return {i: list(texts) for i, texts in items.items()}, {i: [predictions[i]] for i in items}
