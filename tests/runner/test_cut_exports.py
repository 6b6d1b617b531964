"""Every cut, exported and loaded by stock PEFT in a fresh process, against the rank sweep."""

import functools
import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from dylora_exp.adapters.peft_folder import SETTINGS, WEIGHTS
from dylora_exp.cli.entry import main
from dylora_exp.config.composition import compose
from dylora_exp.models.architecture import resolve
from dylora_exp.models.loading import load
from dylora_exp.records.store import RecordStore
from dylora_exp.runner.pipeline import load_run
from dylora_exp.runner.preflight import check
from dylora_exp.runner.run import run_if_needed
from dylora_exp.training.calibration import calibration_batches
from tests.support.stock_adapters import make_base, train_stock

TRUNCATIONS = ["leading", "svd", "energy", "global", "activation", "gradient"]
CUTS = [f"{{truncation: {name}, scale: alpha/r}}" for name in TRUNCATIONS]
SCORE = f"method.score=[{','.join(CUTS)}]"
SHORT = [
    *("method=lora", SCORE, "method.calibration_batches=2", "ranks.r_max=3", "ranks.score=[1,2,3]"),
    *("trainer.max_steps=8", "trainer.batch_size=8", "trainer.learning_rate=0.01"),
    *("task.max_train_samples=48", "task.max_eval_samples=4"),
]
IDS = [[5, 40, 50, 60, 70, 2], [7, 30, 31, 32, 33, 2]]
STOCK = """
import json, os, sys, torch, transformers
from peft import PeftModel
base, kind, ids, *folders = sys.argv[1:]
for folder in folders:
    merged = not os.path.exists(os.path.join(folder, "adapter_config.json"))
    load = getattr(transformers, kind).from_pretrained
    more = {"dtype": torch.float32} | ({"num_labels": 2} if "Classification" in kind else {})
    model = load(folder if merged else base, **more)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = 1
    if not merged:
        model = PeftModel.from_pretrained(model, folder)
    with torch.no_grad():
        logits = model.eval()(input_ids=torch.tensor(json.loads(ids))).logits
    assert "dylora_exp" not in sys.modules
    print(json.dumps(logits.tolist()))
"""


def gpt2_classifier(folder):
    """A GPT-2 with random weights that classifies, its query, value and an MLP layer adapted."""
    settings = compose(["model=tiny-gpt2"]).model
    shape = {"n_layer": 2, "vocab_size": 600, "pad_token_id": 1, "dtype": "float32"}
    config = AutoConfig.from_pretrained(resolve(settings), num_labels=2, **shape)
    torch.manual_seed(1)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    load(compose([]).model, labels=2)[1].save_pretrained(folder)
    return ["model=tiny-gpt2", f"model.name_or_path={folder}",
            "model.targets=[c_attn.q,c_attn.v,mlp.c_fc]"]  # fmt: skip


def stock_adapter(folder):
    """An rsLoRA that stock PEFT trained, whose layers differ in rank, scale and shape."""
    folder.mkdir()
    base = make_base("roberta", folder)
    settings = {
        "r": 4,
        "target_modules": ["query", "value", "intermediate.dense"],
        "rank_pattern": {"layer.1.attention.self.query": 2, "layer.0.attention.self.value": 7},
        "alpha_pattern": {"layer.1.attention.self.value": 40, "query": 4},
        "use_rslora": True,
    }
    adapter = train_stock(base, folder / "adapter", "SEQ_CLS", **settings)
    of_training = ("method=", "ranks.r_max", "trainer.max_steps", "trainer.learning_rate")
    words = [word for word in SHORT if not word.startswith(of_training)]
    return ["method=imported", f"method.adapter={adapter}", *words]


BASES = {
    "labels": lambda folder: [*SHORT, "model.targets=[query,value,output.dense]"],
    "fused": lambda folder: [*SHORT, *gpt2_classifier(folder)],
    "texts": lambda folder: [
        *SHORT,
        *("profile=demo-nlg", "task.metrics=[bleu]", "task.decode.beams=1"),
        "task.decode.max_new_tokens=3",
    ],
    "imported": stock_adapter,
}


@pytest.fixture(
    scope="module",
    params=[
        "fused",
        *(pytest.param(each, marks=pytest.mark.slow) for each in BASES if each != "fused"),
    ],
)
def made(request, tmp_path_factory):
    """A completed run, its folder, and the logits of each cut as the sweep shows the model."""
    from peft import set_peft_model_state_dict

    folder = tmp_path_factory.mktemp("cuts")
    where = [f"results_dir={folder / 'results'}", f"outputs_dir={folder / 'outputs'}"]
    config = compose([*BASES[request.param](folder / "base"), *where])
    outcome = run_if_needed(config)
    run = load_run(config, check(config))
    saved = folder / "outputs" / outcome.record.run_id / "model" / WEIGHTS
    set_peft_model_state_dict(run.model, load_file(saved))
    run.model.eval()
    run.method.prepare_cuts(
        run.model, functools.partial(calibration_batches, run.objective, config)
    )
    shown = {}
    for cut in run.method.cuts():
        with torch.no_grad(), run.method.at_cut(run.model, cut):
            shown[cut.truncation, cut.rank] = run.model(input_ids=torch.tensor(IDS)).logits
    return config, outcome, folder, shown


