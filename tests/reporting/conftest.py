from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dylora_exp.reporting.specs import tables as spec
from tests.support.records import Results
from tests.support.tables import use_own_files


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


@pytest.fixture
def write_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Write a table spec where the tables are looked for, in place of the project's."""
    folder = tmp_path / "table"
    folder.mkdir()
    use_own_files(tmp_path, monkeypatch, spec)

    def write(name: str, text: str) -> Path:
        path = folder / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write
