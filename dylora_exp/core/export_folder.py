"""The folder that an export writes: checked before, and replaced as a whole.

An export is made in a folder beside its target, ``.export-NAME``, and takes the target's place by a
rename. A kill leaves the old export or the new one, or, between two renames, the old one under
``.export-NAME/old``, from where the next export into the same parent brings it back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from dylora_exp.core import locks
from dylora_exp.core.errors import RequestError
from dylora_exp.core.files import check_writable

_PREFIX, _LOCK, _OLD = ".export-", ".lock", "old"
# The files by which an export is recognised, of an adapter and of a whole model.
_EXPORTS = ({"README.md", "adapter_config.json"}, {"README.md", "config.json"})
# The files that an export writes.
_WRITTEN = {"README.md", "adapter_config.json", "adapter_model.safetensors"}
_WRITTEN |= {"config.json", "generation_config.json", "model.safetensors"}
_WRITTEN |= {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}
_WRITTEN |= {"added_tokens.json", "chat_template.jinja", "vocab.json", "vocab.txt", "merges.txt"}
_WRITTEN |= {"spiece.model", "sentencepiece.bpe.model", "tokenizer.model"}


def check_target(target: Path, force: bool) -> None:
    """Refuse a file, without force a folder that holds anything, and what cannot be replaced.

    Args:
        target: The folder that an export is to write.
        force: Whether to replace an earlier export.

    Raises:
        RequestError: When the folder cannot be written as asked.
    """
    if target.exists() and not target.is_dir():
        raise RequestError(f"--to: '{target}' is a file, expected a folder.")
    if target.exists() and (target.samefile(Path.cwd()) or os.path.ismount(target)):
        raise RequestError(f"--to: '{target}' is the current folder or a mount; name one in it.")
    if target.exists() and any(target.iterdir()) and not force:
        raise RequestError(
            f"--to: '{target}' is in use; --force puts the export there all the same, "
            "replacing an earlier one."
        )
    names = {file.name for file in target.iterdir()} if target.exists() else set()
    if names & _WRITTEN and not any(kind <= names for kind in _EXPORTS):
        there = ", ".join(sorted(names & _WRITTEN))
        raise RequestError(
            f"--to: '{target}' is no earlier export but has {there}; choose another."
        )


@contextlib.contextmanager
def work_folder(target: Path) -> Iterator[Path]:
    """Hold a target and yield an empty folder beside it, which is removed afterwards.

    Raises:
        RequestError: When another process exports to the target, or nothing can be written there.
    """
    check_writable(target.parent)
    work = _work(target)
    with locks.hold([_lock(work)], _refuse):
        _clear(work)
        work.mkdir()
        try:
            yield work
        finally:
            _clear(work)


def clean_up(parent: Path) -> None:
    """Remove what killed exports have left in a folder, and bring back what they replaced."""
    for work in [path for path in parent.glob(f"{_PREFIX}*") if path.is_dir()]:
        with contextlib.suppress(RequestError), locks.hold([_lock(work)], _refuse):
            _clear(work)


def replace(target: Path, written: Path) -> None:
    """Put a finished export in the place of its target; files that are no export's stay.

    Args:
        target: The folder; it need not be there.
        written: The export, in the work folder of the target.
    """
    if not target.exists():
        written.rename(target)
        return
    target = target.resolve()  # a link to a folder stays a link
    for path in target.iterdir():
        if path.name not in _WRITTEN and not (written / path.name).exists():
            _keep(path, written / path.name)
    shutil.copymode(target, written)
    target.rename(written.parent / _OLD)
    written.rename(target)


def _work(target: Path) -> Path:
    resolved = target.resolve()
    return resolved.parent / f"{_PREFIX}{resolved.name}"


def _lock(work: Path) -> Path:
    return work.with_name(work.name + _LOCK)


def _refuse(path: Path) -> None:
    name = path.name.removeprefix(_PREFIX).removesuffix(_LOCK)
    raise RequestError(f"--to: {locks.owner(path)} exports to '{path.with_name(name)}'.")


def _clear(work: Path) -> None:
    """Remove a work folder; the old export goes back where no new one has come."""
    target = work.with_name(work.name.removeprefix(_PREFIX))
    if (work / _OLD).is_dir() and not target.exists():
        (work / _OLD).rename(target)
    shutil.rmtree(work, ignore_errors=True)


def _keep(path: Path, copy: Path) -> None:
    """Give a file or a folder a second place, by links where the file system has them."""
    if path.is_dir() and not path.is_symlink():
        shutil.copytree(path, copy, symlinks=True, copy_function=_link)
    else:
        _link(path, copy)


def _link(path: str | Path, copy: str | Path) -> None:
    try:
        os.link(path, copy, follow_symlinks=False)
    except OSError:
        shutil.copy2(path, copy, follow_symlinks=False)
