"""A rank at inference against closed forms, against PEFT, and against what was there before."""

import copy
import json
import os
import subprocess
import sys

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from dylora_exp import (
    RequestError,
    at_rank,
    load_records,
    make_dynamic,
    rank_curve,
    save_rank,
    set_rank,
)
from tests.support.tiny_llama import R, save_tiny_llama, stock_lora, tiny_llama
from tests.support.tiny_runs import ROOT

IDS = torch.arange(20).reshape(2, 10)


@torch.no_grad()
def logits(model):
    return model.eval()(input_ids=IDS).logits


def close(first, second, tolerance=1e-5):
    return (first - second).abs().max().item() <= tolerance


def expected(model, base, rank, truncation="leading", scale="alpha/r", adapter="default"):
    """The logits of a base to whose weights the truncated products were added by hand."""
    base = copy.deepcopy(base)
    for name, module in base.named_modules():
        if not isinstance(module, nn.Linear) or not name.endswith(("q_proj", "v_proj")):
            continue
        layer = model.get_base_model().get_submodule(name)
        a, b = (part[adapter].weight.detach() for part in (layer.lora_A, layer.lora_B))
        product = b[:, :rank] @ a[:rank]
        if truncation == "svd":
            u, s, vh = torch.linalg.svd(b @ a)
            product = u[:, :rank] * s[:rank] @ vh[:rank]
        factor = layer.scaling[adapter] * (len(a) / rank if scale == "alpha/b" else 1)
        if scale == "alpha/sqrt(b)":
            factor = layer.lora_alpha[adapter] / rank**0.5
        module.weight.data += factor * product
    return logits(base)


@pytest.mark.parametrize("rank", [1, 2, 5, R])
@pytest.mark.parametrize("truncation", ["leading", "svd"])
@pytest.mark.parametrize("scale", ["alpha/b", "alpha/r", "alpha/sqrt(b)"])
def test_a_rank_computes_the_closed_form(rank, truncation, scale, tmp_path):
    base = tiny_llama()
    model = stock_lora(copy.deepcopy(base))
    full, before = logits(model), copy.deepcopy(model.state_dict())
    with at_rank(model, rank, truncation, scale):
        shown = logits(model)
    assert close(shown, expected(model, base, rank, truncation, scale))
    assert torch.equal(logits(model), full)
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert type(next(m for n, m in model.named_modules() if n.endswith("lora_A.default"))) is (
        nn.Linear
    )
    save_rank(model, rank, tmp_path / "out", truncation, scale)
    loaded = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "out")
    assert loaded.peft_config["default"].r == rank
    assert close(logits(loaded), shown)


def test_the_default_scale_is_that_of_training():
    base = tiny_llama()
    stock = stock_lora(copy.deepcopy(base))
    set_rank(stock, 2)
    assert close(logits(stock), expected(stock, base, 2, scale="alpha/b"))
    with at_rank(stock, 2, "svd"):
        assert close(logits(stock), expected(stock, base, 2, "svd", scale="alpha/r"))
    for scale in ("alpha/b", "alpha/r"):
        model = stock_lora(copy.deepcopy(base))
        make_dynamic(model, scale=scale)
        set_rank(model, 2)
        assert close(logits(model), expected(model, base, 2, scale=scale))
        with at_rank(model, 3):
            assert close(logits(model), expected(model, base, 3, scale=scale))
        with at_rank(model, 3, "svd"):
            assert close(logits(model), expected(model, base, 3, "svd", scale="alpha/r"))
        assert close(logits(model), expected(model, base, 2, scale=scale))


def test_rank_and_factors_come_back_after_an_error():
    model = stock_lora()
    handle = make_dynamic(model)
    set_rank(model, 3)
    before, low = copy.deepcopy(model.state_dict()), logits(model)
    with pytest.raises(ZeroDivisionError), at_rank(model, 1, "svd"):
        raise ZeroDivisionError
    assert handle.rank == 3 and torch.equal(logits(model), low)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_contexts_nest():
    model = stock_lora()
    full = logits(model)
    with at_rank(model, 4):
        four = logits(model)
        with at_rank(model, 2, "svd"):
            assert not close(logits(model), four)
        assert torch.equal(logits(model), four)
    assert torch.equal(logits(model), full)


