"""What a model's files hold is the model: no weight is made up, none is left out."""

import io
import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import RobertaConfig, RobertaForMaskedLM, RobertaForSequenceClassification

from dylora_exp.config.composition import compose
from dylora_exp.core.errors import RequestError
from dylora_exp.models.loading import load

SHAPE = {
    "vocab_size": 800, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 66, "pad_token_id": 1,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A pretrained masked language model with the tokenizer that comes with the project."""
    torch.manual_seed(0)
    RobertaForMaskedLM(RobertaConfig(**SHAPE)).save_pretrained(tmp_path)
    load(compose([]).model, labels=2)[1].save_pretrained(tmp_path)
    return tmp_path


def config(folder, *overrides):
    return compose([f"model.name_or_path={folder}", *overrides]).model


def rewrite(folder, change):
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def renamed(old, new):
    return lambda tensors: {name.replace(old, new, 1): each for name, each in tensors.items()}


def test_a_masked_language_model_has_all_weights_but_the_head(folder):
    backbone, _ = load(config(folder), labels=3)
    kept = load_file(folder / "model.safetensors")
    ours = backbone.state_dict()
    assert all(torch.equal(ours[name], kept[name]) for name in kept if name.startswith("roberta"))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "base_model.model."])
def test_weights_under_a_wrappers_prefix_are_refused(folder, prefix):
    rewrite(folder, renamed("", prefix))
    with pytest.raises(RequestError, match=r"'roberta\.embeddings\.\S+' \(and \d+ more\) of the"):
        load(config(folder), labels=2)


def test_a_single_missing_weight_is_named(folder):
    rewrite(folder, lambda all_: {n: t for n, t in all_.items() if "1.output.dense.bias" not in n})
    with pytest.raises(RequestError) as caught:
        load(config(folder), labels=2)
    assert caught.value.problems == [
        "model.name_or_path: 'roberta.encoder.layer.1.output.dense.bias' of the model is not among "
        "its weights, so that random values would be used; expected all but those of new modules "
        "in model.head (classifier)."
    ]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [(3, r"layer\.2\.\S+ \(and"), (1, r"layer\.1\.\S+ \(and \d+ more\) among")],
)
def test_a_config_of_another_depth_is_refused(folder, layers, expected):
    RobertaConfig(**{**SHAPE, "num_hidden_layers": layers}).save_pretrained(folder)
    with pytest.raises(RequestError, match=expected):
        load(config(folder), labels=2)


def test_a_config_of_another_width_is_refused(folder):
    RobertaConfig(**{**SHAPE, "intermediate_size": 48}).save_pretrained(folder)
    with pytest.raises(RequestError, match=r"found shape \(32,\), expected \(48,\)\.$"):
        load(config(folder, "model.drop_head=true"), labels=2)


def test_adapters_that_were_not_merged_are_refused(folder):
    name = "roberta.encoder.layer.0.attention.self.query.lora_A.weight"
    rewrite(folder, lambda tensors: {**tensors, name: torch.zeros(2, 16)})
    with pytest.raises(RequestError, match=r"lora_A\.weight' among its weights is of no layer"):
        load(config(folder), labels=2)


def test_an_adapter_beside_the_weights_is_refused(folder):
    from peft import LoraConfig, get_peft_model

    model = RobertaForMaskedLM(RobertaConfig(**SHAPE))
    get_peft_model(model, LoraConfig(target_modules=["query"])).save_pretrained(folder)
    with pytest.raises(RequestError, match="an adapter beside the weights"):
        load(config(folder), labels=2)


def test_the_head_of_other_labels_is_dropped_where_asked(folder):
    torch.manual_seed(1)
    RobertaForSequenceClassification(RobertaConfig(**SHAPE, num_labels=3)).save_pretrained(folder)
    with pytest.raises(RequestError, match=r"model\.drop_head=true starts with a new head"):
        load(config(folder), labels=2)
    kept = load_file(folder / "model.safetensors")
    dense = "classifier.dense.weight"
    for labels in (2, 3):  # of the same size, too
        backbone, _ = load(config(folder, "model.drop_head=true"), labels=labels)
        ours = backbone.state_dict()
        assert len(ours["classifier.out_proj.bias"]) == labels
        assert not torch.equal(ours[dense], kept[dense])
        assert ours[dense].std() == pytest.approx(0.02, rel=0.3)
        body = [name for name in kept if not name.startswith("classifier")]
        assert all(torch.equal(ours[name], kept[name]) for name in body)
    stays, _ = load(config(folder), labels=3)
    assert torch.equal(stays.state_dict()[dense], kept[dense])


def test_pickles_are_refused_with_the_way_to_convert_them(folder, monkeypatch):
    file = folder / "model.safetensors"
    kept = load_file(file)
    torch.save(kept, folder / "pytorch_model.bin")
    file.unlink()
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was read"))
    with pytest.raises(RequestError, match="are pickles") as caught:
        load(config(folder), labels=2)
    monkeypatch.undo()
    (problem,) = caught.value.problems
    command = problem.partition("convert it in its folder with: python -c ")[2]
    subprocess.run([sys.executable, "-c", command.strip('"')], cwd=folder, check=True)
    converted = load_file(file)
    assert converted.keys() == kept.keys()
    assert all(torch.equal(converted[name], kept[name]) for name in kept)
    load(config(folder), labels=2)


@pytest.mark.parametrize("what", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("answer", ["y\n", ""])
def test_code_beside_the_weights_is_never_run(folder, what, answer, monkeypatch):
    code = folder / "mine.py"
    code.write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Mine: pass\n")
    tree = json.loads((folder / what).read_text())
    kinds = ("AutoConfig", "AutoModelForSequenceClassification", "AutoTokenizer")
    tree["auto_map"] = dict.fromkeys(kinds, "mine.Mine")
    tree |= {"model_type": "mine"} if what == "config.json" else {"tokenizer_class": "Mine"}
    tree["trust_remote_code"] = True
    (folder / what).write_text(json.dumps(tree))
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    problem = None
    try:  # a tokenizer's files may do without its code
        load(config(folder), labels=2)
    except RequestError as error:
        problem = str(error)
    if problem is None:
        assert what == "tokenizer_config.json"
    else:
        assert "needs Python code of its own (auto_map), which is never run" in problem
    assert not (folder / "ran").exists()


ARGUMENTS = """
trust_remote_code code_revision auto_map dtype torch_dtype attn_implementation _commit_hash
_attn_implementation quantization_config _name_or_path name_or_path architectures id2label
gradient_checkpointing return_dict output_hidden_states output_attentions problem_type revision
token device_map low_cpu_mem_usage cache_dir subfolder use_safetensors weights_only state_dict
_from_auto gguf_file proxies local_files_only max_memory experts_implementation torchscript
model_type kwargs
"""


@pytest.mark.parametrize("name", ARGUMENTS.split())
def test_a_setting_of_the_model_is_no_argument_of_the_loader(folder, name):
    tree = {name: {}} | json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(tree))
    with pytest.raises(RequestError, match=f"model.overrides.{name}: .* no such setting"):
        load(config(folder, f"model.overrides={{{name}: true}}"), labels=2)


def test_the_setting_makes_no_new_run_id_by_its_default():
    import dylora_exp

    assert dylora_exp.run_id(compose(["model.drop_head=false"])) == dylora_exp.run_id(compose([]))
    assert dylora_exp.run_id(compose(["model.drop_head=true"])) != dylora_exp.run_id(compose([]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(folder, value):
    name = "roberta.embeddings.word_embeddings.weight"

    def damage(tensors):
        tensors[name][-1, -1] = value  # of a token that no text may have
        return tensors

    rewrite(folder, damage)
    with pytest.raises(RequestError, match=f"'{name}' among its weights holds other values than"):
        load(config(folder), labels=2)


def test_weights_are_read_as_they_are_whatever_type_the_config_names(folder):
    tree = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**tree, "dtype": "bfloat16"}))
    kept = load_file(folder / "model.safetensors")
    ours = load(config(folder), labels=2)[0].state_dict()
    assert all(torch.equal(ours[name], kept[name]) for name in kept if name.startswith("roberta"))


@pytest.mark.parametrize("settings", [{"eos_token_id": [2, 5]}, {"return_dict": False}])
def test_settings_of_the_config_that_change_nothing(folder, settings):
    plain = load(config(folder), labels=2)[0].eval()
    tree = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(tree | settings))
    ids = torch.tensor([[0, 7, 9, 2]])
    backbone = load(config(folder), labels=2)[0].eval()
    with torch.no_grad():
        assert torch.equal(
            backbone.roberta(ids).last_hidden_state, plain.roberta(ids).last_hidden_state
        )


@pytest.mark.parametrize("name", ["use_cache", "eos_token_id", "pad_token_id"])
def test_a_setting_of_the_model_without_effect_is_refused(folder, name):
    with pytest.raises(RequestError, match=f"model.overrides.{name}: it would change nothing"):
        load(config(folder, f"model.overrides={{{name}: 1}}"), labels=2)


@pytest.mark.parametrize(
    ("name", "value"), [("hidden_dropout_prob", "much"), ("num_hidden_layers", "two")]
)
def test_a_setting_of_the_model_of_another_type_is_one_sentence(folder, name, value):
    with pytest.raises(RequestError, match=f"^model.overrides.{name}: found '{value}'") as refused:
        load(config(folder, f"model.overrides={{{name}: {value}}}"), labels=2)
    assert "\n" not in str(refused.value)


def test_a_new_architecture_is_made_of_its_own_settings_alone(folder):
    model = config(folder, "model.pretrained=false")
    model.config = {"model_type": "roberta", "trust_remote_code": True}
    with pytest.raises(RequestError, match=r"^model.config.trust_remote_code: .* of a loader"):
        load(model, labels=2)
