"""GLUE and GLUE-like tasks: from a local folder in the official TSV layout, or from the hub."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset

from dylora_exp.config import HubSource, TaskConfig, TsvSource
from dylora_exp.core import (
    Repository,
    RequestError,
    commit_of,
    describe_unfetched,
    did_you_mean,
    file_sha256,
    find_fetched,
    first_line,
    is_unreachable,
)
from dylora_exp.tasks.base import Reader, TaskData
from dylora_exp.tasks.files import existing_folder, first_few, lines_of, read_text


class GlueReader(Reader):
    """Reads the training and development sets from ``task.data_dir`` or, without it, the hub."""

    def read(self, task: TaskConfig, hub_cache: str | None = None) -> TaskData:
        """Return the examples, or raise: a file, column or the hub missing, a line broken."""
        if task.data_dir is not None:
            return _read_folder(task, task.data_dir)
        return _read_hub(task, hub_cache)

    def checksums(self, task: TaskConfig) -> dict[str, str]:
        """Return the sha256 of the files that a local folder holds for this task."""
        if task.tsv is None or task.data_dir is None:
            return {}
        folder = _folder(task.data_dir, task.tsv)
        files = [folder / name for name in (task.tsv.train, task.tsv.eval)]
        return {f.name: file_sha256(f) for f in files if f.is_file()}

    def needs_hub(self, task: TaskConfig) -> bool:
        """Return whether no local folder is named."""
        return task.data_dir is None


READER = GlueReader()


def _read_folder(task: TaskConfig, data_dir: str) -> TaskData:
    if task.tsv is None:
        raise RequestError(
            f"task.data_dir: task '{task.name}' has no TSV layout (task.tsv), leave data_dir out."
        )
    folder = _folder(data_dir, task.tsv)
    splits, sources = [], []
    problems: list[str] = []
    warnings: list[str] = []
    for name in (task.tsv.train, task.tsv.eval):
        file = TsvFile(folder / name, task)
        try:
            rows = list(file.rows())
        except RequestError as error:
            problems += error.problems
            continue
        told = warnings if task.broken_lines == "skip" else problems
        told.extend(first_few(file.path, file.broken))
        splits.append(_to_dataset(rows))
        sources.append({"file": name, "rows": len(rows), "sha256": file.sha256})
    if problems:
        raise RequestError(problems)
    return TaskData(splits[0], splits[1], sources, warnings)


def _folder(data_dir: str, tsv: TsvSource) -> Path:
    """Return the task's folder: ``data_dir`` itself or its sub-folder of the official name."""
    root = existing_folder(data_dir)
    for folder in (root / tsv.folder, root):
        if (folder / tsv.train).is_file() or (folder / tsv.eval).is_file():
            return folder
    raise RequestError(
        f"task.data_dir: found neither '{tsv.train}' nor '{tsv.eval}' in '{root}' "
        f"or '{root / tsv.folder}'."
    )


class TsvFile:
    """One file in the official GLUE layout: tabs, no quoting, UTF-8 with or without a BOM.

    Attributes:
        broken: After ``rows``, a sentence with file and line for each line passed over.
        sha256: After ``rows``, the checksum of the file's bytes.
    """

    def __init__(self, path: Path, task: TaskConfig) -> None:
        assert task.tsv is not None
        self.path = path
        self.task = task
        self.tsv = task.tsv
        self.broken: list[str] = []
        self.sha256 = ""

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield ``text`` and ``label`` of each line.

        Raises:
            RequestError: When the file is missing, not UTF-8, empty or without a needed column.
        """
        content, self.sha256 = read_text(self.path)
        lines = lines_of(content)
        columns = self.tsv.columns
        first = 1
        if columns is None:
            columns = lines[0].split("\t") if lines else []
            first = 2
            lines = lines[1:]
        needed = [*self.tsv.text, self.tsv.label]
        if absent := [name for name in needed if name not in columns]:
            raise RequestError(
                f"{self.path}:1: there is no column '{absent[0]}' among "
                f"{', '.join(columns) or 'none'}{did_you_mean(absent[0], columns) or '.'}"
            )
        places = [columns.index(name) for name in needed]
        found = False
        for number, line in enumerate(lines, first):
            cells = line.split("\t")
            if len(cells) != len(columns):
                self._broken(number, f"found {len(cells)} columns, expected {len(columns)}")
                continue
            *text, label = (cells[place] for place in places)
            value = self._label(label, number)
            if value is not None:
                found = True
                yield {"text": text, "label": value}
        if not found and (self.task.broken_lines == "skip" or not self.broken):
            raise RequestError(f"{self.path}: there are no examples in this file.")

    def _label(self, label: str, number: int) -> float | int | None:
        if self.task.labels:
            if label in self.task.labels:
                return self.task.labels.index(label)
            expected = "one of " + ", ".join(self.task.labels)
        else:
            low, high = self.task.label_range or (-math.inf, math.inf)
            try:
                value = float(label)
            except ValueError:
                value = math.nan
            if low <= value <= high and math.isfinite(value):
                return value
            expected = f"a number from {low:g} to {high:g}" if self.task.label_range else "a number"
        self._broken(number, f"found label '{label}', expected {expected}")
        return None

    def _broken(self, number: int, what: str) -> None:
        self.broken.append(f"{self.path}:{number}: {what}.")


def _to_dataset(rows: list[dict[str, Any]]) -> Dataset:
    return Dataset.from_dict(
        {"text": [row["text"] for row in rows], "label": [row["label"] for row in rows]}
    )


def repository(task: TaskConfig) -> Repository:
    """Return where on the hub a task lies.

    Raises:
        RequestError: When it does not lie there.
    """
    if task.hub is None:
        raise RequestError(f"task.data_dir: task '{task.name}' is not on the hub, name its folder.")
    command = f"dylora data fetch {task.name}"
    return Repository("dataset", task.hub.path, None, "task.data_dir", command)


def _read_hub(task: TaskConfig, hub_cache: str | None) -> TaskData:
    hub, where = task.hub, repository(task)
    assert hub is not None
    path = hub.path if hub_cache is None else str(find_fetched(where, hub_cache))
    splits, sources = [], []
    for split in (hub.train, hub.eval):
        try:
            data = load_dataset(path, hub.name, split=split)
        except Exception as error:  # the hub client raises many unrelated types
            if hub_cache is None and is_unreachable(error):
                raise RequestError(describe_unfetched(where)) from error
            raise RequestError(
                f"task.data_dir: '{path}' could not be loaded ({type(error).__name__}: "
                f"{first_line(error)}); a folder of TSV files may take its place: task.data_dir=DIR"
            ) from error
        sources.append(
            {
                "dataset": f"{hub.path}/{hub.name}:{split}",
                "rows": len(data),
                "revision": commit_of(path) or _revision(data),
            }
        )
        splits.append(data.map(_columns, fn_kwargs={"hub": hub}, remove_columns=data.column_names))
    return TaskData(splits[0], splits[1], sources, [])


def _revision(data: Dataset) -> str | None:
    """Return the commit that the hub's files were fetched at: it stands in their addresses."""
    for address in data.info.download_checksums or {}:
        if found := commit_of(address):
            return found
    return data.info.version and str(data.info.version)


def _columns(row: dict[str, Any], hub: HubSource) -> dict[str, Any]:
    return {"text": [row[name] for name in hub.text], "label": row[hub.label]}