def test_another_name_and_other_adapters():
    base = tiny_llama()
    model = stock_lora(copy.deepcopy(base), adapter="mine")
    config = LoraConfig(r=3, target_modules=["q_proj"], task_type="CAUSAL_LM")
    model.add_adapter("other", config)
    model.set_adapter("mine")
    make_dynamic(model)
    set_rank(model, 2)
    assert close(logits(model), expected(model, base, 2, scale="alpha/b", adapter="mine"))
    model.set_adapter("other")
    set_rank(model, 3)
    with pytest.raises(RequestError, match=r"expected a rank 1\.\.3"):
        set_rank(model, 4)


@pytest.mark.parametrize("dynamic", [True, False])
def test_peft_merges_the_rank_that_is_set(dynamic):
    base = tiny_llama()
    model = stock_lora(copy.deepcopy(base))
    if dynamic:
        make_dynamic(model, scale="alpha/r")
    set_rank(model, 2)
    low = logits(model)
    for safe in (True, False):
        model.merge_adapter(safe_merge=safe)
        assert close(logits(model), low)
        with pytest.raises(RequestError, match=r"call model\.unmerge_adapter\(\) first"):
            set_rank(model, 3)
        model.unmerge_adapter()
        assert close(logits(model), low)
    with model.disable_adapter():
        assert close(logits(model), logits(base))
    merged = copy.deepcopy(model).merge_and_unload()
    assert not isinstance(merged, PeftModel)
    assert close(logits(merged), low)
    set_rank(model, R)
    assert close(logits(model.merge_and_unload()), expected_full(base))


@pytest.mark.parametrize("truncation", ["leading", "svd"])
def test_a_rank_merged_for_a_while_is_unmerged_afterwards(truncation):
    base = tiny_llama()
    model = stock_lora(copy.deepcopy(base))
    full = logits(model)
    with at_rank(model, 2, truncation):
        low = logits(model)
        model.merge_adapter()
    assert close(logits(model), low)
    model.unmerge_adapter()
    assert close(logits(model), full)
    with at_rank(model, 2, truncation):
        merged = model.merge_and_unload()
    assert close(logits(merged), low)
    assert not [name for name in merged.state_dict() if "lora" in name]


def test_a_handle_is_removed_from_a_merged_model():
    base = tiny_llama()
    model = stock_lora(copy.deepcopy(base))
    full = logits(model)
    handle = make_dynamic(model)
    set_rank(model, 2)
    model.merge_adapter()
    handle.remove()
    model.unmerge_adapter()
    assert close(logits(model), full)


def expected_full(base):
    return expected(stock_lora(copy.deepcopy(base)), base, R)


def test_adapters_by_name_in_one_batch_follow_the_rank():
    base = tiny_llama()
    model = stock_lora(copy.deepcopy(base))
    set_rank(model, 2)
    low, plain = logits(model), logits(base)
    with torch.no_grad():
        mixed = model(input_ids=IDS, adapter_names=["default", "__base__"]).logits
    assert close(mixed[0], low[0]) and close(mixed[1], plain[1])


def test_a_handle_is_removed_without_a_trace(tmp_path):
    model = stock_lora()
    full, before = logits(model), list(model.state_dict())
    modules = {name: type(module) for name, module in model.named_modules()}
    handle = make_dynamic(model)
    assert list(model.state_dict()) == before
    set_rank(model, 2)
    handle.remove()
    assert {name: type(module) for name, module in model.named_modules()} == modules
    assert torch.equal(logits(model), full)
    model.save_pretrained(tmp_path)


