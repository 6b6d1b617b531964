"""FLOP: gates, factors, the Lagrangian, and what is left at the end."""

import copy
import math

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2ForSequenceClassification, TrainerCallback

from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.methods import flop
from dylora_exp.methods.base import Batch, make_method
from dylora_exp.methods.torch_parts import flop_layers
from dylora_exp.methods.torch_parts.hard_concrete import Gates
from dylora_exp.models.loading import load
from dylora_exp.runner.preflight import check
from dylora_exp.runner.run import RunFailed, run_if_needed
from dylora_exp.tasks.base import read
from tests.support.architectures import ENCODERS, LANGUAGE_MODELS, save_base


def attached(*words):
    config = compose(["method=flop", *words])
    torch.manual_seed(0)
    backbone, _ = load(config.model, labels=2)
    method = make_method(config)
    return method.attach(backbone), method


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def logits(model):
    ids = torch.randint(5, 400, (4, 12), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return model.eval()(input_ids=ids).logits


def scatter_gates(method):
    """Leave gates as after training: closed, open and some between, other counts everywhere."""
    for index, layer in enumerate(method.layers.values()):
        nn.init.normal_(layer.gates.log_alpha, mean=-2.0 + 0.2 * index, std=3.0)


@pytest.mark.parametrize(
    ("drop_rate", "is_open", "mean"),
    [(0.5, 0.91667, 0.5), (0.1, 0.99, 0.85341), (0.05, 0.99524, 0.91862)],
)
def test_the_closed_forms_are_those_of_the_draws(drop_rate, is_open, mean):
    torch.manual_seed(0)
    gates = Gates(2_000_000, drop_rate)
    gates.log_alpha.data.fill_(math.log((1 - drop_rate) / drop_rate))
    drawn = gates()
    assert (drawn > 0).double().mean().item() == pytest.approx(is_open, abs=1e-3)
    assert drawn.double().mean().item() == pytest.approx(mean, abs=1e-3)
    assert gates.open_probability()[0].item() == pytest.approx(is_open, abs=1e-5)
    assert gates.expected()[0].item() == pytest.approx(mean, abs=1e-5)


def test_the_mean_gate_is_smooth_through_the_middle_and_ends_at_0_and_1():
    gates = Gates(7, 0.5)
    gates.log_alpha.data = torch.tensor([-80.0, -1e-3, -1e-8, 0.0, 1e-8, 1e-3, 80.0])
    low, *middle, high = gates.expected().tolist()
    assert (low, high) == (pytest.approx(0.0, abs=1e-6), pytest.approx(1.0, abs=1e-6))
    assert middle == sorted(middle)
    assert middle == pytest.approx([0.5] * 5, abs=1e-3)


def test_the_authors_value_of_a_gate_is_close_to_its_mean():
    gates = Gates(4001, 0.5)
    gates.log_alpha.data = torch.linspace(-20, 20, 4001)
    by_hand = [1 / (1 + math.exp(-0.8 * x)) for x in (-20 + i / 100 for i in range(4001))]
    assert gates.sigmoid().tolist() == pytest.approx(by_hand, abs=1e-6)
    assert (gates.sigmoid() - gates.expected()).abs().max().item() == pytest.approx(0.007, abs=5e-4)


def test_a_kept_gate_has_the_value_that_was_asked_for():
    log_alpha = torch.tensor([2.0, -9.0, 0.5, -9.0, 1.0])
    found = {}
    for value in ("expected", "sigmoid"):
        layer = flop_layers.GatedLinear(torch.eye(5), None, 0.05, value).eval()
        layer.gates.log_alpha.data = log_alpha.clone()
        found[value] = layer.gates()
        kept = [0, 2, 4]
        assert layer.gates.kept().tolist() == kept
        # What is folded into the factors is what is scored before.
        compact = layer.compact()
        torch.testing.assert_close(compact.down, found[value][kept, None] * layer.down[kept])
        torch.testing.assert_close(compact(torch.eye(5)), layer(torch.eye(5)))
    sigmoid = [1 / (1 + math.exp(-0.8 * x)) for x in (2.0, 0.5, 1.0)]
    assert found["sigmoid"][[0, 2, 4]].tolist() == pytest.approx(sigmoid, abs=1e-6)
    assert found["sigmoid"][[1, 3]].tolist() == [0, 0]
    assert (found["sigmoid"] - found["expected"]).abs().max() > 1e-3


def test_gates_start_around_the_drop_rate():
    torch.manual_seed(0)
    log_alpha = Gates(10_000, 0.05).log_alpha
    assert log_alpha.mean().item() == pytest.approx(math.log(19), abs=1e-3)
    assert log_alpha.std().item() == pytest.approx(0.01, rel=0.05)


def test_the_expected_number_of_ranks_is_kept_and_they_are_the_largest():
    gates = Gates(6, 0.5).eval()
    gates.log_alpha.data = torch.tensor([9.0, -9.0, 0.0, 9.0, -3.0, -9.0])
    assert gates.open_probability().sum().item() == pytest.approx(3.27, abs=0.01)
    assert gates.kept().tolist() == [0, 2, 3]
    assert (gates() > 0).tolist() == [True, False, True, True, False, False]


@pytest.mark.parametrize("shape", [(64, 64), (128, 64), (64, 128)])
def test_the_factors_are_exact_and_balanced_at_full_rank(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    layer = flop_layers.GatedLinear(weight, nn.Parameter(torch.ones(shape[0])), 0.05).eval()
    assert layer.rank == min(shape)
    nn.init.constant_(layer.gates.log_alpha, 80.0)
    x = torch.randn(5, shape[1])
    expected = nn.functional.linear(x, weight, layer.bias)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(layer.up @ layer.down, weight, rtol=0, atol=1e-5)
    # U and V are orthonormal: both Gram matrices are the singular values.
    torch.testing.assert_close(layer.up.T @ layer.up, layer.down @ layer.down.T, atol=1e-4, rtol=0)


def test_a_model_with_open_gates_is_the_backbone():
    config = compose(["method=flop"])
    torch.manual_seed(0)
    backbone, _ = load(config.model, labels=2)
    before = logits(backbone)
    method = make_method(config)
    model = method.attach(backbone)
    for layer in method.layers.values():
        nn.init.constant_(layer.gates.log_alpha, 80.0)
    torch.testing.assert_close(logits(model), before, rtol=0, atol=1e-5)


def test_the_layers_of_the_stack_are_factorised_and_no_others():
    _, method = attached()
    kinds = ["attention.self.query", "attention.self.key", "attention.self.value"]
    kinds += ["attention.output.dense", "intermediate.dense", "output.dense"]
    assert set(method.layers) == {f"roberta.encoder.layer.{i}.{k}" for i in range(3) for k in kinds}


def test_transposed_layers_are_factorised_too():
    config = compose(["method=flop"])
    torch.manual_seed(0)
    backbone = GPT2ForSequenceClassification(
        GPT2Config(vocab_size=423, n_embd=32, n_layer=2, n_head=2, pad_token_id=0)
    )
    before = logits(backbone)
    method = make_method(config)
    model = method.attach(backbone)
    assert len(method.layers) == 8
    assert method.layers["transformer.h.0.attn.c_attn"].up.shape == (96, 32)
    for layer in method.layers.values():
        nn.init.constant_(layer.gates.log_alpha, 80.0)
    torch.testing.assert_close(logits(model), before, rtol=0, atol=1e-5)


@pytest.mark.parametrize("gate_value", ["expected", "sigmoid"])
@pytest.mark.parametrize("final_count", ["expected", "target"])
def test_the_compact_model_computes_what_the_gated_one_did(final_count, gate_value):
    words = [f"method.final_count={final_count}", f"method.gate_value={gate_value}"]
    model, method = attached(*words)
    scatter_gates(method)
    gated = copy.deepcopy(model)
    if final_count == "target":
        method.close_gap()
        gated = copy.deepcopy(model)
        assert method.removed().item() == pytest.approx(0.684, abs=1e-5)
    compact = method.finish(model)
    torch.testing.assert_close(logits(compact), logits(gated), rtol=0, atol=1e-4)
    told = method.training_stats(compact)
    names = [name for name, _ in compact.named_parameters()]
    assert not any("gates" in name or "multipliers" in name for name in names)
    assert told["remaining_parameters"] == parameters(compact)
    assert told["target_parameters"] == 120_924
    if final_count == "target":
        assert told["remaining_parameters"] == pytest.approx(120_924, rel=0.01)
    query = compact.get_submodule("roberta.encoder.layer.0.attention.self.query")
    rank = told["layer_ranks"]["roberta.encoder.layer.0.attention.self.query"]
    assert (query.down.shape, query.up.shape) == ((rank, 64), (64, rank))


def test_a_layer_may_keep_nothing_and_one_that_keeps_all_is_said_to_be_smaller_merged():
    model, method = attached("method.final_count=expected")
    for index, layer in enumerate(method.layers.values()):
        nn.init.constant_(layer.gates.log_alpha, 80.0 if index else -80.0)
    compact = method.finish(model)
    assert logits(compact).isfinite().all()
    told = method.training_stats(compact)
    assert list(told["layer_ranks"].values())[:2] == [0, 64]
    assert told["remaining_parameters_if_merged"] == 164_866 - 64 * 64


def test_the_multipliers_ascend_and_the_gates_descend():
    model, method = attached("method.gate_learning_rate=0.1", "method.multiplier_learning_rate=0.1")
    gates = {layer.gates.log_alpha for layer in method.layers.values()}
    multipliers = set(method.multipliers.parameters())
    groups = method.optimizer_groups([{"params": list(model.parameters()), "weight_decay": 0.1}])
    weights, of_gates, of_multipliers = groups
    assert weights["lr"] == pytest.approx(0.1 * 5e-3)
    assert set(of_gates["params"]) == gates
    assert set(of_multipliers["params"]) == multipliers
    assert of_gates["weight_decay"] == of_multipliers["weight_decay"] == 0
    assert not (gates | multipliers) & set(weights["params"])
    assert len(weights["params"]) + len(gates) + 2 == len(list(model.parameters()))

    method.step_target = 0.5  # above s: removing more is what the constraint asks for
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    method.constraint().backward()
    gap = (method.removed() - 0.5).item()
    assert method.multipliers.linear.grad.item() == pytest.approx(gap)
    assert method.multipliers.quadratic.grad.item() == pytest.approx(gap**2)
    optimizer.step()
    assert method.multipliers.linear.item() == pytest.approx(-0.1, rel=1e-3)  # uphill: gap < 0
    assert method.multipliers.quadratic.item() == pytest.approx(0.1, rel=1e-3)
    before = method.removed().item()
    optimizer.zero_grad()
    method.constraint().backward()
    optimizer.step()
    assert method.removed().item() > before


def test_the_loss_in_training_is_the_tasks_and_the_constraint():
    model, method = attached()
    nn.init.constant_(method.multipliers.linear, 3.0)
    nn.init.constant_(method.multipliers.quadratic, 5.0)
    method.step_target = 0.5
    gap = method.removed() - 0.5
    batch = {"input_ids": torch.full((2, 5), 7), "labels": torch.tensor([0, 1])}
    model.train()
    torch.manual_seed(0)
    task = cross_entropy(model(batch["input_ids"]).logits, batch["labels"])
    torch.manual_seed(0)
    torch.testing.assert_close(
        method.loss(model, batch, cross_entropy), task + 3 * gap + 5 * gap**2
    )
    assert model.eval()(batch["input_ids"]).loss is None


def test_the_share_removed_weighs_ranks_by_their_weights():
    _, method = attached()
    for name, layer in method.layers.items():
        nn.init.constant_(layer.gates.log_alpha, -80.0 if "intermediate" in name else 80.0)
    assert method.full == 172_032
    removed = 3 * 64 * (64 + 128) / 172_032
    assert method.removed().item() == pytest.approx(removed, abs=1e-6)


def test_the_target_grows_in_a_line_and_depends_on_the_step_alone():
    _, method = attached("method.anneal_share=0.5")
    method.total_steps = 80
    targets = [method.annealed(step) for step in (0, 10, 40, 79)]
    assert targets == pytest.approx([0.0, 0.171, 0.684, 0.684])
    next(method.forward_passes(Batch(step=10, index=0, first=0, size=8)))
    assert method.step_target == pytest.approx(0.171)


def test_target_parameters_go_before_the_sparsity_of_the_yaml():
    _, method = attached("method.target_parameters=110e3")
    rest = 164_866 - 98_304
    assert method.target == pytest.approx(1 - (110_000 - rest) / 172_032)
    assert method.target_parameters == 110_000


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("method.target_parameters=80e6", "found 80,000,000, expected more than 66,562"),
        ("method.target_parameters=66562", "at most 164,866"),
        ("method.target_sparsity=0.2", "found 0.2, expected at least 0.4286"),
    ],
)
def test_targets_that_cannot_be_reached(word, message):
    with pytest.raises(RequestError, match=message):
        attached(word)


