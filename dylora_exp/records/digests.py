"""The digests of the files that a run has saved, by which a record knows them again."""

from __future__ import annotations

from pathlib import Path

from dylora_exp.core import file_sha256
from dylora_exp.records.record import Record


def saved_files(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file that a run has saved, by name, for its record."""
    return {
        file.relative_to(folder).as_posix(): file_sha256(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.name.startswith(".")
    }


def changed_file(folder: Path, record: Record) -> Path | None:
    """Return the first file that is not, or no longer, as the run has saved it; None for none.

    Args:
        folder: Where the run saved its files.
        record: The run's; those of earlier versions say nothing of files.
    """
    for name, digest in record.files.items():
        if not (folder / name).is_file() or file_sha256(folder / name) != digest:
            return folder / name
    return None
