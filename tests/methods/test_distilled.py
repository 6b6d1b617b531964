"""Distillation against the loss and gradients of single ranks, worked out one by one."""

import math

import pytest
import torch

from dylora_exp.core.errors import RequestError
from dylora_exp.methods.base import Batch
from dylora_exp.objectives.base import Objective
from dylora_exp.objectives.torch_parts.labels import mean_divergence, mean_loss
from tests.support.prepared import N, assert_close, gradients, prepared

WORDS = ["method=dylora-distilled", "method.distillation=0.7"]


def distilled(*words, labels=2):
    method, model, inputs = prepared(*WORDS, *words, labels=labels)
    method.divergence = lambda logits, target, _: mean_divergence(logits, target)
    (one,) = method.forward_passes(Batch(3, 0, 0, N))
    assert one.is_last
    loss = method.loss(model, inputs, mean_loss)
    loss.backward()
    return loss.item(), gradients(model), method.mask.ranks


def by_hand(ranks, labels=2, scale="alpha/b"):
    """Each example by itself at its rank; the divergence from its definition."""
    method, model, inputs = prepared(*WORDS, f"method.scale={scale}", labels=labels)
    ids, target = inputs["input_ids"], inputs["labels"]
    method.mask.select(8, scale)
    full = model(input_ids=ids).logits
    loss = mean_loss(full, target)
    for index, rank in enumerate(ranks):
        method.mask.select(rank, scale)
        drawn = model(input_ids=ids[index : index + 1]).logits[0]
        teacher = full[index].detach()
        if labels == 1:
            distance = (teacher[0] - drawn[0]) ** 2
        else:
            p, q = teacher.exp() / teacher.exp().sum(), drawn.exp() / drawn.exp().sum()
            distance = sum(p[i] * (p[i].log() - q[i].log()) for i in range(labels))
        loss = loss + 0.7 * distance / N
    loss.backward()
    return loss.item(), gradients(model)


@pytest.mark.parametrize(
    ("every", "labels", "scale"),
    [
        *(("example", 2, "alpha/b"), ("example", 3, "alpha/r"), ("example", 1, "alpha/b")),
        *(("step", 2, "alpha/r"), ("step", 3, "alpha/b"), ("step", 1, "alpha/sqrt(b)")),
    ],
)
def test_the_loss_is_that_of_r_max_and_the_divergence_of_each_drawn_rank(every, labels, scale):
    words = [f"ranks.sample_every={every}", f"method.scale={scale}"]
    loss, found, ranks = distilled(*words, labels=labels)
    assert ranks[:N] == (8,) * N
    assert len(ranks) == 2 * N and (len(set(ranks[N:])) > 1) == (every == "example")
    expected, theirs = by_hand(ranks[N:], labels, scale)
    assert loss == pytest.approx(expected, rel=1e-12)
    assert_close(found, theirs)


def test_an_example_drawn_at_r_max_has_nothing_to_learn_from_itself():
    loss, found, _ = distilled("ranks.values=[8]", "ranks.score=[8]")
    expected, theirs = by_hand([])
    assert loss == pytest.approx(expected, rel=1e-12)
    assert_close(found, theirs)


def test_the_drawn_ranks_are_those_of_the_ranks_group_and_of_the_record():
    method, *_ = prepared(*WORDS, "ranks=sandwich")
    list(method.forward_passes(Batch(5, 0, 0, N, rows=range(2, 5))))
    ranks = method.ranks.ranks_of_examples(10, 5, 0, N)
    assert method.mask.ranks == (8, 8, 8, *ranks[2:5])
    assert method.drawn.total() == N


def test_the_divergence_of_two_distributions():
    logits, target = torch.tensor([[0.0, math.log(3)]]), torch.tensor([[0.0, 0.0]])
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert mean_divergence(logits, target).item() == pytest.approx(expected, rel=1e-6)
    assert mean_divergence(target, target).item() == 0
    numbers = torch.tensor([[1.0], [3.0]]), torch.tensor([[1.5], [1.0]])
    assert mean_divergence(*numbers).item() == pytest.approx((0.25 + 4) / 2)
    assert mean_divergence(logits[:0], target[:0]).item() == 0


def test_an_objective_that_cannot_compare_outputs_is_named():
    class Other(Objective):
        def __init__(self, config):
            self.config = config

    method, *_ = prepared(*WORDS)
    with pytest.raises(RequestError, match="objective 'classification' cannot"):
        Other(method.config).divergence(None, None, None)
