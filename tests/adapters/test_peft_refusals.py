"""Adapters that cannot be scored: one sentence each, exit 2, nothing written."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from dylora_exp.cli.entry import main
from dylora_exp.config.composition import compose
from dylora_exp.methods.base import Cut, make_method
from dylora_exp.runner.pipeline import load_run
from dylora_exp.runner.preflight import check
from tests.support.stock_adapters import IDS, TINY_ROBERTA, stock_logits, train_stock
from tests.support.tiny_runs import FEW

WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"
P = "base_model.model."
HEAD = f"{P}classifier.out_proj"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good") / "adapter"
    return train_stock(TINY_ROBERTA, folder, r=4, target_modules=["query", "value"])


@pytest.fixture
def adapter(good, tmp_path):
    return shutil.copytree(good, tmp_path / "adapter")


def settings(**changes):
    def change(folder):
        file = folder / SETTINGS
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def tensors(change):
    def write(folder):
        save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)

    return write


def without(*words):
    return tensors(lambda t: {k: v for k, v in t.items() if not any(w in k for w in words)})


def with_tensors(**new):
    return tensors(lambda t: {**t, **{P + k.replace("__", "."): v for k, v in new.items()}})


def truncate(folder):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:-5])


def as_pickle(folder):
    torch.save(load_file(folder / WEIGHTS), folder / "adapter_model.bin")
    (folder / WEIGHTS).unlink()


def nothing(folder):
    pass


THREE = {f"{HEAD}.weight": torch.zeros(3, 64), f"{HEAD}.bias": torch.zeros(3)}
WRONG = {
    "no config": (lambda f: (f / SETTINGS).unlink(), [], "there is no adapter_config.json in it"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), [], "there is no adapter_model.safetensors"),
    "truncated": (truncate, [], "damaged, or not safetensors"),
    "empty": (lambda f: (f / WEIGHTS).write_bytes(b""), [], "(it is empty)"),
    "a pickle": (as_pickle, [], "a pickle, which is not read"),
    "nan": (
        tensors(lambda t: {k: v / 0 * 0 for k, v in t.items()}), [],
        "holds other values than finite numbers",
    ),
    "DoRA": (settings(use_dora=True), [], "use_dora: found true"),
    "AdaLoRA": (settings(peft_type="ADALORA"), [], "convert_to_lora turns such an adapter"),
    "alpha": (settings(lora_alpha=0), [], "has lora_alpha 0, expected a number above 0"),
    "replicated layers": (settings(layer_replication=[[0, 2]]), [], "layer_replication: found"),
    "another task": (settings(task_type="CAUSAL_LM"), [], "task 'demo' is SEQ_CLS"),
    "texts": (nothing, ["task=demo-e2e"], "trained for SEQ_CLS, task 'demo-e2e' is CAUSAL_LM"),
    "no head": (without("classifier"), [], "model.head: the head (classifier) is neither among"),
    "no head, unsaid": (
        lambda f: [without("classifier")(f), settings(modules_to_save=None, task_type=None)(f)], [],
        "model.head: the head (classifier) is neither among",
    ),
    "half a head": (
        without("classifier.dense.bias"), [],
        "'classifier.dense.bias' is missing among its saved modules",
    ),
    "three labels": (
        tensors(lambda t: {**t, **THREE}), [],
        "its saved 'classifier.out_proj.bias' has shape (3,), expected (2,), task 'demo' has 2",
    ),
    "a new vocabulary": (
        with_tensors(roberta__embeddings__word_embeddings__weight=torch.zeros(5, 64)), [],
        "'base_model.model.roberta.embeddings.word_embeddings.weight' belongs to no module of",
    ),
    "another base": (
        nothing, ["model=tiny-gpt2"],
        "it was trained on another base than model 'tiny-gpt2': the model has no 'roberta.",
    ),
    "a base of another width": (
        tensors(lambda t: {k: v.repeat(1, 2) if "lora_A" in k else v for k, v in t.items()}), [],
        "query' maps 128 to 64 in the adapter and 64 to 64 in the model (and 5 more)",
    ),
    "fewer layers": (without("layer.2"), [], "names 'roberta.encoder.layer.2.attention.self"),
    "r_max": (nothing, ["ranks.r_max=16"], "ranks.r_max: found 16, the adapter in"),
    "a low r_max": (nothing, ["ranks.r_max=2"], "says 4; leave it out, ranks.score says"),
    "another alpha": (nothing, ["method.alpha=9"], "method.alpha: found 9, the adapter in"),
    "targets": (nothing, ["model.targets=[key]"], "model.targets: found [key], the adapter in"),
    "head": (nothing, ["model.head=[pooler]"], "model.head: found [pooler], the adapter in"),
    "a rank above": (nothing, ["ranks.score=[5]"], "ranks.score: found 5, expected ranks 1..4"),
    "no base": (settings(base_model_name_or_path=None), [], "names no base; choose it by model="),
    "a lost base": (
        settings(base_model_name_or_path="/nowhere/bert"), [],
        "names '/nowhere/bert' as its base, which is not here; choose it by model=NAME",
    ),
    "a base on the hub": (
        settings(base_model_name_or_path="ann/bert"), [],
        "'ann/bert' is not on this machine",
    ),
    "another method": (nothing, ["method=dylora"], "which method=imported scores"),
    "no such folder": (nothing, ["method.adapter=/nowhere/x"], "there is no folder or file"),
    "an adapter on the hub": (
        nothing, ["method.adapter=ann/lora"], "method.adapter: 'ann/lora' is not on this machine",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_sentence(what, adapter, tmp_path, capsys):
    change, overrides, expected = WRONG[what]
    change(adapter)
    places = [f"results_dir={tmp_path / 'new' / 'r'}", f"outputs_dir={tmp_path / 'new' / 'o'}"]
    words = ["run", "method=imported", f"method.adapter={adapter}", *FEW, *places, *overrides]
    assert main(words) == 2
    output = capsys.readouterr()
    assert all(": loading " in line for line in output.out.splitlines())
    (line,) = [each for each in output.err.splitlines() if each.startswith("dylora: ")]
    assert expected in line
    assert "Traceback" not in output.err
    assert not (tmp_path / "new").exists()


def test_what_is_typed_and_right_is_accepted(adapter):
    words = ["method=imported", f"method.adapter={adapter}", "ranks.r_max=4", "method.alpha=8"]
    words += ["model.targets=[value,query]", "model=tiny-roberta", "ranks.score=[1,4]"]
    config = compose(words)
    assert (config.ranks.r_max, config.ranks.score) == (4, [1, 4])
    assert config.model.targets == ["query", "value"]


def test_ranks_of_files_are_cut_to_the_adapters(adapter):
    words = ["method=imported", f"method.adapter={adapter}"]
    assert compose([*words, "ranks=powers"]).ranks.values == [1, 2, 4]
    mini = compose([*words, "profile=mini"])  # another model and r_max
    assert (mini.model.name, mini.ranks.r_max) == ("tiny-roberta", 4)


def test_a_base_in_a_folder_is_found(adapter, tmp_path):
    base = shutil.copytree(TINY_ROBERTA, tmp_path / "my base")
    settings(base_model_name_or_path=str(base))(adapter)
    config = compose(["method=imported", f"method.adapter={adapter}"])
    assert (config.model.name, config.model.name_or_path) == ("my base", str(base))
    settings(base_model_name_or_path=None)(adapter)
    words = ["method=imported", f"method.adapter={adapter}", f"model.name_or_path={base}"]
    assert compose(words).model.name == "my base"


@pytest.mark.parametrize(
    ("noted", "name", "path"),
    [
        ("roberta-base", "roberta-base", "roberta-base"),
        ("FacebookAI/roberta-large", "roberta-large", "roberta-large"),
        ("openai-community/gpt2", "gpt2", "gpt2"),
        ("meta-llama/Llama-3.2-1B", "llama-3.2-1b", "meta-llama/Llama-3.2-1B"),
        ("meta-llama/Llama-2-7b-hf", "Llama-2-7b-hf", "meta-llama/Llama-2-7b-hf"),
        ("/other/site-packages/dylora_exp/models/tiny-roberta", "tiny-roberta", None),
    ],
)
def test_a_base_is_found_by_its_name(noted, name, path, adapter):
    settings(base_model_name_or_path=noted)(adapter)
    model = compose(["method=imported", f"method.adapter={adapter}"]).model
    assert model.name == name
    assert path in (None, model.name_or_path)


def test_labels_in_another_order_are_refused(adapter, tmp_path, capsys):
    base = tmp_path / "base"
    names = {0: "POSITIVE", 1: "NEGATIVE"}
    model = AutoModelForSequenceClassification.from_pretrained(TINY_ROBERTA, id2label=names)
    model.save_pretrained(base)
    AutoTokenizer.from_pretrained(TINY_ROBERTA).save_pretrained(base)
    settings(base_model_name_or_path=str(base))(adapter)
    words = ["run", "method=imported", f"method.adapter={adapter}", *FEW]
    assert main([*words, f"results_dir={tmp_path / 'r'}", f"outputs_dir={tmp_path / 'o'}"]) == 2
    assert "the order POSITIVE, NEGATIVE, task 'demo' has negative" in capsys.readouterr().err


def test_a_head_may_be_the_bases(adapter, tmp_path):
    """An adapter without a head on a base that has one."""
    base = tmp_path / "base"
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(TINY_ROBERTA)
    model.save_pretrained(base)
    AutoTokenizer.from_pretrained(TINY_ROBERTA).save_pretrained(base)
    settings(base_model_name_or_path=str(base), modules_to_save=None)(adapter)
    without("classifier")(adapter)
    words = ["run", "method=imported", f"method.adapter={adapter}", *FEW, "ranks.score=[4]"]
    assert main([*words, f"results_dir={tmp_path / 'r'}", f"outputs_dir={tmp_path / 'o'}"]) == 0
    (record,) = (tmp_path / "r" / "runs").glob("*.json")
    words = ["export", record.stem, "--rank", "4", "--to", str(tmp_path / "x"),
             "--results", str(tmp_path / "r"), "--outputs", str(tmp_path / "o")]  # fmt: skip
    assert main(words) == 0
    found = load_file(tmp_path / "x" / WEIGHTS)[f"{HEAD}.weight"]
    assert torch.equal(found, model.classifier.out_proj.weight)


def test_a_rank_above_the_width_is_read(tmp_path):
    adapter = train_stock(TINY_ROBERTA, tmp_path / "wide", r=80, target_modules=["query"])
    words = ["method=imported", f"method.adapter={adapter}", *FEW, "ranks.score=[1,80]"]
    config = compose(words)
    run = load_run(config, check(config))
    model = run.model.eval()
    with torch.no_grad(), run.method.at_cut(model, Cut(80, "svd", "alpha/r")):
        found = model(input_ids=IDS).logits
    expected = stock_logits(TINY_ROBERTA, adapter, "SEQ_CLS")
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_source_names_no_folder_of_a_machine(adapter):
    settings(base_model_name_or_path=str(TINY_ROBERTA))(adapter)
    config = compose(["method=imported", f"method.adapter={adapter}"])
    source = make_method(config).source()
    assert (source["base_model"], source["folder"]) == ("tiny-roberta", "adapter")
    assert source["saved_modules"] == ["classifier"]
