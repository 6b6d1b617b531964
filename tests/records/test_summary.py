from __future__ import annotations

import dataclasses
import math
import statistics
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dylora_exp.records.record import RankScore, Record
from dylora_exp.records.summary import (
    DEFAULT_SHARE,
    allowed_loss,
    aurac,
    best_rank,
    recommended_rank,
    search_score,
    summarise,
)
from tests.support.records import make_record

QUALITIES = st.floats(-1, 1, allow_subnormal=False)
CURVES = st.dictionaries(st.integers(1, 64), QUALITIES, min_size=1, max_size=10)
LOG2 = pytest.mark.parametrize("log2", [False, True])


def test_the_area_by_hand() -> None:
    curve = {1: 0.2, 2: 0.4, 4: 0.8}
    # Over the rank: 1 x 0.3 + 2 x 0.6 = 1.5 of width 3; over its log2: 0.3 + 0.6 of width 2.
    assert aurac(curve) == pytest.approx(0.5)
    assert aurac(curve, log2=True) == pytest.approx(0.45)


def test_uneven_ranks_count_by_their_distance() -> None:
    assert aurac({2: 0.0, 8: 1.0, 4: 0.0}) == pytest.approx(2 / 6)
    assert aurac({2: 0.0, 8: 1.0, 4: 0.0}, log2=True) == pytest.approx(0.25)


@LOG2
def test_one_rank_is_its_own_mean_and_none_has_no_area(log2: bool) -> None:
    assert aurac({3: 0.7}, log2) == 0.7
    assert aurac({}, log2) is None


@LOG2
@given(CURVES)
def test_the_area_lies_between_the_extremes(log2: bool, curve: dict[int, float]) -> None:
    area = aurac(curve, log2)
    assert area is not None
    assert min(curve.values()) - 1e-12 <= area <= max(curve.values()) + 1e-12


@LOG2
@given(st.sets(st.integers(1, 64), min_size=1), QUALITIES)
def test_the_area_of_a_constant_is_the_constant(log2: bool, ranks: set[int], value: float) -> None:
    assert aurac(dict.fromkeys(ranks, value), log2) == pytest.approx(value, abs=1e-12)


@LOG2
@given(CURVES, st.floats(0.1, 100), QUALITIES)
def test_the_area_has_the_unit_of_the_quality(
    log2: bool, curve: dict[int, float], factor: float, shift: float
) -> None:
    area = aurac(curve, log2)
    assert area is not None
    other = aurac({rank: factor * value + shift for rank, value in curve.items()}, log2)
    assert other == pytest.approx(factor * area + shift, abs=1e-9)


@LOG2
@given(CURVES, st.randoms())
def test_the_order_of_the_ranks_does_not_matter(
    log2: bool, curve: dict[int, float], random: Random
) -> None:
    items = list(curve.items())
    random.shuffle(items)
    assert aurac(dict(items), log2) == aurac(curve, log2)


@given(st.dictionaries(st.integers(1, 16), QUALITIES, min_size=2, max_size=6), st.integers(1, 9))
def test_the_areas_do_not_depend_on_the_unit_of_the_rank(
    curve: dict[int, float], times: int
) -> None:
    stretched = {times * rank: value for rank, value in curve.items()}
    for log2 in (False, True):
        assert aurac(stretched, log2) == pytest.approx(aurac(curve, log2), abs=1e-9)


def test_an_area_does_not_change_when_a_rank_on_the_line_is_added() -> None:
    assert aurac({1: 0.1, 3: 0.3, 9: 0.9}) == pytest.approx(aurac({1: 0.1, 9: 0.9}))


def test_the_best_rank_is_the_lowest_of_equals() -> None:
    assert best_rank({4: 0.8, 2: 0.9, 8: 0.9}) == 2
    assert best_rank({}) is None


@pytest.mark.parametrize(
    ("tolerance", "expected"), [(0.0, 5), (0.009, 5), (0.01, 4), (0.03, 2), (0.2, 1)]
)
def test_the_recommended_rank_by_hand(tolerance: float, expected: int) -> None:
    curve = {1: 0.70, 2: 0.79, 3: 0.78, 4: 0.81, 5: 0.82, 8: 0.80}
    assert recommended_rank(curve, tolerance) == expected


def test_without_ranks_none_is_recommended() -> None:
    assert recommended_rank({}, 0.1) is None


@given(CURVES, st.floats(0, 1), st.floats(0, 1))
def test_the_recommended_rank_is_good_enough_and_smaller_the_more_may_be_lost(
    curve: dict[int, float], one: float, other: float
) -> None:
    less, more = sorted((one, other))
    rank, smaller = recommended_rank(curve, less), recommended_rank(curve, more)
    best = best_rank(curve)
    assert rank is not None and smaller is not None and best is not None
    assert curve[rank] >= curve[best] - less - 1e-9
    assert smaller <= rank <= best
    assert all(curve[lower] < curve[best] - less for lower in curve if lower < rank)


def test_what_may_be_lost_by_hand() -> None:
    # Deviation sqrt((0.01 + 0 + 0.01) / 2) = 0.1, over sqrt(3).
    assert allowed_loss([0.7, 0.8, 0.9]) == pytest.approx(0.1 / math.sqrt(3))
    assert allowed_loss([0.7, 0.8, 0.9], 0.05) == pytest.approx(0.04)
    assert allowed_loss([0.8]) == pytest.approx(0.8 * DEFAULT_SHARE)
    assert allowed_loss([0.8, 0.9], 0.0) == 0
    assert allowed_loss([-0.5], 0.1) == pytest.approx(0.05)


