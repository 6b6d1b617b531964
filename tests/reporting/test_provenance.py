import itertools
import shutil

import pytest

from dylora_exp.cli.entry import main
from dylora_exp.records.store import RecordStore
from dylora_exp.reporting.analysis.provenance import metric_versions
from dylora_exp.reporting.analysis.report import make_report
from dylora_exp.reporting.render.text import plain_lines
from tests.support.records import make_record
from tests.support.tiny_runs import ROOT

OLD = "in 12 of 12 records made before records held metric versions"


def test_what_is_known_is_said_and_what_is_not_is_counted():
    new = make_record(scoring={"signature": "f1|scikit-learn:1.7"})
    other = make_record(scoring={"signature": "f1|scikit-learn:1.8"})
    old, foreign = make_record(), make_record(scoring={"missing": {}, "signature": None})
    both = "metrics f1|scikit-learn:1.7 / f1|scikit-learn:1.8"
    assert metric_versions([other, new, new]) == [both]
    assert metric_versions([old, new]) == [
        "metrics f1|scikit-learn:1.7",
        "metrics f1, pearson in 1 of 2 records made before records held metric versions",
    ]
    assert metric_versions([foreign]) == [
        "metrics f1, pearson in 1 of 1 records that hold no metric versions"
    ]
    assert metric_versions([]) == []


@pytest.mark.parametrize("ending", ["md", "tex"])
def test_the_projects_tables_promise_no_versions_that_their_records_lack(ending):
    """Each committed record either holds the versions or is counted, in every table of it."""
    committed = ROOT / "results" / "tables" / "mini" / f"table2.{ending}"
    assert OLD in committed.read_text(encoding="utf-8")
    texts = [path.read_text(encoding="utf-8") for path in committed.parent.glob(f"*.{ending}")]
    assert not any("metrics unknown" in text for text in texts)


def test_the_report_says_the_versions_too():
    report = make_report(ROOT / "results", claims=[])
    old = sum(not record.scoring for record in RecordStore(ROOT / "results").read_all()[0])
    said = "\n".join(itertools.islice(plain_lines(report), len(report.signature)))
    assert f"{old} of {len(report.records)} records made before records held" in said
    assert "bleu|case:lc" in said


def test_the_committed_tables_are_what_their_records_give(tmp_path):
    shutil.copytree(ROOT / "results" / "runs", tmp_path / "runs")
    words = ["tables", "2", "6", "--profile", "mini", "--results", str(tmp_path)]
    assert main(words) == 0
    made = [*(tmp_path / "tables" / "mini").glob("table*")]
    assert len(made) == 6
    for path in made:
        committed = ROOT / "results" / "tables" / "mini" / path.name
        assert path.read_text(encoding="utf-8") == committed.read_text(encoding="utf-8"), path.name
