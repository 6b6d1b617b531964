"""The reader of generation tasks: from official files to inputs and the texts that answer them.

A task's files come in one or more forms. A form says which file holds which split and how a file's
text becomes entries; the choice of files, the grouping of entries and the report of broken ones are
the same for all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dylora_exp.config import TaskConfig
from dylora_exp.core import RequestError, file_sha256, unique_keys
from dylora_exp.tasks.base import Reader, TaskData
from dylora_exp.tasks.files import Broken, existing_folder, on_line, read_splits, read_text

if TYPE_CHECKING:
    from datasets import Dataset

# What servers give instead of data, by how it begins.
_NO_DATA = {
    b"<!doctype html": "an HTML page",
    b"<html": "an HTML page",
    b"\x1f\x8b": "compressed data (gzip)",
    b"pk\x03\x04": "an archive (zip)",
    b"version https://git-lfs": "a pointer of Git LFS",
}
_LOOKED_AT = 512


@dataclass(frozen=True)
class Entry:
    """An input and the texts that answer it; ``category`` is empty where a task has none.

    ``where`` is its file and location, which the reader fills in.
    """

    context: str
    texts: list[str]
    category: str = ""
    where: str = ""


@dataclass(frozen=True)
class Form:
    """One form in which a task's files are published.

    Attributes:
        name: For the record.
        files: For each split, the names it may have; a folder stands for all XML files in it.
        items: Yields the location and the content of each entry of a file's text.
        entry: Parses such a content. Both raise ``Broken``.
    """

    name: str
    files: dict[str, tuple[str, ...]]
    items: Callable[[str], Iterator[tuple[str, Any]]]
    entry: Callable[[Any], Entry]

    def find(self, folder: Path, split: str) -> Path | None:
        """Return the file or folder that holds a split, if there is one."""
        paths = (folder / name for name in self.files[split])
        return next((path for path in paths if _files_of(path)), None)


@dataclass
class _Split:
    """What was read of one split: its entries with texts, the count of all, what is broken."""

    entries: list[Entry] = field(default_factory=list)
    count: int = 0
    broken: list[str] = field(default_factory=list)


class GenerationReader(Reader):
    """Reads a task's official files from ``task.data_dir``."""

    def __init__(self, folders: tuple[str, ...], forms: tuple[Form, ...]) -> None:
        self.folders = folders
        self.forms = forms

    def read(self, task: TaskConfig, hub_cache: str | None = None) -> TaskData:
        """Return the training pairs and the contexts to score, or raise as ``Reader.read``."""
        form, paths = self._locate(task)

        def read_split(path: Path) -> _Split:
            split = _read_split(form, path)
            if not split.entries and (task.broken_lines == "skip" or not split.broken):
                raise RequestError(f"{path}: there are no texts in it.")
            return split

        splits, warnings = read_splits(task, paths, read_split)
        train, evaluation = (split.entries for split in splits)
        return TaskData(
            _training_rows(train),
            _scoring_rows(evaluation, {entry.category for entry in train}),
            [_source(form, *pair) for pair in zip(paths, splits, strict=True)],
            warnings,
        )

    def count_texts(self, path: Path) -> int | None:
        """Return the number of texts in a file; single broken entries are left to ``read``.

        Raises:
            Broken: When it has none, is empty, compressed, a page, or of another form.
        """
        beginning = path.read_bytes()[:_LOOKED_AT]
        for mark, what in _NO_DATA.items():
            if beginning.lstrip().lower().startswith(mark):
                raise Broken(f"found {what}")
        if not beginning.strip():
            raise Broken("found an empty file")
        for form in self.forms:
            if any(path.name in names for names in form.files.values()):
                return _count_texts(form, path)
        return None

    def entries(self, path: Path) -> list[Entry]:
        """Return the entries of one file or folder, named as a publisher names it.

        Raises:
            RequestError: When it is not there, has another name, or is broken.
        """
        for form in self.forms:
            for split, names in form.files.items():
                if path.name in names and form.find(path.parent, split) == path:
                    read = _read_split(form, path)
                    if read.broken:
                        raise RequestError(read.broken)
                    return read.entries
        raise RequestError(f"{path}: not there, or not a file of this task.")

    def checksums(self, task: TaskConfig) -> dict[str, str]:
        """Return the sha256 of the file or folder that holds each split."""
        if task.data_dir is None:
            return {}
        _, paths = self._locate(task)
        return {path.name: _digest(path) for path in paths}

    def _locate(self, task: TaskConfig) -> tuple[Form, list[Path]]:
        """Return the first form that is complete, and the paths of its two splits."""
        if task.data_dir is None or task.eval_split is None:
            raise RequestError(
                f"task.data_dir: task '{task.name}' is read from its publisher's files, name their "
                f"folder with task.data_dir=DIR{_hint(task, 'DIR')}."
            )
        root = existing_folder(task.data_dir)
        splits = ("train", task.eval_split)
        started = None
        for folder in [root / name for name in self.folders] + [root]:
            for form in self.forms:
                found = [form.find(folder, split) for split in splits]
                paths = [path for path in found if path is not None]
                if len(paths) == len(splits):
                    return form, paths
                if started is None and any(form.find(folder, split) for split in form.files):
                    started = folder, form
        if started is not None:
            raise RequestError(_incomplete(*started, splits))
        names = [form.files["train"][0] for form in self.forms]
        raise RequestError(
            f"task.data_dir: found no file of task '{task.name}' in '{root}' or "
            f"'{root / self.folders[0]}', such as {' or '.join(names)}{_hint(task, str(root))}."
        )


