"""Cuts in stages against the best approximation of each product."""

import pytest
import torch
from transformers import TrainerState

from dylora_exp.adapters.layers import factors, lora_layers
from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.methods.base import Batch, make_method
from dylora_exp.methods.lora_squeeze import LoRASqueeze, stage_ranks
from tests.support.prepared import N, prepared

WORDS = ["method=lora-squeeze", "method.cut_at=[0.3,0.6]"]
STEPS = 10


def squeezed(*words):
    method, model, inputs = prepared(*WORDS, *words)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.01, weight_decay=0.1)
    (rotation,) = method.callbacks(model)
    rotation.on_train_begin(None, TrainerState(max_steps=STEPS), None)

    def step(number):
        state = TrainerState(max_steps=STEPS, global_step=number)
        rotation.on_step_begin(None, state, None, optimizer=optimizer)
        list(method.forward_passes(Batch(number, 0, 0, N)))
        model(**inputs).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return method, model, optimizer, rotation, step


def test_each_cut_is_the_best_approximation_and_the_rest_stays_zero():
    method, model, optimizer, rotation, step = squeezed()
    assert (method.stages, rotation.steps) == ([8, 4, 2], [3, 6])
    for number in range(STEPS):
        before = [factors(layer)[1] @ factors(layer)[0] for layer in lora_layers(model)]
        rank = 8 if number < 3 else 4 if number < 6 else 2
        if number in (3, 6):
            state = TrainerState(max_steps=STEPS, global_step=number)
            rotation.on_step_begin(None, state, None, optimizer=optimizer)
            for layer, product in zip(lora_layers(model), before, strict=True):
                a, b = factors(layer)
                assert a not in optimizer.state and b not in optimizer.state
                u, s, vh = torch.linalg.svd(product)
                best = u[:, :rank] * s[:rank] @ vh[:rank]
                torch.testing.assert_close(b @ a, best, rtol=0, atol=1e-10)
                torch.testing.assert_close(
                    b.T.square().sum(1)[:rank], s[:rank], rtol=1e-6, atol=1e-9
                )
        step(number)
        assert method.mask.ranks == (rank,)
        assert method.mask.tensor.tolist() == [1.0] * rank + [0.0] * (8 - rank)
        for layer in lora_layers(model):
            a, b = factors(layer)
            assert not a[rank:].any() and not b[:, rank:].any()
            assert a[rank - 1].any() and b[:, rank - 1].any()


def test_only_ranks_that_the_adapter_has_are_scored():
    method = make_method(compose(WORDS))
    assert [cut.rank for cut in method.cuts()] == [1, 2]
    few = make_method(compose([*WORDS, "ranks.score=[2,8]", "method.final_rank=3"]))
    assert [cut.rank for cut in few.cuts()] == [2]


def test_the_ranks_of_the_stages():
    assert stage_ranks(32, 4, 3) == [32, 16, 8, 4]
    assert stage_ranks(64, 1, 2) == [64, 8, 1]
    assert stage_ranks(8, 3, 1) == [8, 3]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["method.final_rank=8"], "method.final_rank: found 8, expected a rank below ranks.r_max"),
        (["ranks.score=[4,8]"], "ranks.score: found [4, 8], expected one up to"),
        (["method.cut_at=[]"], "method.cut_at: found [], expected ascending"),
        (["method.cut_at=[0.5,0.5]"], "method.cut_at: found [0.5, 0.5], expected ascending"),
        (["method.adapter=a.pt"], "method.adapter: method 'lora-squeeze' trains its own"),
        (["ranks.r_max=3"], "method.cut_at: found 2 cuts, expected fewer"),
        (["trainer.max_steps=2"], "trainer.max_steps: found 2, method 'lora-squeeze' needs"),
    ],
)
def test_what_does_not_go_together_is_refused(words, problem):
    found = LoRASqueeze.problems(compose([*WORDS, *words]))
    assert any(each.startswith(problem) for each in found)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["method.cut_at=[0.5,1]"], r"method.cut_at\[1\]: found 1"),
        (["ranks=geometric"], "it would change nothing, method 'lora-squeeze' draws no ranks"),
    ],
)
def test_what_is_out_of_bounds_or_without_effect_is_refused(words, problem):
    with pytest.raises(RequestError, match=problem):
        compose([*WORDS, *words])


def test_too_few_steps_of_an_epoch_are_refused():
    method = make_method(compose(WORDS))
    method.check_steps(3)
    with pytest.raises(RequestError, match="which is 2 optimizer steps, method 'lora-squeeze'"):
        method.check_steps(2)