@given(st.lists(QUALITIES, min_size=2, max_size=8), QUALITIES)
def test_a_standard_error_does_not_depend_on_the_level(values: list[float], shift: float) -> None:
    loss = allowed_loss(values)
    assert 0 <= loss <= statistics.pstdev(values) + 1e-12
    assert allowed_loss([value + shift for value in values]) == pytest.approx(loss, abs=1e-9)


def score(rank: int | None, value: float | None, cut: str = "leading") -> RankScore:
    return RankScore(rank, cut, "alpha/b", {"accuracy": value, "f1": 0.0}, 0.1)


def test_each_cut_has_a_summary_of_its_own() -> None:
    scores = [
        score(1, 0.2),
        score(2, 0.4),
        score(4, 0.8),
        score(1, 0.796, "svd"),
        score(4, 0.8, "svd"),
    ]
    leading, svd = summarise(scores, "accuracy", 0.01)
    assert leading == {
        "truncation": "leading",
        "scale": "alpha/b",
        "metric": "accuracy",
        "aurac": pytest.approx(0.5),
        "aurac_log2": pytest.approx(0.45),
        "best_rank": 4,
        "recommended_rank": 4,
        "tolerance": 0.01,
    }
    assert (svd["truncation"], svd["best_rank"], svd["recommended_rank"]) == ("svd", 4, 1)


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_curve_with_a_gap_has_no_area_and_no_best_rank(value: float | None) -> None:
    gap = [score(1, 0.5), score(2, value)]
    (only,) = summarise(gap, "accuracy", 0.01)
    for name in ("aurac", "aurac_log2", "best_rank", "recommended_rank"):
        assert only[name] is None
    leading, svd = summarise([*gap, score(1, 0.6, "svd")], "accuracy", 0.01)
    assert (leading["best_rank"], svd["best_rank"]) == (None, 1)
    assert summarise([score(2, value)], "accuracy", 0.01) == []


def test_a_method_without_ranks_has_no_summary() -> None:
    assert summarise([RankScore(None, None, None, {"accuracy": 0.9}, 0.1)], "accuracy", 0.01) == []


TER = {1: 0.708, 2: 0.638, 3: 0.600, 4: 0.566}


def ter_scores() -> list[RankScore]:
    return [RankScore(r, "leading", "alpha/b", {"ter": v}, 0.1) for r, v in TER.items()]


def test_of_an_error_rate_the_lowest_is_best() -> None:
    (summary,) = summarise(ter_scores(), "ter", 0.01)
    assert (summary["best_rank"], summary["recommended_rank"]) == (4, 4)
    # A tenth of 0.566 may be lost: 0.600 at rank 3 is within 0.6226.
    (summary,) = summarise(ter_scores(), "ter", 0.1)
    assert (summary["best_rank"], summary["recommended_rank"]) == (4, 3)
    assert summary["aurac"] == pytest.approx((0.708 / 2 + 0.638 + 0.600 + 0.566 / 2) / 3)


@given(CURVES, st.floats(0, 1))
def test_less_of_an_error_is_more_of_its_opposite(curve: dict[int, float], loss: float) -> None:
    opposite = {rank: -value for rank, value in curve.items()}
    assert best_rank(curve, -1) == best_rank(opposite)
    assert recommended_rank(curve, loss, -1) == recommended_rank(opposite, loss)


@pytest.mark.parametrize("part", ["ter_seen", "ter_unseen"])
def test_a_part_of_a_metric_has_its_direction(part: str) -> None:
    scores = [RankScore(r, "leading", "alpha/b", {part: v}, 0.1) for r, v in TER.items()]
    assert summarise(scores, part, 0.01)[0]["best_rank"] == 4


def record(headline: str, ranks: list[RankScore]) -> Record:
    config = {"task": {"headline": headline}}
    return make_record(config=config, ranks=ranks, summary=summarise(ranks, headline, 0.01))


def test_a_search_prefers_the_higher_score() -> None:
    better = [score(1, 0.6), score(2, 0.8), score(2, 0.9, "svd")]
    assert search_score(record("accuracy", better)) == pytest.approx(0.9)
    assert search_score(record("accuracy", [])) is None
    whole = RankScore(None, None, None, {"accuracy": 0.75}, 0.1)
    assert search_score(record("accuracy", [whole])) == 0.75


def test_a_search_prefers_scores_everywhere_to_one_that_is_defined_at_one_rank() -> None:
    gap = [score(rank, None) for rank in range(1, 8)] + [score(8, 0.85)]
    everywhere = [score(rank, 0.8) for rank in range(1, 9)]
    assert search_score(record("accuracy", gap)) is None
    assert search_score(record("accuracy", everywhere)) == pytest.approx(0.8)
    (one,) = summarise([score(8, 0.85)], "accuracy", 0.01)
    before = dataclasses.replace(record("accuracy", gap), summary=[one])  # as it was once written
    assert search_score(before) is None


def test_a_search_prefers_the_lower_error() -> None:
    many = [RankScore(None, None, None, {"ter": 0.7}, 0.1)]
    few = [RankScore(None, None, None, {"ter": 0.5}, 0.1)]
    high, low = search_score(record("ter", many)), search_score(record("ter", few))
    assert high is not None and low is not None and low > high
    two = [*ter_scores(), RankScore(1, "svd", "alpha/b", {"ter": 0.4}, 0.1)]
    assert search_score(record("ter", two)) == pytest.approx(-0.4)
