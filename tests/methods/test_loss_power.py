"""Weighted losses against the sum that they estimate."""

import pytest
from transformers import TrainerState

from dylora_exp.config.composition import compose
from dylora_exp.methods.base import Batch, make_method
from dylora_exp.objectives.torch_parts.labels import mean_loss
from tests.support.prepared import N, assert_close, gradients, prepared


@pytest.mark.parametrize("power", [1, -0.5])
@pytest.mark.parametrize("every", ["step", "example"])
def test_each_draws_gradient_has_its_weight(power, every):
    words = ["method=dylora", "ranks=geometric", f"ranks.sample_every={every}"]
    method, model, inputs = prepared(*words, f"method.loss_power={power}")
    list(method.forward_passes(Batch(2, 0, 0, N)))
    ranks = method.mask.ranks
    loss = method.loss(model, inputs, mean_loss)
    loss.backward()
    found = gradients(model)
    each = [0.85**b for b in range(8)]  # p is 0.15
    mean = sum(p / sum(each) * b**power for b, p in enumerate(each, 1))
    plain = 0.0
    for index in range(N):
        rank = ranks[index if every == "example" else 0]
        method.mask.select(rank)
        one = {name: value[index : index + 1] for name, value in inputs.items()}
        own = mean_loss(model(input_ids=one["input_ids"]).logits, one["labels"]) / N
        (own * rank**power / mean).backward()
        plain += own.item()
    assert_close(found, gradients(model))
    assert loss.item() == pytest.approx(plain, rel=1e-12)  # the value stays the mean loss


@pytest.mark.parametrize("words", [[], ["ranks=geometric"], ["ranks=sandwich"]])
def test_the_weights_are_one_on_average(words):
    method = make_method(compose(["method=dylora-weighted", "method.loss_power=2", *words]))
    method.mask = type("Mask", (), {"ranks": tuple(range(1, 9))})
    weights = method.pass_weights()
    shares = method.ranks.shares
    assert sum(shares) == pytest.approx(1)
    assert sum(w * s for w, s in zip(weights, shares, strict=True)) == pytest.approx(1)
    assert [w / weights[0] for w in weights] == pytest.approx([b**2 for b in range(1, 9)])


def test_nested_dropout_has_the_weights_as_they_are():
    words = ["method=nested-dropout", "ranks.r_max=3", "method.loss_power=1"]
    assert make_method(compose(words)).weights == pytest.approx({1: 1 / 6, 2: 2 / 6, 3: 3 / 6})
    weighed = ["ranks=custom", "ranks.weights=[0.5,0,0.5]", "method.loss_weights=distribution"]
    found = make_method(compose([*words, *weighed, "ranks.r_max=3"])).weights
    assert found == pytest.approx({1: 1 / 4, 3: 3 / 4})


def test_before_a_rotation_the_loss_has_weight_one():
    method, model, _ = prepared("method=sorted-lora", "method.loss_power=1")
    rotation, *_ = method.callbacks(model)
    rotation.on_train_begin(None, TrainerState(max_steps=10), None)
    list(method.forward_passes(Batch(0, 0, 0, N)))
    assert method.pass_weights() == [1.0]
    list(method.forward_passes(Batch(9, 0, 0, N)))
    assert len(method.pass_weights()) == N
