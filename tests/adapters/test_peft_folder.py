"""Folders in which PEFT saved a LoRA: read as PEFT reads them, or refused in a sentence."""

import math
import warnings

import pytest
import torch
from peft import (
    AdaLoraConfig,
    IA3Config,
    LoHaConfig,
    LoraConfig,
    TaskType,
    get_peft_model,
)
from transformers.pytorch_utils import Conv1D

from dylora_exp.adapters.peft_folder import PREFIX, read_peft_folder
from dylora_exp.core import RequestError
from tests.support.peft_adapters import Small, change, change_tensors, save


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "adapter"


def refusal(folder):
    with pytest.raises(RequestError) as caught:
        read_peft_folder(folder).check_values()
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"lora_alpha": 3},
        {"use_rslora": True, "lora_alpha": 5},
        {"target_modules": ["q", "conv"], "modules_to_save": ["classifier"]},
        {"target_modules": r".*\.(q|conv)"},
        {"target_modules": ["q"], "layers_to_transform": [1, 10], "layers_pattern": "layers"},
        {"rank_pattern": {"q": 2, r"^layers\.3\.v": 3}, "alpha_pattern": {"layers.1.q": 7}},
        {"rank_pattern": {"layers.1.q": 2}, "use_rslora": True, "alpha_pattern": {"v": 9}},
        {"rank_pattern": {"1.q": 3, "q": 1}},
    ],
)
def test_ranks_scales_and_factors_are_pefts(folder, settings):
    model = save(folder, **settings)
    read = read_peft_folder(folder)
    modules = {name: m for name, m in model.base_model.model.named_modules() if hasattr(m, "r")}
    assert set(read.layers) == set(modules)
    for name, layer in read.layers.items():
        module = modules[name]
        assert (layer.r, layer.scale) == (module.r["default"], module.scaling["default"])
        assert (layer.d_in, layer.d_out) == (module.in_features, module.out_features)
        a, b = read.factors(name)
        delta = module.get_delta_weight("default")
        delta = delta.T if isinstance(module.base_layer, Conv1D) else delta
        torch.testing.assert_close(layer.scale * b @ a, delta)
    heads = settings.get("modules_to_save", [])
    assert {key.removeprefix(PREFIX) for key in read.others} == {
        f"{head}.{part}" for head in heads for part in ("weight", "bias")
    }


def test_layers_are_in_the_order_of_their_numbers(folder):
    save(folder, target_modules=["q"])
    assert list(read_peft_folder(folder).layers) == [f"layers.{i}.q" for i in range(11)]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"lora_bias": True}, "lora_bias"),
        ({"bias": "all"}, "bias: found 'all'"),
        ({"target_modules": ["embed"]}, "adapts an embedding"),
        ({"target_modules": ["picture"]}, "convolution"),
        ({"init_lora_weights": "pissa"}, "'pissa'"),
        ({"init_lora_weights": "olora"}, "'olora'"),
        ({"trainable_token_indices": {"embed": [1]}}, "trainable_token_indices"),
        ({"alora_invocation_tokens": [1], "task_type": TaskType.CAUSAL_LM}, "alora_invocation"),
    ],
)
def test_other_kinds_of_lora_are_refused_by_name(folder, settings, named):
    torch.manual_seed(0)
    config = LoraConfig(**{"r": 4, "target_modules": ["q"], **settings})
    try:
        with warnings.catch_warnings(action="ignore"):
            get_peft_model(Small(), config).save_pretrained(str(folder))
    except AttributeError:  # the task's model would generate; its settings are enough
        save(folder)
        change(folder, **settings)
    assert named in refusal(folder)


