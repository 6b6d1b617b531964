"""Which rank to deploy: by hand, and against every scored cut looked at one by one."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dylora_exp.records import RankScore, Record, rank_verdict
from tests.support.records import LEADING, LEADING_R, SVD, make_record

CUTS = [LEADING, LEADING_R, SVD]


def run(scores, headline="f1", seed=1, **changes):
    """A record with the given scores by (rank, truncation, scale)."""
    reader = "webnlg" if headline == "ter" else "glue"
    config = {"seed": seed, "task": {"headline": headline, "reader": reader}, "ranks": {"r_max": 8}}
    ranks = [RankScore(*key, {headline: value}, 0.1) for key, value in scores.items()]
    return make_record(**{"config": config, "seed": seed, "ranks": ranks} | changes)


def curve(cut, **by_rank):
    return {(int(name[1:]), *cut): value for name, value in by_rank.items()}


def sentence(record):
    return rank_verdict([record]).sentence


def test_the_smallest_rank_that_is_good_enough_by_hand():
    leading = curve(LEADING, r1=0.70, r2=0.78, r8=0.8361)
    record = run(leading | curve(SVD, r1=0.79, r2=0.8324, r8=0.836))
    assert sentence(record) == (
        "deploy rank 2 (SVD): F1 83.24, 0.37 below rank 8 (leading), "
        "25 % of its adapter parameters; one seed"
    )


def test_the_best_itself_and_the_only_one():
    record = run(curve(LEADING, r1=0.5, r2=0.9))
    assert sentence(record) == "deploy rank 2 (leading): F1 90.00, the best of all ranks; one seed"
    assert "the only rank scored" in sentence(run(curve(LEADING, r2=0.9)))


def test_a_cut_is_named_with_its_scale_where_one_truncation_has_several():
    record = run(curve(LEADING, r1=0.5, r8=0.9) | curve(LEADING_R, r1=0.895, r8=0.9))
    assert sentence(record).startswith("deploy rank 1 (leading, α/r): F1 89.50, 0.50 below rank")
    foreign = ("energy-7", "no scale")
    record = run(curve(LEADING, r1=0.5) | curve(foreign, r1=0.9))
    assert sentence(record).startswith("deploy rank 1 (energy-7): ")


def test_of_an_error_rate_the_lowest_is_best_and_it_is_no_percentage():
    record = run(curve(LEADING, r1=0.708, r2=0.569, r4=0.566), "ter")
    assert "deploy rank 2 (leading): TER 0.57, 0.003 above rank 4, 50 %" in sentence(record)
    assert rank_verdict([record]).best.rank == 4


@pytest.mark.parametrize(
    ("reader", "value", "shown"), [("e2e", 0.675, "67.50"), ("webnlg", 55.24, "55.24")]
)
def test_a_score_is_shown_as_in_tables(reader, value, shown):
    config = {"task": {"headline": "bleu", "reader": reader}}
    record = run(curve(LEADING, r1=value), "bleu", config=config)
    assert f"BLEU {shown}," in sentence(record)


def test_a_score_is_undefined():
    record = run(curve(LEADING, r1=None, r2=None), "pearson")
    assert sentence(record) == "no rank to deploy: Pearson is undefined at every rank (leading)"
    record = run(curve(LEADING, r1=None, r2=0.8) | curve(SVD, r1=math.nan, r2=0.8), "pearson")
    verdict = rank_verdict([record])
    assert verdict.chosen is None and verdict.best is None and verdict.share is None
    assert "undefined at rank 1 (leading); rank 1 (SVD)" in verdict.sentence
    json.dumps(verdict.as_dict(), allow_nan=False)
    # The best of a curve with a gap may lie in the gap.
    record = run(curve(LEADING, r1=None, r2=0.9) | curve(SVD, r1=0.7, r2=0.8), "pearson")
    assert sentence(record).startswith("deploy rank 2 (SVD): Pearson 80.00, the best")
    assert sentence(record).endswith("; one seed; leading left out, undefined")


def test_a_method_without_ranks_has_no_verdict():
    whole = RankScore(None, None, None, {"f1": 0.9}, 0.1)
    assert rank_verdict([run({}, ranks=[whole])]) is None


def test_a_run_allows_what_it_was_told_and_an_old_record_one_percent():
    scores = curve(LEADING, r1=0.85, r2=0.88, r8=0.9)
    summary = [{"truncation": "leading", "tolerance": 0.06}]
    assert rank_verdict([run(scores, summary=summary)]).chosen.rank == 1
    assert rank_verdict([run(scores)]).chosen.rank == 8
    assert rank_verdict([run(scores)], tolerance=0.03).chosen.rank == 2
    assert rank_verdict([run(scores, summary=[{"tolerance": None}])]).chosen.rank == 8


def test_ties_go_to_fewer_parameters_then_to_the_better_then_to_the_last():
    record = run(curve(LEADING, r2=0.9) | curve(LEADING_R, r2=0.905) | curve(SVD, r2=0.905))
    verdict = rank_verdict([record])
    assert (verdict.chosen.name, verdict.best.name) == (SVD, SVD)
    record = run(curve(LEADING, r2=0.905) | curve(SVD, r2=0.9))
    assert rank_verdict([record]).chosen.name == LEADING


def test_several_seeds_are_averaged_and_allow_a_standard_error():
    # At rank 4 a mean of 0.85 and a standard error of 0.01; at rank 2 a mean of 0.8401.
    seeds = [
        run(curve(LEADING, r2=two, r4=four), seed=seed)
        for seed, (two, four) in enumerate([(0.8301, 0.84), (0.8501, 0.86)])
    ]
    verdict = rank_verdict(seeds)
    assert verdict.allowed == pytest.approx(0.01)
    assert verdict.sentence == (
        "deploy rank 2 (leading): F1 84.01, 0.99 below rank 4, "
        "50 % of its adapter parameters; mean of 2 seeds"
    )
    assert rank_verdict(seeds, tolerance=0.001).chosen.rank == 4
    gap = [seeds[0], run(curve(LEADING, r2=None, r4=0.86), seed=2)]
    assert rank_verdict(gap).chosen is None


def test_an_imported_adapter_of_several_ranks_has_no_share():
    record = run(
        curve(LEADING, r2=0.9, r8=0.905), training={"imported": {"ranks": {"q": 8, "v": 4}}}
    )
    assert sentence(record) == "deploy rank 2 (leading): F1 90.00, 0.50 below rank 8; one seed"


def test_a_record_of_another_program_is_answered_too():
    record = make_record(config={"seed": 1, "task": None, "ranks": None})
    assert sentence(record).startswith("deploy rank 1 (leading): F1 50.00, the only rank")
    record = make_record(ranks=[RankScore(1, None, None, {"odd": 0.25}, 0.1)])
    assert sentence(record) == "deploy rank 1 (whole): odd 25.00, the only rank scored; one seed"


VALUES = st.one_of(st.none(), st.integers(0, 40).map(lambda number: number / 40))
SCORES = st.dictionaries(
    st.tuples(st.integers(1, 8), st.sampled_from(CUTS)).map(lambda pair: (pair[0], *pair[1])),
    VALUES,
    min_size=1,
    max_size=14,
)


@given(SCORES, st.sampled_from(["f1", "ter"]), st.sampled_from([0.0, 0.01, 0.1, 0.3]))
def test_no_smaller_rank_is_good_enough(scores, metric, tolerance):
    verdict = rank_verdict([run(scores, metric)], tolerance)
    sign = -1 if metric == "ter" else 1
    whole = [
        cut
        for cut in CUTS
        if all(v is not None for (_, *name), v in scores.items() if tuple(name) == cut)
    ]
    usable = {key: sign * value for key, value in scores.items() if key[1:] in whole}
    if not usable:
        assert verdict.chosen is None and "undefined" in verdict.sentence
        return
    top = max(usable.values())
    assert sign * verdict.best.mean == pytest.approx(top)
    enough = top - tolerance * abs(top) - 1e-9
    smallest = min(rank for (rank, *_), value in usable.items() if value >= enough)
    assert verdict.chosen.rank == smallest
    rivals = [value for (rank, *_), value in usable.items() if rank == smallest]
    assert sign * verdict.chosen.mean == pytest.approx(max(rivals))
    assert verdict.share == pytest.approx(verdict.chosen.rank / verdict.best.rank)


def test_the_record_keeps_it_and_older_records_stay_readable():
    record = run(curve(LEADING, r1=0.5, r2=0.9))
    tree = json.loads(record.to_json())
    assert tree.pop("verdict") == {} and tree.pop("language") is None
    assert Record.from_dict(tree) == record
    verdict = rank_verdict([record]).as_dict()
    again = Record.from_dict({**tree, "verdict": verdict})
    assert again.verdict["chosen"] == {
        **{"rank": 2, "truncation": "leading", "scale": "alpha/b", "value": 0.9}
    }
    assert again.verdict["sentence"].startswith("deploy rank 2")
