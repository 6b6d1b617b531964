"""References in closed form: Student's t with one and two degrees of freedom is elementary."""

import math

import pytest
from scipy import stats

from dylora_exp.reporting.analysis.estimates import estimate, has_spread, paired

EXACT = 1e-9


def t_one(p):
    """The quantile with one degree of freedom: Cauchy's."""
    return math.tan(math.pi * (p - 0.5))


def t_two(p):
    """The quantile with two degrees of freedom."""
    return (2 * p - 1) / math.sqrt(2 * p * (1 - p))


def test_two_values():
    found = estimate([0.8, 0.9])
    std = 0.1 / math.sqrt(2)
    reach = t_one(0.975) * std / math.sqrt(2)
    assert found.n == 2
    assert found.mean == pytest.approx(0.85, abs=EXACT)
    assert found.std == pytest.approx(std, abs=EXACT)
    assert found.low == pytest.approx(0.85 - reach, abs=EXACT)
    assert found.high == pytest.approx(0.85 + reach, abs=EXACT)
    assert (found.smallest, found.largest) == (0.8, 0.9)


def test_three_values():
    found = estimate([1.0, 2.0, 6.0])
    std = math.sqrt((4 + 1 + 9) / 2)
    reach = t_two(0.975) * std / math.sqrt(3)
    assert found.mean == pytest.approx(3.0, abs=EXACT)
    assert found.std == pytest.approx(std, abs=EXACT)
    assert found.low == pytest.approx(3 - reach, abs=EXACT)
    assert found.high == pytest.approx(3 + reach, abs=EXACT)


def test_five_values_and_another_confidence_as_scipy_has_them():
    values = [0.81, 0.79, 0.84, 0.80, 0.83]
    found = estimate(values, confidence=0.99)
    low, high = stats.t.interval(0.99, 4, loc=found.mean, scale=stats.sem(values))
    assert found.low == pytest.approx(low, abs=EXACT)
    assert found.high == pytest.approx(high, abs=EXACT)


def test_one_value_has_no_deviation():
    found = estimate([0.5])
    assert (found.mean, found.n) == (0.5, 1)
    assert found.std is found.low is found.high is None


def test_no_value():
    with pytest.raises(ValueError, match="at least one"):
        estimate([])


def test_paired_on_two_seeds():
    found = paired({10: 0.9, 42: 0.7}, {10: 0.6, 42: 0.6, 7: 0.1})
    t = 0.2 / (math.sqrt(0.02) / math.sqrt(2))
    assert found.seeds == (10, 42)
    assert found.difference.mean == pytest.approx(0.2, abs=EXACT)
    assert found.difference.high == pytest.approx(0.2 + t_one(0.975) * 0.1, abs=EXACT)
    assert found.p == pytest.approx(1 - 2 * math.atan(t) / math.pi, abs=EXACT)


def test_paired_on_three_seeds():
    found = paired({1: 3.0, 2: 5.0, 3: 4.0}, {1: 2.0, 2: 3.0, 3: 1.0})
    t = 2 / (1 / math.sqrt(3))
    assert found.p == pytest.approx(1 - t / math.sqrt(t * t + 2), abs=EXACT)


def test_paired_as_scipy_has_it():
    first = dict(enumerate([0.81, 0.79, 0.84, 0.80, 0.83]))
    second = dict(enumerate([0.80, 0.80, 0.81, 0.78, 0.84]))
    reference = stats.ttest_rel(list(first.values()), list(second.values()))
    interval = reference.confidence_interval()
    found = paired(first, second)
    assert found.p == pytest.approx(reference.pvalue, abs=EXACT)
    assert found.difference.low == pytest.approx(interval.low, abs=EXACT)
    assert found.difference.high == pytest.approx(interval.high, abs=EXACT)


def test_paired_without_spread_has_no_p():
    # 0.3 - 0.2 and 0.2 - 0.1 differ in their last bits.
    assert paired({1: 0.3, 2: 0.2}, {1: 0.2, 2: 0.1}).p is None
    assert paired({1: 0.3}, {1: 0.2}).p is None


def test_paired_without_common_seeds():
    assert paired({1: 0.3}, {2: 0.2}) is None


def test_spread():
    assert has_spread(estimate([0.1, 0.2]))
    assert not has_spread(estimate([0.3 - 0.2, 0.2 - 0.1]))
