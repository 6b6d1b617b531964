"""``dylora data fetch``: a task's files from their publishers, checked and put in place."""

from __future__ import annotations

import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from dylora_exp.config import PublishedFile, TaskConfig
from dylora_exp.errors import RequestError
from dylora_exp.identity import file_sha256
from dylora_exp.progress import progress_bar
from dylora_exp.records import check_writable

_CHUNK = 1 << 16
_SECONDS = 60


class FetchFailed(Exception):
    """A file could not be had, or is not the one it should be. The message is one sentence."""


def fetch(task: TaskConfig, folder: Path) -> list[tuple[Path, bool]]:
    """Download the files of a task that are not there yet.

    Args:
        task: A task whose config says where its files are published.
        folder: Where to; the value for ``task.data_dir``.

    Returns:
        Every file, and whether its checksum is known and right.

    Raises:
        RequestError: When the task names no files, or the folder cannot be written to.
        FetchFailed: When a file cannot be had, or has another checksum; nothing is left of it.
    """
    if not task.published:
        raise RequestError(
            f"task '{task.name}' names no published files; without task.data_dir it is read from "
            "the hub."
        )
    check_writable(folder)
    fetched = []
    for file in task.published:
        path = folder / file.name
        if not path.exists() or (file.sha256 and file_sha256(path) != file.sha256):
            _download(file, path)
        fetched.append((path, file.sha256 is not None))
    return fetched


def _download(file: PublishedFile, path: Path) -> None:
    """Download one file beside its place and move it there when it is the right one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch-") as place:
        part = Path(place) / path.name
        try:
            _copy(file.url, part)
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise FetchFailed(f"{file.url}: could not be fetched ({reason}).") from error
        found = file_sha256(part)
        if file.sha256 and found != file.sha256:
            raise FetchFailed(
                f"{file.url}: its sha256 is {found}, expected {file.sha256}; it was changed, or "
                "cut short on the way."
            )
        part.replace(path)


def _copy(url: str, part: Path) -> None:
    with urllib.request.urlopen(url, timeout=_SECONDS) as source, part.open("wb") as target:
        size = int(source.headers.get("Content-Length") or 0)
        bar = progress_bar(
            total=size or None, desc=part.name, unit="B", unit_scale=True, unit_divisor=1024
        )
        while chunk := source.read(_CHUNK):
            target.write(chunk)
            bar.update(len(chunk))
        bar.close()
        if target.tell() < size:
            raise OSError(f"cut short at {target.tell()} of {size} bytes")
