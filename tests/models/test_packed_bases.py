"""Bases in eight and four bits, against PEFT and transformers alone on the same bases."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from dylora_exp.adapters.layers import factors, lora_layers
from dylora_exp.adapters.merging import masked_factors
from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.methods.base import Cut, make_method
from dylora_exp.models import packed_layers, quantised, unpacked
from dylora_exp.models.loading import load
from tests.support.packed_bases import PACKABLE, load_stock, stock_logits
from tests.support.small_gpt2 import save_small_gpt2
from tests.support.tiny_llama import save_tiny_llama

pytest.importorskip("bitsandbytes")

R = 6
INPUTS = [[5, 40, 7, 9, 11, 60, 33, 2], [8, 8, 41, 100, 17, 3, 4, 90]]
BOTH = ["nf4", pytest.param("int8", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def folder(packable_llama):
    return packable_llama


def config(folder, *overrides):
    return compose(
        [
            *("task=demo-e2e", "profile=demo-nlg", f"model.name_or_path={folder}"),
            *("model.targets=[q_proj,down_proj]", "model.overrides=null", "model.fused=null"),
            *("method.alpha=8", f"ranks.r_max={R}", *overrides),
        ]
    )


def attached(folder, *overrides):
    """Return a method and its model over a base of the config, with factors that are not zero."""
    chosen = config(folder, *overrides)
    backbone, _ = load(chosen.model, None)
    method = make_method(chosen)
    model = method.attach(backbone)
    torch.manual_seed(2)
    for layer in lora_layers(model):
        for factor in factors(layer):
            torch.nn.init.normal_(factor, std=0.1)
    return method, model


def logits(model, inputs=INPUTS):
    model.eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor(inputs)).logits


def by_hand(folder, quantization, model, rank, alpha, dtype=torch.float32):
    """Return PEFT's own LoRA of a rank, over the base as transformers loads it."""
    base = load_stock(folder, quantization, dtype=dtype)
    settings = LoraConfig(r=rank, lora_alpha=alpha, target_modules=["q_proj", "down_proj"])
    plain = get_peft_model(base, settings)
    for ours, theirs in zip(lora_layers(model), lora_layers(plain), strict=True):
        (a, b), (plain_a, plain_b) = factors(ours), factors(theirs)
        assert plain_a.dtype == plain_b.dtype == a.dtype == b.dtype == torch.float32
        plain_a.data.copy_(a[:rank])
        plain_b.data.copy_(b[:, :rank])
    return plain


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("quantization", BOTH)
def test_every_rank_is_peft_over_the_same_base(quantization, dtype, folder):
    words = [f"model.quantization={quantization}", f"model.dtype={dtype}"]
    method, model = attached(folder, *words)
    kind = {"nf4": "Linear4bit", "int8": "Linear8bitLt"}[quantization]
    assert {type(layer).__name__ for layer in lora_layers(model)} == {kind}
    share = 1e-6 if dtype == "float32" else 0.0
    for rank in (1, 2, 5, R):
        method.mask.select(rank)
        plain = by_hand(folder, quantization, model, rank, 8, getattr(torch, dtype))
        expected = stock_logits(plain, INPUTS)
        # A power of two leaves every rounding as it is.
        if dtype == "float32" or rank in (1, 2):
            assert (logits(model) - expected).abs().max() <= share * expected.abs().max()
        model.zero_grad()
        model.train()(input_ids=torch.tensor(INPUTS)).logits.float().square().mean().backward()
        plain(input_ids=torch.tensor(INPUTS)).logits.float().square().mean().backward()
        if dtype == "bfloat16":
            continue
        for ours, theirs in zip(lora_layers(model), lora_layers(plain), strict=True):
            (a, b), (plain_a, plain_b) = factors(ours), factors(theirs)
            torch.testing.assert_close(a.grad[:rank], plain_a.grad, rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(b.grad[:, :rank], plain_b.grad, rtol=1e-4, atol=1e-6)
            assert not a.grad[rank:].any() and not b.grad[:, rank:].any()


@pytest.mark.parametrize("quantization", BOTH)
def test_scoring_computes_what_training_does(quantization, folder):
    """bitsandbytes itself has other kernels for evaluation on a CPU."""
    _, model = attached(folder, f"model.quantization={quantization}")
    before = logits(model)
    model.train()
    trained = model(input_ids=torch.tensor(INPUTS)).logits
    assert torch.equal(before, trained.detach())
    trained.sum().backward()
    assert all(factor.grad.any() for layer in lora_layers(model) for factor in factors(layer))
    assert torch.equal(logits(model), before)


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_the_unpacked_weights_compute_the_same(quantization, folder):
    chosen = config(folder, f"model.quantization={quantization}")
    packed, _ = load(chosen.model, None)
    whole = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    names = [name for name, _ in packed_layers(packed)]
    assert len(names) == 14 and "lm_head" not in names
    full = logits(whole)
    for name, layer in packed_layers(packed):
        weight = whole.get_submodule(name).weight.data
        values = unpacked(layer, torch.float32)
        # Half the widest gap between two values of nf4, -1 and -0.696; int8 has 255 values.
        bound = {"nf4": 0.1520, "int8": 0.0041}[quantization]
        assert 0 < (values - weight).abs().max() < bound * weight.abs().max()
        weight.copy_(values)
    difference = (logits(packed) - logits(whole)).abs().max()
    assert difference <= 1e-5 * full.abs().max() < (full - logits(whole)).abs().max()


@pytest.mark.slow
def test_a_copy_computes_the_same(folder):
    _, model = attached(folder, "model.quantization=int8")
    assert torch.equal(logits(copy.deepcopy(model)), logits(model))


CUTS = [("svd", "alpha/r"), ("energy", "alpha/r"), ("leading", "alpha/b")]


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize(("truncation", "scale"), CUTS)
def test_cuts_are_those_of_the_factors(truncation, scale, quantization, folder):
    """The base's output does not depend on the cut, so that the cut factors say it all."""
    score = f"method.score=[{{truncation: {truncation}, scale: {scale}}}]"
    method, model = attached(folder, f"model.quantization={quantization}", "method=lora", score)
    method.prepare_cuts(model, lambda count: pytest.fail("no calibration is asked for"))
    base = load_stock(folder, quantization)
    plain = get_peft_model(
        base, LoraConfig(r=R, lora_alpha=8, target_modules=["q_proj", "down_proj"])
    )
    with method.at_cut(model, Cut(2, truncation, scale)):
        ours = logits(model)
        for layer, theirs in zip(lora_layers(model), lora_layers(plain), strict=True):
            a, b = masked_factors(layer)
            plain_a, plain_b = factors(theirs)
            plain_a.data.copy_(a)
            plain_b.data.copy_(b)
    expected = stock_logits(plain, INPUTS)
    assert (ours - expected).abs().max() <= 2e-6 * expected.abs().max()


METHODS = [
    ["method=dylora", "ranks=sandwich"],
    ["method=dylora", "ranks=per-example"],
    ["method=nested-dropout"],
    ["method=matryoshka"],
    ["method=dylora-frozen", "method.freeze=strict"],
    ["method=sorted-lora"],
]


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize("words", METHODS, ids=" ".join)
def test_ranks_of_examples_are_those_of_each_alone(words, quantization, folder):
    method, model = attached(folder, f"model.quantization={quantization}", *words)
    if method.mask is None:
        pytest.fail("the method has no mask")
    alone = []
    for rank, inputs in zip((2, 5), INPUTS, strict=True):
        method.mask.select(rank, method.settings.scale)
        alone.append(logits(model, [inputs])[0])
    if "matryoshka" not in words[0]:
        method.mask.select_each([2, 5], method.settings.scale)
        together = logits(model)
        assert (together - torch.stack(alone)).abs().max() <= 1e-5 * together.abs().max()


def test_heads_are_not_packed(tmp_path):
    """transformers would pack the head of a classifier that has a bias."""
    chosen = compose(["model.quantization=nf4", "method=dylora"])
    backbone, _ = load(chosen.model, 2)
    names = [name for name, _ in packed_layers(backbone)]
    assert len(names) == 18 and not [name for name in names if "classifier" in name]
    model = make_method(chosen).attach(backbone)
    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    assert {each.dtype for each in trained.values()} == {torch.float32}
    assert any("classifier" in name for name in trained)


def test_a_head_over_half_precision_is_trained_in_single(tmp_path):
    chosen = compose(["model.dtype=bfloat16", "method=dylora"])
    backbone, _ = load(chosen.model, 2)
    assert {each.dtype for each in backbone.parameters()} == {torch.bfloat16}
    model = make_method(chosen).attach(backbone)
    trained = [each for each in model.parameters() if each.requires_grad]
    assert {each.dtype for each in trained} == {torch.float32}
    found = model(input_ids=torch.tensor([[0, 5, 6, 2]])).logits
    assert found.dtype == torch.float32
    found.sum().backward()
    assert sum(each.grad is not None for each in trained) == len(trained)


@pytest.mark.slow
def test_a_base_in_half_precision_is_rounded_once(folder):
    """As transformers reads it, neither rounded before nor after."""
    backbone, _ = load(config(folder, "model.dtype=bfloat16").model, None)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).state_dict()
    assert all(torch.equal(each, theirs[name]) for name, each in backbone.state_dict().items())


