"""The record of a run: its schema (version 1) and its store of one JSON file a run.

Tables and reports are derived from records and nothing else; this module therefore imports neither
torch nor transformers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dylora_exp.errors import RequestError, nearest
from dylora_exp.record_parts import check_parts

SCHEMA_VERSION = 1
# Version 1 did not have these from the beginning.
_LATER_FIELDS: dict[str, Any] = {"summary": [], "training": {}, "scoring": {}, "epochs": []}
_UNFINISHED = ".tmp"
STATUSES = ("running", "completed", "failed")


@dataclass(frozen=True)
class RankScore:
    """One rank, made and scored in one way; ``rank`` is None for a method without ranks."""

    rank: int | None
    truncation: str | None
    scale: str | None
    metrics: dict[str, float | None]
    seconds: float


@dataclass(frozen=True)
class EpochScores:
    """All ranks as they were scored after an epoch, which ended with this optimizer step."""

    epoch: int
    step: int
    ranks: list[RankScore]


@dataclass(frozen=True)
class Record:
    """What a run leaves behind. Times are in seconds, memory in bytes, metrics as fractions.

    ``ranks`` are the scores at the end, ``epochs`` those after the epochs before it, where asked
    for.
    """

    run_id: str
    status: str
    config: dict[str, Any]
    model: str
    task: str
    method: str
    profile: str
    seed: int
    created_at: str
    error: str | None = None
    ranks: list[RankScore] = field(default_factory=list)
    epochs: list[EpochScores] = field(default_factory=list)
    summary: list[dict[str, Any]] = field(default_factory=list)
    parameters: dict[str, int] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    scoring: dict[str, Any] = field(default_factory=dict)
    timing: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    data: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def from_dict(cls, tree: Any) -> Record:
        """Build a record from parsed JSON.

        Raises:
            ValueError: With the first thing that does not fit the schema.
        """
        if not isinstance(tree, Mapping):
            raise ValueError("expected an object")
        version = tree.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ValueError(f"schema_version is {version!r}, expected {SCHEMA_VERSION}")
        fields = {item.name: item for item in dataclasses.fields(cls)}
        tree = {**_LATER_FIELDS, **tree}
        for name in fields:
            if name not in tree:
                raise ValueError(f"'{name}' is missing")
        if unknown_keys := sorted(set(tree) - set(fields)):
            raise ValueError(f"'{unknown_keys[0]}' is not a key of a record")
        if tree["status"] not in STATUSES:
            raise ValueError(f"status is {tree['status']!r}, expected one of {STATUSES}")
        for name in ("run_id", "model", "task", "method", "profile", "created_at"):
            if not isinstance(tree[name], str):
                raise ValueError(f"'{name}' is {tree[name]!r}, expected a text")
        if type(tree["seed"]) is not int:
            raise ValueError(f"'seed' is {tree['seed']!r}, expected a whole number")
        objects = ("config", "parameters", "training", "scoring", "timing", "memory", "environment")
        for name in objects:
            if not isinstance(tree[name], Mapping):
                raise ValueError(f"'{name}' is {tree[name]!r}, expected an object")
        for name in ("ranks", "epochs", "data", "summary"):
            if not isinstance(tree[name], list):
                raise ValueError(f"'{name}' is {tree[name]!r}, expected a list")
        for name in ("data", "summary"):
            if not all(isinstance(entry, Mapping) for entry in tree[name]):
                raise ValueError(f"an entry of '{name}' must be an object")
        for name in ("method", "model", "ranks", "task"):
            if not isinstance(tree["config"].get(name, {}), Mapping):
                raise ValueError(f"'config.{name}' is {tree['config'][name]!r}, expected an object")
        check_parts(tree)
        if tree["status"] == "completed" and not tree["ranks"]:
            raise ValueError("'ranks' is empty, though the run is completed")
        if not isinstance(tree["error"], str | None):
            raise ValueError(f"'error' is {tree['error']!r}, expected a text or null")
        ranks = [_rank_score(item) for item in tree["ranks"]]
        epochs = [_epoch_scores(item) for item in tree["epochs"]]
        return cls(**{**tree, "ranks": ranks, "epochs": epochs})

    def to_json(self) -> str:
        """Return the record as JSON with sorted keys and a final newline."""
        return (
            json.dumps(dataclasses.asdict(self), sort_keys=True, indent=2, allow_nan=False) + "\n"
        )


def _epoch_scores(tree: Any) -> EpochScores:
    names = {item.name for item in dataclasses.fields(EpochScores)}
    if not isinstance(tree, Mapping) or set(tree) != names:
        raise ValueError(f"an entry of 'epochs' must have exactly {', '.join(sorted(names))}")
    for name in ("epoch", "step"):
        if type(tree[name]) is not int:
            raise ValueError(f"{name} is {tree[name]!r}, expected a whole number")
    if not isinstance(tree["ranks"], list):
        raise ValueError(f"'epochs.ranks' is {tree['ranks']!r}, expected a list")
    ranks = [_rank_score(item) for item in tree["ranks"]]
    return EpochScores(tree["epoch"], tree["step"], ranks)


def _rank_score(tree: Any) -> RankScore:
    names = {item.name for item in dataclasses.fields(RankScore)}
    if not isinstance(tree, Mapping) or set(tree) != names:
        raise ValueError(f"an entry of 'ranks' must have exactly {', '.join(sorted(names))}")
    if tree["rank"] is not None and type(tree["rank"]) is not int:
        raise ValueError(f"rank is {tree['rank']!r}, expected a whole number or null")
    if tree["rank"] is not None and tree["rank"] < 1:
        raise ValueError(f"rank is {tree['rank']}, expected at least 1")
    for name in ("truncation", "scale"):
        if tree[name] is not None and not isinstance(tree[name], str):
            raise ValueError(f"{name} is {tree[name]!r}, expected a text or null")
    if not isinstance(tree["metrics"], Mapping):
        raise ValueError(f"metrics is {tree['metrics']!r}, expected an object")
    for name, value in tree["metrics"].items():
        if value is not None and type(value) not in (int, float):
            raise ValueError(f"metric '{name}' is {value!r}, expected a number or null")
    return RankScore(**tree)


class RecordStore:
    """The records under ``<results_dir>/runs``."""

    def __init__(self, results_dir: str | Path) -> None:
        self.folder = Path(results_dir).expanduser() / "runs"

    def path(self, run_id: str) -> Path:
        """Return where the record of a run lies."""
        return self.folder / f"{run_id}.json"

    def lock_path(self, run_id: str) -> Path:
        """Return the lock of the process that does a run (see ``locks``)."""
        return self.folder / f".{run_id}.lock"

    def unfinished(self, run_id: str) -> list[Path]:
        """Return the half-written files that a kill has left of a run's record."""
        return list(self.folder.glob(f".{run_id}.json.*{_UNFINISHED}"))

    def read(self, run_id: str) -> Record | None:
        """Return the record of a run, or None when there is none.

        Raises:
            RequestError: When the file exists and is not a record.
        """
        path = self.path(run_id)
        if not path.exists():
            return None
        try:
            return _named(path)
        except (ValueError, OSError) as error:
            raise RequestError(f"{path}: not a record ({error}); remove it to run again.") from None

    def find(self, beginning: str) -> Record:
        """Return the one record whose run id begins like this.

        Raises:
            RequestError: When there is none, or more than one.
        """
        names = sorted(path.stem for path in self.folder.glob("*.json"))
        found = [name for name in names if name.startswith(beginning)] if beginning else []
        if len(found) > 1:
            raise RequestError(f"run '{beginning}' may be any of {', '.join(found)}.")
        record = self.read(found[0]) if found else None
        if record is None:
            raise RequestError(
                f"run '{beginning}' is not in {self.folder}{nearest(beginning, names) or '.'}"
            )
        return record

    def read_all(self) -> tuple[list[Record], list[str]]:
        """Return all records in order of their names, and a warning for each file that is none.

        Raises:
            RequestError: When two files say something else of the same run, naming both.
        """
        found: dict[str, tuple[Path, Record]] = {}
        problems, warnings = [], []
        for path in sorted(self.folder.glob("*.json")):
            try:
                record = _parse(path)
            except (ValueError, OSError) as error:
                warnings.append(f"{path}: skipped, not a record ({error}).")
                continue
            other, same = found.setdefault(record.run_id, (path, record))
            if record != same:
                problems.append(
                    f"{other} and {path} are different records of the same run, {record.run_id}; "
                    "remove one of them."
                )
        if problems:
            raise RequestError(problems)
        for run_id, (path, _) in list(found.items()):
            if path.stem != run_id and not self.path(run_id).exists():
                warnings.append(f"{path}: skipped, not a record (its run_id is '{run_id}').")
                del found[run_id]
        return [record for _, record in found.values()], warnings

    def write(self, record: Record) -> Path:
        """Write a record; at no moment does a half-written file carry its name.

        Raises:
            RequestError: When the folder cannot be written to.
        """
        path = self.path(record.run_id)
        write_atomically(path, record.to_json())
        return path


