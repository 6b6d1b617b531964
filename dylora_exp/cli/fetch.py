"""``dylora data fetch``, ``dylora models fetch``: what runs need, on a machine with a network.

Texts come from their publishers and are checked; GLUE and models come from the hub, into a folder
that ``hub_cache=DIR`` names to every loader.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from dylora_exp.cli.download import download_file
from dylora_exp.config import ModelConfig, PublishedFile, TaskConfig, compose, options
from dylora_exp.core import (
    FetchFailed,
    RequestError,
    check_writable,
    download,
    echo,
    file_sha256,
    in_package,
    install_command,
    locks,
    reading,
    unknown_name,
)
from dylora_exp.models import hub_repositories
from dylora_exp.tasks import Broken, count_texts, repositories

_WEIGHTS = "*.safetensors"
_LOCK, _UNFINISHED = ".fetch.lock", ".fetch-"


def check_action(arguments: argparse.Namespace) -> None:
    """Check that what ``dylora data`` and ``dylora models`` are to do is ``fetch``.

    Raises:
        RequestError: When it is not.
    """
    if arguments.action != "fetch":
        raise RequestError(unknown_name(arguments.command, arguments.action, ["fetch"]))


def fetch_tasks(names: Sequence[str], folder: Path) -> Iterator[str]:
    """Fetch the data of tasks and yield what to print, the override that uses them last.

    Args:
        names: Of tasks; ``all`` stands for every one.
        folder: Where to; what is there already stays.

    Raises:
        RequestError: When a name is wrong or the folder cannot be written to.
        FetchFailed: When something cannot be had.
    """
    known = options("task")
    if wrong := [name for name in names if name not in [*known, "all"]]:
        raise RequestError(unknown_name("task", name, [*known, "all"]) for name in wrong)
    tasks = [compose([f"task={name}"]).task for name in (known if "all" in names else names)]
    check_writable(folder, create=False)
    fetched: dict[str, Path] = {}
    published = False
    for task in tasks:
        if task.published:
            published = True
            for path, checked in fetch(task, folder):
                yield (
                    str(path)
                    if checked
                    else f"{path} (no checksum of it is known; its form was checked)"
                )
        elif sources := repositories(task):
            for source in sources:
                if source.name not in fetched:
                    fetched[source.name] = download(source, folder)
                yield f"{task.name}: {fetched[source.name]}"
        else:
            yield f"{task.name}: comes with the project, there is nothing to fetch"
    if fetched:
        yield _usage("hub_cache", folder)
    elif published:
        yield _usage("task.data_dir", folder)


def fetch_models(names: Sequence[str], folder: Path, hub: bool = False) -> Iterator[str]:
    """Fetch models with their tokenizers and yield what to print, the override that uses them last.

    Args:
        names: Of models that ``dylora list models`` shows, or on the hub (``owner/name``), with
            ``@revision`` where not the newest is meant; ``all`` stands for every listed one.
        folder: Where to; what is there already stays.
        hub: Whether the names are the hub's, though they have no owner.

    Raises:
        RequestError: When a name is wrong or the folder cannot be written to.
        FetchFailed: When something cannot be had.
    """
    models = [model for name in names for model in _models(name, hub)]
    check_writable(folder, create=False)
    fetched = False
    for model in models:
        repositories = hub_repositories(model)
        for source in repositories:
            fetched = True
            path = download(source, folder)
            if source.name == model.name_or_path and not any(path.glob(_WEIGHTS)):
                raise FetchFailed(
                    f"'{source.name}': it has no safetensors weights; pickles are not fetched."
                )
            yield f"{model.name}: {path}"
        if not repositories:
            yield f"{model.name}: {_nothing_to_fetch(model)}"
    if fetched:
        yield _usage("hub_cache", folder)


def _models(name: str, hub: bool) -> list[ModelConfig]:
    """Return the models that a name on the command line stands for."""
    known = options("model")
    if name == "all" and not hub:
        return [compose([f"model={each}"]).model for each in known]
    plain, _, revision = name.partition("@")
    if plain in known and not hub:
        model = compose([f"model={plain}"]).model
    elif hub or "/" in plain:
        model = ModelConfig(name=plain, name_or_path=plain)
    else:
        raise RequestError(
            f"{unknown_name('model', plain, [*known, 'all'])} A model of the hub: OWNER/{plain}, "
            "or --hub where its name has no owner."
        )
    model.revision = revision or model.revision
    return [model]


def _nothing_to_fetch(model: ModelConfig) -> str:
    if not in_package(model.name_or_path):
        return "a folder on this machine, there is nothing to fetch"
    extra = f" ({install_command(model.extra)})" if model.extra else ""
    return f"comes with a Python package{extra}, there is nothing to fetch"


def _usage(key: str, folder: Path) -> str:
    return f"use it with: {key}={folder}"


def fetch(task: TaskConfig, folder: Path) -> list[tuple[Path, bool]]:
    """Download the files of a task that are not there yet.

    Args:
        task: A task whose config says where its files are published.
        folder: Where to; the value for ``task.data_dir``.

    Returns:
        Every file, and whether its checksum is known and right.

    Raises:
        RequestError: When the folder cannot be written to.
        FetchFailed: When a file cannot be had, has another checksum, or is no file of the task
            where none is known; nothing is left of it.
    """
    fetched = []
    check_writable(folder)
    with locks.hold([folder / _LOCK], lambda path: echo(f"{locks.owner(path)} fetches; waiting")):
        for file in task.published:
            path = folder / file.name
            check_writable(path.parent)
            for left in path.parent.glob(f"{_UNFINISHED}*"):  # by a kill
                shutil.rmtree(left, ignore_errors=True)
            if _problem(task, file, path) is not None:
                _download(task, file, path)
            fetched.append((path, file.sha256 is not None))
    return fetched


def _problem(task: TaskConfig, file: PublishedFile, path: Path) -> str | None:
    """Return why what lies at a path is not a published file, as the end of a sentence.

    Raises:
        RequestError: When the path is a folder, or a file that cannot be read now.
    """
    if path.is_dir():
        raise RequestError(f"{path}: a folder, expected a file or nothing.")
    if not path.exists():
        return "it is not there"
    try:
        with reading(path):
            if file.sha256 is None:
                texts = count_texts(task, path)
                if file.texts in (None, texts):
                    return None
                return f"it has {texts or 0:,} texts, expected {file.texts:,}"
            found = file_sha256(path)
    except Broken as flaw:
        return f"it is no file of task '{task.name}': {flaw}"
    if found == file.sha256:
        return None
    return f"its sha256 is {found}, expected {file.sha256}; it was changed, or cut short in transit"


def _download(task: TaskConfig, file: PublishedFile, path: Path) -> None:
    """Download one file beside its path and move it there when it is the right one."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=_UNFINISHED) as folder:
        part = Path(folder) / path.name
        download_file(file.url, part)
        if (problem := _problem(task, file, part)) is not None:
            raise FetchFailed(f"{file.url}: {problem}.")
        part.replace(path)
