"""The README says no more than the committed records do: its verdicts, numbers and words."""

import csv
import re
import statistics

import pytest

from dylora_exp.records.store import RecordStore
from dylora_exp.reporting.analysis.decisions import FAILS, HOLDS, NO_DATA
from dylora_exp.reporting.analysis.report import make_report
from dylora_exp.reporting.specs.claims import load_claims
from tests.support.tables import rows_of
from tests.support.tiny_runs import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
TEXT = " ".join(README.split())
TABLES = ROOT / "results" / "tables" / "mini"
COLUMNS = {
    "SST-2 accuracy": ("2", "sst2", "accuracy"),
    "MRPC F1": ("2", "mrpc", "f1"),
    "BLEU": ("6", "e2e", "bleu"),
}
ROWS = {"LoRA (SVD)": "LoRA (SVD, α/r)", "DyLoRA (frozen)": "DyLoRA (Frozen)"}
PAPER = "the paper's LoRA (GPT-2 M)"
# A README that uses one of these words states a result: the claim must hold in some profile.
RESULTS = {
    r"collapse|breaks\b|falls apart": "truncated-lora-loses",
    r"(?<!that these )keeps? (its|their) quality|holds its quality": "dylora-keeps-low-ranks",
    r"strong (one|baseline)|as well or better": "dylora-beats-svd-at-low-ranks",
    r"learns more slowly": "frozen-costs-little-quality",
    r"upper bound": "dylora-beats-pruning",
}


@pytest.fixture(scope="module")
def report():
    return make_report(ROOT / "results")


@pytest.fixture(scope="module")
def records():
    return RecordStore(ROOT / "results").read_all()[0]


def words_of(report):
    """Return the verdicts on each claim, whatever the profile and the task."""
    found = {claim.name: set() for claim in load_claims()}
    for verdict in report.verdicts:
        found[verdict.claim.name].add(verdict.word)
    return found


def test_the_counts_of_verdicts_are_the_reports(report):
    said = re.search(
        r"\*\*(\d+) hold, (\d+) do not hold, for the others there is (.*?)\.\*\*", TEXT
    )
    words = words_of(report)
    assert len(words) > 10 and all(words.values())
    counted = [sum(word in found for found in words.values()) for word in (HOLDS, FAILS)]
    assert [int(said[1]), int(said[2])] == counted
    assert said[3] == NO_DATA


def test_no_word_of_the_readme_states_a_result_that_the_report_does_not(report):
    words = words_of(report)
    for pattern, name in RESULTS.items():
        found = re.search(pattern, TEXT)
        assert found is None or HOLDS in words[name], f"'{found[0]}': {name} {words[name]}"


@pytest.mark.parametrize(
    "sentence",
    [
        "A LoRA that is cut collapses at rank 1.",
        "DyLoRA holds its quality down to rank 1.",
        "SVD does as well or better at most ranks.",
    ],
)
def test_a_sentence_that_states_a_result_is_found(sentence):
    assert any(re.search(pattern, sentence) for pattern in RESULTS)


def test_the_seeds_that_would_decide_are_the_reports(report):
    sentence = r"about (\d+) seeds would decide on SST-2 .*? about (\d+) whether"
    lora, svd = re.search(sentence, TEXT).groups()
    found = {
        verdict.claim.name: verdict.seeds_needed
        for verdict in report.verdicts
        if (verdict.profile, verdict.task) == ("mini", "sst2")
    }
    assert found["dylora-keeps-low-ranks"] == int(lora)
    assert found["dylora-beats-svd-at-low-ranks"] == int(svd)


def test_a_claim_of_one_seed_has_not_enough_data(report):
    assert "*not enough data* of the claim about BLEU at ranks 1 and 2" in TEXT
    (found,) = [
        verdict
        for verdict in report.verdicts
        if (verdict.claim.name, verdict.task) == ("dylora-keeps-low-ranks-in-generation", "e2e")
    ]
    assert (found.word, found.reason) == (NO_DATA, "1 seed of both sides, two are needed")


