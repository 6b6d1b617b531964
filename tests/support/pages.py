"""What README and the pages under docs hold, code blocks, commands, files, and how they are run.

A block without a language holds commands. One with a title holds the file of that name. One of the
language ``text`` holds lines of what the commands above it print; digits may differ. A command that
is refused says so: ``# exit code 2``.
"""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from dylora_exp.cli.entry import main
from dylora_exp.cli.parser import parse
from dylora_exp.config import check_overrides, named_search_path
from dylora_exp.core import use_config_folders
from dylora_exp.records.store import RecordStore
from tests.support.tiny_runs import ROOT, TINY

DOCS = ROOT / "docs"
# A command of many runs, as one of few.
FEWER = {
    "lora,dylora,dylora-frozen,finetune,flop,matryoshka,nested-dropout,sorted-lora": "lora,flop",
    "lora,dylora,dylora-frozen": "lora",
    "seed=10,42": "seed=10",
    "seed=0,1,2,3": "seed=0",
    "task=sst2,mrpc": "task=mrpc",
    "seed=range(0,4)": "seed=range(0,1)",
    "seed=range(0,2)": "seed=range(0,1)",
    "--trials 20": "--trials 2",
}


@dataclass(frozen=True)
class Block:
    """A code block: its language and title, empty where it has none, and its text."""

    language: str
    title: str
    text: str


def blocks(page):
    """Return the code blocks of a page's text, in order."""
    fence = r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$'
    return [Block(*each) for each in re.findall(fence, page, re.DOTALL | re.MULTILINE)]


def commands_of(block):
    """Return the commands of a block, without what is said about them."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [re.split(r"  +#|  ", line)[0].strip() for line in lines if line.strip()]


def commands(page):
    """Return all commands of a page's text."""
    return [line for each in blocks(page) if not each.language for line in commands_of(each)]


def inline_commands(page):
    """Return the commands that stand in a page's sentences."""
    prose = re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`(dylora [a-z]+(?: [^`]*)?)`", prose.replace("\n", " "))


def check_command(command):
    """Assert that a command can be read; the files that it chooses from are where it is run."""
    words = shlex.split(command)
    if words[0] == "torchrun":
        words = ["dylora", *words[words.index("dylora_exp") + 1 :]]
    assert words[0] == "dylora"
    arguments = parse(words[1:])
    overrides = getattr(arguments, "overrides", [])
    flags = getattr(arguments, "hydra_flags", [])
    several = words[1] == "search" or "--multirun" in flags
    if "--config-dir" in words:  # which run leaves to Hydra
        use_config_folders([words[words.index("--config-dir") + 1]])
    assert check_overrides(overrides, several, named_search_path(overrides))[0] == []


def write_files(page, folder):
    """Write the files that a page shows, under the names that it gives them."""
    for block in blocks(page):
        if block.title:
            path = Path(folder, block.title)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")


def tiny(command, instead=()):
    """Return the words of a command at sizes of seconds; one that says its steps keeps its sizes.

    Args:
        command: As the page has it.
        instead: Words and what stands in for them here.
    """
    for long, short in FEWER.items():
        command = command.replace(long, short)
    replaced = (dict(instead).get(word, word) for word in command.split())
    words = shlex.split(" ".join(replaced))
    is_run = words[0] == "torchrun" or words[:2] in (["dylora", "run"], ["dylora", "search"])
    if not is_run or any(word.startswith("trainer.max_steps") for word in words):
        return words
    return [*words, *TINY]


def run_words(words, code=0):
    """Run the words of one command in the current folder and assert its exit code.

    RUN stands for the first run of DyLoRA among the records, or of any method. A program that is
    neither this project's nor Python is not run: what it does must be tested elsewhere.
    """
    if words[0] == "torchrun":
        words = ["python", "-m", "torch.distributed.run", *words[1:], "trainer.threads=1"]
    if words[0] == "python":
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, *words[1:]], env=environment, check=False)
        assert done.returncode == code, words
        return
    assert words[0] == "dylora", words
    if "RUN" in words:
        records = RecordStore("results").read_all()[0]
        of_dylora = [record for record in records if record.method == "dylora"]
        run = (of_dylora or records)[0].run_id
        words = [run if word == "RUN" else word for word in words]
    assert main(words[1:]) == code, words


def run_page(page, capfd, install, elsewhere=()):
    """Run a page's commands in the current folder and compare what they print with what it says.

    Args:
        page: Its text; its files are written already.
        capfd: Pytest's fixture.
        install: Called with the folder of each ``pip install``.
        elsewhere: Commands that are not run here.
    """
    printed, names = "", {}
    for block in blocks(page):
        if block.language == "text":
            said = [_masked(line) for line in block.text.splitlines()]
            missing = [line for line in said if line not in _masked(printed)]
            assert not missing, f"{missing} in {printed}"
        elif block.language == "python" and not block.title:
            exec(block.text, names)
        elif not block.language:
            printed = ""
            for command in commands_of(block):
                words = tiny(command)
                refused = re.search(re.escape(command) + " +# exit code 2", block.text)
                if words[0] == "pip":
                    install(words[-1])
                elif words[0] != "make" and command not in elsewhere:
                    run_words(words, 2 if refused else 0)
                out, error = capfd.readouterr()
                printed += out + error


def _masked(text):
    """Return a text in one line without what may vary: digits, ids, frames of tables, widths."""
    text = re.sub(r"\b[0-9a-f]{12}\b", "ID", text)
    text = re.sub(r"[\d.]*\d", "#", text)
    return " ".join(re.sub(r"[^\w\s#.,:;'()/%·-]", " ", text).split())