def test_gpt2s_transposed_layer(tmp_path):
    torch.manual_seed(0)
    base = GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=32, n_layer=2, n_head=2))
    config = {"target_modules": ["c_attn"], "fan_in_fan_out": True}
    model = stock_lora(copy.deepcopy(base), **config)
    make_dynamic(model)
    set_rank(model, 2)
    low = logits(model)
    save_rank(model, 2, tmp_path / "out")
    loaded = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "out")
    assert close(logits(loaded), low)
    assert close(logits(model.merge_and_unload()), low)


@pytest.mark.parametrize(
    "settings",
    [
        {"use_rslora": True},
        {"alpha_pattern": {"q_proj": 8}},
        {"target_modules": "all-linear"},
        {"lora_dropout": 0.5},
        {"modules_to_save": ["lm_head"]},
        {"bias": "lora_only"},
        {"lora_alpha": 5},
    ],
)
def test_every_kind_of_lora_is_saved_at_a_rank(settings, tmp_path):
    base = tiny_llama()
    model = stock_lora(copy.deepcopy(base), **settings)
    for name, parameter in model.named_parameters():
        if "modules_to_save" in name and parameter.requires_grad:
            nn.init.normal_(parameter)
    for rank in (2, R):
        set_rank(model, rank)
        low = logits(model)
        folder = save_rank(model, rank, tmp_path / f"rank-{rank}")
        loaded = PeftModel.from_pretrained(copy.deepcopy(base), folder)
        assert close(logits(loaded), low, 1e-4)


def test_a_scale_that_was_set_by_hand_is_saved(tmp_path):
    base = tiny_llama()
    model = stock_lora(copy.deepcopy(base))
    for module in model.modules():
        if hasattr(module, "scale_layer"):
            module.scale_layer(0.5)
    set_rank(model, 2)
    loaded = PeftModel.from_pretrained(copy.deepcopy(base), save_rank(model, 2, tmp_path / "out"))
    assert close(logits(loaded), logits(model))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_type_of_the_file_is_the_models(dtype, tmp_path):
    base = tiny_llama().to(dtype)
    model = get_peft_model(
        copy.deepcopy(base),
        LoraConfig(r=R, target_modules=["q_proj"], task_type="CAUSAL_LM"),
        autocast_adapter_dtype=False,
    )
    folder = save_rank(model, 2, tmp_path / "out", "svd")
    loaded = PeftModel.from_pretrained(copy.deepcopy(base), folder, autocast_adapter_dtype=False)
    (kind,) = {p.dtype for n, p in loaded.named_parameters() if "lora_" in n}
    assert kind == dtype


FRESH = """
import sys, torch
from peft import AutoPeftModelForCausalLM
model = AutoPeftModelForCausalLM.from_pretrained(sys.argv[1]).eval()
with torch.no_grad():
    torch.save(model(input_ids=torch.arange(20).reshape(2, 10)).logits, sys.argv[2])
assert not [name for name in sys.modules if name.startswith("dylora_exp")]
"""


def test_a_fresh_process_with_stock_peft_computes_the_same(tmp_path):
    save_tiny_llama(tmp_path / "base")
    base = type(tiny_llama()).from_pretrained(tmp_path / "base")
    model = stock_lora(base)
    make_dynamic(model)
    set_rank(model, 2)
    folder = save_rank(model, 2, tmp_path / "out")
    command = [sys.executable, "-c", FRESH, str(folder), str(tmp_path / "logits")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, check=True, env=environment, cwd=tmp_path)
    assert close(torch.load(tmp_path / "logits"), logits(model))
    settings = json.loads((folder / "adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"], settings["inference_mode"]) == (2, 16, True)


