"""The share of wrong verdicts, exactly: every outcome of a few seeds on a small development set."""

import functools
import itertools
import math

import numpy as np
import pytest
from scipy import stats

from dylora_exp.reporting.analysis.decisions import (
    FAILS,
    HOLDS,
    LEVEL,
    NO_DATA,
    Bounds,
    correct,
    decide,
    weigh,
)

BETTER = Bounds(above=0.0)
SIZES = {"rte": 277, "mrpc": 408}
SEEDS = (2, 3, 5)
# The share of the examples that a run gains over the other, and of those that it loses.
CHANGES = {2: (0.0005, 0.002, 0.005, 0.015), 3: (0.0005, 0.002, 0.005), 5: (0.0005, 0.002)}
RANKS = (1, 2, 3, 4)


@functools.cache
def differences(size, change):
    """Return the probabilities of gaining so many examples more than are lost, without effect."""
    most = int(stats.binom.isf(1e-6, size, change))
    gained = stats.binom.pmf(np.arange(most + 1), size, change)
    return dict(zip(range(-most, most + 1), np.convolve(gained, gained[::-1]), strict=True))


@functools.cache
def outcomes(size, change, seeds):
    """Return the probability of each sum and sum of squares over seeds, and a case of it.

    Student's t depends on nothing else, so that all outcomes are tried, none left to chance.
    """
    found = {(0, 0): (1.0, ())}
    for _ in range(seeds):
        longer = {}
        for (total, squares), (weight, case) in found.items():
            for examples, probability in differences(size, change).items():
                key = total + examples, squares + examples**2
                before = longer.get(key, (0.0, (*case, examples)))
                longer[key] = before[0] + weight * probability, before[1]
        found = longer
    return list(found.values())


def verdict(bounds, examples, size, floor):
    effects = {1: {seed: more / size for seed, more in enumerate(examples)}}
    return decide([weigh(bounds, effects, floor)])[0].word


def shares(size, change, seeds, floor):
    """Return how often each word is said of an effect that is not there."""
    found = dict.fromkeys((HOLDS, FAILS, NO_DATA), 0.0)
    for weight, examples in outcomes(size, change, seeds):
        found[verdict(BETTER, examples, size, floor)] += weight
    return found


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("known", [True, False], ids=["size known", "size unknown"])
def test_without_effect_no_more_than_the_level_is_decided_wrongly(size, seeds, known):
    for change in CHANGES[seeds]:
        found = shares(size, change, seeds, 1 / size if known else 0.0)
        assert sum(found.values()) == pytest.approx(1, abs=1e-4)
        assert found[HOLDS] <= LEVEL and found[FAILS] <= LEVEL, change


def test_the_simulation_sees_what_ties_do():
    """The rule without its two safeguards, on the same outcomes: two to seven times the level."""
    size, seeds = SIZES["mrpc"], 2
    held = failed = 0.0
    for weight, examples in outcomes(size, 0.002, seeds):
        middle = sum(examples) / seeds
        reach = stats.t.isf(LEVEL, seeds - 1) * np.std(examples, ddof=1) / math.sqrt(seeds)
        held += weight * (middle - reach > 0)
        failed += weight * (middle + reach <= 0)
    assert held > 2 * LEVEL and failed > 6 * LEVEL


def test_an_effect_that_is_there_is_found():
    """Otherwise a rule that never decides would pass."""
    size = SIZES["mrpc"]
    found = 0.0
    for weight, examples in outcomes(size, 0.005, 5):
        found += weight * (verdict(BETTER, [one + 8 for one in examples], size, 1 / size) == HOLDS)
    assert found > 0.99


def draws(count, shape, size, change, seed=0):
    numbers = np.random.default_rng(seed)
    gained, lost = (numbers.binomial(size, change, (count, *shape)) for _ in range(2))
    return (gained - lost) / size


def allowed(count):
    """Return the level with three standard errors of so many draws."""
    return LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / count)


