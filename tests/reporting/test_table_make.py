from __future__ import annotations

import dataclasses
import subprocess
import sys
import time

import pytest

from dylora_exp.core.errors import RequestError
from dylora_exp.reporting.make_tables import table_names
from tests.support.records import Results
from tests.support.tables import make_table


def fill(results: Results) -> None:
    for method, accuracy in (("lora", 0.6), ("dylora", 0.8), ("dylora-frozen", 0.7)):
        for seed in (10, 42):
            results.demo(method, seed, accuracy + seed / 10_000)


def test_table_2_is_there() -> None:
    assert "2" in table_names()


def test_a_table_is_written_in_every_form(results: Results) -> None:
    fill(results)
    made = make_table("2", "demo", results.folder)
    folder = results.folder / "tables" / "demo"
    assert made.paths == [
        folder / "table2.md",
        folder / "table2.tex",
        folder / "table2.csv",
        folder / "figures" / "rank-quality-demo.png",
        folder / "figures" / "rank-quality-demo.svg",
    ]
    assert sorted(made.paths) == sorted(path for path in folder.rglob("*") if path.is_file())
    assert (folder / "table2.md").read_text(encoding="utf-8") == made.markdown
    assert (made.missing, made.warnings) == ([], [])


def test_rendering_again_writes_the_same_bytes(results: Results) -> None:
    fill(results)
    first = [path.read_bytes() for path in make_table("2", "demo", results.folder).paths]
    again = [path.read_bytes() for path in make_table("2", "demo", results.folder).paths]
    assert first == again


def test_without_records_the_table_is_blank_and_has_no_figure(results: Results) -> None:
    made = make_table("2", "demo", results.folder)
    assert [path.name for path in made.paths] == ["table2.md", "table2.tex", "table2.csv"]
    assert len(made.missing) == 6


def test_a_damaged_record_is_a_warning_and_a_missing_run(results: Results) -> None:
    fill(results)
    path = results.store.path(results.demo("lora", 10, 0.6).run_id)
    path.write_text("{", encoding="utf-8")
    made = make_table("2", "demo", results.folder)
    assert len(made.warnings) == 1 and str(path) in made.warnings[0]
    assert [(item.run.method, item.run.seed) for item in made.missing] == [("lora", 10)]
    assert "Missing (no record): lora on demo, seed 10." in made.markdown


def test_an_unknown_table_is_refused(results: Results) -> None:
    with pytest.raises(RequestError, match=r"table: '22' is not one of .*did you mean '2'"):
        make_table("22", "demo", results.folder)
    assert not results.folder.exists()


def test_a_folder_that_cannot_be_written_to_is_refused(results: Results) -> None:
    results.folder.mkdir()
    (results.folder / "tables").write_text("in the way", encoding="utf-8")
    with pytest.raises(RequestError, match="cannot be written to"):
        make_table("2", "demo", results.folder)


@pytest.mark.slow
def test_five_thousand_records_take_seconds(results: Results) -> None:
    fill(results)
    record = results.demo("lora", 10, 0.6)
    text = record.to_json()
    for index in range(5_000):
        run_id = f"{index:012x}"
        path = results.store.path(run_id)
        path.write_text(text.replace(record.run_id, run_id), encoding="utf-8")
    start = time.perf_counter()
    made = make_table("2", "demo", results.folder)
    assert time.perf_counter() - start < 20
    assert made.missing == []


def test_nothing_heavy_is_imported(results: Results) -> None:
    fill(results)
    script = (
        "import sys; from pathlib import Path; "
        "from dylora_exp.reporting.make_tables import make_tables; "
        "assert 'matplotlib' not in sys.modules; "
        f"(made,) = make_tables(['2'], 'demo', Path({str(results.folder)!r})); "
        "assert len(made.paths) == 5; "
        "heavy = {'torch', 'transformers', 'peft', 'datasets'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_made_table_cannot_be_changed(results: Results) -> None:
    made = make_table("2", "demo", results.folder)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.markdown = ""  # type: ignore[misc]


def test_nothing_half_written_stays(results: Results) -> None:
    fill(results)
    make_table("2", "demo", results.folder)
    assert not list(results.folder.rglob(".*"))