def test_a_folder_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    model = stock_lora()
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    for name in ("used", "used/file"):
        with pytest.raises(RequestError, match="folder: "):
            save_rank(model, 2, tmp_path / name)
    with pytest.raises(RequestError, match="cannot be written"):
        save_rank(model, 2, tmp_path / "used" / "file" / "deeper")
    (tmp_path / "empty").mkdir()
    save_rank(model, 2, tmp_path / "empty")
    assert {p.name for p in (tmp_path / "empty").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dylora_exp.dynamic.saving.save_file", full)
    with pytest.raises(RequestError, match="No space left on device"):
        save_rank(model, 2, tmp_path / "new")
    assert {p.name for p in tmp_path.iterdir()} == {"used", "empty"}


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora"])
def test_a_start_that_changed_the_base_is_not_saved_at_a_rank(start, tmp_path):
    model = stock_lora(init_lora_weights=start, trained=False)
    with pytest.raises(RequestError, match=r"changed the base's weights as well"):
        save_rank(model, 2, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_curve_of_the_best_approximations_falls_as_the_singular_values_say():
    torch.manual_seed(0)
    model = get_peft_model(
        nn.Sequential(nn.Linear(9, 7)), LoraConfig(r=R, lora_alpha=R, target_modules=["0"])
    )
    layer = model.base_model.model[0]
    nn.init.normal_(layer.lora_B["default"].weight)
    product = (layer.lora_B["default"].weight @ layer.lora_A["default"].weight).detach()
    inputs = torch.eye(9)

    def error(model):
        assert not model.training
        with torch.no_grad():
            return (model(inputs) - layer.base_layer(inputs) - product.T).norm().item()

    model.train()
    curve = rank_curve(model, error, truncation="svd")
    assert list(curve) == [1, 2, 4, R] and model.training
    values = torch.linalg.svdvals(product)
    for rank, found in curve.items():
        assert found == pytest.approx(values[rank:].norm().item(), abs=1e-5)
    leading = rank_curve(model, error, range(1, R + 1))
    assert list(leading) == list(range(1, R + 1))
    assert all(leading[rank] >= found - 1e-6 for rank, found in curve.items())


def test_a_curve_keeps_what_is_returned_and_restores_every_mode():
    model = stock_lora().train()
    model.get_base_model().model.norm.eval()
    modes = [module.training for module in model.modules()]
    assert rank_curve(model, lambda model: {"x": 1}, [3, 1, 3]) == {3: {"x": 1}, 1: {"x": 1}}
    assert [module.training for module in model.modules()] == modes
    for ranks, text in (([], "found none"), (5, "expected several"), ([0], "found 0"), ([7], "7")):
        with pytest.raises(RequestError, match=text):
            rank_curve(model, lambda model: 1, ranks)


def test_records_as_a_table_warn_of_what_is_none(tmp_path):
    with pytest.raises(RequestError, match="there is no folder"):
        load_records(tmp_path / "missing")
    (tmp_path / "runs").mkdir()
    assert load_records(tmp_path).empty
    assert list(load_records(ROOT / "results").columns[:9]) == [
        *("run_id", "model", "task", "method", "profile", "seed"),
        *("rank", "truncation", "scale"),
    ]
    (tmp_path / "runs" / "broken.json").write_text("{")
    with pytest.warns(UserWarning, match=r"broken\.json: skipped, not a record"):
        assert load_records(tmp_path).empty


@pytest.mark.parametrize("use_rslora", [False, True])
def test_a_model_trained_at_rsloras_scale_is_an_rslora_for_peft(use_rslora, tmp_path):
    base = tiny_llama()
    model = stock_lora(copy.deepcopy(base), use_rslora=use_rslora)
    handle = make_dynamic(model, scale="alpha/sqrt(b)")
    for rank in (1, 2, 5, R):
        set_rank(model, rank)
        assert close(logits(model), expected(model, base, rank, scale="alpha/sqrt(b)"))
        save_rank(model, rank, tmp_path / f"r{rank}")
        settings = json.loads((tmp_path / f"r{rank}" / "adapter_config.json").read_text())
        alpha = model.peft_config["default"].lora_alpha
        assert settings["lora_alpha"] == pytest.approx(alpha * rank**0.5)
        assert not settings["use_rslora"]  # servers know the plain scale
        loaded = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / f"r{rank}")
        assert close(logits(loaded), logits(model))
    full = logits(model)
    handle.remove()
    assert close(logits(model), full)
    model.save_pretrained(tmp_path / "full")
    assert close(logits(PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "full")), full)
