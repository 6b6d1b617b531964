import math
import subprocess
import sys

import pytest

from dylora_exp import metrics
from dylora_exp.core.errors import RequestError
from dylora_exp.metrics import METRICS, Computation, Metric, Scorer
from dylora_exp.metrics.evaluate_modules import compute, load_metric

HEAVY = "torch transformers datasets evaluate sklearn scipy numpy sacrebleu nltk pyter joblib"


def test_importing_the_registry_imports_no_heavy_library():
    code = (
        "import sys\n"
        "from dylora_exp import metrics\n"
        "assert metrics.sign('ter') == -1\n"
        "metrics.format_value('bleu', 0.5), metrics.signature(['bleu'], 'e2e')\n"
        f"heavy = set('{HEAVY}'.split()) & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_for_which_metrics_lower_is_better():
    lower = [name for name in METRICS if metrics.sign(name) == -1]
    assert lower == ["ter", "no_answer", "loss", "perplexity"]
    assert {metrics.sign(name) for name in METRICS} == {1, -1}
    assert metrics.is_better("ter", 0.5, 0.6) and not metrics.is_better("ter", 0.6, 0.5)
    assert metrics.is_better("bleu", 0.6, 0.5) and not metrics.is_better("bleu", 0.5, 0.5)
    assert not metrics.is_better("pearson", math.nan, 0.5)


@pytest.mark.parametrize("part", metrics.PARTS)
def test_a_metric_of_a_part_has_the_direction_and_unit_of_the_metric(part):
    assert metrics.base_name(f"ter_{part}") == "ter"
    assert metrics.get(f"ter_{part}") is METRICS["ter"]
    assert metrics.sign(f"ter_{part}") == -1
    assert metrics.sign(f"rouge_l_{part}") == 1
    assert metrics.format_value(f"bleu_{part}", 45.678912) == "45.6789"


def test_names_are_their_own_base_names():
    for name in [*METRICS, "seen", "tar_seen", "ter_unheard"]:
        assert metrics.base_name(name) == name


def test_what_metrics_score():
    assert metrics.names() == list(METRICS)
    assert metrics.names("labels") == ["accuracy", "f1", "matthews_correlation"]
    assert metrics.names("numbers") == ["pearson", "spearmanr"]
    assert metrics.names("texts") == ["bleu", "nist", "meteor", "rouge_l", "cider", "ter"]
    assert metrics.names("answers") == ["exact_match", "peft_match", "no_answer"]
    assert metrics.names("likelihood") == ["loss", "perplexity"]
    assert [name for name in METRICS if METRICS[name].two_labels_only] == ["f1"]
    assert metrics.protocols() == ["e2e", "webnlg", "dart"]
    assert metrics.protocol_metrics("webnlg") == ["bleu", "meteor", "ter"]


def test_values_are_shown_in_percent_or_on_the_scale_of_the_official_script():
    assert metrics.format_value("accuracy", 0.91234) == "91.23"
    assert metrics.format_value("pearson", -0.5) == "-50.00"
    assert metrics.format_value("ter", 0.7) == "0.7000"
    assert metrics.format_value("exact_match", 0.4784) == "47.84"
    assert metrics.format_value("loss", 2.5) == "2.5000"
    assert metrics.format_value("perplexity", 12.1824939) == "12.1825"
    assert metrics.format_value("spearmanr", None) == "undefined"


@pytest.mark.parametrize(
    ("name", "protocol", "expected"),
    [
        ("f1", None, True),
        ("matthews_correlation", None, True),
        ("bleu", "e2e", True),
        ("bleu", "dart", False),
        ("meteor", "webnlg", True),
        ("cider", "e2e", False),
        ("nist", "e2e", False),
        ("ter", "dart", False),
        ("no_answer", None, True),
        ("loss", None, False),
        ("perplexity", None, False),
    ],
)
def test_tables_show_what_ends_at_1_in_percent(name, protocol, expected):
    assert METRICS[name].computations[protocol].is_fraction == expected


def test_an_unknown_name_is_answered_by_the_nearest():
    for ask in (metrics.get, metrics.sign):
        with pytest.raises(RequestError, match=r"metric: 'metoer' is not one of .*'meteor'\?"):
            ask("metoer")
    with pytest.raises(RequestError, match=r"task\.metrics: 'tre_seen' is not one of"):
        metrics.get("tre_seen", "task.metrics")


def words_per_text(predictions, references):
    """Return the mean number of words."""
    assert all(references)
    return sum(map(len, predictions)) / len(predictions)


def test_an_entry_is_all_that_a_new_metric_needs(monkeypatch):
    computation = Computation(
        words_per_text,
        "tok:spaces|{pytest}",
        prepare=lambda texts: [text.split() for text in texts],
        range=(0, math.inf),
    )
    entry = Metric("length", "Length", "texts", {"e2e": computation}, higher_is_better=False)
    monkeypatch.setitem(METRICS, "length", entry)
    data = (["a b", "c"], [["a"], ["b", "c d"]])
    assert metrics.names("texts")[-1] == metrics.protocol_metrics("e2e")[-1] == "length"
    assert metrics.sign("length_unseen") == -1
    assert metrics.format_value("length", 1.5) == "1.5000"
    assert metrics.signature(["length"], "e2e") == f"length|tok:spaces|pytest:{pytest.__version__}"
    assert Scorer("e2e").names[-1] == "length"
    assert Scorer("e2e", ["length"]).score(*data) == {"length": 1.5}
    module = load_metric("length", "e2e")
    assert module.compute(predictions=data[0], references=data[1]) == {"length": 1.5}
    assert compute(["length", "bleu"], *data, protocol="e2e")["length"] == 1.5
    with pytest.raises(RequestError, match=r"did you mean 'length'\?"):
        Scorer("e2e", ["lenght"])
