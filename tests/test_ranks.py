import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dylora_exp.config import RanksConfig
from dylora_exp.ranks import Ranks, geometric


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
    assert [ranks.at(10, step) for step in range(12)] == [8, 1, 6, 8, 5, 4, 8, 2, 1, 1, 2, 6]


@given(seed=st.integers(0, 2**32 - 1), step=st.integers(0, 10**9), r_max=st.integers(1, 64))
def test_rank_depends_on_seed_and_step_alone(seed, step, r_max):
    config = RanksConfig(r_max=r_max)
    rank = Ranks.from_config(config).at(seed, step)
    other = Ranks.from_config(config)
    other.at(seed, step + 1)
    assert rank == other.at(seed, step)
    assert 1 <= rank <= r_max


@pytest.mark.parametrize(
    "config",
    [
        RanksConfig(),
        RanksConfig(distribution="geometric"),
        RanksConfig(distribution="custom", r_max=4, weights=[0.5, 0.0, 0.25, 0.25]),
    ],
)
def test_drawn_ranks_follow_the_weights(config):
    ranks = Ranks.from_config(config)
    draws = 20_000
    counts = Counter(ranks.at(42, step) for step in range(draws))
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
