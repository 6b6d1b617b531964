"""Which rank and cut an export is of."""

import pytest

from dylora_exp.core import RequestError
from dylora_exp.records import RankScore
from dylora_exp.runner.exported_ranks import choose_scores
from tests.support.records import LEADING, LEADING_R, SVD, make_record

CUTS = [LEADING, LEADING_R, SVD]
# By rank, of each cut: the verdict is rank 2 by svd, the best rank 8 by leading alpha/b.
VALUES = {1: (0.1, 0.2, 0.5), 2: (0.3, 0.895, 0.896), 8: (0.9, 0.899, 0.899)}
RECORD = make_record(
    ranks=[
        RankScore(rank, *cut, {"f1": VALUES[rank][number]}, 0.1)
        for number, cut in enumerate(CUTS)
        for rank in VALUES
    ],
    config={"task": {"headline": "f1"}, "ranks": {"r_max": 8}},
)


@pytest.mark.parametrize(
    ("rank", "cut", "scale", "expected"),
    [
        ("recommended", None, None, [(2, *SVD)]),
        ("best", None, None, [(8, *LEADING)]),
        ("1", None, None, [(1, *SVD)]),
        ("all", None, None, [(1, *SVD), (2, *SVD), (8, *SVD)]),
        ("recommended", "leading", None, [(8, *LEADING)]),
        ("recommended", "leading", "alpha/r", [(2, *LEADING_R)]),
        ("best", "svd", None, [(8, *SVD)]),
        ("2", "leading", None, [(2, *LEADING)]),
        ("2", None, "alpha/b", [(2, *LEADING)]),
        ("recommended", None, "alpha/r", [(2, *SVD)]),
        ("2", "leading", "alpha/r", [(2, *LEADING_R)]),
    ],
)
def test_what_is_exported(rank, cut, scale, expected):
    found = choose_scores(RECORD, rank, cut, scale)
    assert [(each.rank, each.truncation, each.scale) for each in found] == expected
    assert all(each in RECORD.ranks for each in found)


@pytest.mark.parametrize(
    ("rank", "cut", "scale", "expected"),
    [
        ("3", None, None, "--rank: found 3, the run has scored ranks 1, 2, 8."),
        ("recomended", None, None, "scored ranks 1, 2, 8; did you mean 'recommended'?"),
        ("-1", None, None, "--rank: found -1, expected recommended, best, all or one of"),
        ("1", "energy", None, "--cut/--truncation: 'energy' is not one of leading, svd."),
        ("1", None, "alpha", "--scale: 'alpha' is not one of alpha/b, alpha/r; did you mean"),
        ("1", "svd", "alpha/b", "found svd alpha/b, the run has scored leading alpha/b, leading"),
    ],
)
def test_what_was_not_scored_is_said_in_one_sentence(rank, cut, scale, expected):
    with pytest.raises(RequestError) as caught:
        choose_scores(RECORD, rank, cut, scale)
    (problem,) = caught.value.problems
    assert expected in problem


def test_without_a_verdict_a_rank_must_be_named():
    scores = [RankScore(rank, *LEADING, {"f1": None}, 0.1) for rank in (1, 2)]
    record = make_record(ranks=scores)
    for rank in ("recommended", "best"):
        with pytest.raises(RequestError, match="no rank to deploy: F1 is undefined at every rank"):
            choose_scores(record, rank)
    assert choose_scores(record, "2") == [scores[1]]
    assert choose_scores(record, "all") == scores
