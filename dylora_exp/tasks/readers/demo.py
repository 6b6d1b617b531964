"""The generated tasks of the demo: they need no data and no network."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal

from dylora_exp.config import TaskConfig
from dylora_exp.core import RequestError, TemplateFlaw
from dylora_exp.tasks.base import Reader, TaskData
from dylora_exp.tasks.demo_choice import MAX_ITEMS, choice_items
from dylora_exp.tasks.demo_text import MAX_EXAMPLES, examples

if TYPE_CHECKING:
    from datasets import Dataset

Split = Literal["train", "eval"]
# How many examples there are unless the config limits them.
_DEFAULT: dict[Split, int] = {"train": 4000, "eval": 1000}


class DemoReader(Reader):
    """Generates as many examples as the config's sample limits say.

    They are labelled reviews, or, for a task whose answers are choices, questions with options,
    whose columns ``text``, ``question``, ``options`` and ``answer`` are those of the templates.
    """

    def read(self, task: TaskConfig, hub_cache: str | None = None) -> TaskData:
        """Return the examples, or raise when more are asked for than the generator has."""
        most = MAX_ITEMS if task.scored == "choices" else MAX_EXAMPLES
        limits = {"train": task.max_train_samples, "eval": task.max_eval_samples}
        if problems := [
            f"task.max_{name}_samples: found {limit}, the demo task has at most {most}."
            for name, limit in limits.items()
            if limit is not None and limit > most
        ]:
            raise RequestError(problems)
        generate = _items if task.scored == "choices" else _reviews
        parts = [
            generate(task, split, limits[split] or min(most, count))
            for split, count in _DEFAULT.items()
        ]
        (train, train_source), (evaluation, eval_source) = parts
        return TaskData(train, evaluation, [train_source, eval_source], [])


READER = DemoReader()


def _reviews(task: TaskConfig, split: Split, count: int) -> tuple[Dataset, dict[str, Any]]:
    """Return labelled reviews, and what the record says of them."""
    from datasets import Dataset

    pairs = examples(split, count)
    text = "".join(f"{label}\t{sentence}\n" for sentence, label in pairs)
    data = Dataset.from_dict(
        {"text": [[sentence] for sentence, _ in pairs], "label": [label for _, label in pairs]}
    )
    return data, _source(f"demo/{split}", count, text)


def _items(task: TaskConfig, split: Split, count: int) -> tuple[Dataset, dict[str, Any]]:
    """Return items with options as the task's templates make them, and what the record says."""
    from datasets import Dataset

    name, rows = f"demo-choice/{split}", choice_items(split, count)
    try:
        made = [
            task.example(row) | {"where": f"{name}: row {number}"}
            for number, row in enumerate(rows, 1)
        ]
    except TemplateFlaw as flaw:
        raise RequestError(f"{name}: {flaw}.") from None
    text = "".join(f"{json.dumps(row, sort_keys=True)}\n" for row in rows)
    return Dataset.from_list(made), _source(name, count, text)


def _source(name: str, count: int, text: str) -> dict[str, Any]:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"dataset": name, "rows": count, "sha256": digest}