def test_a_run_without_a_target():
    with pytest.raises(RequestError, match=r"method\.target_sparsity: found null"):
        check(compose(["method=flop", "method.target_sparsity=null"]))


def test_weights_alone_are_not_clipped_where_nothing_is():
    words = ["method=flop", "method.clip=weights", "trainer.max_grad_norm=0"]
    with pytest.raises(RequestError, match=r"method\.clip: found weights, .* is 0"):
        check(compose(words))


class Killed(Exception):
    pass


class NoteGradients(TrainerCallback):
    """Keeps the gradients of the first step, as the optimizer sees them."""

    def __init__(self, model, notes):
        self.model, self.notes = model, notes

    def on_pre_optimizer_step(self, args, state, control, **_):
        if state.global_step == 0:
            self.notes.update(
                {n: p.grad.clone() for n, p in self.model.named_parameters() if p.grad is not None}
            )


def norm(gradients):
    return math.sqrt(sum(each.double().square().sum().item() for each in gradients))


@pytest.mark.slow
def test_what_is_clipped_is_the_weights_alone_or_everything_together(tmp_path, monkeypatch):
    """Two micro-batches a step: what is clipped is their sum."""
    sizes = ["task.max_train_samples=32", "task.max_eval_samples=8", "trainer.batch_size=8"]
    sizes += ["trainer.max_steps=1", "trainer.accumulation_steps=2"]
    callbacks, found = flop.FLOP.callbacks, {}
    limit = 0.05
    for name, words in {
        "not": ["trainer.max_grad_norm=1e9"],
        "all": [f"trainer.max_grad_norm={limit}"],
        "weights": [f"trainer.max_grad_norm={limit}", "method.clip=weights"],
    }.items():
        notes = found[name] = {}
        with monkeypatch.context() as patch:
            patch.setattr(
                flop.FLOP,
                "callbacks",
                lambda m, model, notes=notes: [*callbacks(m, model), NoteGradients(model, notes)],
            )
            ran(tmp_path / name, *sizes, *words)
    others = {name for name in found["not"] if "log_alpha" in name or "multipliers" in name}
    assert len(others) == 18 + 2
    # The norms as they are, by hand: both limits bind, and they are not the same.
    of_all = norm(found["not"].values())
    of_weights = norm(grad for name, grad in found["not"].items() if name not in others)
    assert limit < of_weights < of_all
    assert norm(found["not"][name] for name in others) > 1e-3
    for name, grad in found["not"].items():
        torch.testing.assert_close(
            found["all"][name], grad * (limit / of_all), rtol=1e-3, atol=1e-9
        )
        factor = 1 if name in others else limit / of_weights
        torch.testing.assert_close(found["weights"][name], grad * factor, rtol=1e-3, atol=1e-9)


class KillAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_pre_optimizer_step(self, args, state, control, **_):
        if state.global_step == self.step:
            raise Killed


def ran(folder, *words):
    folders = [f"results_dir={folder / 'results'}", f"outputs_dir={folder / 'outputs'}"]
    return run_if_needed(compose(["method=flop", *folders, *words])).record


def test_a_resumed_training_is_that_without_interruption_bit_for_bit(tmp_path, monkeypatch):
    words = ["trainer.max_steps=9", "trainer.batch_size=8", "trainer.save_steps=3"]
    words += ["task.max_train_samples=64", "task.max_eval_samples=16"]
    states = []
    finish, callbacks = flop.FLOP.finish, flop.FLOP.callbacks

    def noted(method, model):
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        return finish(method, model)

    def killed(method, model, folder):
        raise Killed

    monkeypatch.setattr(flop.FLOP, "finish", noted)
    with monkeypatch.context() as patch:
        patch.setattr(flop.FLOP, "save", killed)
        with pytest.raises(RunFailed):
            ran(tmp_path / "whole", *words)
    restored = ran(tmp_path / "whole", *words)  # finished: its weights are read back
    with monkeypatch.context() as patch:
        patch.setattr(flop.FLOP, "callbacks", lambda m, model: [*callbacks(m, model), KillAt(7)])
        with pytest.raises(RunFailed):
            ran(tmp_path / "cut", *words)
    resumed = ran(tmp_path / "cut", *words)

    whole, *others = states
    assert len(others) == 2
    assert whole["flop_multipliers.linear"] != 0
    for state in others:
        assert state.keys() == whole.keys()
        assert all(torch.equal(state[name], whole[name]) for name in whole)
    assert resumed.training == restored.training


