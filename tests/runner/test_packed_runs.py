"""Runs over bases in other precisions: repeated, resumed, exported, merged, refused."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from dylora_exp.cli.entry import main
from dylora_exp.config import compose, run_id
from dylora_exp.core import RequestError
from dylora_exp.models import precision
from dylora_exp.runner import exporting
from dylora_exp.runner.run import run_if_needed
from tests.support import packed_bases, watched_runs
from tests.support.compared_records import without_times
from tests.support.packed_bases import load_stock, stock_logits

pytest.importorskip("bitsandbytes")

INPUTS = [[5, 40, 7, 9, 11, 60, 33, 2], [8, 8, 41, 100, 17, 3, 4, 90]]
CUTS = "method.score=[{truncation: leading, scale: alpha/b}, {truncation: svd, scale: alpha/r}]"
BASES = [
    *(["model.quantization=nf4"], ["model.quantization=int8"], ["model.dtype=bfloat16"]),
    ["model.quantization=nf4", "model.dtype=bfloat16", "trainer.bf16=true"],
]


@pytest.fixture(scope="module")
def folder(packable_llama):
    return packable_llama


def words(folder, *more):
    return [
        *("task=demo-e2e", "profile=demo-nlg", f"model.name_or_path={folder}", "model.name=llama"),
        *("model.targets=[q_proj,up_proj]", "model.overrides=null", "model.fused=null"),
        *("ranks.r_max=3", "ranks.score=[1,2,3]", "trainer.batch_size=4", "trainer.max_steps=5"),
        *("trainer.save_steps=2", "task.max_train_samples=40", "task.max_eval_samples=2"),
        *("task.metrics=[bleu]", "task.decode.max_new_tokens=6", "trainer.learning_rate=0.02"),
        *("trainer.warmup_steps=0", "trainer.schedule=constant", "trainer.threads=1", CUTS, *more),
    ]


def run(folder, place, *more):
    to = [f"results_dir={place / 'results'}", f"outputs_dir={place / 'outputs'}"]
    return run_if_needed(compose([*words(folder, *more), *to])).record


def adapter(place, record):
    return place / "outputs" / record.run_id / "model" / "adapter_model.safetensors"


def export(record, place, target, rank=2, **options):
    exporting.export(
        record.run_id, str(rank), target, place / "results", place / "outputs", **options
    )
    return target


def ask_stock(*jobs):
    """Return the logits of jobs in a process that does not know this project."""
    keys = ("base", "quantization", "adapter")
    text = json.dumps([dict(zip(keys, map(str, job), strict=True)) | {"inputs": INPUTS}
                       for job in jobs])  # fmt: skip
    done = subprocess.run([sys.executable, packed_bases.__file__], input=text, text=True,
                          capture_output=True, check=True)  # fmt: skip
    return [torch.tensor(each) for each in json.loads(done.stdout.splitlines()[-1])]


@pytest.fixture(scope="module")
def done(folder, tmp_path_factory):
    """A run over a base in four bits."""
    place = tmp_path_factory.mktemp("nf4")
    return place, run(folder, place, "model.quantization=nf4")


def test_an_export_loads_on_the_packed_and_on_the_full_base(folder, done, tmp_path):
    place, record = done
    target = export(record, place, tmp_path / "adapter", truncation="leading")
    packed, full, alone = ask_stock(
        (folder, "nf4", target), (folder, "none", target), (folder, "nf4", "")
    )
    settings = json.loads((target / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(folder)
    assert settings["r"] == 2
    # By hand, in this process.
    trained = load_file(adapter(place, record))
    model = load_stock(folder, "nf4")
    with torch.no_grad():
        for name, layer in model.named_modules():
            key = f"base_model.model.{name}"
            if f"{key}.lora_A.weight" in trained:
                a, b = (trained[f"{key}.lora_{side}.weight"] for side in "AB")

                def add(_, inputs, output, a=a[:2], b=b[:, :2]):
                    return output + 32 / 2 * inputs[0] @ a.T @ b.T

                layer.register_forward_hook(add)
    expected = stock_logits(model, INPUTS)
    size = expected.abs().max()
    assert (packed - expected).abs().max() <= 1e-5 * size
    assert (packed - alone).abs().max() > 1e-2 * size
    assert (packed - full).abs().max() > 1e-3 * size
    card = (target / "README.md").read_text()
    assert "the base quantised (nf4)" in card
    assert 'BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4"' in card
    assert "also loads on the full base" in card


@pytest.mark.parametrize("base", [pytest.param(each, marks=pytest.mark.slow) for each in BASES],
                         ids=" ".join)  # fmt: skip
def test_a_run_is_repeated_and_resumed_bit_by_bit(base, folder, tmp_path):
    first = run(folder, tmp_path / "one", *base)
    again = run(folder, tmp_path / "two", *base)
    cut = words(folder, *base)
    watched_runs.run("cut", cut, tmp_path, kill_at=3)
    assert list((tmp_path / "cut" / "outputs" / first.run_id).glob("checkpoint-2"))
    resumed = watched_runs.run("cut", cut, tmp_path).record
    weights = adapter(tmp_path / "one", first).read_bytes()
    assert adapter(tmp_path / "two", again).read_bytes() == weights
    assert adapter(tmp_path / "cut", resumed).read_bytes() == weights
    assert without_times(first) == without_times(again) == without_times(resumed)


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize("cut", ["leading", "svd"])
def test_a_merged_model_computes_what_the_run_did(quantization, cut, folder, tmp_path):
    record = run(folder, tmp_path, f"model.quantization={quantization}")
    target = export(record, tmp_path, tmp_path / "adapter", truncation=cut)
    merged = export(record, tmp_path, tmp_path / "merged", truncation=cut, merge=True)
    config = json.loads((merged / "config.json").read_text())
    assert "quantization_config" not in config and config["dtype"] == "float32"
    apart, together, full = ask_stock(
        *((folder, quantization, target), (merged, "none", ""), (folder, "none", target))
    )
    difference = (apart - together).abs().max()
    assert difference <= 1e-4 * apart.abs().max() < (full - together).abs().max()
    card = (merged / "README.md").read_text()
    assert f"a quantised base ({quantization}) and is merged into the dequantised weights" in card


@pytest.mark.slow
def test_a_merged_model_that_computes_something_else_is_refused(folder, tmp_path):
    base = ["model.quantization=nf4", "model.dtype=bfloat16"]
    record = run(folder, tmp_path, *base)
    with pytest.raises(RequestError, match=r"^--merge: .* stand for, .* computes in bfloat16; exp"):
        export(record, tmp_path, tmp_path / "merged", merge=True)
    assert not (tmp_path / "merged").exists()
    export(record, tmp_path, tmp_path / "adapter")


@pytest.mark.slow
def test_a_base_in_half_precision_is_merged_in_single(folder, tmp_path):
    record = run(folder, tmp_path, "model.dtype=bfloat16")
    target = export(record, tmp_path, tmp_path / "adapter")
    merged = export(record, tmp_path, tmp_path / "merged", merge=True)
    base = load_stock(folder, "none", dtype=torch.bfloat16).float()
    from peft import PeftModel

    expected = stock_logits(PeftModel.from_pretrained(base, target), INPUTS)
    found = stock_logits(load_stock(merged, "none"), INPUTS)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert "in single precision, which rounds nothing" in (merged / "README.md").read_text()


@pytest.mark.slow
def test_an_adapter_is_imported_over_a_packed_base(folder, done, tmp_path):
    """It has, at its rank, the texts that the run had."""
    place, record = done
    target = export(record, place, tmp_path / "adapter", rank=3)
    imported = run_if_needed(
        compose(
            [
                *(each for each in words(folder) if not each.startswith(("ranks.", "method."))),
                *("method=imported", f"method.adapter={target}", "model.quantization=nf4"),
                *(f"results_dir={tmp_path / 'r'}", f"outputs_dir={tmp_path / 'o'}"),
            ]
        )
    ).record
    top = next(each for each in imported.ranks if each.rank == 3)
    assert top.metrics == next(each for each in record.ranks if each.rank == 3).metrics


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        ["method=nested-dropout"],
        ["method=matryoshka", "method.score=[{truncation: leading, scale: alpha/r}]"],
        ["method=sorted-lora", "ranks=sandwich"],
        ["method=dylora-frozen", "method.freeze=strict"],
        ["method=lora", "method.calibration_batches=2", "method.score=["
         + ", ".join(f"{{truncation: {each}, scale: alpha/r}}"
                     for each in ("energy", "global", "activation", "gradient")) + "]"],
    ],
    ids=lambda more: more[0],
)  # fmt: skip
@pytest.mark.parametrize("base", BASES, ids=" ".join)
def test_every_method_trains_over_every_base(more, base, folder, tmp_path):
    record = run(folder, tmp_path, *base, *more)
    assert record.status == "completed"
    target = export(record, tmp_path, tmp_path / "adapter")
    assert load_file(target / "adapter_model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("base", BASES, ids=" ".join)
def test_a_classifier_over_every_base(base, tmp_path):
    few = ["trainer.max_steps=4", "task.max_train_samples=96", "task.max_eval_samples=40"]
    to = [f"results_dir={tmp_path / 'r'}", f"outputs_dir={tmp_path / 'o'}"]
    record = run_if_needed(compose([*base, *few, *to, "method=dylora", "ranks.r_max=4"])).record
    saved = load_file(tmp_path / "o" / record.run_id / "model" / "adapter_model.safetensors")
    assert {each.dtype for each in saved.values()} == {torch.float32}
    assert record.parameters["trainable"] == sum(each.numel() for each in saved.values())
    exporting.export(record.run_id, "2", tmp_path / "adapter", tmp_path / "r", tmp_path / "o")


def test_the_record_says_the_precision(folder, done):
    _, record = done
    assert record.config["model"]["quantization"] == "nf4"
    assert record.config["model"]["dtype"] == "float32"
    assert record.environment["bitsandbytes"]
    whole = sum(each.numel() for each in load_stock(folder, "none").parameters())
    assert record.parameters["total"] == whole + record.parameters["adapter"]
    assert whole < record.memory["model_bytes"] < 2 * whole
    assert [entry.rank for entry in record.ranks] == [1, 2, 3, 1, 2, 3]


def test_defaults_leave_the_run_id_as_it_was():
    plain = run_id(compose([]))
    assert run_id(compose(["model.dtype=float32", "model.quantization=none"])) == plain
    assert run_id(compose(["trainer.gradient_checkpointing=true"])) == plain
    others = [["model.dtype=bfloat16"], ["model.quantization=nf4"], ["model.quantization=int8"]]
    assert len({plain, *(run_id(compose(each)) for each in others)}) == 4


REFUSED = [
    (["model.dtype=float16"], "model.dtype: found float16, .* needs a GPU"),
    (["model.dtype=float16", "trainer.bf16=true"], "with trainer.bf16=true, which computes in bf"),
    (["model.dtype=bfloat16", "method=finetune"], "model.dtype: found bfloat16 with method 'finet"),
    (["model.quantization=nf4", "method=finetune"], "model.quantization: found nf4 with method"),
    (
        ["model.quantization=int8", "method=flop", "method.target_sparsity=0.5"],
        "model.quantization: found int8 with method 'flop'",
    ),
    (["model.quantization=nf4", "trainer.compile=true"], "trainer.compile: found true with model"),
    (["model.quantization=int4"], "model.quantization: .*int4.*nf4"),
    (["model.dtype=half"], "model.dtype: .*half.*float16"),
    (
        ["model=tiny-gpt2", "model.quantization=nf4", "task=demo-e2e", "profile=demo-nlg"],
        r"'c_attn.q' is a part of a layer, .* name the whole layer \(model.targets=\[c_attn\]\)",
    ),
    (["model.quantization=nf4", "model.head=[encoder,classifier]"], "no linear layers that could"),
]


@pytest.mark.skipif(torch.accelerator.is_available(), reason="float16 is for a GPU")
@pytest.mark.parametrize(("more", "expected"), REFUSED)
def test_what_cannot_be_is_one_sentence_before_training(more, expected, tmp_path, capsys):
    import re

    to = [f"results_dir={tmp_path / 'results'}", f"outputs_dir={tmp_path / 'outputs'}"]
    assert main(["run", *more, *to]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if re.search(expected, line)]) == 1
    assert not list(tmp_path.iterdir())


def test_the_package_that_packs_is_named_where_it_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(precision, "is_installed", lambda _: False)
    assert main(["validate", "model.quantization=nf4"]) == 2
    found = capsys.readouterr().err
    assert "'bitsandbytes' is not installed; install it with: pip install" in found
    assert "[quantized]" in found


@pytest.mark.slow
def test_texts_are_decoded_without_a_warning(folder, tmp_path):
    for index, base in enumerate(BASES):
        record = run(folder, tmp_path / str(index), *base)
        log = tmp_path / str(index) / "outputs" / record.run_id / "run.log"
        assert "WARNING" not in log.read_text().replace("torch.jit", "")
