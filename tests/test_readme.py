"""Every command of the README: that it can be read, and (slow) that it runs, at tiny sizes."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification

import dylora_exp
from dylora_exp.cli.entry import main
from dylora_exp.cli.parser import parse
from dylora_exp.config.overrides import check_overrides
from dylora_exp.records.store import RecordStore
from tests.support.stock_adapters import train_stock
from tests.support.tiny_runs import ROOT, TINY

README = (ROOT / "README.md").read_text(encoding="utf-8")
TINY_MODEL = Path(dylora_exp.__file__).parent / "models" / "tiny-roberta"

# What stands in for what is not here: MiniLM may not be installed, the hub not be reached. The
# README's own run of an adapter takes GLUE from the hub.
INSTEAD = {
    "model=minilm": "model=tiny-roberta",
    "model=roberta-base": f"model=roberta-base model.name_or_path={TINY_MODEL}",
    "profile=mini": "profile=mini model=tiny-roberta",
    "profile=paper": f"profile=paper model.name_or_path={TINY_MODEL} task.max_length=64",
    "method.adapter=pytorch_model.bin": "method.adapter=pytorch_model.bin task.data_dir=GLUE_DIR",
}
# Run by other tests, against a hub that is played on this machine.
ELSEWHERE = {
    "dylora models fetch roberta-base --to HUB_DIR": "cli/test_hub.py",
    "dylora data fetch mrpc --to HUB_DIR": "cli/test_hub.py",
    "dylora run profile=paper task=mrpc hub_cache=HUB_DIR": "cli/test_hub.py",
}
# A command of many runs, as one of few.
FEWER = {
    "lora,dylora,dylora-frozen,finetune,flop,matryoshka,nested-dropout,sorted-lora": "lora,flop",
    "lora,dylora,dylora-frozen": "lora",
    "seed=10,42": "seed=10",
    "seed=0,1,2,3": "seed=0",
    "task=sst2,mrpc": "task=mrpc",
    "seed=range(0,4)": "seed=range(0,1)",
    "--trials 20": "--trials 2",
}


def blocks(language=""):
    return [
        text
        for name, text in re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
        if name == language
    ]


def commands():
    """Return the commands of the code blocks, without what is said about them."""
    lines = [line for block in blocks() for line in block.replace("\\\n", " ").splitlines()]
    return [line.split("  ")[0].strip() for line in lines if line.strip()]


def inline():
    return re.findall(r"`(dylora [a-z]+(?: [^`]*)?)`", README.replace("\n", " "))


def can_be_read(command):
    words = shlex.split(command)
    if words[0] == "torchrun":
        words = ["dylora", *words[words.index("dylora_exp") + 1 :]]
    assert words[0] == "dylora"
    arguments = parse(words[1:])
    overrides = getattr(arguments, "overrides", [])
    several = words[1] == "search" or "--multirun" in getattr(arguments, "hydra_flags", [])
    assert check_overrides(overrides, multirun=several)[0] == []


@pytest.mark.parametrize("command", commands())
def test_every_command_can_be_read(command):
    first, *rest = command.split()
    if first == "make":
        assert re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    else:
        can_be_read(command)


@pytest.mark.parametrize("command", [c for c in inline() if len(c.split()) > 3 and "|" not in c])
def test_every_command_in_the_text_can_be_read(command):
    can_be_read(command.replace("OVERRIDES", "task=mrpc"))


def test_every_extra_exists():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    named = re.findall(r"-e '\.\[([a-z,]+)\]'", README)
    assert named and {extra for names in named for extra in names.split(",")} <= set(extras)


def test_every_file_that_is_linked_or_named_is_there():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    for name in re.findall(r"`((?:conf|tests|scripts|dylora_exp)/[\w/.-]+)`", README):
        assert (ROOT / name).exists(), name


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which the README's files have the names that it gives them."""
    folder = tmp_path_factory.mktemp("reader")
    glue = folder / "GLUE_DIR" / "MRPC"
    glue.mkdir(parents=True)
    head = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"
    rows = [f"{i % 2}\t{i}\t{i}\tthe food is tasty {i}\tthe food is stale" for i in range(40)]
    for name in ("train.tsv", "dev.tsv"):
        (glue / name).write_text("\n".join([head, *rows]) + "\n")
    data = folder / "DATA_DIR" / "e2e"
    data.mkdir(parents=True)
    texts = ["mr,ref"] + [f'"name[Hut {i}], food[soup]",Hut {i} has soup.' for i in range(12)]
    for name in ("trainset.csv", "devset.csv", "testset_w_refs.csv"):
        (data / name).write_text("\n".join(texts) + "\n")
    (folder / "devset.csv").write_text("\n".join(texts) + "\n")
    (folder / "out.txt").write_text("".join(f"Hut {i} has soup.\n" for i in range(12)))
    torch.save(released_state(), folder / "pytorch_model.bin")
    sst2 = folder / "GLUE_DIR" / "SST-2"
    sst2.mkdir()
    for name in ("train.tsv", "dev.tsv"):
        rows = [f"the food is {('tasty', 'stale')[i % 2]} {i}\t{i % 2}" for i in range(40)]
        (sst2 / name).write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    train_stock(TINY_MODEL, folder / "my-adapter", r=4, target_modules=["query", "value"])
    return folder


