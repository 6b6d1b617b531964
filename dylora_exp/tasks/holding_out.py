"""A part of the training examples, held out and scored in place of a task's evaluation data.

Learning rates and other settings are chosen on it, so that nothing is chosen on the data on which
methods are compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from dylora_exp.core import RequestError

if TYPE_CHECKING:
    from datasets import Dataset

# The columns that hold what a model is given, one of which the training examples of a task have.
_INPUTS = ("context", "prompt", "text")
# Of the permutation that decides, the same for every run; that of ``subset`` has another.
_SEED = 1


def split_off(train: Dataset, share: float) -> tuple[Dataset, Dataset]:
    """Return the examples that are trained on, and those held out, in the order they had.

    Where texts are generated, those held out are a row for each context, with its references.
    Examples of equal inputs, such as the texts about one context, stay together; a share is one of
    different inputs.

    Args:
        train: The training examples of a task.
        share: Of the different inputs, more than 0 and less than 1.

    Raises:
        RequestError: When the examples have fewer than two different inputs.
    """
    import numpy as np

    column = next(name for name in _INPUTS if name in train.column_names)
    rows: dict[Hashable, list[int]] = defaultdict(list)
    for row, given in enumerate(train[column]):
        rows[tuple(given) if isinstance(given, list) else given].append(row)
    groups = list(rows.values())
    if len(groups) < 2:
        raise RequestError(
            "task.held_out: the training examples all have the same input, so that none can be "
            "held out; found 1, expected at least 2."
        )
    order = np.random.Generator(np.random.PCG64(_SEED)).permutation(len(groups))
    count = min(max(round(share * len(groups)), 1), len(groups) - 1)
    held = [groups[index] for index in sorted(order[:count])]
    trained = sorted(row for index in order[count:] for row in groups[index])
    if column == "context":
        return train.select(trained), _contexts(train, held)
    return train.select(trained), train.select(sorted(row for group in held for row in group))


def _contexts(train: Dataset, groups: list[list[int]]) -> Dataset:
    """Return a row for each context, as ``TaskData.eval`` has them; categories are not known."""
    from datasets import Dataset

    contexts, texts = train["context"], train["text"]
    found: list[dict[str, Any]] = [
        {
            "context": contexts[group[0]],
            "references": [texts[row] for row in group],
            "category": "",
            "seen": True,
            "where": f"training text {group[0] + 1}",
        }
        for group in groups
    ]
    return Dataset.from_list(found)
