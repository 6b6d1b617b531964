"""The page on Python and the example: each snippet runs, in the order of the page."""

import ast
import re
import runpy

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import Trainer, TrainingArguments

import dylora_exp
from tests.support.small_gpt2 import LINES, small_tokenizer
from tests.support.tiny_llama import save_tiny_llama, stock_lora, tiny_llama
from tests.support.tiny_runs import ROOT, TINY

PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """What the reader has: a folder, a model, data, a tokenizer, an optimizer."""
    folder = tmp_path_factory.mktemp("page")
    save_tiny_llama(folder / "llama")
    ids = torch.arange(10).reshape(2, 5)
    return {
        "train_set": [{"input_ids": row, "labels": row} for row in ids.repeat(80, 1)],
        "base_model": type(tiny_llama()).from_pretrained(folder / "llama"),
        "texts": Dataset.from_dict({"text": LINES * 20}),
        "tokenizer": small_tokenizer(),
        "batches": [{"input_ids": ids, "labels": ids}] * 3,
        "inputs": {"input_ids": ids},
        "evaluate": lambda model: model(input_ids=ids, labels=ids).loss.item(),
        "folder": folder,
    }


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_a_snippet_runs(number, given, monkeypatch):
    monkeypatch.chdir(given["folder"])
    if "import trl" in SNIPPETS[number] or "from trl" in SNIPPETS[number]:
        pytest.importorskip("trl", reason="needs the extra 'trl'")
    if "for batch in batches" in SNIPPETS[number]:  # of a model and an optimizer of the reader's
        given["model"] = stock_lora().train()
        given["handle"] = dylora_exp.make_dynamic(given["model"])
        trained = [p for p in given["model"].parameters() if p.requires_grad]
        given["optimizer"] = torch.optim.AdamW(trained, lr=1e-3)
    code = SNIPPETS[number].replace("meta-llama/Llama-3.2-1B", "llama")
    code = code.replace('"out", ', '"out", report_to=[], use_cpu=True, bf16=False, ')
    code = code.replace("ranks=[1, 2, 4, 8]", "ranks=[1, 2, 4]")
    code = code.replace('"seed=42"', f'"seed=42", *{TINY}')
    tree = ast.parse(code)
    exec(compile(tree, "docs/python.md", "exec"), given)
    if "load_records" in code:
        assert len(given["frame"]) == 8
        assert given["frame"]["accuracy"].between(0, 1).all()
    if "record =" in code:
        assert [score.rank for score in given["record"].ranks] == list(range(1, 9))
        (row,) = given["folder"].glob("results/runs/*.json")
        assert row.stem == given["record"].run_id


def test_the_snippet_of_the_readme_runs(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```py\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    arguments = TrainingArguments("out", max_steps=3, report_to=[], use_cpu=True)
    names = {"get_peft_model": get_peft_model, "LoraConfig": LoraConfig, "Trainer": Trainer}
    exec(code, given | names | {"base_model": tiny_llama(60), "arguments": arguments})
    assert (tmp_path / "adapter-rank-2" / "adapter_config.json").is_file()


def test_the_example_runs(capsys):
    names = runpy.run_path(str(ROOT / "scripts" / "examples" / "any_trainer.py"))
    assert list(names["curve"]) == [1, 2, 4, 8]
    assert all(loss < 1.5 for loss in names["curve"].values())
    out = capsys.readouterr().out
    (kept,) = re.findall(r"rank 2 from now on: ([\d.]+)", out)
    assert f"rank 2 loaded by stock PEFT: {kept}" in out
