"""Which rank each layer keeps: by its share of energy, or by one budget for all layers.

Energy is the sum of squared singular values. Cutting a layer to its k largest ones discards the
energy of the others (Eckart-Young), and k ranks of a layer cost ``k (d_in + d_out)`` parameters.

Under a budget the discarded energy of all layers together shall be least. Layers of one shape are
pooled: their largest values come first. With several shapes it is a knapsack problem of few
classes with sorted items, which the greedy choice by energy per parameter does not always solve.
``budget_ranks`` solves it exactly: the relaxation that may take parts of an item bounds every
choice from above, what cannot beat the best choice known is left out, and of two partial choices
one that costs no less and keeps no more (Nemhauser and Ullmann 1969).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
# The singular values of each layer by its name, descending.
Spectra: TypeAlias = Mapping[str, Array]

# Below this share of a layer's largest singular value, values are the rounding of zeros.
_NOISE = 1e-12
# Below this share of all energy, a difference is rounding.
_ROUNDING = 1e-13
# How many partial choices the first, narrow search follows, and the second, exact one: it meets so
# many only where all values of many shapes keep the same energy per parameter, and there the first
# has mostly spent the budget to the last parameter. How many are worked out at once.
_BEAM, _MOST, _BLOCK = 2048, 2**18, 2**21


def energies(values: Array) -> Array:
    """Return squared singular values, those that are but rounding as zeros.

    Args:
        values: Of one layer, descending, shape (k,).
    """
    squares = np.square(np.asarray(values, dtype=np.float64))
    largest = squares[0] if len(squares) else 0.0
    return np.where(squares > _NOISE**2 * largest, squares, 0.0)


def energy_ranks(spectra: Spectra, share: float) -> dict[str, int]:
    """Return for each layer the smallest rank that keeps a share of its energy, at least 1.

    As PEFT's ``convert_to_lora`` reads a rank that is a fraction.

    Args:
        spectra: The singular values of each layer.
        share: Above 0, at most 1.
    """
    ranks = {}
    for layer, values in spectra.items():
        kept = np.cumsum(energies(values))
        ranks[layer] = int(np.searchsorted(kept, share * kept[-1])) + 1
    return ranks


def energy_budget_ranks(spectra: Spectra, costs: Mapping[str, int], budget: int) -> dict[str, int]:
    """Return the ranks by the largest share of energy, the same in every layer, within a budget.

    Each layer keeps the smallest rank that has the share, at least 1. Ranks change only where the
    share passes what the first values of a layer have, so that all of these are the candidates.

    Args:
        spectra: The singular values of each layer.
        costs: The parameters of one rank of each layer.
        budget: The most parameters that all ranks together may have; one rank each must fit.
    """
    shares = {}
    for layer, values in spectra.items():
        kept = np.cumsum(energies(values))
        shares[layer] = kept / kept[-1] if len(kept) and kept[-1] else np.ones(1)

    def ranks(share: float) -> dict[str, int]:
        return {layer: int(np.searchsorted(each, share)) + 1 for layer, each in shares.items()}

    candidates = np.unique(np.concatenate(list(shares.values())))
    low, high = 0, len(candidates) - 1  # the first is affordable: one rank each
    while low < high:
        middle = (low + high + 1) // 2
        found = ranks(candidates[middle])
        if sum(costs[layer] * rank for layer, rank in found.items()) <= budget:
            low = middle
        else:
            high = middle - 1
    return ranks(candidates[low])


def budget_ranks(spectra: Spectra, costs: Mapping[str, int], budget: int) -> dict[str, int]:
    """Return the ranks of all layers that discard the least energy within a budget.

    A layer may get no rank at all. Zero singular values are left out, whatever the budget.

    Args:
        spectra: The singular values of each layer.
        costs: The parameters of one rank of each layer.
        budget: The most parameters that all ranks together may have.
    """
    classes = _classes(spectra, costs)
    ranks = dict.fromkeys(spectra, 0)
    for group, count in zip(classes, _best_counts(classes, budget), strict=True):
        for layer in group.layers[:count]:
            ranks[layer] += 1
    return ranks


@dataclass(frozen=True)
class _Class:
    """All singular values of the layers in which a rank costs the same.

    Attributes:
        cost: The parameters of a rank.
        gains: The energies, descending.
        layers: The layer of each.
    """

    cost: int
    gains: Array
    layers: list[str]

    @property
    def kept(self) -> Array:
        """The energy of the first k values, k = 0, 1, ..."""
        return np.concatenate([[0.0], np.cumsum(self.gains)])


def _classes(spectra: Spectra, costs: Mapping[str, int]) -> list[_Class]:
    found = []
    for cost in sorted({costs[layer] for layer in spectra}):
        gains = {name: energies(spectra[name]) for name in spectra if costs[name] == cost}
        pooled = np.concatenate(list(gains.values()))
        layers = [name for name, each in gains.items() for _ in each]
        order = [i for i in np.argsort(-pooled, kind="stable") if pooled[i] > 0]
        if order:
            found.append(_Class(cost, pooled[order], [layers[i] for i in order]))
    # The last class is chosen by division: the longest.
    return sorted(found, key=lambda each: len(each.gains))


class _Relaxation:
    """The most energy that a budget can keep where it may take parts of values."""

    def __init__(self, classes: Sequence[_Class]) -> None:
        gains = np.concatenate([[], *(each.gains for each in classes)])
        costs = np.concatenate([[], *(np.full(len(c.gains), float(c.cost)) for c in classes)])
        order = np.argsort(-gains / costs, kind="stable")
        self._costs = np.concatenate([[0.0], np.cumsum(costs[order])])
        self._kept = np.concatenate([[0.0], np.cumsum(gains[order])])

    def bound(self, budgets: Array) -> Array:
        return np.interp(budgets, self._costs, self._kept)


def _best_counts(classes: Sequence[_Class], budget: int) -> list[int]:
    """Return how many values of each class to keep."""
    if not classes:
        return []
    best = _greedy(classes, budget)
    # A good choice leaves little to the exact search, whatever ties there are.
    for width in (_BEAM, _MOST):
        best = _search(classes, budget, best, width) or best
    return best


def _search(
    classes: Sequence[_Class], budget: int, best: list[int], width: int
) -> list[int] | None:
    """Return the best counts if they keep more than those known, else None.

    Args:
        classes: The values.
        budget: The most that they may cost.
        best: The counts known.
        width: How many partial choices to follow, the most promising.
    """
    slack = _ROUNDING * sum(group.kept[-1] for group in classes)
    least = sum(group.kept[count] for group, count in zip(classes, best, strict=True)) + slack
    costs, kept = np.zeros(1), np.zeros(1)
    steps: list[tuple[Array, Array]] = []  # of each class: the partial choice before, the count
    for index, group in enumerate(classes[:-1]):
        counts = _candidates(classes, index, budget, least)
        rest = _Relaxation(classes[index + 1 :])
        blocks = []
        size = max(1, _BLOCK // max(1, len(counts)))
        for start in range(0, len(costs), size):
            new_costs = costs[start : start + size, None] + group.cost * counts
            new_kept = kept[start : start + size, None] + group.kept[counts]
            bounds = new_kept + rest.bound(budget - new_costs)
            states, columns = np.nonzero((new_costs <= budget) & (bounds > least))
            found = (states, columns)
            blocks.append(
                (start + states, counts[columns], new_costs[found], new_kept[found], bounds[found])
            )
        before, taken, costs, kept, bounds = map(np.concatenate, zip(*blocks, strict=True))
        if len(costs) > width and index < len(classes) - 2:
            # Ties are broken at random, so that what is left of the budget differs.
            chance = np.random.default_rng(0).random(len(bounds))
            chosen = np.lexsort((chance, -bounds))[:width]
        else:
            chosen = np.arange(len(costs))
        # By cost and then by energy, descending: what keeps no more than a cheaper one is out.
        chosen = chosen[np.lexsort((-kept[chosen], costs[chosen]))]
        record = np.maximum.accumulate(np.concatenate([[-1.0], kept[chosen]]))[:-1]
        chosen = chosen[kept[chosen] > record]
        if not len(chosen):
            return None
        steps.append((before[chosen], taken[chosen]))
        costs, kept = costs[chosen], kept[chosen]
    last = classes[-1]
    counts = np.minimum((budget - costs) // last.cost, len(last.gains)).astype(int)
    totals = kept + last.kept[counts]
    state = int(np.argmax(totals))
    if totals[state] <= least:
        return None
    found_counts = [int(counts[state])]
    for before, taken in reversed(steps):
        found_counts.append(int(taken[state]))
        state = int(before[state])
    return found_counts[::-1]


def _candidates(classes: Sequence[_Class], index: int, budget: int, least: float) -> Array:
    """Return the counts of a class with which more than ``least`` energy may be kept."""
    group = classes[index]
    counts = np.arange(min(len(group.gains), budget // group.cost) + 1)
    others = _Relaxation([each for i, each in enumerate(classes) if i != index])
    return counts[group.kept[counts] + others.bound(budget - group.cost * counts) > least]


def _greedy(classes: Sequence[_Class], budget: int) -> list[int]:
    """Return the counts of the greedy choice by energy per parameter, filled up with what fits."""
    owners = np.concatenate([np.full(len(each.gains), i) for i, each in enumerate(classes)])
    ratios = np.concatenate([each.gains / each.cost for each in classes])
    counts, full = [0] * len(classes), [False] * len(classes)
    for owner in owners[np.argsort(-ratios, kind="stable")]:
        if not full[owner] and classes[owner].cost <= budget:
            counts[owner] += 1
            budget -= classes[owner].cost
        else:
            full[owner] = True
    return counts
