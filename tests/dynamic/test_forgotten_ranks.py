"""A rank that nobody drew: an error at the second step; what is legal passes."""

import copy
import gc
import io
import weakref

import pytest
import torch
from accelerate import Accelerator
from transformers import Trainer, TrainerCallback, TrainingArguments

from dylora_exp import DynamicRanks, Ranks, RequestError, at_rank, make_dynamic, set_rank
from tests.support.tiny_llama import R, stock_lora

IDS = torch.arange(10).reshape(2, 5)
FORGOTTEN = "no rank was drawn since the last optimizer step"


def trained(model):
    return [p for p in model.parameters() if p.requires_grad]


def loss(model):
    return model(input_ids=IDS, labels=IDS).loss


def one_step(model, optimizer):
    loss(model).backward()
    optimizer.step()
    optimizer.zero_grad()


def trainer(model, folder, callbacks=(), eval_dataset=None, **settings):
    given = {"max_steps": 3, "use_cpu": True, "report_to": [], "disable_tqdm": True, **settings}
    rows = [{"input_ids": IDS[0], "labels": IDS[0]} for _ in range(32)]
    return Trainer(
        model,
        TrainingArguments(output_dir=str(folder), **given),
        train_dataset=rows,
        eval_dataset=eval_dataset,
        callbacks=list(callbacks),
    )


def test_a_trainer_without_the_callback_stops_at_the_second_step(tmp_path):
    model = stock_lora()
    handle = make_dynamic(model)
    forgetful = trainer(model, tmp_path)
    with pytest.raises(RuntimeError, match=r"callbacks=\[DynamicRanks\(handle\)\]"):
        forgetful.train()
    assert forgetful.state.global_step == 1
    trainer(model, tmp_path, callbacks=[DynamicRanks(handle)]).train()


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW, torch.optim.Adafactor])
@pytest.mark.parametrize("drawn", [0, 1])
def test_a_loop_stops_at_the_second_step(kind, drawn):
    model = stock_lora().train()
    handle = make_dynamic(model)
    optimizer = kind(trained(model), lr=0.01)
    for _ in range(drawn):
        handle.step()
    one_step(model, optimizer)
    with pytest.raises(RuntimeError, match=r"handle\.step\(\)"):
        loss(model)
    handle.step()
    one_step(model, optimizer)


def test_accelerate_wraps_model_and_optimizer():
    model = stock_lora().train()
    handle = make_dynamic(model)
    accelerator = Accelerator(cpu=True)
    wrapped, optimizer = accelerator.prepare(model, torch.optim.AdamW(trained(model), lr=0.01))
    handle.step()
    accelerator.backward(loss(wrapped))
    optimizer.step()
    with pytest.raises(RuntimeError, match=FORGOTTEN):
        loss(wrapped)


def test_a_model_inside_is_caught_by_the_optimizer():
    """The forward pass of the inner model does not pass through PEFT's."""
    model = stock_lora().train()
    make_dynamic(model)
    optimizer = torch.optim.SGD(trained(model), lr=0.01)
    one_step(model.get_base_model(), optimizer)
    before = [p.detach().clone() for p in trained(model)]
    with pytest.raises(RuntimeError, match=FORGOTTEN):
        one_step(model.get_base_model(), optimizer)
    assert all(map(torch.equal, before, trained(model)))


def test_what_is_legal_passes():
    model = stock_lora().train()
    handle = make_dynamic(model, seed=1)
    first = [p for n, p in model.named_parameters() if "lora_A" in n]
    second = [p for n, p in model.named_parameters() if "lora_B" in n]
    optimizers = [torch.optim.SGD(first, lr=0.01), torch.optim.SGD(second, lr=0.01)]
    for _ in range(3):
        rank = handle.step()
        for _ in range(2):  # accumulation
            loss(model).backward()
            assert handle.rank == rank
        for optimizer in optimizers:  # two of them for one model
            optimizer.step()
        assert handle.rank == R
        with torch.no_grad():
            loss(model)
        model.eval()
        loss(model)
        with at_rank(model, 2):
            loss(model)
        model.train()
    # An optimizer of something else.
    other = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    for _ in range(3):
        other(torch.ones(2)).sum().backward()
        optimizer.step()
    handle.step()
    one_step(model, optimizers[0])


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_draw_within_a_step_is_warned_of():
    model = stock_lora().train()
    handle = make_dynamic(model)
    optimizer = torch.optim.SGD(trained(model), lr=0.01)
    for _ in range(2):
        handle.step()
        handle.step()  # nothing was computed in between
        one_step(model, optimizer)
    handle.step()
    loss(model).backward()
    with pytest.raises(UserWarning, match="micro-batches of one step should have one rank"):
        handle.step()
    assert handle.step(3) == handle.step(3)
    one_step(model, optimizer)
    handle.step()


