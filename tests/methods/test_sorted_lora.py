"""The rotation into the singular basis and what comes after it."""

import pytest
import torch
from torch import nn
from transformers import TrainerState

from dylora_exp.adapters.layers import factors, lora_layers
from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.methods.base import Batch, make_method
from dylora_exp.methods.sorted_lora import SortedLoRA
from dylora_exp.models.loading import load
from dylora_exp.runner.run import run_if_needed

STEPS = 10


def prepared(*words):
    config = compose(["method=sorted-lora", *words])
    torch.manual_seed(0)
    backbone, _ = load(config.model, labels=2)
    method = make_method(config)
    model = method.attach(backbone).eval()
    for layer in lora_layers(model):
        nn.init.normal_(factors(layer)[1], std=0.3)
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = method.optimizer_groups([{"params": trained, "weight_decay": 0.1}])
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    callbacks = method.callbacks(model)
    callbacks[0].on_train_begin(None, TrainerState(max_steps=STEPS), None)
    return method, model, optimizer, callbacks


def begin(callbacks, optimizer, step):
    state = TrainerState(max_steps=STEPS, global_step=step)
    callbacks[0].on_step_begin(None, state, None, optimizer=optimizer)


def test_factors_that_have_not_moved_can_still_move_after_the_rotation():
    """After steps at a learning rate of 0 the product is zero, and the factors are not both."""
    _, model, optimizer, callbacks = prepared()
    for layer in lora_layers(model):
        factors(layer)[1].data.zero_()
    before = [factors(layer)[0].clone() for layer in lora_layers(model)]
    begin(callbacks, optimizer, 8)
    for layer, a in zip(lora_layers(model), before, strict=True):
        assert a.any() and torch.equal(factors(layer)[0], a)


def test_the_rotation_keeps_the_function_and_sorts_the_factors():
    _, model, optimizer, callbacks = prepared()
    ids = torch.randint(5, 300, (4, 12), generator=torch.Generator().manual_seed(0))
    before = model(input_ids=ids).logits
    products = [factors(layer)[1] @ factors(layer)[0] for layer in lora_layers(model)]
    begin(callbacks, optimizer, 7)
    assert torch.equal(model(input_ids=ids).logits, before)
    begin(callbacks, optimizer, 8)
    assert not torch.equal(model(input_ids=ids).logits, before)
    torch.testing.assert_close(model(input_ids=ids).logits, before, rtol=0, atol=1e-5)
    for layer, product in zip(lora_layers(model), products, strict=True):
        a, b = factors(layer)
        u, s, vh = torch.linalg.svd(product.double())
        for rank in range(1, 9):
            best = u[:, :rank] * s[:rank] @ vh[:rank]
            ours = b[:, :rank].double() @ a[:rank].double()
            torch.testing.assert_close(ours, best, rtol=0, atol=1e-5)


def test_before_the_rotation_it_is_lora_and_after_it_a_sandwich():
    method, *_ = prepared()
    for step in range(STEPS):
        list(method.forward_passes(Batch(step, 0, 0, 8)))
        if step < 8:
            assert torch.equal(method.mask.tensor, torch.ones(8))
        else:
            ranks = method.ranks.ranks_of_examples(10, step, 0, 8)
            assert method.mask.ranks == tuple(ranks)
            assert ranks.count(8) >= 4
            expected = [[float(i < rank) for i in range(8)] for rank in ranks]
            assert method.mask.tensor.tolist() == expected
    assert method.drawn.total() == 16


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("freeze", ["released", "strict"])
def test_the_optimizers_moments_of_the_factors_are_reset_or_kept(kept, freeze):
    option = "keep" if kept else "reset"
    method, model, optimizer, callbacks = prepared(
        f"method.optimizer_state={option}", f"method.freeze={freeze}"
    )
    list(method.forward_passes(Batch(0, 0, 0, 4)))
    ids = torch.randint(5, 300, (4, 12))
    model(input_ids=ids, labels=torch.tensor([0, 1, 0, 1])).loss.backward()
    for callback in callbacks[1:]:
        callback.on_pre_optimizer_step(None, None, None)
    optimizer.step()
    before = len(optimizer.state)
    begin(callbacks, optimizer, 8)
    layers = len(list(lora_layers(model)))
    dropped = layers * 2 * (8 if freeze == "strict" else 1)
    assert len(optimizer.state) == before - (0 if kept else dropped)


