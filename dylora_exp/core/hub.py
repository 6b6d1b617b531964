"""Repositories of the Hugging Face hub in a folder that was prepared for machines without it.

``dylora data fetch`` and ``dylora models fetch`` put them there, in the layout of the hub's own
cache; with ``hub_cache=DIR`` they are read from there without a network. Only the kinds of files
listed here are fetched: no pickles, and no code.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dylora_exp.core.errors import RequestError, first_line

Kind = Literal["model", "dataset"]

_FILES: dict[Kind, list[str]] = {
    "model": ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"],
    "dataset": ["*.md", "*.yaml", "*.parquet", "*.csv", "*.tsv", "*.json", "*.jsonl", "*.txt"],
}
# Weights for other runtimes lie in sub-folders; the data of a dataset may, too.
_NOT: dict[Kind, list[str]] = {"model": ["*/*"], "dataset": []}


class FetchFailed(Exception):
    """A file could not be fetched, or has another checksum. The message is one sentence."""


@dataclass(frozen=True)
class Repository:
    """A repository of the hub.

    Attributes:
        kind: Model or dataset.
        name: Its name there.
        revision: A branch, tag or commit; None for the newest.
        field: The setting that names it.
        command: The command that fetches it, without ``--to``.
    """

    kind: Kind
    name: str
    revision: str | None
    field: str
    command: str


def download(repository: Repository, cache: Path) -> Path:
    """Fetch the missing files of a repository, and return its folder.

    Args:
        repository: The repository.
        cache: The folder to fetch into; an interrupted fetch is resumed.

    Raises:
        RequestError: When the hub has no such repository or revision, or must not be asked.
        FetchFailed: When it cannot be fetched.
    """
    from huggingface_hub import constants, errors
    from huggingface_hub.utils import disable_progress_bars, logging

    name = repository.name
    if not sys.stderr.isatty():
        disable_progress_bars()  # they fill log files
    logging.set_verbosity_error()  # it warns of every attempt; the last one is reported below
    if constants.HF_HUB_OFFLINE:
        raise RequestError("HF_HUB_OFFLINE: it is set, so the hub is not asked; unset it to fetch.")
    try:
        return _snapshot(repository, cache, local_files_only=False)
    except errors.HFValidationError:
        raise RequestError(f"'{name}': the hub allows no such name.") from None
    except errors.RevisionNotFoundError:
        raise RequestError(f"'{name}': it has no revision '{repository.revision}'.") from None
    except errors.GatedRepoError:
        raise RequestError(
            f"'{name}': it is open to those only who accepted its terms on the hub and said so "
            "with `hf auth login`."
        ) from None
    except errors.RepositoryNotFoundError:
        raise RequestError(
            f"'{name}': the hub has no such {repository.kind}, or it is private (`hf auth login`)."
        ) from None
    except Exception as error:  # the hub client raises many unrelated types
        raise FetchFailed(f"'{name}': could not be fetched ({_reason(error)}).") from error


def find_fetched(repository: Repository, cache: str) -> Path:
    """Return the folder of a repository in a prepared folder; the network is not asked.

    Raises:
        RequestError: When it is missing or incomplete.
    """
    from huggingface_hub import errors

    folder = Path(cache).expanduser()
    try:
        return _snapshot(repository, folder, local_files_only=True)
    except errors.IncompleteSnapshotError:
        how = "is not whole"
    except (errors.LocalEntryNotFoundError, errors.HFValidationError):
        how = "is not"
    except OSError as error:
        how = f"cannot be read ({error.strerror or first_line(error)})"
    version = f" (revision {repository.revision})" if repository.revision else ""
    there = "" if folder.is_dir() else ", there is no such folder"
    raise RequestError(
        f"{repository.field}: '{repository.name}'{version} {how} in hub_cache '{folder}'{there}; "
        f"on a machine with a network: {repository.command} --to {folder}"
    )


def locate(repository: Repository, hub_cache: str | None) -> Path:
    """Return the folder of a repository, fetched into the hub client's own cache where needed.

    Args:
        repository: The repository.
        hub_cache: A prepared folder to find it in instead, without a network.

    Raises:
        RequestError: When it is not to be had.
    """
    from huggingface_hub import constants, errors

    if hub_cache is not None:
        return find_fetched(repository, hub_cache)
    cache = Path(constants.HF_HUB_CACHE)
    try:
        if not constants.HF_HUB_OFFLINE:
            return download(repository, cache)
    except FetchFailed:
        pass  # the hub does not answer: what was fetched before is as good
    except RequestError as error:
        raise RequestError(f"{repository.field}: {each}" for each in error.problems) from None
    try:
        return _snapshot(repository, cache, local_files_only=True)
    except errors.HFValidationError:
        raise RequestError(
            f"{repository.field}: '{repository.name}': the hub allows no such name."
        ) from None
    except Exception as error:  # the hub client raises many unrelated types
        raise RequestError(describe_unfetched(repository)) from error


def describe_unfetched(repository: Repository) -> str:
    """Return the sentence for a repository that is not here while the hub cannot be reached."""
    from huggingface_hub import constants

    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub does not answer"
    return (
        f"{repository.field}: '{repository.name}' is not on this machine ({why}); on one with a "
        f"network: {repository.command} --to DIR, then here: hub_cache=DIR"
    )


def hub_name(name: str) -> str | None:
    """Return a name if the hub allows it, as ``OWNER/NAME`` or ``NAME``; None for a path."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return None
    return name or None


def is_unreachable(error: BaseException) -> bool:
    """Return whether an error arose because the hub did not answer, or is not to be asked."""
    from huggingface_hub import errors

    types = (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError)
    return any(isinstance(each, types) for each in _causes(error))


def _snapshot(repository: Repository, cache: Path, local_files_only: bool) -> Path:
    from huggingface_hub import snapshot_download

    folder = snapshot_download(
        repository.name,
        repo_type=repository.kind,
        revision=repository.revision,
        cache_dir=cache,
        local_files_only=local_files_only,
        allow_patterns=_FILES[repository.kind],
        ignore_patterns=_NOT[repository.kind],
    )
    return Path(folder)


def commit_of(path: str | Path) -> str | None:
    """Return the commit that a file or folder of the hub's cache belongs to, or an address."""
    found = re.search(r"(?:/snapshots/|@)([0-9a-f]{40})(?:/|$)", str(path))
    return found[1] if found else None


def repository_of(path: str | Path) -> str | None:
    """Return the name of the repository that a folder of the hub's cache belongs to."""
    found = re.search(r"/models--([^/]+)/snapshots/", f"{path}/")
    return found[1].replace("--", "/") if found else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: Exception) -> str:
    """Return the message of the innermost error, which names the cause."""
    *_, innermost = _causes(error)
    return f"{type(innermost).__name__}: {first_line(innermost)}"
