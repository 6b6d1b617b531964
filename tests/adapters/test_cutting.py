"""Cuts of factors against closed forms and against all choices on small layers."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dylora_exp.adapters.cutting import (
    CutPlan,
    activation_factors,
    order_by_importance,
    plan_cuts,
)

# Outputs, inputs and rank of a layer, some narrower than the rank, and its scale.
LAYER = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.sampled_from([1, 4]))
LAYERS = st.lists(LAYER, min_size=1, max_size=3)
TRUNCATIONS = ["leading", "svd", "energy", "global", "activation", "gradient"]


def factors_of(layers, seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        f"layer{i}": (
            torch.randn(r, d_in, generator=generator, dtype=torch.float64),
            torch.randn(d_out, r, generator=generator, dtype=torch.float64),
        )
        for i, (d_out, d_in, r, _) in enumerate(layers)
    }


def plan_of(truncation, layers, seed):
    generator = torch.Generator().manual_seed(seed + 1)
    factors = factors_of(layers, seed)
    scales = {f"layer{i}": float(layer[3]) for i, layer in enumerate(layers)}
    if truncation == "gradient":
        singular = plan_cuts("svd", factors, scales).factors
        worth = {
            n: torch.rand(len(a), generator=generator).double() for n, (a, _) in factors.items()
        }
        return factors, scales, order_by_importance(singular, worth)
    moments = {}
    for name, (a, _) in factors.items():
        x = torch.randn(9, a.shape[1], generator=generator, dtype=torch.float64)
        moments[name] = (x @ a.T).T @ (x @ a.T)
    return factors, scales, plan_cuts(truncation, factors, scales, moments)


def price(factors, ranks):
    return sum(ranks[name] * (a.shape[1] + b.shape[0]) for name, (a, b) in factors.items())


def values_of(factors, scales):
    return {
        name: scales[name] * torch.linalg.svdvals(b @ a).numpy() for name, (a, b) in factors.items()
    }


@pytest.mark.parametrize("truncation", TRUNCATIONS)
@settings(max_examples=40, deadline=None)
@given(layers=LAYERS, seed=st.integers(0, 99))
def test_a_basis_leaves_every_product_as_it_is_and_a_budget_is_never_exceeded(
    truncation, layers, seed
):
    factors, _, plan = plan_of(truncation, layers, seed)
    for name, (a, b) in factors.items():
        new_a, new_b = plan.factors[name]
        assert (new_a.shape, new_b.shape) == (a.shape, b.shape)
        torch.testing.assert_close(new_b @ new_a, b @ a, rtol=1e-9, atol=1e-9)
    r_max = max(r for *_, r, _ in layers)
    for budget in range(1, r_max + 1):
        ranks = plan.ranks(budget)
        uniform = {name: min(budget, len(a)) for name, (a, _) in factors.items()}
        assert price(factors, ranks) <= price(factors, uniform)
        assert all(0 <= rank <= len(factors[name][0]) for name, rank in ranks.items())
        if truncation in ("leading", "svd", "activation") or budget == r_max:
            assert ranks == uniform
            assert plan.layer_ranks(budget) is None


@settings(max_examples=40, deadline=None)
@given(layers=LAYERS, seed=st.integers(0, 99), budget=st.integers(1, 4))
def test_global_loses_the_least_of_all_choices_within_the_budget(layers, seed, budget):
    factors, scales, plan = plan_of("global", layers, seed)
    ranks, values = plan.ranks(budget), values_of(factors, scales)

    def lost(found):
        return sum(float(np.square(values[n][rank:]).sum()) for n, rank in found.items())

    most = price(factors, {name: min(budget, len(a)) for name, (a, _) in factors.items()})
    choices = (
        dict(zip(factors, counts, strict=True))
        for counts in itertools.product(*(range(len(a) + 1) for a, _ in factors.values()))
    )
    best = min(lost(found) for found in choices if price(factors, found) <= most)
    assert lost(ranks) == pytest.approx(best, abs=1e-8)


@settings(max_examples=40, deadline=None)
@given(layers=LAYERS, seed=st.integers(0, 99), budget=st.integers(1, 3))
def test_energy_is_one_share_and_the_largest_that_the_budget_allows(layers, seed, budget):
    factors, scales, plan = plan_of("energy", layers, seed)
    if budget >= plan.r_max:
        return
    ranks = plan.ranks(budget)
    shares = {
        name: np.cumsum(np.square(v)) / np.square(v).sum()
        for name, v in values_of(factors, scales).items()
    }

    def needed(share):
        return {n: int((each < share - 1e-9).sum()) + 1 for n, each in shares.items()}

    most = price(factors, {name: min(budget, len(a)) for name, (a, _) in factors.items()})
    candidates = sorted({float(v) for each in shares.values() for v in each})
    best = max(share for share in candidates if price(factors, needed(share)) <= most)
    assert ranks == needed(best)


@settings(max_examples=40, deadline=None)
@given(layers=LAYERS, seed=st.integers(0, 99), budget=st.integers(1, 4))
def test_gradient_keeps_the_most_importance_that_the_budget_allows(layers, seed, budget):
    factors, _, plan = plan_of("gradient", layers, seed)
    if budget >= plan.r_max:
        return
    worth = {name: np.square(each) for name, each in plan.values.items()}
    assert all((np.diff(each) <= 0).all() for each in worth.values())
    most = price(factors, {name: min(budget, len(a)) for name, (a, _) in factors.items()})
    choices = (
        dict(zip(factors, counts, strict=True))
        for counts in itertools.product(*(range(len(a) + 1) for a, _ in factors.values()))
    )

    def kept(found):
        return sum(float(worth[n][:rank].sum()) for n, rank in found.items())

    best = max(kept(found) for found in choices if price(factors, found) <= most)
    assert kept(plan.ranks(budget)) == pytest.approx(best)


@pytest.mark.parametrize(
    ("d_out", "d_in", "r", "tokens"), [(7, 9, 4, 50), (3, 9, 5, 50), (9, 3, 5, 50), (7, 9, 4, 2)]
)
def test_activation_is_the_closest_product_on_the_inputs(d_out, d_in, r, tokens):
    torch.manual_seed(0)
    a, b = torch.randn(r, d_in).double(), torch.randn(d_out, r).double()
    x = torch.randn(tokens, d_in).double() * torch.logspace(0, 2, d_in).double()
    y = x @ a.T
    new_a, new_b = activation_factors(a, b, y.T @ y)
    # Independent of the closed form: the root of the inputs' second moment, and Eckart-Young.
    values, vectors = torch.linalg.eigh(x.T @ x)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    best = torch.linalg.svdvals(b @ a @ root)
    scale = best[0].item()
    for rank in range(r + 1):
        error = torch.linalg.matrix_norm((b @ a - new_b[:, :rank] @ new_a[:rank]) @ root)
        assert error.item() == pytest.approx(
            math.sqrt(best[rank:].square().sum().item()), abs=1e-6 * scale
        )
    outputs = torch.linalg.matrix_norm(x @ (b @ a - new_b[:, :1] @ new_a[:1]).T)
    u, s, vh = torch.linalg.svd(b @ a)
    plain = torch.linalg.matrix_norm(x @ (b @ a - s[0] * u[:, :1] @ vh[:1]).T)
    assert outputs < plain


def test_products_that_are_all_zero_keep_a_uniform_rank():
    factors = {
        "q": (torch.randn(3, 4), torch.zeros(5, 3)),
        "v": (torch.zeros(3, 4), torch.zeros(5, 3)),
    }
    for truncation in ("energy", "global"):
        plan = plan_cuts(truncation, factors, {"q": 1.0, "v": 1.0})
        assert set(plan.ranks(2).values()) <= {1, 2}


def test_rows_of_no_importance_are_kept_at_full_rank():
    factors = {"q": (torch.eye(3, 4), torch.eye(5, 3)), "v": (torch.eye(3, 4), torch.eye(5, 3))}
    worth = {"q": torch.zeros(3).double(), "v": torch.tensor([0.0, 2.0, 1.0]).double()}
    plan: CutPlan = order_by_importance(factors, worth)
    assert plan.ranks(3) == {"q": 3, "v": 3}
    assert plan.ranks(1) == {"q": 0, "v": 2}
    torch.testing.assert_close(plan.factors["v"][0], torch.eye(3, 4)[[1, 2, 0]])
