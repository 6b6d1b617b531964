"""Models that are packed in Python packages, unpacked once into a cache folder.

``gguf://MODULE/FILE`` is a quantised model in one file, ``zip://MODULE/FILE`` an archive with a
model's folder in it. Where a name holds ``{001..005}``, it stands for five files whose bytes follow
one another. What is made of them is a plain folder (``config.json``, safetensors, tokenizer), which
is read with all checks of any other.

The folder is ``models/NAME-DIGEST`` in the user's cache (``core.cache_folder``). DIGEST begins the
sha256 of what was unpacked; a file in it has the whole of it, and the digests of all other files: a
folder that is damaged, or of another file, is made anew. Only one process makes it; others wait. A
kill leaves nothing under its name.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

from dylora_exp.config import ModelConfig
from dylora_exp.core import (
    LOG,
    NotInstalled,
    RequestError,
    apply_umask,
    cache_folder,
    check_writable,
    file_sha256,
    install_command,
    is_installed,
    locks,
    package_folder,
)

_GGUF, _ZIP = "gguf://", "zip://"
# In each folder: what it was made of, by which version of this module, and the files' digests.
_MARKER, _VERSION = "unpacked.json", 1
# What is taken out of an archive: as from the hub, no pickles and no code.
_FILES = (".json", ".safetensors", ".txt", ".model", ".jinja")
_CHUNK = 1 << 20


def is_packed(name: str) -> bool:
    """Return whether a name is that of a model that must be unpacked first."""
    return name.startswith((_GGUF, _ZIP))


def check_packed(model: ModelConfig, name: str) -> None:
    """Refuse a packed model of which a file, or the package that reads it, is not here.

    Raises:
        RequestError: With what is missing and the command that installs it.
    """
    _sources(model, name)


def unpack(model: ModelConfig, name: str) -> Path:
    """Return the folder of a packed model, made now where there is none that is whole.

    Args:
        model: The model config.
        name: Its name, ``gguf://...`` or ``zip://...``.

    Raises:
        RequestError: When something is not installed, the file is damaged, or the cache cannot be
            written to.
    """
    return _unpack(name, tuple(_sources(model, name)))


@functools.cache
def _unpack(name: str, sources: Sequence[Path]) -> Path:
    """Return the folder of a packed model; its files are looked at once in a process."""
    digest = _digest(sources)
    folder = cache_folder("models") / f"{_stem(name)}-{digest[:16]}"
    if _is_whole(folder, digest):
        return folder
    check_writable(folder.parent)
    lock, work = (folder.with_name(f".{folder.name}.{end}") for end in ("lock", "tmp"))

    def wait(path: Path) -> None:
        LOG.info("%s unpacks %s; waiting", locks.owner(path), name)

    with locks.hold([lock], wait):
        if not _is_whole(folder, digest):  # not by the process that was waited for either
            LOG.info("unpacking %s into %s, once", name, folder)
            _make(name, sources, digest, work)
            shutil.rmtree(folder, ignore_errors=True)
            work.rename(folder)
    return folder


def _make(name: str, sources: Sequence[Path], digest: str, work: Path) -> None:
    """Write the plain folder of a packed model, with its marker."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        if name.startswith(_GGUF):
            from dylora_exp.models.gguf import dequantise

            dequantise(sources[0], work)
        else:
            _extract(name, sources, work)
        files = {file.name: file_sha256(file) for file in sorted(work.iterdir())}
        marker = {"source": name, "sha256": digest, "version": _VERSION, "files": files}
        (work / _MARKER).write_text(json.dumps(marker, indent=2), encoding="utf-8")
        apply_umask(work)
    except RequestError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise RequestError(f"{work.parent}: cannot be written to ({reason}).") from None
    except Exception as error:  # what reads the file may raise anything
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise RequestError(
            f"model.name_or_path: '{name}' could not be unpacked: {reason}"
        ) from error
    finally:
        if not (work / _MARKER).is_file():
            shutil.rmtree(work, ignore_errors=True)


def _is_whole(folder: Path, digest: str) -> bool:
    """Return whether a folder holds what was unpacked, to the last byte."""
    try:
        marker: Any = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
        names = {file.name for file in folder.iterdir()} - {_MARKER}
        return (
            (marker["sha256"], marker["version"]) == (digest, _VERSION)
            and names == set(marker["files"])
            and all(file_sha256(folder / each) == sha for each, sha in marker["files"].items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _sources(model: ModelConfig, name: str) -> list[Path]:
    """Return the files that a name stands for, in their order."""
    install = f"; install it with: {install_command(model.extra)}" if model.extra else "."
    if name.startswith(_GGUF) and not is_installed("gguf"):
        raise RequestError(f"model.name_or_path: '{name}' needs the Python package gguf{install}")
    files = []
    for each in _expanded(name):
        try:
            files.append(package_folder(each))
        except NotInstalled as package:
            raise RequestError(
                f"model.name_or_path: the Python package '{package}' is not installed{install}"
            ) from None
        if not files[-1].is_file():
            raise RequestError(f"model.name_or_path: there is no file '{files[-1]}'{install}")
    return files


def _expanded(name: str) -> Iterator[str]:
    """Yield the names that one with ``{001..005}`` stands for, as in a shell."""
    found = re.search(r"\{(\d+)\.\.(\d+)\}", name)
    if found is None:
        yield name
        return
    first, last = found.groups()
    for number in range(int(first), int(last) + 1):
        yield name.replace(found[0], f"{number:0{len(first)}}")


def _stem(name: str) -> str:
    """Return the beginning of a folder's name: that of the packed file without its endings."""
    return re.sub(r"(\.gguf|\.zip.*)$", "", PurePosixPath(name).name)


def _digest(sources: Sequence[Path]) -> str:
    """Return the sha256 of the bytes of some files, one after the other."""
    total = hashlib.sha256()
    for source in sources:
        with source.open("rb") as stream:
            while block := stream.read(_CHUNK):
                total.update(block)
    return total.hexdigest()


def _extract(name: str, sources: Sequence[Path], folder: Path) -> None:
    """Write the files of the model in an archive; only names without folders are written."""
    with io.BufferedReader(_Joined(sources), _CHUNK) as joined, zipfile.ZipFile(joined) as archive:
        entries = [each for each in archive.infolist() if not each.is_dir()]
        paths = {PurePosixPath(each.filename): each for each in entries}
        models = [path.parent for path in paths if path.name == "config.json"]
        if not models:
            raise RequestError(f"model.name_or_path: there is no model in '{name}'.")
        root = min(models, key=lambda path: len(path.parts))
        for path, entry in paths.items():
            if path.parent == root and path.suffix in _FILES and path.name != _MARKER:
                with archive.open(entry) as source, (folder / path.name).open("wb") as target:
                    shutil.copyfileobj(source, target, _CHUNK)  # which checks the CRC


class _Joined(io.RawIOBase):
    """The bytes of several files, one after the other, as one file to be read."""

    def __init__(self, sources: Sequence[Path]) -> None:
        super().__init__()
        self._files: list[IO[bytes]] = [source.open("rb") for source in sources]
        self._sizes = [source.stat().st_size for source in sources]
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: sum(self._sizes)}
        self._position = max(0, start[whence] + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        start = 0
        for file, size in zip(self._files, self._sizes, strict=True):
            if start <= self._position < start + size:
                file.seek(self._position - start)
                block = file.read(min(len(buffer), start + size - self._position))
                buffer[: len(block)] = block
                self._position += len(block)
                return len(block)
            start += size
        return 0

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()