@pytest.mark.parametrize(
    "config",
    [
        AdaLoraConfig(init_r=4, target_r=2, total_step=5, target_modules=["q"]),
        IA3Config(target_modules=["q"], feedforward_modules=[]),
        LoHaConfig(r=4, target_modules=["q"]),
    ],
)
def test_other_adapters_are_refused_by_name(folder, config):
    get_peft_model(Small(), config).save_pretrained(str(folder))
    sentence = refusal(folder)
    assert f"'{config.peft_type.value}'" in sentence
    assert "convert_to_lora" in sentence


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"r": "8"}, "r: found '8'"),
        ({"r": 0}, "r: found 0"),
        ({"r": 3}, "says r = 3"),
        ({"lora_alpha": math.nan}, "lora_alpha"),
        ({"lora_alpha": None}, "lora_alpha"),
        ({"rank_pattern": {"q": 2}}, "says r = 2"),
        ({"rank_pattern": {"q": "2"}}, "rank_pattern.q"),
        ({"rank_pattern": {"(": 2}}, "'('"),
        ({"target_modules": ["v"]}, "target_modules"),
        ({"target_modules": 3}, "target_modules"),
        ({"peft_type": None}, "peft_type"),
        ({"use_qalora": True}, "use_qalora"),
        ({"kasa_config": {"a": 1}}, "kasa_config"),
        ({"megatron_config": {"a": 1}}, "megatron_config"),
        ({"target_parameters": ["x"]}, "target_parameters"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"),
        ({"init_lora_weights": "loftq"}, "loftq"),
    ],
)
def test_wrong_settings_are_named(folder, settings, named):
    save(folder)
    change(folder, **settings)
    with pytest.raises(RequestError, match=r"adapter_config\.json|says r") as caught:
        read_peft_folder(folder)
    assert named in str(caught.value)


A = "base_model.model.layers.0.q.lora_A.weight"


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda t: t.pop(A), "is missing beside"),
        (lambda t: t[A].view(-1)[3:].fill_(math.nan), "finite"),
        (lambda t: t[A].view(-1)[3:].fill_(math.inf), "finite"),
        (lambda t: t.update({A: t[A].to(torch.int8)}), "type I8"),
        (lambda t: t.update({A: t[A][:2].contiguous()}), "says r = 4"),
        (lambda t: t.update({A: t[A].flatten()}), "expected a matrix"),
        (lambda t: t.update({A.replace("lora_A", "lora_E"): t[A].clone()}), "no plain LoRA"),
        (lambda t: t.update({"x.lora_A.weight": t[A].clone()}), "no key of a saved PEFT"),
        (lambda t: (t.clear(), t.update({PREFIX + "x.weight": torch.ones(1)})), "no factors"),
        (lambda t: t.update({PREFIX + "x.weight": torch.tensor([math.nan])}), "finite"),
    ],
)
def test_wrong_tensors_are_named(folder, edit, named):
    save(folder)
    change_tensors(folder, edit)
    assert named in refusal(folder)


@pytest.mark.parametrize("size", [0, 4, 100, 5000])
def test_a_truncated_file_is_named(folder, size):
    save(folder)
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    assert str(file) in refusal(folder)


def test_a_pickle_is_not_read(folder):
    model = save(folder)
    file = folder / "adapter_model.safetensors"
    torch.save(model.state_dict(), folder / "adapter_model.bin")
    file.unlink()
    assert "a pickle" in refusal(folder)
    (folder / "adapter_model.bin").rename(file)  # a pickle by another name
    assert "not safetensors" in refusal(folder)


def test_folders_without_an_adapter_are_named(folder, tmp_path):
    assert "not there" in refusal(folder)
    save(folder)
    assert f"did you mean '{folder}'" in refusal(tmp_path)
    assert "expected the folder" in refusal(folder / "adapter_config.json")
    (folder / "adapter_model.safetensors").unlink()
    assert "there is no adapter_model.safetensors" in refusal(folder)
    (folder / "adapter_config.json").write_text("[" * 10_000)
    assert "not JSON" in refusal(folder)
    (folder / "adapter_config.json").write_text("[]")
    assert "no object" in refusal(folder)
