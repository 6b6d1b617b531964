"""Every registered metric as an ``evaluate`` module, against values worked out by hand."""

import math
import shutil

import evaluate
import pytest

from dylora_exp.core.errors import RequestError
from dylora_exp.metrics import METRICS, Scorer
from dylora_exp.metrics.evaluate_modules import compute, load_metric

# Two hits of label 1 and a false alarm, two hits of label 0.
NUMBERS = ([0, 1, 1, 0, 1], [0, 1, 0, 0, 1])
# Four of five words, none of which is a function word to METEOR; and an item without a mistake.
ONE = (["dogs cats birds fish trees"], [["dogs cats birds fish stones"]])
TWO = ([*ONE[0], "rivers lakes"], [*ONE[1], ["rivers lakes"]])
BLEU = (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4)
METEOR = 4 / 5 * (1 - 0.6 * (1 / 4) ** 0.2)
ANSWERS = (
    ["The answer is: 1080", "#### 5 apples", "#### 7", "I do not know."],
    [["#### 1,080"], ["#### 5"], ["#### 7"], ["#### 0"]],
)
# Three tokens of 2 nats each, and one of 4: 2.5 a token.
LIKELIHOODS = ([6.0, 4.0], [3, 1])
EXPECTED = {
    ("accuracy", None): (NUMBERS, 4 / 5),
    # Of the options that were chosen.
    ("accuracy_norm", None): (NUMBERS, 4 / 5),
    ("accuracy_bytes", None): (NUMBERS, 4 / 5),
    ("accuracy_mean", None): (NUMBERS, 4 / 5),
    ("f1", None): (NUMBERS, 4 / 5),
    ("matthews_correlation", None): (NUMBERS, (2 * 2 - 1 * 0) / math.sqrt(3 * 2 * 3 * 2)),
    ("pearson", None): (NUMBERS, 2 / 3),
    ("spearmanr", None): (NUMBERS, 2 / 3),
    ("bleu", "e2e"): (ONE, BLEU),
    ("bleu", "webnlg"): (ONE, 100 * BLEU),
    ("bleu", "dart"): (ONE, 100 * BLEU),
    ("nist", "e2e"): (ONE, 4 / 5 * math.log2(5)),
    ("meteor", "e2e"): (ONE, METEOR),
    ("meteor", "webnlg"): (ONE, METEOR),
    ("meteor", "dart"): (ONE, METEOR),
    ("rouge_l", "e2e"): (ONE, 4 / 5),
    # The mean over n-grams of 1 to 4 words of the cosines; the second item has pairs at most.
    ("cider", "e2e"): (TWO, 10 * ((4 / 5 + 3 / 4 + 2 / 3 + 1 / 2) / 4 + 2 / 4) / 2),
    ("ter", "webnlg"): (TWO, 1 / 5 / 2),
    ("ter", "dart"): (TWO, 1 / 5 / 2),
    ("exact_match", None): (ANSWERS, 3 / 4),
    ("peft_match", None): (ANSWERS, 1 / 4),
    ("no_answer", None): (ANSWERS, 1 / 4),
    ("loss", None): (LIKELIHOODS, 2.5),
    ("perplexity", None): (LIKELIHOODS, math.exp(2.5)),
}


def test_every_computation_is_tested_here():
    every = {
        (name, protocol) for name, metric in METRICS.items() for protocol in metric.computations
    }
    assert set(EXPECTED) == every


@pytest.mark.parametrize(("name", "protocol"), EXPECTED)
def test_a_module_has_the_value_worked_out_by_hand(name, protocol):
    if METRICS[name].needs_java and shutil.which("java") is None:
        pytest.skip("needs Java")
    (predictions, references), expected = EXPECTED[name, protocol]
    module = load_metric(name, protocol)
    assert isinstance(module, evaluate.Metric)
    value = module.compute(predictions=predictions, references=references)
    assert value == {name: pytest.approx(expected, rel=1e-6)}
    low, high = METRICS[name].computations[protocol].range
    assert low <= value[name] <= high
    assert METRICS[name].computations[protocol].signature in module.info.description
    module.scorer.close()


def test_modules_are_combined_and_used_again():
    data = {"predictions": TWO[0], "references": TWO[1]}
    modules = evaluate.combine([load_metric(name, "e2e") for name in ("nist", "bleu")])
    found = modules.compute(**data)
    assert list(found) == ["nist", "bleu"]
    assert found == modules.compute(**data) == Scorer("e2e", ["bleu", "nist"]).score(*TWO)
    assert found == compute(["nist", "bleu", "nist"], *TWO, protocol="e2e")


def test_a_module_says_why_it_has_no_value(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    module = load_metric("meteor", "dart")
    assert module.compute(predictions=ONE[0], references=ONE[1]) == {"meteor": None}
    assert "no Java" in module.scorer.missing["meteor"]


@pytest.mark.parametrize(
    ("name", "protocol", "expected"),
    [
        ("ter", "e2e", "metrics: 'ter' is not one of bleu"),
        ("acuracy", None, "did you mean 'accuracy'"),
        ("bleu", "e2", "task: 'e2' is not one of dart, e2e, webnlg"),
    ],
)
def test_an_unknown_metric_or_protocol_is_named(name, protocol, expected):
    with pytest.raises(RequestError, match=expected):
        load_metric(name, protocol)
