"""Every command of the README: that it can be read, and (slow) that it runs, at tiny sizes."""

import re
import tomllib
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification

import dylora_exp
from tests.support.pages import (
    blocks,
    check_command,
    commands,
    inline_commands,
    run_words,
    tiny,
)
from tests.support.stock_adapters import train_stock
from tests.support.tiny_runs import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = commands(README)
TINY_MODEL = Path(dylora_exp.__file__).parent / "models" / "tiny-roberta"

# What stands in for what is not here: MiniLM may not be installed, the hub not be reached. The
# README's own run of an adapter takes GLUE from the hub.
INSTEAD = {
    "model=smollm2-135m": "model=tiny-gpt2 task.decode.max_new_tokens=8",
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


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_read(command):
    first, *rest = command.split()
    if first == "make":
        assert re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    else:
        check_command(command)


@pytest.mark.parametrize(
    "command", [c for c in inline_commands(README) if len(c.split()) > 3 and "|" not in c]
)
def test_every_command_in_the_text_can_be_read(command):
    check_command(command.replace("OVERRIDES", "task=mrpc"))


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
    solutions = data.with_name("gsm8k")
    solutions.mkdir()
    row = '{"question": "Is it 1?", "answer": "Yes.\\n#### 1"}\n'
    for name in ("train.jsonl", "test.jsonl"):
        (solutions / name).write_text(row * 4)
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


@pytest.mark.slow
def test_every_command_runs(place, monkeypatch):
    monkeypatch.chdir(place)
    for command in COMMANDS:
        words = tiny(command, INSTEAD)
        if words[0] == "make" or command in ELSEWHERE:
            continue
        if "reproduce" in words and "--plan" not in words:
            continue  # forty runs: the plan above is made, test_reproduce.py does such runs
        if "mini-nlg" in command and "run" in words:
            words += ["task.max_eval_samples=2", "task.decode.beams=1", "task.metrics=[bleu]"]
        run_words(words)
    (snippet,) = [each.text for each in blocks(README) if each.language == "python"]
    base_model = AutoModelForSequenceClassification.from_pretrained(TINY_MODEL, num_labels=2)
    loaded = eval(snippet, {"PeftModel": PeftModel, "base_model": base_model})
    assert loaded.peft_config["default"].r == 2


@pytest.mark.parametrize("command", ELSEWHERE)
def test_what_is_run_elsewhere_is_there(command):
    assert command in COMMANDS
    _, *words, _, _ = command.split()
    text = (ROOT / "tests" / ELSEWHERE[command]).read_text()
    assert all(word in text for word in (words if "fetch" in words else ["hub_cache="]))