@pytest.mark.slow
def test_weights_that_are_not_finite_are_found_in_packed_layers(tmp_path):
    save_tiny_llama(tmp_path, **PACKABLE)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    for quantization in ("nf4", "int8"):
        with pytest.raises(RequestError, match=r"'model\.layers\.1\.mlp\.up_proj\.weight' among"):
            load(config(tmp_path, f"model.quantization={quantization}").model, None)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_what_a_layer_stands_for_is_compared_with_what_it_computes_with(
    dtype, folder, tmp_path, monkeypatch
):
    """A width is not refused for itself, but for other values than those of its bits."""
    words = ["model.quantization=nf4", f"model.dtype={dtype}"]
    load(config(folder, *words).model, None)
    unpack = quantised.unpacked

    def with_scales_of_other_blocks(layer, dtype):
        values = unpack(layer, dtype)
        if values.shape[1] == 128:
            values[1, 64:] *= 0.9
        return values

    monkeypatch.setattr(quantised, "unpacked", with_scales_of_other_blocks)
    expected = (
        r"^model.quantization: found nf4, .* layer 'model.layers.\d.mlp.down_proj' of width 128 to "
        r"other values .* expected int8 or none, or a GPU\.$"
    )
    with pytest.raises(RequestError, match=expected):
        load(config(folder, *words).model, None)

    save_tiny_llama(tmp_path)  # of widths 32 and 48
    monkeypatch.setattr(quantised, "unpacked", by_the_table)
    load(config(tmp_path, *words).model, None)
    monkeypatch.setattr(quantised, "unpacked", unpack)
    backbone = load_stock(tmp_path, "nf4", dtype=getattr(torch, dtype))
    layers = dict(packed_layers(backbone))
    wrong = [
        name
        for name, layer in layers.items()
        if (unpack(layer, torch.float32) - by_the_table(layer, None)).abs().max() > 0.01
    ]
    if torch.accelerator.is_available():
        assert not wrong
    elif wrong:
        with pytest.raises(RequestError, match=r"of width (32|48) to other values"):
            load(config(tmp_path, *words).model, None)
    load(config(tmp_path, "model.quantization=int8").model, None)


