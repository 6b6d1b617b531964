"""What one optimizer step of DyLoRA moves (Eq. 10 and Algorithm 1)."""

import copy

import pytest
import torch
from torch import nn

from dylora_exp.adapters.layers import factors, lora_layers
from dylora_exp.config.composition import compose
from dylora_exp.methods.base import make_method
from dylora_exp.models.loading import load

R = 8


def step_by_step(update, freeze, ranks, weight_decay=0.1):
    """Train a tiny model for one step at each rank; yield factors before and after, gradients."""
    config = compose([f"method.update={update}", f"method.freeze={freeze}"])
    torch.manual_seed(0)
    backbone, _ = load(config.model, labels=2)
    method = make_method(config)
    model = method.attach(backbone)
    for layer in lora_layers(model):
        nn.init.normal_(factors(layer)[1], std=0.1)
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = method.optimizer_groups([{"params": trained, "weight_decay": weight_decay}])
    optimizer = torch.optim.AdamW(groups, lr=0.01)
    callbacks = method.callbacks(model)
    ids = torch.randint(5, 300, (4, 12), generator=torch.Generator().manual_seed(0))
    for rank in ranks:
        method.select([rank])
        before = [[f.detach().clone() for f in factors(layer)] for layer in lora_layers(model)]
        model(input_ids=ids, labels=torch.tensor([0, 1, 0, 1])).loss.backward()
        gradients = [[f.grad.clone() for f in factors(layer)] for layer in lora_layers(model)]
        for callback in callbacks:
            callback.on_pre_optimizer_step(None, None, None)
        optimizer.step()
        after = [[f.detach().clone() for f in factors(layer)] for layer in lora_layers(model)]
        yield rank, before, gradients, after
        model.zero_grad()


def rows(triples):
    """Pair A's rows and B's columns: (index, tensors of each argument)."""
    for layer in zip(*triples, strict=True):
        for dim, tensors in enumerate(zip(*layer, strict=True)):
            for index in range(R):
                yield index, [tensor.select(dim, index) for tensor in tensors]


def active(update, rank):
    return range(rank - 1, rank) if update == "row" else range(rank)


@pytest.mark.parametrize("update", ["prefix", "row"])
@pytest.mark.parametrize("freeze", ["released", "strict"])
def test_only_active_rows_and_columns_get_a_gradient(update, freeze):
    for rank, before, gradients, _ in step_by_step(update, freeze, [5, 2]):
        for index, (_, gradient) in rows([before, gradients]):
            assert (gradient.abs().max() > 0) == (index in active(update, rank))


@pytest.mark.parametrize("update", ["prefix", "row"])
def test_strict_leaves_inactive_rows_and_columns_bit_identical(update):
    # The first step at r_max fills the momentum of every row that it moves.
    for rank, before, _, after in step_by_step(update, "strict", [R, 1, 4, 2, 7]):
        for index, (old, new) in rows([before, after]):
            assert torch.equal(old, new) == (index not in active(update, rank))


@pytest.mark.parametrize("update", ["prefix", "row"])
def test_released_moves_inactive_rows_by_momentum_and_weight_decay(update):
    steps = list(step_by_step(update, "released", [R, 2]))
    rank, before, _, after = steps[1]
    moved = {index for index, (old, new) in rows([before, after]) if not torch.equal(old, new)}
    assert moved - set(active(update, rank))


@pytest.mark.parametrize("freeze", ["released", "strict"])
def test_first_step_equals_stock_adamw_where_all_rows_are_active(freeze):
    (_, before, gradients, after) = next(iter(step_by_step("prefix", freeze, [R])))
    for _, (old, gradient, new) in rows([before, gradients, after]):
        # AdamW's first step: decay by lr * wd, then lr * g / (|g| + eps).
        expected = old * (1 - 0.01 * 0.1) - 0.01 * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(new, expected, rtol=1e-4, atol=1e-6)


def test_row_update_lets_gradients_flow_to_the_input_through_lower_rows():
    """Frozen means weights: the activations' gradients are those of the whole prefix."""
    config = compose(["method=dylora-frozen"])
    torch.manual_seed(0)
    backbone, _ = load(config.model, labels=2)
    plain = copy.deepcopy(backbone)
    models = []
    for update, base in (("row", backbone), ("prefix", plain)):
        method = make_method(compose([f"method.update={update}"]))
        torch.manual_seed(1)
        model = method.attach(base).eval()
        for layer in lora_layers(model):
            nn.init.normal_(factors(layer)[1], std=0.1)
        method.mask.select(3)
        embeddings = torch.randn(2, 6, 64, generator=torch.Generator().manual_seed(2))
        embeddings.requires_grad_(True)
        model(inputs_embeds=embeddings).logits.sum().backward()
        models.append(embeddings.grad)
    assert torch.equal(*models)