def cells():
    """Yield what the README's tables of committed records show: column, rank, row, text."""
    for table in re.findall(r"(?:^\|.*\n)+", README, re.MULTILINE):
        head, _, *rows = rows_of(table)
        if head[0] != "rank" or not {"LoRA (leading, α/r)", "DyLoRA"} < set(head):
            continue
        is_glue = head[1] == ""
        if not is_glue and PAPER not in head:
            continue  # the demo's, of which no records are committed
        rank = ""
        for row in rows:
            rank = row[0] or rank
            column = row[1] if is_glue else "BLEU"
            start = 2 if is_glue else 1
            for label, text in zip(head[start:], row[start:], strict=True):
                yield column, rank, label, text


def committed(column, rank, label):
    """Return the mean that the committed table has, and the paper's value."""
    name, task, metric = COLUMNS[column]
    with (TABLES / f"table{name}.csv").open(encoding="utf-8", newline="") as file:
        (found,) = [
            row
            for row in csv.DictReader(file)
            if (row["block"], row["row"]) == (f"Rank = {rank}", ROWS.get(label, label))
            and (row["task"], row["metric"]) == (task, metric)
        ]
    return found


def test_every_number_of_the_tables_is_a_committed_one():
    found = list(cells())
    assert len(found) == 8 * 5 + 4 * 5
    for column, rank, label, text in found:
        if label == PAPER:
            expected = committed(column, rank, "LoRA (leading, α/b)")["paper"]
        else:
            expected = f"{float(committed(column, rank, label)['mean']):.2f}"
        assert text.strip("*") == expected, (column, rank, label)


def test_bold_is_the_best_of_its_line():
    lines = {}
    for column, rank, label, text in cells():
        if label != PAPER:
            lines.setdefault((column, rank), []).append(text)
    for line, texts in lines.items():
        best = max(float(text.strip("*")) for text in texts)
        assert [text.startswith("**") for text in texts] == [
            float(text.strip("*")) == best for text in texts
        ], line


def test_what_the_text_says_of_the_tables_is_in_them():
    said = "LoRA (SVD) has the highest mean on SST-2 at ranks 1, 2 and 4, and DyLoRA the highest on"
    assert f"{said} MRPC at rank 1" in TEXT
    bold = {(column, rank, label) for column, rank, label, text in cells() if "**" in text}
    assert {("SST-2 accuracy", rank, "LoRA (SVD)") for rank in "124"} <= bold
    assert ("MRPC F1", "1", "DyLoRA") in bold
    sentence = r"at rank 1 has ([\d.]+) at α/b, .*? and ([\d.]+) at α/r"
    low, high = re.search(sentence, TEXT).groups()
    for scale, value in (("α/b", low), ("α/r", high)):
        found = committed("BLEU", "1", f"LoRA (leading, {scale})")
        assert f"{float(found['mean']):.2f}" == value


def test_what_the_text_says_of_seeds_and_times_is_in_the_records(records):
    mini = [record for record in records if record.profile == "mini"]
    values = [
        score.metrics["f1"]
        for record in mini
        if (record.task, record.method) == ("mrpc", "lora")
        for score in record.ranks
        if (score.rank, score.truncation, score.scale) == (1, "leading", "alpha/b")
    ]
    points = re.search(r"two seeds of LoRA \(leading, α/b\) lie ([\d.]+) points apart", TEXT)[1]
    assert f"{100 * (max(values) - min(values)):.1f}" == points
    seconds = {
        record.run_id: record.timing["train_seconds"] + record.timing["sweep_seconds"]
        for record in mini
    }
    hours, minutes = divmod(round(sum(seconds.values()) / 60), 60)
    assert (len(seconds), hours) == (12, 2)
    assert f"the twelve runs of the table below two hours and {minutes} minutes" in TEXT
    one = statistics.fmean(
        seconds[record.run_id]
        for record in mini
        if (record.task, record.method) == ("mrpc", "dylora")
    )
    assert f"this run takes about {round(one / 60)} minutes" in TEXT
