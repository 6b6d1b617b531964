"""Learning rates of rows against AdamW with a parameter and a learning rate for each row."""

import pytest
import torch
from transformers import TrainerState

from dylora_exp.adapters.layers import factors, lora_layers
from dylora_exp.config.composition import compose
from dylora_exp.methods.base import make_method
from tests.support.prepared import prepared

WORDS = ["method=dylora-row-rates"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], [8 / (9 - row) for row in range(1, 9)]),
        (["method.update=row"], [8] * 8),
        (["ranks=custom", "ranks.r_max=2", "ranks.weights=[0.25,0.75]"], [1, 4 / 3]),
        (["ranks.r_max=4", "ranks.values=[1,3]"], [1, 2, 2, 1]),  # row 4 is of no rank
        (["ranks=sandwich", "ranks.r_max=2"], [1, 4 / 3]),
    ],
)
def test_the_rates_are_one_over_the_share_of_draws(words, expected):
    method = make_method(compose([*WORDS, *words]))
    assert method.row_rates(0) == pytest.approx(expected, rel=1e-12)


def test_a_drawn_row_takes_part_in_that_share_of_the_steps():
    method = make_method(compose([*WORDS, "ranks=geometric"]))
    counts = [0] * 8
    for step in range(4000):
        for row in range(method.ranks.rank_of_step(10, step)):
            counts[row] += 1
    for count, rate in zip(counts, method.row_rates(0), strict=True):
        assert count / 4000 == pytest.approx(1 / rate, abs=0.03)


def test_each_row_moves_as_by_an_adamw_of_its_own():
    method, model, _ = prepared(*WORDS)
    layer = next(iter(lora_layers(model)))
    (callback,) = method.callbacks(model)
    rows = [
        [torch.nn.Parameter(piece.clone()) for piece in factor.data.unbind(dim)]
        for dim, factor in enumerate(factors(layer))
    ]
    rates = [8 / (9 - row) for row in range(1, 9)]
    own = {"lr": 0.01, "weight_decay": 0.1}
    stock = torch.optim.AdamW(factors(layer), **own)
    theirs = torch.optim.AdamW(
        [{"params": [a, b], "lr": 0.01 * rate} for a, b, rate in zip(*rows, rates, strict=True)],
        **own,
    )
    generator = torch.Generator().manual_seed(2)
    for step in range(5):
        for dim, factor in enumerate(factors(layer)):
            factor.grad = torch.randn(factor.shape, generator=generator, dtype=torch.float64)
            for row, piece in zip(rows[dim], factor.grad.unbind(dim), strict=True):
                row.grad = piece.clone()
        state = TrainerState(global_step=step)
        callback.on_pre_optimizer_step(None, state, None)
        stock.step()
        first = factors(layer)[0].data[0].clone()
        callback.on_optimizer_step(None, state, None)
        assert torch.equal(factors(layer)[0].data[0], first)  # its rate is 1
        theirs.step()
        for dim, factor in enumerate(factors(layer)):
            torch.testing.assert_close(
                factor.data, torch.stack([r.data for r in rows[dim]], dim), rtol=1e-12, atol=1e-14
            )


def test_before_a_rotation_all_rows_have_the_same_rate():
    method, model, _ = prepared("method=sorted-lora", "method.row_rates=by_share")
    rotation, _ = method.callbacks(model)
    rotation.on_train_begin(None, TrainerState(max_steps=10), None)
    assert method.row_rates(7) == [1.0] * 8
    assert method.row_rates(8) == pytest.approx(
        [1 / (0.5 + 0.5 * (9 - i) / 8) for i in range(1, 9)]
    )
