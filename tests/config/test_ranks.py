import math
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dylora_exp.config.composition import compose
from dylora_exp.config.distributions import geometric
from dylora_exp.config.ranks import Ranks
from dylora_exp.config.run_identity import run_id
from dylora_exp.config.schema import RanksConfig
from dylora_exp.core.errors import RequestError


def test_geometric_weights_renormalised():
    weights = geometric(8, 0.15, "renormalise")
    expected = [0.2062, 0.1753, 0.1490, 0.1266, 0.1076, 0.0915, 0.0778, 0.0661]
    assert [round(w, 4) for w in weights] == expected


def test_geometric_weights_clipped_put_the_tail_on_r_max():
    weights = geometric(8, 0.15, "clip")
    expected = [0.15, 0.1275, 0.1084, 0.0921, 0.0783, 0.0666, 0.0566, 0.3206]
    assert [round(w, 4) for w in weights] == expected


def test_ranks_of_the_first_steps_never_change():
    ranks = Ranks.from_config(RanksConfig())
    assert [ranks.rank_of_step(10, step) for step in range(12)] == [
        8,
        1,
        6,
        8,
        5,
        4,
        8,
        2,
        1,
        1,
        2,
        6,
    ]


@given(seed=st.integers(0, 2**32 - 1), step=st.integers(0, 10**9), r_max=st.integers(1, 64))
def test_rank_depends_on_seed_and_step_alone(seed, step, r_max):
    config = RanksConfig(r_max=r_max)
    rank = Ranks.from_config(config).rank_of_step(seed, step)
    other = Ranks.from_config(config)
    other.rank_of_step(seed, step + 1)
    assert rank == other.rank_of_step(seed, step)
    assert 1 <= rank <= r_max


@pytest.mark.parametrize(
    "config",
    [
        RanksConfig(),
        RanksConfig(distribution="geometric"),
        RanksConfig(distribution="geometric", tail="clip"),
        RanksConfig(distribution="custom", r_max=4, weights=[0.5, 0.0, 0.25, 0.25]),
        RanksConfig(values=[1, 2, 4, 8]),
    ],
)
def test_drawn_ranks_follow_the_weights(config):
    ranks = Ranks.from_config(config)
    draws = 200_000
    counts = Counter(ranks.rank_of_step(42, step) for step in range(draws))
    for rank, weight in enumerate(ranks.weights, 1):
        error = math.sqrt(draws * weight * (1 - weight))
        assert abs(counts[rank] - draws * weight) <= 4 * error


def test_score_defaults_to_all_ranks_and_is_sorted():
    assert Ranks.from_config(RanksConfig(r_max=3)).score == (1, 2, 3)
    assert Ranks.from_config(RanksConfig(score=[8, 1, 1])).score == (1, 8)


@given(
    r_max=st.integers(1, 32), p=st.floats(0.01, 0.99), tail=st.sampled_from(["renormalise", "clip"])
)
def test_geometric_weights_sum_to_one(r_max, p, tail):
    weights = geometric(r_max, p, tail)
    assert len(weights) == r_max
    assert math.fsum(weights) == pytest.approx(1)


def test_values_restrict_training_and_scoring():
    ranks = Ranks.from_config(RanksConfig(values=[4, 1, 8, 1]))
    assert ranks.values == ranks.score == (1, 4, 8)
    assert ranks.weights == (1 / 3, 0, 0, 1 / 3, 0, 0, 0, 1 / 3)
    assert {ranks.rank_of_step(10, step) for step in range(100)} == {1, 4, 8}


def test_geometric_weights_of_some_ranks_keep_their_proportions():
    some = Ranks.from_config(RanksConfig(distribution="geometric", values=[1, 2, 4]))
    expected = [0.15, 0.15 * 0.85, 0.15 * 0.85**3]
    assert some.weights[:2] + some.weights[3:4] == pytest.approx(
        [weight / sum(expected) for weight in expected]
    )
    assert math.fsum(some.weights) == pytest.approx(1)


def test_custom_weights_belong_to_the_values():
    config = RanksConfig(distribution="custom", values=[2, 8], weights=[0.25, 0.75])
    assert Ranks.from_config(config).weights == (0, 0.25, 0, 0, 0, 0, 0, 0.75)


def test_the_rank_of_a_step_is_the_same_in_another_process():
    code = (
        "from dylora_exp.config.schema import RanksConfig; "
        "from dylora_exp.config.ranks import Ranks; "
        "r = Ranks.from_config(RanksConfig(distribution='geometric')); "
        "print([r.rank_of_step(42, s) for s in range(500)], r.ranks_of_examples(42, 7, 32, 32))"
    )
    out = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    ranks = Ranks.from_config(RanksConfig(distribution="geometric"))
    of_steps = [ranks.rank_of_step(42, step) for step in range(500)]
    here = f"{of_steps} {ranks.ranks_of_examples(42, 7, 32, 32)}"
    assert {process.stdout.strip() for process in out} == {here}


@given(
    share=st.floats(0, 1),
    count=st.integers(1, 64),
    step=st.integers(0, 10**6),
    first=st.integers(0, 10**4),
)
def test_a_sandwich_has_its_share_at_r_max(share, count, step, first):
    ranks = Ranks.from_config(RanksConfig(r_max=8, values=[1, 2], sandwich=share, score=[1]))
    drawn = ranks.ranks_of_examples(10, step, first, count)
    assert len(drawn) == count
    assert drawn.count(8) == math.floor(share * count + 0.5)
    assert set(drawn) <= {1, 2, 8}


def test_examples_at_r_max_are_spread_over_the_batch():
    ranks = Ranks.from_config(RanksConfig(values=[1], sandwich=0.5, score=[1]))
    counts = [0] * 8
    for step in range(2000):
        for place, rank in enumerate(ranks.ranks_of_examples(10, step, 0, 8)):
            counts[place] += rank == 8
    assert all(abs(count - 1000) < 4 * math.sqrt(500) for count in counts)


@pytest.mark.parametrize(
    ("r_max", "values"),
    [(1, [1]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8]), (256, [1, 2, 4, 8, 16, 32, 64, 128, 256])],
)
def test_powers_of_two_follow_r_max_and_are_the_same_run_as_their_list(r_max, values):
    named = compose(["ranks=powers", f"ranks.r_max={r_max}"])
    listed = compose([f"ranks.r_max={r_max}", f"ranks.values={values}"])
    assert named.ranks.values == values
    assert run_id(named) == run_id(listed)
    assert Ranks.from_config(named.ranks) == Ranks.of(r_max, values="powers_of_two")
    assert Ranks.of(r_max, score="powers_of_two").score == tuple(values)


def test_another_name_of_a_list_is_refused():
    with pytest.raises(RequestError, match="found 'powers', expected a list of ranks or powers_of"):
        compose(["ranks.values=powers"])


def test_proportional_weights_are_the_ranks_own_size():
    ranks = Ranks.of(256, "proportional", values="powers_of_two")
    assert ranks.weights[255] == pytest.approx(256 / 511)
    assert ranks.weights[0] == pytest.approx(1 / 511)
    assert math.fsum(ranks.weights) == pytest.approx(1)
    # The distributions are over ranks, not over places in the list.
    geometric = Ranks.of(256, "geometric", values="powers_of_two", p=0.5)
    assert geometric.weights[3] / geometric.weights[1] == pytest.approx(0.25)
    assert compose(["ranks=powers-weighted"]).ranks.distribution == "proportional"