def test_accelerates_accumulation_has_one_rank_a_step():
    model = stock_lora().train()
    handle = make_dynamic(model, seed=2)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    wrapped, optimizer = accelerator.prepare(model, torch.optim.SGD(trained(model), lr=0.01))
    ranks = []
    for batch in range(8):
        handle.step(batch // 2)
        with accelerator.accumulate(wrapped):
            ranks.append(handle.rank)
            accelerator.backward(loss(wrapped))
            optimizer.step()
            optimizer.zero_grad()
    assert ranks == [handle.ranks.rank_of_step(2, batch // 2) for batch in range(8)]


def test_trainers_evaluate_and_save_at_full_rank(tmp_path):
    seen = []

    class Spy(TrainerCallback):
        def on_evaluate(self, args, state, control, **_):
            seen.append(handle.rank)

        on_save = on_log = on_train_end = on_evaluate

    model = stock_lora()
    handle = make_dynamic(model, Ranks.of(R, values=[1, 2]))
    low = trainer(
        model,
        tmp_path,
        callbacks=[Spy(), DynamicRanks(handle)],
        eval_dataset=[{"input_ids": IDS[0], "labels": IDS[0]}],
        eval_strategy="steps",
        eval_steps=1,
        save_steps=1,
        logging_steps=1,
    )
    losses = []
    evaluate = low.compute_loss

    def compute_loss(model, *rest, **more):
        losses.append((model.training, handle.rank))
        return evaluate(model, *rest, **more)

    low.compute_loss = compute_loss
    low.train()
    assert set(seen) == {R} and len(seen) >= 9
    assert {rank for training, rank in losses if not training} == {R}
    assert {rank for training, rank in losses if training} <= {1, 2}


def test_a_rank_chosen_by_hand_can_be_used_and_is_no_draw():
    model = stock_lora().train()
    make_dynamic(model)
    optimizer = torch.optim.SGD(trained(model), lr=0.01)
    one_step(model, optimizer)
    with at_rank(model, 3):
        loss(model)
    with pytest.raises(RuntimeError, match=FORGOTTEN):
        loss(model)
    set_rank(model, 2)
    loss(model).backward()
    before = [p.detach().clone() for p in trained(model)]
    with pytest.raises(RuntimeError, match=FORGOTTEN):
        optimizer.step()
    assert all(map(torch.equal, before, trained(model)))


def test_after_a_training_any_pass_may_be_made(tmp_path):
    model = stock_lora()
    handle = make_dynamic(model)
    trainer(model, tmp_path, callbacks=[DynamicRanks(handle)]).train()
    loss(model.train())
    optimizer = torch.optim.SGD(trained(model), lr=0.01)
    handle.step()
    one_step(model, optimizer)
    with pytest.raises(RuntimeError, match=r"To evaluate, call model\.eval\(\)"):
        loss(model)
    handle.finish()
    loss(model)


def test_gradient_checkpointing_computes_again_at_the_rank_of_the_step():
    gradients = []
    for checkpointing in (False, True):
        model = stock_lora().train()
        if checkpointing:
            model.enable_input_require_grads()
            model.gradient_checkpointing_enable({"use_reentrant": False})
        handle = make_dynamic(model, seed=1)
        assert handle.step(3) < R
        loss(model).backward()
        gradients.append([p.grad for p in trained(model)])
    assert all(map(torch.allclose, *gradients))


def test_a_removed_handle_checks_nothing_and_draws_nothing():
    model = stock_lora().train()
    handle = make_dynamic(model)
    optimizer = torch.optim.SGD(trained(model), lr=0.01)
    one_step(model, optimizer)
    handle.remove()
    one_step(model, optimizer)
    one_step(model, optimizer)
    with pytest.raises(RequestError, match="it was removed"):
        handle.step()
    make_dynamic(model).step()


def test_the_model_keeps_its_handle_and_nothing_else_does():
    model = stock_lora().train()
    alive = weakref.ref(make_dynamic(model))
    optimizer = torch.optim.SGD(trained(model), lr=0.01)
    gc.collect()
    one_step(model, optimizer)
    with pytest.raises(RuntimeError, match=FORGOTTEN):
        loss(model)
    del model, optimizer
    gc.collect()
    assert alive() is None


def test_a_copy_is_a_model_of_its_own():
    model = stock_lora().train()
    handle = make_dynamic(model, seed=1)
    optimizer = torch.optim.SGD(trained(model), lr=0.01)
    one_step(model, optimizer)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    for other in (copy.deepcopy(model), torch.load(buffer, weights_only=False)):
        with pytest.raises(RuntimeError, match=FORGOTTEN):
            loss(model)
        loss(other)
        set_rank(other, 2)
        assert handle.rank == R
        assert make_dynamic(other).step(0) <= R


def test_a_handle_resumes_where_it_was():
    handle = make_dynamic(stock_lora(), seed=5)
    ranks = [handle.step() for _ in range(10)]
    for _ in range(2):
        handle = make_dynamic(stock_lora(), seed=5)
        assert [handle.step() for _ in range(4)] == ranks[:4]
        state = handle.state_dict()
    again = make_dynamic(stock_lora(), seed=5)
    again.load_state_dict(state)
    assert [again.step() for _ in range(6)] == ranks[4:]
    assert again.step(2) == ranks[2] and again.step() == ranks[3]
    with pytest.raises(RequestError, match="state: its seed is 5, that of the handle 6"):
        make_dynamic(stock_lora(), seed=6).load_state_dict(state)
    with pytest.raises(RequestError, match="state: its seed is nothing"):
        again.load_state_dict({})
    with pytest.raises(RequestError, match="state: its next_step is -1"):
        again.load_state_dict(state | {"next_step": -1})


@pytest.mark.parametrize("t", [-1, 1.0, True, "2"])
def test_the_number_of_a_step_is_checked(t):
    with pytest.raises(RequestError, match="expected the 0-based number of a step"):
        make_dynamic(stock_lora()).step(t)


def test_the_callback_is_of_the_trainers_own_model(tmp_path):
    handle = make_dynamic(stock_lora())
    with pytest.raises(RequestError, match="another model than the handle's"):
        trainer(stock_lora(), tmp_path, callbacks=[DynamicRanks(handle)]).train()
    with pytest.raises(RequestError, match="expected what make_dynamic returns"):
        DynamicRanks(handle.model)