@pytest.mark.parametrize(
    ("share", "steps", "expected"), [(0.8, 10, 8), (0.01, 10, 1), (0.99, 3, 2)]
)
def test_both_parts_have_at_least_one_step(share, steps, expected):
    _, _, _, callbacks = prepared(f"method.share={share}")
    callbacks[0].on_train_begin(None, TrainerState(max_steps=steps), None)
    assert callbacks[0].step == expected


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (["trainer.max_steps=1"], "trainer.max_steps: found 1"),
        (["trainer.epochs=1", "trainer.batch_size=96"], "trainer.epochs: found 1, which is one"),
        (["trainer.epochs=0.3", "trainer.batch_size=40"], "trainer.epochs: found 0.3, which is"),
        (["trainer.epochs=1", "trainer.accumulation_steps=3"], "trainer.epochs: found 1, which is"),
    ],
)
def test_a_single_step_has_no_room_for_a_rotation(words, field, tiny_words, tmp_path):
    overrides = [*tiny_words, "method=sorted-lora", "trainer.max_steps=null"]
    with pytest.raises(RequestError, match=field) as caught:
        run_if_needed(compose([*overrides, *words]))
    (problem,) = caught.value.problems
    assert problem.endswith("method 'sorted-lora' needs at least 2 steps.")
    assert not list(tmp_path.glob("results/runs/*.json"))


def test_two_steps_are_enough(tiny_words):
    words = ["method=sorted-lora", "trainer.max_steps=null", "trainer.epochs=2"]
    record = run_if_needed(compose([*tiny_words, *words, "trainer.batch_size=96"])).record
    assert (record.status, record.timing["steps"]) == ("completed", 2)


AGAIN = ["method.share=0.2", "method.sort_again=[0.4,0.6,0.8]"]


def test_sorting_again_rotates_at_each_share():
    method, model, optimizer, callbacks = prepared(*AGAIN)
    assert callbacks[0].steps == [2, 4, 6, 8]
    for step in range(STEPS):
        torch.manual_seed(step)
        for layer in lora_layers(model):
            nn.init.normal_(factors(layer)[0], std=0.3)
        layer = next(iter(lora_layers(model)))
        a, b = factors(layer)
        product = (b @ a).double()
        optimizer.state[a] = {"step": torch.tensor(1.0)}
        begin(callbacks, optimizer, step)
        assert ((b.double() @ a.double()) - product).abs().max() < 1e-4
        singular = torch.linalg.svdvals(product)[:8]
        is_sorted = torch.allclose(a.double().square().sum(1), singular, rtol=1e-4, atol=1e-5)
        assert is_sorted == (step in (2, 4, 6, 8))
        assert (a in optimizer.state) != is_sorted
        list(method.forward_passes(Batch(step, 0, 0, 8)))
        assert len(method.mask.ranks) == (1 if step < 2 else 8)


@pytest.mark.parametrize(
    ("steps", "expected"), [(5, [1, 2, 3, 4]), (6, [1, 2, 4, 5]), (100, [20, 40, 60, 80])]
)
def test_all_parts_have_at_least_one_step(steps, expected):
    _, _, _, callbacks = prepared(*AGAIN)
    callbacks[0].on_train_begin(None, TrainerState(max_steps=steps), None)
    assert callbacks[0].steps == expected


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (
            ["method.sort_again=[0.4,0.3]"],
            "method.sort_again: found [0.4, 0.3], expected ascending",
        ),
        (["method.share=0.8"], "method.sort_again: found [0.4, 0.6, 0.8], expected ascending"),
        (
            ["trainer.max_steps=4"],
            "trainer.max_steps: found 4, method 'sorted-lora' needs at least 5",
        ),
    ],
)
def test_shares_out_of_order_and_too_few_steps_are_refused(words, problem):
    (found,) = SortedLoRA.problems(compose(["method=sorted-lora", *AGAIN, *words]))
    assert found.startswith(problem)
    method = make_method(compose(["method=sorted-lora", *AGAIN]))
    method.check_steps(5)
    with pytest.raises(RequestError, match="which is 4 optimizer steps at"):
        method.check_steps(4)


def test_factors_that_are_not_trained_yet_stay_trainable():
    """A warm-up begins with a step at the learning rate 0, after which B is still zero."""
    _, model, optimizer, callbacks = prepared()
    first, *others = lora_layers(model)
    nn.init.zeros_(factors(first)[1])
    before = factors(first)[0].clone()
    begin(callbacks, optimizer, 8)
    assert torch.equal(factors(first)[0], before)
    for layer in others:
        a, b = factors(layer)
        torch.testing.assert_close(a.square().sum(1), b.square().sum(0), rtol=1e-4, atol=1e-6)