def check_results(results_dir: Path) -> None:
    """Refuse a results folder that is not there.

    Raises:
        RequestError: When it is not.
    """
    if not results_dir.is_dir():
        raise RequestError(f"--results: there is no folder '{results_dir}'.")


def unfinished(folder: Path) -> list[Path]:
    """Return what a kill in ``write_atomically`` has left in a folder and those below it."""
    return list(folder.rglob(f".*{_UNFINISHED}"))


def check_writable(folder: Path, create: bool = True) -> None:
    """Try whether files can be made in a folder.

    Args:
        folder: Where files are to go.
        create: Whether to make the folder; if not, its nearest parent that exists is tried.

    Raises:
        RequestError: When no file can be made there.
    """
    with _writing_to(folder):
        place = folder
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        while not place.exists() and place != place.parent:
            place = place.parent
        with tempfile.TemporaryFile(dir=place):
            pass


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace ``path`` by a file with this content (text as UTF-8), all or nothing.

    Raises:
        RequestError: When the folder cannot be written to.
    """
    with _writing_to(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=_UNFINISHED
        )
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content if isinstance(content, bytes) else content.encode("utf-8"))
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise


@contextlib.contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise RequestError(f"{folder}: cannot be written to ({reason}).") from None


def _parse(path: Path) -> Record:
    if not path.is_file():
        raise ValueError("not a regular file")
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"no valid JSON at line {error.lineno}") from None
    return Record.from_dict(tree)


def _named(path: Path) -> Record:
    """Return the record that a file is named after."""
    record = _parse(path)
    if record.run_id != path.stem:
        raise ValueError(f"its run_id is '{record.run_id}'")
    return record
