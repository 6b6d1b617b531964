"""Commands of README and the pages it leads to: they can be read, and (slow) they run."""

import re
import shutil
import tomllib
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification

import dylora_exp
from dylora_exp.reporting.analysis.display import METHOD_NAMES
from tests.support.pages import (
    DOCS,
    blocks,
    check_command,
    commands,
    inline_commands,
    run_words,
    tiny,
    write_files,
)
from tests.support.stock_adapters import train_stock
from tests.support.tiny_runs import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = commands(README)
# Pages of commands that need a reader's own files; the tutorials bring theirs (docs/test_pages.py).
PAGES = ["README", "commands", "methods", "my-adapter", "reproduce", "text-generation"]
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
# The shell's own, and what other tests are: test_packaging.py, docs/test_site.py.
NOT_OURS = ("make", "git", ".", "pip")
# Run by other tests, against a hub that is played on this machine.
ELSEWHERE = {
    "dylora models fetch roberta-base --to HUB_DIR": "cli/test_hub.py",
    "dylora data fetch mrpc --to HUB_DIR": "cli/test_hub.py",
    "dylora run profile=paper task=mrpc hub_cache=HUB_DIR": "cli/test_hub.py",
}
# Of a model of 92 MB; runner/test_packed_runs.py does the same over small ones.
LARGE = ("dylora run profile=smollm method=qdylora task.data_dir=DATA_DIR",)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_read(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_files((DOCS / "my-task.md").read_text(encoding="utf-8"), tmp_path)
    first, *rest = command.split()
    if first in (".", "git"):
        assert command in (
            ". .venv/bin/activate",
            "git clone REPOSITORY dylora-exp && cd dylora-exp",
        )
    elif first == "make":
        assert re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    else:
        check_command(command)


@pytest.mark.parametrize("command", [c for c in inline_commands(README) if len(c.split()) > 3])
def test_every_command_in_the_text_can_be_read(command):
    check_command(command.replace("OVERRIDES", "task=mrpc"))


def test_every_extra_exists():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    named = re.findall(r"'\.\[([a-z,]+)\]'", README)
    assert named and {extra for names in named for extra in names.split(",")} <= set(extras)


def test_every_file_that_is_linked_or_named_is_there():
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert len(targets) > 15
    for target in [*targets, *re.findall(r'<img src="([^"]+)"', README)]:
        assert (ROOT / target).exists(), target
    titles = {anchor(title) for title in re.findall(r"^## (.+)$", README, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= titles
    for name in re.findall(r"`((?:conf|tests|scripts|dylora_exp)/[\w/.-]+)`", README):
        assert (ROOT / name).exists(), name


def anchor(title):
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def test_the_long_tables_come_after_two_screens():
    lines = README.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("|"))
    assert first > 80
    assert lines.index("```") < 45  # clone and the two commands


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder in which a page's files have the names that it gives them."""
    folder = tmp_path
    monkeypatch.chdir(folder)
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
    shutil.copytree(TINY_MODEL, folder / "BASE_DIR")
    for name in ("my-adapter", "outputs/a292c869ed00/model"):
        train_stock(TINY_MODEL, folder / name, r=4, target_modules=["query", "value"])
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
@pytest.mark.parametrize("name", PAGES)
def test_every_command_runs(name, place):
    page = README if name == "README" else (DOCS / f"{name}.md").read_text(encoding="utf-8")
    if name in ("commands", "methods", "reproduce"):  # of records that the reader has
        run_words(tiny("dylora run method=dylora"))
    for command in commands(page):
        words = tiny(command, INSTEAD)
        if words[0] in NOT_OURS or command in ELSEWHERE or command in LARGE:
            continue
        if "reproduce" in words and ("--plan" not in words or "--measure" in words):
            continue  # the plan above is made, test_reproduce.py does such runs; it takes minutes
        if "mini-nlg" in command and "run" in words:
            words += ["task.max_eval_samples=2", "task.decode.beams=1", "task.metrics=[bleu]"]
        if command == "dylora resize outputs/a292c869ed00/model --rank 3 --to resized":
            words[words.index("3")] = "2"  # of the smaller one here
        run_words(words)
        if words[1:3] == ["init", "task"] and name == "README":  # what the reader fills in
            write_files((DOCS / "my-task.md").read_text(encoding="utf-8"), place)
            run_words(["python", "split.py"])
    for snippet in [each.text for each in blocks(page) if each.language == "python"]:
        model = AutoModelForSequenceClassification.from_pretrained(TINY_MODEL, num_labels=2)
        names = {"PeftModel": PeftModel, "base_model": model}
        exec(snippet, names)
        folder = re.search(r'(?:base|model), "([^"]+)"', snippet)[1]
        assert PeftConfig.from_pretrained(folder).r == 2


@pytest.mark.parametrize("command", ELSEWHERE)
def test_what_is_run_elsewhere_is_there(command):
    assert command in commands((DOCS / "commands.md").read_text(encoding="utf-8"))
    _, *words, _, _ = command.split()
    text = (ROOT / "tests" / ELSEWHERE[command]).read_text()
    assert all(word in text for word in (words if "fetch" in words else ["hub_cache="]))


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=str)
def test_methods_and_cuts_have_one_spelling(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "", text)
    names = [name for name in METHOD_NAMES.values() if " " in name or "-" in name]
    for name in names:
        pattern = r"\s+".join(map(re.escape, name.split()))
        for found in re.findall(pattern, text, re.IGNORECASE):
            words = " ".join(found.split())
            assert words[1:] == name[1:], found  # the first letter is the sentence's
    assert not re.search(r"LoRA,? \(?(leading|SVD)(\)| α)", text)
