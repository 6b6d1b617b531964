"""What no refactoring may change: run ids, committed records, rendered tables, command-line flags.

The golden files beside this module were written by ``make_golden.py``. Nothing but the names that
``dylora_exp`` itself exports and its command line are used here, so that this file stays as it is
while modules move.
"""

import importlib.util
import json
from pathlib import Path

import pytest

import dylora_exp

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

spec = importlib.util.spec_from_file_location("make_golden", HERE / "make_golden.py")
make_golden = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_golden)

RUN_IDS = json.loads((HERE / "run_ids.json").read_text(encoding="utf-8"))
FLAGS = json.loads((HERE / "flags.json").read_text(encoding="utf-8"))
RECORDS = sorted((ROOT / "results" / "runs").glob("*.json"))
RENDERED = sorted(path for path in (HERE / "rendered").rglob("*") if path.is_file())
FIELDS = {
    *("run_id", "status", "config", "model", "task", "method", "profile", "seed", "created_at"),
    *("error", "ranks", "epochs", "summary", "parameters", "training", "scoring", "timing"),
    *("memory", "data", "environment", "schema_version"),
}


def test_the_lists_are_long_enough():
    assert len(RUN_IDS) >= 100 and len(RECORDS) >= 14 and len(RENDERED) >= 30


@pytest.mark.parametrize(("overrides", "expected"), RUN_IDS, ids=lambda value: str(value))
def test_run_ids_stay(overrides, expected):
    assert dylora_exp.run_id(dylora_exp.compose_config(overrides)) == expected


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_committed_records_are_read_and_written_as_they_are(path):
    record = dylora_exp.RecordStore(ROOT / "results").read(path.stem)
    assert record is not None and record.run_id == path.stem and record.status == "completed"
    text = path.read_text(encoding="utf-8")
    written, tree = json.loads(record.to_json()), json.loads(text)
    # Fields that a record is older than are optional and come out as their defaults.
    assert {key: written[key] for key in tree} == tree
    assert set(written) >= FIELDS


def test_the_committed_records_have_the_run_ids_of_their_configs():
    composed = {run_id for _, run_id in RUN_IDS}
    assert {path.stem for path in RECORDS} <= composed


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    return make_golden.render(tmp_path_factory.mktemp("results"))


def test_rendered_files_stay(rendered):
    expected = {path.relative_to(HERE / "rendered").as_posix(): path for path in RENDERED}
    assert set(rendered) == set(expected)


@pytest.mark.parametrize(
    "path", RENDERED, ids=lambda path: path.relative_to(HERE / "rendered").as_posix()
)
def test_rendered_text_stays(path, rendered):
    name = path.relative_to(HERE / "rendered").as_posix()
    assert rendered[name] == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("command", FLAGS)
def test_flags_stay(command):
    assert set(FLAGS[command]) <= set(make_golden.flags(command))
