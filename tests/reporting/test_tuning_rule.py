"""The rule that chooses a value among tried ones: closed forms, and what holds for any scores."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dylora_exp.records.record import RankScore
from dylora_exp.reporting.analysis.tuning_rule import (
    TrialScore,
    choose,
    combinations,
    edges,
    score_trial,
)
from tests.support.records import LEADING, SVD, make_record

RATE = "trainer.learning_rate"
SCORE = st.one_of(st.none(), st.floats(-1, 1, allow_nan=False))


@pytest.mark.parametrize(
    ("values", "scores", "expected"),
    [
        ([1.0, 2.0, 4.0], [0.1, 0.3, 0.2], 2.0),
        ([1.0, 2.0, 4.0], [0.3, 0.1, 0.3], 1.0),  # as near to the middle: the smaller
        ([1.0, 2.0, 4.0], [0.3, 0.3, 0.1], 2.0),  # nearer to the middle
        ([1.0, 2.0, 4.0, 8.0], [0.3, 0.3, 0.3, 0.3], 2.0),
        ([1.0, 2.0, 4.0, 8.0, 16.0], [0.3, 0.1, 0.1, 0.3, 0.3], 8.0),
        ([1.0, 2.0, 4.0], [None, 0.1, None], 2.0),  # diverged: worse than any
        ([1.0, 2.0], [None, -1.0], 2.0),
        ([1.0, 2.0, 4.0], [0.1 + 0.2, 0.3, 0.1], 2.0),  # equal but for the last bit of a sum
    ],
)
def test_the_best_value_is_chosen_and_of_equal_ones_that_in_the_middle(values, scores, expected):
    index, chosen = choose({RATE: values}, scores)
    assert chosen == {RATE: expected} == {RATE: values[index]}


def test_less_is_better_where_the_metric_says_so():
    assert choose({RATE: [1.0, 2.0, 4.0]}, [0.4, 0.3, 0.5], sign=-1)[1] == {RATE: 2.0}


def test_without_any_score_nothing_is_chosen():
    assert choose({RATE: [1.0, 2.0]}, [None, None]) is None


def test_several_settings_are_tried_in_every_combination():
    values = {RATE: [1.0, 2.0], "method.alpha": [8.0, 16.0, 32.0]}
    tried = combinations(values)
    assert len(tried) == 6 and tried[1] == {RATE: 1.0, "method.alpha": 16.0}
    scores = [0.0] * 6
    scores[5] = scores[4] = 1.0  # 2.0 with 32 and with 16: the latter is in the middle
    assert choose(values, scores)[1] == {RATE: 2.0, "method.alpha": 16.0}
    assert choose(values, [0.0] * 6)[1] == {RATE: 1.0, "method.alpha": 16.0}
    assert edges(values, {RATE: 2.0, "method.alpha": 8.0}) == {
        RATE: "largest",
        "method.alpha": "smallest",
    }
    assert edges(values, {RATE: 1.0, "method.alpha": 16.0}) == {RATE: "smallest"}


@given(st.lists(SCORE, min_size=2, max_size=7), st.sampled_from([1, -1]))
def test_no_value_is_better_than_the_chosen_one_in_any_unit(scores, sign):
    values = {RATE: [2.0**exponent for exponent in range(len(scores))]}
    found = choose(values, scores, sign)
    known = [score for score in scores if score is not None]
    assert (found is None) == (not known)
    if found is not None:
        assert sign * scores[found[0]] >= max(sign * score for score in known) - 1e-11
        assert choose(values, [None if s is None else -s for s in scores], -sign) == found
        doubled = [None if s is None else 2 * s for s in scores]  # exact in binary
        assert choose(values, doubled, sign) == found


def record(*scores, headline="accuracy"):
    ranks = [
        RankScore(rank, *cut, {"accuracy": value, "f1": 1 - (value or 0)}, 0.1)
        for rank, cut, value in scores
    ]
    return make_record(config={"task": {"headline": headline}}, ranks=ranks)


def test_a_trial_scores_the_mean_over_ranks_at_its_best_cut():
    one = record((1, LEADING, 0.2), (2, LEADING, 0.8), (1, SVD, 0.5), (2, SVD, 0.7))
    assert score_trial(one) == TrialScore(pytest.approx(0.6), *SVD)
    assert score_trial(record((None, (None, None), 0.7))) == TrialScore(0.7, None, None)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_each_rank_weighs_the_same(values):
    one = record(*((rank, LEADING, value) for rank, value in enumerate(values, start=1)))
    assert score_trial(one).mean == pytest.approx(statistics.fmean(values))


def test_a_cut_with_a_gap_has_no_score():
    assert score_trial(record((1, LEADING, 0.9), (2, LEADING, None), (1, SVD, 0.1))).mean == 0.1
    assert score_trial(record((1, LEADING, math.nan))) is None
    assert score_trial(record((1, LEADING, 0.9), headline="bleu")) is None