# The sixteen quantiles of QLoRA's appendix E (arXiv 2305.14314).
NF4 = [
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
]


def by_the_table(layer, _):
    """Return the weight of a layer in four bits, value by value."""
    data, state = layer.weight.data.flatten().tolist(), layer.weight.quant_state
    indices = [half for pair in data for half in divmod(pair, 16)]
    scales = state.absmax.tolist()
    values = [NF4[index] * scales[place // 64] for place, index in enumerate(indices)]
    return torch.tensor(values).reshape(state.shape)


@pytest.mark.slow
def test_weights_that_are_packed_already_are_refused(folder, tmp_path):
    load_stock(folder, "nf4").save_pretrained(tmp_path)
    packed = load(config(folder).model, None)[1]
    packed.save_pretrained(tmp_path)
    for quantization in ("none", "nf4"):
        with pytest.raises(RequestError, match=r"are quantised already \(bitsandbytes\)"):
            load(config(tmp_path, f"model.quantization={quantization}").model, None)


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_random_weights_are_packed_as_well(quantization):
    words = ["model=gpt2", "model.pretrained=false", "model.targets=[c_attn]"]
    chosen = compose([*words, "profile=demo", f"model.quantization={quantization}"])
    chosen.model.config |= {"n_layer": 1, "n_embd": 64, "n_head": 2}
    torch.manual_seed(3)
    one, _ = load(chosen.model, None)
    torch.manual_seed(3)
    other, _ = load(chosen.model, None)
    assert torch.equal(logits(one), logits(other))
    assert len(list(packed_layers(one))) == 4


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_a_transposed_layer_is_packed_and_adapted_as_a_whole(quantization, tmp_path):
    save_small_gpt2(tmp_path, n_embd=64)
    chosen = compose(
        [
            *("task=demo-e2e", "profile=demo-nlg", f"model.name_or_path={tmp_path}"),
            *(f"model.quantization={quantization}", "model.targets=[c_attn]"),
        ]
    )
    backbone, _ = load(chosen.model, None)
    model = make_method(chosen).attach(backbone)
    expected = stock_logits(load_stock(tmp_path, quantization, attn_pdrop=0.0, embd_pdrop=0.0,
                                       resid_pdrop=0.0), INPUTS)  # fmt: skip
    assert (logits(model) - expected).abs().max() <= 1e-6 * expected.abs().max()