def flags(folder):
    return ["--results", str(folder / "results"), "--outputs", str(folder / "outputs")]


def stock(config, *folders):
    kind = config.task.auto_model_class
    words = [resolve(config.model), kind, json.dumps(IDS), *map(str, folders)]
    done = subprocess.run([sys.executable, "-c", STOCK, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [torch.tensor(json.loads(line)) for line in done.stdout.splitlines()]


def test_stock_peft_gives_the_logits_of_the_sweep_at_every_cut(made, tmp_path, capsys):
    config, outcome, folder, shown = made
    folders = {}
    for truncation in TRUNCATIONS:
        to = tmp_path / truncation
        words = ["--rank", "all", "--truncation", truncation, "--to", str(to), *flags(folder)]
        assert main(["export", outcome.record.run_id, *words]) == 0, capsys.readouterr().err
        folders |= {(truncation, rank): to / f"rank-{rank}" for rank in (1, 2, 3)}
    merged = tmp_path / "merged"
    words = ["--rank", "1", "--truncation", "gradient", "--merge", "--to", str(merged)]
    assert main(["export", outcome.record.run_id, *words, *flags(folder)]) == 0
    *found, of_merged = stock(config, *folders.values(), merged)
    for cut, logits in zip(folders, found, strict=True):
        difference = (logits - shown[cut]).abs().max().item()
        assert difference <= 1e-5, cut
    torch.testing.assert_close(of_merged, shown["gradient", 1], rtol=0, atol=1e-4)
    assert (shown["gradient", 1] - shown["svd", 1]).abs().max() > 1e-5  # another model
    card = (folders["gradient", 1] / "README.md").read_text()
    assert "ranks of their own" in card


def test_an_export_has_the_ranks_of_the_record_within_the_parameters(made, tmp_path):
    _, outcome, folder, _ = made
    record = RecordStore(folder / "results").read(outcome.record.run_id)
    assert record == outcome.record
    sizes = record.layers
    assert sizes
    for entry in record.ranks:
        if entry.truncation not in ("energy", "global", "gradient"):
            assert entry.layer_ranks is None
        if entry.layer_ranks is None:
            continue
        to = tmp_path / f"{entry.truncation}-{entry.rank}"
        words = ["--rank", str(entry.rank), "--truncation", entry.truncation, "--to", str(to)]
        assert main(["export", record.run_id, *words, *flags(folder)]) == 0
        tree = json.loads((to / SETTINGS).read_text())
        assert tree["rank_pattern"] == tree["alpha_pattern"]
        assert tree["lora_alpha"] == tree["r"]
        tensors = load_file(to / WEIGHTS)
        rows = sum(len(each) for name, each in tensors.items() if ".lora_A." in name)
        assert rows == sum(entry.layer_ranks.values())
        spent = sum(r * (sizes[n].d_in + sizes[n].d_out) for n, r in entry.layer_ranks.items())
        whole = sum(min(entry.rank, each.r) * (each.d_in + each.d_out) for each in sizes.values())
        assert spent <= whole


def test_a_run_keeps_the_bases_that_data_have_decided(made, tmp_path, capsys):
    _, outcome, folder, _ = made
    model = folder / "outputs" / outcome.record.run_id / "model"
    kept = {f"basis_{each}.safetensors" for each in ("activation", "gradient")}
    assert kept < set(outcome.record.files)
    file = model / "basis_gradient.safetensors"
    content, tensors = file.read_bytes(), load_file(file)
    words = ["export", outcome.record.run_id, "--rank", "1", "--truncation", "gradient"]
    words += ["--to", str(tmp_path / "x"), *flags(folder)]
    damages = {
        "other values": lambda: save_file({n: t + 1 for n, t in tensors.items()}, file),
        "none": file.unlink,
        "cut short": lambda: file.write_bytes(content[:100]),
        "fewer": lambda: save_file(dict(list(tensors.items())[2:]), file),
    }
    try:
        for damage in damages.values():
            damage()
            assert main(words) == 2
            assert len(capsys.readouterr().err.splitlines()) == 1
            assert list(tmp_path.iterdir()) == []
    finally:
        file.write_bytes(content)
    assert main(words) == 0


def test_a_run_that_is_done_again_has_the_same_scores_and_bases(made, tmp_path):
    config, outcome, *_ = made
    if config.model.name != "tiny-roberta":
        pytest.skip("one model is enough")
    again = config.model_copy(
        update={"results_dir": f"{tmp_path}/results", "outputs_dir": f"{tmp_path}/outputs"}
    )
    record = run_if_needed(again).record
    assert record.files == outcome.record.files

    def scores(each):
        return [(e.rank, e.truncation, e.metrics, e.layer_ranks) for e in each.ranks]

    assert scores(record) == scores(outcome.record)
