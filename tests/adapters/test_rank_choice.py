"""Ranks by energy and by budget: against all choices on small layers."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dylora_exp.adapters.rank_choice import budget_ranks, energy_ranks

VALUES = st.one_of(
    st.floats(0.01, 10), st.sampled_from([0.0, 1.0, 2.0]), st.integers(1, 5).map(float)
)
LAYER = st.tuples(
    st.lists(VALUES, min_size=1, max_size=4).map(lambda v: sorted(v, reverse=True)),
    st.integers(1, 12),
)


def kept(spectra, ranks):
    return sum(float(np.square(spectra[name][:rank]).sum()) for name, rank in ranks.items())


def price(costs, ranks):
    return sum(costs[name] * rank for name, rank in ranks.items())


def best_by_trying_all(spectra, costs, budget):
    return max(
        kept(spectra, ranks)
        for counts in itertools.product(*(range(len(v) + 1) for v in spectra.values()))
        if price(costs, ranks := dict(zip(spectra, counts, strict=True))) <= budget
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(LAYER, min_size=1, max_size=5), st.integers(0, 120))
def test_a_budget_discards_as_little_as_the_best_of_all_choices(layers, budget):
    spectra = {f"layer{i}": np.array(values) for i, (values, _) in enumerate(layers)}
    costs = {f"layer{i}": cost for i, (_, cost) in enumerate(layers)}
    ranks = budget_ranks(spectra, costs, budget)
    assert price(costs, ranks) <= budget
    assert kept(spectra, ranks) == pytest.approx(
        best_by_trying_all(spectra, costs, budget), rel=1e-9
    )


def test_greedy_by_energy_per_parameter_would_discard_more():
    spectra = {"cheap": np.array([1.1]), "dear": np.array([3.0])}
    assert budget_ranks(spectra, {"cheap": 1, "dear": 9}, 9) == {"cheap": 0, "dear": 1}


def test_zeros_cost_nothing_however_large_the_budget():
    spectra = {"a": np.array([2.0, 1e-14]), "b": np.zeros(3)}
    assert budget_ranks(spectra, {"a": 5, "b": 7}, 10**9) == {"a": 1, "b": 0}


def best_by_dynamic_programming(spectra, costs, budget):
    """Return the most energy by the textbook's table over all budgets."""
    best = np.zeros(budget + 1)
    for name, values in spectra.items():
        table = best.copy()
        for count in range(1, len(values) + 1):
            used = count * costs[name]
            if used <= budget:
                new = best[: budget + 1 - used] + np.square(values[:count]).sum()
                table[used:] = np.maximum(table[used:], new)
        best = table
    return best[-1]


@pytest.mark.parametrize("share", [0.02, 0.1, 0.35, 0.8])
@pytest.mark.parametrize("kind", ["random", "equal", "decaying"])
def test_many_layers_of_several_shapes_are_cut_as_by_a_full_table(share, kind):
    rng = np.random.default_rng(0)
    spectra, costs = {}, {}
    for i in range(24):
        for name, cost in {"q": 40, "v": 25, "up": 101, "down": 103}.items():
            values = {
                "random": rng.uniform(0.5, 1.5, 16),
                "equal": np.ones(16) * np.sqrt(cost),
                "decaying": rng.uniform(0.5, 2) * 0.8 ** np.arange(16.0),
            }[kind]
            spectra[f"{i}.{name}"], costs[f"{i}.{name}"] = np.sort(values)[::-1], cost
    budget = int(share * 16 * sum(costs.values()))
    ranks = budget_ranks(spectra, costs, budget)
    assert price(costs, ranks) <= budget
    expected = best_by_dynamic_programming(spectra, costs, budget)
    assert kept(spectra, ranks) == pytest.approx(expected, rel=1e-9)


@given(
    st.lists(VALUES, min_size=1, max_size=9).map(lambda v: np.array(sorted(v, reverse=True))),
    st.floats(0.01, 1),
)
def test_a_share_of_energy_is_kept_by_the_smallest_rank_that_does(values, share):
    (rank,) = energy_ranks({"layer": values}, share).values()
    squares = np.square(values)
    if squares.any():
        assert squares[:rank].sum() >= share * squares.sum() * (1 - 1e-12)
        assert rank == 1 or squares[: rank - 1].sum() < share * squares.sum() * (1 + 1e-12)
    else:
        assert rank == 1
