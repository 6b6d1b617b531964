"""GLUE and GLUE-like tasks: from a local folder in the official TSV layout, or from the hub."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dylora_exp.config import HubSource, TaskConfig, TsvSource
from dylora_exp.core import Repository, RequestError, file_sha256
from dylora_exp.tasks.base import Reader, TaskData
from dylora_exp.tasks.files import (
    Broken,
    check_columns,
    existing_folder,
    lines_of,
    read_splits,
    read_text,
)
from dylora_exp.tasks.hub_data import load_splits, repository_of

if TYPE_CHECKING:
    from datasets import Dataset


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

    def repository(self, task: TaskConfig) -> Repository | None:
        """Return the task's repository where no local folder is named."""
        return repository_of(task)


READER = GlueReader()


@dataclass
class _Split:
    """What was read of a file: columns ``text`` and ``label`` of its rows, and broken lines."""

    file: str
    sha256: str
    texts: list[list[str]] = field(default_factory=list)
    labels: list[float | int] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def _read_folder(task: TaskConfig, data_dir: str) -> TaskData:
    tsv = task.tsv
    if tsv is None:
        raise RequestError(
            f"task.data_dir: task '{task.name}' has no TSV layout (task.tsv), leave data_dir out."
        )
    folder = _folder(data_dir, tsv)
    paths = [folder / tsv.train, folder / tsv.eval]
    splits, warnings = read_splits(task, paths, lambda path: _read_file(path, task, tsv))
    train, evaluation = (_to_dataset(split) for split in splits)
    sources = [{"file": s.file, "rows": len(s.labels), "sha256": s.sha256} for s in splits]
    return TaskData(train, evaluation, sources, warnings)


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


def _read_file(path: Path, task: TaskConfig, tsv: TsvSource) -> _Split:
    """Read a file in the official GLUE layout: tabs, no quoting, UTF-8 with or without a BOM.

    Raises:
        RequestError: When it is missing, not UTF-8, empty or without a needed column.
    """
    content, sha256 = read_text(path)
    lines = list(enumerate(lines_of(content), 1))
    columns = tsv.columns
    if columns is None:
        columns = lines[0][1].split("\t") if lines else []
        lines = lines[1:]
    needed = [*tsv.text, tsv.label]
    try:
        check_columns(columns, needed, is_header=tsv.columns is None)
    except Broken as flaw:
        raise RequestError(flaw.sentence(path)) from None
    split = _Split(path.name, sha256)
    parse_label = _label_parser(task)
    for number, line in lines:
        cells = line.split("\t")
        try:
            if len(cells) != len(columns):
                raise Broken(f"found {len(cells)} columns, expected {len(columns)}")
            *text, label = (cells[columns.index(name)] for name in needed)
            split.labels.append(parse_label(label))
            split.texts.append(text)
        except Broken as flaw:
            split.broken.append(f"{path}:{number}: {flaw}.")
    if not split.labels and (task.broken_lines == "skip" or not split.broken):
        raise RequestError(f"{path}: there are no examples in this file.")
    return split


def _label_parser(task: TaskConfig) -> Callable[[str], float | int]:
    """Return the function from a label's text to its id or number; it raises ``Broken``."""
    ids = {label: number for number, label in enumerate(task.labels)}
    low, high = task.label_range or (-math.inf, math.inf)
    expected = f"a number from {low:g} to {high:g}" if task.label_range else "a number"
    if ids:
        expected = "one of " + ", ".join(ids)

    def parse(label: str) -> float | int:
        if label in ids:
            return ids[label]
        try:
            value = math.nan if ids else float(label)
        except ValueError:
            value = math.nan
        if low <= value <= high and math.isfinite(value):
            return value
        raise Broken(f"found label '{label}', expected {expected}")

    return parse


def _to_dataset(split: _Split) -> Dataset:
    from datasets import Dataset

    return Dataset.from_dict({"text": split.texts, "label": split.labels})


def _read_hub(task: TaskConfig, hub_cache: str | None) -> TaskData:
    hub, source = task.hub, READER.repository(task)
    if hub is None or source is None:
        raise RequestError(f"task.data_dir: task '{task.name}' is not on the hub, name its folder.")
    loaded, sources = load_splits(source, hub, hub_cache, "a folder of TSV files")
    splits = [
        data.map(_columns, fn_kwargs={"hub": hub}, remove_columns=data.column_names)
        for data in loaded
    ]
    return TaskData(splits[0], splits[1], sources, [])


def _columns(row: dict[str, Any], hub: HubSource) -> dict[str, Any]:
    return {"text": [row[name] for name in hub.text], "label": row[hub.label]}
