"""What every reader returns, and the choice of the reader."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset

from dylora_exp.config import TaskConfig


@dataclass(frozen=True)
class TaskData:
    """A task's examples.

    Attributes:
        train: Columns ``text`` (list of one or two texts) and ``label`` (id or number).
        eval: The same for the examples that are scored.
        sources: For the record, of train and eval: file or dataset, its rows, how many of them
            are used, sha256 or revision.
        warnings: What the reader passed over.
    """

    train: Dataset
    eval: Dataset
    sources: list[dict[str, Any]]
    warnings: list[str]


def read(task: TaskConfig) -> TaskData:
    """Read a task's examples with the reader that its config names.

    Raises:
        RequestError: When data are missing or broken.
    """
    reader = importlib.import_module(f"dylora_exp.tasks.{task.reader}")
    data: TaskData = reader.read(task)
    splits = (
        subset(data.train, task.max_train_samples),
        subset(data.eval, task.max_eval_samples),
    )
    used = [
        {**source, "used": len(split)} for source, split in zip(data.sources, splits, strict=True)
    ]
    return TaskData(*splits, used, data.warnings)


def needs_hub(task: TaskConfig) -> bool:
    """Return whether reading the task means fetching it from the hub."""
    return task.reader == "glue" and task.data_dir is None


def subset(data: Dataset, limit: int | None) -> Dataset:
    """Return ``limit`` examples, the same for every run: some files are sorted by label."""
    if limit is None or limit >= len(data):
        return data
    chosen = np.random.Generator(np.random.PCG64(0)).permutation(len(data))[:limit]
    return data.select(np.sort(chosen))
