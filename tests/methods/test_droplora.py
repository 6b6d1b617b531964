"""Random subsets of rows against sums over their members."""

import collections

import pytest
import torch

from dylora_exp.adapters.layers import factors, lora_layers, restored
from dylora_exp.methods.base import Batch
from tests.support.prepared import N, prepared

WORDS = ["method=droplora"]


@pytest.fixture(scope="module")
def alone():
    """Return the model of the same factors under PEFT's own LoRA, at the scale alpha/8."""
    return prepared("method=lora")[1]


def of_rows(alone, rows, factor, ids):
    """The outputs with the product of some rows alone, times a factor; without any mask."""
    with restored(alone):
        for layer in lora_layers(alone):
            a, b = factors(layer)
            kept = torch.zeros(len(a), dtype=torch.bool)
            kept[rows] = True
            a.data[~kept] = 0
            b.data *= factor
        return alone(input_ids=ids).logits


@pytest.mark.parametrize(
    ("every", "scale"), [("step", "alpha/b"), ("micro_batch", "alpha/r"), ("example", "alpha/b")]
)
def test_a_rank_is_the_sum_over_the_subset(every, scale, alone):
    words = [*WORDS, f"ranks.sample_every={every}", f"method.scale={scale}"]
    method, model, inputs = prepared(*words)
    batch = Batch(4, 1, N, N)
    list(method.forward_passes(batch))
    ids, ranks, weights = inputs["input_ids"], method.mask.ranks, method.mask.tensor
    assert len(ranks) == (N if every == "example" else 1)
    found = model(input_ids=ids).logits
    for index in range(N):
        rank = ranks[index if every == "example" else 0]
        mask = weights[index] if every == "example" else weights
        rows = mask.nonzero().flatten().tolist()
        assert len(rows) == rank
        times = 8 / rank if scale == "alpha/b" else 1
        expected = of_rows(alone, rows, times, ids[index : index + 1])[0]
        torch.testing.assert_close(found[index], expected, rtol=1e-9, atol=1e-10)


def test_all_subsets_of_a_size_are_equally_likely():
    """2,400 draws of 2 of 4: each of the six subsets has 400, standard deviation 18."""
    method, *_ = prepared(*WORDS, "ranks.r_max=4", "ranks.values=[2]")
    counts = collections.Counter()
    for step in range(2400):
        list(method.forward_passes(Batch(step, 0, 0, N)))
        counts[tuple(method.mask.tensor.nonzero().flatten().tolist())] += 1
    assert len(counts) == 6
    assert all(310 < count < 490 for count in counts.values())
    assert method.drawn == {2: 2400}


def test_a_subset_depends_on_seed_step_and_example_alone():
    words = [*WORDS, "ranks=per-example"]
    method, *_ = prepared(*words)
    list(method.forward_passes(Batch(7, 0, 0, N)))
    whole = method.mask.tensor
    other, *_ = prepared(*words)
    list(other.forward_passes(Batch(6, 0, 0, N)))
    assert not torch.equal(other.mask.tensor, whole)
    list(other.forward_passes(Batch(7, 0, 0, N, rows=range(3, 5))))
    assert torch.equal(other.mask.tensor, whole[3:5])
    assert len({tuple(row.tolist()) for row in whole}) > 1