def released_state():
    """An adapter as the released code names its parts: lora_A, lora_B and the head."""
    model = AutoModelForSequenceClassification.from_pretrained(TINY_MODEL, num_labels=2)
    peft = get_peft_model(model, LoraConfig(r=8, target_modules=["query", "value"]))
    state = {
        name.removeprefix("base_model.model.").replace(".default.weight", ""): value
        for name, value in peft.state_dict().items()
        if "lora_" in name
    }
    head = {n: v for n, v in model.state_dict().items() if n.startswith("classifier.")}
    return state | head


def tiny(command):
    for long, short in FEWER.items():
        command = command.replace(long, short)
    words = shlex.split(" ".join(INSTEAD.get(word, word) for word in command.split()))
    if words[1] not in ("run", "search") and words[0] != "torchrun":
        return words
    sizes = [*TINY]
    if "mini-nlg" in command:
        sizes += ["task.max_eval_samples=2", "task.decode.beams=1", "task.metrics=[bleu]"]
    if "--nproc_per_node" in words:
        sizes.append("trainer.threads=1")
    return [*words, *sizes]


@pytest.mark.slow
def test_every_command_runs(place, monkeypatch):
    monkeypatch.chdir(place)
    for command in commands():
        words = tiny(command)
        if words[0] == "make" or command in ELSEWHERE:
            continue
        if "RUN" in words:
            (first, *_) = [
                record.run_id
                for record in RecordStore("results").read_all()[0]
                if record.method == "dylora"
            ]
            words[words.index("RUN")] = first
        if "reproduce" in words and "--plan" not in words:
            continue  # forty runs: the plan above is made, test_reproduce.py does such runs
        if words[0] == "torchrun":
            program = [sys.executable, "-m", "torch.distributed.run", *words[1:]]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            assert subprocess.run(program, env=environment, check=False).returncode == 0, command
        else:
            assert main(words[1:]) == 0, command
    (snippet,) = blocks("python")
    base_model = AutoModelForSequenceClassification.from_pretrained(TINY_MODEL, num_labels=2)
    loaded = eval(snippet, {"PeftModel": PeftModel, "base_model": base_model})
    assert loaded.peft_config["default"].r == 2


@pytest.mark.parametrize("command", ELSEWHERE)
def test_what_is_run_elsewhere_is_there(command):
    assert command in commands()
    _, *words, _, _ = command.split()
    text = (ROOT / "tests" / ELSEWHERE[command]).read_text()
    assert all(word in text for word in (words if "fetch" in words else ["hub_cache="]))
