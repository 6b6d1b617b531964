"""README and pages say no more than the committed records do: their verdicts, numbers and words."""

import csv
import re
import shutil

import pytest

from dylora_exp.cli.run_output import score_lines
from dylora_exp.records.store import RecordStore
from dylora_exp.reporting import make_tables
from dylora_exp.reporting.analysis.decisions import FAILS, HOLDS, NO_DATA
from dylora_exp.reporting.analysis.report import make_report
from dylora_exp.reporting.specs.claims import load_claims
from scripts.make_cost_table import make_table, with_table
from tests.support.pages import blocks
from tests.support.tables import rows_of
from tests.support.tiny_runs import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
TEXT = " ".join(README.split())
DOCS = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
GENERATION = " ".join(DOCS["text-generation"].split())
MINI = ROOT / "results" / "tables" / "mini"
EXAMPLES = ROOT / "results" / "examples"
# The file, the task and the metric of a column.
COLUMNS = {
    "SST-2 accuracy": (MINI / "table2.csv", "sst2", "accuracy"),
    "MRPC F1": (MINI / "table2.csv", "mrpc", "f1"),
    "BLEU": (MINI / "table6.csv", "e2e", "bleu"),
    "demo": (EXAMPLES / "tables" / "demo" / "table2.csv", "demo", "accuracy"),
}
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
    said = "*not enough data* of the claim about BLEU at ranks 1 and 2"
    assert said in TEXT and said in GENERATION
    (found,) = [
        verdict
        for verdict in report.verdicts
        if (verdict.claim.name, verdict.task) == ("dylora-keeps-low-ranks-in-generation", "e2e")
    ]
    assert (found.word, found.reason) == (NO_DATA, "1 seed of both sides, two are needed")


def cells():
    """Yield what README's and the pages' tables of records show: column, rank, row, text."""
    texts = [README, DOCS["text-generation"]]
    for table in re.findall(r"(?:^\|.*\n)+", "\n".join(texts), re.MULTILINE):
        head, _, *rows = rows_of(table)
        if head[0] != "rank" or not {"LoRA (leading, α/r)", "DyLoRA"} < set(head):
            continue
        start = 2 if head[1] == "" else 1
        rank = ""
        for row in rows:
            rank = row[0] or rank
            column = row[1] if start == 2 else "BLEU" if PAPER in head else "demo"
            for label, text in zip(head[start:], row[start:], strict=True):
                yield column, rank, label, text


def committed(column, rank, label):
    """Return the mean that the committed table has, and the paper's value."""
    path, task, metric = COLUMNS[column]
    with path.open(encoding="utf-8", newline="") as file:
        (found,) = [
            row
            for row in csv.DictReader(file)
            if (row["block"], row["row"]) == (f"Rank = {rank}", label)
            and (row["task"], row["metric"]) == (task, metric)
        ]
    return found


def mean(column, rank, label):
    return float(committed(column, rank, label)["mean"])


def test_every_number_of_the_tables_is_a_committed_one():
    found = list(cells())
    assert len(found) == 6 * 5 + 4 * 5 + 3 * 5
    for column, rank, label, text in found:
        if label == PAPER:
            expected = committed(column, rank, "LoRA (leading, α/b)")["paper"]
        else:
            expected = f"{mean(column, rank, label):.2f}"
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
    said = (
        "LoRA (SVD, α/r) has the highest mean on SST-2 at ranks 1, 2 and 4, and DyLoRA the highest"
    )
    assert f"{said} on MRPC at rank 1" in TEXT
    rows = ("LoRA (leading, α/b)", "LoRA (leading, α/r)", "LoRA (SVD, α/r)")
    rows += ("DyLoRA (Frozen)", "DyLoRA")

    def best(column, rank):
        return max(rows, key=lambda row: mean(column, rank, row))

    assert [best("SST-2 accuracy", rank) for rank in (1, 2, 4)] == ["LoRA (SVD, α/r)"] * 3
    assert best("MRPC F1", 1) == "DyLoRA"
    sentence = r"at rank 1 has ([\d.]+) at α/b, .*? and ([\d.]+) at α/r"
    low, high = re.search(sentence, GENERATION).groups()
    for scale, value in (("α/b", low), ("α/r", high)):
        assert f"{mean('BLEU', 1, f'LoRA (leading, {scale})'):.2f}" == value
    assert f"falls to {low} at rank 1" in TEXT
    # What holds of the demo on each machine that it was run on.
    for rank in (1, 2):
        for row in ("DyLoRA", "LoRA (SVD, α/r)"):
            assert mean("demo", rank, row) - mean("demo", rank, "LoRA (leading, α/b)") > 10
    assert mean("demo", 8, "LoRA (leading, α/b)") == 100


def test_hours_and_memory_are_those_of_records():
    assert with_table(README, make_table()) == README, "run python scripts/make_cost_table.py"


def test_the_table_of_the_demo_is_that_of_its_records(tmp_path):
    shutil.copytree(EXAMPLES / "runs", tmp_path / "runs")
    list(make_tables(["2"], "demo", tmp_path))
    written = tmp_path / "tables" / "demo" / "table2.csv"
    assert written.read_bytes() == COLUMNS["demo"][0].read_bytes()


def test_the_verdict_on_an_adapter_is_that_of_its_record():
    (block,) = [each.text for each in blocks(README) if "recommended rank" in each.text]
    (record,) = [one for one in RecordStore(EXAMPLES).read_all()[0] if one.method == "imported"]
    assert block.splitlines() == score_lines(record)[2:]
    assert block.splitlines()[-1] in " ".join(DOCS["methods"].split())


def test_the_cuts_of_the_demo_are_those_of_their_records():
    names = ("leading", "svd", "energy", "global", "activation", "gradient")
    found = {
        (score.rank, score.truncation, record.seed): 100 * score.metrics["accuracy"]
        for record in RecordStore(EXAMPLES).read_all()[0]
        if any(score.truncation == "energy" for score in record.ranks)
        for score in record.ranks
        if record.profile == "demo"
    }
    first = DOCS["cuts"].split("MRPC with MiniLM")[0]
    rows = [row for row in rows_of(first) if row[0].isdigit() and len(row) == 1 + len(names)]
    assert len(rows) == 5
    for rank, *cells in rows:
        expected = [
            " / ".join(f"{found[int(rank), name, seed]:.1f}" for seed in (10, 42)) for name in names
        ]
        assert cells == expected, rank


def test_what_the_text_says_of_seeds_is_in_the_records(records):
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


def test_what_16_bits_round_is_that_of_the_record():
    record = RecordStore(ROOT / "results").read("90ff6527af2b")
    found = {
        cut.truncation: f"{cut.metrics['accuracy_norm']:.3f}"[1:]
        for cut in record.ranks
        if cut.rank == 8 and (cut.truncation, cut.scale) != ("leading", "alpha/r")
    }
    said = f"{found['leading']} as it was trained and {found['svd']} as its SVD"
    assert said in " ".join(DOCS["large-models"].split())
