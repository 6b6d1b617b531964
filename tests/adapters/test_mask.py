"""The masked adapter against references written from the equations, and against plain PEFT."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import nn

from dylora_exp.adapters.layers import factors, lora_layers
from dylora_exp.adapters.mask import MaskedLinear, RankMask, install_mask
from dylora_exp.adapters.truncation import singular_factors
from dylora_exp.config.composition import compose
from dylora_exp.methods.base import Cut, count_parameters, make_method
from dylora_exp.methods.torch_parts.row_parameters import pass_gradient_of_row_only
from dylora_exp.models.loading import load

R, D_IN, D_OUT, N, ALPHA = 8, 12, 10, 5, 16.0


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.query = nn.Linear(D_IN, D_OUT)

    def forward(self, x):
        return self.query(x)


def masked_layer(rslora=False):
    torch.manual_seed(0)
    config = LoraConfig(r=R, lora_alpha=ALPHA, target_modules=["query"], use_rslora=rslora)
    model = get_peft_model(Layer(), config).double()
    (layer,) = lora_layers(model)
    for factor in factors(layer):
        nn.init.normal_(factor)
    return model, install_mask(model, R), layer


def equation_7(x, w0, bias, a, b_matrix, b, scale):
    """Forward and gradients of sum(h * g) by hand; g is the upstream gradient."""
    a_b, b_b = a[:b], b_matrix[:, :b]
    return x @ w0.T + bias + scale * (x @ a_b.T) @ b_b.T


@pytest.mark.parametrize("rank", range(1, R + 1))
@pytest.mark.parametrize(
    ("scale", "rslora"),
    [("alpha/b", False), ("alpha/r", False), ("alpha/sqrt(b)", False), ("alpha/sqrt(b)", True)],
)
@pytest.mark.parametrize("update", ["prefix", "row"])
def test_forward_and_gradients_equal_equations_7_and_10(rank, scale, rslora, update):
    model, mask, layer = masked_layer(rslora)
    if update == "row":
        pass_gradient_of_row_only(model, mask)
    a, b = factors(layer)
    mask.select(rank, scale)
    x = torch.randn(N, D_IN, dtype=torch.double, requires_grad=True)
    upstream = torch.randn(N, D_OUT, dtype=torch.double)
    hidden = model(x)
    (hidden * upstream).sum().backward()

    s = ALPHA / {"alpha/b": rank, "alpha/r": R, "alpha/sqrt(b)": rank**0.5}[scale]
    w0, bias = layer.base_layer.weight, layer.base_layer.bias
    expected = equation_7(x, w0, bias, a, b, rank, s)
    d_a = torch.zeros_like(a)
    d_a[:rank] = s * (upstream @ b[:, :rank]).T @ x
    d_b = torch.zeros_like(b)
    d_b[:, :rank] = s * upstream.T @ (x @ a[:rank].T)
    if update == "row":
        d_a[: rank - 1] = 0
        d_b[:, : rank - 1] = 0
    d_x = upstream @ w0 + s * upstream @ b[:, :rank] @ a[:rank]
    for ours, theirs in [(hidden, expected), (a.grad, d_a), (b.grad, d_b), (x.grad, d_x)]:
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_each_example_has_the_scale_of_its_own_rank():
    model, mask, layer = masked_layer(rslora=True)
    a, b = factors(layer)
    ranks = [1, 8, 3, 2, 5]
    mask.select_each(ranks, "alpha/sqrt(b)")
    x = torch.randn(N, 4, D_IN, dtype=torch.double)
    rows = [
        equation_7(x[i], layer.base_layer.weight, layer.base_layer.bias, a, b, r, ALPHA / r**0.5)
        for i, r in enumerate(ranks)
    ]
    torch.testing.assert_close(model(x), torch.stack(rows), rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", ["alpha/b", "alpha/r", "alpha/sqrt(b)"])
def test_at_full_rank_every_scale_is_that_of_an_rslora_itself(scale):
    model, mask, _ = masked_layer(rslora=True)
    x = torch.randn(N, D_IN, dtype=torch.double)
    mask.select(R, scale)
    shown = model(x)
    plain, _, _ = masked_layer(rslora=True)
    assert torch.equal(shown, plain(x))
    mask.select(2, "alpha/b")
    assert mask.tensor.tolist() == [R / 2] * 2 + [0.0] * (R - 2)


def test_a_graph_that_waits_keeps_the_rank_it_was_made_with():
    model, mask, layer = masked_layer()
    x = torch.randn(N, D_IN, dtype=torch.double)
    mask.select(2)
    loss = model(x).sum()
    mask.select(7)
    loss.backward()
    a, _ = factors(layer)
    assert a.grad[:2].abs().min() > 0
    assert a.grad[2:].abs().max() == 0


def test_the_mask_keeps_the_parameter_its_name_and_its_place():
    model, _, layer = masked_layer()
    plain = get_peft_model(Layer(), LoraConfig(r=R, target_modules=["query"]))
    assert set(model.state_dict()) == set(plain.state_dict())
    assert isinstance(layer.lora_A["default"], MaskedLinear)


def test_a_mask_is_installed_once():
    model, mask, _ = masked_layer()
    assert install_mask(model, R) is mask


@given(st.integers(1, 64), st.data())
def test_mask_values(r_max, data):
    rank = data.draw(st.integers(1, r_max))
    mask = RankMask(r_max)
    mask.select(rank)
    assert mask.tensor.tolist() == pytest.approx([r_max / rank] * rank + [0.0] * (r_max - rank))
    mask.select(rank, "alpha/r")
    assert mask.tensor.tolist() == [1.0] * rank + [0.0] * (r_max - rank)


@pytest.mark.parametrize("shape", [(D_IN, D_OUT), (R, R), (3 * R, 2 * R)])
def test_singular_factors_are_the_best_approximation_at_every_rank(shape):
    torch.manual_seed(1)
    a = torch.randn(R, shape[0], dtype=torch.double)
    b = torch.randn(shape[1], R, dtype=torch.double)
    new_a, new_b = singular_factors(a, b)
    torch.testing.assert_close(new_b @ new_a, b @ a, rtol=0, atol=1e-11)
    u, s, vh = torch.linalg.svd(b @ a)
    for rank in range(1, R + 1):
        best = u[:, :rank] * s[:rank] @ vh[:rank]
        ours = new_b[:, :rank] @ new_a[:rank]
        torch.testing.assert_close(ours, best, rtol=0, atol=1e-10)
        leading = b[:, :rank] @ a[:rank]
        assert torch.dist(ours, b @ a) <= torch.dist(leading, b @ a) + 1e-10


def test_singular_factors_of_an_untrained_adapter_stay_zero():
    new_a, new_b = singular_factors(torch.randn(R, D_IN), torch.zeros(D_OUT, R))
    assert torch.isfinite(new_a).all()
    assert (new_b @ new_a).abs().max() == 0


def trained_like(method, **words):
    """A tiny classifier whose factors and head hold values as after training."""
    config = compose([f"method={method}", "trainer.threads=1"])
    torch.manual_seed(0)
    backbone, _ = load(config.model, labels=2)
    base = copy.deepcopy(backbone)
    chosen = make_method(config)
    model = chosen.attach(backbone).eval()
    for layer in lora_layers(model):
        for factor in factors(layer):
            nn.init.normal_(factor, std=0.3)
    return model, chosen, base


def plain_peft(base, model, rank, pick):
    """Plain PEFT LoRA of the given rank holding the factors that ``pick`` makes of each layer's."""
    config = LoraConfig(
        task_type="SEQ_CLS", r=rank, lora_alpha=ALPHA, target_modules=["query", "value"]
    )
    fresh = get_peft_model(copy.deepcopy(base), config).eval()
    for theirs, ours in zip(lora_layers(fresh), lora_layers(model), strict=True):
        for target, source in zip(factors(theirs), pick(*factors(ours)), strict=True):
            target.data.copy_(source)
    head = {k: v for k, v in model.state_dict().items() if "modules_to_save" in k}
    fresh.load_state_dict(head, strict=False)
    return fresh


