import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dylora_exp.core.errors import RequestError
from dylora_exp.metrics import names
from dylora_exp.metrics.evaluate_modules import compute

labels = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60)


@given(labels)
def test_binary_metrics_equal_their_closed_forms(pairs):
    predictions, references = zip(*pairs, strict=True)
    tp = sum(p == r == 1 for p, r in pairs)
    tn = sum(p == r == 0 for p, r in pairs)
    fp = sum(p == 1 and r == 0 for p, r in pairs)
    fn = sum(p == 0 and r == 1 for p, r in pairs)
    product = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    values = compute(["accuracy", "f1", "matthews_correlation"], predictions, references)
    assert values["accuracy"] == pytest.approx((tp + tn) / len(pairs))
    assert values["f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn) if tp else 0)
    expected = (tp * tn - fp * fn) / product if product else 0
    assert values["matthews_correlation"] == pytest.approx(expected, abs=1e-12)


def test_correlations():
    values = compute(["pearson", "spearmanr"], [1.0, 2.0, 4.0], [1.0, 3.0, 9.0])
    # Deviations (-4/3, -1/3, 5/3) and (-10/3, -4/3, 14/3).
    expected = 114 / math.sqrt(42 * 312)
    assert values["pearson"] == pytest.approx(expected, abs=1e-12)
    assert values["spearmanr"] == pytest.approx(1.0)


def test_a_correlation_with_a_constant_is_undefined():
    assert math.isnan(compute(["pearson"], [1.0, 1.0], [1.0, 2.0])["pearson"])


def test_a_correlation_of_one_example_is_undefined():
    assert math.isnan(compute(["pearson"], [1.0], [2.0])["pearson"])


def test_always_saying_yes_on_mrpc_dev_has_the_known_f1():
    # 279 of the 408 development pairs are paraphrases.
    values = compute(["accuracy", "f1"], [1] * 408, [1] * 279 + [0] * 129)
    assert round(100 * values["f1"], 1) == 81.2


def test_keys_are_the_names_in_the_order_asked_for():
    wanted = [*names("numbers"), *names("labels")]
    assert list(compute(wanted, [0, 1, 1], [0, 1, 0])) == wanted


def test_an_unknown_metric_is_named():
    with pytest.raises(RequestError, match="did you mean 'accuracy'"):
        compute(["acuracy"], [1], [1])
