"""The generated task of the demo: needs no data and no network."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

from dylora_exp.config import TaskConfig
from dylora_exp.core import RequestError
from dylora_exp.tasks.base import Reader, TaskData
from dylora_exp.tasks.demo_text import MAX_EXAMPLES, examples

if TYPE_CHECKING:
    from datasets import Dataset


class DemoReader(Reader):
    """Generates as many examples as the config's sample limits say."""

    def read(self, task: TaskConfig, hub_cache: str | None = None) -> TaskData:
        """Return the examples, or raise when more are asked for than the generator has."""
        limits = {"max_train": task.max_train_samples, "max_eval": task.max_eval_samples}
        if problems := [
            f"task.{name}_samples: found {limit}, the demo task has at most {MAX_EXAMPLES}."
            for name, limit in limits.items()
            if limit is not None and limit > MAX_EXAMPLES
        ]:
            raise RequestError(problems)
        train, train_source = _generate("train", task.max_train_samples or 4000)
        evaluation, eval_source = _generate("eval", task.max_eval_samples or 1000)
        return TaskData(train, evaluation, [train_source, eval_source], [])


READER = DemoReader()


def _generate(split: Literal["train", "eval"], count: int) -> tuple[Dataset, dict[str, Any]]:
    from datasets import Dataset

    pairs = examples(split, count)
    text = "".join(f"{label}\t{sentence}\n" for sentence, label in pairs)
    data = Dataset.from_dict(
        {"text": [[sentence] for sentence, _ in pairs], "label": [label for _, label in pairs]}
    )
    digest = hashlib.sha256(text.encode()).hexdigest()
    return data, {"dataset": f"demo/{split}", "rows": count, "sha256": digest}
