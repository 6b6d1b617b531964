"""Rows of columns in any common format: files of one's own, of a task's folder, or of the hub.

What a row is an example of, its task says: by templates, or by the columns of a text and a label.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dylora_exp.config import RowFiles, TaskConfig, digest
from dylora_exp.core import Repository, RequestError, TemplateFlaw, did_you_mean
from dylora_exp.tasks.base import Reader, TaskData
from dylora_exp.tasks.files import Broken, existing_folder, first_few, read_splits
from dylora_exp.tasks.hub_data import load_splits, repository_of
from dylora_exp.tasks.row_files import FORMATS, digest_of, is_saved_dataset, rows_of

if TYPE_CHECKING:
    from datasets import Dataset


class RowsReader(Reader):
    """Reads ``task.data_files``, else ``task.data_dir``, else the hub."""

    def read(self, task: TaskConfig, hub_cache: str | None = None) -> TaskData:
        """Return the examples, or raise: a file, column or the hub missing, a row broken."""
        if not task.reads_files:
            return _read_hub(task, hub_cache)
        found = _locate(task)
        paths = [path for split in found for path in split]
        parts, warnings = read_splits(task, paths, lambda path: _read_file(path, task))
        for path, part in zip(paths, parts, strict=True):
            if not part.examples and (task.broken_lines == "skip" or not part.broken):
                raise RequestError(f"{path}: there are no examples in it.")
        count = len(found[0])
        splits = [parts[:count], parts[count:]]
        sources = [_source(*pair) for pair in zip(found, splits, strict=True)]
        train, evaluation = map(_to_dataset, splits)
        return TaskData(train, evaluation, sources, warnings)

    def checksums(self, task: TaskConfig) -> dict[str, str]:
        """Return the sha256 of the file or folder of each split."""
        if task.data_dir is None:
            return {}
        return {_name(paths): _digest(paths) for paths in _locate(task)}

    def repository(self, task: TaskConfig) -> Repository | None:
        """Return the task's repository where no files are named."""
        return repository_of(task)


READER = RowsReader()


@dataclass
class _Part:
    """What was read of a file: its examples, each with its ``where``, and broken rows."""

    examples: list[dict[str, Any]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def _locate(task: TaskConfig) -> list[list[Path]]:
    """Return the files of the two splits."""
    if task.data_files is not None:
        named = (task.data_files.train, task.data_files.eval)
        return [[Path(name).expanduser()] for name in named]
    if task.data_dir is None:
        raise RequestError(
            f"task.data_dir: task '{task.name}' is read from files, name their folder, "
            "task.data_dir=DIR, or the files, task.data_files={train: FILE, eval: FILE}."
        )
    files = task.files or RowFiles()
    root = existing_folder(task.data_dir)
    folders = [root] if not files.folder else [_child(root, files.folder), root]
    splits = (files.train, files.eval)
    for folder in folders:
        found = [[_find(folder, name) for name in split] for split in splits]
        if any(path for split in found for path in split):
            return [
                [_there(folder, *pair) for pair in zip(*both, strict=True)]
                for both in zip(splits, found, strict=True)
            ]
    wanted = " or ".join(f"'{name}' ({', '.join(FORMATS)})" for split in splits for name in split)
    places = " or ".join(f"'{folder}'" for folder in reversed(folders))
    raise RequestError(f"task.data_dir: found neither {wanted} in {places}.")


def _child(folder: Path, name: str) -> Path:
    """Return a part of a folder, whose name may have other capitals, or - for _."""
    exact = folder / name
    if exact.exists():
        return exact
    same = (each for each in sorted(folder.iterdir()) if _plain(each.name) == _plain(name))
    return next(same, exact)


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_")


def _find(folder: Path, name: str) -> Path | None:
    """Return the file or data set of a name in a folder, None where there is none."""
    *parents, last = name.split("/")
    for parent in parents:
        folder = _child(folder, parent) if folder.is_dir() else folder
    exact = folder / last
    if exact.is_file() or is_saved_dataset(exact):
        return exact
    found = [path for ending in FORMATS if (path := folder / f"{last}{ending}").is_file()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise RequestError(
            f"task.data_dir: found {names} in '{folder}', name one of them with its ending in "
            "task.files."
        )
    return found[0] if found else None


def _there(folder: Path, name: str, path: Path | None) -> Path:
    if path is None:
        raise RequestError(
            f"task.data_dir: '{folder}' has no '{name}' ({', '.join(FORMATS)}) of task.files."
        )
    return path


def _read_file(path: Path, task: TaskConfig) -> _Part:
    """Read a file.

    Raises:
        RequestError: When it cannot be read as a whole, or has not the columns that the task names.
    """
    try:
        rows = list(rows_of(path))
    except Broken as flaw:
        raise RequestError(flaw.sentence(path)) from None
    return _examples(str(path), rows, task)


def _examples(path: str, rows: Sequence[tuple[str, Any]], task: TaskConfig) -> _Part:
    """Return the examples that rows are, each with its ``where``."""
    part, known = _Part(), set[str]()
    for location, row in rows:
        where = f"{path}{location}"
        try:
            if isinstance(row, Broken):
                raise row
            part.examples.append(_checked(task.example(row)) | {"where": where})
        except Broken as flaw:
            part.broken.append(f"{where}: {flaw}.")
        except TemplateFlaw as flaw:
            if flaw.missing is not None and flaw.missing not in row:
                known = known or {name for _, each in rows for name in _columns(each)}
                if flaw.missing not in known:  # in no row of the file
                    hint = did_you_mean(flaw.missing, known)
                    raise RequestError(f"{where}: {flaw}{hint or '.'}") from None
            part.broken.append(f"{where}: {flaw}.")
    return part


def _columns(row: Any) -> Iterable[str]:
    return row if isinstance(row, Mapping) else ()


def _checked(example: dict[str, Any]) -> dict[str, Any]:
    """Return an example, or raise ``Broken`` for half a character in it."""
    try:
        for text in _texts(list(example.values())):
            text.encode()
    except UnicodeEncodeError:
        raise Broken("found half a character (a lone surrogate)") from None
    return example


def _texts(values: list[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from _texts(value)


def _to_dataset(parts: list[_Part]) -> Dataset:
    from datasets import Dataset

    return Dataset.from_list([example for part in parts for example in part.examples])


def _source(paths: list[Path], parts: list[_Part]) -> dict[str, Any]:
    """Return what the record says about a split."""
    rows = sum(len(part.examples) for part in parts)
    return {"file": _name(paths), "rows": rows, "sha256": _digest(paths)}


def _name(paths: list[Path]) -> str:
    if len(paths) == 1:
        return paths[0].name
    return ", ".join(f"{path.parent.name}/{path.name}" for path in paths)


def _digest(paths: list[Path]) -> str:
    digests = [digest_of(path) for path in paths]
    return digests[0] if len(digests) == 1 else digest(digests)


def _read_hub(task: TaskConfig, hub_cache: str | None) -> TaskData:
    source = repository_of(task)
    assert source is not None and task.hub is not None
    loaded, sources = load_splits(source, task.hub, hub_cache, "a folder of files")
    parts = []
    for data, about in zip(loaded, sources, strict=True):
        rows = [(f": row {number}", row) for number, row in enumerate(data, 1)]
        parts.append(_examples(about["dataset"], rows, task.on_hub))
    broken = [sentence for part in parts for sentence in part.broken]
    if broken and task.broken_lines != "skip":
        raise RequestError(first_few(source.name, broken))
    train, evaluation = (_to_dataset([part]) for part in parts)
    return TaskData(train, evaluation, sources, broken)
