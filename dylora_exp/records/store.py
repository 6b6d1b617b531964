"""The store of records: one JSON file a run."""

from __future__ import annotations

from pathlib import Path

from dylora_exp.core import (
    UNFINISHED,
    RequestError,
    did_you_mean,
    parse_json,
    without_garbage_collection,
    write_atomically,
)
from dylora_exp.records.consistency import contradiction
from dylora_exp.records.record import Record


class RecordStore:
    """The records under ``<results_dir>/runs``."""

    def __init__(self, results_dir: str | Path) -> None:
        self.folder = Path(results_dir).expanduser() / "runs"

    def path(self, run_id: str) -> Path:
        """Return the path of the record of a run."""
        return self.folder / f"{run_id}.json"

    def lock_path(self, run_id: str) -> Path:
        """Return the path of the lock of the process that does a run (see ``locks``)."""
        return self.folder / f".{run_id}.lock"

    def unfinished(self, run_id: str) -> list[Path]:
        """Return the half-written files of a run's record that a kill has left."""
        return list(self.folder.glob(f".{run_id}.json.*{UNFINISHED}"))

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
                f"run '{beginning}' is not in {self.folder}{did_you_mean(beginning, names) or '.'}"
            )
        return record

    def read_all(self) -> tuple[list[Record], list[str]]:
        """Return all records in order of their file names, and a warning for each other file.

        Raises:
            RequestError: When two files are different records of the same run.
        """
        with without_garbage_collection():
            return self._read_all()

    def _read_all(self) -> tuple[list[Record], list[str]]:
        found: dict[str, tuple[Path, Record]] = {}
        problems, warnings = [], []
        for name in sorted(file.name for file in self.folder.glob("*.json")):
            path = self.folder / name
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


def _parse(path: Path) -> Record:
    if not path.is_file():
        raise ValueError("not a regular file")
    record = Record.from_dict(parse_json(path.read_bytes()))
    if found := contradiction(record):
        raise ValueError(found)
    return record


def _named(path: Path) -> Record:
    """Return the record that a file is named after."""
    record = _parse(path)
    if record.run_id != path.stem:
        raise ValueError(f"its run_id is '{record.run_id}'")
    return record
