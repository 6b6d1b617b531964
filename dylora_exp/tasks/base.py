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
        train: Columns ``text`` (list of one or two texts) and ``label`` (id or number). A
            generation task: ``context`` and ``text``, a row for each pair.
        eval: The same for the examples that are scored. A generation task: a row for each distinct
            ``context`` with its ``references`` (list of texts), its ``category`` (or an empty
            text), ``seen``, whether that category occurs in training, and ``where`` it was found.
        sources: For the record, of train and eval: file or dataset, its rows, how many examples
            (contexts, where texts are generated and scored) are used, sha256 or revision.
        warnings: What the reader passed over.
    """

    train: Dataset
    eval: Dataset
    sources: list[dict[str, Any]]
    warnings: list[str]


class Reader:
    """How a task's examples are found. Each module with a reader calls it ``READER``."""

    def read(self, task: TaskConfig, hub_cache: str | None = None) -> TaskData:
        """Read all examples, or as many as the sample limits say.

        Args:
            task: The task.
            hub_cache: The folder to read in the hub's place.

        Raises:
            RequestError: When data are missing or broken.
        """
        raise NotImplementedError

    def checksums(self, task: TaskConfig) -> dict[str, str]:
        """Return the sha256 of each local file, by the name it has in ``TaskData.sources``.

        Raises:
            RequestError: When ``task.data_dir`` does not hold the task's files.
        """
        return {}

    def needs_hub(self, task: TaskConfig) -> bool:
        """Return whether the task is read from the hub, or from what was fetched of it."""
        return False


def read(task: TaskConfig, hub_cache: str | None = None) -> TaskData:
    """Read a task's examples with the reader that its config names.

    Args:
        task: The task.
        hub_cache: A folder of what was fetched, for a task that names no ``data_dir``.

    Raises:
        RequestError: When data are missing or broken.
    """
    data = _reader(task).read(_placed(task, hub_cache), hub_cache)
    splits = (
        subset(data.train, task.max_train_samples),
        subset(data.eval, task.max_eval_samples),
    )
    used = [
        {**source, "used": len(split)} for source, split in zip(data.sources, splits, strict=True)
    ]
    return TaskData(*splits, used, data.warnings)


def checksums(task: TaskConfig, hub_cache: str | None = None) -> dict[str, str]:
    """Return the sha256 of each local file of a task, by its name in the record."""
    return _reader(task).checksums(_placed(task, hub_cache))


def needs_hub(task: TaskConfig) -> bool:
    """Return whether the task is read from the hub, or from what was fetched of it."""
    return _reader(task).needs_hub(task)


def _placed(task: TaskConfig, hub_cache: str | None) -> TaskConfig:
    """Return the task with its published files where ``dylora data fetch`` puts them."""
    if hub_cache is None or task.data_dir is not None or not task.published:
        return task
    return task.model_copy(update={"data_dir": hub_cache})


def _reader(task: TaskConfig) -> Reader:
    found: Reader = importlib.import_module(f"dylora_exp.tasks.{task.reader}").READER
    return found


def subset(data: Dataset, limit: int | None) -> Dataset:
    """Return ``limit`` examples, the same for every run: some files are sorted by label."""
    if limit is None or limit >= len(data):
        return data
    chosen = np.random.Generator(np.random.PCG64(0)).permutation(len(data))[:limit]
    return data.select(np.sort(chosen))