@pytest.mark.parametrize("seeds", SEEDS)
def test_a_family_is_decided_wrongly_no_more_often_than_one_claim(seeds):
    """Five claims, each about four ranks, of which one alone has no effect, or of one rank."""
    size, count = SIZES["mrpc"], 1500
    wrong = dict.fromkeys((HOLDS, FAILS), 0)
    for tried in draws(count, (5, 4, seeds), size, 0.01):
        family = []
        for number, ranks in enumerate(tried):
            # The claims about each rank are wrong at their last rank alone: the hardest case.
            shown = RANKS if number < 3 else RANKS[-1:]
            by_rank = {
                rank: dict(enumerate(ranks[rank - 1] + (0.2 if rank < 4 else 0.0)))
                for rank in shown
            }
            family.append(weigh(BETTER, by_rank, 1 / size))
        words = {one.word for one in decide(family)}
        for word in wrong:
            wrong[word] += word in words
    assert max(wrong.values()) / count <= allowed(count)


@pytest.mark.parametrize("seeds", SEEDS)
def test_no_effect_at_any_of_four_ranks_fails_no_more_often_than_at_one(seeds):
    size, count = SIZES["rte"], 2000
    wrong = dict.fromkeys((HOLDS, FAILS, NO_DATA), 0)
    for tried in draws(count, (4, seeds), size, 0.02, seed=1):
        by_rank = {rank: dict(enumerate(tried[rank - 1])) for rank in RANKS}
        wrong[decide([weigh(BETTER, by_rank, 1 / size)])[0].word] += 1
    assert wrong[FAILS] / count <= allowed(count)
    assert wrong[HOLDS] / count <= allowed(count) / 2


def test_two_bounds_fail_no_more_often_than_one():
    """A narrow claim whose effect lies in its middle is wrong on either side."""
    count, narrow = 3000, Bounds(above=-1e-6, below=1e-6)
    numbers = np.random.default_rng(2).normal(0, 1, (count, 3))
    words = [decide([weigh(narrow, {1: dict(enumerate(row))})])[0].word for row in numbers]
    assert words.count(FAILS) / count <= allowed(count)
    assert words.count(HOLDS) == 0


def test_holm_by_hand():
    # .005 x 4, .01 x 3, .03 x 2, then .04 x 1, which may not be less than the one before.
    assert correct([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert correct([0.6, 0.7]) == [1, 1]
    assert correct([]) == []


def test_p_values_as_scipy_has_them():
    values = [0.01, 0.03, 0.02, 0.05]
    effects = {None: dict(enumerate(values))}
    less = stats.ttest_1samp(values, 0.06, alternative="less").pvalue
    more = stats.ttest_1samp(values, 0.005, alternative="greater").pvalue
    one = weigh(Bounds(0.005, 0.06), effects)
    assert one.holds[None] == pytest.approx(max(less, more))
    assert one.fails[None] == pytest.approx(min(1, 2 * min(1 - less, 1 - more)))
    assert weigh(Bounds(0.005), effects).holds[None] == pytest.approx(more)
    assert weigh(Bounds(below=0.06), effects).fails[None] == pytest.approx(1 - less)


@pytest.mark.parametrize(("mean", "deviation", "tests"), [(0.02, 0.03, 1), (-0.01, 0.01, 6)])
def test_the_seeds_that_would_decide(mean, deviation, tests):
    values = {1: mean - deviation / math.sqrt(2), 2: mean + deviation / math.sqrt(2)}
    found = decide([weigh(BETTER, {1: values})] * tests)[0]
    needed = next(
        seeds
        for seeds in itertools.count(3)
        if stats.t.isf(LEVEL / tests, seeds - 1) * deviation / math.sqrt(seeds) < abs(mean)
    )
    assert (found.word, found.seeds_needed) == (NO_DATA, needed)
    assert f"about {needed} seeds would decide" in found.reason


def test_a_mean_on_its_bound_is_decided_by_no_number_of_seeds():
    found = decide([weigh(BETTER, {1: {1: -0.01, 2: 0.01}})])[0]
    assert (found.seeds_needed, found.reason) == (
        *(None, "its interval crosses a bound; more seeds are needed"),
    )
