"""What every reader offers, and the choice of the reader that a task's config names."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dylora_exp.config import READERS, TaskConfig, load_plugin, reader_plugins
from dylora_exp.core import Repository, RequestError, unknown_name
from dylora_exp.tasks import readers
from dylora_exp.tasks.holding_out import split_off

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class TaskData:
    """A task's examples.

    Attributes:
        train: Columns ``text`` (list of one or two texts) and ``label`` (id or number). A
            generation task: ``context`` and ``text``, a row for each pair. A task of templates:
            ``prompt``, ``completion`` and what its objective scores, with ``where`` it was found
            and the name of its ``part``, which is empty where a split is one file.
        eval: The same for the examples that are scored. A generation task: a row for each distinct
            ``context`` with its ``references`` (list of texts), its ``category`` (or an empty
            text), ``seen``, whether that category occurs in training, and ``where`` it was found.
        sources: For the record, of train and eval: file or dataset, its rows, how many examples
            (contexts, where texts are generated and scored) are used, sha256 or revision.
        warnings: A sentence for each broken example that the reader skipped.
    """

    train: Dataset
    eval: Dataset
    sources: list[dict[str, Any]]
    warnings: list[str]


class Reader:
    """Reads a task's examples; a module under ``readers`` has one, named ``READER``.

    Another package names its own, the class or an object of it, in an entry point of the group
    ``dylora_exp.readers``, by the name that ``task.reader`` says.
    """

    def read(self, task: TaskConfig, hub_cache: str | None = None) -> TaskData:
        """Read all examples, or as many as the sample limits say.

        Args:
            task: The task.
            hub_cache: The folder to read instead of asking the hub.

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

    def count_texts(self, path: Path) -> int | None:
        """Return the number of texts in a file that a publisher has; None where it is not known.

        Raises:
            Broken: When the file is none of the task's, such as what a server gave instead: the
                message ends a sentence.
        """
        return None

    def repository(self, task: TaskConfig) -> Repository | None:
        """Return the repository of the hub that the task is read from, None where it is not."""
        return None

    def repositories(self, task: TaskConfig) -> list[Repository]:
        """Return the repositories of the hub that the task is read from."""
        found = self.repository(task)
        return [] if found is None else [found]


def read(task: TaskConfig, hub_cache: str | None = None) -> TaskData:
    """Read a task's examples with the reader that its config names.

    Args:
        task: The task.
        hub_cache: The folder of fetched data, for a task that names no ``data_dir``.

    Raises:
        RequestError: When data are missing or broken.
    """
    data = _reader(task).read(_with_fetched_files(task, hub_cache), hub_cache)
    train, scored, sources = data.train, data.eval, data.sources
    if task.held_out is not None:
        train, scored = split_off(train, task.held_out)
        sources = [sources[0], sources[0]]
    splits = (subset(train, task.max_train_samples), subset(scored, task.max_eval_samples))
    used = [{**source, "used": len(split)} for source, split in zip(sources, splits, strict=True)]
    return TaskData(*splits, used, data.warnings)


def checksums(task: TaskConfig, hub_cache: str | None = None) -> dict[str, str]:
    """Return the sha256 of each local file of a task, by its name in the record."""
    return _reader(task).checksums(_with_fetched_files(task, hub_cache))


def repositories(task: TaskConfig) -> list[Repository]:
    """Return the repositories of the hub that a task is read from; none where it is not."""
    return _reader(task).repositories(task)


def count_texts(task: TaskConfig, path: Path) -> int | None:
    """Return the number of texts in a file of a task; None where its reader does not know.

    Args:
        task: The task.
        path: A file that has the name under which it is published.

    Raises:
        Broken: When it is no file of the task: the message ends a sentence.
    """
    return _reader(task).count_texts(path)


def needs_hub(task: TaskConfig) -> bool:
    """Return whether the task is read from the hub, or from what was fetched of it."""
    return bool(repositories(task))


def reader_names() -> list[str]:
    """Return the names that ``task.reader`` may have."""
    own = (module.name for module in pkgutil.iter_modules(readers.__path__))
    return sorted({*own, *reader_plugins().names})


def subset(data: Dataset, limit: int | None) -> Dataset:
    """Return ``limit`` examples, the same for every run: some files are sorted by label."""
    if limit is None or limit >= len(data):
        return data
    import numpy as np

    chosen = np.random.Generator(np.random.PCG64(0)).permutation(len(data))[:limit]
    return data.select(np.sort(chosen))


def _reader(task: TaskConfig) -> Reader:
    if task.reader not in reader_names():
        raise RequestError(unknown_name("task.reader", task.reader, reader_names()))
    plugin = next(iter(reader_plugins().select(name=task.reader)), None)
    if plugin is None or task.reader in READERS:
        found: Reader = importlib.import_module(f"{readers.__name__}.{task.reader}").READER
        return found
    loaded = load_plugin(plugin)
    return loaded() if isinstance(loaded, type) else loaded


def _with_fetched_files(task: TaskConfig, hub_cache: str | None) -> TaskConfig:
    """Return the task with its published files where ``dylora data fetch`` puts them."""
    if hub_cache is None or task.data_dir is not None or not task.published:
        return task
    return task.model_copy(update={"data_dir": hub_cache})