def test_a_run_leaves_a_compact_model_and_tells_its_ranks(tmp_path):
    sizes = ["task.max_train_samples=640", "task.max_eval_samples=64", "trainer.max_steps=20"]
    record = ran(tmp_path, *sizes)
    assert record.training["remaining_parameters"] == pytest.approx(120_924, rel=0.02)
    assert record.parameters["total"] == record.training["remaining_parameters"]
    assert [entry.rank for entry in record.ranks] == [None]
    saved = load_file(tmp_path / "outputs" / record.run_id / "model" / "model.safetensors")
    assert sum(tensor.numel() for tensor in saved.values()) == record.parameters["total"]
    for name, rank in record.training["layer_ranks"].items():
        assert len(saved[f"{name}.down"]) == rank


def test_the_saved_model_has_the_score_of_the_record(tmp_path):
    words = ["method.clip=weights", "method.gate_value=sigmoid", "task.max_eval_samples=200"]
    record = ran(tmp_path, "trainer.max_steps=12", "task.max_train_samples=384", *words)
    saved = load_file(tmp_path / "outputs" / record.run_id / "model" / "model.safetensors")
    config = compose(["method=flop", *words])
    model, tokenizer = load(config.model, labels=2)
    for name in record.training["layer_ranks"]:
        factors = saved[f"{name}.down"], saved[f"{name}.up"]
        bias = nn.Parameter(torch.zeros(len(factors[1])))
        model.set_submodule(name, flop_layers.LowRankLinear(*factors, bias))
    model.load_state_dict(saved)
    examples = read(config.task).eval
    texts = [row["text"] for row in examples]
    inputs = tokenizer([text for (text,) in texts], padding=True, return_tensors="pt")
    with torch.inference_mode():
        found = model.eval()(**inputs).logits.argmax(-1)
    right = (found == torch.tensor([row["label"] for row in examples])).sum().item()
    assert right / len(examples) == pytest.approx(record.ranks[0].metrics["accuracy"], abs=1e-9)