def _count_texts(form: Form, path: Path) -> int:
    """Return the number of texts of a file in a form, or raise ``Broken`` when there is none."""
    try:
        split = _read_split(form, path)
    except RequestError as error:
        raise Broken(error.problems[0].removeprefix(str(path)).lstrip(":. ").rstrip(".")) from None
    if not split.entries:
        first = split.broken[0].removeprefix(str(path)) if split.broken else "there are no texts"
        raise Broken(first.lstrip(":. ").rstrip("."))
    return sum(len(entry.texts) for entry in split.entries)


def triples_context(triples: Iterable[Iterable[str]]) -> str:
    """Return the context of triples of subject, relation and object."""
    return " | ".join(" : ".join(triple) for triple in triples)


def numbered(entries: list[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the location and content of each entry of a JSON list."""
    for number, content in enumerate(entries, 1):
        yield f": entry {number}", content


def parse_json(text: str) -> Any:
    """Return the parsed JSON, or raise ``Broken``."""
    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except json.JSONDecodeError as error:
        raise Broken(f"the JSON is broken ({error.msg})", on_line(error.lineno)) from None
    except ValueError as error:
        raise Broken(str(error)) from None
    except RecursionError:
        raise Broken("the JSON is nested too deeply") from None


def _hint(task: TaskConfig, folder: str) -> str:
    """Return the command that fetches a task's files, where there is one."""
    return f"; dylora data fetch {task.name} --to {folder} fetches them" if task.published else ""


def _incomplete(folder: Path, form: Form, splits: tuple[str, ...]) -> list[str]:
    """Return a sentence for each of the splits that is not there."""
    there = {split: form.find(folder, split) for split in form.files}
    names = ", ".join(str(path.relative_to(folder)) for path in there.values() if path)
    others = [split for split in ("dev", "test") if there[split]]
    sentences = []
    for split in splits:
        if there[split] is None:
            hint = f"; to score what is there: task.eval_split={others[0]}" if others else ""
            what = "training" if split == "train" else f"task.eval_split={split}"
            sentences.append(
                f"task.data_dir: '{folder}' has {names}, but for {what} no "
                f"{' or '.join(form.files[split])}{hint if split != 'train' else ''}."
            )
    return sentences


def _files_of(path: Path) -> list[Path]:
    """Return the files that a split's file or folder stands for."""
    if path.is_dir():
        return sorted(path.rglob("*.xml"), key=lambda part: part.relative_to(path).as_posix())
    return [path] if path.is_file() else []


def _digest(path: Path) -> str:
    """Return the sha256 of a file, or of what ``sha256sum`` prints for the files of a folder."""
    if path.is_file():
        return file_sha256(path)
    lines = [f"{_digest(part)}  {part.relative_to(path).as_posix()}\n" for part in _files_of(path)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _read_split(form: Form, path: Path) -> _Split:
    """Read all files of a split.

    Raises:
        RequestError: When a file as a whole cannot be read.
    """
    split = _Split()
    for part in _files_of(path):
        text, _ = read_text(part)
        before = split.count
        try:
            for location, content in form.items(text):
                split.count += 1
                try:
                    entry = _checked(form.entry(content), f"{part}{location}")
                except Broken as flaw:
                    split.broken.append(f"{part}{location}: {flaw}.")
                    continue
                if entry.texts:
                    split.entries.append(entry)
        except Broken as flaw:
            raise RequestError(flaw.sentence(part)) from None
        if split.count == before:
            raise RequestError(f"{part}: there are no examples in this file.")
    return split


def _checked(entry: Entry, where: str) -> Entry:
    """Return an entry with each text on one line, as outputs are, or raise ``Broken``."""
    texts = [" ".join(filter(None, map(str.strip, text.splitlines()))) for text in entry.texts]
    if not entry.context:
        raise Broken("found an empty context")
    if not all(texts):
        raise Broken("found an empty text")
    try:
        "".join([entry.context, entry.category, *texts]).encode()
    except UnicodeEncodeError:
        raise Broken("found half a character (a lone surrogate)") from None
    return Entry(entry.context, texts, entry.category, where)


def _source(form: Form, path: Path, split: _Split) -> dict[str, Any]:
    """Return what the record says about a split: its texts are its rows."""
    return {
        "file": path.name,
        "form": form.name,
        "entries": split.count,
        "rows": sum(len(entry.texts) for entry in split.entries),
        "contexts": len({entry.context for entry in split.entries}),
        "sha256": _digest(path),
    }


def _training_rows(entries: list[Entry]) -> Dataset:
    from datasets import Dataset

    pairs = [(entry.context, text) for entry in entries for text in entry.texts]
    contexts, texts = zip(*pairs, strict=True)
    return Dataset.from_dict({"context": contexts, "text": texts})


def _scoring_rows(entries: list[Entry], categories: set[str]) -> Dataset:
    """Gather the texts of each context, with the first of its categories and locations."""
    from datasets import Dataset

    rows: dict[str, dict[str, Any]] = {}
    for entry in entries:
        row = {
            "context": entry.context,
            "references": [],
            "category": entry.category,
            "seen": entry.category in categories,
            "where": entry.where,
        }
        rows.setdefault(entry.context, row)["references"].extend(entry.texts)
    return Dataset.from_list(list(rows.values()))