@pytest.mark.parametrize("rank", range(1, R + 1))
@pytest.mark.parametrize("method", ["lora", "dylora"])
def test_each_rank_of_the_sweep_equals_a_plain_lora_of_that_rank(method, rank):
    model, chosen, base = trained_like(method)
    ids = torch.randint(5, 300, (4, 17), generator=torch.Generator().manual_seed(0))
    peft = plain_peft(base, model, rank, lambda a, b: (a[:rank], b[:, :rank]))
    with torch.no_grad():
        expected = peft(input_ids=ids).logits
        with chosen.at_cut(model, Cut(rank, "leading", "alpha/b")):
            ours = model(input_ids=ids).logits
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    assert not torch.allclose(expected, base.eval()(input_ids=ids).logits, atol=1e-3)


@pytest.mark.parametrize("rank", [1, 3, R])
def test_svd_truncation_equals_a_plain_lora_of_the_best_approximation(rank):
    model, chosen, base = trained_like("lora")
    ids = torch.randint(5, 300, (4, 17), generator=torch.Generator().manual_seed(0))

    def best(a, b):
        u, s, vh = torch.linalg.svd((b @ a).double(), full_matrices=False)
        # PEFT's alpha/rank has to come out as the alpha/r of training.
        return vh[:rank].float(), (u[:, :rank] * s[:rank]).float() * rank / R

    peft = plain_peft(base, model, rank, best)
    before = [factor.clone() for layer in lora_layers(model) for factor in factors(layer)]
    with torch.no_grad(), chosen.at_cut(model, Cut(rank, "svd", "alpha/r")):
        ours = model(input_ids=ids).logits
    torch.testing.assert_close(ours, peft(input_ids=ids).logits, rtol=0, atol=1e-5)
    after = [factor for layer in lora_layers(model) for factor in factors(layer)]
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))


def test_at_r_max_the_sweep_equals_the_untruncated_lora():
    model, chosen, _ = trained_like("lora")
    ids = torch.randint(5, 300, (4, 17), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = model(input_ids=ids).logits
        for scale in ("alpha/b", "alpha/r"):
            with chosen.at_cut(model, Cut(R, "leading", scale)):
                assert torch.equal(model(input_ids=ids).logits, whole)


@pytest.mark.parametrize(
    ("r_max", "labels", "trainable"), [(1, 2, 628_994), (8, 2, 887_042), (8, 1, 886_273)]
)
def test_parameter_counts_of_roberta_base(r_max, labels, trainable):
    config = compose(["model=roberta-base", "model.pretrained=false", f"ranks.r_max={r_max}"])
    with torch.device("meta"):
        backbone, _ = load(config.model, labels)
        counted = count_parameters(make_method(config).attach(backbone))
    assert counted["trainable"] == trainable
    full = {1: 124_646_401, 2: 124_647_170}[labels]
    assert counted["total"] == full + 36_864 * r_max


def test_full_fine_tuning_trains_everything():
    config = compose(["model=roberta-base", "model.pretrained=false", "method=finetune"])
    with torch.device("meta"):
        backbone, _ = load(config.model, labels=2)
        counted = count_parameters(make_method(config).attach(backbone))
    assert counted == {"adapter": 0, "trainable": 124_647_170, "total": 124_647_170}