@pytest.mark.slow
def test_the_demo_reaches_its_target_by_the_multipliers_alone(tmp_path):
    record = ran(tmp_path, "method.final_count=expected")
    assert record.training["remaining_parameters"] == pytest.approx(120_924, rel=0.02)
    assert record.training["trained_sparsity"] == pytest.approx(0.684, abs=0.01)
    assert record.ranks[0].metrics["accuracy"] > 0.95


@pytest.mark.slow
def test_gates_of_roberta_base_driven_by_the_lagrangian_alone_leave_80_million(monkeypatch):
    """The gates need no factors: zeros spare the SVD of 72 layers, the numbers stay."""

    def shapes_alone(weight):
        rank = min(weight.shape)
        return torch.zeros(rank, weight.shape[1]), torch.zeros(len(weight), rank)

    monkeypatch.setattr(flop_layers, "balanced_factors", shapes_alone)
    monkeypatch.setattr("torch.nn.init.normal_", lambda tensor, *_, **__: tensor)
    words = ["model=roberta-base", "model.pretrained=false", "method.target_parameters=80e6"]
    model, method = attached(*words, "method.final_count=expected")
    assert method.target == pytest.approx(0.684, abs=5e-4)
    method.total_steps = 400
    _, of_gates, of_multipliers = method.optimizer_groups([{"params": [], "weight_decay": 0.0}])
    optimizer = torch.optim.AdamW([of_gates, of_multipliers])
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, method.total_steps)
    for step in range(method.total_steps):
        next(method.forward_passes(Batch(step, 0, 0, 32)))
        optimizer.zero_grad()
        method.constraint().backward()
        optimizer.step()
        schedule.step()
    compact = method.finish(model)
    told = method.training_stats(compact)
    assert told["remaining_parameters"] == parameters(compact) == pytest.approx(80e6, rel=0.01)
    ranks = list(told["layer_ranks"].values())
    assert sum(ranks) / len(ranks) == pytest.approx(243, rel=0.02)


@pytest.mark.parametrize(("name", "task"), [("t5", "demo"), ("mamba", "demo-e2e")])
def test_models_that_read_the_weights_of_their_layers(name, task, tmp_path):
    base = save_base({**ENCODERS, **LANGUAGE_MODELS}[name], tmp_path / "base")
    words = [f"task={task}", "method=flop", "method.target_sparsity=0.5", "trainer.max_steps=3",
             "trainer.batch_size=4", "task.max_train_samples=12", "task.max_eval_samples=2",
             f"results_dir={tmp_path}/results", f"outputs_dir={tmp_path}/outputs"]  # fmt: skip
    words += ["task.metrics=[bleu]", "task.decode.max_new_tokens=3"] if name == "mamba" else []
    record = run_if_needed(compose([*words, *base])).record
    assert record.status == "completed"
    assert record.training["sparsity"] == pytest.approx(0.5, abs=0.1)


def test_the_weight_that_a_layer_shows_is_the_one_it_computes_with():
    layer = flop_layers.GatedLinear(torch.randn(5, 7), nn.Parameter(torch.randn(5)), 0.5).eval()
    x = torch.randn(3, 7)
    for each in (layer, layer.compact()):
        shown = nn.functional.linear(x, each.weight, each.bias)
        torch.testing.assert_close(each(x), shown, rtol=0, atol=1e-5)
