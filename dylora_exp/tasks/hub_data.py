"""Data sets of the hub: what all readers share that take a task from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dylora_exp.config import HubDataset, TaskConfig
from dylora_exp.core import (
    Repository,
    RequestError,
    commit_of,
    describe_unfetched,
    find_fetched,
    first_line,
    is_unreachable,
)

if TYPE_CHECKING:
    from datasets import Dataset


def repository_of(task: TaskConfig) -> Repository | None:
    """Return the repository of the hub that a task is read from, None where files are named."""
    if task.hub is None or task.reads_files:
        return None
    command = f"dylora data fetch {task.name}"
    return Repository("dataset", task.hub.path, None, "task.data_dir", command)


def load_splits(
    source: Repository, hub: HubDataset, hub_cache: str | None, instead: str
) -> tuple[list[Dataset], list[dict[str, Any]]]:
    """Return the training and the evaluation split of a data set, and their ``TaskData.sources``.

    Args:
        source: Its repository.
        hub: Its configuration and its splits.
        hub_cache: The folder to read instead of asking the hub.
        instead: What may replace it, for the error message.

    Raises:
        RequestError: When it cannot be loaded.
    """
    from datasets import load_dataset

    path = hub.path if hub_cache is None else str(find_fetched(source, hub_cache))
    splits, sources = [], []
    for split in (hub.train, hub.eval):
        try:
            data = load_dataset(path, hub.name, split=split)
        except Exception as error:  # the hub client raises many unrelated types
            if hub_cache is None and is_unreachable(error):
                raise RequestError(describe_unfetched(source)) from error
            raise RequestError(
                f"task.data_dir: '{path}' could not be loaded ({type(error).__name__}: "
                f"{first_line(error)}); {instead} may replace it: task.data_dir=DIR"
            ) from error
        splits.append(data)
        sources.append(
            {
                "dataset": f"{hub.path}/{hub.name}:{split}",
                "rows": len(data),
                "revision": commit_of(path) or _revision(data),
            }
        )
    return splits, sources


def _revision(data: Dataset) -> str | None:
    """Return the commit that the hub's files were fetched at: it is in their addresses."""
    for address in data.info.download_checksums or {}:
        if found := commit_of(address):
            return found
    return data.info.version and str(data.info.version)
