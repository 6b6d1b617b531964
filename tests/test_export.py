"""An exported rank, loaded by plain PEFT in a process that does not know this project."""

import json
import subprocess
import sys

import pytest
import torch

from dylora_exp.cli import main
from dylora_exp.compose import compose
from dylora_exp.methods.base import Way, make_method
from dylora_exp.models.backbone import load, resolve
from dylora_exp.run import execute

IDS = [[0, 40, 50, 60, 70, 2], [0, 30, 31, 32, 33, 2]]
PLAIN_PEFT = """
import json, sys, torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification
kind, base, folder, ids = sys.argv[1:]
model = AutoModelForSequenceClassification.from_pretrained(
    folder if kind == "merged" else base, num_labels=2
)
if kind == "adapter":
    model = PeftModel.from_pretrained(model, folder)
    scale = {m.scaling["default"] for m in model.modules() if hasattr(m, "lora_A")}
    rank = {m.r["default"] for m in model.modules() if hasattr(m, "lora_A")}
else:
    scale, rank = set(), set()
with torch.no_grad():
    logits = model.eval()(input_ids=torch.tensor(json.loads(ids))).logits
assert "dylora_exp" not in sys.modules
print(json.dumps({"logits": logits.tolist(), "scale": list(scale), "rank": list(rank)}))
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One tiny completed run of each method, in one results folder."""
    folder = tmp_path_factory.mktemp("runs")
    words = ["trainer.max_steps=6", "task.max_train_samples=96", "task.max_eval_samples=16",
             "ranks.r_max=4", f"results_dir={folder / 'results'}",
             f"outputs_dir={folder / 'outputs'}"]  # fmt: skip
    made = {
        method: (
            compose([*words, f"method={method}"]),
            execute(compose([*words, f"method={method}"])),
        )
        for method in ("dylora", "lora", "finetune")
    }
    return folder, made


def sweep_logits(folder, config, outcome, way):
    """Logits of the trained model as the sweep shows them."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    backbone, _ = load(config.model, labels=2)
    method = make_method(config)
    model = method.attach(backbone).eval()
    saved = folder / "outputs" / outcome.record.run_id / "model" / "adapter_model.safetensors"
    set_peft_model_state_dict(model, load_file(saved))
    with torch.no_grad(), method.at(model, way):
        return model(input_ids=torch.tensor(IDS)).logits


def plain_peft(kind, config, folder):
    command = [sys.executable, "-c", PLAIN_PEFT, kind, resolve(config.model), str(folder)]
    done = subprocess.run([*command, json.dumps(IDS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def export(runs, method, capsys, *words):
    folder, made = runs
    where = ["--results", str(folder / "results"), "--outputs", str(folder / "outputs")]
    name = made[method][1].record.run_id if method in made else method
    code = main(["export", name[:8], *words, *where])
    return code, capsys.readouterr()


@pytest.mark.parametrize(
    ("method", "way", "scale"),
    [
        ("dylora", Way(1, "leading", "alpha/b"), 16),
        ("dylora", Way(3, "leading", "alpha/b"), 16 / 3),
        ("lora", Way(2, "svd", "alpha/r"), 4),
        ("lora", Way(3, "leading", "alpha/b"), 16 / 3),
    ],
)
def test_plain_peft_gives_the_logits_of_the_sweep(method, way, scale, runs, tmp_path, capsys):
    words = ["--rank", str(way.rank), "--to", str(tmp_path / "a"), "--truncation", way.truncation]
    code, _ = export(runs, method, capsys, *words)
    assert code == 0
    folder, made = runs
    config, outcome = made[method]
    loaded = plain_peft("adapter", config, tmp_path / "a")
    assert loaded["rank"] == [way.rank]
    assert loaded["scale"] == [pytest.approx(scale)]
    ours = sweep_logits(folder, config, outcome, way)
    torch.testing.assert_close(ours, torch.tensor(loaded["logits"]), rtol=0, atol=1e-5)


def test_a_merged_model_needs_no_adapter(runs, tmp_path, capsys):
    code, _ = export(runs, "dylora", capsys, "--rank", "2", "--to", str(tmp_path / "m"), "--merge")
    assert code == 0
    folder, made = runs
    loaded = plain_peft("merged", made["dylora"][0], tmp_path / "m")
    ours = sweep_logits(folder, *made["dylora"], Way(2, "leading", "alpha/b"))
    torch.testing.assert_close(ours, torch.tensor(loaded["logits"]), rtol=0, atol=1e-4)
    assert (tmp_path / "m" / "tokenizer.json").is_file()


def test_all_ranks_at_once_each_with_a_card(runs, tmp_path, capsys):
    code, out = export(runs, "lora", capsys, "--rank", "all", "--to", str(tmp_path / "all"))
    assert code == 0
    assert out.out.split() == [str(tmp_path / "all" / f"rank-{b}") for b in range(1, 5)]
    card = (tmp_path / "all" / "rank-2" / "README.md").read_text()
    rows = [line for line in card.splitlines() if line.startswith("|")]
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["1", "**2**", "3"]
    assert "svd truncation at scale alpha/r" in card
    assert [p.name for p in tmp_path.iterdir()] == ["all"]


@pytest.mark.parametrize(
    ("method", "words", "expected"),
    [
        ("dylora", ["--rank", "9"], "--rank: found 9, the run has scored ranks 1, 2, 3, 4."),
        ("dylora", ["--rank", "x"], "--rank: found x"),
        ("dylora", ["--rank", "1", "--truncation", "svd"], "--truncation: 'svd' is not one of"),
        ("finetune", ["--rank", "1"], "is of method finetune, without ranks."),
        ("ffffffff", ["--rank", "1"], "run 'ffffffff' is not in"),
    ],
)
def test_what_cannot_be_exported_is_said_in_one_sentence(
    method, words, expected, runs, tmp_path, capsys
):
    code, out = export(runs, method, capsys, *words, "--to", str(tmp_path / "x"))
    assert (code, len(out.err.splitlines())) == (2, 1)
    assert expected in out.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_kept_unless_forced(runs, tmp_path, capsys):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").write_text("")
    words = ["--rank", "1", "--to", str(tmp_path / "x")]
    code, out = export(runs, "dylora", capsys, *words)
    assert code == 2
    assert "is in use; --force" in out.err
    assert (tmp_path / "x" / "mine").exists()
    code, _ = export(runs, "dylora", capsys, *words, "--force")
    assert code == 0
    assert not (tmp_path / "x" / "mine").exists()


def test_a_failed_run_and_a_damaged_adapter_are_refused(tiny_words, tmp_path, capsys, monkeypatch):
    config = compose(tiny_words)
    outcome = execute(config)
    adapter = tmp_path / "outputs" / outcome.record.run_id / "model" / "adapter_model.safetensors"
    adapter.write_bytes(adapter.read_bytes()[:1000])
    where = ["--results", str(tmp_path / "results"), "--outputs", str(tmp_path / "outputs")]
    words = ["export", outcome.record.run_id, "--rank", "1", "--to", str(tmp_path / "x"), *where]
    assert main(words) == 2
    assert "not a saved adapter" in capsys.readouterr().err
    failed = json.loads(outcome.path.read_text()) | {"status": "failed"}
    outcome.path.write_text(json.dumps(failed))
    assert main(words) == 2
    assert "is failed, not completed" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
